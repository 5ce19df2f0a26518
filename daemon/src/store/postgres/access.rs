//! People in PostgreSQL; the calls are the same everywhere.

use sqlx::postgres::{PgConnection, PgRow as Row};
use sqlx::query;

use super::PostgresStore;
use super::dialect::fault;
use crate::store::access_calls::access_store;
use crate::store::commit::Fault;

access_store!(PostgresStore, PgConnection);
