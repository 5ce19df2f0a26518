//! What is asked of a server beside its sessions: whether it is the daemon's own store, and what its role may do.

use secrecy::SecretString;
use sqlx::Connection;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::{CONNECT_TIME, Finding, unreachable};
use crate::broker::error::Refusal;
use crate::broker::sql::own::Own;
use crate::id::DatabaseName;

/// A server that can be asked.
pub(in super::super) trait Beside: Sync {
    /// A connection of its protocol.
    type Connection: Connection + Send;

    /// A connection that no session has.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection, Refusal>> + Send;

    /// Looks once whether it is the daemon's own store. Errors: `sql.denied` if it is, `sql.connect` if it cannot be
    /// told now.
    fn compare(
        &self,
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// What the role may do that no task needs.
    fn look(
        &self,
        connection: &mut Self::Connection,
        tables: &[String],
        writes: bool,
    ) -> impl Future<Output = Result<Vec<Finding>, Refusal>> + Send;

    /// Connects and compares.
    fn is_strange(&self) -> impl Future<Output = Result<(), Refusal>> + Send {
        async move {
            let mut connection = self.connect().await?;
            let answer = Box::pin(self.compare(&mut connection)).await;
            // The server closes its end when it sees ours closed.
            let _ = connection.close().await;
            answer
        }
    }

    /// Connects and looks.
    fn privileges(
        &self,
        tables: &[String],
        writes: bool,
    ) -> impl Future<Output = Result<Vec<Finding>, Refusal>> + Send {
        async move {
            let mut connection = self.connect().await?;
            let findings = self.look(&mut connection, tables, writes).await;
            let _ = connection.close().await;
            findings
        }
    }
}

/// Whether a server is the daemon's own store, by what both say of themselves.
#[derive(Debug)]
pub(in super::super) struct Strange {
    own: Own,
    /// Set once the server has said that it is not.
    told: OnceCell<()>,
}

impl Strange {
    pub(in super::super) fn new(own: &Own) -> Self {
        Self {
            own: own.clone(),
            told: OnceCell::new(),
        }
    }

    /// The store's URL, if it has one.
    pub(in super::super) fn own(&self) -> Option<&SecretString> {
        self.own.url.as_ref()
    }

    /// Waits for the answer, unless it is known; asked again until it is no.
    pub(in super::super) async fn tell(
        &self,
        name: &DatabaseName,
        is_own: impl Future<Output = Result<bool, Refusal>> + Send,
    ) -> Result<(), Refusal> {
        let asked = || async {
            match timeout(CONNECT_TIME, is_own).await {
                Ok(Ok(false)) => Ok(()),
                Ok(Ok(true)) => Err(Refusal::permanent(
                    "sql.denied",
                    format!("`{name}` is the daemon's own store"),
                )),
                Ok(Err(refusal)) => Err(refusal),
                Err(_) => Err(unreachable(name.as_str())),
            }
        };
        self.told.get_or_try_init(asked).await.copied()
    }
}

/// Waits for a connection, as long as that may take.
pub(in super::super) async fn connected<C>(
    name: &DatabaseName,
    connecting: impl Future<Output = Result<C, sqlx::Error>>,
    lost: impl FnOnce(&sqlx::Error) -> Refusal,
) -> Result<C, Refusal> {
    // Boxed: a handshake is large, and soon over.
    match timeout(CONNECT_TIME, Box::pin(connecting)).await {
        Ok(connected) => connected.map_err(|error| lost(&error)),
        Err(_) => Err(unreachable(name.as_str())),
    }
}
