//! Dead letters: what failed for good and waits for somebody. Lists; repeats in bulk; dismisses.
//!
//! Bulk calls are bounded and may be repeated: an entry that was dealt with is no longer open.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiState;
use super::authorize::{Authorized, Permission};
use super::json::Body;
use super::problem::ApiError;
use super::routes::Routes;
use super::views::Envelope;
use super::workflows;
use crate::clock::Timestamp;
use crate::engine::{RerunError, RerunVersion, TriggerError};
use crate::id::{DeadLetterId, RunId, WorkflowName};
use crate::store::control::{DeadLetterRow, LetterFilter, LetterState};

/// What fits on a screen or two.
const PAGE: u32 = 50;
/// Entries of one bulk call: each run is loaded and begun, so a call stays within seconds.
pub const BULK_MAX: u32 = 500;
/// What a bulk call takes unless it says otherwise.
const BULK: u32 = 100;

/// The routes of this file.
pub(super) fn table(routes: Routes) -> Routes {
    use Permission::{WorkflowsExecute, WorkflowsRead};
    routes
        .route(Method::GET, "/v0/dead-letters", WorkflowsRead, list)
        .route(
            Method::POST,
            "/v0/dead-letters/redrive",
            WorkflowsExecute,
            redrive,
        )
        .route(
            Method::POST,
            "/v0/dead-letters/dismiss",
            WorkflowsExecute,
            dismiss,
        )
}

/// Filters of the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    workflow: Option<WorkflowName>,
    code: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    state: Option<String>,
    cursor: Option<DeadLetterId>,
    limit: Option<u32>,
}

fn count(wanted: Option<u32>, default: u32, max: u32) -> Result<u32, ApiError> {
    match wanted.unwrap_or(default) {
        limit if (1..=max).contains(&limit) => Ok(limit),
        _ => Err(ApiError::bad_request(format!("limit: 1 to {max}"))),
    }
}

fn view(row: &DeadLetterRow) -> Value {
    json!({
        "id": row.dead_letter_id,
        "state": row.state.as_str(),
        "runId": row.run_id,
        "originRunId": row.origin_run_id,
        "workflow": row.workflow_name,
        "job": row.job,
        "task": row.task,
        "itemIndex": (row.item_index >= 0).then_some(row.item_index),
        "code": row.code,
        "message": row.message,
        "attempts": row.attempts,
        "interrupts": row.interrupts,
        "failedAt": row.created_at,
        "redrives": row.redrives,
        "redriveRunId": row.redrive_run_id,
        "settledAt": row.settled_at,
        "settledBy": row.settled_by,
        "note": row.note,
    })
}

/// Lists entries, newest first; the open ones unless another state is asked for.
pub async fn list(
    caller: Authorized,
    State(state): State<ApiState>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    let limit = count(query.limit, PAGE, super::PAGE_MAX)?;
    let wanted = match query.state {
        None => LetterState::Open,
        Some(word) => word
            .parse()
            .map_err(|rule| ApiError::bad_request(format!("state: {rule}")))?,
    };
    let filter = LetterFilter {
        organization: Some(caller.organization),
        workflow: query.workflow,
        code: query.code,
        since: query.since,
        until: query.until,
        before: query.cursor,
        ..LetterFilter::in_state(wanted, limit)
    };
    let rows = state.store.dead_letters(&filter).await?;
    let next = (rows.len() == limit as usize)
        .then(|| rows.last().map(|row| row.dead_letter_id))
        .flatten();
    let found: Vec<Value> = rows.iter().map(view).collect();
    Ok(Envelope::of(json!({ "data": found, "nextCursor": next })))
}

/// Which open entries a bulk call is about.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BulkBody {
    ids: Vec<DeadLetterId>,
    workflow: Option<WorkflowName>,
    code: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    /// Every open entry; needed when nothing else says which.
    all: bool,
    /// The `nextCursor` of the call before.
    cursor: Option<DeadLetterId>,
    limit: Option<u32>,
    /// Of a redrive: `same` (default) or `newest`.
    version: Option<String>,
    /// Of a dismissal: why.
    reason: Option<String>,
}

/// What a bulk call is about.
struct Chosen {
    rows: Vec<DeadLetterRow>,
    /// After which one there may be more.
    next: Option<DeadLetterId>,
    /// Those that were named and are not open: unknown, or dealt with.
    skipped: Vec<DeadLetterId>,
}

/// The open entries that the body names.
async fn chosen(caller: Authorized, state: &ApiState, body: &BulkBody) -> Result<Chosen, ApiError> {
    let limit = count(body.limit, BULK, BULK_MAX)?;
    let filtered = body.workflow.is_some()
        || body.code.is_some()
        || body.since.is_some()
        || body.until.is_some();
    match (body.ids.is_empty(), filtered, body.all) {
        (false, false, false) if body.ids.len() <= BULK_MAX as usize => {
            let named = state
                .store
                .dead_letters_named(caller.organization, &body.ids);
            let mut rows = named.await?;
            rows.retain(|row| row.state == LetterState::Open);
            let open: BTreeSet<_> = rows.iter().map(|row| row.dead_letter_id).collect();
            let mut skipped = body.ids.clone();
            skipped.retain(|id| !open.contains(id));
            Ok(Chosen {
                rows,
                next: None,
                skipped,
            })
        }
        (false, false, false) => Err(ApiError::bad_request(format!(
            "ids: at most {BULK_MAX} at once"
        ))),
        (true, true, false) | (true, false, true) => {
            let filter = LetterFilter {
                organization: Some(caller.organization),
                workflow: body.workflow.clone(),
                code: body.code.clone(),
                since: body.since,
                until: body.until,
                before: body.cursor,
                ..LetterFilter::in_state(LetterState::Open, limit)
            };
            let rows = state.store.dead_letters(&filter).await?;
            let last = rows.last().map(|row| row.dead_letter_id);
            let next = last.filter(|_| rows.len() == limit as usize);
            Ok(Chosen {
                rows,
                next,
                skipped: Vec::new(),
            })
        }
        _ => Err(ApiError::bad_request(
            "say which entries: `ids`, or some of `workflow`, `code`, `since`, `until`, or `all: true`",
        )),
    }
}

/// Repeats the runs of open entries from their failure: one new run for each failed run. Asking again gives the
/// runs that are under way, not further ones.
pub async fn redrive(
    caller: Authorized,
    State(state): State<ApiState>,
    Body(body): Body<BulkBody>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    if body.reason.is_some() {
        return Err(ApiError::bad_request("reason: only a dismissal has one"));
    }
    let newest = match body.version.as_deref() {
        None | Some("same") => false,
        Some("newest") => true,
        Some(_) => return Err(ApiError::bad_request("version: \"same\" or \"newest\"")),
    };
    let Chosen {
        rows,
        next,
        skipped,
    } = chosen(caller, &state, &body).await?;
    let mut runs: BTreeMap<RunId, (u32, &DeadLetterRow)> = BTreeMap::new();
    for row in &rows {
        runs.insert(row.run_id, (row.redrives, row));
    }
    let (mut begun, mut refused) = (Vec::new(), Vec::new());
    let mut full = false;
    for (run, (round, row)) in runs {
        let version = match newest {
            false => RerunVersion::Same,
            true => {
                let name = row.workflow_name.as_str();
                match workflows::find(&state.catalog.load(), caller.organization, name) {
                    Ok(live) => RerunVersion::Newest(Arc::clone(&live.workflow)),
                    Err(_) => {
                        let text = format!("there is no live workflow `{name}`");
                        refused.push(refusal(run, "workflow.unknown", &text));
                        continue;
                    }
                }
            }
        };
        match state.engine.redrive(run, round, version).await {
            Ok(accepted) => begun.push(json!({ "runId": run, "redriveRunId": accepted.run_id })),
            Err(RerunError::Trigger(error @ TriggerError::QueueFull)) if begun.is_empty() => {
                return Err(workflows::trigger_failed(error));
            }
            // What was begun is said; the rest is still open, for another call.
            Err(RerunError::Trigger(TriggerError::QueueFull)) => {
                full = true;
                break;
            }
            Err(RerunError::Store(error)) => return Err(error.into()),
            Err(RerunError::Trigger(error @ TriggerError::Unavailable { .. })) => {
                return Err(workflows::trigger_failed(error));
            }
            Err(error) => refused.push(refusal(run, code(&error), &error.to_string())),
        }
    }
    let details = json!({ "redriven": begun, "refused": refused });
    let access = &state.access;
    access
        .note(&caller, "dead-letter.redrive", "", details)
        .await?;
    Ok(Envelope::accepted(json!({
        "redriven": begun,
        "refused": refused,
        "skipped": skipped,
        "queueFull": full,
        "nextCursor": if full { body.cursor } else { next },
    })))
}

fn refusal(run: RunId, code: &str, message: &str) -> Value {
    json!({ "runId": run, "code": code, "message": message })
}

fn code(error: &RerunError) -> &'static str {
    match error {
        RerunError::NotFound(_) => "not-found",
        RerunError::NotFinal(_) => "run.not-final",
        RerunError::UnknownTask(_) => "rerun.unknown-task",
        RerunError::Version(_) => "version.lost",
        RerunError::Store(_) => "unavailable",
        RerunError::Trigger(error) => error.code(),
    }
}

/// Takes open entries off the list without repeating anything; who did it, when and why is kept.
pub async fn dismiss(
    caller: Authorized,
    State(state): State<ApiState>,
    Body(body): Body<BulkBody>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    if body.version.is_some() {
        return Err(ApiError::bad_request("version: only a redrive has one"));
    }
    let Chosen {
        rows,
        next,
        skipped,
    } = chosen(caller, &state, &body).await?;
    let ids: Vec<DeadLetterId> = rows.iter().map(|row| row.dead_letter_id).collect();
    let note = body.reason.as_deref().unwrap_or_default();
    let now = state.clock.now();
    let organization = caller.organization;
    let by = caller.to_string();
    let done = state.store.dismiss(organization, &ids, &by, note, now);
    let done = done.await?;
    let details = json!({ "entries": ids, "reason": body.reason });
    let access = &state.access;
    access
        .note(&caller, "dead-letter.dismiss", "", details)
        .await?;
    Ok(Envelope::of(json!({
        "dismissed": done,
        "skipped": skipped,
        "nextCursor": next,
    })))
}
