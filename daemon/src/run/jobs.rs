//! What the end of a task means for its job, and the end of a job for later jobs and the run.

use std::sync::Arc;

use super::event::{Note, Reason, Unit};
use super::state::{RunState, Stop};
use super::status::Status;
use crate::clock::Timestamp;
use crate::workflow::model::{JobIndex, RunOn, TaskIndex};

impl RunState {
    /// The first attempt of a task, or a `for_each`, begins: so do its job and the run.
    pub(super) fn task_began(&mut self, task: TaskIndex, now: Timestamp) {
        if self.run.status != Status::Running {
            let first = self.run.started_at.is_none();
            self.run.status = Status::Running;
            self.run.started_at.get_or_insert(now);
            self.changes.run = true;
            if first {
                self.note(Note::RunStarted);
            }
        }
        let job = self.graph.workflow().task(task).job;
        let state = self.job_mut(job);
        if state.record.status != Status::Running {
            state.record.status = Status::Running;
            state.record.started_at.get_or_insert(now);
            self.touch_job(job);
            self.note(Note::JobStarted(job));
        }
    }

    pub(super) fn count_tolerated(&mut self, task: TaskIndex) {
        let job = self.graph.workflow().task(task).job;
        self.job_mut(job).record.tolerated_failures += 1;
        self.touch_job(job);
        self.run.tolerated_failures += 1;
        self.changes.run = true;
    }

    /// A task is final: its job counts it, and what needed it may begin.
    pub(super) fn task_ended(&mut self, task: TaskIndex, now: Timestamp) {
        let graph = Arc::clone(&self.graph);
        let job = graph.workflow().task(task).job;
        let state = self.task(task);
        let (for_good, tolerated) = (
            state.record.failed_for_good(),
            state.record.status == Status::Failed && state.record.tolerated,
        );
        if tolerated {
            self.count_tolerated(task);
        }
        self.job_mut(job).open = self.job(job).open.saturating_sub(1);
        if for_good {
            self.stop_job(job, task, now);
        } else {
            for next in graph.task_dependants(task) {
                let state = self.task_mut(*next);
                state.unmet = state.unmet.saturating_sub(1);
                if state.unmet == 0 && self.job(job).entered {
                    self.task_ready(*next, now);
                }
            }
        }
        // While a run is being stopped its jobs are closed together, after all of their tasks.
        if self.job(job).open == 0 && self.job(job).entered {
            self.finish_job(job, now);
        }
    }

    fn task_ready(&mut self, task: TaskIndex, now: Timestamp) {
        let job = self.graph.workflow().task(task).job;
        let blocked = self.stop.is_some() || self.job(job).stopped;
        let state = self.task_mut(task);
        if blocked || state.record.status != Status::Queued {
            return;
        }
        state.record.ready_at = Some(now);
        let task_spec = self.graph.workflow().task(task);
        if task_spec.when.is_some() || task_spec.for_each.is_some() {
            self.undecided.insert(task);
        } else {
            self.ready.insert(Unit::whole(task));
        }
    }

    /// A failure that is not tolerated: what has not begun in this job never will.
    fn stop_job(&mut self, job: JobIndex, task: TaskIndex, now: Timestamp) {
        let graph = Arc::clone(&self.graph);
        let name = &graph.workflow().task(task).name;
        if self.run.failure.is_none() {
            self.run.failure = self.task(task).record.reason.as_ref().map(|reason| {
                Reason::new(
                    reason.code.clone(),
                    format!("task `{name}` failed: {}", reason.message),
                )
            });
            self.changes.run = true;
        }
        if std::mem::replace(&mut self.job_mut(job).stopped, true) {
            return;
        }
        let reason = Reason::new("job.failed", format!("task `{name}` of this job failed"));
        for other in &graph.workflow().job(job).tasks {
            if self.task(*other).record.status == Status::Queued {
                self.undecided.remove(other);
                self.ready.remove(&Unit::whole(*other));
                self.skip_quietly(*other, &reason, now);
                self.job_mut(job).open = self.job(job).open.saturating_sub(1);
            }
        }
    }

    fn skip_quietly(&mut self, task: TaskIndex, reason: &Reason, now: Timestamp) {
        let unit = Unit::whole(task);
        let record = &mut self.task_mut(task).record;
        record.status = Status::Skipped;
        record.finished_at = Some(now);
        record.reason = Some(reason.clone());
        self.touch(unit);
        self.note(Note::TaskSkipped(unit, reason.clone()));
    }

    /// Lets jobs in whose needs have been met; a chain of skipped jobs is walked, not recursed.
    pub(super) fn settle(&mut self, now: Timestamp) {
        while let Some(job) = self.entering.pop() {
            self.enter_job(job, now);
        }
        if self.open_jobs == 0 && !self.run.status.is_final() {
            self.finish_run(now);
        }
    }

    fn enter_job(&mut self, job: JobIndex, now: Timestamp) {
        let graph = Arc::clone(&self.graph);
        let spec = graph.workflow().job(job);
        let state = self.job_mut(job);
        if state.record.status.is_final() || state.entered {
            return;
        }
        let agreed = match spec.run_on {
            RunOn::Success => !state.tainted,
            RunOn::Failure => state.tainted,
            RunOn::Always => true,
        };
        state.entered = true;
        if state.open == 0 {
            self.finish_job(job, now);
            return;
        }
        // A stopping run restored from its records has nothing left that could begin.
        if self.stop.is_some() {
            return;
        }
        if !agreed {
            self.skip_job(job, now);
            return;
        }
        for task in &spec.tasks {
            if self.task(*task).unmet == 0 {
                self.task_ready(*task, now);
            }
        }
    }

    fn skip_job(&mut self, job: JobIndex, now: Timestamp) {
        let graph = Arc::clone(&self.graph);
        let spec = graph.workflow().job(job);
        let why = match spec.run_on {
            RunOn::Failure => "no job before this one failed",
            RunOn::Success | RunOn::Always => "a job before this one failed",
        };
        let reason = Reason::new("job.skipped", why);
        for task in &spec.tasks {
            if !self.task(*task).record.status.is_final() {
                self.skip_quietly(*task, &reason, now);
            }
        }
        self.job_mut(job).open = 0;
        self.close_job(job, Status::Skipped, now);
    }

    fn finish_job(&mut self, job: JobIndex, now: Timestamp) {
        let cancelled = self.stop.is_some() && {
            let spec = self.graph.workflow().job(job);
            let mut tasks = spec.tasks.iter();
            tasks.any(|task| self.task(*task).record.status == Status::Cancelled)
        };
        let status = if self.job(job).stopped {
            Status::Failed
        } else if cancelled {
            Status::Cancelled
        } else {
            Status::Succeeded
        };
        self.close_job(job, status, now);
    }

    fn close_job(&mut self, job: JobIndex, status: Status, now: Timestamp) {
        let graph = Arc::clone(&self.graph);
        let state = self.job_mut(job);
        if state.record.status.is_final() {
            return;
        }
        state.record.status = status;
        state.record.finished_at = Some(now);
        let taints = state.tainted || status == Status::Failed;
        self.touch_job(job);
        self.note(Note::JobFinished(job));
        self.open_jobs = self.open_jobs.saturating_sub(1);
        for next in graph.job_dependants(job) {
            let state = self.job_mut(*next);
            state.unmet = state.unmet.saturating_sub(1);
            state.tainted |= taints;
            if state.unmet == 0 {
                self.entering.push(*next);
            }
        }
    }

    /// Closes the jobs in which nothing is under way any more, begun or not.
    pub(super) fn stop_jobs(&mut self, now: Timestamp) {
        for at in (0..self.jobs.len()).filter_map(|at| u32::try_from(at).ok()) {
            let job = JobIndex(at);
            if self.job(job).open > 0 || self.job(job).record.status.is_final() {
                continue;
            }
            if self.job(job).entered {
                self.finish_job(job, now);
            } else {
                self.close_job(job, Status::Cancelled, now);
            }
        }
    }

    fn finish_run(&mut self, now: Timestamp) {
        let failed = self
            .jobs
            .iter()
            .any(|job| job.record.status == Status::Failed);
        self.run.status = match &self.stop {
            Some(Stop::Cancelled(_)) => Status::Cancelled,
            Some(Stop::TimedOut) => Status::Failed,
            None if failed => Status::Failed,
            None => Status::Succeeded,
        };
        if let Some(stop) = &self.stop {
            self.run.failure = Some(stop.reason());
        }
        self.run.finished_at = Some(now);
        self.changes.run = true;
        self.note(Note::RunFinished);
    }

    fn touch_job(&mut self, job: JobIndex) {
        if !std::mem::replace(&mut self.job_mut(job).touched, true) {
            self.changes.jobs.push(job);
        }
    }
}
