//! Workflows: what is live, what is broken, and starting a run.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiState;
use super::authorize::{Authorized, Permission};
use super::json::OptionalBody;
use super::problem::ApiError;
use super::routes::Routes;
use super::views::{self, Envelope};
use crate::catalog::{Catalog, LiveWorkflow};
use crate::engine::{TriggerError, TriggerRequest, WaitError};
use crate::id::{OrganizationId, RunId};
use crate::run::key::is_reserved;
use crate::run::status::Trigger;
use crate::store::StoreError;
use crate::units::Span;
use crate::workflow::input;

/// Keys are compared and indexed; longer ones are a mistake.
const IDEMPOTENCY_KEY_MAX: usize = 255;
/// As in the workflow file.
const PRIORITIES: std::ops::RangeInclusive<i32> = -100..=100;
/// A caller that waits longer than this should follow the events.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// The routes of this file.
pub(super) fn table(routes: Routes) -> Routes {
    use Permission::{WorkflowsExecute, WorkflowsRead};
    routes
        .route(Method::GET, "/v0/workflows", WorkflowsRead, list)
        .route(
            Method::GET,
            "/v0/workflows/{workflow}/detail",
            WorkflowsRead,
            detail,
        )
        .route(
            Method::POST,
            "/v0/workflows/{workflow}/run",
            WorkflowsExecute,
            run,
        )
        .route(Method::GET, "/v0/problems", WorkflowsRead, problems)
}

/// Finds a live workflow by its name or its id.
pub(super) fn find(
    catalog: &Catalog,
    organization: OrganizationId,
    key: &str,
) -> Result<Arc<LiveWorkflow>, ApiError> {
    catalog
        .workflows
        .values()
        .filter(|live| live.organization_id == organization)
        .find(|live| live.workflow.name.as_str() == key || live.workflow_id.to_string() == key)
        .cloned()
        .ok_or_else(|| ApiError::not_found("workflow"))
}

fn summary(live: &LiveWorkflow, catalog: &Catalog) -> Value {
    let broken = catalog.problems.get(&live.file);
    json!({
        "id": live.workflow_id,
        "name": live.workflow.name,
        "description": live.workflow.description,
        "labels": live.workflow.labels,
        "version": live.workflow.version,
        "file": live.file,
        "liveSince": live.live_since,
        "jobs": live.workflow.jobs.len(),
        "tasks": live.workflow.tasks.len(),
        "problem": broken.map(|problem| views::problem(&live.file, problem)),
    })
}

/// Lists live workflows.
pub async fn list(caller: Authorized, State(state): State<ApiState>) -> Json<Envelope<Vec<Value>>> {
    let catalog = state.catalog.load_full();
    let found = catalog
        .workflows
        .values()
        .filter(|live| live.organization_id == caller.organization)
        .map(|live| summary(live, &catalog))
        .collect();
    Envelope::of(found)
}

/// One workflow with its inputs, jobs and tasks.
pub async fn detail(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(workflow): Path<String>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    let catalog = state.catalog.load_full();
    let live = find(&catalog, caller.organization, &workflow)?;
    let mut view = summary(&live, &catalog);
    let jobs: Vec<Value> = live
        .workflow
        .jobs
        .iter()
        .map(|job| {
            let tasks: Vec<Value> = job
                .tasks
                .iter()
                .map(|index| {
                    let task = live.workflow.task(*index);
                    let needs: Vec<_> = task
                        .needs
                        .iter()
                        .map(|need| &live.workflow.task(*need).name)
                        .collect();
                    json!({ "name": task.name, "needs": needs })
                })
                .collect();
            let needs: Vec<_> = job
                .needs
                .iter()
                .map(|need| &live.workflow.job(*need).name)
                .collect();
            json!({ "name": job.name, "needs": needs, "tasks": tasks })
        })
        .collect();
    let inputs: Vec<Value> = live
        .workflow
        .inputs
        .iter()
        .map(|spec| {
            json!({ "name": spec.name, "schema": spec.schema, "required": spec.required, "default": spec.default })
        })
        .collect();
    if let Some(view) = view.as_object_mut() {
        view.insert("jobs".to_owned(), jobs.into());
        view.insert("inputs".to_owned(), inputs.into());
    }
    Ok(Envelope::of(view))
}

/// Files that are not live as they stand on disk: the organization's own, and modules, which are shared.
pub async fn problems(
    caller: Authorized,
    State(state): State<ApiState>,
) -> Result<Json<Envelope<Vec<Value>>>, ApiError> {
    let catalog = state.catalog.load_full();
    // The root organization's files are in no folder.
    let folder = match caller.organization == OrganizationId::ROOT {
        true => None,
        false => Some(state.access.organization_name(&caller).await?),
    };
    let mine = |file: &str| match file.strip_prefix("flows/") {
        None => true,
        Some(name) => name.split_once('/').map(|(folder, _)| folder) == folder.as_deref(),
    };
    let problems = catalog.problems.iter().filter(|(file, _)| mine(file));
    let views = problems.map(|(file, problem)| views::problem(file, problem));
    Ok(Envelope::of(views.collect()))
}

/// What starts a run.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunBody {
    inputs: Option<Value>,
    config: Option<Value>,
    /// Larger goes first; none: the workflow's.
    priority: Option<i32>,
}

/// How long the caller waits for the end.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunQuery {
    wait: Option<Span>,
}

/// Starts a run; answers once it is durable, or with `?wait=30s` once it ended.
pub async fn run(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(workflow): Path<String>,
    Query(query): Query<RunQuery>,
    headers: HeaderMap,
    OptionalBody(request): OptionalBody<RunBody>,
) -> Result<Response, ApiError> {
    let live = find(&state.catalog.load(), caller.organization, &workflow)?;
    let empty = || Value::Object(serde_json::Map::new());
    let refused = |what: &str, errors: Vec<String>| {
        ApiError::unacceptable(
            "input.invalid",
            format!(
                "the {what} is not what {} accepts: {}",
                live.workflow.name,
                errors.join("; ")
            ),
            errors,
        )
    };
    let given = request.inputs.unwrap_or_else(empty);
    let inputs = input::workflow_inputs(&live.workflow, &given)
        .map_err(|errors| refused("input", errors))?;
    let config = request.config.unwrap_or_else(empty);
    input::check_config(&live.workflow, &config).map_err(|errors| refused("config", errors))?;
    let asked = Asked {
        workflow: Arc::clone(&live),
        given,
        inputs: inputs.clone(),
        config: config.clone(),
    };
    let accepted = state
        .engine
        .trigger(TriggerRequest {
            workflow: Arc::clone(&live.workflow),
            workflow_id: live.workflow_id,
            organization: live.organization_id,
            inputs,
            config,
            trigger: Trigger::Manual,
            idempotency_key: idempotency_key(&headers)?,
            scheduled_at: None,
            priority: priority(request.priority)?,
            trace_id: None,
        })
        .await
        .map_err(trigger_failed)?;
    if accepted.duplicate {
        same_request(&state, accepted.run_id, &asked).await?;
    }
    answer(&state, accepted.run_id, query.wait).await
}

/// What a request asked for, to be compared with what its idempotency key began earlier.
struct Asked {
    workflow: Arc<LiveWorkflow>,
    /// As the caller gave them.
    given: Value,
    /// With defaults.
    inputs: Value,
    config: Value,
}

/// Refuses a key that stands for another request: its run is not what this caller asks for.
async fn same_request(state: &ApiState, run: RunId, asked: &Asked) -> Result<(), ApiError> {
    let earlier = state.store.load_run(run).await?;
    // A run that was removed meanwhile has nothing to be compared with.
    let Some(earlier) = earlier.map(|image| image.run) else {
        return Ok(());
    };
    let inputs = views::json_text(&earlier.inputs);
    // A newer version may have other defaults; then what the caller gave must be the same.
    let same_inputs = if earlier.version == asked.workflow.workflow.version {
        inputs == asked.inputs
    } else {
        let given = asked.given.as_object().into_iter().flatten();
        given
            .into_iter()
            .all(|(name, value)| inputs.get(name) == Some(value))
    };
    let other = if earlier.workflow_id != asked.workflow.workflow_id {
        format!("workflow {}", earlier.workflow_name)
    } else if !same_inputs {
        format!("the inputs {inputs}")
    } else if views::json_text(&earlier.config) != asked.config {
        format!("the config {}", earlier.config)
    } else {
        return Ok(());
    };
    Err(ApiError::unacceptable(
        "idempotency.reused",
        format!(
            "the idempotency key belongs to run {run}, which was started with {other}; \
             send the same request again, or another key"
        ),
        Vec::new(),
    ))
}

/// 202 with the run's id and place; with `wait`, 200 once it ended.
pub(super) async fn answer(
    state: &ApiState,
    run_id: RunId,
    wait: Option<Span>,
) -> Result<Response, ApiError> {
    let location = [(header::LOCATION, format!("/v0/workflow-runs/{run_id}"))];
    let mut status = None;
    if let Some(Span(wait)) = wait {
        let ended = tokio::time::timeout(wait.min(WAIT_MAX), state.engine.wait(run_id)).await;
        status = ended.ok().transpose().map_err(wait_failed)?;
    }
    Ok(match status {
        Some(status) => (
            StatusCode::OK,
            location,
            Envelope::of(json!({ "runId": run_id, "status": status })),
        )
            .into_response(),
        None => (
            StatusCode::ACCEPTED,
            location,
            Envelope::accepted(json!({ "runId": run_id })),
        )
            .into_response(),
    })
}

/// A priority within the bounds that the workflow file has.
fn priority(wanted: Option<i32>) -> Result<Option<i32>, ApiError> {
    match wanted {
        Some(priority) if !PRIORITIES.contains(&priority) => {
            let (least, most) = (PRIORITIES.start(), PRIORITIES.end());
            Err(ApiError::bad_request(format!(
                "priority: {least} to {most}"
            )))
        }
        fits => Ok(fits),
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(text) if is_reserved(text) => Err(ApiError::bad_request(
            "Idempotency-Key: keys that begin with `schedule:`, `redrive:` or `child.` are the daemon's own",
        )),
        Ok(text) if !text.is_empty() && text.len() <= IDEMPOTENCY_KEY_MAX => {
            Ok(Some(text.to_owned()))
        }
        _ => Err(ApiError::bad_request(format!(
            "Idempotency-Key: 1 to {IDEMPOTENCY_KEY_MAX} printable characters"
        ))),
    }
}

fn wait_failed(error: WaitError) -> ApiError {
    match error {
        WaitError::NotFound(_) => ApiError::not_found("run"),
        WaitError::Stopping => {
            ApiError::unavailable("the daemon is stopping; the run was accepted and continues")
        }
        WaitError::Store(error) => error.into(),
    }
}

pub(super) fn trigger_failed(error: TriggerError) -> ApiError {
    match error {
        TriggerError::QueueFull => ApiError::busy(
            "too many runs are waiting ([engine] queue and backlog in flowweaver.toml); nothing was accepted, try again later",
        ),
        TriggerError::Stopping | TriggerError::Unavailable { .. } => {
            ApiError::unavailable(error.to_string())
        }
        TriggerError::Full(cause) => StoreError::Full(cause).into(),
        TriggerError::Rejected(cause) => {
            ApiError::unacceptable("store.rejected", cause, Vec::new())
        }
    }
}
