//! The compiled workflow: everything a run needs to know, with names resolved to positions.
//!
//! Immutable and shared. The text it came from, and where each line stands, stay in the compiler.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::expression::{Expression, Template};
use super::grant::Grants;
use super::input::InputValidator;
pub use super::schedule::{CatchUp, Overlap, Schedule};
use crate::id::{Digest, JobName, ModuleName, ScheduleName, TaskName, VariableName, WorkflowName};

/// A task's position in [`Workflow::tasks`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskIndex(pub u32);

/// A job's position in [`Workflow::jobs`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobIndex(pub u32);

/// A workflow, ready to run. Jobs and tasks stand in the order of the file, and both graphs are
/// free of cycles.
#[derive(Debug)]
pub struct Workflow {
    /// Its name.
    pub name: WorkflowName,
    /// For people; may be empty.
    pub description: String,
    /// For filters.
    pub labels: BTreeMap<String, String>,
    /// hash(file, resolved vars, module digests, child versions).
    pub version: Digest,
    /// How many levels of workflows its tasks run; 0 for modules alone.
    pub height: u32,
    /// What a trigger may or must give.
    pub inputs: Vec<InputSpec>,
    /// Constants after the operator's overrides.
    pub vars: BTreeMap<VariableName, Value>,
    /// When it starts by itself.
    pub schedules: Vec<Schedule>,
    /// Other causes to start (`[[on]]`).
    pub triggers: Vec<TriggerSpec>,
    /// The jobs.
    pub jobs: Vec<Job>,
    /// The tasks of all jobs.
    pub tasks: Vec<Task>,
    /// How long a run may take from its start; none: the operator's ceiling alone.
    pub timeout: Option<Duration>,
    /// How many runs may be active at once.
    pub concurrency: Option<Concurrency>,
    /// Larger goes first; 0 unless written; -100 to 100.
    pub priority: i32,
    /// What is kept of finished runs; unset fields follow the operator's.
    pub retention: Retention,
}

impl Workflow {
    /// A task by its position. Positions come from this workflow, so there always is one.
    #[allow(
        clippy::indexing_slicing,
        reason = "an index is made by the compiler of this very workflow"
    )]
    pub fn task(&self, index: TaskIndex) -> &Task {
        &self.tasks[index.0 as usize]
    }

    /// A job by its position.
    #[allow(
        clippy::indexing_slicing,
        reason = "an index is made by the compiler of this very workflow"
    )]
    pub fn job(&self, index: JobIndex) -> &Job {
        &self.jobs[index.0 as usize]
    }

    /// Whether a task of it runs this module.
    pub fn uses(&self, module: &ModuleName) -> bool {
        self.tasks
            .iter()
            .any(|task| matches!(&task.uses, Uses::Module { name, .. } if name == module))
    }

    /// The workflows that its tasks run, each with its version.
    pub fn children(&self) -> impl Iterator<Item = (&WorkflowName, Digest)> {
        self.tasks.iter().filter_map(|task| match &task.uses {
            Uses::Workflow { name, version } => Some((name, *version)),
            Uses::Module { .. } => None,
        })
    }

    /// Whether a task of it runs one of these workflows, or it starts after one.
    pub fn refers_to(&self, workflows: &BTreeSet<WorkflowName>) -> bool {
        self.children().any(|(name, _)| workflows.contains(name))
            || self
                .starts_after()
                .any(|after| workflows.contains(&after.workflow))
    }

    /// The triggers by the end of another workflow, in the order of the file.
    pub fn starts_after(&self) -> impl Iterator<Item = &EndTrigger> {
        self.triggers.iter().filter_map(|trigger| match trigger {
            TriggerSpec::Workflow(after) => Some(after),
            TriggerSpec::Webhook { .. } => None,
        })
    }

    /// The position of the task with this name.
    pub fn task_named(&self, name: &str) -> Option<TaskIndex> {
        let at = self
            .tasks
            .iter()
            .position(|task| task.name.as_str() == name)?;
        u32::try_from(at).ok().map(TaskIndex)
    }
}

/// A workflow input (`[inputs.NAME]`).
#[derive(Debug, Clone, PartialEq)]
pub struct InputSpec {
    /// Its name.
    pub name: VariableName,
    /// Its JSON Schema: type, enum, bounds, description, as written.
    pub schema: Value,
    /// Whether a trigger must give it.
    pub required: bool,
    /// Used when a trigger does not give it.
    pub default: Option<Value>,
}

/// A job.
#[derive(Debug)]
pub struct Job {
    /// Its name.
    pub name: JobName,
    /// Its tasks, in file order.
    pub tasks: Vec<TaskIndex>,
    /// The jobs before it: written, or the one before it in the file.
    pub needs: Vec<JobIndex>,
    /// What a failed task means here.
    pub on_failure: OnFailure,
    /// After which outcome of its needs it starts.
    pub run_on: RunOn,
}

/// What the failure of a task does to its job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Nothing new starts in the job; it fails once running siblings have ended.
    #[default]
    Stop,
    /// The failure is tolerated: dependants start, the job succeeds and counts it.
    Continue,
}

/// Which outcome of the jobs before it lets a job start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RunOn {
    /// All of them succeeded.
    #[default]
    Success,
    /// At least one of them failed.
    Failure,
    /// Any.
    Always,
}

/// A task.
#[derive(Debug)]
pub struct Task {
    /// Its name.
    pub name: TaskName,
    /// Its job.
    pub job: JobIndex,
    /// What it runs.
    pub uses: Uses,
    /// The tasks of the same job before it: written, or the one before it in the file.
    pub needs: Vec<TaskIndex>,
    /// Its input: module defaults ← `with`, each field with its origin.
    pub with: Template,
    /// The module's defaults (an object), over which `with` is laid.
    pub defaults: Value,
    /// The module's input schema; `true` when unknown.
    pub input_schema: Value,
    /// The validator of `input_schema`, made at most once.
    pub validator: InputValidator,
    /// The module's output schema; `true` when unknown.
    pub output_schema: Value,
    /// Runs only if this is true; else the task is skipped.
    pub when: Option<Expression>,
    /// Runs once for each item.
    pub for_each: Option<ForEach>,
    /// When and how often it is tried again.
    pub retry: RetryPolicy,
    /// What each attempt may use.
    pub limits: TaskLimits,
    /// What its failure does; the job's choice unless the task has its own.
    pub on_failure: OnFailure,
    /// What becomes of an attempt that a crash cut off.
    pub on_interrupt: OnInterrupt,
    /// What it may reach.
    pub grants: Arc<Grants>,
    /// The tasks whose outputs its expressions read; all are ancestors.
    pub reads: Vec<TaskIndex>,
}

/// What a task runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uses {
    /// A module.
    Module {
        /// Its name.
        name: ModuleName,
        /// Exactly which.
        digest: Digest,
    },
    /// Another workflow (`uses = "workflow:NAME"`).
    Workflow {
        /// Its name.
        name: WorkflowName,
        /// Exactly which.
        version: Digest,
    },
}

/// `for_each` and `max_parallel`.
#[derive(Debug)]
pub struct ForEach {
    /// Gives the array of items.
    pub items: Template,
    /// How many items run at once; at least 1.
    pub max_parallel: u32,
}

/// When and how often a failed attempt is tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// Attempts in all; at least 1.
    pub attempts: u32,
    /// The wait before the second attempt.
    pub delay: Duration,
    /// Each further wait is this many times the one before; at least 1.
    pub factor: f64,
    /// No wait is longer.
    pub max_delay: Duration,
    /// Full jitter: the wait is drawn evenly from zero to the computed one.
    pub jitter: bool,
    /// Which failures are tried again; empty: those that call themselves retryable.
    pub on: Vec<RetryOn>,
}

/// One entry of `retry.on`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryOn {
    /// `timeout`: any failure whose code ends in `timeout`.
    Timeout,
    /// `http.5xx`: `http.status` with a status from 500 to 599.
    Http5xx,
    /// `http.429`: `http.status` with exactly this status.
    HttpStatus(u16),
    /// `code:NAME`: exactly this code.
    Code(String),
}

/// What one attempt may use, after the operator's ceilings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskLimits {
    /// Wall-clock time.
    pub timeout: Duration,
    /// CPU time.
    pub cpu: Duration,
    /// All linear memories together, in bytes.
    pub memory_bytes: u64,
    /// The output's JSON text, in bytes.
    pub output_bytes: u64,
}

/// What becomes of an attempt that was running when the daemon died.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnInterrupt {
    /// It is tried again (at-least-once).
    #[default]
    Retry,
    /// It fails (at-most-once).
    Fail,
}

/// One `[[on]]`.
#[derive(Debug)]
pub enum TriggerSpec {
    /// `webhook = "NAME"`.
    Webhook {
        /// The last part of its address.
        name: ScheduleName,
    },
    /// `workflow = "NAME"`.
    Workflow(EndTrigger),
}

/// Starts after the end of a run of another workflow.
#[derive(Debug)]
pub struct EndTrigger {
    /// The workflow whose run ended.
    pub workflow: WorkflowName,
    /// How it must have ended.
    pub ends: Vec<End>,
    /// Only if this is true of the run that ended.
    pub when: Option<Expression>,
    /// The inputs of the run that starts, from the run that ended: an object.
    pub inputs: Template,
    /// The names of the tasks that the expressions above read, by their positions there.
    pub tasks: Vec<String>,
}

/// How a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// Well.
    Succeeded,
    /// In a failure.
    Failed,
    /// Because someone said so.
    Cancelled,
}

impl End {
    /// All there are, as words and values.
    pub const ALL: [(&'static str, Self); 3] = [
        ("succeeded", Self::Succeeded),
        ("failed", Self::Failed),
        ("cancelled", Self::Cancelled),
    ];
}

/// `concurrency = { key, max }`.
#[derive(Debug)]
pub struct Concurrency {
    /// Runs with the same key share the limit; none: all runs of the workflow.
    pub key: Option<Template>,
    /// At least 1.
    pub max: u32,
}

/// `retention = { age, runs }`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// Finished runs older than this go.
    pub age: Option<Duration>,
    /// Only so many finished runs stay.
    pub runs: Option<u32>,
}
