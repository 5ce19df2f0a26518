//! The shared calls over SQLite connections; what differs is in `dialect`.

use sqlx::query;
use sqlx::sqlite::{SqliteConnection, SqliteRow as Row};

use super::SqliteStore;
use super::dialect::{NOW, fault};
use crate::store::calls::calls;
use crate::store::commit::Fault;
use crate::store::lineage_calls::lineage_calls;
use crate::store::sql;

calls!(SqliteConnection);
lineage_calls!(SqliteStore);
