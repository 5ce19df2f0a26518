//! Schedules in MariaDB; the calls are the same everywhere.

use sqlx::mysql::MySqlConnection;

use super::MariaDbStore;
use super::dialect::fault;
use super::query::query;
use super::statements::schedule as sql;
use crate::store::commit::Fault;
use crate::store::schedule_calls::schedule_store;

schedule_store!(MariaDbStore, MySqlConnection);
