//! API tokens: made, listed by how they begin, revoked. A token's text is in one answer only.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiState;
use super::authorize::{Authorized, Permission};
use super::json::Body;
use super::page::PageQuery;
use super::problem::ApiError;
use super::routes::Routes;
use super::views::Envelope;
use crate::access::NewToken;
use crate::clock::Timestamp;
use crate::store::access::TokenRow;
use crate::units::Span;

/// The routes of this file. One's own tokens are seen and revoked by whoever is known.
pub(super) fn table(routes: Routes) -> Routes {
    use Permission as P;
    routes
        .route(Method::GET, "/v0/tokens", P::Login, list)
        .route(Method::POST, "/v0/tokens", P::TokensCreate, create)
        .route(Method::DELETE, "/v0/tokens/{token}", P::Login, revoke)
}

fn view(row: &TokenRow, now: Timestamp) -> Value {
    let status = match (row.revoked_at, row.expires_at <= now) {
        (Some(_), _) => "revoked",
        (None, true) => "expired",
        (None, false) => "active",
    };
    json!({
        "id": row.token_id,
        "name": row.name,
        "userId": row.user_id,
        "beginsWith": row.hint,
        "permissions": row.permissions,
        "status": status,
        "createdAt": row.created_at,
        "expiresAt": row.expires_at,
        "lastUsedAt": row.last_used_at,
        "revokedAt": row.revoked_at,
    })
}

/// Lists one's own tokens, or all of the organization for who may see them.
pub async fn list(
    caller: Authorized,
    State(state): State<ApiState>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    let rows = state.access.tokens(&caller).await?;
    let now = state.clock.now();
    let rows = rows.iter().map(|row| view(row, now)).collect();
    let fields = [
        "name",
        "userId",
        "status",
        "createdAt",
        "expiresAt",
        "lastUsedAt",
    ];
    Ok(Envelope::of(query.of(rows, &fields)?))
}

/// What a token is to be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TokenBody {
    name: String,
    /// Names; absent: all that its user holds.
    permissions: Option<Vec<String>>,
    expires_in: Span,
    user: Option<String>,
}

/// Makes a token, and shows it once.
pub async fn create(
    caller: Authorized,
    State(state): State<ApiState>,
    Body(body): Body<TokenBody>,
) -> Result<Response, ApiError> {
    let made = state
        .access
        .add_token(
            &caller,
            NewToken {
                name: body.name,
                permissions: body.permissions,
                life: body.expires_in.0,
                user: body.user,
            },
        )
        .await?;
    let mut shown = view(&made.row, state.clock.now());
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("token".to_owned(), json!(made.token.expose_secret()));
    }
    Ok((StatusCode::CREATED, Envelope::created(shown)).into_response())
}

/// Revokes a token: its next request is refused.
pub async fn revoke(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(token): Path<String>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    let row = state.access.revoke_token(&caller, &token).await?;
    Ok(Envelope::of(
        json!({ "id": row.token_id, "name": row.name }),
    ))
}
