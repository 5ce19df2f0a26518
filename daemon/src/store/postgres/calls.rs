//! The shared calls over PostgreSQL connections; what differs is in `dialect`.

use sqlx::postgres::{PgConnection, PgRow as Row};
use sqlx::query;

use super::PostgresStore;
use super::dialect::{NOW, fault};
use crate::store::calls::calls;
use crate::store::commit::Fault;
use crate::store::lineage_calls::lineage_calls;
use crate::store::sql;

calls!(PgConnection);
lineage_calls!(PostgresStore);
