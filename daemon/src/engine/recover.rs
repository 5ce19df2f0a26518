//! A run read back from the store: after a crash, after a lost commit, after a claim.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use super::active::{Active, Compiled, Start, run_value};
use super::book::{Book, Entry, Output};
use super::outcome::Happening;
use crate::clock::Timestamp;
use crate::id::{AttemptId, DaemonId, IoId, TaskRunId};
use crate::run::event::{Reason, Unit};
use crate::run::state::{JobRecord, Records, RunRecord, RunState, UnitRecord};
use crate::run::status::Status;
use crate::store::rows::{AttemptRow, IoKind, IoRow, RunImage, RunRow, TaskRunRow};
use crate::workflow::model::{JobIndex, Workflow};

/// A run that cannot be read back: its rows do not fit its version.
#[derive(Debug, thiserror::Error)]
#[error("the run's records name {0}, which its version does not have")]
pub(super) struct Misfit(String);

impl Active {
    /// The run as the store has it. Nothing is under way in it yet.
    pub(super) fn read(
        image: RunImage,
        compiled: Arc<Compiled>,
        now: Timestamp,
    ) -> Result<Self, Misfit> {
        let (state, book) = rebuild(&image, &compiled, now)?;
        let inputs = serde_json::from_str(&image.run.inputs).unwrap_or(Value::Null);
        let config = serde_json::from_str(&image.run.config).unwrap_or(Value::Null);
        Ok(Self::new(image.run, inputs, config, compiled, state, book))
    }

    /// Replaces a draft by what the store has. Guests under way and events stay.
    pub(super) fn read_again(&mut self, image: RunImage, now: Timestamp) -> Result<(), Misfit> {
        let (state, book) = rebuild(&image, &self.compiled, now)?;
        self.state = state;
        self.book = book;
        self.revision = image.run.revision;
        self.run_value = run_value(&image.run);
        self.row = image.run;
        self.wants_number = false;
        self.fresh = true;
        Ok(())
    }

    /// Settles what became of the attempts that are recorded as running. If the run never left this
    /// memory (`mine`), those of this daemon and epoch whose guest neither runs nor has ended never
    /// began: they begin now. Waits for other runs go on, whoever began them. All others died with their daemon.
    pub(super) fn adopt(&mut self, mine: Option<DaemonId>) -> Vec<Start> {
        let ended: HashSet<AttemptId> = self
            .inbox
            .iter()
            .filter_map(Happening::ended_attempt)
            .collect();
        let mut starts = Vec::new();
        let mut dead = Vec::new();
        for unit in self.state.running() {
            let entry = self.book.units.get(&unit);
            let row = entry.and_then(|entry| entry.attempt.as_deref());
            let input = entry.and_then(|entry| entry.input.clone());
            match (row, input) {
                (Some(row), _) if ended.contains(&row.attempt_id) => {}
                (Some(row), _)
                    if self
                        .live
                        .get(&unit)
                        .is_some_and(|live| live.attempt == row.attempt_id) => {}
                // A wait does not die with the daemon that waited.
                (Some(row), Some(input))
                    if self.is_wait(unit)
                        || (Some(row.daemon_id) == mine && row.lease_epoch == self.epoch) =>
                {
                    starts.push(Start {
                        unit,
                        attempt: row.attempt_id,
                        number: row.number,
                        input,
                    });
                }
                (row, _) => dead.push(Happening::Interrupted {
                    unit,
                    attempt: row.map(|row| row.attempt_id),
                }),
            }
        }
        self.inbox.extend(dead);
        starts
    }
}

fn rebuild(
    image: &RunImage,
    compiled: &Compiled,
    now: Timestamp,
) -> Result<(RunState, Book), Misfit> {
    let workflow = compiled.graph.workflow();
    let mut records = Records {
        run: run_record(&image.run),
        ..Records::default()
    };
    let mut book = Book::default();
    for row in &image.jobs {
        let at = job_named(workflow, row.job.as_str())?;
        book.jobs.insert(at.0, row.job_run_id);
        let record = JobRecord {
            status: row.status,
            started_at: row.started_at,
            finished_at: row.finished_at,
            tolerated_failures: row.tolerated_failures,
        };
        records.jobs.push((at, record));
    }
    let tasks: HashMap<&str, u32> = workflow
        .tasks
        .iter()
        .map(|task| task.name.as_str())
        .zip(0..)
        .collect();
    let outputs: HashMap<IoId, &IoRow> = image.io.iter().map(|row| (row.io_id, row)).collect();
    let mut attempts: HashMap<TaskRunId, Vec<&AttemptRow>> = HashMap::new();
    for row in &image.attempts {
        attempts.entry(row.task_run_id).or_default().push(row);
    }
    let inputs: HashMap<AttemptId, &IoRow> = image
        .io
        .iter()
        .filter(|row| row.kind == IoKind::Input)
        .filter_map(|row| Some((row.attempt_id?, row)))
        .collect();
    for row in &image.tasks {
        let at = tasks.get(row.task.as_str());
        let at = at.ok_or_else(|| Misfit(format!("task `{}`", row.task)))?;
        let unit = Unit {
            task: crate::workflow::model::TaskIndex(*at),
            item: u32::try_from(row.item_index).ok(),
        };
        let attempts = attempts
            .get(&row.task_run_id)
            .map_or(&[][..], Vec::as_slice);
        records.units.push((unit, unit_record(row, attempts)));
        let output = row.output_io_id.and_then(|id| outputs.get(&id));
        let running = attempts
            .iter()
            .find(|attempt| attempt.status == Status::Running);
        let entry = Entry {
            id: row.task_run_id,
            output: output.map(|row| Output::new(row.io_id, Arc::clone(&row.data))),
            attempt: running.map(|row| Box::new((*row).clone())),
            input: running
                .and_then(|row| inputs.get(&row.attempt_id))
                .map(|row| Arc::clone(&row.data)),
        };
        book.units.insert(unit, entry);
    }
    let state = RunState::restore(Arc::clone(&compiled.graph), records, now);
    Ok((state, book))
}

fn job_named(workflow: &Workflow, name: &str) -> Result<JobIndex, Misfit> {
    let at = workflow
        .jobs
        .iter()
        .position(|job| job.name.as_str() == name);
    at.and_then(|at| u32::try_from(at).ok())
        .map(JobIndex)
        .ok_or_else(|| Misfit(format!("job `{name}`")))
}

fn reason(code: &Option<String>, message: &Option<String>) -> Option<Reason> {
    let message = message.clone().unwrap_or_default();
    code.clone().map(|code| Reason { code, message })
}

fn run_record(row: &RunRow) -> RunRecord {
    RunRecord {
        status: row.status,
        started_at: row.started_at,
        finished_at: row.finished_at,
        tolerated_failures: row.tolerated_failures,
        failure: reason(&row.failure_code, &row.failure_message),
    }
}

fn unit_record(row: &TaskRunRow, attempts: &[&AttemptRow]) -> UnitRecord {
    let failures = attempts
        .iter()
        .filter(|attempt| attempt.status == Status::Failed);
    UnitRecord {
        status: row.status,
        attempts: row.attempts,
        failures: u32::try_from(failures.count()).unwrap_or(u32::MAX),
        interrupts: row.interrupts,
        tolerated: row.tolerated,
        ready_at: row.ready_at,
        started_at: row.started_at,
        finished_at: row.finished_at,
        retry_at: row.retry_at,
        reason: reason(&row.reason_code, &row.reason_message),
    }
}
