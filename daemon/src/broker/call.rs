//! The record that is kept of every broker call, allowed or denied.
//!
//! What is done with it afterwards is the journal's and the engine's business.

use std::sync::Arc;

use crate::broker::error::Refusal;
use crate::broker::journal::{HostCall, Journal};
use crate::clock::Clock;

/// A call under way. It is written to the journal exactly once: when it is dropped, with the last
/// outcome it was given. A call that was dropped before it had one is recorded as `abandoned`.
pub struct CallRecord {
    journal: Arc<Journal>,
    clock: Arc<dyn Clock>,
    call: HostCall,
}

impl CallRecord {
    /// Begins the record of a call of this kind (`http`, `sql`, `kv`).
    pub fn begin(
        journal: Arc<Journal>,
        clock: Arc<dyn Clock>,
        kind: &'static str,
        target: String,
        verb: String,
    ) -> Self {
        let started_at = clock.now();
        Self {
            journal,
            clock,
            call: HostCall {
                kind,
                target,
                verb,
                outcome: "abandoned".to_owned(),
                sent_bytes: 0,
                received_bytes: 0,
                started_at,
                duration_us: 0,
            },
        }
    }

    /// Says how it went so far; the last word counts.
    pub fn outcome(&mut self, outcome: impl Into<String>) {
        self.call.outcome = outcome.into();
    }

    /// Counts bytes sent.
    pub fn sent(&mut self, bytes: usize) {
        self.call.sent_bytes = self.call.sent_bytes.saturating_add(bytes as u64);
    }

    /// Counts bytes received.
    pub fn received(&mut self, bytes: usize) {
        self.call.received_bytes = self.call.received_bytes.saturating_add(bytes as u64);
    }

    /// Takes the outcome from a result: `ok`, or the error's code.
    pub fn settle<T>(mut self, result: Result<T, Refusal>) -> Result<T, Refusal> {
        match &result {
            Ok(_) => self.outcome("ok"),
            Err(error) => self.outcome(error.code.as_str()),
        }
        result
    }
}

impl Drop for CallRecord {
    fn drop(&mut self) {
        let duration = self.clock.now().since(self.call.started_at);
        self.call.duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.journal.call(self.call.clone());
    }
}
