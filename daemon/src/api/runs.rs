//! Runs: lists, one as a tree, its logs and data, cancel and rerun.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::Method;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::ApiState;
use super::authorize::{Authorized, Permission};
use super::json::OptionalBody;
use super::problem::ApiError;
use super::routes::Routes;
use super::views::{self, Envelope};
use super::{family, workflows};
use crate::engine::{Cancelled, RerunError, RerunMode, RerunVersion, VersionError};
use crate::id::{RunId, TaskName, WorkflowName};
use crate::run::status::{Status, Trigger};
use crate::store::rows::{IoKind, RunFilter, RunImage};

/// What fits on a screen or two.
const PAGE: u32 = 50;
/// Larger pages only make the first row come later.
pub const PAGE_MAX: u32 = 1_000;

/// The routes of this file.
pub(super) fn table(routes: Routes) -> Routes {
    use Permission::{LogsRead, WorkflowsExecute, WorkflowsRead};
    const RUN: &str = "/v0/workflow-runs/{run}";
    routes
        .route(Method::GET, "/v0/workflow-runs", WorkflowsRead, list)
        .route(Method::GET, RUN, WorkflowsRead, detail)
        .route(Method::GET, "/v0/workflow-runs/{run}/logs", LogsRead, logs)
        .route(Method::GET, "/v0/workflow-runs/{run}/io", LogsRead, io)
        .route(
            Method::POST,
            "/v0/workflow-runs/{run}/cancel",
            WorkflowsExecute,
            cancel,
        )
        .route(
            Method::POST,
            "/v0/workflow-runs/{run}/rerun",
            WorkflowsExecute,
            rerun,
        )
}

/// Filters of the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    workflow: Option<WorkflowName>,
    status: Option<String>,
    trigger: Option<Trigger>,
    parent: Option<RunId>,
    root: Option<RunId>,
    cursor: Option<RunId>,
    limit: Option<u32>,
}

/// How many rows are wanted.
fn page(wanted: Option<u32>, default: u32) -> Result<u32, ApiError> {
    match wanted.unwrap_or(default) {
        limit @ 1..=PAGE_MAX => Ok(limit),
        _ => Err(ApiError::bad_request(format!("limit: 1 to {PAGE_MAX}"))),
    }
}

/// Lists runs, newest first.
pub async fn list(
    caller: Authorized,
    State(state): State<ApiState>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    let status = query
        .status
        .iter()
        .flat_map(|text| text.split(','))
        .map(|word| {
            word.parse::<Status>()
                .map_err(|error| ApiError::bad_request(error.to_string()))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let limit = page(query.limit, PAGE)?;
    let filter = RunFilter {
        organization: Some(caller.organization),
        workflow: query.workflow,
        status,
        trigger: query.trigger,
        parent: query.parent,
        root: query.root,
        before: query.cursor,
        limit,
    };
    let rows = state.store.runs(&filter).await?;
    let next = (rows.len() == limit as usize)
        .then(|| rows.last().map(|row| row.run_id))
        .flatten();
    let runs: Vec<Value> = rows.iter().map(views::run).collect();
    Ok(Envelope::of(json!({ "data": runs, "nextCursor": next })))
}

/// Loads a run of the caller's organization; another's is as absent as an unknown one.
async fn load(state: &ApiState, caller: Authorized, run: &str) -> Result<RunImage, ApiError> {
    let run: RunId = run.parse().map_err(|_| ApiError::not_found("run"))?;
    state
        .store
        .load_run(run)
        .await?
        .filter(|image| image.run.organization_id == caller.organization)
        .ok_or_else(|| ApiError::not_found("run"))
}

/// One run: jobs, tasks, attempts, host calls.
pub async fn detail(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(run): Path<String>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    let image = load(&state, caller, &run).await?;
    let calls = state.store.host_calls(image.run.run_id).await?;
    // Without its version the rows still tell what happened.
    let workflow = state.versions.load(&image.run.version).await.ok();
    let mut view = views::tree(&image, workflow.as_deref(), &calls);
    family::add(&state, &image.run, &mut view).await?;
    Ok(Envelope::of(view))
}

/// Where a page of logs begins.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogQuery {
    after: Option<i64>,
    limit: Option<u32>,
}

/// Log lines and events of one run, in order.
pub async fn logs(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(run): Path<String>,
    Query(query): Query<LogQuery>,
) -> Result<Json<Envelope<Vec<Value>>>, ApiError> {
    let image = load(&state, caller, &run).await?;
    let limit = page(query.limit, PAGE_MAX)?;
    let after = query.after.unwrap_or(0);
    let rows = state
        .store
        .logs(Some(image.run.run_id), after, limit)
        .await?;
    Ok(Envelope::of(rows.iter().map(views::log).collect()))
}

/// One recorded input or output.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IoView {
    task: Option<TaskName>,
    item_index: Option<i64>,
    kind: IoKind,
    data: Option<Box<RawValue>>,
    origins: Option<Box<RawValue>>,
}

/// Inputs with the origin of each field, and outputs.
pub async fn io(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(run): Path<String>,
) -> Result<Json<Envelope<Vec<IoView>>>, ApiError> {
    let image = load(&state, caller, &run).await?;
    let rows = state.store.io(image.run.run_id).await?;
    let views = rows
        .iter()
        .map(|row| {
            let task = image
                .tasks
                .iter()
                .find(|task| task.task_run_id == row.task_run_id);
            IoView {
                task: task.map(|task| task.task.clone()),
                item_index: task.map(|task| task.item_index).filter(|index| *index >= 0),
                kind: row.kind,
                data: views::raw_text(&row.data),
                origins: row.origins.as_deref().and_then(views::raw_text),
            }
        })
        .collect();
    Ok(Envelope::of(views))
}

/// Why a run is to stop.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CancelBody {
    reason: String,
}

/// Orders a run to stop.
pub async fn cancel(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(run): Path<String>,
    OptionalBody(body): OptionalBody<CancelBody>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    let image = load(&state, caller, &run).await?;
    match state.engine.cancel(image.run.run_id, &body.reason).await? {
        Cancelled::Ordered => {
            let run = image.run.run_id;
            let details = json!({ "reason": body.reason });
            let access = &state.access;
            access
                .note(&caller, "run.cancel", &run.to_string(), details)
                .await?;
            Ok(Envelope::accepted(json!({ "runId": run })))
        }
        Cancelled::AlreadyFinal(status) => Err(ApiError::conflict(
            "run.final",
            format!("the run has already ended: {status}"),
        )),
        Cancelled::NotFound => Err(ApiError::not_found("run")),
    }
}

/// Where a rerun begins, and with which version.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct RerunBody {
    /// `failed` (default), `start`, or `task`.
    from: Option<String>,
    task: Option<TaskName>,
    /// `same` (default) or `newest`.
    version: Option<String>,
}

/// Begins a new run that repeats or continues this one.
pub async fn rerun(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(run): Path<String>,
    OptionalBody(body): OptionalBody<RerunBody>,
) -> Result<Response, ApiError> {
    let image = load(&state, caller, &run).await?;
    let mode = match (body.from.as_deref(), body.task) {
        (None | Some("failed"), None) => RerunMode::FromFailed,
        (Some("start"), None) => RerunMode::FromStart,
        (None | Some("task"), Some(task)) => RerunMode::FromTask(task),
        _ => {
            return Err(ApiError::bad_request(
                "from: \"failed\", \"start\", or \"task\" with task: NAME",
            ));
        }
    };
    let version = match body.version.as_deref() {
        None | Some("same") => RerunVersion::Same,
        Some("newest") => {
            let name = image.run.workflow_name.as_str();
            let live = workflows::find(&state.catalog.load(), caller.organization, name)?;
            RerunVersion::Newest(Arc::clone(&live.workflow))
        }
        Some(_) => return Err(ApiError::bad_request("version: \"same\" or \"newest\"")),
    };
    let accepted = state
        .engine
        .rerun(image.run.run_id, mode, version)
        .await
        .map_err(rerun_failed)?;
    let details = json!({ "runId": accepted.run_id });
    let access = &state.access;
    access
        .note(&caller, "run.rerun", &image.run.run_id.to_string(), details)
        .await?;
    workflows::answer(&state, accepted.run_id, None).await
}

fn rerun_failed(error: RerunError) -> ApiError {
    match error {
        RerunError::NotFound(_) => ApiError::not_found("run"),
        RerunError::NotFinal(_) => {
            ApiError::conflict("run.not-final", "the run has not ended; cancel it first")
        }
        RerunError::UnknownTask(_) => {
            ApiError::unacceptable("rerun.unknown-task", error.to_string(), Vec::new())
        }
        RerunError::Version(VersionError::Unavailable(cause)) => ApiError::unavailable(cause),
        RerunError::Version(VersionError::Lost(cause)) => ApiError::conflict("version.lost", cause),
        RerunError::Store(error) => error.into(),
        RerunError::Trigger(error) => workflows::trigger_failed(error),
    }
}
