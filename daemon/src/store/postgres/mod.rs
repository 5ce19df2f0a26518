//! The store in PostgreSQL 13 or newer, which several daemons may share.
//!
//! Every call runs in a task of its own: a caller that goes away leaves it to finish there, so no
//! pooled connection is ever left inside a transaction. Statements for all databases are in `sql`.

mod access;
mod at_once;
mod calls;
mod control;
mod dialect;
mod herald;
mod schedule;
mod state;
mod statements;

use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use tokio::runtime::Handle;

use super::batch::{Batch, Shape};
use super::calls::store;
use super::commit::{Fault, commit};
use super::{Durability, LEASE, StoreError};
use at_once::commit_at_once;
use dialect::{BEGIN, BEGIN_READING, COMMIT, PgDialect, ROLLBACK, fault, step};
use herald::Herald;

/// The oldest server on which this is tested to work, as `server_version_num` counts.
const OLDEST_SERVER: i32 = 130_000;

/// One commit at a time, the claims and heartbeats, and some readers; a server's default of 100
/// connections then serves several daemons.
const CONNECTIONS: u32 = 8;

/// How long a call waits for a connection before it says that the store is unavailable.
const PATIENCE: Duration = Duration::from_secs(5);

/// Limits of every session: a lock that is not free after 10 s, or a transaction that says nothing
/// for 60 s (a daemon that was stopped midway), is given up, so that the others go on.
const SESSION: [(&str, &str); 2] = [
    ("lock_timeout", "10s"),
    ("idle_in_transaction_session_timeout", "60s"),
];

/// Commits with the same plans. A server keeps a plan that it made for tables that were nearly empty, and reads them
/// whole, until their statistics are renewed, which takes minutes; a new store grows by thousands of rows meanwhile.
const PLANS_KEPT: u64 = 256;

/// The statements whose cost must not grow with history, for the test that reads their plans.
#[doc(hidden)]
pub const HOT_STATEMENTS: &[(&str, &str)] = &[
    ("claim", statements::CLAIM),
    ("fence", statements::UPDATE_RUNS),
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
    ("io to continue", super::sql::IO_TO_CONTINUE),
    ("host calls of a run", super::sql::HOST_CALLS_OF_RUN),
    ("kv keys", super::sql_state::KV_KEYS),
    ("kv list", super::sql_state::KV_LIST),
    ("kv usage", super::sql_state::KV_USAGE),
    ("kv purge", super::sql_state::KV_PURGE),
    ("unowned", super::sql_control::UNOWNED),
    ("held", super::sql_control::HELD),
    ("letters", super::sql_control::LETTERS),
    (
        "letters of a workflow",
        super::sql_control::LETTERS_OF_WORKFLOW,
    ),
    ("letters with a code", super::sql_control::LETTERS_WITH_CODE),
    ("letters of a run", super::sql_control::RESOLVED_RUN),
    ("letters of a chain", super::sql_control::RESOLVED_CHAIN),
    ("letters not resolved", super::sql_control::NOT_RESOLVED),
    ("lane going", super::sql_control::LANE_GOING),
    ("lane next", super::sql_control::LANE_NEXT),
];

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/postgres");

/// A store on a PostgreSQL server.
#[derive(Debug, Clone)]
pub struct PostgresStore {
    pool: PgPool,
    herald: Arc<Herald>,
    lease: Duration,
    /// Where the connections were opened: they are driven there, whoever calls.
    runtime: Handle,
    /// Commits so far.
    commits: Arc<AtomicU64>,
}

impl PostgresStore {
    /// One: what comes meanwhile is the next batch.
    const COMMITS_AT_ONCE: usize = 1;

    /// Connects, and brings the tables up to date under the server's advisory lock. The tables live in
    /// the first schema of the search path (`?options[search_path]=…` in the URL chooses it).
    ///
    /// # Errors
    /// `Unavailable` when the server does not answer, `Rejected` for a bad URL or too old a server,
    /// `Corrupt` when the tables are not ours or of a later version.
    pub async fn open(url: &str, durability: Durability) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(url)
            // The URL stays out of the message: it may hold a password.
            .map_err(|_| StoreError::Rejected("the store's URL cannot be read".into()))?
            .options(SESSION)
            .options([(
                "synchronous_commit",
                match durability {
                    Durability::Full => "on",
                    Durability::Normal => "off",
                },
            )])
            .disable_statement_logging();
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(PATIENCE)
            .connect_with(options.clone())
            .await
            .map_err(fault)?;
        let mut connection = pool.acquire().await.map_err(fault)?;
        let version: i32 =
            sqlx::query_scalar("select current_setting('server_version_num')::integer")
                .fetch_one(&mut *connection)
                .await
                .map_err(fault)?;
        if version < OLDEST_SERVER {
            return Err(StoreError::Rejected(format!(
                "PostgreSQL {version} is too old: 13 or newer is needed"
            )));
        }
        MIGRATIONS
            .run_direct(None, &mut *connection, false)
            .await
            .map_err(migration_fault)?;
        let schema: String = sqlx::query_scalar("select current_schema()::text")
            .fetch_one(&mut *connection)
            .await
            .map_err(fault)?;
        drop(connection);
        let herald = Arc::new(Herald::start(options, pool.clone(), &schema));
        let runtime = Handle::current();
        Ok(Self {
            pool,
            runtime,
            commits: Arc::default(),
            herald,
            lease: LEASE,
        })
    }

    /// The same store for a daemon with this lease.
    #[must_use]
    pub fn with_lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    fn tell(&self, news: impl FnOnce() -> News) {
        self.herald.tell(news);
    }

    fn heard(&self) -> Option<tokio::sync::broadcast::Receiver<News>> {
        Some(self.herald.heard())
    }

    /// Runs `work`, which opens and closes its own transactions, on a connection of the pool.
    async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Fault>> + Send + 'static,
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
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Fault>> + Send + 'static,
    {
        self.run(move |connection| Box::pin(within(connection, BEGIN, work)))
            .await
    }

    /// Commits a batch.
    async fn apply(&self, batch: Arc<[Transition]>) -> Result<Vec<CommitOutcome>, StoreError> {
        let batch = Batch::new(&batch, Shape::Object)?;
        let plan_anew = self.commits.fetch_add(1, Relaxed) % PLANS_KEPT == PLANS_KEPT - 1;
        self.run(move |connection| {
            Box::pin(async move {
                if plan_anew {
                    step(connection, "discard plans").await?;
                }
                match commit_at_once(connection, &batch).await? {
                    Some(outcomes) => Ok(outcomes),
                    None => commit(&mut PgDialect { connection }, &batch).await,
                }
            })
        })
        .await
    }

    /// Runs `work` in one snapshot.
    async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Fault>> + Send + 'static,
    {
        self.run(move |connection| Box::pin(within(connection, BEGIN_READING, work)))
            .await
    }
}

async fn within<T, F>(
    connection: &mut PgConnection,
    begin: &'static str,
    work: F,
) -> Result<T, Fault>
where
    F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Fault>>,
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

/// A migration failed: the database's reason, or tables that are not ours.
fn migration_fault(error: sqlx::migrate::MigrateError) -> Fault {
    match error {
        sqlx::migrate::MigrateError::Execute(e)
        | sqlx::migrate::MigrateError::ExecuteMigration(e, _) => fault(e),
        other => Fault::Corrupt(other.to_string()),
    }
}

store!(PostgresStore);
