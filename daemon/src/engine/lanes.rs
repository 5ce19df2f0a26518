//! `concurrency = { key, max }`: runs with the same key take turns.
//!
//! A run beyond the limit is durable and owned, but held: it begins nothing until one before it has
//! ended. The limit is this engine's; several daemons have it each. A run that began before a restart
//! goes on whatever its lane says, so right after one a lane may hold one run more than its limit.

use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::Value;

use super::active::Active;
use super::conductor::Conductor;
use crate::id::{RunId, WorkflowId};

/// Held runs may be so many times the runs that are active, so that a busy lane keeps others out
/// of memory no sooner than it must.
const HELD_FACTOR: usize = 4;

/// Whose turn it is.
pub(super) type LaneKey = (WorkflowId, String);

/// The runs of all lanes.
#[derive(Default)]
pub(super) struct Lanes {
    lanes: HashMap<LaneKey, Lane>,
    held: usize,
}

#[derive(Default)]
struct Lane {
    going: HashSet<RunId>,
    waiting: VecDeque<RunId>,
}

impl Lanes {
    /// Lets a run in, or has it wait; answers whether it may go.
    fn enter(&mut self, key: LaneKey, run: RunId, max: usize, begun: bool) -> bool {
        let lane = self.lanes.entry(key).or_default();
        // A run that began before a restart is not stopped in the middle.
        if begun || lane.going.len() < max {
            lane.going.insert(run);
            return true;
        }
        lane.waiting.push_back(run);
        self.held += 1;
        false
    }

    /// A run has left; answers whose turn it is now.
    fn leave(&mut self, key: &LaneKey, run: RunId, max: usize) -> Option<RunId> {
        let lane = self.lanes.get_mut(key)?;
        if !lane.going.remove(&run) {
            let before = lane.waiting.len();
            lane.waiting.retain(|other| *other != run);
            self.held -= before - lane.waiting.len();
        }
        let next = match lane.going.len() < max {
            true => lane.waiting.pop_front(),
            false => None,
        };
        if let Some(next) = next {
            self.held -= 1;
            lane.going.insert(next);
        }
        if lane.going.is_empty() && lane.waiting.is_empty() {
            self.lanes.remove(key);
        }
        next
    }
}

impl Active {
    /// The lane of this run and how many may go in it at once.
    pub(super) fn lane(&self) -> Option<(LaneKey, usize)> {
        let limit = self.graph().workflow().concurrency.as_ref()?;
        let key = match limit.key.as_ref().map(|key| key.fill(&self.scope(None))) {
            None => String::new(),
            Some(Ok(Value::String(text))) => text,
            Some(Ok(other)) => other.to_string(),
            // A key that cannot be made must not open a lane of its own for everyone.
            Some(Err(_)) => String::new(),
        };
        Some(((self.row.workflow_id, key), limit.max.max(1) as usize))
    }
}

impl Conductor {
    /// How many more runs may come into memory.
    pub(super) fn room(&self) -> usize {
        let held = self.lanes.held;
        let idle = held + self.waiting.len();
        let going = (self.runs.len() + self.arriving.len()).saturating_sub(idle);
        let room = self.settings.active_runs.saturating_sub(going);
        let held_max = self.settings.active_runs.saturating_mul(HELD_FACTOR);
        room.min(held_max.saturating_sub(held))
    }

    /// Brings a run into memory, held if its lane is full.
    pub(super) fn bring_in(&mut self, mut active: Active) {
        let run = active.id();
        if let Some((key, max)) = active.lane() {
            let begun = active.row.started_at.is_some();
            active.held = !self.lanes.enter(key.clone(), run, max, begun);
            active.lane_key = Some((key, max));
        }
        self.runs.insert(run, active);
    }

    /// A run has left memory: the next of its lane may go.
    pub(super) fn leave_lane(&mut self, gone: &mut Active) {
        let Some((key, max)) = gone.lane_key.take() else {
            return;
        };
        let next = self.lanes.leave(&key, gone.id(), max);
        if let Some(next) = next
            && let Some(active) = self.runs.get_mut(&next)
        {
            active.held = false;
            active.fresh = true;
            self.dirty.push_back(next);
        }
    }
}
