//! Turns and dead letters in PostgreSQL; the calls are the same everywhere, what differs is in `dialect`.

use sqlx::postgres::PgConnection;
use sqlx::query;

use super::PostgresStore;
use super::dialect::fault;
use crate::store::commit::Fault;
use crate::store::control_calls::{control_commit, control_store};
use crate::store::sql_control as sql;

control_store!(PostgresStore, PgConnection);
control_commit!();
