//! Organizations, departments and positions.

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
use crate::store::access::{OrganizationRow, PlaceRow};

/// The fields that lists are sorted, filtered and searched by.
const FIELDS: &[&str] = &["name", "createdAt"];

/// The routes of this file.
pub(super) fn table(routes: Routes) -> Routes {
    use Permission as P;
    const DEPARTMENT: &str = "/v0/departments/{department}";
    const POSITION: &str = "/v0/positions/{position}";
    routes
        .route(
            Method::GET,
            "/v0/organizations",
            P::OrganizationsRead,
            organizations,
        )
        .route(
            Method::POST,
            "/v0/organizations",
            P::OrganizationsManage,
            add_organization,
        )
        .route(
            Method::GET,
            "/v0/organizations/{organization}/options",
            P::OrganizationsRead,
            options,
        )
        .route(
            Method::GET,
            "/v0/departments",
            P::DepartmentsRead,
            departments,
        )
        .route(
            Method::POST,
            "/v0/departments",
            P::DepartmentsManage,
            add_department,
        )
        .route(
            Method::PATCH,
            DEPARTMENT,
            P::DepartmentsManage,
            rename_department,
        )
        .route(
            Method::DELETE,
            DEPARTMENT,
            P::DepartmentsManage,
            remove_department,
        )
        .route(Method::GET, "/v0/positions", P::PositionsRead, positions)
        .route(
            Method::POST,
            "/v0/positions",
            P::PositionsManage,
            add_position,
        )
        .route(Method::PATCH, POSITION, P::PositionsManage, rename_position)
        .route(
            Method::DELETE,
            POSITION,
            P::PositionsManage,
            remove_position,
        )
}

/// A name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NameBody {
    name: String,
}

fn organization_view(row: &OrganizationRow) -> Value {
    json!({ "id": row.organization_id, "name": row.name, "createdAt": row.created_at })
}

/// Lists the organizations that the caller belongs to.
pub async fn organizations(
    caller: Authorized,
    State(state): State<ApiState>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    let rows = state.access.organizations(&caller).await?;
    let rows = rows.iter().map(organization_view).collect();
    Ok(Envelope::of(query.of(rows, FIELDS)?))
}

/// Makes an organization, and the folder of its workflow files.
pub async fn add_organization(
    caller: Authorized,
    State(state): State<ApiState>,
    Body(body): Body<NameBody>,
) -> Result<Response, ApiError> {
    let row = state.access.add_organization(&caller, &body.name).await?;
    let folder = state.flows.join(&row.name);
    let made = tokio::task::spawn_blocking(move || std::fs::create_dir_all(folder)).await;
    // The organization is there all the same: whoever brings files makes the folder.
    if let Err(error) = made.map_err(std::io::Error::other).and_then(|made| made) {
        tracing::warn!(organization = row.name, %error, "its folder in flows/ cannot be made");
    }
    let location = [(
        header::LOCATION,
        format!("/v0/organizations/{}/options", row.organization_id),
    )];
    let view = organization_view(&row);
    Ok((StatusCode::CREATED, location, Envelope::created(view)).into_response())
}

/// What can be chosen for a user of an organization: departments, positions, roles.
pub async fn options(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(organization): Path<String>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    let there = state.access.within(&caller, &organization).await?;
    if !there.may(Permission::OrganizationsRead) {
        return Err(ApiError::forbidden(Permission::OrganizationsRead));
    }
    let access = &state.access;
    let choice = |id: String, name: &str| json!({ "id": id, "name": name });
    let departments: Vec<Value> = access
        .departments(&there)
        .await?
        .iter()
        .map(|row| choice(row.id.to_string(), &row.name))
        .collect();
    let positions: Vec<Value> = access
        .positions(&there)
        .await?
        .iter()
        .map(|row| choice(row.id.to_string(), &row.name))
        .collect();
    let roles: Vec<Value> = access
        .roles(&there)
        .await?
        .iter()
        .map(|row| {
            json!({ "id": row.role_id, "name": row.name, "description": row.description, "system": row.system })
        })
        .collect();
    Ok(Envelope::of(json!({
        "organizationId": there.organization,
        "departments": departments, "positions": positions, "roles": roles,
    })))
}

fn place<Id: std::fmt::Display>(row: &PlaceRow<Id>) -> Value {
    json!({ "id": row.id.to_string(), "name": row.name, "createdAt": row.created_at })
}

/// The handlers about departments, and the same about positions.
macro_rules! places {
    ($what:literal, $list:ident, $add:ident, $rename:ident, $remove:ident) => {
        #[doc = concat!("Lists the ", $what, "s of the organization.")]
        pub async fn $list(
            caller: Authorized,
            State(state): State<ApiState>,
            Query(query): Query<PageQuery>,
        ) -> Result<Json<Envelope<Value>>, ApiError> {
            let rows = state.access.$list(&caller).await?;
            Ok(Envelope::of(
                query.of(rows.iter().map(place).collect(), FIELDS)?,
            ))
        }

        #[doc = concat!("Makes a ", $what, ".")]
        pub async fn $add(
            caller: Authorized,
            State(state): State<ApiState>,
            Body(body): Body<NameBody>,
        ) -> Result<Response, ApiError> {
            let row = state.access.$add(&caller, &body.name).await?;
            Ok((StatusCode::CREATED, Envelope::created(place(&row))).into_response())
        }

        #[doc = concat!("Gives a ", $what, " another name.")]
        pub async fn $rename(
            caller: Authorized,
            State(state): State<ApiState>,
            Path(key): Path<String>,
            Body(body): Body<NameBody>,
        ) -> Result<Json<Envelope<Value>>, ApiError> {
            let row = state.access.$rename(&caller, &key, &body.name).await?;
            Ok(Envelope::of(place(&row)))
        }

        #[doc = concat!("Deletes a ", $what, ".")]
        pub async fn $remove(
            caller: Authorized,
            State(state): State<ApiState>,
            Path(key): Path<String>,
        ) -> Result<Json<Envelope<Value>>, ApiError> {
            let row = state.access.$remove(&caller, &key).await?;
            Ok(Envelope::of(place(&row)))
        }
    };
}

places!(
    "department",
    departments,
    add_department,
    rename_department,
    remove_department
);
places!(
    "position",
    positions,
    add_position,
    rename_position,
    remove_position
);
