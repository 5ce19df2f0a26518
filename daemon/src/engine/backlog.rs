//! Runs that wait: in memory for the next commit, in the store for an owner. Both are bounded.
//!
//! How many wait in the store is counted there, up to the limit, once a claim's interval and only while there are
//! some; between two counts this daemon adds what it puts there and subtracts what it takes. Other daemons' runs are
//! missed for that interval, so the limit may be passed by what they accept in it.

use super::conductor::Conductor;
use super::intake::NewRun;
use crate::run::status::Trigger;
use crate::store::StoreError;

/// What is known of the runs that wait in the store.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// As counted, with what came and went here since.
    many: u32,
    /// What came here since the count under way began.
    since: Option<u32>,
    /// Whether some are known to wait for a claim: the last one gave all that it asked for, or one was put there
    /// since. Held runs do not: no claim is too late for them.
    some: bool,
    /// How many the claim under way asks for.
    asked: usize,
}

impl Waiting {
    /// A run was put into the store for whoever has room.
    pub(super) fn one_more(&mut self) {
        self.many = self.many.saturating_add(1);
        if let Some(since) = &mut self.since {
            *since = since.saturating_add(1);
        }
    }

    /// A run is on its way into the store because there is no room for it here.
    pub(super) fn no_room(&mut self) {
        self.some = true;
    }

    /// So many runs are asked for.
    pub(super) fn ask(&mut self, limit: usize) {
        self.asked = limit;
    }

    /// So many were claimed; answers whether more may wait, if that is known now.
    pub(super) fn fewer(&mut self, claimed: usize) -> Option<bool> {
        let fewer = u32::try_from(claimed).unwrap_or(u32::MAX);
        self.many = self.many.saturating_sub(fewer);
        // Who asked for none, because there was no room, has learned nothing.
        (self.asked > 0).then(|| {
            self.some = claimed >= self.asked;
            claimed > 0
        })
    }

    fn counted(&mut self, result: Result<u32, StoreError>) {
        let since = self.since.take().unwrap_or(0);
        if let Ok(many) = result {
            self.many = many.saturating_add(since);
        }
    }
}

impl Conductor {
    /// How many more runs may come into memory.
    pub(super) fn room(&self) -> usize {
        let many = self.runs.len() + self.arriving.len();
        let going = many.saturating_sub(self.parents.len());
        self.settings.active_runs.saturating_sub(going)
    }

    /// Whether a new run may begin at once: not while others are known to wait for their claim.
    pub(super) fn may_overtake(&self) -> bool {
        !self.waiting.some
    }

    /// Whether a run that would wait in the store is one too many. What is part of a run that was accepted is not.
    pub(super) fn is_backlog_full(&self, new: &NewRun) -> bool {
        self.waiting.many >= self.settings.backlog && new.row.trigger != Trigger::Workflow
    }

    /// Counts the runs that wait, if there may be some.
    pub(super) fn count_waiting(&mut self) {
        if self.waiting.many == 0 || self.waiting.since.is_some() || !self.alive {
            return;
        }
        self.waiting.since = Some(0);
        self.errands.count(self.settings.backlog);
    }

    /// The store has counted.
    pub(super) fn counted(&mut self, result: Result<u32, StoreError>) {
        self.waiting.counted(result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_nothing_does_not_learn_that_nothing_waits() {
        let mut waiting = Waiting::default();
        waiting.no_room();
        waiting.ask(0);
        assert_eq!((waiting.fewer(0), waiting.some), (None, true));
        waiting.ask(5);
        assert_eq!((waiting.fewer(5), waiting.some), (Some(true), true));
        assert_eq!((waiting.fewer(1), waiting.some), (Some(true), false));
        assert_eq!((waiting.fewer(0), waiting.some), (Some(false), false));
    }

    #[test]
    fn what_comes_during_a_count_is_not_forgotten_by_it() {
        let mut waiting = Waiting {
            many: 7,
            since: Some(0),
            ..Waiting::default()
        };
        waiting.one_more();
        waiting.one_more();
        waiting.fewer(3);
        assert_eq!(waiting.many, 6);
        waiting.counted(Ok(4));
        assert_eq!((waiting.many, waiting.since), (6, None));
        waiting.fewer(9);
        assert_eq!(waiting.many, 0);
        let lost = StoreError::Unavailable("gone".into());
        waiting.one_more();
        waiting.counted(Err(lost));
        assert_eq!(waiting.many, 1);
    }
}
