//! The table of routes. [`Routes::route`] is the only way into it: it demands a permission, and takes only
//! handlers that take [`super::authorize::Authorized`] first.
//!
//! Each resource keeps its lines beside its handlers, in a function `table`.

use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, on};
use axum::{Extension, Json, Router};
use serde_json::{Value, json};

use super::authorize::{Authorized, AuthorizedFirst, Door, Permission};
use super::json::BODY_BYTES_MAX;
use super::problem::ApiError;
use super::{
    ApiState, audit, auth, dead_letters, edge, events, kv, places, roles, runs, schedules, secrets,
    tasks, tokens, users, workflows,
};

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

/// The table while it is being written.
#[derive(Default)]
pub(super) struct Routes {
    router: Router<ApiState>,
    table: Vec<RouteEntry>,
}

impl Routes {
    /// Registers a handler together with the permission that it demands.
    pub(super) fn route<H, T>(
        mut self,
        method: Method,
        path: &'static str,
        permission: Permission,
        handler: H,
    ) -> Self
    where
        H: Handler<T, ApiState>,
        T: AuthorizedFirst + 'static,
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

/// The tables of all resources.
const TABLES: &[fn(Routes) -> Routes] = &[
    signs_of_life,
    workflows::table,
    runs::table,
    dead_letters::table,
    schedules::table,
    tasks::table,
    events::table,
    secrets::table,
    kv::table,
    auth::table,
    users::table,
    roles::table,
    places::table,
    tokens::table,
    audit::table,
];

fn signs_of_life(routes: Routes) -> Routes {
    routes
        .route(Method::GET, "/ping", Permission::Open, ping)
        .route(Method::GET, "/healthz", Permission::Open, ping)
}

fn routes() -> Routes {
    let tables = TABLES.iter();
    tables.fold(Routes::default(), |routes, table| table(routes))
}

/// Every route with its permission.
pub fn table() -> Vec<RouteEntry> {
    routes().table
}

/// The router, for requests that a door has marked.
pub fn router(state: ApiState) -> Router {
    let router = routes()
        .router
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(state);
    edge::layered(router)
}

/// The same, for requests that come through the owner's door.
pub fn owners(router: &Router) -> Router {
    router.clone().layer(Extension(Door::Owner))
}

async fn unknown() -> ApiError {
    ApiError::not_found("route")
}

async fn ping(_: Authorized) -> Json<Value> {
    Json(json!({ "success": true, "data": "pong", "message": "OK", "status": 200 }))
}
