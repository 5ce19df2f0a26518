//! What PostgreSQL's errors, and sqlx's, mean to a guest. Where the server is and who asks is not said.

use sqlx::error::DatabaseError;
use sqlx::postgres::PgDatabaseError;

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
        if matches!(error, sqlx::Error::PoolTimedOut) {
            tracing::warn!(
                database = self.name,
                "no connection became free or could be made in time"
            );
        } else {
            tracing::warn!(%error, database = self.name, "a database for tasks cannot be used");
        }
        unreachable(self.name)
    }

    /// A statement did not succeed.
    pub(super) fn fault(&self, error: &sqlx::Error, time: &TimeLimit) -> Fault {
        match error {
            sqlx::Error::Database(database) => self.said(database.as_ref(), time),
            // What comes out of our own encoding leaves the connection as it was, but nobody proves that.
            _ => Fault::broken(self.lost(error)),
        }
    }

    fn said(&self, error: &dyn DatabaseError, time: &TimeLimit) -> Fault {
        let code = error.code().unwrap_or_default().into_owned();
        let message = self.scrubbed(error.message());
        match code.as_str() {
            // Cancelled by the session's own limit: nobody else does.
            "57014" => Fault::broken(time.over()),
            // The server shuts down, crashed, or closed the session.
            "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "25P03" => {
                Fault::broken(Refusal::retryable(format!("sql.{code}"), message))
            }
            _ if code.starts_with("08") => Fault::broken(unreachable(self.name)),
            "42601" => Refusal::permanent("sql.invalid", message).into(),
            // The session itself refuses to change anything under a grant that reads.
            "25006" => Refusal::permanent("sql.denied", message).into(),
            "42P01" => Refusal {
                details: details(error),
                ..Refusal::permanent(
                    "sql.42P01",
                    format!(
                        "{message}: a name without a schema is one of `public`; one of another is written, and granted, as `schema.table`"
                    ),
                )
            }
            .into(),
            "40001" | "40P01" | "55P03" | "53300" => {
                Refusal::retryable(format!("sql.{code}"), message).into()
            }
            _ => Refusal {
                details: details(error),
                ..Refusal::permanent(format!("sql.{code}"), message)
            }
            .into(),
        }
    }

    /// Messages about privileges name roles.
    fn scrubbed(&self, message: &str) -> String {
        message.replace(&format!("\"{}\"", self.user), "\"…\"")
    }
}

/// Where in the schema it happened, for a guest that wants to act on it.
fn details(error: &dyn DatabaseError) -> Option<String> {
    let error = error.try_downcast_ref::<PgDatabaseError>()?;
    let facts = [
        ("table", error.table()),
        ("column", error.column()),
        ("constraint", error.constraint()),
        ("type", error.data_type()),
    ];
    let known: serde_json::Map<String, serde_json::Value> = facts
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.into())))
        .collect();
    (!known.is_empty()).then(|| serde_json::Value::Object(known).to_string())
}
