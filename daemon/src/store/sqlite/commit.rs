//! The commit protocol on SQLite: a transition at a time, each value bound to a prepared statement.
//!
//! SQLite is a library: a statement costs no journey, so rows one by one are cheaper here than a set
//! that travels as JSON, and the order of the batch is the order of the writes. What the outcomes mean
//! is the same as in `store::commit`, which servers use.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::Connection;

use super::dialect::{BEGIN, COMMIT, ROLLBACK};
use super::put::{Put, broken};
use super::statements::{
    ADD_HOST_CALL, ADD_IO, ADD_LOG, ADVANCE_NUMBER, CONSUME, END_ATTEMPT, END_TASK, FENCE,
    INSERT_RUN, KEEP_EVENT_ID, LAST_EVENT_ID, LOOK, MOVE, MOVE_KNOWN, MOVE_ON, NOTE_END,
    PUT_ATTEMPT, PUT_JOB, PUT_TASK,
};
use crate::id::RunId;
use crate::run::status::Status;
use crate::store::CommitOutcome;
use crate::store::commit::{Fault, Sighting, reason};
use crate::store::rows::{
    AttemptRow, HostCallRow, IoKind, IoRow, JobRunRow, NewLog, RunChange, RunRow, RunUpdate,
    TaskRunRow, Transition,
};

/// A connection with every statement of a commit prepared: preparing one, or finding it among others by its
/// text, costs as much as running it.
pub(super) struct Hand<'c> {
    db: &'c Connection,
    begin: Put<'c>,
    commit: Put<'c>,
    rollback: Put<'c>,
    save: Put<'c>,
    save_back: Put<'c>,
    save_end: Put<'c>,
    insert_run: Put<'c>,
    advance_number: Put<'c>,
    fence: Put<'c>,
    move_known: Put<'c>,
    move_: Put<'c>,
    move_on: Put<'c>,
    look: Put<'c>,
    put_job: Put<'c>,
    put_task: Put<'c>,
    end_task: Put<'c>,
    put_attempt: Put<'c>,
    end_attempt: Put<'c>,
    add_io: Put<'c>,
    add_host_call: Put<'c>,
    consume: Put<'c>,
    note_end: Put<'c>,
    last_event_id: Put<'c>,
    keep_event_id: Put<'c>,
    add_log: Put<'c>,
    places: HashMap<RunId, Place>,
    /// The last event id given in this transaction; none before the first.
    event_id: Option<i64>,
}

/// Where a run was found and in which state. It may be wrong later: a statement that uses it checks it.
struct Place {
    rowid: i64,
    status: Status,
    organization: Arc<str>,
}

/// Places of more runs than are in memory at once are of the past.
const PLACES_MAX: usize = 4_096;

/// Whether one transition can be undone without the others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Care {
    None,
    Each,
}

impl<'c> Hand<'c> {
    /// Prepares the statements.
    pub(super) fn new(db: &'c Connection) -> Result<Self, Fault> {
        let put = |sql| Put::new(db, sql);
        Ok(Self {
            db,
            begin: put(BEGIN)?,
            commit: put(COMMIT)?,
            rollback: put(ROLLBACK)?,
            save: put("savepoint one")?,
            save_back: put("rollback to one")?,
            save_end: put("release one")?,
            insert_run: put(INSERT_RUN)?,
            advance_number: put(ADVANCE_NUMBER)?,
            fence: put(FENCE)?,
            move_known: put(MOVE_KNOWN)?,
            move_: put(MOVE)?,
            move_on: put(MOVE_ON)?,
            look: put(LOOK)?,
            put_job: put(PUT_JOB)?,
            put_task: put(PUT_TASK)?,
            end_task: put(END_TASK)?,
            put_attempt: put(PUT_ATTEMPT)?,
            end_attempt: put(END_ATTEMPT)?,
            add_io: put(ADD_IO)?,
            add_host_call: put(ADD_HOST_CALL)?,
            consume: put(CONSUME)?,
            note_end: put(NOTE_END)?,
            last_event_id: put(LAST_EVENT_ID)?,
            keep_event_id: put(KEEP_EVENT_ID)?,
            add_log: put(ADD_LOG)?,
            places: HashMap::new(),
            event_id: None,
        })
    }

    /// Commits a batch; the body of [`crate::store::Store::commit`]. A batch that the database refuses for
    /// its data is written a second time with a savepoint around each transition, which leaves out the
    /// offenders alone.
    pub(super) fn commit(&mut self, batch: &[&Transition]) -> Result<Vec<CommitOutcome>, Fault> {
        match self.attempt(batch, Care::None) {
            Err(Fault::Data(_)) => self.attempt(batch, Care::Each),
            other => other,
        }
    }

    fn attempt(&mut self, batch: &[&Transition], care: Care) -> Result<Vec<CommitOutcome>, Fault> {
        self.begin.run()?;
        self.event_id = None;
        let mut result: Result<Vec<_>, Fault> = batch
            .iter()
            .map(|transition| match care {
                Care::None => self.apply(transition),
                Care::Each => self.apply_alone(transition),
            })
            .collect();
        if result.is_ok() {
            match self.keep_event_id().and_then(|()| self.commit.run()) {
                #[cfg(test)]
                Ok(_) => {
                    super::failpoint::committed(self.db.path().unwrap_or_default().as_ref())?;
                    return result;
                }
                #[cfg(not(test))]
                Ok(_) => return result,
                Err(fault) => result = Err(fault),
            }
        }
        if !result.as_ref().is_err_and(Fault::spoils_connection) {
            self.rollback.run()?;
        }
        result
    }

    fn apply_alone(&mut self, t: &Transition) -> Result<CommitOutcome, Fault> {
        self.save.run()?;
        let event_id = self.event_id;
        let outcome = match self.apply(t) {
            Err(Fault::Data(why)) => {
                self.save_back.run()?;
                self.event_id = event_id;
                CommitOutcome::Rejected(why)
            }
            other => other?,
        };
        self.save_end.run()?;
        Ok(outcome)
    }

    /// Writes one transition if its fence holds.
    fn apply(&mut self, t: &Transition) -> Result<CommitOutcome, Fault> {
        let passed = match &t.run {
            RunChange::Insert(run) => self.insert_run(t, run)?,
            RunChange::Update(update) => self.move_run(t, update)?,
        };
        let Some(organization) = passed else {
            return self.stopped(t);
        };
        for row in &t.jobs {
            put_job(&mut self.put_job, row)?;
        }
        for row in &t.tasks {
            let there = row.finished_at.is_some() && end_task(&mut self.end_task, row)?;
            if !there {
                put_task(&mut self.put_task, row)?;
            }
        }
        for row in &t.attempts {
            let there = row.finished_at.is_some() && end_attempt(&mut self.end_attempt, row)?;
            if !there {
                put_attempt(&mut self.put_attempt, row)?;
            }
        }
        for row in &t.io {
            add_io(&mut self.add_io, row)?;
        }
        for row in &t.host_calls {
            add_host_call(&mut self.add_host_call, row)?;
        }
        for order in &t.consumed {
            self.consume.open().id(order)?.run()?;
        }
        if t.ends {
            self.note_end.open().id(t.run_id)?.run()?;
        }
        if let Some(control) = &t.control {
            super::control::apply(self.db, t.run_id, control)?;
        }
        self.add_logs(t, &organization)?;
        Ok(CommitOutcome::Committed)
    }

    /// The organization of the run, if it was inserted.
    fn insert_run(&mut self, t: &Transition, run: &RunRow) -> Result<Option<Arc<str>>, Fault> {
        let put = self.insert_run.open();
        put.id(t.run_id)?
            .id(run.organization_id)?
            .id(run.workflow_id)?
            .raw(run.workflow_name.as_str())?
            .id(run.version)?
            .raw(run.number)?
            .raw(run.status.as_str())?
            .raw(run.trigger.as_str())?
            .text(&run.trace_id)?
            .opt_id(run.rerun_of)?
            .id(run.origin_run_id)?
            .text(&run.inputs)?
            .text(&run.config)?
            .opt_text(run.idempotency_key.as_deref())?
            .raw(run.priority)?
            .opt_id(run.owner)?
            .raw(t.lease_epoch)?
            .raw(t.expected_revision.saturating_add(1))?
            .time(run.scheduled_at)?
            .time(run.created_at)?
            .opt_time(run.started_at)?
            .opt_time(run.finished_at)?
            .raw(run.tolerated_failures)?
            .opt_text(run.failure_code.as_deref())?
            .opt_text(run.failure_message.as_deref())?
            .opt_id(run.lineage.parent_run_id)?
            .opt_id(run.lineage.parent_task_run_id)?
            .opt_id(run.lineage.triggered_by)?
            .opt_id(run.lineage.root_run_id)?
            .raw(run.lineage.depth)?;
        if put.run()? == 0 {
            return Ok(None);
        }
        let rowid = self.db.last_insert_rowid();
        self.advance_number
            .open()
            .id(t.run_id)?
            .id(run.workflow_id)?
            .run()?;
        let organization = run.organization_id.to_string().into();
        self.note(t.run_id, rowid, run.status, &organization);
        Ok(Some(organization))
    }

    /// The organization of the run, if it was where it was expected.
    fn move_run(&mut self, t: &Transition, update: &RunUpdate) -> Result<Option<Arc<str>>, Fault> {
        if let Some(organization) = self.move_known_run(t, update)? {
            return Ok(Some(organization));
        }
        let fence = self.fence.open();
        fence
            .id(t.run_id)?
            .raw(t.lease_epoch)?
            .raw(t.expected_revision)?;
        let found = fence.first(|row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let Some((rowid, status, organization)) = found else {
            return Ok(None);
        };
        let (rowid, status, organization): (i64, String, String) = (rowid, status, organization);
        let stays = status == update.status.as_str();
        let put = if stays {
            &mut self.move_
        } else {
            &mut self.move_on
        };
        changed(put.open().raw(rowid)?, update)?;
        if !stays {
            put.raw(update.status.as_str())?;
        }
        put.run()?;
        let organization = Arc::from(organization);
        self.note(t.run_id, rowid, update.status, &organization);
        Ok(Some(organization))
    }

    /// The same without looking for the run first, if it is where it was and stays in its state.
    fn move_known_run(
        &mut self,
        t: &Transition,
        update: &RunUpdate,
    ) -> Result<Option<Arc<str>>, Fault> {
        let place = self.places.get(&t.run_id);
        let Some(place) = place.filter(|place| place.status == update.status) else {
            return Ok(None);
        };
        let put = self.move_known.open();
        changed(put.raw(place.rowid)?, update)?
            .id(t.run_id)?
            .raw(t.lease_epoch)?
            .raw(t.expected_revision)?
            .raw(place.status.as_str())?;
        let moved = put.run()? == 1;
        Ok(moved.then(|| Arc::clone(&place.organization)))
    }

    fn note(&mut self, run: RunId, rowid: i64, status: Status, organization: &Arc<str>) {
        if status.is_final() {
            self.places.remove(&run);
            return;
        }
        if self.places.len() >= PLACES_MAX {
            self.places.clear();
        }
        let organization = Arc::clone(organization);
        let place = Place {
            rowid,
            status,
            organization,
        };
        self.places.insert(run, place);
    }

    /// Why a transition did not pass.
    fn stopped(&mut self, t: &Transition) -> Result<CommitOutcome, Fault> {
        let run = match &t.run {
            RunChange::Insert(run) => Some(run),
            RunChange::Update(_) => None,
        };
        let look = self.look.open();
        look.id(t.run_id)?
            .opt_id(run.map(|run| run.organization_id))?
            .opt_text(run.and_then(|run| run.idempotency_key.as_deref()))?;
        let found = look.first(|row| Ok((row.get(0)?, row.get(1)?)))?;
        let (lease_epoch, holder): (Option<i64>, Option<String>) = found.unwrap_or_default();
        let holder = holder.map(|holder| holder.parse());
        Ok(reason(
            run.is_some(),
            t.lease_epoch,
            &Sighting {
                ordinal: 0,
                lease_epoch,
                holder: holder.transpose().map_err(broken)?,
            },
        ))
    }

    fn add_logs(&mut self, t: &Transition, organization: &str) -> Result<(), Fault> {
        for row in &t.logs {
            let last = match self.event_id {
                Some(last) => last,
                None => {
                    let last = self.last_event_id.open().first(|row| row.get(0))?;
                    last.ok_or_else(no_counter)?
                }
            };
            let id = last.saturating_add(1);
            self.event_id = Some(id);
            add_log(&mut self.add_log, t, organization, id, row)?;
        }
        Ok(())
    }

    fn keep_event_id(&mut self) -> Result<(), Fault> {
        let Some(last) = self.event_id else {
            return Ok(());
        };
        match self.keep_event_id.open().raw(last)?.run()? {
            1 => Ok(()),
            _ => Err(no_counter()),
        }
    }
}

fn no_counter() -> Fault {
    Fault::Corrupt("the counter of events is missing".into())
}

/// What a step changes of the run itself.
fn changed<'p, 'c>(put: &'p mut Put<'c>, update: &RunUpdate) -> Result<&'p mut Put<'c>, Fault> {
    put.opt_time(update.started_at)?
        .opt_time(update.finished_at)?
        .raw(update.tolerated_failures)?
        .opt_text(update.failure_code.as_deref())?
        .opt_text(update.failure_message.as_deref())
}

fn put_job(put: &mut Put<'_>, row: &JobRunRow) -> Result<(), Fault> {
    put.open()
        .id(row.job_run_id)?
        .id(row.run_id)?
        .id(row.organization_id)?
        .raw(row.job.as_str())?
        .raw(row.status.as_str())?
        .opt_time(row.started_at)?
        .opt_time(row.finished_at)?
        .raw(row.tolerated_failures)?;
    put.run().map(|_| ())
}

fn put_task(put: &mut Put<'_>, row: &TaskRunRow) -> Result<(), Fault> {
    put.open()
        .id(row.task_run_id)?
        .id(row.run_id)?
        .id(row.organization_id)?
        .raw(row.job.as_str())?
        .raw(row.task.as_str())?
        .raw(row.item_index)?
        .raw(row.status.as_str())?
        .raw(row.attempts)?
        .raw(row.interrupts)?
        .raw(row.tolerated)?
        .opt_time(row.ready_at)?
        .opt_time(row.started_at)?
        .opt_time(row.finished_at)?
        .opt_time(row.retry_at)?
        .opt_id(row.output_io_id)?
        .opt_text(row.reason_code.as_deref())?
        .opt_text(row.reason_message.as_deref())?;
    put.run().map(|_| ())
}

/// Whether it was there.
fn end_task(put: &mut Put<'_>, row: &TaskRunRow) -> Result<bool, Fault> {
    put.open()
        .id(row.task_run_id)?
        .raw(row.status.as_str())?
        .raw(row.attempts)?
        .raw(row.interrupts)?
        .raw(row.tolerated)?
        .opt_time(row.ready_at)?
        .opt_time(row.started_at)?
        .opt_time(row.finished_at)?
        .opt_time(row.retry_at)?
        .opt_id(row.output_io_id)?
        .opt_text(row.reason_code.as_deref())?
        .opt_text(row.reason_message.as_deref())?;
    Ok(put.run()? == 1)
}

/// Whether it was there.
fn end_attempt(put: &mut Put<'_>, row: &AttemptRow) -> Result<bool, Fault> {
    put.open()
        .id(row.attempt_id)?
        .raw(row.lease_epoch)?
        .id(row.daemon_id)?
        .raw(row.status.as_str())?
        .time(row.started_at)?
        .opt_time(row.finished_at)?
        .raw(row.cpu_us)?
        .raw(row.memory_peak_bytes)?
        .raw(row.logs_dropped)?
        .opt_text(row.failure.as_deref())?;
    Ok(put.run()? == 1)
}

fn put_attempt(put: &mut Put<'_>, row: &AttemptRow) -> Result<(), Fault> {
    put.open()
        .id(row.attempt_id)?
        .id(row.task_run_id)?
        .id(row.run_id)?
        .id(row.organization_id)?
        .raw(row.number)?
        .raw(row.lease_epoch)?
        .id(row.daemon_id)?
        .raw(row.status.as_str())?
        .time(row.started_at)?
        .opt_time(row.finished_at)?
        .raw(row.cpu_us)?
        .raw(row.memory_peak_bytes)?
        .raw(row.logs_dropped)?
        .opt_text(row.failure.as_deref())?;
    put.run().map(|_| ())
}

fn add_io(put: &mut Put<'_>, row: &IoRow) -> Result<(), Fault> {
    put.open()
        .id(row.io_id)?
        .id(row.run_id)?
        .id(row.organization_id)?
        .id(row.task_run_id)?
        .opt_id(row.attempt_id)?
        .raw(match row.kind {
            IoKind::Input => "input",
            IoKind::Output => "output",
        })?
        .text(&row.data)?
        .opt_text(row.origins.as_deref())?
        .time(row.created_at)?;
    put.run().map(|_| ())
}

fn add_host_call(put: &mut Put<'_>, row: &HostCallRow) -> Result<(), Fault> {
    put.open()
        .id(row.host_call_id)?
        .id(row.run_id)?
        .id(row.organization_id)?
        .id(row.attempt_id)?
        .text(&row.kind)?
        .text(&row.target)?
        .text(&row.verb)?
        .text(&row.outcome)?
        .raw(row.sent_bytes)?
        .raw(row.received_bytes)?
        .time(row.started_at)?
        .raw(row.duration_us)?;
    put.run().map(|_| ())
}

fn add_log(
    put: &mut Put<'_>,
    t: &Transition,
    organization: &str,
    id: i64,
    row: &NewLog,
) -> Result<(), Fault> {
    put.open()
        .raw(id)?
        .raw(organization)?
        .id(t.run_id)?
        .opt_id(row.task_run_id)?
        .opt_id(row.attempt_id)?
        .text(row.kind)?
        .raw(row.level.as_str())?
        .text(&row.message)?
        .opt_text(row.fields.as_deref())?
        .time(row.at)?;
    put.run().map(|_| ())
}
