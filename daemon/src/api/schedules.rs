//! Schedules: read, made, changed; what comes, what was, and what is made up for.
//!
//! The body of a schedule has the keys of the file in camel case. Those of files are read here and changed there.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat, Utc};
use chrono_tz::Tz;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiState;
use super::authorize::{Authorized, Permission};
use super::json::Body;
use super::problem::ApiError;
use super::routes::Routes;
use super::views::{self, Envelope};
use super::workflows;
use crate::clock::Timestamp;
use crate::id::{FireId, ScheduleId};
use crate::schedule::plan::COUNTED;
use crate::schedule::{BACKFILL_MAX, Change, ScheduleError, Schedules, trace_id};
use crate::store::schedule::{FireOutcome, FireSeen, ScheduleOrigin, ScheduleRow};
use crate::workflow::schedule::{self, Schedule};

/// Times of one preview; who wants more wants `simulate`.
const PREVIEW_MAX: usize = 100;
/// Times of a preview unless the caller says otherwise.
const PREVIEW: usize = 10;
/// Rows of one page of history.
const PAGE_MAX: u32 = 200;
/// What fits on a screen or two.
const PAGE: u32 = 50;

/// The routes of this file.
pub(super) fn table(routes: Routes) -> Routes {
    use Permission::{WorkflowsRead, WorkflowsSchedule};
    const OF_WORKFLOW: &str = "/v0/workflows/{workflow}/schedules";
    const ONE: &str = "/v0/schedules/{schedule}";
    const ACTIVE: &str = "/v0/schedules/{schedule}/active";
    const BACKFILL: &str = "/v0/schedules/{schedule}/backfill";
    const FIRES: &str = "/v0/schedules/{schedule}/fires";
    const PREVIEW: &str = "/v0/schedules/{schedule}/preview";
    routes
        .route(Method::GET, "/v0/schedules", WorkflowsRead, all)
        .route(Method::GET, OF_WORKFLOW, WorkflowsRead, list)
        .route(Method::POST, OF_WORKFLOW, WorkflowsSchedule, create)
        .route(Method::GET, ONE, WorkflowsRead, get)
        .route(Method::PUT, ONE, WorkflowsSchedule, replace)
        .route(Method::DELETE, ONE, WorkflowsSchedule, delete)
        .route(Method::PATCH, ACTIVE, WorkflowsSchedule, set_active)
        .route(Method::GET, PREVIEW, WorkflowsRead, preview)
        .route(Method::GET, FIRES, WorkflowsRead, fires)
        .route(Method::POST, BACKFILL, WorkflowsSchedule, backfill)
}

impl From<ScheduleError> for ApiError {
    fn from(error: ScheduleError) -> Self {
        let text = error.to_string();
        match error {
            ScheduleError::NotFound => Self::not_found("schedule"),
            ScheduleError::OfFile { .. } => Self::conflict("schedule.of-file", text),
            ScheduleError::NameTaken => Self::conflict("schedule.name-taken", text),
            ScheduleError::Changed => Self::precondition_failed(text),
            ScheduleError::TooMany(_) => Self::unacceptable("schedule.too-many", text, Vec::new()),
            ScheduleError::Invalid(errors) => Self::unacceptable("schedule.invalid", text, errors),
            ScheduleError::Store(error) => error.into(),
        }
    }
}

/// An id that is none names nothing.
fn id(text: &str) -> Result<ScheduleId, ApiError> {
    text.parse().map_err(|_| ApiError::not_found("schedule"))
}

fn view(schedules: &Schedules, row: &ScheduleRow) -> Value {
    let mut view = views::json_text(&row.definition);
    let live = schedules.live(row);
    let next = schedules.upcoming(row, 1).pop();
    let Some(fields) = view.as_object_mut() else {
        return view;
    };
    let active = fields.remove("enabled").unwrap_or(Value::Bool(true));
    let of_file = row.origin == ScheduleOrigin::File;
    let facts = json!({
        "id": row.schedule_id,
        "workflow": row.workflow_name,
        "workflowId": row.workflow_id,
        "isActive": active,
        "origin": row.origin.as_str(),
        "readOnly": of_file,
        "file": live.as_ref().filter(|_| of_file).map(|live| live.file.to_string()),
        "live": live.is_some() && row.retired_at.is_none(),
        "nextAt": next.map(|(at, _)| at),
        "nextFiresAt": next.map(|(_, fires)| fires),
        "decidedUntil": row.decided_until,
        "revision": row.revision,
        "createdAt": row.created_at,
        "updatedAt": row.updated_at,
        "retiredAt": row.retired_at,
    });
    if let Value::Object(facts) = facts {
        fields.extend(facts);
    }
    for absent in ["start", "end"] {
        fields.entry(absent).or_insert(Value::Null);
    }
    view
}

fn etag(row: &ScheduleRow) -> [(header::HeaderName, String); 1] {
    [(header::ETAG, format!("\"{}\"", row.revision))]
}

/// The revision that the caller saw, if it says one.
fn if_match(headers: &HeaderMap) -> Result<Option<i64>, ApiError> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let inner = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    inner
        .and_then(|revision| revision.parse().ok())
        .map(Some)
        .ok_or_else(|| ApiError::bad_request("If-Match: the ETag of the schedule, or *"))
}

/// Notes a change in the audit log.
async fn noted(
    state: &ApiState,
    caller: &Authorized,
    action: &str,
    row: &ScheduleRow,
) -> Result<(), ApiError> {
    let details =
        json!({ "workflow": row.workflow_name, "name": row.name, "revision": row.revision });
    let schedule = row.schedule_id.to_string();
    Ok(state
        .access
        .note(caller, action, &schedule, details)
        .await?)
}

/// The caller's schedules.
pub async fn all(
    caller: Authorized,
    State(state): State<ApiState>,
) -> Result<Json<Envelope<Vec<Value>>>, ApiError> {
    let rows = state.schedules.of_organization(caller.organization).await?;
    Ok(Envelope::of(
        rows.iter().map(|row| view(&state.schedules, row)).collect(),
    ))
}

/// The schedules of a workflow.
pub async fn list(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(workflow): Path<String>,
) -> Result<Json<Envelope<Vec<Value>>>, ApiError> {
    let live = workflows::find(&state.catalog.load(), caller.organization, &workflow)?;
    let rows = state.schedules.of_workflow(live.workflow_id).await?;
    Ok(Envelope::of(
        rows.iter().map(|row| view(&state.schedules, row)).collect(),
    ))
}

/// Makes a schedule. It fires from now on.
pub async fn create(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(workflow): Path<String>,
    Body(wanted): Body<Schedule>,
) -> Result<Response, ApiError> {
    let live = workflows::find(&state.catalog.load(), caller.organization, &workflow)?;
    let row = state.schedules.create(&live, &wanted).await?;
    noted(&state, &caller, "schedule.create", &row).await?;
    let place = [(
        header::LOCATION,
        format!("/v0/schedules/{}", row.schedule_id),
    )];
    let body = Envelope::created(view(&state.schedules, &row));
    Ok((StatusCode::CREATED, place, etag(&row), body).into_response())
}

/// One schedule, also one that was removed.
pub async fn get(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(schedule): Path<String>,
) -> Result<Response, ApiError> {
    let row = state
        .schedules
        .get(caller.organization, id(&schedule)?)
        .await?;
    Ok((etag(&row), Envelope::of(view(&state.schedules, &row))).into_response())
}

async fn change(
    caller: Authorized,
    state: &ApiState,
    schedule: &str,
    headers: &HeaderMap,
    change: Change,
) -> Result<Response, ApiError> {
    let seen = if_match(headers)?;
    let row = state
        .schedules
        .change(caller.organization, id(schedule)?, &change, seen)
        .await?;
    let action = match change {
        Change::Replace(_) => "schedule.update",
        Change::Enable(true) => "schedule.resume",
        Change::Enable(false) => "schedule.pause",
        Change::Delete => "schedule.delete",
    };
    noted(state, &caller, action, &row).await?;
    Ok((etag(&row), Envelope::of(view(&state.schedules, &row))).into_response())
}

/// Replaces what a schedule says. New times count from now on.
pub async fn replace(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(schedule): Path<String>,
    headers: HeaderMap,
    Body(wanted): Body<Schedule>,
) -> Result<Response, ApiError> {
    let wanted = Change::Replace(Box::new(wanted));
    change(caller, &state, &schedule, &headers, wanted).await
}

/// Removes a schedule; its history stays.
pub async fn delete(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(schedule): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    change(caller, &state, &schedule, &headers, Change::Delete).await
}

/// Whether it is to fire.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActiveQuery {
    #[serde(rename = "isActive")]
    is_active: bool,
}

/// Pauses a schedule or lets it fire again. Times that came meanwhile are recorded, and not caught up.
pub async fn set_active(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(schedule): Path<String>,
    Query(query): Query<ActiveQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let wanted = Change::Enable(query.is_active);
    change(caller, &state, &schedule, &headers, wanted).await
}

/// How many times.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreviewQuery {
    n: Option<usize>,
}

fn zone(row: &ScheduleRow) -> Tz {
    let schedule = serde_json::from_str::<Schedule>(&row.definition);
    schedule.map_or(chrono_tz::UTC, |schedule| schedule.timezone)
}

fn local(at: Timestamp, zone: Tz) -> String {
    DateTime::<Utc>::from(at)
        .with_timezone(&zone)
        .to_rfc3339_opts(SecondsFormat::Secs, false)
}

/// The next times, in UTC and on the wall of the schedule's zone.
pub async fn preview(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(schedule): Path<String>,
    Query(query): Query<PreviewQuery>,
) -> Result<Json<Envelope<Vec<Value>>>, ApiError> {
    let row = state
        .schedules
        .get(caller.organization, id(&schedule)?)
        .await?;
    let count = query.n.unwrap_or(PREVIEW).clamp(1, PREVIEW_MAX);
    let zone = zone(&row);
    let times = state.schedules.upcoming(&row, count).into_iter();
    Ok(Envelope::of(
        times
            .map(|(at, fires)| json!({ "nominalAt": at, "firesAt": fires, "local": local(at, zone) }))
            .collect(),
    ))
}

/// Which page.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FiresQuery {
    cursor: Option<String>,
    limit: Option<u32>,
}

fn cursor(text: &str) -> Result<(Timestamp, FireId), ApiError> {
    let parsed = text.split_once('.').and_then(|(at, id)| {
        let at = at.parse().ok().map(Timestamp::from_micros)?;
        Some((at, id.parse().ok()?))
    });
    parsed.ok_or_else(|| ApiError::bad_request("cursor: take the nextCursor of the page before"))
}

fn fire(seen: &FireSeen, zone: Tz) -> Value {
    let fire = &seen.fire;
    let started = fire.outcome == FireOutcome::Started;
    json!({
        "id": fire.fire_id,
        "nominalAt": fire.nominal_at,
        "lastAt": fire.last_at,
        "local": local(fire.nominal_at, zone),
        "times": fire.times,
        "timesAtLeast": fire.times >= COUNTED,
        "cause": fire.cause.as_str(),
        "outcome": fire.outcome.as_str(),
        "reason": fire.reason_code.as_ref().map(|code| json!({ "code": code, "message": fire.reason_message })),
        "runId": fire.run_id,
        "runStatus": seen.run_status,
        "traceId": started.then(|| trace_id(fire.schedule_id, fire.nominal_at)),
        "decidedAt": fire.decided_at,
    })
}

/// What became of a schedule's times, newest first: what ran, and what did not and why.
pub async fn fires(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(schedule): Path<String>,
    Query(query): Query<FiresQuery>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    let row = state
        .schedules
        .get(caller.organization, id(&schedule)?)
        .await?;
    let limit = query.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let before = query.cursor.as_deref().map(cursor).transpose()?;
    let found = state.schedules.fires(&row, before, limit).await?;
    let next = (found.len() == limit as usize).then(|| {
        found
            .last()
            .map(|seen| format!("{}.{}", seen.fire.nominal_at.as_micros(), seen.fire.fire_id))
    });
    let zone = zone(&row);
    let rows: Vec<Value> = found.iter().map(|seen| fire(seen, zone)).collect();
    Ok(Envelope::of(
        json!({ "data": rows, "nextCursor": next.flatten() }),
    ))
}

/// Which times of the past.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct BackfillBody {
    from: String,
    to: String,
    #[serde(default)]
    dry_run: bool,
}

/// Runs times of the past that have not run, or with `dryRun` says which would.
pub async fn backfill(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(schedule): Path<String>,
    Body(body): Body<BackfillBody>,
) -> Result<Response, ApiError> {
    let row = state
        .schedules
        .get(caller.organization, id(&schedule)?)
        .await?;
    if row.retired_at.is_some() {
        return Err(ApiError::not_found("schedule"));
    }
    let zone = zone(&row);
    let at = |key: &str, text: &str| {
        schedule::instant(text, zone)
            .map_err(|error| ApiError::bad_request(format!("{key}: {error}")))
    };
    let range = (at("from", &body.from)?, at("to", &body.to)?);
    if range.0 > range.1 {
        return Err(ApiError::bad_request("`to` lies before `from`"));
    }
    let done = state.schedules.backfill(&row, range, body.dry_run).await?;
    if done.too_many {
        return Err(ApiError::unacceptable(
            "backfill.too-many",
            format!("the range has more than {BACKFILL_MAX} times; ask for a shorter one"),
            Vec::new(),
        ));
    }
    if !body.dry_run {
        noted(&state, &caller, "schedule.backfill", &row).await?;
    }
    let runs = done.times.iter().filter(|time| time.runs).count();
    let times: Vec<Value> = done
        .times
        .iter()
        .map(|time| json!({ "nominalAt": time.nominal, "local": local(time.nominal, zone), "runs": time.runs }))
        .collect();
    let answer = json!({ "dryRun": body.dry_run, "runs": runs, "times": times });
    Ok(match body.dry_run {
        true => Envelope::of(answer).into_response(),
        false => (StatusCode::ACCEPTED, Envelope::accepted(answer)).into_response(),
    })
}
