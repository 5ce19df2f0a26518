//! One step of a run: events in, one transition out. Nothing here acts; what the transition
//! promises is done when it is durable.

use std::sync::Arc;

use super::active::{Active, Flight, Phase, Start};
use super::book::Output;
use super::history::event;
use super::input::Unmade;
use super::outcome::Happening;
use crate::broker::journal::Entries;
use crate::clock::Timestamp;
use crate::id::{AttemptId, DaemonId, IoId, JobRunId, TaskRunId};
use crate::run::event::{Decision, Ending, Event, Step, Unit};
use crate::run::status::{Level, Status};
use crate::sandbox::invoke::AttemptReport;
use crate::store::rows::{
    AttemptRow, HostCallRow, IoKind, IoRow, JobRunRow, NewLog, RunChange, RunRow, RunUpdate,
    TaskRunRow, Transition,
};
use crate::workflow::input::ResolvedInput;
use crate::workflow::model::{JobIndex, TaskIndex};

/// What a step has written so far.
#[derive(Default)]
pub(super) struct Sheet {
    pub attempts: Vec<AttemptRow>,
    pub io: Vec<IoRow>,
    pub calls: Vec<HostCallRow>,
    pub logs: Vec<NewLog>,
    pub starts: Vec<Start>,
}

/// What a step may use and know.
pub(super) struct Frame<'a> {
    pub daemon: DaemonId,
    pub now: Timestamp,
    /// Slots that the step may take; what it takes is subtracted.
    pub room: &'a mut usize,
}

impl Active {
    /// Takes in what has happened and makes the next transition, if there is anything to write.
    /// The run is flying afterwards; without a transition it stays idle.
    pub(super) fn step(&mut self, frame: &mut Frame<'_>) -> Option<Transition> {
        let events = std::mem::take(&mut self.inbox);
        let mut sheet = Sheet::default();
        if self.revision == 0 {
            sheet
                .logs
                .push(event("run.accepted", Level::Info, String::new(), frame.now));
        }
        for happening in &events {
            self.take_in(happening, &mut sheet, frame.now);
        }
        self.go_on(&mut sheet, frame);
        let changes = self.state.take_changes();
        let nothing = changes.is_empty() && sheet.is_empty();
        if nothing && self.revision > 0 {
            return None;
        }
        let transition = self.transition(changes.jobs, changes.units, &mut sheet, frame.now);
        self.phase = Phase::Flying(Flight {
            events,
            starts: sheet.starts,
        });
        Some(transition)
    }

    /// The transition that inserts the run and begins nothing, for whoever claims it.
    pub(super) fn insert_only(&mut self, now: Timestamp) -> Transition {
        let mut sheet = Sheet::default();
        sheet
            .logs
            .push(event("run.accepted", Level::Info, String::new(), now));
        self.write_notes(&mut sheet, now);
        let changes = self.state.take_changes();
        self.transition(changes.jobs, changes.units, &mut sheet, now)
    }

    fn take_in(&mut self, happening: &Happening, sheet: &mut Sheet, now: Timestamp) {
        match happening {
            Happening::Ended {
                unit,
                attempt,
                report,
                entries,
                released,
            } => self.ended(*unit, *attempt, report, entries, *released, sheet, now),
            Happening::Reported {
                unit,
                attempt,
                entries,
            } => {
                if self.is_running(*unit, *attempt) {
                    self.report(*unit, *attempt, entries, sheet);
                }
            }
            Happening::Interrupted { unit, attempt } => {
                self.interrupted(*unit, *attempt, sheet, now);
            }
            Happening::Cancel { reason } => {
                let reason = reason.clone();
                self.state.apply(Event::Cancel { reason }, now);
            }
            Happening::Due => {
                let over = self
                    .state
                    .deadline()
                    .is_some_and(|deadline| deadline <= now);
                let event = if over {
                    Event::TimedOut
                } else {
                    Event::TimerDue
                };
                self.state.apply(event, now);
            }
        }
        self.write_notes(sheet, now);
    }

    fn is_running(&self, unit: Unit, attempt: AttemptId) -> bool {
        let entry = self.book.units.get(&unit);
        let row = entry.and_then(|entry| entry.attempt.as_deref());
        row.is_some_and(|row| row.attempt_id == attempt)
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "the parts of one happening, taken apart once"
    )]
    fn ended(
        &mut self,
        unit: Unit,
        attempt: AttemptId,
        report: &AttemptReport,
        entries: &Entries,
        released: bool,
        sheet: &mut Sheet,
        now: Timestamp,
    ) {
        // Anything but the attempt that is recorded as running is a ghost.
        if !self.is_running(unit, attempt) {
            return;
        }
        self.report(unit, attempt, entries, sheet);
        let stopping = self.state.is_stopping();
        let entry = self.book.entry(unit);
        let task_run_id = entry.id;
        let Some(mut row) = entry.attempt.take() else {
            return;
        };
        entry.input = None;
        row.finished_at = Some(now);
        row.cpu_us = i64::try_from(report.cpu.as_micros()).unwrap_or(i64::MAX);
        row.memory_peak_bytes = i64::try_from(report.memory_peak_bytes).unwrap_or(i64::MAX);
        row.logs_dropped = i64::try_from(entries.dropped).unwrap_or(i64::MAX);
        let number = row.number;
        let ending = match &report.outcome {
            Ok(output) => {
                row.status = Status::Succeeded;
                let io = self.io(
                    task_run_id,
                    Some(attempt),
                    IoKind::Output,
                    output,
                    None,
                    now,
                );
                self.book.entry(unit).output = Some(Output::new(io.io_id, Arc::clone(output)));
                sheet.io.push(io);
                Ending::Succeeded
            }
            Err(failure) => {
                row.failure = serde_json::to_string(failure).ok().map(Arc::from);
                row.status = match (stopping, released) {
                    (true, _) => Status::Cancelled,
                    (false, true) => Status::Interrupted,
                    (false, false) => Status::Failed,
                };
                if released {
                    Ending::Released
                } else {
                    Ending::Failed(failure.clone())
                }
            }
        };
        sheet.attempts.push(*row);
        let draw = rand::random::<f64>();
        let event = Event::Ended {
            unit,
            attempt: number,
            ending,
            draw,
        };
        self.state.apply(event, now);
    }

    fn interrupted(
        &mut self,
        unit: Unit,
        attempt: Option<AttemptId>,
        sheet: &mut Sheet,
        now: Timestamp,
    ) {
        if attempt.is_some_and(|attempt| !self.is_running(unit, attempt)) {
            return;
        }
        let stopping = self.state.is_stopping();
        if let Some(mut row) = self.book.entry(unit).attempt.take() {
            row.status = if stopping {
                Status::Cancelled
            } else {
                Status::Interrupted
            };
            row.finished_at = Some(now);
            sheet.attempts.push(*row);
        }
        let attempt = self.state.unit(unit).attempts();
        let event = Event::Ended {
            unit,
            attempt,
            ending: Ending::Interrupted,
            draw: 0.0,
        };
        self.state.apply(event, now);
    }

    /// Asks the machine for steps until it has none or the room is used up.
    fn go_on(&mut self, sheet: &mut Sheet, frame: &mut Frame<'_>) {
        while let Some(step) = self.state.next(*frame.room > 0) {
            match step {
                Step::Decide(task) => match self.decide(task) {
                    Ok(decision) => self.decided(task, decision, frame.now),
                    Err(Unmade::Refused(refusal)) => {
                        self.decided(task, Decision::Refuse(refusal), frame.now);
                    }
                    Err(Unmade::Later) => self.wants_number = true,
                },
                Step::Start(unit) => match self.input_of(unit) {
                    Ok(resolved) => self.begin(unit, resolved, sheet, frame),
                    Err(Unmade::Refused(refusal)) => {
                        let event = Event::Refused { unit, refusal };
                        self.state.apply(event, frame.now);
                    }
                    Err(Unmade::Later) => self.wants_number = true,
                },
            }
            self.write_notes(sheet, frame.now);
        }
    }

    fn decided(&mut self, task: TaskIndex, decision: Decision, now: Timestamp) {
        self.state.apply(Event::Decided { task, decision }, now);
    }

    fn begin(
        &mut self,
        unit: Unit,
        resolved: ResolvedInput,
        sheet: &mut Sheet,
        frame: &mut Frame<'_>,
    ) {
        if !self.state.apply(Event::Begun { unit }, frame.now) {
            return;
        }
        *frame.room = frame.room.saturating_sub(1);
        let number = self.state.unit(unit).attempts();
        let attempt_id = AttemptId::generate();
        let task_run_id = self.book.entry(unit).id;
        let input: Arc<str> = resolved.value.to_string().into();
        let origins = serde_json::to_string(&resolved.origins).ok().map(Arc::from);
        let io = self.io(
            task_run_id,
            Some(attempt_id),
            IoKind::Input,
            &input,
            origins,
            frame.now,
        );
        sheet.io.push(io);
        let row = AttemptRow {
            attempt_id,
            task_run_id,
            run_id: self.row.run_id,
            organization_id: self.row.organization_id,
            number,
            lease_epoch: self.epoch,
            daemon_id: frame.daemon,
            status: Status::Running,
            started_at: frame.now,
            finished_at: None,
            cpu_us: 0,
            memory_peak_bytes: 0,
            logs_dropped: 0,
            failure: None,
        };
        sheet.attempts.push(row.clone());
        let entry = self.book.entry(unit);
        entry.attempt = Some(Box::new(row));
        entry.input = Some(Arc::clone(&input));
        sheet.starts.push(Start {
            unit,
            attempt: attempt_id,
            number,
            input,
        });
    }

    pub(super) fn io(
        &self,
        task_run_id: TaskRunId,
        attempt_id: Option<AttemptId>,
        kind: IoKind,
        data: &Arc<str>,
        origins: Option<Arc<str>>,
        now: Timestamp,
    ) -> IoRow {
        IoRow {
            io_id: IoId::generate(),
            run_id: self.row.run_id,
            organization_id: self.row.organization_id,
            task_run_id,
            attempt_id,
            kind,
            data: Arc::clone(data),
            origins,
            created_at: now,
        }
    }

    fn transition(
        &mut self,
        jobs: Vec<JobIndex>,
        mut units: Vec<Unit>,
        sheet: &mut Sheet,
        now: Timestamp,
    ) -> Transition {
        let insert = self.revision == 0;
        if insert {
            // What a rerun links never changes, so the machine does not name it.
            let linked = self
                .book
                .units
                .iter()
                .filter(|(_, entry)| entry.output.is_some());
            let mut linked: Vec<Unit> = linked.map(|(unit, _)| *unit).collect();
            linked.retain(|unit| !units.contains(unit));
            linked.sort_unstable();
            units.extend(linked);
        }
        let is_final = self.state.record().status.is_final();
        Transition {
            run_id: self.row.run_id,
            lease_epoch: self.epoch,
            expected_revision: self.revision,
            run: self.run_change(insert, now),
            jobs: jobs.into_iter().map(|job| self.job_row(job)).collect(),
            tasks: units.into_iter().map(|unit| self.task_row(unit)).collect(),
            attempts: std::mem::take(&mut sheet.attempts),
            io: std::mem::take(&mut sheet.io),
            host_calls: std::mem::take(&mut sheet.calls),
            logs: std::mem::take(&mut sheet.logs),
            // An order is carried out when the run has ended; until then a crash must find it.
            consumed: if is_final {
                self.orders.clone()
            } else {
                Vec::new()
            },
            ends: is_final,
            control: self.control(insert, now),
        }
    }

    fn run_change(&self, insert: bool, now: Timestamp) -> RunChange {
        let record = self.state.record();
        let (failure_code, failure_message) = match &record.failure {
            Some(reason) => (Some(reason.code.clone()), Some(reason.message.clone())),
            None => (None, None),
        };
        if insert {
            let status = match &self.lane {
                Some(_) => Status::Held,
                None => record.status,
            };
            return RunChange::Insert(Box::new(RunRow {
                status,
                started_at: record.started_at,
                finished_at: record.finished_at,
                tolerated_failures: record.tolerated_failures,
                failure_code,
                failure_message,
                created_at: now.max(self.row.created_at),
                ..self.row.clone()
            }));
        }
        RunChange::Update(RunUpdate {
            status: record.status,
            started_at: record.started_at,
            finished_at: record.finished_at,
            tolerated_failures: record.tolerated_failures,
            failure_code,
            failure_message,
        })
    }

    fn job_row(&mut self, job: JobIndex) -> JobRunRow {
        let record = *self.state.job_record(job);
        let id = self
            .book
            .jobs
            .entry(job.0)
            .or_insert_with(JobRunId::generate);
        JobRunRow {
            job_run_id: *id,
            run_id: self.row.run_id,
            organization_id: self.row.organization_id,
            job: self.compiled.graph.workflow().job(job).name.clone(),
            status: record.status,
            started_at: record.started_at,
            finished_at: record.finished_at,
            tolerated_failures: record.tolerated_failures,
        }
    }

    fn task_row(&mut self, unit: Unit) -> TaskRunRow {
        let record = self.state.unit(unit).record();
        let workflow = Arc::clone(self.graph().workflow());
        let task = workflow.task(unit.task);
        let (run_id, organization_id) = (self.row.run_id, self.row.organization_id);
        let entry = self.book.entry(unit);
        let (reason_code, reason_message) = match record.reason {
            Some(reason) => (Some(reason.code), Some(reason.message)),
            None => (None, None),
        };
        TaskRunRow {
            task_run_id: entry.id,
            run_id,
            organization_id,
            job: workflow.job(task.job).name.clone(),
            task: task.name.clone(),
            item_index: unit.item.map_or(-1, i64::from),
            status: record.status,
            attempts: record.attempts,
            interrupts: record.interrupts,
            tolerated: record.tolerated,
            ready_at: record.ready_at,
            started_at: record.started_at,
            finished_at: record.finished_at,
            retry_at: record.retry_at,
            output_io_id: entry.output.as_ref().map(|output| output.io_id),
            reason_code,
            reason_message,
        }
    }
}

impl Sheet {
    fn is_empty(&self) -> bool {
        self.attempts.is_empty()
            && self.io.is_empty()
            && self.calls.is_empty()
            && self.logs.is_empty()
    }
}
