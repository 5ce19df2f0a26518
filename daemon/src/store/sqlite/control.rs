//! Turns and dead letters in SQLite: the calls, which are the same everywhere, and what a commit changes of them.
//!
//! There is one writer, so a lane needs no lock, and each transition is done with before the next.

use rusqlite::Connection;
use sqlx::query;
use sqlx::sqlite::SqliteConnection;

use super::SqliteStore;
use super::dialect::fault;
use super::put::Put;
use crate::id::RunId;
use crate::store::commit::Fault;
use crate::store::control::{Control, Lane, LaneMove, LetterState, Settled, promoted};
use crate::store::control_calls::control_store;

/// The statements of `sql_control`, with the one that SQLite needs otherwise.
pub(super) mod sql {
    pub(in crate::store) use crate::store::sql_control::*;

    /// Without statistics SQLite thinks the index on the state narrower.
    pub(in crate::store) const UNOWNED: &str = r#"
select count(*) as "count" from (select 1 as "one" from "workflow_run" indexed by "workflow_run_claim"
  where "owner" is null and "status" in ('queued', 'running', 'waiting', 'interrupted') limit $1) as "w""#;
}

control_store!(SqliteStore, SqliteConnection);

/// A statement whose parameters are numbered: what is written `$1` is a name to SQLite, and names are numbered as they
/// come.
fn put<'c>(db: &'c Connection, statement: &str) -> Result<Put<'c>, Fault> {
    Put::new(db, &statement.replace('$', "?"))
}

/// Applies the changes of one transition.
pub(super) fn apply(db: &Connection, run: RunId, control: &Control) -> Result<(), Fault> {
    for letter in &control.letters {
        add(db, letter)?;
    }
    if let Some(settled) = &control.settled {
        settle(db, settled)?;
    }
    match &control.lane {
        Some(LaneMove::Enter(lane)) => enter(db, run, lane),
        Some(LaneMove::Leave) => leave(db, run),
        None => Ok(()),
    }
}

fn add(db: &Connection, row: &DeadLetterRow) -> Result<(), Fault> {
    let mut put = self::put(db, sql::ADD_LETTER)?;
    put.id(row.dead_letter_id)?
        .id(row.organization_id)?
        .id(row.run_id)?
        .id(row.origin_run_id)?
        .raw(row.workflow_name.as_str())?
        .raw(row.job.as_ref().map(|job| job.as_str()))?
        .raw(row.task.as_ref().map(|task| task.as_str()))?
        .raw(row.item_index)?
        .text(&row.code)?
        .text(&row.message)?
        .raw(row.attempts)?
        .raw(row.interrupts)?
        .time(row.created_at)?;
    put.run().map(drop)
}

fn settle(db: &Connection, settled: &Settled) -> Result<(), Fault> {
    match settled.to {
        LetterState::Redriven => {
            let mut put = self::put(db, sql::REDRIVEN)?;
            put.id(settled.of)?.id(settled.by)?.run().map(drop)
        }
        LetterState::Resolved => {
            let mut put = self::put(db, sql::RESOLVED_RUN)?;
            put.id(settled.of)?.time(settled.at)?.run()?;
            let mut put = self::put(db, sql::RESOLVED_CHAIN)?;
            put.id(settled.origin)?.time(settled.at)?.run().map(drop)
        }
        LetterState::Open | LetterState::Superseded | LetterState::Dismissed => {
            let mut put = self::put(db, sql::NOT_RESOLVED)?;
            put.id(settled.of)?.id(settled.by)?;
            put.raw(settled.to.as_str())?.run().map(drop)
        }
    }
}

fn enter(db: &Connection, run: RunId, lane: &Lane) -> Result<(), Fault> {
    put(db, sql::LANE_APPEARS)?
        .id(lane.lane_id)?
        .id(lane.organization_id)?
        .id(lane.workflow_id)?
        .raw(lane.max)?
        .run()?;
    put(db, sql::LANE_ENTERED)?
        .id(run)?
        .id(lane.organization_id)?
        .id(lane.lane_id)?
        .raw(-i64::from(lane.priority))?
        .run()?;
    promote(db, &lane.lane_id.to_string())
}

fn leave(db: &Connection, run: RunId) -> Result<(), Fault> {
    let lane: Option<String> = put(db, sql::LANE_OF)?.id(run)?.first(|row| row.get(0))?;
    let Some(lane) = lane else {
        return Ok(());
    };
    put(db, sql::LANE_LEFT)?.id(run)?.run()?;
    promote(db, &lane)
}

fn promote(db: &Connection, lane: &str) -> Result<(), Fault> {
    let max: Option<i64> = put(db, sql::LANE)?.raw(lane)?.first(|row| row.get(0))?;
    let going: Option<i64> = put(db, sql::LANE_GOING)?
        .raw(lane)?
        .first(|row| row.get(0))?;
    let (max, going) = (max.unwrap_or(0), going.unwrap_or(0));
    let next: Vec<String> = put(db, sql::LANE_NEXT)?
        .raw(lane)?
        .raw(promoted(max, going).max(1))?
        .all(|row| row.get(0))?;
    if going == 0 && next.is_empty() {
        return put(db, sql::LANE_ENDS)?.raw(lane)?.run().map(drop);
    }
    let free = usize::try_from(promoted(max, going)).unwrap_or(usize::MAX);
    for run in next.iter().take(free) {
        put(db, sql::LANE_PLACE)?.raw(run.as_str())?.run()?;
        put(db, sql::LET_GO)?.raw(run.as_str())?.run()?;
    }
    Ok(())
}
