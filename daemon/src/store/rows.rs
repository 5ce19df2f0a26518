//! The rows that travel between the engine and the drivers. Field by field what the tables hold;
//! what they mean is decided by `run` and `engine`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::control::Control;
use super::lineage::{EndOf, Lineage};
use crate::clock::Timestamp;
use crate::id::{
    AttemptId, CommandId, DaemonId, Digest, HostCallId, IoId, JobName, JobRunId, ModuleName,
    OrganizationId, RunId, SecretName, TaskName, TaskRunId, WorkflowId, WorkflowName,
};
use crate::run::status::{Level, Status, Trigger};

/// All that one step of one run writes, guarded by its fence. Applied whole or not at all.
#[derive(Debug, Clone)]
pub struct Transition {
    /// The run.
    pub run_id: RunId,
    /// The owner's epoch; an insert starts at 1 (owned) or 0 (queued for anyone).
    pub lease_epoch: i64,
    /// The revision the run must have; it has the next one afterwards. An insert expects 0.
    pub expected_revision: i64,
    /// The run itself.
    pub run: RunChange,
    /// Job runs, inserted or replaced by id.
    pub jobs: Vec<JobRunRow>,
    /// Task runs, inserted or replaced by id.
    pub tasks: Vec<TaskRunRow>,
    /// Attempts, inserted or replaced by id.
    pub attempts: Vec<AttemptRow>,
    /// Inputs and outputs, inserted.
    pub io: Vec<IoRow>,
    /// Broker calls, inserted.
    pub host_calls: Vec<HostCallRow>,
    /// Log lines and events, inserted with ids from the stream counter, in this order.
    pub logs: Vec<NewLog>,
    /// Orders that this step carried out; removed.
    pub consumed: Vec<CommandId>,
    /// Whether the run ends with it: workflows that start after such an end are noted in the same commit.
    pub ends: bool,
    /// Turns and dead letters; none for most.
    pub control: Option<Box<Control>>,
}

impl Transition {
    /// One that changes the run itself and nothing else.
    pub fn of_run(run_id: RunId, lease_epoch: i64, expected_revision: i64, run: RunChange) -> Self {
        Self {
            run_id,
            lease_epoch,
            expected_revision,
            run,
            jobs: Vec::new(),
            tasks: Vec::new(),
            attempts: Vec::new(),
            io: Vec::new(),
            host_calls: Vec::new(),
            logs: Vec::new(),
            consumed: Vec::new(),
            ends: false,
            control: None,
        }
    }
}

/// What happens to the run's own row.
#[derive(Debug, Clone)]
pub enum RunChange {
    /// It begins.
    Insert(Box<RunRow>),
    /// These fields change.
    Update(RunUpdate),
}

/// The fields of a run that change while it lives.
#[derive(Debug, Clone)]
pub struct RunUpdate {
    /// Its state.
    pub status: Status,
    /// When its first task started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Failures that were tolerated.
    pub tolerated_failures: u32,
    /// Why it failed.
    pub failure_code: Option<String>,
    /// The same as a sentence.
    pub failure_message: Option<String>,
}

/// A run (`workflow_run`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRow {
    /// Its id.
    pub run_id: RunId,
    /// Its organization.
    pub organization_id: OrganizationId,
    /// Its workflow.
    pub workflow_id: WorkflowId,
    /// The workflow's name.
    pub workflow_name: WorkflowName,
    /// The version it keeps to its end.
    pub version: Digest,
    /// Counts the workflow's runs from 1; given by the store at insert (0 asks for it).
    pub number: i64,
    /// Its state.
    pub status: Status,
    /// Why it began.
    pub trigger: Trigger,
    /// 32 lower-case hex digits.
    pub trace_id: String,
    /// The run this repeats or continues.
    pub rerun_of: Option<RunId>,
    /// The first run of that chain; itself when there is none.
    pub origin_run_id: RunId,
    /// The workflow inputs, as JSON text.
    pub inputs: Arc<str>,
    /// Overrides of task inputs by task name, as JSON text.
    pub config: Arc<str>,
    /// Unique within the organization while kept.
    pub idempotency_key: Option<String>,
    /// Larger is claimed first.
    pub priority: i32,
    /// Who owns it now.
    pub owner: Option<DaemonId>,
    /// Grows with every change of owner.
    pub lease_epoch: i64,
    /// Grows with every transition.
    pub revision: i64,
    /// When it was due or accepted.
    pub scheduled_at: Timestamp,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its first task started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Failures that were tolerated.
    pub tolerated_failures: u32,
    /// Why it failed.
    pub failure_code: Option<String>,
    /// The same as a sentence.
    pub failure_message: Option<String>,
    /// Its place in its family.
    pub lineage: Lineage,
}

/// A job run (`job_run`); written when the job first leaves `queued`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobRunRow {
    /// Its id.
    pub job_run_id: JobRunId,
    /// Its run.
    pub run_id: RunId,
    /// Its organization.
    pub organization_id: OrganizationId,
    /// The job's name.
    pub job: JobName,
    /// Its state.
    pub status: Status,
    /// When its first task started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Failures that were tolerated.
    pub tolerated_failures: u32,
}

/// A task run (`task_run`); written when it first leaves `queued`. A `for_each` task has one row an
/// item, and one without an item index that stands for the whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskRunRow {
    /// Its id.
    pub task_run_id: TaskRunId,
    /// Its run.
    pub run_id: RunId,
    /// Its organization.
    pub organization_id: OrganizationId,
    /// The job's name.
    pub job: JobName,
    /// The task's name.
    pub task: TaskName,
    /// The item's position; -1 without one.
    pub item_index: i64,
    /// Its state.
    pub status: Status,
    /// Attempts begun so far.
    pub attempts: u32,
    /// Attempts that ended with the daemon's death (poison counts them).
    pub interrupts: u32,
    /// Whether its failure was tolerated.
    pub tolerated: bool,
    /// When its last dependency was met.
    pub ready_at: Option<Timestamp>,
    /// When its first attempt started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// When it is tried again.
    pub retry_at: Option<Timestamp>,
    /// Its recorded output (in this run, or linked from the run that a rerun continues).
    pub output_io_id: Option<IoId>,
    /// Why it failed or was skipped: a dotted code.
    pub reason_code: Option<String>,
    /// The same as a sentence.
    pub reason_message: Option<String>,
}

/// An attempt (`task_attempt`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptRow {
    /// Its id.
    pub attempt_id: AttemptId,
    /// Its task run.
    pub task_run_id: TaskRunId,
    /// Its run.
    pub run_id: RunId,
    /// Its organization.
    pub organization_id: OrganizationId,
    /// From 1.
    pub number: u32,
    /// The epoch of the owner that began it.
    pub lease_epoch: i64,
    /// The daemon that runs it.
    pub daemon_id: DaemonId,
    /// Running, then final or interrupted.
    pub status: Status,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// CPU time, in microseconds.
    pub cpu_us: i64,
    /// The most memory it held, in bytes.
    pub memory_peak_bytes: i64,
    /// Log lines that were dropped at the limit.
    pub logs_dropped: i64,
    /// The failure as JSON text ([`crate::run::failure::Failure`]).
    pub failure: Option<Arc<str>>,
}

/// A recorded input or output (`task_io_data`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IoRow {
    /// Its id.
    pub io_id: IoId,
    /// Its run.
    pub run_id: RunId,
    /// Its organization.
    pub organization_id: OrganizationId,
    /// Its task run.
    pub task_run_id: TaskRunId,
    /// The attempt; none for the output of a whole `for_each`.
    pub attempt_id: Option<AttemptId>,
    /// Input or output.
    pub kind: IoKind,
    /// JSON text.
    pub data: Arc<str>,
    /// Of an input: where each top-level field came from, as JSON text
    /// (`{"field": "module default" | "with" | "schedule" | "run"}`).
    pub origins: Option<Arc<str>>,
    /// When.
    pub created_at: Timestamp,
}

/// Input or output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IoKind {
    /// What went in.
    Input,
    /// What came out.
    Output,
}

/// A broker call (`host_call`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostCallRow {
    /// Its id.
    pub host_call_id: HostCallId,
    /// Its run.
    pub run_id: RunId,
    /// Its organization.
    pub organization_id: OrganizationId,
    /// Its attempt.
    pub attempt_id: AttemptId,
    /// `http`, `sql`, `kv`.
    pub kind: String,
    /// Scheme, host, port and path; database; key. Never a secret, a query string or a body.
    pub target: String,
    /// The method, or the kind of statement.
    pub verb: String,
    /// The status code, or `ok`, or the error's code.
    pub outcome: String,
    /// Bytes sent.
    pub sent_bytes: i64,
    /// Bytes received.
    pub received_bytes: i64,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took, in microseconds.
    pub duration_us: i64,
}

/// A log line or event on its way to the store.
#[derive(Debug, Clone, PartialEq)]
pub struct NewLog {
    /// The task run it belongs to.
    pub task_run_id: Option<TaskRunId>,
    /// The attempt it belongs to.
    pub attempt_id: Option<AttemptId>,
    /// `run.started`, `task.succeeded`, … for events; `log` for a line of the guest; `progress`.
    pub kind: &'static str,
    /// How much it matters.
    pub level: Level,
    /// One line.
    pub message: String,
    /// More, as the JSON text of an object; none when there is nothing.
    pub fields: Option<Arc<str>>,
    /// When.
    pub at: Timestamp,
}

/// A log line or event (`execution_log`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogRow {
    /// From the stream counter: grows, and a reader that follows it misses none.
    pub event_id: i64,
    /// Its run.
    pub run_id: RunId,
    /// Its organization.
    pub organization_id: OrganizationId,
    /// Its task run.
    pub task_run_id: Option<TaskRunId>,
    /// Its attempt.
    pub attempt_id: Option<AttemptId>,
    /// As in [`NewLog`].
    pub kind: String,
    /// How much it matters.
    pub level: Level,
    /// One line.
    pub message: String,
    /// More, as JSON text.
    pub fields: Option<Arc<str>>,
    /// When.
    pub at: Timestamp,
}

/// An order to a run's owner (`run_command`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandRow {
    /// Its id.
    pub command_id: CommandId,
    /// The run.
    pub run_id: RunId,
    /// Its organization.
    pub organization_id: OrganizationId,
    /// `cancel`.
    pub kind: CommandKind,
    /// Why, for people.
    pub reason: String,
    /// When.
    pub created_at: Timestamp,
}

/// What an order asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CommandKind {
    /// Stop it.
    Cancel,
}

/// A run that was just claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedRun {
    /// The run.
    pub run_id: RunId,
    /// The new epoch.
    pub lease_epoch: i64,
}

/// Everything needed to continue a run.
#[derive(Debug, Clone)]
pub struct RunImage {
    /// The run.
    pub run: RunRow,
    /// Its job runs.
    pub jobs: Vec<JobRunRow>,
    /// Its task runs.
    pub tasks: Vec<TaskRunRow>,
    /// Its attempts.
    pub attempts: Vec<AttemptRow>,
    /// The outputs that its task runs point to, and the inputs of attempts that are not final.
    pub io: Vec<IoRow>,
}

/// A version (`workflow_version` with its workflow's name).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VersionRow {
    /// The version.
    pub version: Digest,
    /// Its organization.
    pub organization_id: OrganizationId,
    /// The workflow's name.
    pub workflow_name: WorkflowName,
    /// The file as the reader knows it.
    pub file: String,
    /// The file's text.
    pub source: Arc<str>,
    /// The operator's overrides of vars that were in force, as JSON text.
    pub vars: String,
    /// The operator's ceilings that were in force, as JSON text.
    pub ceilings: String,
    /// The modules it uses: name → digest, as JSON text.
    pub modules: String,
    /// The workflows its tasks run: name → version, as JSON text.
    pub workflows: String,
    /// After which ends of other workflows it starts.
    pub starts_after: Vec<EndOf>,
    /// When it was first published.
    pub created_at: Timestamp,
}

/// A workflow (`workflow`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkflowRow {
    /// Its id.
    pub workflow_id: WorkflowId,
    /// Its organization.
    pub organization_id: OrganizationId,
    /// Its name.
    pub name: WorkflowName,
    /// The version that new runs use; none once retired.
    pub active_version: Option<Digest>,
}

/// What is known of a module (`module`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModuleRow {
    /// Its content digest.
    pub digest: Digest,
    /// The name under which it was first seen.
    pub name: ModuleName,
    /// Its size in bytes.
    pub size_bytes: i64,
    /// What `describe` said, as JSON text.
    pub description: Arc<str>,
    /// The `flowweaver:*` interfaces that it imports, as a JSON array of text.
    pub imports: String,
    /// When it was first seen.
    pub created_at: Timestamp,
}

/// Which runs to list.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Of one organization.
    pub organization: Option<OrganizationId>,
    /// Of one workflow.
    pub workflow: Option<WorkflowName>,
    /// In one of these states; empty: any.
    pub status: Vec<Status>,
    /// Begun for this reason.
    pub trigger: Option<Trigger>,
    /// A task of this run.
    pub parent: Option<RunId>,
    /// Below this run, which has none above it.
    pub root: Option<RunId>,
    /// Older than this run.
    pub before: Option<RunId>,
    /// At most this many.
    pub limit: u32,
}

/// A key-value entry (`kv_entry`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvEntry {
    /// The bytes.
    pub value: Vec<u8>,
    /// Its revision.
    pub revision: u64,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

/// A key as lists show it: without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvListed {
    /// The key.
    pub key: String,
    /// Its revision.
    pub revision: u64,
    /// The value's length.
    pub value_bytes: u64,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

/// A sealed secret (`secret`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRow {
    /// Whose.
    pub organization_id: OrganizationId,
    /// Its name.
    pub name: SecretName,
    /// Grows by one with every change.
    pub revision: u64,
    /// Which key opens it.
    pub key_id: String,
    /// What the seal was made with.
    pub nonce: Vec<u8>,
    /// The sealed value.
    pub ciphertext: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// When its value was set.
    pub updated_at: Timestamp,
    /// By whom.
    pub updated_by: String,
}
