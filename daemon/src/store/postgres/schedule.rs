//! Schedules in PostgreSQL; the calls are the same everywhere.

use sqlx::postgres::PgConnection;
use sqlx::query;

use super::PostgresStore;
use super::dialect::fault;
use crate::store::commit::Fault;
use crate::store::schedule_calls::schedule_store;
use crate::store::sql_schedule as sql;

schedule_store!(PostgresStore, PgConnection);
