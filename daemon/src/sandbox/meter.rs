//! What an attempt has used: CPU time, by the clock of the thread that polls it, and its peak of memory.
//!
//! It outlives the instance, so that an attempt that panics or is dropped is still accounted for.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The account of one attempt. One thread at a time writes it; others may read.
#[derive(Debug)]
pub(super) struct Meter {
    budget_ns: u64,
    spent_ns: AtomicU64,
    /// The thread's clock when the poll under way began.
    began_ns: AtomicU64,
    memory_peak: AtomicU64,
    preempted: AtomicBool,
}

impl Meter {
    /// An account with nothing on it.
    pub(super) fn new(budget: Duration) -> Self {
        Self {
            budget_ns: u64::try_from(budget.as_nanos()).unwrap_or(u64::MAX),
            spent_ns: AtomicU64::new(0),
            began_ns: AtomicU64::new(0),
            memory_peak: AtomicU64::new(0),
            preempted: AtomicBool::new(false),
        }
    }

    /// Counts the time of this thread until the guard is dropped.
    pub(super) fn poll(&self) -> Poll<'_> {
        self.began_ns.store(thread_ns(), Relaxed);
        Poll(self)
    }

    /// Whether the budget is used up; to be asked within a poll, on its thread.
    pub(super) fn exhausted(&self) -> bool {
        let now = thread_ns().saturating_sub(self.began_ns.load(Relaxed));
        self.spent_ns.load(Relaxed).saturating_add(now) > self.budget_ns
    }

    /// The budget.
    pub(super) fn budget(&self) -> Duration {
        Duration::from_nanos(self.budget_ns)
    }

    /// CPU time of all polls that have ended.
    pub(super) fn spent(&self) -> Duration {
        Duration::from_nanos(self.spent_ns.load(Relaxed))
    }

    /// Notes that `bytes` of memory are held.
    pub(super) fn memory(&self, bytes: usize) {
        self.memory_peak.fetch_max(bytes as u64, Relaxed);
    }

    /// The most memory ever held, in bytes.
    pub(super) fn memory_peak(&self) -> u64 {
        self.memory_peak.load(Relaxed)
    }

    /// Notes that the guest used up its slice of time and wants another.
    pub(super) fn preempt(&self) {
        self.preempted.store(true, Relaxed);
    }

    /// Whether it did so since the last time this was asked.
    pub(super) fn take_preempted(&self) -> bool {
        self.preempted.swap(false, Relaxed)
    }
}

/// A poll under way.
pub(super) struct Poll<'a>(&'a Meter);

impl Drop for Poll<'_> {
    fn drop(&mut self) {
        let spent = thread_ns().saturating_sub(self.0.began_ns.load(Relaxed));
        self.0.spent_ns.fetch_add(spent, Relaxed);
    }
}

fn thread_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000) + u64::try_from(time.tv_nsec).unwrap_or(0)
}
