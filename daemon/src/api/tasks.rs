//! Modules: what tasks may use.

use axum::Json;
use axum::extract::State;
use axum::http::Method;
use serde_json::{Value, json};

use super::ApiState;
use super::authorize::{Authorized, Permission};
use super::problem::ApiError;
use super::routes::Routes;
use super::views::{self, Envelope};

/// The routes of this file.
pub(super) fn table(routes: Routes) -> Routes {
    routes.route(Method::GET, "/v0/tasks", Permission::ModulesRead, list)
}

/// Lists the live modules with their schemas, imports and users. Modules are shared; who uses them is
/// each organization's own business.
pub async fn list(
    caller: Authorized,
    State(state): State<ApiState>,
) -> Result<Json<Envelope<Vec<Value>>>, ApiError> {
    let catalog = state.catalog.load_full();
    let mut modules = Vec::new();
    for module in catalog.modules.values() {
        let row = state.store.module(&module.digest).await?;
        let used_by: Vec<_> = catalog
            .workflows
            .values()
            .filter(|live| live.organization_id == caller.organization)
            .filter(|live| live.workflow.uses(&module.name))
            .map(|live| live.workflow.name.clone())
            .collect();
        modules.push(json!({
            "name": module.name,
            "digest": module.digest,
            "file": module.file,
            "sizeBytes": module.size_bytes,
            "liveSince": module.live_since,
            "description": row.as_ref().map_or(Value::Null, |row| views::json_text(&row.description)),
            "imports": row.as_ref().map_or(Value::Null, |row| views::json_text(&row.imports)),
            "usedBy": used_by,
        }));
    }
    Ok(Envelope::of(modules))
}
