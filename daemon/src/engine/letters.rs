//! What a run's beginning and end mean for turns and dead letters, written in the same transition.
//!
//! A run that ends as failed leaves one dead letter for each of its tasks, or items, that failed for good. A run that
//! repeats another one says what becomes of that one's letters. So the list needs no upkeep of its own.

use super::active::Active;
use crate::clock::Timestamp;
use crate::id::DeadLetterId;
use crate::run::event::Reason;
use crate::run::state::RUN_TIMEOUT;
use crate::run::status::Status;
use crate::store::control::{Control, DeadLetterRow, LaneMove, LetterState, Settled, unix_ms};
use crate::store::rows::RunRow;

/// Letters of one run: more items of one `for_each` fail for the same reason, and the run's page lists them all.
const LETTERS_MAX: usize = 100;
/// Characters of a code that are kept: codes are compared and indexed, and tasks choose them.
const CODE_MAX: usize = 200;

impl Active {
    /// What this transition changes of turns and dead letters. Most change nothing.
    pub(super) fn control(&self, insert: bool, now: Timestamp) -> Option<Box<Control>> {
        let status = self.state.record().status;
        if !insert && !status.is_final() {
            return None;
        }
        let lane = match (insert, status.is_final()) {
            (true, false) => self.lane.clone().map(LaneMove::Enter),
            (false, true) if self.has_lane() => Some(LaneMove::Leave),
            _ => None,
        };
        let control = Control {
            lane,
            letters: self.letters(now),
            settled: settled(&self.row, status, insert, now),
        };
        (!control.is_empty()).then(|| Box::new(control))
    }

    fn letters(&self, now: Timestamp) -> Vec<DeadLetterRow> {
        let record = self.state.record();
        if record.status != Status::Failed {
            return Vec::new();
        }
        let workflow = self.graph().workflow();
        let mut letters: Vec<_> = self
            .state
            .failed_units()
            .into_iter()
            .take(LETTERS_MAX)
            .map(|(unit, unit_record)| {
                let task = workflow.task(unit.task);
                DeadLetterRow {
                    job: Some(workflow.job(task.job).name.clone()),
                    task: Some(task.name.clone()),
                    item_index: unit.item.map_or(-1, i64::from),
                    attempts: unit_record.attempts,
                    interrupts: unit_record.interrupts,
                    ..letter(&self.row, unit_record.reason.as_ref(), now)
                }
            })
            .collect();
        // What ran out of time was cancelled, task by task: the run itself failed.
        let failure = record.failure.as_ref();
        if letters.is_empty() || failure.is_some_and(|reason| reason.code == RUN_TIMEOUT) {
            letters.push(letter(&self.row, failure, now));
        }
        letters
    }
}

/// A run's letter without a task.
fn letter(run: &RunRow, reason: Option<&Reason>, now: Timestamp) -> DeadLetterRow {
    let (code, message) = match reason {
        Some(reason) => (reason.code.as_str(), reason.message.as_str()),
        None => ("failed", ""),
    };
    DeadLetterRow {
        dead_letter_id: DeadLetterId::at(unix_ms(now)),
        organization_id: run.organization_id,
        run_id: run.run_id,
        origin_run_id: run.origin_run_id,
        workflow_name: run.workflow_name.clone(),
        job: None,
        task: None,
        item_index: -1,
        code: code.chars().take(CODE_MAX).collect(),
        message: message.to_owned(),
        attempts: 0,
        interrupts: 0,
        created_at: now,
        state: LetterState::Open,
        redrives: 0,
        redrive_run_id: None,
        settled_at: None,
        settled_by: None,
        note: None,
    }
}

fn settled(run: &RunRow, status: Status, insert: bool, at: Timestamp) -> Option<Settled> {
    let to = match status {
        Status::Succeeded => LetterState::Resolved,
        Status::Failed => LetterState::Superseded,
        _ if insert => LetterState::Redriven,
        _ => LetterState::Open,
    };
    Some(Settled {
        of: run.rerun_of?,
        origin: run.origin_run_id,
        by: run.run_id,
        to,
        at,
    })
}

/// The same for a run that ends without having been read: it leaves its lane, whichever that is.
pub(super) fn of_condemned(run: &RunRow, reason: &Reason, now: Timestamp) -> Box<Control> {
    Box::new(Control {
        lane: Some(LaneMove::Leave),
        letters: vec![letter(run, Some(reason), now)],
        settled: settled(run, Status::Failed, false, now),
    })
}
