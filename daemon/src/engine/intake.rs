//! What reaches the conductor.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::oneshot;

use super::book::Output;
use super::{Accepted, ActiveRun, Drained, TriggerError, TriggerRequest};
use crate::clock::Timestamp;
use crate::id::{AttemptId, OrganizationId, RunId};
use crate::run::event::Unit;
use crate::run::status::Status;
use crate::sandbox::invoke::AttemptReport;
use crate::store::lineage::Lineage;
use crate::store::rows::{ClaimedRun, CommandRow, RunImage, RunRow};
use crate::store::{CommitOutcome, StoreError};
use crate::workflow::model::Workflow;

/// One message to the conductor. Every kind is bounded by something: attempts by slots, loads and
/// commits by runs in memory, questions by their askers. Triggers have a queue of their own.
pub(super) enum Intake {
    /// A guest has stopped.
    Ended {
        run: RunId,
        unit: Unit,
        attempt: AttemptId,
        report: AttemptReport,
        /// Whether it held one of the slots.
        slot: bool,
    },
    /// The writer is done with a batch.
    Committed {
        /// The run and the epoch of each transition.
        runs: Vec<(RunId, i64)>,
        result: Result<Vec<CommitOutcome>, StoreError>,
    },
    /// A run was read.
    Loaded { run: RunId, loaded: Loaded },
    /// The store answered a claim, with the orders for what this daemon owns.
    Claimed(Result<(Vec<ClaimedRun>, Vec<CommandRow>), StoreError>),
    /// The store counted the runs that wait in it.
    Counted(Result<u32, StoreError>),
    /// The store took a sign of life.
    Beat(Result<(), StoreError>),
    /// Another daemon tells that runs or orders wait.
    Heard,
    /// Durable orders.
    Orders(Vec<CommandRow>),
    /// A run could not be read; it is tried again.
    Unread { run: RunId, message: String },
    /// Someone waits for the end of a run; none when it is not in memory.
    Wait {
        run: RunId,
        answer: oneshot::Sender<Option<Status>>,
    },
    /// Someone asks what is in memory.
    Active {
        answer: oneshot::Sender<Vec<ActiveRun>>,
    },
    /// Someone asks whose a run is.
    Organization {
        run: RunId,
        answer: oneshot::Sender<Option<OrganizationId>>,
    },
    /// What is kept of versions that no run needs is to be let go.
    LetGo { answer: oneshot::Sender<()> },
    /// The engine is to stop.
    Drain {
        deadline: Timestamp,
        answer: oneshot::Sender<Drained>,
    },
    /// The last errand of a stop is done.
    Farewell,
}

/// What was read of a run.
pub(super) enum Loaded {
    /// All of it, with its workflow.
    Image(Box<RunImage>, Arc<Workflow>),
    /// It does not exist.
    Absent,
    /// It exists, its version does not.
    VersionLost(Box<RunImage>, String),
}

/// A run that wants to be inserted, and who waits for that.
pub(super) struct Admission {
    pub run: NewRun,
    pub answer: oneshot::Sender<Result<Accepted, TriggerError>>,
}

/// A run that wants to be inserted.
pub(super) struct NewRun {
    pub row: RunRow,
    pub workflow: Arc<Workflow>,
    pub inputs: Value,
    pub config: Value,
    /// What a rerun takes over.
    pub links: Vec<(Unit, Output)>,
    /// Why it is stopped before it begins, if it is.
    pub called_off: Option<String>,
}

pub(super) type Answer = oneshot::Receiver<Result<Accepted, TriggerError>>;

impl Admission {
    pub(super) fn new(request: TriggerRequest, now: Timestamp) -> (Self, Answer) {
        let (answer, receiver) = oneshot::channel();
        let run_id = RunId::generate();
        let workflow = request.workflow;
        let row = RunRow {
            run_id,
            organization_id: request.organization,
            workflow_id: request.workflow_id,
            workflow_name: workflow.name.clone(),
            version: workflow.version,
            number: 0,
            status: Status::Queued,
            trigger: request.trigger,
            trace_id: request.trace_id.unwrap_or_else(new_trace_id),
            rerun_of: None,
            origin_run_id: run_id,
            inputs: request.inputs.to_string().into(),
            config: request.config.to_string().into(),
            idempotency_key: request.idempotency_key,
            priority: request.priority.unwrap_or(workflow.priority),
            owner: None,
            lease_epoch: 0,
            revision: 0,
            scheduled_at: request.scheduled_at.unwrap_or(now),
            created_at: now,
            started_at: None,
            finished_at: None,
            tolerated_failures: 0,
            failure_code: None,
            failure_message: None,
            lineage: Lineage::default(),
        };
        let run = NewRun {
            row,
            workflow,
            inputs: request.inputs,
            config: request.config,
            links: Vec::new(),
            called_off: None,
        };
        (Self { run, answer }, receiver)
    }
}

/// 128 random bits, as W3C trace context wants them.
pub(super) fn new_trace_id() -> String {
    format!("{:032x}", rand::random::<u128>().max(1))
}
