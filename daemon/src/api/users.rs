//! Users of the caller's organization: lists, changes, roles, one-time passwords.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiState;
use super::authorize::{Authorized, Permission};
use super::json::Body;
use super::page::PageQuery;
use super::problem::ApiError;
use super::routes::Routes;
use super::views::Envelope;
use crate::access::{Means, Member, NewUser, UserChange};

/// The fields of a user that lists are sorted, filtered and searched by.
const FIELDS: &[&str] = &[
    "email",
    "name",
    "status",
    "roles",
    "departmentId",
    "positionId",
    "createdAt",
    "updatedAt",
    "lastLoginAt",
    "mustChangePassword",
];

/// The routes of this file.
pub(super) fn table(routes: Routes) -> Routes {
    use Permission as P;
    const USER: &str = "/v0/users/{user}";
    routes
        .route(Method::GET, "/v0/users", P::UsersRead, list)
        .route(Method::POST, "/v0/users", P::UsersCreate, create)
        .route(Method::GET, "/v0/users/me", P::Login, me)
        .route(
            Method::POST,
            "/v0/users/check-email",
            P::UsersCreate,
            check_email,
        )
        .route(
            Method::POST,
            "/v0/users/first-password",
            P::UsersPassword,
            first_password,
        )
        .route(Method::GET, USER, P::UsersRead, detail)
        .route(Method::PATCH, USER, P::UsersUpdate, change)
        .route(Method::DELETE, USER, P::UsersDelete, delete)
        .route(
            Method::POST,
            "/v0/users/{user}/disable",
            P::UsersDisable,
            disable,
        )
        .route(
            Method::POST,
            "/v0/users/{user}/enable",
            P::UsersDisable,
            enable,
        )
        .route(
            Method::POST,
            "/v0/users/{user}/password",
            P::UsersPassword,
            reset_password,
        )
        .route(
            Method::PUT,
            "/v0/users/{user}/roles",
            P::UsersRoles,
            set_roles,
        )
        .route(Method::POST, "/v0/members", P::UsersOrganizations, join)
        .route(
            Method::DELETE,
            "/v0/members/{user}",
            P::UsersOrganizations,
            leave,
        )
        .route(
            Method::GET,
            "/v0/users/{user}/sessions",
            P::UsersSessions,
            sessions,
        )
        .route(
            Method::DELETE,
            "/v0/users/{user}/sessions",
            P::UsersSessions,
            end_sessions,
        )
}

/// How a user looks from outside.
pub(super) fn view(member: &Member) -> Value {
    let user = &member.row.user;
    json!({
        "id": user.user_id,
        "email": user.email,
        "name": user.name,
        "status": if user.active { "active" } else { "disabled" },
        "roles": member.roles,
        "organizationId": user.organization_id,
        "departmentId": member.row.department_id,
        "positionId": member.row.position_id,
        "mustChangePassword": user.password_change_required,
        "createdAt": user.created_at,
        "updatedAt": user.updated_at,
        "lastLoginAt": user.last_login_at,
    })
}

/// Lists the members of the organization.
pub async fn list(
    caller: Authorized,
    State(state): State<ApiState>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    let members = state.access.members(&caller).await?;
    let rows = members.iter().map(view).collect();
    Ok(Envelope::of(query.of(rows, FIELDS)?))
}

/// Who is to be made. Without a password a one-time password is made, and shown once.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CreateBody {
    email: String,
    name: Option<String>,
    password: Option<SecretString>,
    roles: Option<Vec<String>>,
    department: Option<String>,
    position: Option<String>,
}

/// Makes a user.
pub async fn create(
    caller: Authorized,
    State(state): State<ApiState>,
    Body(body): Body<CreateBody>,
) -> Result<Response, ApiError> {
    // Whoever may not give roles makes users with the usual one.
    if body.roles.is_some() && !caller.may(Permission::UsersRoles) {
        return Err(ApiError::forbidden(Permission::UsersRoles));
    }
    let name = body.name.unwrap_or_else(|| {
        let name = body.email.split('@').next().unwrap_or_default();
        name.to_owned()
    });
    let made = state
        .access
        .add_user(
            &caller,
            NewUser {
                email: body.email,
                name,
                password: body.password,
                roles: body.roles,
                department: body.department,
                position: body.position,
            },
        )
        .await?;
    let id = made.user.user_id;
    let member = state.access.user(&caller, &id.to_string()).await?;
    let mut shown = view(&member);
    if let (Some(shown), Some(password)) = (shown.as_object_mut(), made.password()) {
        shown.insert("oneTimePassword".to_owned(), json!(password));
    }
    let location = [(header::LOCATION, format!("/v0/users/{id}"))];
    Ok((StatusCode::CREATED, location, Envelope::created(shown)).into_response())
}

/// Who the caller is.
pub async fn me(
    caller: Authorized,
    State(state): State<ApiState>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    let mut shown = match caller.user {
        Some(_) => view(&state.access.me(&caller).await?),
        None => json!({ "id": null, "name": caller.to_string() }),
    };
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("organizationId".to_owned(), json!(caller.organization));
    }
    Ok(Envelope::of(shown))
}

/// An address.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailBody {
    email: String,
}

/// Whether an address is free.
pub async fn check_email(
    _: Authorized,
    State(state): State<ApiState>,
    Body(body): Body<EmailBody>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    let available = state.access.is_free(&body.email).await?;
    Ok(Envelope::of(json!({ "available": available })))
}

/// One user.
pub async fn detail(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(user): Path<String>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    Ok(Envelope::of(view(
        &state.access.user(&caller, &user).await?,
    )))
}

/// What is to change; what is absent stays, and null is none.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ChangeBody {
    name: Option<String>,
    #[serde(deserialize_with = "or_null")]
    department: Option<Option<String>>,
    #[serde(deserialize_with = "or_null")]
    position: Option<Option<String>>,
}

/// Tells null from absent.
fn or_null<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(d).map(Some)
}

/// Changes name, department, position.
pub async fn change(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(user): Path<String>,
    Body(body): Body<ChangeBody>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    let change = UserChange {
        name: body.name,
        department: body.department,
        position: body.position,
    };
    let member = state.access.change_user(&caller, &user, change).await?;
    Ok(Envelope::of(view(&member)))
}

/// Deletes a user.
pub async fn delete(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(user): Path<String>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    let gone = state.access.remove_user(&caller, &user).await?;
    Ok(Envelope::of(
        json!({ "id": gone.user_id, "email": gone.email }),
    ))
}

/// Disables a user: their next request is refused.
pub async fn disable(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(user): Path<String>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    let member = state.access.set_active(&caller, &user, false).await?;
    Ok(Envelope::of(view(&member)))
}

/// Lets a disabled user in again.
pub async fn enable(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(user): Path<String>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    let member = state.access.set_active(&caller, &user, true).await?;
    Ok(Envelope::of(view(&member)))
}

/// Makes a new one-time password, and shows it once.
pub async fn reset_password(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(user): Path<String>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    let made = state.access.reset_password(&caller, &user).await?;
    Ok(Envelope::of(json!({
        "id": made.user.user_id, "email": made.user.email, "oneTimePassword": made.password(),
    })))
}

/// A new one-time password of the first administrator who never set one of their own. For the owner alone.
pub async fn first_password(
    caller: Authorized,
    State(state): State<ApiState>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    if caller.means != Means::Owner {
        return Err(ApiError::denied(
            "auth.owner",
            "only the owner of the state folder may ask for this, on the daemon's machine",
        ));
    }
    let first = state.access.first_password(&caller).await?;
    Ok(Envelope::of(json!({
        "email": first.email, "oneTimePassword": first.password.expose_secret(),
    })))
}

/// Roles by id or name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolesBody {
    roles: Vec<String>,
}

/// Gives a user exactly these roles.
pub async fn set_roles(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(user): Path<String>,
    Body(body): Body<RolesBody>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    let member = state.access.set_roles(&caller, &user, &body.roles).await?;
    Ok(Envelope::of(view(&member)))
}

/// Takes an account into the organization.
pub async fn join(
    caller: Authorized,
    State(state): State<ApiState>,
    Body(body): Body<EmailBody>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    state.access.add_member(&caller, &body.email).await?;
    let member = state.access.user(&caller, &body.email).await?;
    Ok(Envelope::of(view(&member)))
}

/// Takes a user out of the organization.
pub async fn leave(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(user): Path<String>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    state.access.remove_member(&caller, &user).await?;
    Ok(Envelope::of(Value::Null))
}

/// Where a user is logged in.
pub async fn sessions(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(user): Path<String>,
) -> Result<Json<Envelope<Vec<Value>>>, ApiError> {
    let rows = state.access.sessions(&caller, &user).await?;
    let rows = rows.iter().map(|row| {
        json!({
            "id": row.session_id, "agent": row.agent, "address": row.address, "createdAt": row.created_at,
            "seenAt": row.seen_at, "expiresAt": row.expires_at,
        })
    });
    Ok(Envelope::of(rows.collect()))
}

/// Ends all of a user's sessions.
pub async fn end_sessions(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(user): Path<String>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    state.access.end_sessions(&caller, &user).await?;
    Ok(Envelope::of(Value::Null))
}
