//! Who and where the running attempt is, and how far it got. Effects and log lines are elsewhere.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::host;

/// Facts about the running attempt. All are fixed for its duration but [`cancelled`](Context::cancelled).
#[derive(Debug)]
pub struct Context {
    _made_by_the_sdk: (),
}

impl Context {
    pub(crate) fn current() -> Self {
        Context {
            _made_by_the_sdk: (),
        }
    }

    /// The run's id: 26 characters, sortable by creation time.
    pub fn run_id(&self) -> String {
        host::context::run_id()
    }

    /// The workflow's name.
    pub fn workflow(&self) -> String {
        host::context::workflow()
    }

    /// The job's name.
    pub fn job(&self) -> String {
        host::context::job()
    }

    /// The task's name.
    pub fn task(&self) -> String {
        host::context::task()
    }

    /// The position in `for_each`, from 0; none for a task without it.
    pub fn item_index(&self) -> Option<u32> {
        host::context::item_index()
    }

    /// The number of this attempt, from 1.
    pub fn attempt(&self) -> u32 {
        host::context::attempt()
    }

    /// The run's trace id: 32 lower-case hex digits, as in W3C `traceparent`.
    pub fn trace_id(&self) -> String {
        host::context::trace_id()
    }

    /// The same for every attempt of this task and for every rerun that continues the run; different
    /// for every other task, item and run. 64 lower-case hex digits. Send it with effects that must
    /// not happen twice.
    pub fn idempotency_key(&self) -> String {
        host::context::idempotency_key()
    }

    /// When the run was due (of a scheduled run) or accepted, as RFC 3339 in UTC.
    pub fn scheduled_at(&self) -> String {
        host::context::scheduled_at()
    }

    /// When the host ends the attempt.
    pub fn deadline(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(host::context::deadline_ms())
    }

    /// The time until [`deadline`](Context::deadline); zero when it has passed.
    pub fn time_left(&self) -> Duration {
        self.deadline()
            .duration_since(SystemTime::now())
            .unwrap_or_default()
    }

    /// Whether the run was cancelled. The host stops the task soon after this turns true.
    pub fn cancelled(&self) -> bool {
        host::context::cancelled()
    }

    /// Reports progress, shown live. `total` is none when it is unknown; `note` may be empty.
    pub fn progress(&self, done: u64, total: Option<u64>, note: &str) {
        host::context::progress(done, total, note);
    }
}
