//! An attempt that runs another workflow (`uses = "workflow:NAME"`) and waits for it.
//!
//! The child is a run like any other, found again by its key: the task run and the round, which is how many attempts
//! have failed before. So a wait is not cut off with its daemon: the next owner of the parent continues the same
//! attempt, whatever of it had been done. A further round, and a rerun of the parent, continue the child that was not
//! finished, if it would get the same inputs. What stands in the way for a moment (a store that does not answer, a
//! queue that is full) is waited for and spends no attempt.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::attempt::ended_with;
use super::handle::{EngineHandle, Shared};
use super::intake::{Admission, Answer};
use super::{RerunMode, TriggerError, TriggerRequest, VersionError, WaitError};
use crate::clock::Timestamp;
use crate::id::{Digest, JobName, RunId, TaskName, TaskRunId, WorkflowName};
use crate::run::failure::{Failure, FailureSource};
use crate::run::status::{Status, Trigger};
use crate::sandbox::invoke::AttemptReport;
use crate::store::StoreError;
use crate::store::lineage::Lineage;
use crate::store::rows::{RunImage, RunRow};
use crate::workflow::family::DEPTH_MAX;
use crate::workflow::input::workflow_inputs;
use crate::workflow::model::Workflow;

/// The first wait before something is tried again; each further one is twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
/// The longest: what is waited for is a store or a queue, and both come back within seconds.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How many reruns back a child to be continued is looked for.
const RERUNS_BACK: usize = 16;

/// What is needed to run it.
pub(super) struct Child {
    pub shared: Arc<Shared>,
    pub name: WorkflowName,
    pub version: Digest,
    /// The run that it is a task of.
    pub parent: RunRow,
    pub job: JobName,
    pub task: TaskName,
    pub item: Option<u32>,
    pub task_run: TaskRunId,
    pub round: u32,
    pub input: Arc<str>,
    /// When the attempt has used up its time.
    pub deadline: Timestamp,
    /// The largest output, in bytes.
    pub output_max: u64,
    pub cancel: CancellationToken,
}

/// Why something is not there.
enum Hitch {
    /// It may be, a moment later.
    Later(String),
    /// It never will.
    Never(Failure),
}

impl From<StoreError> for Hitch {
    fn from(error: StoreError) -> Self {
        Self::Later(error.to_string())
    }
}

/// Runs it to its end.
pub(super) async fn run(child: Child) -> AttemptReport {
    match child.finish().await {
        Ok(output) => AttemptReport {
            outcome: Ok(output),
            cpu: Duration::ZERO,
            memory_peak_bytes: 0,
        },
        Err(failure) => ended_with(failure),
    }
}

/// The key of a task run's child in a round. It holds a character that no key from outside can hold, so nobody can
/// take its place.
fn key(task_run: TaskRunId, round: u32) -> String {
    format!("child·{task_run}·{round}")
}

impl Child {
    async fn finish(&self) -> Result<Arc<str>, Failure> {
        if self.parent.lineage.depth >= DEPTH_MAX {
            return Err(Failure::permanent(
                FailureSource::Host,
                "workflow.depth",
                format!(
                    "workflow `{}` is not run: {DEPTH_MAX} runs stand above it already",
                    self.name
                ),
            ));
        }
        let run = self.patiently(|| self.begin()).await?;
        let clock = &self.shared.clock;
        let in_time = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return self.call_off(run).await,
            status = self.patiently(|| self.end_of(run)) => Some(status?),
            () = clock.wait_until(self.deadline) => None,
        };
        let status = match in_time {
            Some(status) => status,
            None => {
                let why = "the time of the task that runs this workflow is up";
                self.patiently(|| self.order_to_stop(run, why)).await?;
                // Only what has ended can be continued by another attempt.
                tokio::select! {
                    biased;
                    () = self.cancel.cancelled() => return self.call_off(run).await,
                    status = self.patiently(|| self.end_of(run)) => status?,
                }
            }
        };
        let image = self.patiently(|| self.image(run)).await?;
        self.output(image, status, in_time.is_none())
    }

    /// Tries until it is done or can never be.
    async fn patiently<T, F>(&self, mut work: impl FnMut() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Hitch>>,
    {
        let mut wait = PAUSE_FIRST;
        loop {
            match work().await {
                Ok(done) => return Ok(done),
                Err(Hitch::Never(failure)) => return Err(failure),
                Err(Hitch::Later(why)) => {
                    tracing::debug!(run = %self.parent.run_id, task = %self.task, why, "tried again");
                    let clock = &self.shared.clock;
                    clock.wait_until(clock.now().after(wait)).await;
                    wait = (wait * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// The run of this round: the one that is there, or a new one. If the parent is being stopped and there is
    /// none, one is made that has ended already, so that no forgotten daemon makes it later.
    async fn begin(&self) -> Result<RunId, Hitch> {
        let store = &self.shared.store;
        let key = key(self.task_run, self.round);
        let organization = self.parent.organization_id;
        if let Some(mine) = store.run_of_key(organization, &key).await? {
            return Ok(mine.run_id);
        }
        let workflow = (self.shared.versions)(self.version).await;
        let workflow = workflow.map_err(|error| match error {
            // Nothing was begun, and nothing is to be.
            _ if self.cancel.is_cancelled() => Hitch::Never(Failure::cancelled(STOPPED)),
            VersionError::Unavailable(why) => Hitch::Later(why),
            VersionError::Lost(why) => {
                Hitch::Never(Failure::permanent(FailureSource::Host, "version.lost", why))
            }
        })?;
        let given = serde_json::from_str(&self.input).unwrap_or(Value::Null);
        let inputs = workflow_inputs(&workflow, &given).map_err(|problems| {
            Hitch::Never(Failure::permanent(
                FailureSource::Input,
                "input.invalid",
                problems.join("; "),
            ))
        })?;
        let (mut admission, answer) = self.admission(&workflow, inputs).await?;
        let row = &mut admission.run.row;
        row.trigger = Trigger::Workflow;
        row.trace_id.clone_from(&self.parent.trace_id);
        row.idempotency_key = Some(key);
        // What was begun is finished before something new begins: a parent that waits holds memory.
        row.priority = self
            .parent
            .priority
            .max(workflow.priority)
            .saturating_add(1);
        row.lineage = Lineage {
            parent_run_id: Some(self.parent.run_id),
            parent_task_run_id: Some(self.task_run),
            triggered_by: None,
            root_run_id: self.parent.lineage.root_run_id.or(Some(self.parent.run_id)),
            depth: self.parent.lineage.depth.saturating_add(1),
        };
        if self.cancel.is_cancelled() {
            admission.run.called_off = Some(STOPPED.to_owned());
        }
        let accepted = self.handle().admit_in_turn((admission, answer)).await;
        match accepted {
            Ok(accepted) => Ok(accepted.run_id),
            Err(TriggerError::Rejected(why)) => Err(Hitch::Never(Failure::permanent(
                FailureSource::Host,
                "store.rejected",
                why,
            ))),
            // This attempt is the next owner's.
            Err(TriggerError::Stopping) => std::future::pending().await,
            Err(other) => Err(Hitch::Later(other.to_string())),
        }
    }

    /// A new run, or one that continues what was not finished with the same inputs.
    async fn admission(
        &self,
        workflow: &Arc<Workflow>,
        inputs: Value,
    ) -> Result<(Admission, Answer), Hitch> {
        let now = self.shared.clock.now();
        let earlier = match self.cancel.is_cancelled() {
            true => None,
            false => self.unfinished().await?,
        };
        if let Some(earlier) = earlier {
            let before: Value = serde_json::from_str(&earlier.run.inputs).unwrap_or(Value::Null);
            if before == inputs {
                let same = earlier.run.version == workflow.version;
                return super::rerun::admission(
                    earlier,
                    workflow,
                    &RerunMode::FromFailed,
                    same,
                    None,
                    now,
                )
                .map_err(|error| Hitch::Later(error.to_string()));
            }
        }
        let organization = self.parent.organization_id;
        let found = self.shared.workflow_id(organization, &self.name).await?;
        let workflow_id = found.ok_or_else(|| {
            let text = format!("there is no workflow `{}`", self.name);
            Hitch::Never(Failure::permanent(
                FailureSource::Host,
                "workflow.unknown",
                text,
            ))
        })?;
        let request = TriggerRequest {
            workflow: Arc::clone(workflow),
            workflow_id,
            organization,
            inputs,
            config: Value::Null,
            trigger: Trigger::Workflow,
            idempotency_key: None,
            scheduled_at: Some(self.parent.scheduled_at),
            priority: None,
            trace_id: None,
        };
        Ok(Admission::new(request, now))
    }

    /// The child of the round before this one, or that of the run which the parent continues, unless it succeeded.
    async fn unfinished(&self) -> Result<Option<RunImage>, Hitch> {
        if let Some(before) = self.round.checked_sub(1) {
            return self.failed_one(key(self.task_run, before)).await;
        }
        let mut at = self.parent.rerun_of;
        for _ in 0..RERUNS_BACK {
            let Some(run) = at else { break };
            let Some(image) = self.shared.store.load_run(run).await? else {
                break;
            };
            if image.run.origin_run_id != self.parent.origin_run_id {
                break;
            }
            if let Some((task_run, failures)) = self.unit_in(&image) {
                for round in [Some(failures), failures.checked_sub(1)]
                    .into_iter()
                    .flatten()
                {
                    let key = key(task_run, round);
                    let organization = self.parent.organization_id;
                    let store = &self.shared.store;
                    if store.run_of_key(organization, &key).await?.is_some() {
                        return self.failed_one(key).await;
                    }
                }
            }
            at = image.run.rerun_of;
        }
        Ok(None)
    }

    /// This task in an earlier run, and how many of its attempts failed there.
    fn unit_in(&self, image: &RunImage) -> Option<(TaskRunId, u32)> {
        let item = self.item.map_or(-1, i64::from);
        let row = image
            .tasks
            .iter()
            .find(|row| row.task == self.task && row.job == self.job && row.item_index == item)?;
        let failed = image.attempts.iter().filter(|attempt| {
            attempt.task_run_id == row.task_run_id && attempt.status == Status::Failed
        });
        Some((row.task_run_id, u32::try_from(failed.count()).ok()?))
    }

    async fn failed_one(&self, key: String) -> Result<Option<RunImage>, Hitch> {
        let (store, organization) = (&self.shared.store, self.parent.organization_id);
        let Some(row) = store.run_of_key(organization, &key).await? else {
            return Ok(None);
        };
        if !row.status.is_final() {
            return Err(Hitch::Later(format!(
                "run {} has not ended yet",
                row.run_id
            )));
        }
        if row.status == Status::Succeeded {
            return Ok(None);
        }
        Ok(store.load_run(row.run_id).await?)
    }

    fn handle(&self) -> EngineHandle {
        EngineHandle::new(Arc::clone(&self.shared))
    }

    async fn end_of(&self, run: RunId) -> Result<Status, Hitch> {
        match self.handle().wait(run).await {
            Ok(status) => Ok(status),
            // The next owner waits on.
            Err(WaitError::Stopping) => std::future::pending().await,
            Err(WaitError::NotFound(run)) => Err(gone(run)),
            Err(WaitError::Store(error)) => Err(error.into()),
        }
    }

    async fn order_to_stop(&self, run: RunId, why: &str) -> Result<(), Hitch> {
        self.handle().cancel(run, why).await?;
        Ok(())
    }

    /// The parent is being stopped: it ends once the order for its child is durable.
    async fn call_off(&self, run: RunId) -> Result<Arc<str>, Failure> {
        self.patiently(|| self.order_to_stop(run, STOPPED)).await?;
        Err(Failure::cancelled("the attempt was stopped"))
    }

    async fn image(&self, run: RunId) -> Result<RunImage, Hitch> {
        let image = self.shared.store.load_run(run).await?;
        image.ok_or_else(|| gone(run))
    }

    /// The outputs of all the child's tasks by name, or why there are none.
    fn output(&self, image: RunImage, status: Status, late: bool) -> Result<Arc<str>, Failure> {
        let run = image.run.run_id;
        if status != Status::Succeeded {
            return Err(self.failure(&image.run, status, late));
        }
        let mut tasks = Map::new();
        for row in image.tasks.iter().filter(|row| row.item_index < 0) {
            let io = row
                .output_io_id
                .and_then(|id| image.io.iter().find(|io| io.io_id == id));
            if let Some(value) = io.and_then(|io| serde_json::from_str(&io.data).ok()) {
                tasks.insert(row.task.to_string(), value);
            }
        }
        let output = json!({ "run_id": run.to_string(), "tasks": tasks }).to_string();
        if output.len() as u64 > self.output_max {
            return Err(Failure::permanent(
                FailureSource::Limit,
                "limit.output",
                format!(
                    "the outputs of run {run} are {} bytes; this task allows {}",
                    output.len(),
                    self.output_max
                ),
            ));
        }
        Ok(output.into())
    }

    fn failure(&self, child: &RunRow, status: Status, late: bool) -> Failure {
        let (run, name) = (child.run_id, &self.name);
        let why = child.failure_message.as_deref().unwrap_or_default();
        let mut failure = match status {
            _ if late => Failure::retryable(
                FailureSource::Limit,
                "timeout",
                format!("run {run} of workflow `{name}` took longer than this task allows"),
            ),
            // Who stopped it does not want it tried again.
            Status::Cancelled => Failure::permanent(
                FailureSource::Task,
                "workflow.cancelled",
                format!("run {run} of workflow `{name}` was cancelled: {why}"),
            ),
            status => Failure::retryable(
                FailureSource::Task,
                format!("workflow.{status}"),
                format!("run {run} of workflow `{name}` {status}: {why}"),
            ),
        };
        failure.details = json!({ "run_id": run.to_string(), "code": child.failure_code });
        failure
    }
}

/// Why a child is stopped with its parent.
const STOPPED: &str = "the run that it is a task of was stopped";

fn gone(run: RunId) -> Hitch {
    Hitch::Never(Failure::permanent(
        FailureSource::Host,
        "workflow.gone",
        format!("run {run} is not in the store any more"),
    ))
}
