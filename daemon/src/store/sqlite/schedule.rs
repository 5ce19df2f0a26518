//! Schedules in SQLite; the calls are the same everywhere.

use sqlx::query;
use sqlx::sqlite::SqliteConnection;

use super::SqliteStore;
use super::dialect::fault;
use crate::store::commit::Fault;
use crate::store::schedule_calls::schedule_store;
use crate::store::sql_schedule as sql;

schedule_store!(SqliteStore, SqliteConnection);
