//! Who and where an attempt is, as the brokers and the guest's `context` know it.

use crate::clock::Timestamp;
use crate::id::{JobName, OrganizationId, RunId, TaskName, WorkflowName};

/// Who and where an attempt is: what the guest's `context` answers.
#[derive(Debug, Clone)]
pub struct AttemptIdentity {
    /// The organization.
    pub organization: OrganizationId,
    /// The run.
    pub run_id: RunId,
    /// The workflow.
    pub workflow: WorkflowName,
    /// The job.
    pub job: JobName,
    /// The task.
    pub task: TaskName,
    /// The item's position.
    pub item_index: Option<u32>,
    /// From 1.
    pub attempt: u32,
    /// 32 lower-case hex digits.
    pub trace_id: String,
    /// 64 lower-case hex digits.
    pub idempotency_key: String,
    /// When the run was due or accepted.
    pub scheduled_at: Timestamp,
}
