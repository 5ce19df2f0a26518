//! The time that SQLite itself may use, and what its errors are called for a guest.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use rusqlite::ffi::ErrorCode;

use crate::broker::error::Refusal;
use crate::broker::sql::session::TimeLimit;

/// Time that SQLite itself has used: waiting for the guest does not count.
pub(super) struct Watch {
    start: Instant,
    limit: TimeLimit,
    timeout_us: u64,
    paused_at_us: AtomicU64,
    ends_us: AtomicU64,
    timed_out: AtomicBool,
}

impl Watch {
    /// Starts.
    pub(super) fn new(limit: TimeLimit) -> Self {
        let timeout_us = u64::try_from(limit.most.as_micros()).unwrap_or(u64::MAX);
        Self {
            start: Instant::now(),
            limit,
            timeout_us,
            paused_at_us: AtomicU64::new(0),
            ends_us: AtomicU64::new(timeout_us),
            timed_out: AtomicBool::new(false),
        }
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Starts again with the whole time, for the next command.
    pub(super) fn restart(&self) {
        let ends = self.now_us().saturating_add(self.timeout_us);
        self.ends_us.store(ends, Ordering::Relaxed);
        self.timed_out.store(false, Ordering::Relaxed);
    }

    /// Whether the time is over; from then on [`Watch::refusal`] says so.
    pub(super) fn expired(&self) -> bool {
        let expired = self.now_us() > self.ends_us.load(Ordering::Relaxed);
        if expired {
            self.timed_out.store(true, Ordering::Relaxed);
        }
        expired
    }

    pub(super) fn pause(&self) {
        self.paused_at_us.store(self.now_us(), Ordering::Relaxed);
    }

    pub(super) fn go_on(&self) {
        let waited = self
            .now_us()
            .saturating_sub(self.paused_at_us.load(Ordering::Relaxed));
        let ends = self.ends_us.load(Ordering::Relaxed);
        self.ends_us
            .store(ends.saturating_add(waited), Ordering::Relaxed);
    }

    /// What a guest is told of an error.
    pub(super) fn refusal(&self, error: &rusqlite::Error) -> Refusal {
        match error {
            rusqlite::Error::SqliteFailure(code, text) => {
                let text = text.as_deref().unwrap_or("the database gave no reason");
                self.native(*code, text)
            }
            rusqlite::Error::MultipleStatement => {
                Refusal::permanent("sql.denied", "one call is one statement")
            }
            other => Refusal::permanent("sql.invalid", other.to_string()),
        }
    }

    fn native(&self, code: rusqlite::ffi::Error, text: &str) -> Refusal {
        match code.code {
            ErrorCode::AuthorizationForStatementDenied => Refusal::permanent("sql.denied", text),
            // A function's denial has a general code.
            _ if text.starts_with("not authorized") => Refusal::permanent("sql.denied", text),
            ErrorCode::OperationInterrupted if self.timed_out.load(Ordering::Relaxed) => {
                self.limit.over()
            }
            ErrorCode::OperationInterrupted => Refusal::cancelled(),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => self.limit.over_waiting(),
            ErrorCode::TooBig => Refusal::permanent("limit.sql-bytes", text),
            ErrorCode::CannotOpen | ErrorCode::NotADatabase => {
                Refusal::retryable("sql.connect", "the database cannot be opened now")
            }
            _ => Refusal::permanent(format!("sql.{}", code.extended_code), text),
        }
    }
}

/// Whether the error may be gone in a moment.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}
