//! The record that is kept of every broker call, allowed or denied. What cannot be recorded is refused.
//!
//! What is done with it afterwards is the journal's and the engine's business.

use std::sync::Arc;

use crate::broker::error::Refusal;
use crate::broker::journal::{CALLS_MAX, HostCall, Journal, truncate};
use crate::clock::Clock;

/// A target longer than this is cut: people read it, and a guest writes most of it.
const TARGET_BYTES_MAX: usize = 1024;

/// A call that may be made because its record has room in the journal. Dropped without a beginning,
/// it gives the room back.
pub struct PlannedCall {
    room: Room,
    clock: Arc<dyn Clock>,
    kind: &'static str,
    target: String,
}

impl PlannedCall {
    /// Takes the room. This is where a call without a record is refused, before it has any effect.
    ///
    /// Errors: `limit.calls`.
    pub fn new(
        journal: Arc<Journal>,
        clock: Arc<dyn Clock>,
        kind: &'static str,
        mut target: String,
    ) -> Result<Self, Refusal> {
        truncate(&mut target, TARGET_BYTES_MAX);
        let bytes = target.len();
        if !journal.make_room(bytes) {
            let message = format!(
                "each call is recorded, at most {CALLS_MAX} of an attempt and 8 MiB of targets, denied calls included; \
                 this one has no room and is not made"
            );
            return Err(Refusal::permanent("limit.calls", message));
        }
        let filled = false;
        Ok(Self {
            room: Room {
                journal,
                bytes,
                filled,
            },
            clock,
            kind,
            target,
        })
    }

    /// Begins the call.
    pub fn begin(self, verb: String) -> CallRecord {
        let started_at = self.clock.now();
        CallRecord {
            room: self.room,
            clock: self.clock,
            call: HostCall {
                kind: self.kind,
                target: self.target,
                verb,
                outcome: "abandoned".to_owned(),
                sent_bytes: 0,
                received_bytes: 0,
                started_at,
                duration_us: 0,
            },
        }
    }
}

/// Room for one record.
struct Room {
    journal: Arc<Journal>,
    bytes: usize,
    filled: bool,
}

impl Drop for Room {
    fn drop(&mut self) {
        if !self.filled {
            self.journal.give_room_back(self.bytes);
        }
    }
}

/// A call under way. It is written to the journal exactly once: when it is dropped, with the last
/// outcome it was given. A call that was dropped before it had one is recorded as `abandoned`.
pub struct CallRecord {
    room: Room,
    clock: Arc<dyn Clock>,
    call: HostCall,
}

impl CallRecord {
    /// Begins the record of a call of this kind (`http`, `sql`, `kv`).
    ///
    /// Errors: `limit.calls`; then the call is not to be made.
    pub fn begin(
        journal: Arc<Journal>,
        clock: Arc<dyn Clock>,
        kind: &'static str,
        target: String,
        verb: String,
    ) -> Result<Self, Refusal> {
        Ok(PlannedCall::new(journal, clock, kind, target)?.begin(verb))
    }

    /// Says what was done, once that is understood.
    pub fn verb(&mut self, verb: &str) {
        verb.clone_into(&mut self.call.verb);
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
        self.room.filled = true;
        self.room.journal.call(self.call.clone());
    }
}
