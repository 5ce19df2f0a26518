//! What the conductor does with messages that are not the store's answers to commits and reads.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::Drained;
use super::conductor::{Conductor, Leaving};
use super::intake::Intake;
use super::outcome::Happening;
use crate::clock::Timestamp;
use crate::id::{AttemptId, RunId};
use crate::run::event::Unit;
use crate::sandbox::invoke::AttemptReport;
use crate::store::StoreError;
use crate::store::rows::{ClaimedRun, CommandKind, CommandRow};

/// Runs claimed at once: small, so that several daemons share a backlog evenly.
pub(super) const CLAIM_MAX: usize = 64;

impl Conductor {
    pub(super) fn take(&mut self, message: Intake) {
        match message {
            Intake::Ended {
                run,
                unit,
                attempt,
                report,
                slot,
            } => self.guest_ended(run, unit, attempt, report, slot),
            Intake::Committed { runs, result } => self.committed(runs, result),
            Intake::Loaded { run, loaded } => self.loaded(run, loaded),
            Intake::Unread { run, message } => self.unread(run, message),
            Intake::Claimed(result) => self.claimed(result),
            Intake::Counted(result) => self.counted(result),
            Intake::Beat(result) => self.beaten(result),
            Intake::Heard => {
                // A look that is under way may have been too early for it.
                self.heard = self.claiming;
                self.claim(true);
            }
            Intake::Orders(orders) => self.take_orders(orders),
            Intake::Wait { run, answer } => {
                if self.runs.contains_key(&run) || self.arriving.contains_key(&run) {
                    let waiters = self.waiters.entry(run).or_default();
                    waiters.retain(|waiter| !waiter.is_closed());
                    waiters.push(answer);
                } else {
                    let _ = answer.send(None);
                }
            }
            // Whoever asked may have gone; then nobody misses the answer.
            Intake::Active { answer } => {
                let _ = answer.send(self.runs.values().map(|active| active.view()).collect());
            }
            Intake::Organization { run, answer } => {
                let active = self.runs.get(&run);
                let _ = answer.send(active.map(|active| active.row.organization_id));
            }
            Intake::LetGo { answer } => {
                self.let_go();
                let _ = answer.send(());
            }
            Intake::Drain { deadline, answer } => self.drain(deadline, answer),
            Intake::Farewell => self.farewell(),
        }
    }

    fn guest_ended(
        &mut self,
        run: RunId,
        unit: Unit,
        attempt: AttemptId,
        report: AttemptReport,
        slot: bool,
    ) {
        self.taken = self.taken.saturating_sub(usize::from(slot));
        let Some(active) = self.runs.get_mut(&run) else {
            return;
        };
        // The guest of an owner that was fenced, or of an attempt that was given up.
        let Entry::Occupied(live) = active.live.entry(unit) else {
            return;
        };
        if live.get().attempt != attempt {
            return;
        }
        let live = live.remove();
        if live.wait.is_some() && !active.waits() {
            self.parents.remove(&run);
        }
        active.inbox.push(Happening::Ended {
            unit,
            attempt,
            report,
            entries: Arc::new(live.journal.drain()),
            released: live.released,
        });
        self.dirty.push_back(run);
    }

    fn beaten(&mut self, result: Result<(), StoreError>) {
        self.beating = false;
        match result {
            Ok(()) => {
                self.store_health = Ok(());
                if !std::mem::replace(&mut self.alive, true) {
                    self.claim(true);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the store did not take the sign of life");
                self.store_health = Err(error.to_string());
                // Declared gone: what it would own belongs to the others at once.
                self.alive &= !matches!(error, StoreError::Rejected(_));
                // Nothing can be owned before the first sign of life, so it is tried again soon.
                if !self.alive {
                    self.beat_at = self.now().after(self.settings.claim);
                }
            }
        }
    }

    fn claimed(&mut self, result: Result<(Vec<ClaimedRun>, Vec<CommandRow>), StoreError>) {
        self.claiming = false;
        let (claimed, mut orders) = match result {
            Ok(result) => result,
            Err(error) => {
                self.store_health = Err(error.to_string());
                return;
            }
        };
        if let Some(more) = self.waiting.fewer(claimed.len()) {
            self.backlog = more;
        }
        for claim in claimed {
            // A lease that was lost and won again: what is in memory belongs to the old one.
            self.fenced(claim.run_id);
            let arrival = self.arriving.entry(claim.run_id).or_default();
            arrival.epoch = claim.lease_epoch;
            let (mine, others) = std::mem::take(&mut orders)
                .into_iter()
                .partition(|order| order.run_id == claim.run_id);
            arrival.orders = mine;
            orders = others;
            self.errands.read(claim.run_id, None);
        }
        self.take_orders(orders);
        let look = std::mem::take(&mut self.heard);
        self.claim(look);
    }

    fn take_orders(&mut self, orders: Vec<CommandRow>) {
        for order in orders {
            let run = order.run_id;
            if let Some(arrival) = self.arriving.get_mut(&run) {
                let known = |other: &CommandRow| other.command_id == order.command_id;
                if !arrival.orders.iter().any(known) {
                    arrival.orders.push(order);
                }
            } else if self.runs.contains_key(&run) {
                self.obey(order);
            } else {
                self.backlog = true;
                self.errands.discard(order);
            }
        }
        self.claim(false);
    }

    /// An order for a run in memory. The order is durable, so its guests are told at once.
    pub(super) fn obey(&mut self, order: CommandRow) {
        let CommandKind::Cancel = order.kind;
        let Some(active) = self.runs.get_mut(&order.run_id) else {
            return;
        };
        if active.orders.contains(&order.command_id) {
            return;
        }
        active.orders.push(order.command_id);
        if active.cancel.is_some() {
            return;
        }
        active.cancel = Some(order.reason.clone());
        active.live.values().for_each(|live| live.cancel.cancel());
        active.inbox.push(Happening::Cancel {
            reason: order.reason,
        });
        self.dirty.push_back(order.run_id);
    }

    fn drain(&mut self, deadline: Timestamp, answer: tokio::sync::oneshot::Sender<Drained>) {
        if self.leaving.is_some() {
            // The first one gets the answer; a second one learns that the engine is gone.
            return;
        }
        self.leaving = Some(Leaving {
            deadline,
            answer,
            drained: Drained {
                released: 0,
                stopped: 0,
            },
            cut: false,
            released: false,
        });
        // Slots that were given and not used would begin new attempts.
        for active in self.runs.values_mut() {
            self.taken -= std::mem::take(&mut active.credit);
            // Nothing is lost with a wait: the next owner goes on with it.
            active.live.retain(|_, live| match &live.wait {
                Some(wait) => {
                    wait.abort();
                    false
                }
                None => true,
            });
        }
        self.parents.clear();
        self.hungry.clear();
        self.cut_at_deadline(self.now());
    }

    /// At the deadline of a stop, attempts are told to stop; some time later the engine goes
    /// whatever the store says.
    pub(super) fn cut_at_deadline(&mut self, now: Timestamp) {
        let Some(leaving) = &mut self.leaving else {
            return;
        };
        if leaving.deadline > now {
            return;
        }
        if !std::mem::replace(&mut leaving.cut, true) {
            for live in self
                .runs
                .values_mut()
                .flat_map(|active| active.live.values_mut())
            {
                live.released = true;
                live.cancel.cancel();
                leaving.drained.stopped += 1;
            }
            return;
        }
        if leaving.deadline.after(super::conductor::LEAVE_AT_LAST) <= now {
            tracing::warn!("the store does not answer; leaving without a farewell");
            self.farewell();
        }
    }

    /// Gives the runs back once nothing of them is under way.
    pub(super) fn leave_if_empty(&mut self) {
        if self.leaving.is_none() {
            return;
        }
        let quiet = self.writing == 0
            && !self.claiming
            && self.outbox.is_empty()
            && self.dirty.is_empty()
            && self.arriving.is_empty()
            && self
                .runs
                .values()
                .all(|run| run.is_idle() && run.live.is_empty());
        let Some(leaving) = self.leaving.as_mut().filter(|_| quiet) else {
            return;
        };
        if std::mem::replace(&mut leaving.released, true) {
            return;
        }
        let runs: Vec<(RunId, i64)> = self
            .runs
            .values()
            .map(|run| (run.id(), run.epoch))
            .collect();
        leaving.drained.released = runs.len();
        self.errands.leave(runs);
    }

    fn farewell(&mut self) {
        self.gone = true;
        if let Some(leaving) = self.leaving.take() {
            let _ = leaving.answer.send(leaving.drained);
        }
    }
}
