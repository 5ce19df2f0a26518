//! `flowweaver:sql`: named databases under a task's grants, one parsed statement a call.
//!
//! `policy` decides on the statement, `database` knows what was configured, `sqlite` runs it. Tasks
//! read; changing rows is refused whatever the grant says, until a driver for it is here.

mod database;
mod functions;
mod host;
pub mod policy;
mod sqlite;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

pub use crate::bindings::sql::client::{Column, Value};
pub use database::{DatabaseError, DatabaseSettings};

use super::AttemptScope;
use super::call::CallRecord;
use super::error::Refusal;
use crate::clock::Clock;
use crate::id::DatabaseName;
use crate::workflow::grant::SqlMode;
use database::{Database, Databases};
use policy::Allowed;
use sqlite::{Job, Message, Stop};

/// What one attempt may use of SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlLimits {
    /// Calls in all. Default 1,000: each is recorded.
    pub calls: u32,
    /// Queries whose rows are being read at one time. Default 4: each holds a thread and a snapshot
    /// of the database.
    pub concurrent: u32,
    /// Rows of one query. Default 100,000: more belongs in an aggregate.
    pub rows: u64,
    /// Bytes of one query's rows. Default 64 MiB; they travel in portions, so this bounds work, not memory.
    pub bytes: u64,
}

impl Default for SqlLimits {
    fn default() -> Self {
        Self {
            calls: 1_000,
            concurrent: 4,
            rows: 100_000,
            bytes: 64 * 1024 * 1024,
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
        own: Vec<std::path::PathBuf>,
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

/// SQL as one attempt sees it.
pub struct SqlCtx {
    attempt: Arc<Attempt>,
}

struct Attempt {
    shared: Arc<SqlShared>,
    scope: AttemptScope,
    calls: AtomicU32,
    /// Results that the guest holds.
    places: Arc<Semaphore>,
    /// Threads that work for it, those included whose results it has dropped.
    threads: Arc<Semaphore>,
}

impl Attempt {
    fn record(&self, target: String, verb: &str) -> CallRecord {
        let (journal, clock) = (self.scope.journal.clone(), self.shared.clock.clone());
        CallRecord::begin(journal, clock, "sql", target, verb.to_owned())
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
                "the rows of {} queries are being read; read some to their end or drop them first",
                self.shared.limits.concurrent
            );
            Refusal::permanent("limit.sql-calls", message)
        })
    }
}

impl SqlCtx {
    pub(super) fn new(shared: Arc<SqlShared>, scope: AttemptScope) -> Self {
        let concurrent = shared.limits.concurrent as usize;
        let (places, threads) = (
            Arc::new(Semaphore::new(concurrent)),
            Arc::new(Semaphore::new(concurrent)),
        );
        Self {
            attempt: Arc::new(Attempt {
                shared,
                scope,
                calls: AtomicU32::new(0),
                places,
                threads,
            }),
        }
    }

    /// Opens a database that the task was granted. Nothing is connected yet.
    pub fn open(&self, name: &str) -> Result<SqlDatabase, Refusal> {
        let shown = name.chars().filter(|c| !c.is_control()).take(64).collect();
        let record = self.attempt.record(shown, "open");
        let result = self.attempt.count().and_then(|()| self.find(name));
        record.settle(result)
    }

    fn find(&self, name: &str) -> Result<SqlDatabase, Refusal> {
        let scope = &self.attempt.scope;
        let grants = &scope.grants.sql;
        let Some(grant) = grants.iter().find(|grant| grant.database.as_str() == name) else {
            let shown: String = name.escape_debug().take(64).collect();
            let message = format!(
                "the database `{shown}` is not granted. To allow it, add to workflow `{}`, task `{}`:\n\
                 [[job.task.sql]]\ndatabase = \"{shown}\"\nmode = \"read\"\ntables = [\"…\"]",
                scope.identity.workflow, scope.identity.task
            );
            return Err(Refusal::permanent("sql.denied", message));
        };
        let name: &DatabaseName = &grant.database;
        let database = self
            .attempt
            .shared
            .databases
            .find(name, scope.identity.organization)?;
        let (allowed, mode) = database.allowed(grant);
        Ok(SqlDatabase {
            attempt: self.attempt.clone(),
            place: format!("{}:{}", grant.place.file, grant.place.line),
            database,
            allowed,
            mode,
        })
    }
}

/// A database that a task was granted.
pub struct SqlDatabase {
    attempt: Arc<Attempt>,
    database: Arc<Database>,
    allowed: Allowed,
    mode: SqlMode,
    /// Where the grant was written.
    place: String,
}

impl SqlDatabase {
    /// Runs one query and waits for its columns.
    pub async fn query(&self, statement: &str, parameters: Vec<Value>) -> Result<SqlRows, Refusal> {
        let mut record = self.attempt.record(self.database.name.to_string(), "query");
        record.sent(statement.len());
        let begun = self.begin_query(statement, parameters).await;
        let (stop, messages, place) =
            begun.inspect_err(|refusal| record.outcome(refusal.code.as_str()))?;
        let scope = &self.attempt.scope;
        let mut rows = SqlRows {
            columns: Vec::new(),
            ready: VecDeque::new(),
            state: State::Open,
            cancel: scope.cancel.clone(),
            deadline: scope.deadline,
            // Dropping this future drops the rows, and that stops the query.
            reading: Some(Reading {
                messages,
                stop,
                record,
                _place: place,
            }),
        };
        rows.begin()
            .await
            .map_err(|refusal| self.explained(refusal))?;
        Ok(rows)
    }

    /// Changing rows is refused; the answer says why.
    pub fn change(&self, verb: &str) -> Refusal {
        let mut record = self.attempt.record(self.database.name.to_string(), verb);
        let refusal = self
            .attempt
            .count()
            .err()
            .unwrap_or_else(|| self.read_only());
        record.outcome(refusal.code.as_str());
        refusal
    }

    fn read_only(&self) -> Refusal {
        let name = &self.database.name;
        let why = match self.mode {
            SqlMode::Read => format!(
                "`{name}` may only be read: the grant at {}, or [databases.{name}] of flowweaver.toml, says mode = \"read\"",
                self.place
            ),
            SqlMode::ReadWrite => {
                format!("`{name}` is a SQLite database, which tasks can only read")
            }
        };
        Refusal::permanent("sql.denied", why)
    }

    async fn begin_query(
        &self,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Result<(Arc<Stop>, mpsc::Receiver<Message>, OwnedSemaphorePermit), Refusal> {
        self.attempt.count()?;
        let query = policy::decide_query(statement, &self.allowed)
            .map_err(|refusal| self.explained(refusal))?;
        let place = self.attempt.place()?;
        // A dropped query ends soon, and until then the next one waits: nobody can pile up threads.
        let thread = self.attempt.threads.clone().acquire_owned();
        let thread = tokio::select! {
            biased;
            () = self.attempt.scope.cancel.cancelled() => return Err(Refusal::cancelled()),
            thread = timeout_at(self.attempt.scope.deadline.into(), thread) => thread,
        };
        let thread = thread.map_err(|_| out_of_time())?.map_err(|_| closed())?;
        let (sender, messages) = mpsc::channel(1);
        let stop = Arc::new(Stop::default());
        let job = Job {
            path: self.database.path.clone(),
            parameters,
            allowed: self.allowed.clone(),
            query,
            limits: self.attempt.shared.limits.clone(),
            timeout: self.database.timeout,
            stop: stop.clone(),
            rows: sender,
            _thread: thread,
        };
        self.attempt
            .shared
            .runtime
            .spawn_blocking(move || sqlite::run(job));
        Ok((stop, messages, place))
    }

    /// A denial also says where the grant is, and what it covers.
    fn explained(&self, mut refusal: Refusal) -> Refusal {
        if refusal.code == "sql.denied" {
            let tables: Vec<&str> = self.allowed.tables.iter().map(String::as_str).collect();
            refusal.message = format!(
                "{}. The grant at {} covers {tables:?} of `{}`",
                refusal.message, self.place, self.database.name
            );
        }
        refusal
    }
}

/// A transaction. There is none yet: `begin` is refused.
#[derive(Debug)]
pub struct SqlTransaction(std::convert::Infallible);

/// Rows being read. Dropping them stops the query.
pub struct SqlRows {
    columns: Vec<Column>,
    ready: VecDeque<Vec<Value>>,
    state: State,
    cancel: CancellationToken,
    deadline: Instant,
    reading: Option<Reading>,
}

struct Reading {
    messages: mpsc::Receiver<Message>,
    stop: Arc<Stop>,
    record: CallRecord,
    _place: OwnedSemaphorePermit,
}

enum State {
    Open,
    Ended,
    Failed(Refusal),
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

impl SqlRows {
    /// The columns, in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The next rows, at most `max` and at most one portion; empty at the end. After an error every
    /// call answers it again.
    pub async fn next(&mut self, max: u32) -> Result<Vec<Vec<Value>>, Refusal> {
        if max == 0 {
            return Err(Refusal::permanent(
                "sql.invalid",
                "a call asks for at least one row",
            ));
        }
        if self.ready.is_empty() {
            self.receive().await?;
        }
        let count = self.ready.len().min(max as usize);
        Ok(self.ready.drain(..count).collect())
    }

    /// Waits for the columns, which come first.
    async fn begin(&mut self) -> Result<(), Refusal> {
        let Some(reading) = &mut self.reading else {
            return Err(self.fail(closed()));
        };
        match next_message(&mut reading.messages, &self.cancel, self.deadline).await {
            Ok(Some(Message::Columns(columns))) => {
                self.columns = columns;
                Ok(())
            }
            Ok(Some(Message::Failed(refusal))) | Err(refusal) => Err(self.fail(refusal)),
            Ok(Some(Message::Rows(..)) | None) => Err(self.fail(closed())),
        }
    }

    async fn receive(&mut self) -> Result<(), Refusal> {
        match &self.state {
            State::Ended => return Ok(()),
            State::Failed(refusal) => return Err(refusal.clone()),
            State::Open => {}
        }
        let Some(reading) = &mut self.reading else {
            return Err(self.fail(closed()));
        };
        match next_message(&mut reading.messages, &self.cancel, self.deadline).await {
            Ok(Some(Message::Rows(rows, bytes))) => {
                reading.record.received(bytes);
                self.ready = rows.into();
                Ok(())
            }
            Ok(Some(Message::Failed(refusal))) | Err(refusal) => Err(self.fail(refusal)),
            Ok(Some(Message::Columns(_))) => Err(self.fail(closed())),
            Ok(None) => {
                reading.record.outcome("ok");
                self.reading = None;
                self.state = State::Ended;
                Ok(())
            }
        }
    }

    fn fail(&mut self, refusal: Refusal) -> Refusal {
        if let Some(mut reading) = self.reading.take() {
            reading.record.outcome(refusal.code.as_str());
        }
        self.state = State::Failed(refusal.clone());
        refusal
    }
}

async fn next_message(
    messages: &mut mpsc::Receiver<Message>,
    cancel: &CancellationToken,
    deadline: Instant,
) -> Result<Option<Message>, Refusal> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Refusal::cancelled()),
        message = timeout_at(deadline.into(), messages.recv()) => {
            message.map_err(|_| out_of_time())
        }
    }
}

fn out_of_time() -> Refusal {
    Refusal::retryable("sql.timeout", "the attempt's time is up")
}

fn closed() -> Refusal {
    Refusal::retryable("sql.closed", "the query ended in a host error")
}
