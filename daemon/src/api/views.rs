//! How things look from outside: the envelope, and runs as a tree with durations.

use std::collections::BTreeMap;

use axum::Json;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::catalog::{FileProblem, ProblemKind};
use crate::clock::Timestamp;
use crate::id::TaskRunId;
use crate::run::status::Status;
use crate::store::rows::{AttemptRow, HostCallRow, LogRow, RunImage, RunRow, TaskRunRow};
use crate::workflow::model::Workflow;

/// The envelope of every success.
#[derive(Debug, Serialize)]
pub struct Envelope<T> {
    success: bool,
    data: T,
    message: &'static str,
    status: u16,
}

impl<T: Serialize> Envelope<T> {
    /// 200 with this data.
    pub fn of(data: T) -> Json<Self> {
        Json(Self {
            success: true,
            data,
            message: "OK",
            status: 200,
        })
    }

    /// 201 with this data.
    pub fn created(data: T) -> Json<Self> {
        Json(Self {
            success: true,
            data,
            message: "Created",
            status: 201,
        })
    }

    /// 202 with this data.
    pub fn accepted(data: T) -> Json<Self> {
        Json(Self {
            success: true,
            data,
            message: "Accepted",
            status: 202,
        })
    }
}

/// Stored JSON text as a value; text that is not JSON is shown as a string.
pub fn json_text(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// Stored JSON text as it stands, for large values.
pub fn raw_text(text: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(text.to_owned()).ok()
}

fn duration_ms(from: Option<Timestamp>, to: Option<Timestamp>) -> Value {
    match (from, to) {
        (Some(from), Some(to)) => {
            json!(u64::try_from(to.since(from).as_millis()).unwrap_or(u64::MAX))
        }
        _ => Value::Null,
    }
}

/// A run in a list.
pub fn run(row: &RunRow) -> Value {
    json!({
        "id": row.run_id,
        "workflow": row.workflow_name,
        "workflowId": row.workflow_id,
        "version": row.version,
        "number": row.number,
        "status": row.status,
        "trigger": row.trigger,
        "priority": row.priority,
        "traceId": row.trace_id,
        "rerunOf": row.rerun_of,
        "originRunId": row.origin_run_id,
        "parentRunId": row.lineage.parent_run_id,
        "parentTaskRunId": row.lineage.parent_task_run_id,
        "triggeredBy": row.lineage.triggered_by,
        "rootRunId": row.lineage.root_run_id,
        "depth": row.lineage.depth,
        "scheduledAt": row.scheduled_at,
        "createdAt": row.created_at,
        "startedAt": row.started_at,
        "finishedAt": row.finished_at,
        "durationMs": duration_ms(row.started_at, row.finished_at),
        "toleratedFailures": row.tolerated_failures,
        "failure": failure(row.failure_code.as_deref(), row.failure_message.as_deref()),
    })
}

/// A log line or event, as pages of logs and the event stream show it.
pub fn log(row: &LogRow) -> Value {
    json!({
        "eventId": row.event_id,
        "runId": row.run_id,
        "taskRunId": row.task_run_id,
        "attemptId": row.attempt_id,
        "kind": row.kind,
        "level": row.level,
        "message": row.message,
        "fields": row.fields.as_deref().map_or(Value::Null, json_text),
        "at": row.at,
    })
}

/// A reason; null when there is none.
pub fn failure(code: Option<&str>, message: Option<&str>) -> Value {
    code.map_or(
        Value::Null,
        |code| json!({ "code": code, "message": message }),
    )
}

/// A run with its jobs, tasks, attempts and host calls. Tasks that have no row yet come from the
/// workflow, so that the tree is whole from the start.
pub fn tree(image: &RunImage, workflow: Option<&Workflow>, calls: &[HostCallRow]) -> Value {
    let mut view = run(&image.run);
    let mut by_task: BTreeMap<&str, Vec<&TaskRunRow>> = BTreeMap::new();
    for row in &image.tasks {
        by_task.entry(row.task.as_str()).or_default().push(row);
    }
    let mut attempts: BTreeMap<TaskRunId, Vec<&AttemptRow>> = BTreeMap::new();
    for row in &image.attempts {
        attempts.entry(row.task_run_id).or_default().push(row);
    }
    let jobs: Vec<Value> = match workflow {
        Some(workflow) => workflow
            .jobs
            .iter()
            .map(|job| {
                let names = job
                    .tasks
                    .iter()
                    .map(|index| workflow.task(*index).name.as_str());
                job_tree(image, job.name.as_str(), names, &by_task, &attempts, calls)
            })
            .collect(),
        None => image
            .jobs
            .iter()
            .map(|job| {
                let mut names: Vec<_> = image
                    .tasks
                    .iter()
                    .filter(|row| row.job == job.job)
                    .map(|row| row.task.as_str())
                    .collect();
                names.dedup();
                job_tree(
                    image,
                    job.job.as_str(),
                    names.into_iter(),
                    &by_task,
                    &attempts,
                    calls,
                )
            })
            .collect(),
    };
    if let Some(view) = view.as_object_mut() {
        view.insert("inputs".to_owned(), json_text(&image.run.inputs));
        view.insert("config".to_owned(), json_text(&image.run.config));
        view.insert("jobRuns".to_owned(), jobs.into());
    }
    view
}

fn job_tree<'a>(
    image: &RunImage,
    job: &str,
    tasks: impl Iterator<Item = &'a str>,
    by_task: &BTreeMap<&str, Vec<&TaskRunRow>>,
    attempts: &BTreeMap<TaskRunId, Vec<&AttemptRow>>,
    calls: &[HostCallRow],
) -> Value {
    let row = image.jobs.iter().find(|row| row.job.as_str() == job);
    let task_runs: Vec<Value> = tasks
        .flat_map(|name| match by_task.get(name) {
            Some(rows) => rows.iter().map(|row| task_tree(row, attempts, calls)).collect(),
            None => vec![json!({ "task": name, "status": unstarted(image.run.status), "itemIndex": Value::Null,
                "attempts": [], "durationMs": Value::Null, "reason": Value::Null })],
        })
        .collect();
    json!({
        "job": job,
        "status": row.map_or(unstarted(image.run.status), |row| row.status),
        "startedAt": row.and_then(|row| row.started_at),
        "finishedAt": row.and_then(|row| row.finished_at),
        "durationMs": row.map_or(Value::Null, |row| duration_ms(row.started_at, row.finished_at)),
        "toleratedFailures": row.map_or(0, |row| row.tolerated_failures),
        "taskRuns": task_runs,
    })
}

/// What has no row has not begun; in a run that ended it never will.
fn unstarted(run: Status) -> Status {
    if run == Status::Cancelled {
        Status::Cancelled
    } else if run.is_final() {
        Status::Skipped
    } else {
        Status::Queued
    }
}

fn task_tree(
    row: &TaskRunRow,
    attempts: &BTreeMap<TaskRunId, Vec<&AttemptRow>>,
    calls: &[HostCallRow],
) -> Value {
    let tries: Vec<Value> = attempts
        .get(&row.task_run_id)
        .into_iter()
        .flatten()
        .map(|attempt| attempt_tree(attempt, calls))
        .collect();
    json!({
        "id": row.task_run_id,
        "task": row.task,
        "itemIndex": (row.item_index >= 0).then_some(row.item_index),
        "status": row.status,
        "tolerated": row.tolerated,
        "readyAt": row.ready_at,
        "startedAt": row.started_at,
        "finishedAt": row.finished_at,
        "retryAt": row.retry_at,
        "durationMs": duration_ms(row.started_at, row.finished_at),
        "reason": failure(row.reason_code.as_deref(), row.reason_message.as_deref()),
        "attempts": tries,
    })
}

fn attempt_tree(row: &AttemptRow, calls: &[HostCallRow]) -> Value {
    let calls: Vec<Value> = calls
        .iter()
        .filter(|call| call.attempt_id == row.attempt_id)
        .map(|call| {
            json!({
                "kind": call.kind, "target": call.target, "verb": call.verb, "outcome": call.outcome,
                "sentBytes": call.sent_bytes, "receivedBytes": call.received_bytes,
                "startedAt": call.started_at, "durationUs": call.duration_us,
            })
        })
        .collect();
    json!({
        "id": row.attempt_id,
        "number": row.number,
        "status": row.status,
        "daemon": row.daemon_id,
        "startedAt": row.started_at,
        "finishedAt": row.finished_at,
        "durationMs": duration_ms(Some(row.started_at), row.finished_at),
        "cpuUs": row.cpu_us,
        "memoryPeakBytes": row.memory_peak_bytes,
        "logsDropped": row.logs_dropped,
        "failure": row.failure.as_deref().map_or(Value::Null, json_text),
        "hostCalls": calls,
    })
}

/// A file that is not live as it stands.
pub fn problem(file: &str, problem: &FileProblem) -> Value {
    let kind = match &problem.kind {
        ProblemKind::Invalid(_) => "invalid",
        ProblemKind::Refused(_) => "refused",
        ProblemKind::Compiling => "compiling",
        ProblemKind::Unreachable(_) => "unreachable",
    };
    json!({ "file": file, "kind": kind, "text": problem.kind.text(), "since": problem.since, "lastGood": problem.last_good })
}
