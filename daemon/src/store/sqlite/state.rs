//! State and secrets in SQLite; the calls are the same everywhere, what differs is in `dialect`.

use sqlx::query;
use sqlx::sqlite::{SqliteConnection, SqliteRow as Row};

use super::SqliteStore;
use super::dialect::fault;
use crate::store::commit::Fault;
use crate::store::sql_state as sql;
use crate::store::state_calls::state_store;

state_store!(SqliteStore, SqliteConnection);
