//! Turns and dead letters of the store in memory.

use std::collections::HashMap;

use async_trait::async_trait;

use super::testing_store::{FakeStore, Tables};
use crate::clock::Timestamp;
use crate::id::{DeadLetterId, OrganizationId, RunId};
use crate::run::status::Status;
use crate::store::control::{
    Control, ControlStore, DeadLetterRow, Lane, LaneMove, LetterFilter, LetterState, Settled,
};
use crate::store::{Store as _, StoreError};

/// Runs in lanes, and whether they have a place.
#[derive(Default)]
pub struct Turns {
    pub runs: HashMap<RunId, (Lane, bool)>,
    pub letters: Vec<DeadLetterRow>,
    /// Lets everyone go at once, as a store without lanes would.
    pub lax: bool,
}

impl Tables {
    pub(super) fn control(&mut self, run: RunId, control: &Control) {
        self.turns.letters.extend(control.letters.iter().cloned());
        if let Some(settled) = &control.settled {
            self.settle(settled);
        }
        let lane = match &control.lane {
            Some(LaneMove::Enter(lane)) => {
                self.turns.runs.insert(run, (lane.clone(), false));
                lane.clone()
            }
            Some(LaneMove::Leave) => match self.turns.runs.remove(&run) {
                Some((lane, _)) => lane,
                None => return,
            },
            None => return,
        };
        loop {
            let mine = |(run, (of, place)): (&RunId, &(Lane, bool))| {
                (of.lane_id == lane.lane_id).then_some((-of.priority, *run, *place))
            };
            let all: Vec<_> = self.turns.runs.iter().filter_map(mine).collect();
            let going = all.iter().filter(|(_, _, place)| *place).count();
            let next = all.iter().filter(|(_, _, place)| !place).min();
            let Some((_, next, _)) = next.filter(|_| going < lane.max as usize || self.turns.lax)
            else {
                return;
            };
            if let Some((_, place)) = self.turns.runs.get_mut(next) {
                *place = true;
            }
            self.let_go(*next);
        }
    }

    /// A held run may be claimed.
    pub(super) fn let_go(&mut self, run: RunId) {
        let row = self.runs.get_mut(&run);
        if let Some(row) = row.filter(|row| row.status == Status::Held) {
            row.status = Status::Queued;
        }
    }

    fn settle(&mut self, settled: &Settled) {
        let unsettled = |letter: &DeadLetterRow| {
            matches!(letter.state, LetterState::Open | LetterState::Redriven)
        };
        for letter in &mut self.turns.letters {
            let of = letter.run_id == settled.of;
            match settled.to {
                LetterState::Redriven if of && letter.state == LetterState::Open => {
                    letter.state = LetterState::Redriven;
                    letter.redrives += 1;
                    letter.redrive_run_id = Some(settled.by);
                }
                LetterState::Resolved
                    if unsettled(letter) && (of || letter.origin_run_id == settled.origin) =>
                {
                    letter.state = LetterState::Resolved;
                    letter.settled_at = Some(settled.at);
                }
                LetterState::Open | LetterState::Superseded
                    if of
                        && letter.state == LetterState::Redriven
                        && letter.redrive_run_id == Some(settled.by) =>
                {
                    letter.state = settled.to;
                }
                _ => {}
            }
        }
    }
}

#[async_trait]
impl ControlStore for FakeStore {
    async fn dead_letters(&self, filter: &LetterFilter) -> Result<Vec<DeadLetterRow>, StoreError> {
        let tables = self.tables();
        let mut found: Vec<_> = tables.turns.letters.clone();
        found.retain(|letter| letter.state == filter.state);
        found.sort_by_key(|letter| std::cmp::Reverse(letter.dead_letter_id));
        found.truncate(filter.limit as usize);
        Ok(found)
    }

    async fn dead_letters_named(
        &self,
        _: OrganizationId,
        ids: &[DeadLetterId],
    ) -> Result<Vec<DeadLetterRow>, StoreError> {
        let tables = self.tables();
        let mut found: Vec<_> = tables.turns.letters.clone();
        found.retain(|letter| ids.contains(&letter.dead_letter_id));
        Ok(found)
    }

    async fn dismiss(
        &self,
        _: OrganizationId,
        _: &[DeadLetterId],
        _: &str,
        _: &str,
        _: Timestamp,
    ) -> Result<Vec<DeadLetterId>, StoreError> {
        Err(StoreError::Corrupt(
            "the engine does not ask for this".into(),
        ))
    }

    async fn waiting(&self, limit: u32) -> Result<u32, StoreError> {
        // Down when everything is.
        self.workflows().await?;
        let tables = self.tables();
        let waits =
            |run: &&crate::store::rows::RunRow| run.owner.is_none() && !run.status.is_final();
        let many = tables.runs.values().filter(waits).count();
        Ok(u32::try_from(many).unwrap_or(u32::MAX).min(limit))
    }
}
