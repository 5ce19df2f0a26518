//! People in MariaDB; the calls are the same everywhere.

use sqlx::mysql::{MySqlConnection, MySqlRow as Row};

use super::MariaDbStore;
use super::dialect::fault;
use super::query::query;
use crate::store::access_calls::access_store;
use crate::store::commit::Fault;

access_store!(MariaDbStore, MySqlConnection);
