//! What an edit means for the times before it: pure.
//!
//! New times count from the edit on, and so do the times of a schedule that is resumed. What came before and has no
//! decision yet is recorded as missed, with the reason, and never caught up.

use super::meaning;
use super::plan::{Missed, Reason, Verdict, missed};
use crate::clock::Timestamp;
use crate::id::FireId;
use crate::store::schedule::{FireCause, FireOutcome, FireRow, ScheduleRow};
use crate::workflow::schedule::Schedule;

/// The row after an edit at `now`, and what it decides.
pub(super) fn edited(
    before: &ScheduleRow,
    schedule: &Schedule,
    now: Timestamp,
) -> Result<(ScheduleRow, Vec<FireRow>), serde_json::Error> {
    let mut row = ScheduleRow {
        definition: serde_json::to_string(schedule)?.into(),
        updated_at: now,
        retired_at: None,
        ..before.clone()
    };
    let old = meaning(before).filter(|_| before.retired_at.is_none());
    let Some((old, times)) = old else {
        (row.decided_until, row.looked_at) = (now, now);
        return Ok((row, Vec::new()));
    };
    let resumed = !old.enabled && schedule.enabled;
    if old.same_times(schedule) && !resumed {
        return Ok((row, Vec::new()));
    }
    (row.decided_until, row.looked_at) = (now, now);
    let reason = match old.enabled {
        true => Reason::Edited,
        false => Reason::Paused,
    };
    let missed = missed(&times, before.decided_until, now);
    let fires =
        missed.map(|missed| fire(before, &Verdict::Missed(Missed { reason, ..missed }), now));
    Ok((row, fires.into_iter().collect()))
}

/// The fire of a verdict, which runs unless it says otherwise.
pub(super) fn fire(row: &ScheduleRow, verdict: &Verdict, now: Timestamp) -> FireRow {
    let (nominal_at, cause) = match verdict {
        Verdict::Due(at) => (*at, FireCause::Time),
        Verdict::CaughtUp(at) => (*at, FireCause::CatchUp),
        Verdict::Missed(missed) => (missed.first, FireCause::Time),
    };
    let mut fire = FireRow {
        fire_id: FireId::generate(),
        organization_id: row.organization_id,
        schedule_id: row.schedule_id,
        nominal_at,
        is_span: false,
        last_at: nominal_at,
        times: 1,
        cause,
        outcome: FireOutcome::Due,
        reason_code: None,
        reason_message: None,
        run_id: None,
        open: true,
        decided_at: now,
    };
    if let Verdict::Missed(missed) = verdict {
        fire.is_span = true;
        fire.last_at = missed.last;
        fire.times = missed.times;
        not_wanted(&mut fire, FireOutcome::Missed, missed.reason);
    }
    fire
}

/// Says that a fire does not run.
pub(super) fn not_wanted(fire: &mut FireRow, outcome: FireOutcome, reason: Reason) {
    fire.outcome = outcome;
    fire.reason_code = Some(reason.code().to_owned());
    fire.reason_message = Some(reason.sentence().to_owned());
    fire.open = false;
}
