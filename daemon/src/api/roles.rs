//! Roles and permissions.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiState;
use super::authorize::{Authorized, Permission};
use super::json::Body;
use super::page::PageQuery;
use super::problem::ApiError;
use super::routes::Routes;
use super::views::Envelope;
use crate::access::NewRole;
use crate::store::access::RoleRow;

/// The routes of this file.
pub(super) fn table(routes: Routes) -> Routes {
    use Permission as P;
    const ROLE: &str = "/v0/roles/{role}";
    routes
        .route(
            Method::GET,
            "/v0/permissions",
            P::PermissionsRead,
            permissions,
        )
        .route(Method::GET, "/v0/roles", P::RolesRead, list)
        .route(Method::POST, "/v0/roles", P::RolesCreate, create)
        .route(Method::GET, ROLE, P::RolesRead, detail)
        .route(Method::PUT, ROLE, P::RolesUpdate, change)
        .route(Method::DELETE, ROLE, P::RolesDelete, delete)
}

fn view(row: &RoleRow) -> Value {
    json!({
        "id": row.role_id,
        "name": row.name,
        "description": row.description,
        "system": row.system,
        "permissions": row.permissions,
        "createdAt": row.created_at,
    })
}

/// Everything that can be permitted.
pub async fn permissions(_: Authorized) -> Json<Envelope<Vec<Value>>> {
    let all = Permission::ALL.iter().map(|permission| {
        let resource = permission.as_str().split('.').next().unwrap_or_default();
        json!({ "name": permission, "resource": resource, "description": permission.about() })
    });
    Envelope::of(all.collect())
}

/// Lists the roles that can be given in the organization.
pub async fn list(
    caller: Authorized,
    State(state): State<ApiState>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    let rows = state.access.roles(&caller).await?;
    let rows = rows.iter().map(view).collect();
    let fields = ["name", "description", "system", "permissions", "createdAt"];
    Ok(Envelope::of(query.of(rows, &fields)?))
}

/// One role.
pub async fn detail(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(role): Path<String>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    Ok(Envelope::of(view(
        &state.access.role(&caller, &role).await?,
    )))
}

/// What a role is to be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleBody {
    name: String,
    #[serde(default)]
    description: String,
    permissions: Vec<String>,
}

impl RoleBody {
    /// Putting permissions into a role is a permission of its own.
    fn allowed(self, caller: &Authorized) -> Result<NewRole, ApiError> {
        if !caller.may(Permission::PermissionsAssign) {
            return Err(ApiError::forbidden(Permission::PermissionsAssign));
        }
        Ok(NewRole {
            name: self.name,
            description: self.description,
            permissions: self.permissions,
        })
    }
}

/// Makes a role of the organization.
pub async fn create(
    caller: Authorized,
    State(state): State<ApiState>,
    Body(body): Body<RoleBody>,
) -> Result<Response, ApiError> {
    let row = state
        .access
        .add_role(&caller, body.allowed(&caller)?)
        .await?;
    let location = [(header::LOCATION, format!("/v0/roles/{}", row.role_id))];
    Ok((StatusCode::CREATED, location, Envelope::created(view(&row))).into_response())
}

/// Changes a role of the organization.
pub async fn change(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(role): Path<String>,
    Body(body): Body<RoleBody>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    let new = body.allowed(&caller)?;
    let row = state.access.change_role(&caller, &role, new).await?;
    Ok(Envelope::of(view(&row)))
}

/// Deletes a role of the organization.
pub async fn delete(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(role): Path<String>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    let row = state.access.remove_role(&caller, &role).await?;
    Ok(Envelope::of(json!({ "id": row.role_id, "name": row.name })))
}
