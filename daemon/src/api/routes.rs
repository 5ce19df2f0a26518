//! The table of routes. [`Routes::route`] is the only way into it, and it demands a permission.

use axum::extract::{DefaultBodyLimit, Request};
use axum::handler::Handler;
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use axum::{Extension, Json, Router};
use serde_json::{Value, json};

use super::authorize::{Authorized, Door, Permission};
use super::problem::{ApiError, PROBLEM};
use super::{ApiState, events, kv, runs, schedules, secrets, tasks, workflows};

/// Inputs are small; bulk data is fetched by tasks.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The framework's refusals are a sentence.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// One line of the table.
#[derive(Debug, Clone)]
pub struct RouteEntry {
    /// The method.
    pub method: Method,
    /// The path as it is matched.
    pub path: &'static str,
    /// What it demands.
    pub permission: Permission,
}

#[derive(Default)]
struct Routes {
    router: Router<ApiState>,
    table: Vec<RouteEntry>,
}

impl Routes {
    /// Registers a handler together with the permission that it demands.
    fn route<H, T>(
        mut self,
        method: Method,
        path: &'static str,
        permission: Permission,
        handler: H,
    ) -> Self
    where
        H: Handler<T, ApiState>,
        T: 'static,
    {
        // Only methods that HTTP defines are registered, so the conversion cannot fail for them.
        let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
        self.router = self
            .router
            .route(path, on(filter, handler).layer(Extension(permission)));
        self.table.push(RouteEntry {
            method,
            path,
            permission,
        });
        self
    }
}

fn routes() -> Routes {
    use Permission::{LogsRead, Open, WorkflowsExecute, WorkflowsRead};
    Routes::default()
        .route(Method::GET, "/ping", Open, ping)
        .route(Method::GET, "/healthz", Open, ping)
        .route(Method::GET, "/v0/workflows", WorkflowsRead, workflows::list)
        .route(
            Method::GET,
            "/v0/workflows/{workflow}/detail",
            WorkflowsRead,
            workflows::detail,
        )
        .route(
            Method::POST,
            "/v0/workflows/{workflow}/run",
            WorkflowsExecute,
            workflows::run,
        )
        .route(
            Method::GET,
            "/v0/problems",
            WorkflowsRead,
            workflows::problems,
        )
        .route(Method::GET, "/v0/workflow-runs", WorkflowsRead, runs::list)
        .route(
            Method::GET,
            "/v0/workflow-runs/{run}",
            WorkflowsRead,
            runs::detail,
        )
        .route(
            Method::GET,
            "/v0/workflow-runs/{run}/logs",
            LogsRead,
            runs::logs,
        )
        .route(
            Method::GET,
            "/v0/workflow-runs/{run}/io",
            LogsRead,
            runs::io,
        )
        .route(
            Method::POST,
            "/v0/workflow-runs/{run}/cancel",
            WorkflowsExecute,
            runs::cancel,
        )
        .route(
            Method::POST,
            "/v0/workflow-runs/{run}/rerun",
            WorkflowsExecute,
            runs::rerun,
        )
        .route(Method::GET, "/v0/tasks", WorkflowsRead, tasks::list)
        .route(Method::GET, "/v0/events", LogsRead, events::follow)
}

/// What is kept for workflows: secrets and state.
fn kept(routes: Routes) -> Routes {
    use Permission::{SecretsRead, SecretsWrite, StateRead, StateWrite};
    const STATE: &str = "/v0/workflows/{workflow}/kv";
    const ENTRY: &str = "/v0/workflows/{workflow}/kv/entry";
    const SECRET: &str = "/v0/secrets/{name}";
    routes
        .route(Method::GET, "/v0/secrets", SecretsRead, secrets::list)
        .route(Method::PUT, SECRET, SecretsWrite, secrets::set)
        .route(Method::DELETE, SECRET, SecretsWrite, secrets::delete)
        .route(
            Method::POST,
            "/v0/secret-keys/rekey",
            SecretsWrite,
            secrets::rekey,
        )
        .route(Method::GET, STATE, StateRead, kv::list)
        .route(Method::GET, ENTRY, StateRead, kv::get)
        .route(Method::PUT, ENTRY, StateWrite, kv::set)
        .route(Method::DELETE, ENTRY, StateWrite, kv::delete)
}

/// When workflows start by themselves.
fn timed(routes: Routes) -> Routes {
    use Permission::{WorkflowsRead, WorkflowsSchedule};
    const OF_WORKFLOW: &str = "/v0/workflows/{workflow}/schedules";
    const ONE: &str = "/v0/schedules/{schedule}";
    const ACTIVE: &str = "/v0/schedules/{schedule}/active";
    const BACKFILL: &str = "/v0/schedules/{schedule}/backfill";
    const FIRES: &str = "/v0/schedules/{schedule}/fires";
    const PREVIEW: &str = "/v0/schedules/{schedule}/preview";
    routes
        .route(Method::GET, "/v0/schedules", WorkflowsRead, schedules::all)
        .route(Method::GET, OF_WORKFLOW, WorkflowsRead, schedules::list)
        .route(
            Method::POST,
            OF_WORKFLOW,
            WorkflowsSchedule,
            schedules::create,
        )
        .route(Method::GET, ONE, WorkflowsRead, schedules::get)
        .route(Method::PUT, ONE, WorkflowsSchedule, schedules::replace)
        .route(Method::DELETE, ONE, WorkflowsSchedule, schedules::delete)
        .route(
            Method::PATCH,
            ACTIVE,
            WorkflowsSchedule,
            schedules::set_active,
        )
        .route(Method::GET, PREVIEW, WorkflowsRead, schedules::preview)
        .route(Method::GET, FIRES, WorkflowsRead, schedules::fires)
        .route(
            Method::POST,
            BACKFILL,
            WorkflowsSchedule,
            schedules::backfill,
        )
}

/// Every route with its permission.
pub fn table() -> Vec<RouteEntry> {
    timed(kept(routes())).table
}

/// The router, for requests that came through the owner's door.
pub fn router(state: ApiState) -> Router {
    timed(kept(routes()))
        .router
        .fallback(unknown)
        .layer(axum::middleware::from_fn(every_refusal_is_a_problem))
        .layer(axum::middleware::from_fn(through_the_owners_door))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(state)
}

async fn through_the_owners_door(mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(Door::Owner);
    next.run(request).await
}

/// The framework's own refusals are plain text; callers get one form of error.
async fn every_refusal_is_a_problem(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let is_problem = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == PROBLEM);
    if is_problem || !response.status().is_client_error() {
        return response;
    }
    let (parts, body) = response.into_parts();
    // A text that cannot be had leaves the status, which says the most of it.
    let text = axum::body::to_bytes(body, REFUSAL_BYTES_MAX)
        .await
        .unwrap_or_default();
    let problem = ApiError::refused(parts.status, &String::from_utf8_lossy(&text));
    let mut response = problem.into_response();
    if let Some(allowed) = parts.headers.get(header::ALLOW) {
        response
            .headers_mut()
            .insert(header::ALLOW, allowed.clone());
    }
    response
}

async fn unknown() -> ApiError {
    ApiError::not_found("route")
}

async fn ping(_: Authorized) -> Json<Value> {
    Json(json!({ "success": true, "data": "pong", "message": "OK", "status": 200 }))
}
