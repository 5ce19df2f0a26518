//! What the conductor does when the store has answered: publish what is durable, drop and read
//! again what is not.

use std::sync::Arc;

use super::active::{Flight, Live, Phase, Start};
use super::attempt::{self, ended_with};
use super::conductor::{Arrival, Conductor};
use super::intake::Loaded;
use super::letters;
use super::outcome::Happening;
use super::{Accepted, EngineEvent, TriggerError};
use crate::broker::journal::Entries;
use crate::id::{DaemonId, RunId};
use crate::run::event::Reason;
use crate::run::failure::Failure;
use crate::run::status::Status;
use crate::store::rows::{RunChange, RunImage, RunRow, RunUpdate, Transition};
use crate::store::{CommitOutcome, StoreError};

/// A run whose data the store refuses even as a bare failure is left alone.
const REFUSALS_MAX: u32 = 2;

impl Conductor {
    pub(super) fn committed(
        &mut self,
        runs: Vec<(RunId, i64)>,
        result: Result<Vec<CommitOutcome>, StoreError>,
    ) {
        self.writing = self.writing.saturating_sub(1);
        match result {
            Ok(outcomes) => {
                self.store_health = Ok(());
                let mut changed = Vec::with_capacity(runs.len());
                for ((run, epoch), outcome) in runs.into_iter().zip(outcomes) {
                    if outcome == CommitOutcome::Committed {
                        changed.push(run);
                    }
                    if self.is_of_the_past(run, epoch) {
                        self.settle_the_past(run, outcome);
                    } else {
                        self.outcome(run, outcome);
                    }
                }
                if !changed.is_empty() {
                    self.tell(EngineEvent::Changed(changed.into()));
                }
            }
            Err(error) => {
                tracing::warn!(%error, runs = runs.len(), "a commit has an unknown outcome");
                self.store_health = Err(error.to_string());
                for (run, epoch) in runs {
                    if !self.is_of_the_past(run, epoch) {
                        self.lost(run, &error);
                    }
                }
            }
        }
    }

    /// Whether this daemon has claimed the run anew since a transition of that epoch was made. Its outcome says
    /// nothing about what is in memory now.
    fn is_of_the_past(&self, run: RunId, epoch: i64) -> bool {
        let arriving = self.arriving.get(&run).map(|arrival| arrival.epoch);
        let active = self.runs.get(&run).map(|active| active.epoch);
        active.or(arriving).is_some_and(|now| now > epoch)
    }

    /// The insert of a run that was claimed before its outcome was heard is answered; nothing else is owed.
    fn settle_the_past(&mut self, run: RunId, outcome: CommitOutcome) {
        if outcome == CommitOutcome::Committed {
            self.answer(
                run,
                Ok(Accepted {
                    run_id: run,
                    duplicate: false,
                }),
            );
        }
    }

    fn outcome(&mut self, run: RunId, outcome: CommitOutcome) {
        match outcome {
            CommitOutcome::Committed => self.publish(run),
            CommitOutcome::Duplicate(earlier) => {
                self.drop_draft(run);
                self.answer(
                    run,
                    Ok(Accepted {
                        run_id: earlier,
                        duplicate: true,
                    }),
                );
            }
            CommitOutcome::Fenced => {
                self.answer(
                    run,
                    Err(TriggerError::Rejected("another owner has it".into())),
                );
                self.fenced(run);
            }
            CommitOutcome::Conflict => {
                let flight = self.take_flight(run);
                self.reread(run, flight.map(|flight| flight.events).unwrap_or_default());
            }
            CommitOutcome::Rejected(why) => self.rejected(run, &why),
        }
    }

    fn answer(&mut self, run: RunId, answer: Result<Accepted, TriggerError>) {
        if let Some(caller) = self.answers.remove(&run) {
            // A caller that has gone finds the run by its key or in the list.
            let _ = caller.send(answer);
        }
    }

    /// A transition is durable: what it promised happens.
    fn publish(&mut self, run: RunId) {
        let accepted = Accepted {
            run_id: run,
            duplicate: false,
        };
        self.answer(run, Ok(accepted));
        let Some(active) = self.runs.get_mut(&run) else {
            // It was inserted for whoever has room, or it was a run that could not continue.
            if self.arriving.remove(&run).is_some() {
                self.settle_waiters(run, Status::Failed);
            } else {
                self.waiting.one_more();
            }
            self.backlog = true;
            self.claim(false);
            return;
        };
        active.revision += 1;
        active.refusals = 0;
        let phase = std::mem::replace(&mut active.phase, Phase::Idle);
        if active.state.record().status.is_final() {
            self.finish(run);
            return;
        }
        if let Phase::Flying(flight) = phase {
            self.begin_all(run, flight.starts);
        }
        let Some(active) = self.runs.get_mut(&run) else {
            return;
        };
        if active.wants_number {
            self.reread(run, Vec::new());
        } else if !active.inbox.is_empty() || active.credit > 0 {
            self.dirty.push_back(run);
        }
    }

    /// Begins attempts whose rows are durable and whose slots are taken.
    fn begin_all(&mut self, run: RunId, starts: Vec<Start>) {
        let cut = self.leaving.as_ref().is_some_and(|leaving| leaving.cut);
        let now = self.now();
        for start in starts {
            let Some(active) = self.runs.get_mut(&run) else {
                return;
            };
            let wait = active.is_wait(start.unit);
            if wait && self.leaving.is_some() {
                // It is recorded as running, and the next owner waits.
                self.taken = self.taken.saturating_sub(1);
                continue;
            }
            if !wait && (active.is_stopping() || cut) {
                self.taken = self.taken.saturating_sub(1);
                active.inbox.push(Happening::Ended {
                    unit: start.unit,
                    attempt: start.attempt,
                    report: ended_with(Failure::cancelled("it was stopped before it began")),
                    entries: Arc::new(Entries::default()),
                    released: cut,
                });
                self.dirty.push_back(run);
                continue;
            }
            let (live, slot) = attempt::begin(&self.shared, &self.invoke, active, &start);
            if active.is_stopping() {
                // A wait has to see to it that its run is stopped, too.
                live.cancel.cancel();
            }
            active.live.insert(start.unit, live);
            if slot {
                self.flush_at.get_or_insert(now.after(self.settings.flush));
            } else {
                self.taken = self.taken.saturating_sub(1);
                self.parents.insert(run);
                self.claim(false);
            }
        }
    }

    fn finish(&mut self, run: RunId) {
        let Some(active) = self.forget(run) else {
            return;
        };
        let status = active.state.record().status;
        // Its place went to the next of its lane, which nobody owns yet.
        self.backlog |= active.has_lane();
        self.settle_waiters(run, status);
        self.tell(EngineEvent::Finished {
            run_id: run,
            organization: active.row.organization_id,
            workflow: active.row.workflow_name.clone(),
            version: active.row.version,
            status,
        });
        self.claim(false);
    }

    fn settle_waiters(&mut self, run: RunId, status: Status) {
        for waiter in self.waiters.remove(&run).into_iter().flatten() {
            // Who no longer waits needs no answer.
            let _ = waiter.send(Some(status));
        }
    }

    fn take_flight(&mut self, run: RunId) -> Option<Flight> {
        let active = self.runs.get_mut(&run)?;
        match std::mem::replace(&mut active.phase, Phase::Idle) {
            Phase::Flying(mut flight) => {
                let starts = std::mem::take(&mut flight.starts);
                self.taken = self.taken.saturating_sub(starts.len());
                Some(flight)
            }
            other => {
                active.phase = other;
                None
            }
        }
    }

    fn drop_draft(&mut self, run: RunId) {
        self.take_flight(run);
        self.forget(run);
    }

    /// Whether the transition was written is unknown.
    fn lost(&mut self, run: RunId, error: &StoreError) {
        let flight = self.take_flight(run);
        let insert = self.answers.contains_key(&run);
        match error {
            // Nothing was written: an insert simply did not happen.
            StoreError::Full(why) if insert => {
                self.answer(run, Err(TriggerError::Full(why.clone())));
                self.forget(run);
            }
            StoreError::Rejected(why) if insert => {
                self.answer(run, Err(TriggerError::Rejected(why.clone())));
                self.forget(run);
            }
            _ => self.reread(run, flight.map(|flight| flight.events).unwrap_or_default()),
        }
    }

    /// Drops the draft of a run and reads what the store has of it.
    pub(super) fn reread(&mut self, run: RunId, events: Vec<Happening>) {
        let workflow = self.runs.get_mut(&run).map(|active| {
            active.phase = Phase::Reading { events };
            Arc::clone(active.graph().workflow())
        });
        self.errands.read(run, workflow);
    }

    pub(super) fn unread(&mut self, run: RunId, message: String) {
        tracing::warn!(%run, message, "a run could not be read; it is tried again");
        self.store_health = Err(message.clone());
        let unavailable = TriggerError::Unavailable {
            run_id: run,
            message,
        };
        self.answer(run, Err(unavailable));
    }

    pub(super) fn loaded(&mut self, run: RunId, loaded: Loaded) {
        self.store_health = Ok(());
        match loaded {
            Loaded::Absent => {
                let unavailable = TriggerError::Unavailable {
                    run_id: run,
                    message: "the run was not stored".into(),
                };
                self.answer(run, Err(unavailable));
                self.arriving.remove(&run);
                self.drop_draft(run);
                // Whoever waits asks the store, and learns that there is nothing.
                self.waiters.remove(&run);
            }
            Loaded::VersionLost(image, why) => self.condemn(image.run, "version.lost", &why),
            Loaded::Image(image, workflow) => {
                let accepted = Accepted {
                    run_id: run,
                    duplicate: false,
                };
                self.answer(run, Ok(accepted));
                if self.is_of_the_past(run, image.run.lease_epoch) {
                    // It was claimed anew while this was read; what the claim asked for is on its way.
                } else if let Some(active) = self.runs.get(&run) {
                    // One answer is enough: after it the run goes on, and a second one is old.
                    if matches!(active.phase, Phase::Reading { .. }) {
                        self.resume(run, *image);
                    }
                } else if let Some(arrival) = self.arriving.remove(&run) {
                    let compiled = self.compile(&workflow);
                    self.arrive(*image, arrival, compiled);
                } else {
                    // Inserted for whoever has room, after all.
                    self.backlog = true;
                    self.claim(false);
                }
            }
        }
    }

    /// A run whose draft was dropped is as the store has it.
    fn resume(&mut self, run: RunId, image: RunImage) {
        let now = self.now();
        let Some(active) = self.runs.get_mut(&run) else {
            return;
        };
        if image.run.lease_epoch != active.epoch || image.run.owner != Some(self.daemon) {
            self.fenced(run);
            return;
        }
        let advanced = image.run.revision > active.revision;
        if let Phase::Reading { mut events } = std::mem::replace(&mut active.phase, Phase::Idle) {
            // Ends of attempts mean nothing the second time; reports would be written twice.
            events.retain(|event| !advanced || !matches!(event, Happening::Reported { .. }));
            events.append(&mut active.inbox);
            active.inbox = events;
        }
        if let Some(reason) = active.cancel.clone() {
            active.inbox.insert(0, Happening::Cancel { reason });
        }
        let doomed = image.run.clone();
        if let Err(misfit) = active.read_again(image, now) {
            self.condemn(doomed, "version.misfit", &misfit.to_string());
            return;
        }
        self.go_on(run, Some(self.daemon));
    }

    /// A claimed run comes into memory.
    fn arrive(
        &mut self,
        image: RunImage,
        arrival: Arrival,
        compiled: Arc<super::active::Compiled>,
    ) {
        let run = image.run.run_id;
        if image.run.lease_epoch != arrival.epoch {
            self.waiters.remove(&run);
            return;
        }
        if image.run.status.is_final() {
            self.settle_waiters(run, image.run.status);
            return;
        }
        let doomed = image.run.clone();
        match super::active::Active::read(image, compiled, self.now()) {
            Ok(active) => {
                self.runs.insert(run, active);
                for order in arrival.orders {
                    self.obey(order);
                }
                self.go_on(run, None);
            }
            Err(misfit) => self.condemn(doomed, "version.misfit", &misfit.to_string()),
        }
    }

    /// After reading: what never began begins, what died is taken in.
    fn go_on(&mut self, run: RunId, mine: Option<DaemonId>) {
        let Some(active) = self.runs.get_mut(&run) else {
            return;
        };
        if active.row.status.is_final() {
            self.finish(run);
            return;
        }
        let starts = active.adopt(mine);
        self.taken += starts.len();
        self.begin_all(run, starts);
        self.dirty.push_back(run);
        self.set_wake(run);
    }

    /// Another owner has the run: everything of it here stops and means nothing any more.
    pub(super) fn fenced(&mut self, run: RunId) {
        self.take_flight(run);
        let Some(active) = self.forget(run) else {
            return;
        };
        tracing::warn!(%run, "another daemon owns the run now");
        active.live.values().for_each(Live::abandon);
        // Dropping the waiters' senders makes them look in the store.
        self.waiters.remove(&run);
    }

    /// The store refused the data of a transition: what guests gave is left out, or the run fails.
    fn rejected(&mut self, run: RunId, why: &str) {
        tracing::error!(%run, why, "the store refused the data of a step");
        if self.answers.contains_key(&run) {
            self.answer(run, Err(TriggerError::Rejected(why.to_owned())));
            self.drop_draft(run);
            return;
        }
        let Some(flight) = self.take_flight(run) else {
            // Even the bare failure was refused.
            self.arriving.remove(&run);
            self.waiters.remove(&run);
            return;
        };
        let Some(active) = self.runs.get_mut(&run) else {
            return;
        };
        active.refusals += 1;
        if active.refusals < REFUSALS_MAX {
            let events = flight.events.into_iter();
            let bare = events.filter_map(|event| event.without_data(why)).collect();
            self.reread(run, bare);
            return;
        }
        let row = active.row.clone();
        let revision = active.revision;
        self.end_without_data(row, revision, "store.rejected", why);
    }

    /// A run that cannot continue fails.
    fn condemn(&mut self, row: RunRow, code: &str, why: &str) {
        let revision = row.revision;
        self.end_without_data(row, revision, code, why);
    }

    fn end_without_data(&mut self, row: RunRow, revision: i64, code: &str, why: &str) {
        let run = row.run_id;
        tracing::error!(%run, code, why, "the run cannot continue");
        if let Some(active) = self.forget(run) {
            active.live.values().for_each(|live| live.cancel.cancel());
        }
        let now = self.now();
        // It stays here until the store has the end, so that a lost commit is tried again.
        self.arriving.entry(run).or_default().epoch = row.lease_epoch;
        let failed = RunChange::Update(RunUpdate {
            status: Status::Failed,
            started_at: row.started_at,
            finished_at: Some(now),
            tolerated_failures: row.tolerated_failures,
            failure_code: Some(code.to_owned()),
            failure_message: Some(why.to_owned()),
        });
        let reason = Reason::new(code, why);
        self.outbox.push_back(Transition {
            ends: true,
            control: Some(letters::of_condemned(&row, &reason, now)),
            ..Transition::of_run(run, row.lease_epoch, revision, failed)
        });
    }
}
