//! The seam between the engine and whatever runs an attempt: the real sandbox, or a fake in tests.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::broker::identity::AttemptIdentity;
use crate::broker::journal::Journal;
use crate::id::Digest;
use crate::run::failure::Failure;
use crate::workflow::grant::Grants;
use crate::workflow::model::TaskLimits;

/// Runs attempts.
#[async_trait]
pub trait Invoke: Send + Sync + 'static {
    /// Runs one attempt to its end. Never panics and never returns before the guest has stopped;
    /// a cancelled token ends it within 100 ms with the code `cancelled`.
    async fn invoke(&self, invocation: Invocation) -> AttemptReport;
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
