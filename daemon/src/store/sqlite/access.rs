//! People in SQLite; the calls are the same everywhere.

use sqlx::query;
use sqlx::sqlite::{SqliteConnection, SqliteRow as Row};

use super::SqliteStore;
use super::dialect::fault;
use crate::store::access_calls::access_store;
use crate::store::commit::Fault;

access_store!(SqliteStore, SqliteConnection);
