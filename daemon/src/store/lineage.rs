//! The rows of runs that begin other runs: a run's place in its family, and what its end starts.
//!
//! When a run begins another, and what becomes of a delivery, is decided by `engine`.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::StoreError;
use super::cells::Cells;
use super::commit::Fault;
use crate::clock::Timestamp;
use crate::id::{OrganizationId, RunId, TaskRunId, WorkflowId, WorkflowName};
use crate::run::status::Status;

use super::rows::RunRow;

/// A run's place in its family; the default is that of a run without one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// The run one of whose tasks this run is.
    pub parent_run_id: Option<RunId>,
    /// That task run.
    pub parent_task_run_id: Option<TaskRunId>,
    /// The run whose end began this one.
    pub triggered_by: Option<RunId>,
    /// The first run of the family; none for that one itself.
    pub root_run_id: Option<RunId>,
    /// How many runs stand above it.
    pub depth: u32,
}

impl Lineage {
    /// The run directly above, whichever way it began this one.
    pub fn above(&self) -> Option<RunId> {
        self.parent_run_id.or(self.triggered_by)
    }
}

/// An end that a workflow starts after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndOf {
    /// Whose end.
    pub workflow: WorkflowName,
    /// Which: a final state.
    pub status: Status,
}

/// Names a delivery: the run that ended and the workflow that starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId {
    /// The run that ended.
    pub source: RunId,
    /// The workflow that is to start.
    pub workflow: WorkflowId,
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.source, self.workflow)
    }
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// It is to be done; a reason says why it waits.
    Pending,
    /// The workflow was started.
    Started,
    /// The workflow was not to be started.
    Skipped,
    /// The workflow could not be started.
    Failed,
}

impl DeliveryState {
    /// The word that is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Started => "started",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        }
    }
}

impl FromStr for DeliveryState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Pending, Self::Started, Self::Skipped, Self::Failed]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| format!("{text:?} is no state of a delivery"))
    }
}

/// That a run's end is to start a workflow, and what came of it (`trigger_delivery`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRow {
    /// The run that ended and the workflow that starts.
    pub id: DeliveryId,
    /// Whose.
    pub organization_id: OrganizationId,
    /// How the run ended.
    pub source_status: Status,
    /// What came of it.
    pub state: DeliveryState,
    /// The run that was started.
    pub run_id: Option<RunId>,
    /// Why it waits, was skipped or failed: a dotted code.
    pub reason_code: Option<String>,
    /// The same as a sentence.
    pub reason_message: Option<String>,
    /// When it is to be done.
    pub due_at: Timestamp,
    /// When the run ended.
    pub created_at: Timestamp,
    /// When it was settled.
    pub settled_at: Option<Timestamp>,
}

/// Runs that begin runs.
#[async_trait]
pub trait LineageStore: Send + Sync {
    /// A run alone, without what is in it.
    async fn run(&self, run: RunId) -> Result<Option<RunRow>, StoreError>;

    /// The run that holds an idempotency key.
    async fn run_of_key(
        &self,
        organization: OrganizationId,
        key: &str,
    ) -> Result<Option<RunRow>, StoreError>;

    /// What ends of runs are to start and is due, oldest first, at most `limit`.
    async fn deliveries_due(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<DeliveryRow>, StoreError>;

    /// What the end of a run came to.
    async fn deliveries_of(&self, run: RunId) -> Result<Vec<DeliveryRow>, StoreError>;

    /// Notes what came of a delivery, unless that is settled: then it stays as it was.
    async fn settle_delivery(&self, delivery: &DeliveryRow) -> Result<(), StoreError>;
}

/// Reads a run's lineage.
pub(super) fn lineage(c: &impl Cells) -> Result<Lineage, Fault> {
    Ok(Lineage {
        parent_run_id: c.opt_parsed("parent_run_id")?,
        parent_task_run_id: c.opt_parsed("parent_task_run_id")?,
        triggered_by: c.opt_parsed("triggered_by")?,
        root_run_id: c.opt_parsed("root_run_id")?,
        depth: c.count("depth")?,
    })
}

/// Reads a delivery.
pub(super) fn delivery(c: &impl Cells) -> Result<DeliveryRow, Fault> {
    Ok(DeliveryRow {
        id: DeliveryId {
            source: c.parsed("source_run_id")?,
            workflow: c.parsed("workflow_id")?,
        },
        organization_id: c.parsed("organization_id")?,
        source_status: c.parsed("source_status")?,
        state: c.parsed("state")?,
        run_id: c.opt_parsed("run_id")?,
        reason_code: c.opt_text("reason_code")?,
        reason_message: c.opt_text("reason_message")?,
        due_at: c.time("due_at")?,
        created_at: c.time("created_at")?,
        settled_at: c.opt_time("settled_at")?,
    })
}
