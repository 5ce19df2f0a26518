//! The event stream: log lines and events as server-sent events, resumable by id.
//!
//! The store is the truth; the engine only says when to look again. A run's stream ends with the
//! run; every stream ends when the daemon stops, and says nothing about the run by that. It also ends when who
//! follows it may not any more.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, Method};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::ApiState;
use super::authorize::{Authorized, Permission};
use super::problem::ApiError;
use super::routes::Routes;
use super::views;
use crate::clock::Timestamp;
use crate::engine::EngineEvent;
use crate::id::RunId;
use crate::store::rows::LogRow;

/// One look at the store.
const BATCH: u32 = 500;
/// Proxies close idle connections after a minute or so.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Whoever may not look any more sees no more after this long.
const CHECK_AGAIN: Duration = Duration::from_secs(5);
/// Another daemon's commits on the same store are seen at this pace.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The kind of a run's last line.
const RUN_FINISHED: &str = "run.finished";

/// The routes of this file.
pub(super) fn table(routes: Routes) -> Routes {
    routes.route(Method::GET, "/v0/events", Permission::LogsRead, follow)
}

/// What to follow.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EventQuery {
    run_id: Option<RunId>,
    after: Option<i64>,
}

/// Follows events after `after` (or the `Last-Event-ID` header), of one run or of all of the caller's
/// organization.
pub async fn follow(
    caller: Authorized,
    State(state): State<ApiState>,
    Query(query): Query<EventQuery>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let mut ended = false;
    if let Some(run) = query.run_id {
        let found = state.store.load_run(run).await?;
        let image = found
            .filter(|image| image.run.organization_id == caller.organization)
            .ok_or_else(|| ApiError::not_found("run"))?;
        ended = image.run.status.is_final();
    }
    let resumed = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok());
    let after = resumed.or(query.after).unwrap_or(0);
    let events = stream::unfold(
        Follower {
            caller,
            checked_at: state.clock.now(),
            run: query.run_id,
            after,
            ended,
            seen: state.engine.events(),
            state,
        },
        next_batch,
    );
    let flat = futures_util::StreamExt::flat_map(events, stream::iter);
    Ok(Sse::new(flat).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

struct Follower {
    caller: Authorized,
    /// When it was last looked whether they still may.
    checked_at: Timestamp,
    run: Option<RunId>,
    after: i64,
    /// Whether the run's last line is in the store: then an empty look is the last one.
    ended: bool,
    seen: broadcast::Receiver<EngineEvent>,
    state: ApiState,
}

impl Follower {
    /// Whether the caller still may look. Where the store cannot say, they may not: they come back.
    async fn still_may(&mut self) -> bool {
        let now = self.state.clock.now();
        if now.since(self.checked_at) < CHECK_AGAIN {
            return true;
        }
        self.checked_at = now;
        let may = self
            .state
            .access
            .still_may(&self.caller, Permission::LogsRead);
        may.await.unwrap_or_else(|error| {
            tracing::warn!(%error, "an event follower is sent away");
            false
        })
    }

    /// Returns when something that this follower reads was committed.
    async fn changed(&mut self) -> Result<(), RecvError> {
        loop {
            match self.seen.recv().await {
                Ok(EngineEvent::Changed(runs))
                    if self.run.is_none_or(|run| runs.contains(&run)) =>
                {
                    return Ok(());
                }
                Ok(EngineEvent::Finished { run_id, .. })
                    if self.run.is_none_or(|run| run == run_id) =>
                {
                    return Ok(());
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => return Ok(()),
                Err(RecvError::Closed) => return Err(RecvError::Closed),
            }
        }
    }
}

/// Waits until there is something after `after`; ends with the run that is followed, or when the
/// daemon stops.
async fn next_batch(mut follower: Follower) -> Option<(Vec<Result<Event, Infallible>>, Follower)> {
    loop {
        if !follower.still_may().await {
            return None;
        }
        // What happened before this look is in it.
        follower.seen = follower.seen.resubscribe();
        match follower
            .state
            .store
            .logs(follower.run, follower.after, BATCH)
            .await
        {
            Ok(rows) if !rows.is_empty() => {
                follower.after = rows.last().map_or(follower.after, |row| row.event_id);
                follower.ended |=
                    follower.run.is_some() && rows.iter().any(|row| row.kind == RUN_FINISHED);
                let mine = rows
                    .iter()
                    .filter(|row| row.organization_id == follower.caller.organization);
                let events: Vec<_> = mine.map(event).collect();
                if !events.is_empty() {
                    return Some((events, follower));
                }
                continue;
            }
            Ok(_) if follower.ended => return None,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "an event follower waits for the store"),
        }
        let stop = follower.state.stop.clone();
        tokio::select! {
            () = stop.cancelled() => return None,
            // A follower that lags has something to read; only a closed channel ends the stream.
            changed = tokio::time::timeout(LOOK_AGAIN, follower.changed()) => {
                if let Ok(Err(RecvError::Closed)) = changed {
                    return None;
                }
            }
        }
    }
}

fn event(row: &LogRow) -> Result<Event, Infallible> {
    let data = views::log(row).to_string();
    Ok(Event::default()
        .id(row.event_id.to_string())
        .event(row.kind.clone())
        .data(data))
}
