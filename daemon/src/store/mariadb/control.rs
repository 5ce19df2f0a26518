//! Turns and dead letters in MariaDB; the calls are the same everywhere, what differs is in `query` and `statements`.

use sqlx::mysql::MySqlConnection;

use super::MariaDbStore;
use super::dialect::fault;
use super::query::query;
use super::statements::control as sql;
use crate::store::commit::Fault;
use crate::store::control_calls::{control_commit, control_store};

control_store!(MariaDbStore, MySqlConnection);
control_commit!();
