//! The key-value state of workflows, for people: what is there, and mending it by hand.
//!
//! The key stands in the query, because a path would have to escape most of what a key may hold.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiState;
use super::authorize::{Authorized, Permission};
use super::json::Body;
use super::problem::ApiError;
use super::routes::Routes;
use super::views::Envelope;
use super::workflows;
use crate::broker::kv::{self, LIST_MAX, valid_key};
use crate::store::{Expect, KvSpace, KvWritten};
use crate::units::Span;

/// What fits on a screen or two.
const PAGE: u32 = 50;

/// The routes of this file.
pub(super) fn table(routes: Routes) -> Routes {
    use Permission::{StateRead, StateWrite};
    const ENTRY: &str = "/v0/workflows/{workflow}/kv/entry";
    routes
        .route(Method::GET, "/v0/workflows/{workflow}/kv", StateRead, list)
        .route(Method::GET, ENTRY, StateRead, get)
        .route(Method::PUT, ENTRY, StateWrite, set)
        .route(Method::DELETE, ENTRY, StateWrite, delete)
}

/// The state of a workflow that is live, or that was and may be again.
async fn space(state: &ApiState, caller: Authorized, name: &str) -> Result<KvSpace, ApiError> {
    let organization = caller.organization;
    let live = workflows::find(&state.catalog.load(), organization, name).ok();
    let workflow = match live {
        Some(live) => Some(live.workflow.name.clone()),
        None => {
            let rows = state.store.workflows().await?;
            let mut mine = rows
                .into_iter()
                .filter(|row| row.organization_id == organization);
            mine.find(|row| row.name.as_str() == name)
                .map(|row| row.name)
        }
    };
    let workflow = workflow.ok_or_else(|| ApiError::not_found("workflow"))?;
    Ok(KvSpace {
        organization,
        workflow,
    })
}

/// Which keys to list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    #[serde(default)]
    prefix: String,
    cursor: Option<String>,
    limit: Option<u32>,
}

/// Lists keys in byte order, without values, and what all entries take.
pub async fn list(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(workflow): Path<String>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    let space = space(&state, caller, &workflow).await?;
    let now = state.clock.now();
    let limit = query.limit.unwrap_or(PAGE).clamp(1, LIST_MAX);
    let rows = state
        .store
        .kv_list(&space, &query.prefix, query.cursor.as_deref(), limit, now)
        .await?;
    let usage = state.store.kv_usage(&space, now).await?;
    let next = (rows.len() == limit as usize)
        .then(|| rows.last().map(|row| row.key.clone()))
        .flatten();
    let entries: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "key": row.key, "revision": row.revision, "valueBytes": row.value_bytes, "expiresAt": row.expires_at,
            })
        })
        .collect();
    let quota = state.kv_quota;
    Ok(Envelope::of(json!({
        "data": entries,
        "nextCursor": next,
        "usage": { "keys": usage.entries, "keysMax": quota.keys, "bytes": usage.bytes, "bytesMax": quota.bytes },
    })))
}

/// Which entry.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyQuery {
    key: String,
}

impl KeyQuery {
    fn checked(&self) -> Result<&str, ApiError> {
        valid_key(&self.key).map_err(|refusal| ApiError::bad_request(refusal.message))?;
        Ok(&self.key)
    }
}

/// One entry: its value as text (`value`) where it is UTF-8, else as `base64`.
pub async fn get(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(workflow): Path<String>,
    Query(query): Query<KeyQuery>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    let key = query.checked()?;
    let space = space(&state, caller, &workflow).await?;
    let found = state.store.kv_get(&space, key, state.clock.now()).await?;
    let entry = found.ok_or_else(|| ApiError::not_found("key"))?;
    let value_bytes = entry.value.len();
    let (value, base64) = match String::from_utf8(entry.value) {
        Ok(text) => (Some(text), None),
        Err(bytes) => (None, Some(STANDARD.encode(bytes.as_bytes()))),
    };
    Ok(Envelope::of(json!({
        "key": key, "revision": entry.revision, "expiresAt": entry.expires_at, "valueBytes": value_bytes,
        "value": value, "base64": base64,
    })))
}

/// What is to be written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SetBody {
    value: Option<String>,
    base64: Option<String>,
    ttl: Option<Span>,
    /// A revision, or `"absent"`.
    expect: Option<Value>,
}

impl SetBody {
    fn bytes(&mut self) -> Result<Vec<u8>, ApiError> {
        match (self.value.take(), self.base64.take()) {
            (Some(text), None) => Ok(text.into_bytes()),
            (None, Some(text)) => STANDARD
                .decode(text)
                .map_err(|error| ApiError::bad_request(format!("base64: {error}"))),
            _ => Err(ApiError::bad_request(
                "give either `value` (text) or `base64`",
            )),
        }
    }

    fn expect(&self) -> Result<Expect, ApiError> {
        match &self.expect {
            None => Ok(Expect::Any),
            Some(Value::String(word)) if word == "absent" => Ok(Expect::Absent),
            Some(number) => number
                .as_u64()
                .map(Expect::Revision)
                .ok_or_else(|| ApiError::bad_request("expect: a revision, or \"absent\"")),
        }
    }
}

/// Writes an entry, within the same quota as tasks.
pub async fn set(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(workflow): Path<String>,
    Query(query): Query<KeyQuery>,
    Body(mut body): Body<SetBody>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    let key = query.checked()?;
    let (value, expect) = (body.bytes()?, body.expect()?);
    let space = space(&state, caller, &workflow).await?;
    let now = state.clock.now();
    let ttl = body.ttl.map(|Span(ttl)| ttl);
    let write = kv::write(value, ttl, now, state.kv_quota)
        .map_err(|(code, message)| ApiError::unacceptable(code, message, Vec::new()))?;
    let store = Arc::clone(&state.store);
    let written = store.kv_set(&space, key, expect, &write, now).await?;
    if let Some((code, message)) = state.kv_quota.refusal(written) {
        return Err(ApiError::unacceptable(code, message, Vec::new()));
    }
    match written {
        KvWritten::At(revision) => {
            noted(&state, &caller, "state.set", &space, key).await?;
            Ok(Envelope::of(
                json!({ "key": key, "revision": revision, "expiresAt": write.expires_at }),
            ))
        }
        _ => Err(ApiError::conflict(
            "kv.revision",
            "the key is not at the expected revision",
        )),
    }
}

/// Deletes an entry.
pub async fn delete(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(workflow): Path<String>,
    Query(query): Query<KeyQuery>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    let key = query.checked()?;
    let space = space(&state, caller, &workflow).await?;
    if !state
        .store
        .kv_delete(&space, key, state.clock.now())
        .await?
    {
        return Err(ApiError::not_found("key"));
    }
    noted(&state, &caller, "state.delete", &space, key).await?;
    Ok(Envelope::of(json!({ "key": key })))
}

/// Notes a change by hand in the audit log.
async fn noted(
    state: &ApiState,
    caller: &Authorized,
    action: &str,
    space: &KvSpace,
    key: &str,
) -> Result<(), ApiError> {
    let details = json!({ "key": key });
    let workflow = space.workflow.as_str();
    Ok(state.access.note(caller, action, workflow, details).await?)
}
