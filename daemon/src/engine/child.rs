//! An attempt that runs another workflow (`uses = "workflow:NAME"`) and waits for it.
//!
//! The child is a run like any other, found again by its idempotency key: an attempt that was cut
//! off continues to wait for the child that the one before it began.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::attempt::ended_with;
use super::handle::{EngineHandle, Shared};
use super::{TriggerError, TriggerRequest, VersionError, WaitError};
use crate::broker::identity::AttemptIdentity;
use crate::id::{Digest, RunId, WorkflowName};
use crate::run::failure::{Failure, FailureSource};
use crate::run::status::{Status, Trigger};
use crate::sandbox::invoke::AttemptReport;

/// What is needed to run it.
pub(super) struct Child {
    pub shared: Arc<Shared>,
    pub name: WorkflowName,
    pub version: Digest,
    pub identity: Arc<AttemptIdentity>,
    pub round: u32,
    pub input: Arc<str>,
    pub cancel: CancellationToken,
}

/// Runs it to its end.
pub(super) async fn run(child: Child) -> AttemptReport {
    match finish(&child).await {
        Ok(output) => AttemptReport {
            outcome: Ok(output),
            cpu: Duration::ZERO,
            memory_peak_bytes: 0,
        },
        Err(failure) => ended_with(failure),
    }
}

async fn finish(child: &Child) -> Result<Arc<str>, Failure> {
    let handle = EngineHandle::new(Arc::clone(&child.shared));
    let run = begin(child, &handle).await?;
    let status = tokio::select! {
        status = handle.wait(run) => status,
        () = child.cancel.cancelled() => {
            // An engine that leaves lets the child go on with its next owner.
            if !child.shared.health.borrow().draining {
                handle
                    .cancel(run, "the run that uses this one was cancelled")
                    .await
                    .map_err(|error| host(error.to_string()))?;
            }
            return Err(Failure::cancelled("the attempt was stopped"));
        }
    };
    let status = status.map_err(|error: WaitError| host(error.to_string()))?;
    output(child, run, status).await
}

async fn begin(child: &Child, handle: &EngineHandle) -> Result<RunId, Failure> {
    let shared = &child.shared;
    let workflow = (shared.versions)(child.version).await;
    let workflow = workflow.map_err(|error| match error {
        VersionError::Unavailable(message) => host(message),
        VersionError::Lost(message) => {
            Failure::permanent(FailureSource::Host, "version.lost", message)
        }
    })?;
    let organization = child.identity.organization;
    let known = shared.store.workflows().await;
    let known = known.map_err(|error| host(error.to_string()))?;
    let found = known
        .iter()
        .find(|row| row.organization_id == organization && row.name == child.name);
    let workflow_id = found.map(|row| row.workflow_id).ok_or_else(|| {
        let text = format!("there is no workflow `{}`", child.name);
        Failure::permanent(FailureSource::Host, "workflow.unknown", text)
    })?;
    let request = TriggerRequest {
        workflow,
        workflow_id,
        organization,
        inputs: serde_json::from_str(&child.input).unwrap_or(Value::Null),
        config: Value::Null,
        trigger: Trigger::Workflow,
        idempotency_key: Some(format!(
            "child.{}.{}",
            child.identity.idempotency_key, child.round
        )),
        scheduled_at: Some(child.identity.scheduled_at),
        priority: None,
        trace_id: Some(child.identity.trace_id.clone()),
    };
    let accepted = handle.trigger(request).await;
    accepted
        .map(|accepted| accepted.run_id)
        .map_err(|error| match error {
            TriggerError::Rejected(_) => {
                Failure::permanent(FailureSource::Host, error.code(), error.to_string())
            }
            other => Failure::retryable(FailureSource::Host, other.code(), other.to_string()),
        })
}

/// The outputs of all the child's tasks by name, or why it has none.
async fn output(child: &Child, run: RunId, status: Status) -> Result<Arc<str>, Failure> {
    let image = child.shared.store.load_run(run).await;
    let image = image.map_err(|error| host(error.to_string()))?;
    let image = image.ok_or_else(|| host(format!("run {run} is gone")))?;
    if status != Status::Succeeded {
        let why = image.run.failure_message.unwrap_or_default();
        let mut failure = Failure::retryable(
            FailureSource::Task,
            format!("workflow.{status}"),
            format!(
                "run {run} of workflow `{}` ended {status}: {why}",
                child.name
            ),
        );
        failure.details = json!({ "run_id": run.to_string(), "code": image.run.failure_code });
        return Err(failure);
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
    let output = json!({ "run_id": run.to_string(), "tasks": tasks });
    Ok(output.to_string().into())
}

fn host(message: String) -> Failure {
    Failure::retryable(FailureSource::Host, "workflow.unavailable", message)
}
