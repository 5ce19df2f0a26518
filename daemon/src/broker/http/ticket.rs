//! What a request holds while it is under way: its record, its place among the attempt's requests,
//! and its turn at the host.
//!
//! The guest's handle and the host's task share it, and whoever ends first gives everything back. So
//! the record of a request is in the journal before the attempt's end is reported, also when the
//! task that drives the request is only told to stop.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedSemaphorePermit;

use super::turns::Turn;
use crate::broker::call::CallRecord;

/// A handle to what a request holds.
#[derive(Clone)]
pub(super) struct Ticket(Arc<Mutex<Option<Held>>>);

struct Held {
    record: CallRecord,
    turn: Option<Turn>,
    _place: OwnedSemaphorePermit,
}

impl Ticket {
    pub(super) fn new(record: CallRecord, place: OwnedSemaphorePermit) -> Self {
        Self(Arc::new(Mutex::new(Some(Held {
            record,
            turn: None,
            _place: place,
        }))))
    }

    /// Says how the call went so far; the last word counts.
    pub(super) fn outcome(&self, outcome: impl Into<String>) {
        self.with(|held| held.record.outcome(outcome));
    }

    /// Counts bytes sent.
    pub(super) fn sent(&self, bytes: usize) {
        self.with(|held| held.record.sent(bytes));
    }

    /// Counts bytes received.
    pub(super) fn received(&self, bytes: usize) {
        self.with(|held| held.record.received(bytes));
    }

    /// Keeps the turn until the call ends or the next hop begins.
    pub(super) fn keep(&self, turn: Turn) {
        self.with(|held| held.turn = Some(turn));
    }

    /// Writes the record of a hop and begins that of the next.
    pub(super) fn next(&self, record: CallRecord) {
        self.with(|held| {
            held.turn = None;
            held.record = record;
        });
    }

    /// Gives everything back; the record is in the journal when this returns.
    pub(super) fn close(&self) {
        self.lock().take();
    }

    fn with(&self, change: impl FnOnce(&mut Held)) {
        // After `close` there is nothing to change: the request was given up.
        if let Some(held) = self.lock().as_mut() {
            change(held);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
