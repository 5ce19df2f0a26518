//! State and secrets in MariaDB; the calls are the same everywhere, what differs is in `query` and `statements`.

use sqlx::mysql::{MySqlConnection, MySqlRow as Row};

use super::MariaDbStore;
use super::dialect::fault;
use super::query::query;
use super::statements::state as sql;
use crate::store::commit::Fault;
use crate::store::state_calls::state_store;

state_store!(MariaDbStore, MySqlConnection);
