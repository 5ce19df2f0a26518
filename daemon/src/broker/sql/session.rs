//! A session: one connection in the hands of one attempt, from its opening to its end, and all that
//! the guest's side and a driver say to each other.
//!
//! The guest's side sends commands and waits on channels, nothing else: it may be dropped at any
//! instant. A driver runs each session as a spawned unit of its own, so that whatever becomes of the
//! guest, the connection ends in a known state. How a database is spoken to is a driver's business.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

use super::policy::{Allowed, Decided};
use super::{Column, SqlLimits, Value};
use crate::broker::error::Refusal;
use crate::id::DatabaseName;

/// Rows that travel to the guest's side at a time.
const PORTION_ROWS: usize = 256;
/// The same in bytes: a portion ends at whichever comes first.
const PORTION_BYTES: usize = 1024 * 1024;
/// What a change may answer with `returning`: it is held in memory until the change is done.
const RETURNED_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// What a value costs beside its text or bytes: a kind, a length, a place in a list.
const VALUE_BYTES: usize = 16;

/// What a session is asked to do, one at a time, in order.
pub(super) enum Command {
    /// Runs a statement that returns rows; they travel in portions through `rows`.
    ///
    /// Dropping the receiver ends the query early. A statement that also changes rows
    /// (`decided.changes`) runs to its end, and outside a transaction is committed, before its
    /// columns are sent: what the guest was told has happened. See [`Portions::returned`].
    Query {
        /// The statement.
        decided: Decided,
        /// As many as it has.
        parameters: Vec<Value>,
        /// Where the rows go.
        rows: mpsc::Sender<Message>,
    },
    /// Runs one statement for each list of parameters, all or none: outside a transaction in one of
    /// its own. Inside of one, what a failure leaves is the database's: SQLite and MariaDB undo the batch (a savepoint
    /// stands before it) and go on with the transaction; PostgreSQL gives the whole transaction up.
    Change {
        /// The statement.
        decided: Decided,
        /// A list a run; never empty.
        batch: Vec<Vec<Value>>,
        /// How many rows each run changed.
        counts: oneshot::Sender<Result<Vec<u64>, Refusal>>,
    },
    /// Makes the changes of a transaction durable, and ends the session.
    Commit {
        /// An error whose code is not `sql.unknown-outcome` says that nothing was changed.
        done: oneshot::Sender<Result<(), Refusal>>,
    },
    /// Undoes the changes of a transaction, and ends the session.
    Rollback {
        /// How it went.
        done: oneshot::Sender<Result<(), Refusal>>,
    },
}

/// What a driver sends for a query. The end of the channel is the end of the rows.
pub(super) enum Message {
    /// First, exactly once.
    Columns(Vec<Column>),
    /// Then, any number of times: rows, and how many bytes they count.
    Rows(Vec<Vec<Value>>, usize),
    /// At any time, last.
    Failed(Refusal),
}

/// One connection in the hands of one attempt.
pub(super) struct Session {
    /// What it may do; the database's own session is to know it too.
    pub(super) allowed: Allowed,
    /// Rows and bytes of one query.
    pub(super) limits: SqlLimits,
    /// How long the database may compute for one command; waiting for the guest does not count.
    pub(super) time: TimeLimit,
    /// A transaction of the guest's: the end of `commands` without a commit is a rollback. Otherwise
    /// there is one command, and what it changes is committed with it.
    pub(super) transaction: bool,
    /// Whether anything may be changed; if not, the database is told so.
    pub(super) writes: bool,
    /// Given up: what runs is to end at once, and the connection is closed, not used again.
    pub(super) stop: Arc<Stop>,
    /// Told once the connection is there and its transaction has begun, or why not. After an error no
    /// command is answered.
    pub(super) opened: oneshot::Sender<Result<(), Refusal>>,
    /// What to do.
    pub(super) commands: mpsc::Receiver<Command>,
    /// Held until the connection is free again.
    pub(super) permit: Permit,
}

/// A place among an attempt's sessions, and one among a database's connections.
#[derive(Debug)]
#[expect(dead_code, reason = "held, and given back when it is dropped")]
pub(super) struct Permit {
    pub(super) of_attempt: OwnedSemaphorePermit,
    pub(super) of_database: OwnedSemaphorePermit,
}

/// How long a database may compute for one command, and whose setting that is.
#[derive(Debug, Clone)]
pub(super) struct TimeLimit {
    pub(super) database: DatabaseName,
    pub(super) most: Duration,
}

impl TimeLimit {
    /// The statement's time is up.
    pub(super) fn over(&self) -> Refusal {
        self.refusal("the statement took longer")
    }

    /// Others held a lock for as long as that.
    pub(super) fn over_waiting(&self) -> Refusal {
        self.refusal("others had the database locked for longer")
    }

    fn refusal(&self, what: &str) -> Refusal {
        let message = format!(
            "{what} than {:?}, the `timeout` of [databases.{}] in flowweaver.toml",
            self.most, self.database
        );
        Refusal::retryable("sql.timeout", message)
    }
}

/// How the guest's side ends a session early, whatever it is doing.
#[derive(Default)]
pub(super) struct Stop {
    given_up: CancellationToken,
    why: OnceLock<Refusal>,
    /// Ends what only the driver can end: SQLite's interrupt.
    action: Mutex<Option<Box<dyn Fn() + Send>>>,
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stop")
            .field("stopped", &self.is_stopped())
            .finish_non_exhaustive()
    }
}

impl Stop {
    /// Gives the session up. Any number of times, from any thread.
    pub(super) fn stop(&self) {
        self.given_up.cancel();
        if let Some(action) = &*self.action.lock().unwrap_or_else(PoisonError::into_inner) {
            action();
        }
    }

    /// Says what a guest is answered that uses the session after its end. The first word counts.
    pub(super) fn because(&self, why: Refusal) {
        // A later reason is a consequence of the first.
        let _ = self.why.set(why);
    }

    /// What a guest is answered that uses the session after its end.
    pub(super) fn why(&self) -> Refusal {
        self.why.get().cloned().unwrap_or_else(|| {
            Refusal::retryable("sql.closed", "the connection was lost on the host's side")
        })
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.given_up.is_cancelled()
    }

    /// Waits until the session is given up.
    pub(super) async fn stopped(&self) {
        self.given_up.cancelled().await;
    }

    /// Has this done when the session is given up, at once if it already was.
    pub(super) fn on_stop(&self, action: Box<dyn Fn() + Send>) {
        let mut place = self.action.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_stopped() {
            action();
        }
        *place = Some(action);
    }
}

/// The guest's end of a session. Dropping it gives the session up.
pub(super) struct Line {
    commands: mpsc::Sender<Command>,
    opened: Option<oneshot::Receiver<Result<(), Refusal>>>,
    stop: Arc<Stop>,
    finished: AtomicBool,
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.is_finished() {
            self.stop.stop();
        }
    }
}

/// What a [`Session`] is made of, beside its channels.
pub(super) struct Order {
    pub(super) allowed: Allowed,
    pub(super) limits: SqlLimits,
    pub(super) time: TimeLimit,
    pub(super) transaction: bool,
    pub(super) writes: bool,
    pub(super) permit: Permit,
}

impl Line {
    /// The two ends of a new session.
    pub(super) fn new(order: Order) -> (Self, Session) {
        // The guest's side waits for each answer before it asks again.
        let (commands, receiver) = mpsc::channel(1);
        let (opened, told) = oneshot::channel();
        let stop = Arc::new(Stop::default());
        let session = Session {
            allowed: order.allowed,
            limits: order.limits,
            time: order.time,
            transaction: order.transaction,
            writes: order.writes,
            stop: stop.clone(),
            opened,
            commands: receiver,
            permit: order.permit,
        };
        let line = Self {
            commands,
            opened: Some(told),
            stop,
            finished: AtomicBool::new(false),
        };
        (line, session)
    }

    /// How it is ended early by somebody who does not hold it.
    pub(super) fn stop(&self) -> &Arc<Stop> {
        &self.stop
    }

    /// Waits until the connection is there.
    pub(super) async fn opened(&mut self) -> Result<(), Refusal> {
        match self.opened.take() {
            Some(opened) => opened.await.unwrap_or_else(|_| Err(self.stop.why())),
            None => Ok(()),
        }
    }

    /// Sends a command.
    pub(super) async fn send(&self, command: Command) -> Result<(), Refusal> {
        let sent = self.commands.send(command).await;
        sent.map_err(|_| self.stop.why())
    }

    /// Sends a command and waits for its answer.
    pub(super) async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> Command,
    ) -> Result<T, Refusal> {
        let (sender, answer) = oneshot::channel();
        self.send(command(sender)).await?;
        answer.await.unwrap_or_else(|_| Err(self.stop.why()))
    }

    /// The session came to its own end: its connection may be used again.
    pub(super) fn finish(&self) {
        self.finished.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Relaxed)
    }
}

/// How long a guest's call waits for anything.
#[derive(Debug, Clone)]
pub(super) struct Patience {
    pub(super) cancel: CancellationToken,
    pub(super) deadline: Instant,
}

impl Patience {
    /// What `work` comes to, unless the attempt ends first.
    pub(super) async fn wait<T>(
        &self,
        work: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Refusal::cancelled()),
            done = timeout_at(self.deadline.into(), work) => done.unwrap_or_else(|_| Err(out_of_time())),
        }
    }

    /// Waits for the end of the attempt; answers what its calls are told then.
    pub(super) async fn end(&self) -> Refusal {
        match self.wait(std::future::pending::<Result<(), _>>()).await {
            Ok(()) => out_of_time(),
            Err(refusal) => refusal,
        }
    }
}

fn out_of_time() -> Refusal {
    Refusal::retryable(
        "sql.timeout",
        "the attempt's time is up, the `timeout` of its task",
    )
}

/// A query's rows on their way to the guest, in portions and within the limits.
pub(super) struct Portions {
    rows_max: u64,
    bytes_max: u64,
    count: u64,
    total: u64,
    rows: Vec<Vec<Value>>,
    bytes: usize,
}

impl Portions {
    /// For rows that are sent while the query runs.
    pub(super) fn streamed(limits: &SqlLimits) -> Self {
        Self {
            rows_max: limits.rows,
            bytes_max: limits.bytes,
            count: 0,
            total: 0,
            rows: Vec::new(),
            bytes: 0,
        }
    }

    /// For rows that a change returns: all are held until it is done.
    pub(super) fn returned(limits: &SqlLimits) -> Self {
        Self {
            bytes_max: limits.bytes.min(RETURNED_BYTES_MAX),
            ..Self::streamed(limits)
        }
    }

    /// Counts a row before it is copied, so that one huge row is refused where it is.
    pub(super) fn count(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.count += 1;
        self.total = self.total.saturating_add(bytes as u64);
        self.bytes = self.bytes.saturating_add(bytes);
        within("limit.sql-rows", "rows", self.count, self.rows_max)?;
        within("limit.sql-bytes", "bytes", self.total, self.bytes_max)
    }

    /// Adds a row that was counted.
    pub(super) fn add(&mut self, row: Vec<Value>) {
        self.rows.push(row);
    }

    /// Whether what is here should be sent before more is read.
    pub(super) fn is_full(&self) -> bool {
        self.rows.len() >= PORTION_ROWS || self.bytes >= PORTION_BYTES
    }

    /// What is here, if anything is.
    pub(super) fn take(&mut self) -> Option<Message> {
        let (rows, bytes) = (
            std::mem::take(&mut self.rows),
            std::mem::take(&mut self.bytes),
        );
        (!rows.is_empty()).then_some(Message::Rows(rows, bytes))
    }
}

fn within(code: &str, what: &str, used: u64, max: u64) -> Result<(), Refusal> {
    if used > max {
        let message = format!("a query answers at most {max} {what}");
        return Err(Refusal::permanent(code, message));
    }
    Ok(())
}

/// What a value counts against the limits.
pub(super) fn size_of(value: &Value) -> usize {
    match value {
        Value::Null | Value::Boolean(_) | Value::Int64(_) | Value::Float64(_) => VALUE_BYTES,
        Value::Blob(bytes) => sized(bytes.len()),
        Value::Text(text)
        | Value::Decimal(text)
        | Value::Timestamp(text)
        | Value::Json(text)
        | Value::Uuid(text) => sized(text.len()),
        Value::Other((name, text)) => sized(name.len().saturating_add(text.len())),
    }
}

/// What a value of so many bytes counts.
pub(super) fn sized(bytes: usize) -> usize {
    bytes.saturating_add(VALUE_BYTES)
}
