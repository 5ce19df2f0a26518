//! Rows on their way to a guest. Dropping them ends the query.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedSemaphorePermit, mpsc};

use super::session::{Line, Message, Patience};
use super::transaction::Held;
use super::{Column, Value};
use crate::broker::call::CallRecord;
use crate::broker::error::Refusal;

/// The rows' end of a query's channel. Whoever ends the transaction around it takes it away.
pub(super) type Messages = Arc<Mutex<Option<mpsc::Receiver<Message>>>>;

/// Rows being read.
pub struct SqlRows {
    columns: Vec<Column>,
    ready: VecDeque<Vec<Value>>,
    state: State,
    patience: Patience,
    reading: Option<Reading>,
}

/// A query under way.
pub(super) struct Reading {
    pub(super) messages: Messages,
    pub(super) record: CallRecord,
    pub(super) source: Source,
}

/// Whose connection the rows come from.
pub(super) enum Source {
    /// The query's own.
    Own(
        Line,
        #[expect(dead_code, reason = "held")] OwnedSemaphorePermit,
    ),
    /// A transaction's.
    Transaction(Arc<Held>),
}

enum State {
    Open,
    Ended,
    Failed(Refusal),
}

impl SqlRows {
    /// Waits for the columns, which come first.
    pub(super) async fn begin(patience: Patience, reading: Reading) -> Result<Self, Refusal> {
        // Dropping this future drops the rows, and that stops the query.
        let mut rows = Self {
            columns: Vec::new(),
            ready: VecDeque::new(),
            state: State::Open,
            patience,
            reading: Some(reading),
        };
        match rows.message().await {
            Ok(Some(Message::Columns(columns))) => rows.columns = columns,
            Ok(Some(Message::Failed(refusal))) | Err(refusal) => return Err(rows.fail(refusal)),
            Ok(Some(Message::Rows(..)) | None) => return Err(rows.fail_lost()),
        }
        if let Some(reading) = &mut rows.reading {
            // A guest that has seen enough drops the rest.
            reading.record.outcome("ok");
        }
        Ok(rows)
    }

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

    async fn receive(&mut self) -> Result<(), Refusal> {
        match &self.state {
            State::Ended => return Ok(()),
            State::Failed(refusal) => return Err(refusal.clone()),
            State::Open => {}
        }
        match self.message().await {
            Ok(Some(Message::Rows(rows, bytes))) => {
                if let Some(reading) = &mut self.reading {
                    reading.record.received(bytes);
                }
                self.ready = rows.into();
                Ok(())
            }
            Ok(Some(Message::Failed(refusal))) | Err(refusal) => Err(self.fail(refusal)),
            Ok(Some(Message::Columns(_))) => Err(self.fail_lost()),
            Ok(None) => {
                if let Some(Reading {
                    source: Source::Own(line, _),
                    ..
                }) = self.reading.take()
                {
                    line.finish();
                }
                self.state = State::Ended;
                Ok(())
            }
        }
    }

    /// The next message; none at the end of a channel that was not cut.
    async fn message(&mut self) -> Result<Option<Message>, Refusal> {
        let Some(reading) = &mut self.reading else {
            return Ok(None);
        };
        let stop = match &reading.source {
            Source::Own(line, _) => line.stop().clone(),
            Source::Transaction(held) => held.line.stop().clone(),
        };
        let _working = match &reading.source {
            Source::Own(..) => None,
            Source::Transaction(held) => Some(held.working()),
        };
        let next = async {
            match &mut *reading.messages.lock().await {
                Some(messages) => Ok(messages.recv().await),
                None => Err(ended()),
            }
        };
        match self.patience.wait(next).await? {
            // A driver that gave up sends no more: these rows did not come to their end.
            None if stop.is_stopped() => Err(stop.why()),
            message => Ok(message),
        }
    }

    fn fail_lost(&mut self) -> Refusal {
        self.fail(Refusal::retryable(
            "sql.closed",
            "the query ended in a host error",
        ))
    }

    fn fail(&mut self, refusal: Refusal) -> Refusal {
        if let Some(mut reading) = self.reading.take() {
            reading.record.outcome(refusal.code.as_str());
        }
        self.state = State::Failed(refusal.clone());
        refusal
    }
}

fn ended() -> Refusal {
    Refusal::permanent("sql.closed", "the transaction of these rows has ended")
}
