//! State and secrets in PostgreSQL; the calls are the same everywhere, what differs is in `dialect`.

use sqlx::postgres::{PgConnection, PgRow as Row};
use sqlx::query;

use super::PostgresStore;
use super::dialect::fault;
use crate::store::commit::Fault;
use crate::store::sql_state as sql;
use crate::store::state_calls::state_store;

state_store!(PostgresStore, PgConnection);
