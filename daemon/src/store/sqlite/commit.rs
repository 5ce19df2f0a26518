//! The commit protocol on SQLite: a transition at a time, each value bound to a prepared statement.
//!
//! SQLite is a library: a statement costs no journey, so rows one by one are cheaper here than a set
//! that travels as JSON, and the order of the batch is the order of the writes. What the outcomes mean
//! is the same as in `store::commit`, which servers use.

use std::fmt::{Display, Write as _};

use rusqlite::types::Null;
use rusqlite::{CachedStatement, Connection, ToSql};

use super::dialect::{BEGIN, COMMIT, ROLLBACK, fault_of};
use crate::clock::Timestamp;
use crate::store::CommitOutcome;
use crate::store::commit::{Fault, Sighting, reason};
use crate::store::rows::{
    AttemptRow, HostCallRow, IoKind, IoRow, JobRunRow, NewLog, RunChange, RunRow, RunUpdate,
    TaskRunRow, Transition,
};
use crate::store::text::stored;

/// A new run, if its id and key are free, its workflow exists and its owner, if any, is known;
/// numbered from its workflow's counter.
const INSERT_RUN: &str = r#"
insert into "workflow_run" ("workflow_run_id", "organization_id", "workflow_id", "workflow_name",
  "workflow_version_id", "number", "status", "trigger", "trace_id", "rerun_of", "origin_run_id", "inputs",
  "config", "idempotency_key", "priority", "owner", "lease_epoch", "revision", "scheduled_at", "created_at",
  "started_at", "finished_at", "tolerated_failures", "failure_code", "failure_message")
select ?1, ?2, ?3, ?4, ?5, case when ?6 > 0 then ?6 else "w"."last_number" + 1 end, ?7, ?8, ?9, ?10, ?11, ?12,
  ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25
from "workflow" as "w" where "w"."workflow_id" = ?3
  and not exists (select 1 from "workflow_run" as "r" where "r"."workflow_run_id" = ?1)
  and not exists (select 1 from "workflow_run" as "r"
    where "r"."organization_id" = ?2 and "r"."idempotency_key" = ?14)
  and (?16 is null or exists (select 1 from "daemon" as "d" where "d"."daemon_id" = ?16))"#;

/// Moves the counter of a workflow ($2) to the number of its new run ($1).
const ADVANCE_NUMBER: &str = r#"
update "workflow" set "last_number" = max("last_number",
  (select "number" from "workflow_run" where "workflow_run_id" = ?1))
where "workflow_id" = ?2"#;

/// The fence: a run at the expected epoch and revision.
pub(super) const FENCE: &str = r#"
select rowid, "status", "organization_id" from "workflow_run"
where "workflow_run_id" = ?1 and "lease_epoch" = ?2 and "revision" = ?3"#;

/// A step of a run that stays in its state, as most do: no index has an entry to be rewritten.
const MOVE: &str = r#"
update "workflow_run" set "revision" = "revision" + 1, "started_at" = ?2, "finished_at" = ?3,
  "tolerated_failures" = ?4, "failure_code" = ?5, "failure_message" = ?6
where rowid = ?1"#;

/// A step of a run into another state.
const MOVE_ON: &str = r#"
update "workflow_run" set "revision" = "revision" + 1, "started_at" = ?2, "finished_at" = ?3,
  "tolerated_failures" = ?4, "failure_code" = ?5, "failure_message" = ?6, "status" = ?7
where rowid = ?1"#;

/// What is known of a run that did not pass: $1 itself, $2 organization, $3 key.
const LOOK: &str = r#"
select (select "lease_epoch" from "workflow_run" where "workflow_run_id" = ?1),
  (select "workflow_run_id" from "workflow_run" where "organization_id" = ?2 and "idempotency_key" = ?3)"#;

const PUT_JOB: &str = r#"
insert into "job_run" ("job_run_id", "workflow_run_id", "organization_id", "job", "status", "started_at",
  "finished_at", "tolerated_failures")
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
on conflict ("job_run_id") do update set "status" = excluded."status",
  "started_at" = excluded."started_at", "finished_at" = excluded."finished_at",
  "tolerated_failures" = excluded."tolerated_failures""#;

const PUT_TASK: &str = r#"
insert into "task_run" ("task_run_id", "workflow_run_id", "organization_id", "job", "task", "item_index",
  "status", "attempts", "interrupts", "tolerated", "ready_at", "started_at", "finished_at", "retry_at",
  "output_io_id", "reason_code", "reason_message")
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
on conflict ("task_run_id") do update set "status" = excluded."status",
  "attempts" = excluded."attempts", "interrupts" = excluded."interrupts",
  "tolerated" = excluded."tolerated", "ready_at" = excluded."ready_at",
  "started_at" = excluded."started_at", "finished_at" = excluded."finished_at",
  "retry_at" = excluded."retry_at", "output_io_id" = excluded."output_io_id",
  "reason_code" = excluded."reason_code", "reason_message" = excluded."reason_message""#;

const PUT_ATTEMPT: &str = r#"
insert into "task_attempt" ("task_attempt_id", "task_run_id", "workflow_run_id", "organization_id", "number",
  "lease_epoch", "daemon_id", "status", "started_at", "finished_at", "cpu_us", "memory_peak_bytes",
  "logs_dropped", "failure")
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
on conflict ("task_attempt_id") do update set "lease_epoch" = excluded."lease_epoch",
  "daemon_id" = excluded."daemon_id", "status" = excluded."status", "started_at" = excluded."started_at",
  "finished_at" = excluded."finished_at", "cpu_us" = excluded."cpu_us",
  "memory_peak_bytes" = excluded."memory_peak_bytes", "logs_dropped" = excluded."logs_dropped",
  "failure" = excluded."failure""#;

const ADD_IO: &str = r#"
insert into "task_io_data" ("task_io_data_id", "workflow_run_id", "organization_id", "task_run_id",
  "task_attempt_id", "kind", "data", "origins", "created_at")
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"#;

const ADD_HOST_CALL: &str = r#"
insert into "host_call" ("host_call_id", "workflow_run_id", "organization_id", "task_attempt_id", "kind",
  "target", "verb", "outcome", "sent_bytes", "received_bytes", "started_at", "duration_us")
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"#;

/// An order that was carried out.
const CONSUME: &str = r#"delete from "run_command" where "run_command_id" = ?1"#;

/// Takes a range of event ids; answers its last.
const TAKE_EVENT_IDS: &str = r#"
update "stream" set "value" = "value" + ?1 where "stream_id" = 'execution_log' returning "value""#;

/// A log line with an id of the range.
const ADD_LOG: &str = r#"
insert into "execution_log" ("execution_log_id", "organization_id", "workflow_run_id", "task_run_id",
  "task_attempt_id", "kind", "level", "message", "fields", "created_at")
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"#;

/// How many statements stay prepared: all of this file.
pub(super) const STATEMENTS: usize = 32;

/// Commits a batch; the body of [`crate::store::Store::commit`]. A batch that the database refuses for
/// its data is written a second time with a savepoint around each transition, which leaves out the
/// offenders alone.
pub(super) fn commit(db: &Connection, batch: &[Transition]) -> Result<Vec<CommitOutcome>, Fault> {
    match attempt(db, batch, Care::None) {
        Err(Fault::Data(_)) => attempt(db, batch, Care::Each),
        other => other,
    }
}

/// Whether one transition can be undone without the others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Care {
    None,
    Each,
}

fn attempt(db: &Connection, batch: &[Transition], care: Care) -> Result<Vec<CommitOutcome>, Fault> {
    step(db, BEGIN)?;
    let mut result = batch
        .iter()
        .map(|transition| match care {
            Care::None => apply(db, transition),
            Care::Each => apply_alone(db, transition),
        })
        .collect();
    if Result::is_ok(&result) {
        match step(db, COMMIT) {
            #[cfg(test)]
            Ok(()) => {
                super::failpoint::committed(db.path().unwrap_or_default().as_ref())?;
                return result;
            }
            #[cfg(not(test))]
            Ok(()) => return result,
            Err(fault) => result = Err(fault),
        }
    }
    if !result.as_ref().is_err_and(Fault::spoils_connection) {
        step(db, ROLLBACK)?;
    }
    result
}

fn apply_alone(db: &Connection, t: &Transition) -> Result<CommitOutcome, Fault> {
    step(db, "savepoint one")?;
    let outcome = match apply(db, t) {
        Err(Fault::Data(why)) => {
            step(db, "rollback to one")?;
            CommitOutcome::Rejected(why)
        }
        other => other?,
    };
    step(db, "release one")?;
    Ok(outcome)
}

fn step(db: &Connection, statement: &str) -> Result<(), Fault> {
    Put::new(db, statement)?.run().map(|_| ())
}

/// Writes one transition if its fence holds.
fn apply(db: &Connection, t: &Transition) -> Result<CommitOutcome, Fault> {
    let passed = match &t.run {
        RunChange::Insert(run) => insert_run(db, t, run)?,
        RunChange::Update(update) => move_run(db, t, update)?,
    };
    let Some(organization) = passed else {
        return stopped(db, t);
    };
    for row in &t.jobs {
        put_job(db, row)?;
    }
    for row in &t.tasks {
        put_task(db, row)?;
    }
    for row in &t.attempts {
        put_attempt(db, row)?;
    }
    for row in &t.io {
        add_io(db, row)?;
    }
    for row in &t.host_calls {
        add_host_call(db, row)?;
    }
    for order in &t.consumed {
        Put::new(db, CONSUME)?.id(order)?.run()?;
    }
    add_logs(db, t, &organization)?;
    Ok(CommitOutcome::Committed)
}

/// The organization of the run, if it was inserted.
fn insert_run(db: &Connection, t: &Transition, run: &RunRow) -> Result<Option<String>, Fault> {
    let mut put = Put::new(db, INSERT_RUN)?;
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
        .opt_text(run.failure_message.as_deref())?;
    if put.run()? == 0 {
        return Ok(None);
    }
    Put::new(db, ADVANCE_NUMBER)?
        .id(t.run_id)?
        .id(run.workflow_id)?
        .run()?;
    Ok(Some(run.organization_id.to_string()))
}

/// The organization of the run, if it was where it was expected.
fn move_run(db: &Connection, t: &Transition, update: &RunUpdate) -> Result<Option<String>, Fault> {
    let mut fence = Put::new(db, FENCE)?;
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
    let mut put = Put::new(db, if stays { MOVE } else { MOVE_ON })?;
    put.raw(rowid)?
        .opt_time(update.started_at)?
        .opt_time(update.finished_at)?
        .raw(update.tolerated_failures)?
        .opt_text(update.failure_code.as_deref())?
        .opt_text(update.failure_message.as_deref())?;
    if !stays {
        put.raw(update.status.as_str())?;
    }
    put.run()?;
    Ok(Some(organization))
}

/// Why a transition did not pass.
fn stopped(db: &Connection, t: &Transition) -> Result<CommitOutcome, Fault> {
    let run = match &t.run {
        RunChange::Insert(run) => Some(run),
        RunChange::Update(_) => None,
    };
    let mut look = Put::new(db, LOOK)?;
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

fn put_job(db: &Connection, row: &JobRunRow) -> Result<(), Fault> {
    let mut put = Put::new(db, PUT_JOB)?;
    put.id(row.job_run_id)?
        .id(row.run_id)?
        .id(row.organization_id)?
        .raw(row.job.as_str())?
        .raw(row.status.as_str())?
        .opt_time(row.started_at)?
        .opt_time(row.finished_at)?
        .raw(row.tolerated_failures)?;
    put.run().map(|_| ())
}

fn put_task(db: &Connection, row: &TaskRunRow) -> Result<(), Fault> {
    let mut put = Put::new(db, PUT_TASK)?;
    put.id(row.task_run_id)?
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

fn put_attempt(db: &Connection, row: &AttemptRow) -> Result<(), Fault> {
    let mut put = Put::new(db, PUT_ATTEMPT)?;
    put.id(row.attempt_id)?
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

fn add_io(db: &Connection, row: &IoRow) -> Result<(), Fault> {
    let mut put = Put::new(db, ADD_IO)?;
    put.id(row.io_id)?
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

fn add_host_call(db: &Connection, row: &HostCallRow) -> Result<(), Fault> {
    let mut put = Put::new(db, ADD_HOST_CALL)?;
    put.id(row.host_call_id)?
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

fn add_logs(db: &Connection, t: &Transition, organization: &str) -> Result<(), Fault> {
    let Ok(count @ 1..) = i64::try_from(t.logs.len()) else {
        return Ok(());
    };
    let mut take = Put::new(db, TAKE_EVENT_IDS)?;
    take.raw(count)?;
    let last: Option<i64> = take.first(|row| row.get(0))?;
    let last = last.ok_or_else(|| Fault::Corrupt("the counter of events is missing".into()))?;
    for (id, row) in (last - count + 1..).zip(&t.logs) {
        add_log(db, t, organization, id, row)?;
    }
    Ok(())
}

fn add_log(
    db: &Connection,
    t: &Transition,
    organization: &str,
    id: i64,
    row: &NewLog,
) -> Result<(), Fault> {
    let mut put = Put::new(db, ADD_LOG)?;
    put.raw(id)?
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

fn broken(error: impl Display) -> Fault {
    Fault::Corrupt(error.to_string())
}

/// A prepared statement whose parameters are given one after the other.
struct Put<'c> {
    statement: CachedStatement<'c>,
    at: usize,
    id: String,
}

impl<'c> Put<'c> {
    fn new(db: &'c Connection, sql: &str) -> Result<Self, Fault> {
        #[cfg(test)]
        super::failpoint::statement(db.path().unwrap_or_default().as_ref())?;
        Ok(Self {
            statement: db.prepare_cached(sql).map_err(fault_of)?,
            at: 0,
            id: String::new(),
        })
    }

    /// A value whose form is ours: a number, a name, a state.
    fn raw(&mut self, value: impl ToSql) -> Result<&mut Self, Fault> {
        self.at += 1;
        self.statement
            .raw_bind_parameter(self.at, value)
            .map_err(fault_of)?;
        Ok(self)
    }

    fn id(&mut self, id: impl Display) -> Result<&mut Self, Fault> {
        let mut text = std::mem::take(&mut self.id);
        text.clear();
        write!(text, "{id}").map_err(broken)?;
        self.raw(text.as_str())?;
        self.id = text;
        Ok(self)
    }

    fn opt_id(&mut self, id: Option<impl Display>) -> Result<&mut Self, Fault> {
        match id {
            Some(id) => self.id(id),
            None => self.raw(Null),
        }
    }

    /// Text that came from somewhere else.
    fn text(&mut self, text: &str) -> Result<&mut Self, Fault> {
        self.raw(stored(text).as_ref())
    }

    fn opt_text(&mut self, text: Option<&str>) -> Result<&mut Self, Fault> {
        match text {
            Some(text) => self.text(text),
            None => self.raw(Null),
        }
    }

    fn time(&mut self, at: Timestamp) -> Result<&mut Self, Fault> {
        self.raw(at.as_micros())
    }

    fn opt_time(&mut self, at: Option<Timestamp>) -> Result<&mut Self, Fault> {
        self.raw(at.map(Timestamp::as_micros))
    }

    /// How many rows it changed.
    fn run(&mut self) -> Result<usize, Fault> {
        self.statement.raw_execute().map_err(fault_of)
    }

    /// Its first row, if there is one.
    fn first<T>(
        &mut self,
        read: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Fault> {
        let mut rows = self.statement.raw_query();
        let row = rows.next().map_err(fault_of)?;
        row.map(read).transpose().map_err(fault_of)
    }
}
