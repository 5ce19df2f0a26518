//! Logging in and out with a browser, and what one may do.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiState;
use super::authorize::{Authorized, Permission};
use super::edge::Edge;
use super::json::Body;
use super::problem::ApiError;
use super::routes::Routes;
use super::users::{self, CreateBody};
use super::views::Envelope;
use crate::access::{LoggedIn, Login};

/// The routes of this file.
pub(super) fn table(routes: Routes) -> Routes {
    routes
        .route(Method::POST, "/v0/auth/login", Permission::Open, login)
        .route(Method::POST, "/v0/auth/logout", Permission::Login, logout)
        .route(
            Method::POST,
            "/v0/auth/register",
            Permission::UsersCreate,
            register,
        )
        .route(
            Method::GET,
            "/v0/auth/check-session",
            Permission::Login,
            check_session,
        )
        .route(
            Method::GET,
            "/v0/auth/permissions",
            Permission::Login,
            permissions,
        )
        .route(
            Method::POST,
            "/v0/users/me/password",
            Permission::Login,
            change_password,
        )
}

/// Who wants in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginBody {
    email: String,
    password: SecretString,
}

/// Logs in: a cookie comes back.
pub async fn login(
    caller: Authorized,
    State(state): State<ApiState>,
    headers: HeaderMap,
    Body(body): Body<LoginBody>,
) -> Result<Response, ApiError> {
    let logged_in = state
        .access
        .login(Login {
            email: body.email,
            password: body.password,
            address: caller.address,
            agent: agent(&headers),
        })
        .await?;
    Ok(entered(&state.edge, &logged_in))
}

/// What a browser calls itself.
fn agent(headers: &HeaderMap) -> String {
    let agent = headers.get(header::USER_AGENT);
    let agent = agent.and_then(|value| value.to_str().ok());
    agent.unwrap_or_default().to_owned()
}

/// The answer to who has come in, with the cookie.
fn entered(edge: &Edge, logged_in: &LoggedIn) -> Response {
    let user = &logged_in.user;
    let mut response = Envelope::of(json!({
        "id": user.user_id,
        "email": user.email,
        "name": user.name,
        "organizationId": logged_in.organization,
        "mustChangePassword": user.password_change_required,
        "expiresAt": logged_in.expires_at,
    }))
    .into_response();
    let cookie = edge.cookie(Some(logged_in.cookie.expose_secret()));
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// Ends the session.
pub async fn logout(
    caller: Authorized,
    State(state): State<ApiState>,
) -> Result<Response, ApiError> {
    state.access.logout(&caller).await?;
    let mut response = Envelope::of(Value::Null).into_response();
    if let Ok(cookie) = HeaderValue::from_str(&state.edge.cookie(None)) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Makes a user.
pub async fn register(
    caller: Authorized,
    state: State<ApiState>,
    body: Body<CreateBody>,
) -> Result<Response, ApiError> {
    users::create(caller, state, body).await
}

/// Whether somebody is in: 401 when not.
pub async fn check_session(
    caller: Authorized,
    State(state): State<ApiState>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    let user = match caller.user {
        Some(_) => users::view(&state.access.me(&caller).await?),
        None => Value::Null,
    };
    Ok(Envelope::of(json!({
        "authenticated": true,
        "user": user,
        "organizationId": caller.organization,
        "mustChangePassword": caller.must_change_password,
    })))
}

/// What the caller may do, where.
pub async fn permissions(caller: Authorized) -> Json<Envelope<Value>> {
    let held: Vec<Permission> = caller.permissions.iter().collect();
    Envelope::of(json!({
        "organizationId": caller.organization,
        "permissions": if caller.must_change_password { Vec::new() } else { held },
        "everywhere": caller.everywhere,
        "mustChangePassword": caller.must_change_password,
    }))
}

/// The old password, and what it is to be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PasswordBody {
    old_password: SecretString,
    new_password: SecretString,
}

/// Changes one's own password: all sessions end, and a new one begins.
pub async fn change_password(
    caller: Authorized,
    State(state): State<ApiState>,
    headers: HeaderMap,
    Body(body): Body<PasswordBody>,
) -> Result<Response, ApiError> {
    if matches!(caller.means, crate::access::Means::Token(_)) {
        return Err(ApiError::denied(
            "auth.token",
            "a token does not change a password: log in",
        ));
    }
    let (old, new) = (body.old_password, body.new_password);
    let changed = state
        .access
        .change_own_password(&caller, old, &new, agent(&headers))
        .await?;
    Ok(entered(&state.edge, &changed))
}
