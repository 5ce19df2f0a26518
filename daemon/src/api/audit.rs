//! The log of changes, read page by page.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiState;
use super::authorize::{Authorized, Permission};
use super::problem::ApiError;
use super::routes::Routes;
use super::views::{self, Envelope};
use crate::clock::Timestamp;
use crate::id::{AuditId, OrganizationId, UserId};
use crate::store::access::{AuditFilter, AuditRow};

/// What fits on a screen or two.
const PAGE: u32 = 50;
/// Larger pages only make the first row come later.
const PAGE_MAX: u32 = 1_000;

/// The routes of this file.
pub(super) fn table(routes: Routes) -> Routes {
    routes.route(Method::GET, "/v0/audit-log", Permission::AuditRead, list)
}

/// Which lines.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    user: Option<UserId>,
    action: Option<String>,
    target: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    cursor: Option<AuditId>,
    limit: Option<u32>,
}

fn view(row: &AuditRow) -> Value {
    json!({
        "id": row.audit_id,
        "actor": row.actor,
        "userId": row.user_id,
        "means": row.means,
        "address": row.address,
        "action": row.action,
        "target": row.target,
        "details": row.details.as_deref().map_or(Value::Null, views::json_text),
        "at": row.created_at,
    })
}

/// Lines, newest first.
pub async fn list(
    caller: Authorized,
    State(state): State<ApiState>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    let limit = match query.limit.unwrap_or(PAGE) {
        limit @ 1..=PAGE_MAX => limit,
        _ => return Err(ApiError::bad_request(format!("limit: 1 to {PAGE_MAX}"))),
    };
    let filter = AuditFilter {
        organization: OrganizationId::ROOT,
        user: query.user,
        action: query.action,
        target: query.target,
        since: query.since,
        until: query.until,
        before: query.cursor,
        limit,
    };
    let rows = state.access.audit_log(&caller, filter).await?;
    let next = rows.last().filter(|_| rows.len() == limit as usize);
    let next = next.map(|row| row.audit_id);
    let data: Vec<Value> = rows.iter().map(view).collect();
    Ok(Envelope::of(json!({ "data": data, "nextCursor": next })))
}
