//! A transaction in a guest's hands. Whatever ends it without a commit undoes it: dropping it, the end
//! of the attempt, or waiting too long for the guest's next word.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::reach::{Reach, Wants};
use super::rows::{Messages, Reading, Source, SqlRows};
use super::session::{Command, Line, Message, Patience, Stop};
use super::{Attempt, Value};
use crate::broker::call::{CallRecord, PlannedCall};
use crate::broker::error::Refusal;
use crate::id::DatabaseName;

/// The channel of the rows that were begun last, for as long as they are held.
type LastRows = Weak<tokio::sync::Mutex<Option<mpsc::Receiver<Message>>>>;

/// An open transaction.
pub struct SqlTransaction {
    reach: Arc<Reach>,
    held: Arc<Held>,
    _place: OwnedSemaphorePermit,
    _open: Open,
}

/// What a transaction shares with the rows that are read in it.
pub(super) struct Held {
    pub(super) line: Line,
    /// Calls that are under way: while there are none, the transaction waits for its guest.
    working: watch::Sender<u32>,
    /// The rows that were begun last.
    reading: Mutex<LastRows>,
    end: End,
}

/// Its end is recorded once, by whoever sees it first. The room was taken at the beginning, so that
/// no transaction ends without its record.
#[derive(Clone)]
struct End(Arc<Mutex<Option<PlannedCall>>>);

impl End {
    /// Begins the record of the end; none if somebody else did.
    fn begin(&self, verb: &str) -> Option<CallRecord> {
        let planned = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        planned.map(|planned| planned.begin(verb.to_owned()))
    }
}

impl Held {
    /// A call is under way until the answer is dropped.
    pub(super) fn working(&self) -> Working<'_> {
        self.working.send_modify(|calls| *calls += 1);
        Working(&self.working)
    }
}

/// A call under way.
pub(super) struct Working<'a>(&'a watch::Sender<u32>);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|calls| *calls = calls.saturating_sub(1));
    }
}

/// The attempt's one transaction is open until this is dropped.
pub(super) struct Open(Arc<Attempt>);

impl Open {
    pub(super) fn new(attempt: &Arc<Attempt>, database: &DatabaseName) -> Result<Self, Refusal> {
        let mut open = attempt.in_transaction();
        if let Some(other) = &*open {
            let message = format!(
                "a transaction in `{other}` is open; one may be open at a time: commit it or drop it first"
            );
            return Err(Refusal::permanent("sql.invalid", message));
        }
        *open = Some(database.clone());
        Ok(Self(attempt.clone()))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        *self.0.in_transaction() = None;
    }
}

impl SqlTransaction {
    pub(super) fn new(
        reach: Arc<Reach>,
        line: Line,
        (place, open): (OwnedSemaphorePermit, Open),
        end: PlannedCall,
    ) -> Self {
        let (working, calls) = watch::channel(0);
        let end = End(Arc::new(Mutex::new(Some(end))));
        let watched = Watched {
            stop: line.stop().clone(),
            end: end.clone(),
            patience: reach.attempt.patience(),
            idle: reach.attempt.shared.limits.idle,
        };
        reach
            .attempt
            .shared
            .runtime
            .spawn(watched.until_its_end(calls));
        let held = Arc::new(Held {
            line,
            working,
            reading: Mutex::default(),
            end,
        });
        Self {
            reach,
            held,
            _place: place,
            _open: open,
        }
    }

    /// Runs one statement that returns rows, and waits for its columns.
    ///
    /// Errors: those of [`super::SqlDatabase::query`]; `sql.closed` after the transaction's end.
    pub async fn query(&self, statement: &str, parameters: Vec<Value>) -> Result<SqlRows, Refusal> {
        let mut record = self.reach.record("query", statement)?;
        let begun = async {
            let batch = vec![parameters];
            let decided = self
                .reach
                .decide(statement, &batch, Wants::Rows, &mut record)?;
            self.is_free()?;
            let (rows, receiver) = mpsc::channel(1);
            let messages: Messages = Arc::new(tokio::sync::Mutex::new(Some(receiver)));
            *self.reading() = Arc::downgrade(&messages);
            let parameters = batch.into_iter().next().unwrap_or_default();
            let command = Command::Query {
                decided,
                parameters,
                rows,
            };
            let _working = self.held.working();
            self.wait(self.held.line.send(command)).await?;
            Ok(messages)
        };
        let begun: Result<Messages, Refusal> = begun.await;
        let messages = begun.inspect_err(|refusal| record.outcome(refusal.code.as_str()))?;
        let reading = Reading {
            messages,
            record,
            source: Source::Transaction(self.held.clone()),
        };
        SqlRows::begin(self.reach.attempt.patience(), reading)
            .await
            .map_err(|refusal| self.reach.explained(refusal, statement))
    }

    /// Runs one statement that changes rows; answers how many.
    ///
    /// Errors: those of [`super::SqlDatabase::execute`]; `sql.closed` after the transaction's end.
    pub async fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<u64, Refusal> {
        let counts = self.change("execute", statement, vec![parameters]).await?;
        Ok(counts.first().copied().unwrap_or_default())
    }

    /// Runs one statement for each list of parameters, all or none; answers the counts.
    ///
    /// Errors: as `execute`.
    pub async fn execute_batch(
        &self,
        statement: &str,
        batch: Vec<Vec<Value>>,
    ) -> Result<Vec<u64>, Refusal> {
        self.change("execute-batch", statement, batch).await
    }

    async fn change(
        &self,
        verb: &str,
        statement: &str,
        batch: Vec<Vec<Value>>,
    ) -> Result<Vec<u64>, Refusal> {
        let mut record = self.reach.record(verb, statement)?;
        let result = async {
            let decided = self
                .reach
                .decide(statement, &batch, Wants::Counts, &mut record)?;
            self.is_free()?;
            if batch.is_empty() {
                return Ok(Vec::new());
            }
            let _working = self.held.working();
            let changed = self.held.line.ask(|counts| Command::Change {
                decided,
                batch,
                counts,
            });
            let changed = self.wait(changed).await;
            changed.map_err(|refusal| self.reach.explained(refusal, statement))
        };
        let result = result.await;
        Reach::settle_counts(record, result)
    }

    /// Makes the changes durable.
    ///
    /// Errors: `sql.closed` when there is nothing to commit any more; after any other error the
    /// outcome is what its code says, or unknown.
    pub async fn commit(self) -> Result<(), Refusal> {
        self.end("commit", |done| Command::Commit { done }).await
    }

    /// Undoes the changes.
    ///
    /// Errors: as `commit`; the changes are undone in any case.
    pub async fn rollback(self) -> Result<(), Refusal> {
        self.end("rollback", |done| Command::Rollback { done })
            .await
    }

    async fn end(
        self,
        verb: &str,
        command: impl FnOnce(oneshot::Sender<Result<(), Refusal>>) -> Command,
    ) -> Result<(), Refusal> {
        let open = self.is_open();
        let planned = match &open {
            Ok(()) => self.held.end.begin(verb),
            Err(_) => None,
        };
        let record = match planned {
            Some(record) => record,
            None => self.reach.record(verb, "")?,
        };
        let result = async {
            open?;
            let reading = self.reading().upgrade();
            if let Some(messages) = reading {
                messages.lock().await.take();
            }
            let _working = self.held.working();
            self.wait(self.held.line.ask(command)).await?;
            self.held.line.finish();
            Ok(())
        };
        record.settle(result.await)
    }

    async fn wait<T>(&self, work: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
        self.reach.attempt.patience().wait(work).await
    }

    fn reading(&self) -> std::sync::MutexGuard<'_, LastRows> {
        self.held
            .reading
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn is_open(&self) -> Result<(), Refusal> {
        let stop = self.held.line.stop();
        if stop.is_stopped() {
            return Err(stop.why());
        }
        Ok(())
    }

    /// One connection does one thing at a time.
    fn is_free(&self) -> Result<(), Refusal> {
        self.is_open()?;
        if self.reading().strong_count() > 0 {
            return Err(Refusal::permanent(
                "sql.invalid",
                "rows of this transaction are being read; read them to their end, or drop them, first",
            ));
        }
        Ok(())
    }
}

impl Drop for SqlTransaction {
    fn drop(&mut self) {
        if self.held.line.is_finished() {
            return;
        }
        // Nobody waits to see how it ends, which is what the record says.
        drop(self.held.end.begin("rollback"));
        // Rows of it may still be held.
        let stop = self.held.line.stop();
        stop.because(Refusal::permanent(
            "sql.closed",
            "the transaction was rolled back",
        ));
        stop.stop();
    }
}

/// A transaction as the one sees it who ends it when nobody else does.
struct Watched {
    stop: Arc<Stop>,
    end: End,
    patience: Patience,
    idle: Duration,
}

impl Watched {
    /// Ends it with its attempt, or when its guest is silent for too long; a guest that computes for
    /// ever is not asked.
    async fn until_its_end(self, calls: watch::Receiver<u32>) {
        let why = tokio::select! {
            () = self.stop.stopped() => return,
            why = self.patience.end() => why,
            over = silence(calls, self.idle) => match over {
                true => self.too_long(),
                // Nobody holds it any more.
                false => return,
            },
        };
        if let Some(mut record) = self.end.begin("rollback") {
            record.outcome(why.code.as_str());
        }
        self.stop.because(why);
        self.stop.stop();
    }

    fn too_long(&self) -> Refusal {
        let message = format!(
            "the transaction waited for more than {:?}, `sql_idle` of [limits] in flowweaver.toml, and was rolled back; \
             slow work belongs before it or after it",
            self.idle
        );
        Refusal::retryable("sql.closed", message)
    }
}

/// Waits until no call was under way for so long (true), or there will be none (false).
async fn silence(mut calls: watch::Receiver<u32>, idle: Duration) -> bool {
    loop {
        let waiting = *calls.borrow_and_update() == 0;
        let change = calls.changed();
        if waiting {
            match timeout(idle, change).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return false,
                Err(_) => return true,
            }
        } else if change.await.is_err() {
            return false;
        }
    }
}
