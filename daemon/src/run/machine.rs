//! How events change a run: attempts, retries, items, cancel. What the end of a task means for its
//! job and for later jobs is in `jobs`.

use std::sync::Arc;

use super::event::{Decision, Ending, Event, Note, Reason, Refusal, Step, Unit};
use super::failure::Failure;
use super::retry;
use super::state::{Each, RunState, Stop, UnitRecord};
use super::status::Status;
use crate::clock::Timestamp;
use crate::workflow::model::{OnFailure, OnInterrupt, Task, TaskIndex};

/// A task that was running three times when its daemon died is taken for the cause.
const POISON: u32 = 3;

impl RunState {
    /// Takes in what happened. Answers false when it meant nothing (an attempt that is not the
    /// running one, a second cancel, a timer that was early).
    pub fn apply(&mut self, event: Event, now: Timestamp) -> bool {
        if self.run.status.is_final() {
            return false;
        }
        let meant = match event {
            Event::Decided { task, decision } => self.decided(task, decision, now),
            Event::Begun { unit } => self.begun(unit, now),
            Event::Refused { unit, refusal } => self.refused(unit, refusal, now),
            Event::Ended {
                unit,
                attempt,
                ending,
                draw,
            } => self.ended(unit, attempt, ending, draw, now),
            Event::Cancel { reason } => self.stop(Stop::Cancelled(reason), now),
            Event::TimedOut => self.stop(Stop::TimedOut, now),
            Event::TimerDue => self.timer_due(now),
        };
        self.settle(now);
        meant
    }

    /// The next thing to do, if there is any; what needs room is answered only with `room`. Each
    /// answer is given once and wants its event.
    pub fn next(&mut self, room: bool) -> Option<Step> {
        if let Some(task) = self.undecided.pop_first() {
            return Some(Step::Decide(task));
        }
        if !room {
            return None;
        }
        self.ready.pop_first().map(Step::Start)
    }

    fn decided(&mut self, task: TaskIndex, decision: Decision, now: Timestamp) -> bool {
        let status = self.task(task).record.status;
        if !matches!(status, Status::Queued | Status::Running) || self.stop.is_some() {
            return false;
        }
        match decision {
            Decision::Run => {
                self.ready.insert(Unit::whole(task));
            }
            Decision::Refuse(refusal) => return self.refused(Unit::whole(task), refusal, now),
            Decision::Each(total) => self.each_decided(task, total, now),
        }
        true
    }

    fn each_decided(&mut self, task: TaskIndex, total: u32, now: Timestamp) {
        let state = self.task_mut(task);
        let each = state.each.get_or_insert_default();
        each.items.resize_with(total as usize, Default::default);
        each.total = Some(total);
        if state.record.status == Status::Queued {
            state.record.status = Status::Running;
            state.record.started_at = Some(now);
            self.touch(Unit::whole(task));
            self.note(Note::TaskStarted(Unit::whole(task)));
            self.task_began(task, now);
        }
        self.fill(task, now);
    }

    /// Gives free places to the next items; ends the whole once nothing more can happen to it.
    fn fill(&mut self, task: TaskIndex, now: Timestamp) {
        let places = match &self.graph.workflow().task(task).for_each {
            Some(each) => each.max_parallel.max(1),
            None => return,
        };
        let stopping = self.stop.is_some();
        if self.task(task).record.status != Status::Running {
            return;
        }
        let Some(each) = &mut self.task_mut(task).each else {
            return;
        };
        let Some(total) = each.total else {
            return;
        };
        let mut begin = Vec::new();
        while each.failed.is_none() && !stopping && each.in_play < places && each.next < total {
            let item = each.next;
            each.next += 1;
            if let Some((record, _)) = each.items.get_mut(item as usize)
                && record.status == Status::Queued
            {
                record.ready_at = Some(now);
                each.in_play += 1;
                begin.push(Unit::item(task, item));
            }
        }
        let over = each.in_play == 0 && (each.failed.is_some() || stopping || each.next >= total);
        let failed = each.failed.clone();
        self.ready.extend(begin);
        if !over {
            return;
        }
        match (failed, &self.stop) {
            (Some(reason), _) => self.fail(Unit::whole(task), reason, now),
            (None, Some(stop)) => {
                let reason = stop.reason();
                self.end(Unit::whole(task), Status::Cancelled, Some(reason), now);
            }
            (None, None) => self.end(Unit::whole(task), Status::Succeeded, None, now),
        }
    }

    fn begun(&mut self, unit: Unit, now: Timestamp) -> bool {
        let Some((record, _)) = self.unit_mut(unit) else {
            return false;
        };
        if record.status == Status::Running || record.status.is_final() {
            return false;
        }
        record.status = Status::Running;
        record.attempts += 1;
        record.started_at.get_or_insert(now);
        record.ready_at.get_or_insert(now);
        record.retry_at = None;
        record.reason = None;
        self.ready.remove(&unit);
        self.running.insert(unit);
        self.touch(unit);
        self.task_began(unit.task, now);
        self.note(Note::TaskStarted(unit));
        true
    }

    fn refused(&mut self, unit: Unit, refusal: Refusal, now: Timestamp) -> bool {
        if self.unit(unit).status().is_final() {
            return false;
        }
        self.ready.remove(&unit);
        match refusal {
            Refusal::Skip(reason) => self.end(unit, Status::Skipped, Some(reason), now),
            Refusal::Fail(failure) => self.fail(unit, Reason::from(&failure), now),
        }
        true
    }

    fn ended(
        &mut self,
        unit: Unit,
        attempt: u32,
        ending: Ending,
        draw: f64,
        now: Timestamp,
    ) -> bool {
        let view = self.unit(unit);
        if view.status() != Status::Running || view.attempts() != attempt {
            return false;
        }
        if !self.running.remove(&unit) {
            return false;
        }
        self.touch(unit);
        if ending == Ending::Succeeded {
            self.end(unit, Status::Succeeded, None, now);
            return true;
        }
        let graph = Arc::clone(&self.graph);
        let task = graph.workflow().task(unit.task);
        if let Some((record, _)) = self.unit_mut(unit) {
            match &ending {
                Ending::Failed(_) => record.failures += 1,
                Ending::Interrupted => record.interrupts += 1,
                Ending::Succeeded | Ending::Released => {}
            }
        }
        if let Some(stop) = &self.stop {
            let reason = stop.reason();
            self.end(unit, Status::Cancelled, Some(reason), now);
            return true;
        }
        match ending {
            Ending::Failed(failure) => self.failed(unit, task, &failure, draw, now),
            _ => self.cut_off(unit, task, now),
        }
        true
    }

    fn failed(&mut self, unit: Unit, task: &Task, failure: &Failure, draw: f64, now: Timestamp) {
        let reason = Reason::from(failure);
        let Some((record, _)) = self.unit_mut(unit) else {
            return;
        };
        let Some(wait) = retry::wait(&task.retry, failure, record.failures, draw) else {
            self.fail(unit, reason, now);
            return;
        };
        let retry_at = now.after(wait);
        record.status = Status::Waiting;
        record.retry_at = Some(retry_at);
        record.reason = Some(reason.clone());
        self.retries.insert((retry_at, unit));
        self.note(Note::TaskRetrying(unit, reason, wait));
    }

    fn cut_off(&mut self, unit: Unit, task: &Task, now: Timestamp) {
        let Some((record, _)) = self.unit_mut(unit) else {
            return;
        };
        if task.on_interrupt == OnInterrupt::Fail {
            let reason = Reason::new(
                "interrupted",
                "the daemon went away during the attempt, and on_interrupt is \"fail\"",
            );
            self.fail(unit, reason, now);
        } else if record.interrupts >= POISON {
            let reason = Reason::new(
                "poison",
                format!("{POISON} attempts ended with the death of the daemon"),
            );
            self.fail(unit, reason, now);
        } else {
            record.status = Status::Interrupted;
            self.ready.insert(unit);
            self.note(Note::TaskInterrupted(unit));
        }
    }

    pub(super) fn timer_due(&mut self, now: Timestamp) -> bool {
        let mut any = false;
        while let Some((at, unit)) = self.retries.first().copied()
            && at <= now
        {
            self.retries.pop_first();
            self.ready.insert(unit);
            any = true;
        }
        any
    }

    pub(super) fn fail(&mut self, unit: Unit, reason: Reason, now: Timestamp) {
        let tolerated = self.graph.workflow().task(unit.task).on_failure == OnFailure::Continue;
        if let Some((record, _)) = self.unit_mut(unit) {
            record.tolerated = tolerated;
        }
        self.end(unit, Status::Failed, Some(reason), now);
    }

    /// A unit becomes final.
    pub(super) fn end(
        &mut self,
        unit: Unit,
        status: Status,
        reason: Option<Reason>,
        now: Timestamp,
    ) {
        if let Some((record, _)) = self.unit_mut(unit) {
            record.status = status;
            record.finished_at = Some(now);
            record.retry_at = None;
            record.reason = reason.clone();
        }
        self.touch(unit);
        let reason = reason.unwrap_or_else(|| Reason::new("", ""));
        self.note(match status {
            Status::Succeeded => Note::TaskSucceeded(unit),
            Status::Failed => Note::TaskFailed(unit, reason.clone()),
            Status::Skipped => Note::TaskSkipped(unit, reason.clone()),
            _ => Note::TaskCancelled(unit),
        });
        match unit.item {
            None => self.task_ended(unit.task, now),
            Some(_) => self.item_ended(unit, reason, now),
        }
    }

    fn item_ended(&mut self, unit: Unit, reason: Reason, now: Timestamp) {
        let record: UnitRecord = self.unit(unit).record();
        let tolerated = record.status == Status::Failed && record.tolerated;
        let mut withdrawn = 0;
        if record.failed_for_good() {
            // Items that have not begun never will.
            let last = Unit::item(unit.task, u32::MAX);
            let waiting: Vec<Unit> = self
                .ready
                .range(Unit::item(unit.task, 0)..=last)
                .copied()
                .filter(|other| self.unit(*other).status() == Status::Queued)
                .collect();
            for other in waiting {
                withdrawn += u32::from(self.ready.remove(&other));
            }
        }
        if let Some(each) = &mut self.task_mut(unit.task).each {
            each.in_play = each.in_play.saturating_sub(1 + withdrawn);
            if record.failed_for_good() && each.failed.is_none() {
                let item = unit.item.unwrap_or_default();
                each.failed = Some(Reason::new(
                    reason.code,
                    format!("item {item}: {}", reason.message),
                ));
            }
        }
        if tolerated {
            self.count_tolerated(unit.task);
        }
        self.fill(unit.task, now);
    }

    fn stop(&mut self, stop: Stop, now: Timestamp) -> bool {
        if self.stop.is_some() {
            return false;
        }
        let reason = stop.reason();
        self.stop = Some(stop);
        self.undecided.clear();
        self.ready.clear();
        self.retries.clear();
        for at in (0..self.graph.workflow().tasks.len()).filter_map(|at| u32::try_from(at).ok()) {
            self.stop_task(TaskIndex(at), &reason, now);
        }
        self.stop_jobs(now);
        true
    }

    pub(super) fn stop_task(&mut self, task: TaskIndex, reason: &Reason, now: Timestamp) {
        let whole = Unit::whole(task);
        if self.task(task).record.status.is_final() {
            return;
        }
        if self.task(task).record.status != Status::Running {
            self.end(whole, Status::Cancelled, Some(reason.clone()), now);
            return;
        }
        if self.graph.workflow().task(task).for_each.is_none() {
            return;
        }
        let each = self.task_mut(task).each.get_or_insert_default();
        // Places were held by what was ready or waiting; only attempts under way keep theirs.
        let pending: Vec<Unit> = take_pending(each, task);
        let running = each
            .items
            .iter()
            .filter(|(record, _)| record.status == Status::Running)
            .count();
        each.in_play = u32::try_from(running).unwrap_or(u32::MAX);
        let total = each.total.get_or_insert(0);
        *total = (*total).max(u32::try_from(each.items.len()).unwrap_or(u32::MAX));
        for unit in pending {
            if let Some((record, _)) = self.unit_mut(unit) {
                record.status = Status::Cancelled;
                record.finished_at = Some(now);
                record.retry_at = None;
                record.reason = Some(reason.clone());
            }
            self.touch(unit);
            self.note(Note::TaskCancelled(unit));
        }
        self.fill(task, now);
    }

    pub(super) fn touch(&mut self, unit: Unit) {
        if let Some((_, touched)) = self.unit_mut(unit)
            && !std::mem::replace(touched, true)
        {
            self.changes.units.push(unit);
        }
    }

    pub(super) fn note(&mut self, note: Note) {
        self.changes.notes.push(note);
    }
}

/// The items that began once and are between two attempts.
fn take_pending(each: &Each, task: TaskIndex) -> Vec<Unit> {
    (0..)
        .zip(&each.items)
        .filter(|(_, (record, _))| matches!(record.status, Status::Waiting | Status::Interrupted))
        .map(|(item, _)| Unit::item(task, item))
        .collect()
}
