//! The seam between the engine and whatever runs an attempt: the real sandbox, or a fake in tests.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

use crate::broker::identity::AttemptIdentity;
use crate::broker::journal::Journal;
use crate::id::Digest;
use crate::run::failure::{Failure, FailureSource};
use crate::workflow::grant::Grants;
use crate::workflow::model::TaskLimits;

/// Runs attempts.
#[async_trait]
pub trait Invoke: Send + Sync + 'static {
    /// Runs one attempt to its end. Never panics and never returns before the guest has stopped;
    /// a cancelled token ends it within 100 ms with the code `cancelled`.
    async fn invoke(&self, invocation: Invocation) -> AttemptReport;

    /// Begins the same on a runtime of its own choice and returns; the report is handed over at the end, unless
    /// the runtime is shut down first.
    fn launch(self: Arc<Self>, invocation: Invocation, hand_over: HandOver) {
        tokio::spawn(async move {
            let report = AssertUnwindSafe(self.invoke(invocation)).catch_unwind();
            hand_over(report.await.unwrap_or_else(|_| AttemptReport {
                outcome: Err(host_panicked()),
                cpu: Duration::ZERO,
                memory_peak_bytes: 0,
            }));
        });
    }
}

/// Takes the report of an attempt.
pub type HandOver = Box<dyn FnOnce(AttemptReport) + Send>;

/// What is said of an attempt in which the daemon's own code panicked.
pub fn host_panicked() -> Failure {
    Failure::retryable(
        FailureSource::Host,
        "host.panic",
        "the host failed while it served this attempt; the daemon's log says where",
    )
}

/// One attempt to run.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The module; it was prepared before the workflow went live.
    pub module: Digest,
    /// The input's JSON text.
    pub input: Arc<str>,
    /// Who and where.
    pub identity: Arc<AttemptIdentity>,
    /// What it may reach.
    pub grants: Arc<Grants>,
    /// What it may use.
    pub limits: TaskLimits,
    /// Where log lines, progress and host calls go while it runs.
    pub journal: Arc<Journal>,
    /// Cancelled when the attempt is to stop.
    pub cancel: CancellationToken,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptReport {
    /// The output's JSON text (an object), or why there is none.
    pub outcome: Result<Arc<str>, Failure>,
    /// CPU time of the guest and of host calls on its thread.
    pub cpu: Duration,
    /// The most linear memory it held, in bytes.
    pub memory_peak_bytes: u64,
}
