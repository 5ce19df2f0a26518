//! Runs and their records: triggers, claims, starts, outcomes, retries, cancels, reruns, recovery.
//!
//! What comes next is decided by `run`; what a file means by `workflow`; this module acts. Its parts:
//!
//! * [`EngineHandle`] (in `handle`): what upper layers call;
//! * `conductor` (with `messages`, `commits`, `backlog`): one task, the only place where an active run
//!   lives in memory;
//! * `active` (with `book`, `step`, `input`, `history`, `lanes`, `letters`, `recover`): that run, its ids and data, and
//!   how events become a transition;
//! * `writer`: commits a batch; what arrives during a commit forms the next batch;
//! * `news`: what other daemons on the store tell;
//! * `errand`: calls to the store that the conductor must not wait for;
//! * `attempt`, `child`: a guest under way, or another workflow in its place;
//! * `deliver`: starts workflows after the ends of others.
//!
//! **The protocol.** An event of a run changes its state in memory, which is from then on a draft,
//! and becomes one transition. Until the store says `Committed`, nothing of it is visible: no guest
//! starts, no waiter is answered, and further events of that run only accumulate (they form its next
//! transition). If the store says anything else, the draft is dropped, the run is loaded again and
//! the events are taken in again: what had been recorded after all means nothing the second time,
//! because an attempt ends only once. Guests that are running meanwhile keep running, because their
//! attempt rows are durable; an attempt whose row turns out to be durable but which never began is
//! begun. So a step costs one durable commit, shared with whoever else has one.

mod active;
mod attempt;
mod backlog;
mod book;
mod child;
mod commits;
mod conductor;
mod deliver;
mod errand;
mod handle;
mod history;
mod input;
mod intake;
mod lanes;
mod letters;
mod messages;
mod news;
mod outcome;
mod recover;
mod rerun;
mod step;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod testing_control;
#[cfg(test)]
mod testing_schedules;
#[cfg(test)]
mod testing_store;
#[cfg(test)]
mod testing_tables;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_after;
#[cfg(test)]
mod tests_again;
#[cfg(test)]
mod tests_control;
#[cfg(test)]
mod tests_family;
#[cfg(test)]
mod tests_fault;
#[cfg(test)]
mod tests_flow;
#[cfg(test)]
mod tests_points;
#[cfg(test)]
mod tests_simulation;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::clock::{Clock, Timestamp};
use crate::id::{DaemonId, Digest, OrganizationId, RunId, TaskName, WorkflowId, WorkflowName};
use crate::run::status::{Status, Trigger};
use crate::sandbox::invoke::Invoke;
use crate::store::{LEASE, Store, StoreError};
use crate::workflow::model::Workflow;

pub use handle::EngineHandle;

/// Gives the compiled workflow of a version; the composition root builds it from the store. The
/// modules it uses are prepared when it answers.
pub type Versions =
    Arc<dyn Fn(Digest) -> BoxFuture<'static, Result<Arc<Workflow>, VersionError>> + Send + Sync>;

/// Why a version cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Not now; it is asked for again.
    #[error("the version cannot be read now: {0}")]
    Unavailable(String),
    /// Never; runs that need it fail with `version.lost`.
    #[error("the version is lost: {0}")]
    Lost(String),
}

/// What an engine is made of.
pub struct Parts {
    /// Where runs are recorded.
    pub store: Arc<dyn Store>,
    /// What runs attempts.
    pub invoke: Arc<dyn Invoke>,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where versions come from.
    pub versions: Versions,
    /// Numbers.
    pub settings: Settings,
}

/// Signs of life within a lease: some may be lost or late before anybody takes over.
pub const BEATS_A_LEASE: u32 = 6;

/// The engine's numbers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Names the installation: a new process of the same instance takes over at once.
    pub instance: String,
    /// Attempts at once.
    pub slots: usize,
    /// Runs in memory at once; more wait in the store.
    pub active_runs: usize,
    /// Triggers that wait for a commit; more are refused with `queue.full`.
    pub queue: usize,
    /// Runs that wait in the store; more are refused with `queue.full`.
    pub backlog: u32,
    /// Transitions in one commit.
    pub batch: usize,
    /// Between two signs of life.
    pub heartbeat: Duration,
    /// Between two looks for runs without an owner and for orders from elsewhere.
    pub claim: Duration,
    /// Between two flushes of what long attempts report.
    pub flush: Duration,
    /// The longest wait before the store is asked again after an error.
    pub backoff: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            instance: "default".into(),
            // Attempts mostly wait for other services; guests that compute share the cores.
            slots: 64,
            // A run in memory is some kilobytes and its outputs.
            active_runs: 1_024,
            // A second of triggers at full speed.
            queue: 10_000,
            // A GiB or two of store; counted in some milliseconds.
            backlog: 1_000_000,
            // Keeps one commit in the tens of milliseconds.
            batch: 512,
            heartbeat: LEASE / BEATS_A_LEASE,
            claim: Duration::from_secs(1),
            // Live enough for a person, rare enough for the store.
            flush: Duration::from_millis(250),
            backoff: Duration::from_secs(5),
        }
    }
}

/// A run to be started.
#[derive(Debug, Clone)]
pub struct TriggerRequest {
    /// The version it will keep.
    pub workflow: Arc<Workflow>,
    /// The workflow's identity in the store (`Store::publish` gives it).
    pub workflow_id: WorkflowId,
    /// Its organization.
    pub organization: OrganizationId,
    /// The workflow inputs, already validated: an object.
    pub inputs: Value,
    /// Overrides of task inputs by task name: an object, or null. Of a run with the trigger
    /// `schedule` these are the schedule's, otherwise the run's.
    pub config: Value,
    /// Why it begins.
    pub trigger: Trigger,
    /// A second trigger with the same key, within the organization, gives the first one's run.
    pub idempotency_key: Option<String>,
    /// When it was due; none: now.
    pub scheduled_at: Option<Timestamp>,
    /// Larger is claimed first; none: the workflow's.
    pub priority: Option<i32>,
    /// 32 lower-case hex digits; none: a new one.
    pub trace_id: Option<String>,
}

/// A run that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// The run.
    pub run_id: RunId,
    /// Whether an earlier trigger with the same idempotency key began it.
    pub duplicate: bool,
}

/// Why a run was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TriggerError {
    /// Too many triggers wait (429).
    #[error("too many runs are waiting to be accepted")]
    QueueFull,
    /// The engine is stopping (503).
    #[error("the engine is stopping")]
    Stopping,
    /// The store does not answer (503). Whether the run was accepted is unknown until it answers:
    /// then the run is found under this id, or it never was.
    #[error("the store does not answer: {message}; look for run {run_id} later")]
    Unavailable {
        /// The id it has if it was accepted.
        run_id: RunId,
        /// The cause.
        message: String,
    },
    /// The store is full (507); nothing was accepted.
    #[error("the store is full: {0}")]
    Full(String),
    /// The store refused the data (422); nothing was accepted.
    #[error("the store refused the run: {0}")]
    Rejected(String),
}

impl TriggerError {
    /// A dotted, stable name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::QueueFull => "queue.full",
            Self::Stopping => "engine.stopping",
            Self::Unavailable { .. } => "store.unavailable",
            Self::Full(_) => "store.full",
            Self::Rejected(_) => "store.rejected",
        }
    }
}

/// What became of a wish to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// The order is durable; the run's owner carries it out.
    Ordered,
    /// The run had already ended so.
    AlreadyFinal(Status),
    /// There is no such run.
    NotFound,
}

/// From where a run is repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RerunMode {
    /// What succeeded is linked, the rest runs.
    FromFailed,
    /// This task and all after it run; everything else that succeeded is linked.
    FromTask(TaskName),
    /// Everything runs; a new origin.
    FromStart,
}

/// With which version a run is repeated.
#[derive(Debug, Clone)]
pub enum RerunVersion {
    /// The one it had.
    Same,
    /// This one (the active one of the same workflow).
    Newest(Arc<Workflow>),
}

/// Why a run is not repeated.
#[derive(Debug, thiserror::Error)]
pub enum RerunError {
    /// There is no such run (404).
    #[error("there is no run {0}")]
    NotFound(RunId),
    /// It has not ended (409).
    #[error("run {0} has not ended")]
    NotFinal(RunId),
    /// The version has no such task (422).
    #[error("the workflow has no task `{0}`")]
    UnknownTask(TaskName),
    /// Its version cannot be had.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The new run was not accepted.
    #[error(transparent)]
    Trigger(#[from] TriggerError),
}

/// Why nobody can say how a run ended.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// There is no such run.
    #[error("there is no run {0}")]
    NotFound(RunId),
    /// The engine stopped before the run ended; another owner continues it.
    #[error("the engine is stopping")]
    Stopping,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Something was committed. Followers of the log read it from the store, after the last id they
/// have seen; a follower that lags loses nothing but wake-ups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineEvent {
    /// These runs changed; their rows and log lines can be read now.
    Changed(Arc<[RunId]>),
    /// A run ended.
    Finished {
        /// The run.
        run_id: RunId,
        /// Its organization.
        organization: OrganizationId,
        /// Its workflow.
        workflow: WorkflowName,
        /// The version it kept to its end.
        version: Digest,
        /// How.
        status: Status,
    },
}

/// A run in this engine's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveRun {
    /// The run.
    pub run_id: RunId,
    /// Its organization.
    pub organization: OrganizationId,
    /// Its workflow.
    pub workflow: WorkflowName,
    /// Its state.
    pub status: Status,
    /// Attempts under way.
    pub attempts: usize,
}

/// How the engine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Whether the store answered the last time it was asked, and why not.
    pub store: Result<(), String>,
    /// Whether it is stopping.
    pub draining: bool,
    /// Runs in memory.
    pub active_runs: usize,
    /// Attempts under way.
    pub attempts: usize,
}

/// How a stop went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Runs given back, to be continued by the next owner.
    pub released: usize,
    /// Attempts that had to be stopped.
    pub stopped: usize,
}

/// An engine that has not started.
pub struct Engine {
    parts: Parts,
    daemon: DaemonId,
}

impl Engine {
    /// An engine of these parts. Nothing happens before [`Engine::start`].
    pub fn new(parts: Parts) -> Self {
        Self {
            parts,
            daemon: DaemonId::generate(),
        }
    }

    /// The id under which it owns runs.
    pub fn daemon_id(&self) -> DaemonId {
        self.daemon
    }

    /// Starts it on the current tokio runtime: a sign of life, then the claim of every unfinished
    /// run without a live owner (those of an earlier process of the same instance at once), then
    /// triggers. Dropping all handles does not stop it; [`EngineHandle::drain`] does.
    pub fn start(self) -> EngineHandle {
        let (handle, conductor) = conductor::new(self.parts, self.daemon);
        tokio::spawn(conductor);
        handle
    }

    /// The same with the conductor and its commits on a thread of their own: a step then goes from guest to
    /// conductor to store and back without waking the workers of the runtime, which serve the API meanwhile.
    ///
    /// # Errors
    /// When there is no such thread.
    pub fn start_apart(self) -> std::io::Result<EngineHandle> {
        let (handle, conductor) = conductor::new(self.parts, self.daemon);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        std::thread::Builder::new()
            .name("engine".into())
            .spawn(move || runtime.block_on(conductor))?;
        Ok(handle)
    }
}
