//! The store in MariaDB 10.6 or newer, which several daemons may share.
//!
//! As on PostgreSQL every call runs in a task of its own: a caller that goes away leaves it to finish
//! there, so no pooled connection is ever left inside a transaction. Statements for all databases are
//! in `sql`; what MariaDB needs otherwise is in `statements`, and how it is told in `session`.

mod access;
mod calls;
mod control;
mod dialect;
mod migrate;
mod query;
mod schedule;
mod session;
mod state;
mod statements;

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlPool, MySqlPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::runtime::Handle;

use super::batch::{Batch, Shape};
use super::calls::store;
use super::commit::{Fault, commit};
use super::{Durability, LEASE, StoreError};
use dialect::{BEGIN, BEGIN_READING, COMMIT, MariaDbDialect, ROLLBACK, fault, number, step};

/// One commit at a time, the claims and heartbeats, and some readers; a server's default of 151
/// connections then serves several daemons.
const CONNECTIONS: u32 = 8;

/// How long a call waits for a connection before it says that the store is unavailable.
const PATIENCE: Duration = Duration::from_secs(5);

/// Prepared statements of a connection: each of the calls has some, each table seven, by how many rows there are.
/// Eight connections stay far below a server's default of 16382.
const STATEMENTS: usize = 192;

/// The statements whose cost must not grow with history, for the test that reads their plans.
#[doc(hidden)]
pub const HOT_STATEMENTS: &[(&str, &str)] = &[
    ("claim", statements::CLAIM_FREE),
    ("claim of the dead", statements::DEAD_RUNS),
    ("claim of those seen", statements::CLAIM_DEAD),
    ("take", statements::TAKE),
    ("fence", statements::PASS),
    ("move", statements::UPDATE_RUNS),
    ("look", statements::LOOK),
    ("consume", statements::CONSUME),
    ("note of ends", statements::NOTE_ENDS),
    ("runs", super::sql::RUNS),
    ("runs of a workflow", super::sql::RUNS_OF_WORKFLOW),
    ("runs in a status", super::sql::RUNS_IN_STATUS),
    ("runs of a parent", super::sql::RUNS_OF_PARENT),
    ("runs of a root", super::sql::RUNS_OF_ROOT),
    ("run of a key", super::sql::RUN_OF_KEY),
    ("deliveries due", super::sql::DELIVERIES_DUE),
    ("deliveries of a run", super::sql::DELIVERIES_OF_RUN),
    ("logs", super::sql::LOGS),
    ("logs of a run", super::sql::LOGS_OF_RUN),
    ("jobs of a run", super::sql::JOBS_OF_RUN),
    ("tasks of a run", super::sql::TASKS_OF_RUN),
    ("attempts of a run", super::sql::ATTEMPTS_OF_RUN),
    ("io of a run", super::sql::IO_OF_RUN),
    ("io to continue", statements::shared::IO_TO_CONTINUE),
    ("host calls of a run", super::sql::HOST_CALLS_OF_RUN),
    ("kv keys", super::sql_state::KV_KEYS),
    ("kv list", statements::state::KV_LIST),
    ("kv usage", super::sql_state::KV_USAGE),
    ("kv purge", statements::state::KV_PURGE),
    ("unowned", statements::control::UNOWNED),
    ("held", statements::control::HELD),
    ("letters", statements::control::LETTERS),
    (
        "letters of a workflow",
        statements::control::LETTERS_OF_WORKFLOW,
    ),
    (
        "letters with a code",
        statements::control::LETTERS_WITH_CODE,
    ),
    ("letters of a run", statements::control::RESOLVED_RUN),
    ("letters of a chain", statements::control::RESOLVED_CHAIN),
    ("letters not resolved", statements::control::NOT_RESOLVED),
    ("lane going", statements::control::LANE_GOING),
    ("lane next", statements::control::LANE_NEXT),
];

/// A store on a MariaDB server.
#[derive(Debug, Clone)]
pub struct MariaDbStore {
    pool: MySqlPool,
    /// The largest packet that the server takes, in bytes.
    packet: usize,
    lease: Duration,
    /// Where the connections are driven, whoever calls.
    runtime: Handle,
}

impl MariaDbStore {
    /// One: what comes meanwhile is the next batch.
    const COMMITS_AT_ONCE: usize = 1;

    /// Connects, looks whether the server is fit, and brings the tables up to date under a lock. They live in
    /// the database that the URL names, which must exist and be the store's own.
    ///
    /// # Errors
    /// `Unavailable` when the server does not answer; `Rejected` for a bad URL, a refused user, a server
    /// that is too old or not MariaDB, or one whose settings break a promise; `Corrupt` when the tables are of
    /// a later version.
    pub async fn open(url: &str, durability: Durability) -> Result<Self, StoreError> {
        let options = options(url)?;
        let connect = tokio::time::timeout(PATIENCE, options.connect());
        let mut connection = connect
            .await
            .map_err(|_| StoreError::Unavailable("the server does not answer".into()))?
            .map_err(refused)?;
        let packet = session::admit(&mut connection, durability).await?;
        migrate::run(&mut connection).await?;
        connection.close().await.map_err(fault)?;
        let pool = MySqlPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(PATIENCE)
            .after_connect(|connection, _| Box::pin(session::settle(connection)))
            .connect_lazy_with(options);
        let runtime = Handle::current();
        Ok(Self {
            pool,
            packet,
            runtime,
            lease: LEASE,
        })
    }

    /// The same store for a daemon with this lease.
    #[must_use]
    pub fn with_lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    /// MariaDB carries no messages between its clients: daemons look for themselves, each second.
    fn tell(&self, _: impl FnOnce() -> News) {}

    fn heard(&self) -> Option<tokio::sync::broadcast::Receiver<News>> {
        None
    }

    /// Runs `work`, which opens and closes its own transactions, on a connection of the pool.
    async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut MySqlConnection) -> BoxFuture<'c, Result<T, Fault>>
            + Send
            + 'static,
    {
        let pool = self.pool.clone();
        let task = self.runtime.spawn(async move {
            let mut connection = pool.acquire().await.map_err(fault)?;
            let result = work(&mut connection).await;
            if result.as_ref().is_err_and(Fault::spoils_connection) {
                // It may be inside a transaction: closing it undoes that, the pool makes another.
                drop(connection.detach());
            }
            result
        });
        let result = task
            .await
            .map_err(|e| StoreError::Unavailable(e.to_string()))?;
        result.map_err(StoreError::from)
    }

    /// Runs `work` in one transaction.
    async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut MySqlConnection) -> BoxFuture<'c, Result<T, Fault>>
            + Send
            + 'static,
    {
        self.run(move |connection| Box::pin(within(connection, BEGIN, work)))
            .await
    }

    /// Commits a batch.
    async fn apply(&self, batch: Arc<[Transition]>) -> Result<Vec<CommitOutcome>, StoreError> {
        let batch = Batch::new(&batch, Shape::Array)?;
        let packet = self.packet;
        self.run(move |connection| {
            Box::pin(
                async move { commit(&mut MariaDbDialect { connection, packet }, &batch).await },
            )
        })
        .await
    }

    /// Runs `work` in one snapshot.
    async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut MySqlConnection) -> BoxFuture<'c, Result<T, Fault>>
            + Send
            + 'static,
    {
        self.run(move |connection| Box::pin(within(connection, BEGIN_READING, work)))
            .await
    }
}

async fn within<T, F>(
    connection: &mut MySqlConnection,
    begin: &'static str,
    work: F,
) -> Result<T, Fault>
where
    F: for<'c> FnOnce(&'c mut MySqlConnection) -> BoxFuture<'c, Result<T, Fault>>,
{
    step(connection, begin).await?;
    let mut result = work(&mut *connection).await;
    if result.is_ok() {
        match step(connection, COMMIT).await {
            Ok(()) => return result,
            Err(fault) => result = Err(fault),
        }
    }
    if !result.as_ref().is_err_and(Fault::spoils_connection) {
        step(connection, ROLLBACK).await?;
    }
    result
}

/// What a URL asks for. Its text, which may hold a password, is in no error.
fn options(url: &str) -> Result<MySqlConnectOptions, StoreError> {
    let options = MySqlConnectOptions::from_str(url)
        .map_err(|_| StoreError::Rejected("the store's URL cannot be read".into()))?
        .charset("utf8mb4")
        // All of these are what `session` says, and it says more.
        .set_names(false)
        .timezone(None)
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .statement_cache_capacity(STATEMENTS)
        .disable_statement_logging();
    if options.get_database().is_none() {
        return Err(StoreError::Rejected(
            "the store's URL names no database: mariadb://USER@HOST/DATABASE".into(),
        ));
    }
    Ok(options)
}

/// Why the first connection failed; waiting does not cure a wrong name.
fn refused(error: sqlx::Error) -> StoreError {
    match number(&error) {
        Some(1049) => StoreError::Rejected(
            "the database that the store's URL names does not exist: `create database` makes it"
                .into(),
        ),
        Some(1044 | 1045 | 1698) => StoreError::Rejected(
            "the server refuses the user of the store's URL: the name or the password is wrong, or it has no rights on \
             that database"
                .into(),
        ),
        _ => fault(error).into(),
    }
}

store!(MariaDbStore);
