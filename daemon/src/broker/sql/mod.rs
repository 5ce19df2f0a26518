//! `flowweaver:sql`: named databases under a task's grants, one parsed statement a call.
//!
//! `policy` decides on the statement, `database` knows what was configured, `reach` puts both together
//! for a call, `session` carries it to the driver that speaks to the database. `rows` and
//! `transaction` are what a guest holds.

mod database;
mod host;
mod lesson;
mod mariadb;
mod own;
pub mod policy;
mod postgres;
mod reach;
mod rows;
mod server;
mod session;
mod sqlite;
mod transaction;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

pub use crate::bindings::sql::client::{Column, Value};
pub use database::{DatabaseError, DatabaseSettings, findings, url_problem};
pub use own::Own;
pub use reach::SqlDatabase;
pub use rows::SqlRows;
pub use server::Finding;
pub use transaction::SqlTransaction;

use super::AttemptScope;
use super::call::{CallRecord, PlannedCall};
use super::error::Refusal;
use super::journal::Line;
use crate::clock::Clock;
use crate::id::DatabaseName;
use crate::run::status::Level;
use database::{Database, Databases};
use session::{Patience, Permit};

/// What one attempt may use of SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlLimits {
    /// Calls in all. Default 1,000: each is recorded.
    pub calls: u32,
    /// Connections at one time: queries whose rows are being read, and a transaction. Default 4:
    /// each holds a snapshot of the database.
    pub concurrent: u32,
    /// Rows of one query. Default 100,000: more belongs in an aggregate.
    pub rows: u64,
    /// Bytes of one query's rows. Default 64 MiB; they travel in portions, so this bounds work, not memory.
    pub bytes: u64,
    /// Bytes of one call's parameters, a batch's together. Default 16 MiB: they are held at once.
    pub parameters: u64,
    /// How long a transaction waits for its guest. Default 30 s: others wait for what it has locked, so
    /// a slow service is called before it or after it.
    pub idle: Duration,
}

impl Default for SqlLimits {
    fn default() -> Self {
        Self {
            calls: 1_000,
            concurrent: 4,
            rows: 100_000,
            bytes: 64 * 1024 * 1024,
            parameters: 16 * 1024 * 1024,
            idle: Duration::from_secs(30),
        }
    }
}

/// What all attempts share.
pub(super) struct SqlShared {
    databases: Databases,
    limits: SqlLimits,
    clock: Arc<dyn Clock>,
    runtime: Handle,
}

impl SqlShared {
    pub(super) fn new(
        databases: Vec<DatabaseSettings>,
        own: Own,
        limits: SqlLimits,
        clock: Arc<dyn Clock>,
        runtime: Handle,
    ) -> Result<Self, DatabaseError> {
        Ok(Self {
            databases: Databases::new(databases, own)?,
            limits,
            clock,
            runtime,
        })
    }
}

impl SqlShared {
    /// Asks every configured server whether it is the daemon's own store.
    pub(super) async fn are_strange(&self) -> Result<(), DatabaseError> {
        self.databases.are_strange().await
    }
}

/// SQL as one attempt sees it.
pub struct SqlCtx {
    attempt: Arc<Attempt>,
}

/// What the handles of one attempt share.
struct Attempt {
    shared: Arc<SqlShared>,
    scope: AttemptScope,
    calls: AtomicU32,
    /// Results and transactions that the guest holds.
    places: Arc<Semaphore>,
    /// Sessions that work for it, those included whose results it has dropped.
    sessions: Arc<Semaphore>,
    /// The database that its transaction is open in.
    transaction: Mutex<Option<DatabaseName>>,
}

impl Attempt {
    fn record(&self, target: String, verb: &str) -> Result<CallRecord, Refusal> {
        Ok(self.plan(target)?.begin(verb.to_owned()))
    }

    /// Room for the record of a call that will come, whatever becomes of the guest.
    fn plan(&self, target: String) -> Result<PlannedCall, Refusal> {
        let (journal, clock) = (self.scope.journal.clone(), self.shared.clock.clone());
        PlannedCall::new(journal, clock, "sql", target)
    }

    /// Writes a denial into the attempt's log, where it is found also if the guest says nothing of it.
    fn denied(&self, refusal: Refusal) -> Refusal {
        self.scope.journal.line(Line {
            at: self.shared.clock.now(),
            level: Level::Warn,
            message: refusal.message.clone(),
            fields: vec![("code".to_owned(), refusal.code.clone())],
        });
        refusal
    }

    fn patience(&self) -> Patience {
        Patience {
            cancel: self.scope.cancel.clone(),
            deadline: self.scope.deadline,
        }
    }

    fn count(&self) -> Result<(), Refusal> {
        let most = self.shared.limits.calls;
        if self.calls.fetch_add(1, Ordering::Relaxed) < most {
            return Ok(());
        }
        self.calls.fetch_sub(1, Ordering::Relaxed);
        Err(Refusal::permanent(
            "limit.sql-calls",
            format!("an attempt makes at most {most} calls"),
        ))
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        self.places.clone().try_acquire_owned().map_err(|_| {
            let message = format!(
                "{} queries or transactions are open; read some to their end or drop them first",
                self.shared.limits.concurrent
            );
            Refusal::permanent("limit.sql-calls", message)
        })
    }

    /// Waits for a connection. What was dropped ends soon, and until then the next one waits: nobody
    /// can pile up connections.
    async fn permit(&self, database: &Database) -> Result<Permit, Refusal> {
        let none = |_| Refusal::retryable("sql.connect", "the daemon is stopping");
        let of_attempt = self.sessions.clone().acquire_owned().await.map_err(none)?;
        let free = database.connections.clone().acquire_owned();
        match timeout(database.timeout, free).await {
            Ok(free) => Ok(Permit {
                of_attempt,
                of_database: free.map_err(none)?,
            }),
            Err(_) => Err(Refusal::retryable(
                "sql.connect",
                format!(
                    "all connections to `{0}` are in use, as many as [databases.{0}] has `connections` in flowweaver.toml",
                    database.name
                ),
            )),
        }
    }

    fn in_transaction(&self) -> std::sync::MutexGuard<'_, Option<DatabaseName>> {
        self.transaction
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl SqlCtx {
    pub(super) fn new(shared: Arc<SqlShared>, scope: AttemptScope) -> Self {
        let concurrent = shared.limits.concurrent as usize;
        let (places, sessions) = (
            Arc::new(Semaphore::new(concurrent)),
            Arc::new(Semaphore::new(concurrent)),
        );
        Self {
            attempt: Arc::new(Attempt {
                shared,
                scope,
                calls: AtomicU32::new(0),
                places,
                sessions,
                transaction: Mutex::new(None),
            }),
        }
    }

    /// Opens a database that the task was granted. Nothing is connected yet.
    pub fn open(&self, name: &str) -> Result<SqlDatabase, Refusal> {
        let shown = name.chars().filter(|c| !c.is_control()).take(64).collect();
        let record = self.attempt.record(shown, "open")?;
        let result = self
            .attempt
            .count()
            .and_then(|()| SqlDatabase::find(&self.attempt, name));
        record.settle(result)
    }
}
