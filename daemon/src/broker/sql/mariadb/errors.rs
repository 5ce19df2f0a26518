//! What MariaDB's errors, and sqlx's, mean to a guest. Where the server is and who asks is not said.

use sqlx::mysql::MySqlDatabaseError;

use crate::broker::error::Refusal;
use crate::broker::sql::server::{Fault, unreachable};
use crate::broker::sql::session::TimeLimit;

/// What must not be told, and what may.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    /// The name that grants use.
    pub(super) name: &'a str,
    /// Whose name must not be in a message.
    pub(super) user: &'a str,
}

impl Facts<'_> {
    /// There is no connection, or none any more.
    pub(super) fn lost(&self, error: &sqlx::Error) -> Refusal {
        tracing::warn!(%error, database = self.name, "a database for tasks cannot be used");
        unreachable(self.name)
    }

    /// A statement did not succeed.
    pub(super) fn fault(&self, error: &sqlx::Error, time: &TimeLimit) -> Fault {
        match error {
            sqlx::Error::Database(database) => {
                match database.try_downcast_ref::<MySqlDatabaseError>() {
                    Some(error) => self.said(error, time),
                    None => Fault::broken(self.lost(&sqlx::Error::WorkerCrashed)),
                }
            }
            // What comes out of our own encoding leaves the connection as it was, but nobody proves that.
            _ => Fault::broken(self.lost(error)),
        }
    }

    fn said(&self, error: &MySqlDatabaseError, time: &TimeLimit) -> Fault {
        let (number, state) = (error.number(), error.code().unwrap_or("HY000"));
        let code = format!("sql.{state}");
        // States are coarse here: most errors are HY000 or 42000, and only the number tells them apart.
        let details = Some(serde_json::json!({ "number": number }).to_string());
        let of = |refusal: Refusal| Refusal {
            details: details.clone(),
            ..refusal
        };
        let message = self.scrubbed(error.message());
        match number {
            // Its time is up (ER_STATEMENT_TIMEOUT), or somebody ended it (ER_QUERY_INTERRUPTED, ER_CONNECTION_KILLED).
            1969 | 1317 | 1927 => Fault::broken(time.over()),
            // The server shuts down, or has no place.
            1053 | 1040 | 1203 | 1226 => Fault::broken(unreachable(self.name)),
            _ if state.starts_with("08") => Fault::broken(unreachable(self.name)),
            // Syntax.
            1064 => of(Refusal::permanent("sql.invalid", message)).into(),
            // The session itself refuses to change anything under a grant that reads.
            1792 => of(Refusal::permanent("sql.denied", message)).into(),
            // Lock wait, deadlock (which undid the whole transaction), a row changed since it was read.
            1205 | 1213 | 1020 => of(Refusal::retryable(code, message)).into(),
            // These say who asks, and from where.
            1044 | 1045 | 1095 | 1142 | 1143 | 1227 | 1370 | 1410 | 1698 => {
                let message = "the database's role lacks a privilege for this statement";
                of(Refusal::permanent(code, message)).into()
            }
            _ => of(Refusal::permanent(code, message)).into(),
        }
    }

    /// `'user'@'host'` in any message.
    fn scrubbed(&self, message: &str) -> String {
        let who = format!("'{}'@", self.user);
        let Some((before, after)) = message.split_once(&who) else {
            return message.to_owned();
        };
        let host = after
            .strip_prefix('\'')
            .and_then(|host| host.split_once('\''));
        let rest = host.map_or("", |(_, rest)| rest);
        format!("{before}'…'{}", self.scrubbed(rest))
    }
}
