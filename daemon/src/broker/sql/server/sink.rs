//! Rows on their way out of a server: handed over as they come, or held back until a change is done.

use tokio::sync::mpsc;

use crate::broker::error::Refusal;
use crate::broker::sql::session::{Message, Portions, size_of};
use crate::broker::sql::{Column, SqlLimits, Value};

/// The guest dropped the rows, or is gone.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Gone;

/// Where the rows of one query go.
pub(in super::super) struct Sink {
    rows: mpsc::Sender<Message>,
    portions: Portions,
    /// What waits for the end of the statement, if it has to.
    held: Option<Vec<Message>>,
    count: u64,
    bytes: u64,
}

impl Sink {
    pub(in super::super) fn new(
        rows: mpsc::Sender<Message>,
        limits: &SqlLimits,
        changes: bool,
    ) -> Self {
        Self {
            rows,
            portions: if changes {
                Portions::returned(limits)
            } else {
                Portions::streamed(limits)
            },
            held: changes.then(Vec::new),
            count: 0,
            bytes: 0,
        }
    }

    /// The columns, which come first.
    pub(in super::super) async fn columns(&mut self, columns: Vec<Column>) -> Result<(), Gone> {
        self.pass(Message::Columns(columns)).await
    }

    /// Takes a row in. Errors: a limit.
    pub(in super::super) fn row(&mut self, row: Vec<Value>) -> Result<(), Refusal> {
        let size = row.iter().map(size_of).sum();
        self.portions.count(size)?;
        self.portions.add(row);
        self.count += 1;
        self.bytes = self.bytes.saturating_add(size as u64);
        Ok(())
    }

    /// The mean size of the rows so far.
    pub(in super::super) fn mean_bytes(&self) -> u64 {
        self.bytes / self.count.max(1)
    }

    /// Hands a portion over if one is full, and waits until there is room for it.
    pub(in super::super) async fn relieve(&mut self) -> Result<(), Gone> {
        if !self.portions.is_full() {
            return Ok(());
        }
        match self.portions.take() {
            Some(portion) => self.pass(portion).await,
            None => Ok(()),
        }
    }

    /// The statement is over and right: hands over what is left.
    pub(in super::super) async fn finish(mut self) {
        let last = self.portions.take();
        for message in self.held.take().into_iter().flatten().chain(last) {
            // Nobody listens any more if the guest gave the rows up.
            if self.rows.send(message).await.is_err() {
                return;
            }
        }
    }

    /// The statement failed: that is all there is to say.
    pub(in super::super) async fn fail(self, refusal: Refusal) {
        let _ = self.rows.send(Message::Failed(refusal)).await;
    }

    async fn pass(&mut self, message: Message) -> Result<(), Gone> {
        match &mut self.held {
            Some(held) => {
                held.push(message);
                Ok(())
            }
            None => self.rows.send(message).await.map_err(|_| Gone),
        }
    }
}
