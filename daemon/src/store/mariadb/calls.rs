//! The shared calls over MariaDB connections; what differs is in `dialect`, `query` and `statements`.

use sqlx::mysql::{MySqlConnection, MySqlRow as Row};

use super::MariaDbStore;
use super::dialect::{NOW, fault};
use super::query::query;
use super::statements::shared as sql;
use crate::store::calls::calls;
use crate::store::commit::Fault;
use crate::store::lineage_calls::lineage_calls;

calls!(MySqlConnection);
lineage_calls!(MariaDbStore);
