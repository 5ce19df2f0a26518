//! The compute time of one statement: what the server uses, not what the guest leaves unread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Fault, GRACE};
use crate::broker::sql::session::TimeLimit;

/// Whether a connection waits for its server. It stays so when the wait is dropped in its middle.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Busy(Arc<AtomicBool>);

impl Busy {
    pub(in super::super) fn is(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is left of a statement's time.
#[derive(Debug)]
pub(in super::super) struct Budget {
    limit: TimeLimit,
    left: Duration,
    busy: Busy,
}

impl Budget {
    /// So much time; where it is over, the limit says whose it was.
    pub(in super::super) fn new(limit: &TimeLimit, time: Duration, busy: &Busy) -> Self {
        Self {
            limit: limit.clone(),
            left: time.saturating_add(GRACE),
            busy: busy.clone(),
        }
    }

    /// Waits for the server, at most as long as the time lasts.
    pub(in super::super) async fn spend<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, Fault> {
        let began = Instant::now();
        self.busy.0.store(true, Ordering::Relaxed);
        let outcome = tokio::time::timeout(self.left, work).await;
        self.left = self.left.saturating_sub(began.elapsed());
        // The future was dropped in the middle of the protocol: only closing helps.
        let outcome = outcome.map_err(|_| Fault::broken(self.limit.over()))?;
        self.busy.0.store(false, Ordering::Relaxed);
        Ok(outcome)
    }
}
