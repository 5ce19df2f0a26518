//! A batch of transitions as the databases take it: one JSON text a table.
//!
//! Made once, outside the transaction; whichever transitions pass their fence are cut out of it by
//! range. What the statements do with it is in the drivers, in which order in `commit`.

use serde::Serialize;

use super::StoreError;
use super::control::Control;
use super::rows::{
    AttemptRow, HostCallRow, IoRow, JobRunRow, NewLog, RunChange, RunRow, RunUpdate, TaskRunRow,
    Transition,
};
use super::text::stored;
use crate::clock::Timestamp;
use crate::id::{OrganizationId, RunId};

/// How a row is written. SQLite reads arrays by position, which is smaller and faster to parse;
/// `json_to_recordset` of PostgreSQL wants objects with column names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// `[…]`, in the order in which the fields are written here.
    Array,
    /// `{"column": …}`.
    Object,
}

/// The tables that a transition writes besides the run's own row and the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Job,
    Task,
    Attempt,
    Io,
    HostCall,
    Consumed,
    Ended,
}

impl Table {
    /// In the order of writing: an owner before what it owns.
    pub(super) const ALL: [Self; 7] = [
        Self::Job,
        Self::Task,
        Self::Attempt,
        Self::Io,
        Self::HostCall,
        Self::Consumed,
        Self::Ended,
    ];
}

/// What decides one transition's fate.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) run_id: RunId,
    pub(super) lease_epoch: i64,
    /// Of an insert: its organization and idempotency key.
    pub(super) insert: Option<(OrganizationId, Option<String>)>,
    /// How many log lines it brings.
    pub(super) logs: usize,
}

/// The rows of one table, transition after transition.
#[derive(Debug, Default)]
struct Sheet {
    /// Rows, each followed by a comma.
    text: Vec<u8>,
    /// Where each transition's rows end.
    ends: Vec<usize>,
}

impl Sheet {
    fn of(&self, ordinal: usize) -> &[u8] {
        let start = ordinal
            .checked_sub(1)
            .and_then(|before| self.ends.get(before))
            .copied()
            .unwrap_or(0);
        self.ends
            .get(ordinal)
            .and_then(|end| self.text.get(start..*end))
            .unwrap_or(&[])
    }

    /// The JSON array of the rows of these transitions; none when there are no rows.
    fn pick(&self, ordinals: &[usize]) -> Result<Option<String>, StoreError> {
        let size: usize = ordinals.iter().map(|o| self.of(*o).len()).sum();
        if size == 0 {
            return Ok(None);
        }
        let mut out = Vec::with_capacity(size + 2);
        out.push(b'[');
        for ordinal in ordinals {
            out.extend_from_slice(self.of(*ordinal));
        }
        out.pop();
        out.push(b']');
        String::from_utf8(out)
            .map(Some)
            .map_err(|e| StoreError::Rejected(e.to_string()))
    }
}

/// The whole batch, ready to be bound.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) heads: Vec<Head>,
    inserts: Sheet,
    updates: Sheet,
    looks: Sheet,
    tables: [Sheet; Table::ALL.len()],
    logs: Sheet,
    /// Turns and dead letters, by ordinal.
    controls: Vec<(usize, Box<Control>)>,
}

impl Batch {
    /// Writes the transitions out.
    pub(super) fn new(transitions: &[Transition], shape: Shape) -> Result<Self, StoreError> {
        let mut batch = Self {
            heads: Vec::with_capacity(transitions.len()),
            inserts: Sheet::default(),
            updates: Sheet::default(),
            looks: Sheet::default(),
            tables: Default::default(),
            logs: Sheet::default(),
            controls: Vec::new(),
        };
        for (ordinal, transition) in transitions.iter().enumerate() {
            batch
                .add(ordinal, transition, shape)
                .map_err(|e| StoreError::Rejected(e.to_string()))?;
        }
        Ok(batch)
    }

    fn add(&mut self, ordinal: usize, t: &Transition, shape: Shape) -> serde_json::Result<()> {
        let insert = match &t.run {
            RunChange::Insert(run) => {
                run_row(&mut Row::open(&mut self.inserts.text, shape), t, run)?;
                Some((run.organization_id, run.idempotency_key.clone()))
            }
            RunChange::Update(update) => {
                update_row(&mut Row::open(&mut self.updates.text, shape), t, update)?;
                None
            }
        };
        let mut look = Row::open(&mut self.looks.text, shape);
        look.put("ordinal", &ordinal)?
            .put("workflow_run_id", &t.run_id)?
            .put("organization_id", &insert.as_ref().map(|(o, _)| o))?
            .opt_text(
                "idempotency_key",
                insert.as_ref().and_then(|(_, k)| k.as_deref()),
            )?;
        drop(look);
        for row in &t.jobs {
            job_row(&mut Row::open(self.table(Table::Job), shape), row)?;
        }
        for row in &t.tasks {
            task_row(&mut Row::open(self.table(Table::Task), shape), row)?;
        }
        for row in &t.attempts {
            attempt_row(&mut Row::open(self.table(Table::Attempt), shape), row)?;
        }
        for row in &t.io {
            io_row(&mut Row::open(self.table(Table::Io), shape), row)?;
        }
        for row in &t.host_calls {
            host_call_row(&mut Row::open(self.table(Table::HostCall), shape), row)?;
        }
        for id in &t.consumed {
            Row::open(self.table(Table::Consumed), shape).put("run_command_id", id)?;
        }
        if t.ends {
            Row::open(self.table(Table::Ended), shape).put("workflow_run_id", &t.run_id)?;
        }
        if let Some(control) = &t.control {
            self.controls.push((ordinal, control.clone()));
        }
        for (line, row) in t.logs.iter().enumerate() {
            let mut out = Row::open(&mut self.logs.text, shape);
            out.put("ordinal", &ordinal)?.put("line", &line)?;
            log_row(&mut out, t, row)?;
        }
        for sheet in [
            &mut self.inserts,
            &mut self.updates,
            &mut self.looks,
            &mut self.logs,
        ]
        .into_iter()
        .chain(&mut self.tables)
        {
            sheet.ends.push(sheet.text.len());
        }
        self.heads.push(Head {
            run_id: t.run_id,
            lease_epoch: t.lease_epoch,
            insert,
            logs: t.logs.len(),
        });
        Ok(())
    }

    #[expect(clippy::indexing_slicing, reason = "one sheet a table by construction")]
    fn table(&mut self, table: Table) -> &mut Vec<u8> {
        &mut self.tables[table as usize].text
    }

    /// New runs among these transitions.
    pub(super) fn inserts(&self, of: &[usize]) -> Result<Option<String>, StoreError> {
        self.inserts.pick(of)
    }

    /// Changes of runs among these transitions.
    pub(super) fn updates(&self, of: &[usize]) -> Result<Option<String>, StoreError> {
        self.updates.pick(of)
    }

    /// What to ask about transitions that did not pass.
    pub(super) fn looks(&self, of: &[usize]) -> Result<Option<String>, StoreError> {
        self.looks.pick(of)
    }

    /// The log lines of these transitions.
    pub(super) fn logs(&self, of: &[usize]) -> Result<Option<String>, StoreError> {
        self.logs.pick(of)
    }

    /// Whether any transition changes turns or dead letters.
    pub(super) fn has_controls(&self) -> bool {
        !self.controls.is_empty()
    }

    /// What these transitions change of turns and dead letters.
    pub(super) fn controls(&self, of: &[usize]) -> Vec<(RunId, &Control)> {
        let passed = self.controls.iter().filter(|(at, _)| of.contains(at));
        passed
            .filter_map(|(at, control)| Some((self.heads.get(*at)?.run_id, &**control)))
            .collect()
    }

    /// The rows of one table of these transitions.
    #[expect(clippy::indexing_slicing, reason = "one sheet a table by construction")]
    pub(super) fn rows(&self, table: Table, of: &[usize]) -> Result<Option<String>, StoreError> {
        self.tables[table as usize].pick(of)
    }
}

/// One row being written; closed when dropped.
struct Row<'a> {
    out: &'a mut Vec<u8>,
    shape: Shape,
    first: bool,
}

impl<'a> Row<'a> {
    fn open(out: &'a mut Vec<u8>, shape: Shape) -> Self {
        out.push(if shape == Shape::Array { b'[' } else { b'{' });
        Self {
            out,
            shape,
            first: true,
        }
    }

    fn put<T: Serialize>(
        &mut self,
        column: &'static str,
        value: &T,
    ) -> serde_json::Result<&mut Self> {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        if self.shape == Shape::Object {
            // Column names are plain words of this file: nothing in them needs an escape.
            self.out.push(b'"');
            self.out.extend_from_slice(column.as_bytes());
            self.out.extend_from_slice(b"\":");
        }
        serde_json::to_writer(&mut *self.out, value)?;
        Ok(self)
    }

    fn text(&mut self, column: &'static str, value: &str) -> serde_json::Result<&mut Self> {
        self.put(column, &stored(value))
    }

    fn opt_text(
        &mut self,
        column: &'static str,
        value: Option<&str>,
    ) -> serde_json::Result<&mut Self> {
        self.put(column, &value.map(stored))
    }

    fn time(&mut self, column: &'static str, value: Timestamp) -> serde_json::Result<&mut Self> {
        self.put(column, &value.as_micros())
    }

    fn opt_time(
        &mut self,
        column: &'static str,
        value: Option<Timestamp>,
    ) -> serde_json::Result<&mut Self> {
        self.put(column, &value.map(Timestamp::as_micros))
    }
}

impl Drop for Row<'_> {
    fn drop(&mut self) {
        self.out.push(if self.shape == Shape::Array {
            b']'
        } else {
            b'}'
        });
        self.out.push(b',');
    }
}

fn run_row(row: &mut Row<'_>, t: &Transition, r: &RunRow) -> serde_json::Result<()> {
    row.put("workflow_run_id", &t.run_id)?
        .put("organization_id", &r.organization_id)?
        .put("workflow_id", &r.workflow_id)?
        .put("workflow_name", &r.workflow_name)?
        .put("workflow_version_id", &r.version)?
        .put("number", &r.number)?
        .put("status", &r.status)?
        .put("trigger", &r.trigger)?
        .text("trace_id", &r.trace_id)?
        .put("rerun_of", &r.rerun_of)?
        .put("origin_run_id", &r.origin_run_id)?
        .text("inputs", &r.inputs)?
        .text("config", &r.config)?
        .opt_text("idempotency_key", r.idempotency_key.as_deref())?
        .put("priority", &r.priority)?
        .put("owner", &r.owner)?
        .put("lease_epoch", &t.lease_epoch)?
        .put("revision", &t.expected_revision.saturating_add(1))?
        .time("scheduled_at", r.scheduled_at)?
        .time("created_at", r.created_at)?
        .opt_time("started_at", r.started_at)?
        .opt_time("finished_at", r.finished_at)?
        .put("tolerated_failures", &r.tolerated_failures)?
        .opt_text("failure_code", r.failure_code.as_deref())?
        .opt_text("failure_message", r.failure_message.as_deref())?
        .put("parent_run_id", &r.lineage.parent_run_id)?
        .put("parent_task_run_id", &r.lineage.parent_task_run_id)?
        .put("triggered_by", &r.lineage.triggered_by)?
        .put("root_run_id", &r.lineage.root_run_id)?
        .put("depth", &r.lineage.depth)?;
    Ok(())
}

fn update_row(row: &mut Row<'_>, t: &Transition, u: &RunUpdate) -> serde_json::Result<()> {
    row.put("workflow_run_id", &t.run_id)?
        .put("lease_epoch", &t.lease_epoch)?
        .put("revision", &t.expected_revision)?
        .put("status", &u.status)?
        .opt_time("started_at", u.started_at)?
        .opt_time("finished_at", u.finished_at)?
        .put("tolerated_failures", &u.tolerated_failures)?
        .opt_text("failure_code", u.failure_code.as_deref())?
        .opt_text("failure_message", u.failure_message.as_deref())?;
    Ok(())
}

fn job_row(row: &mut Row<'_>, r: &JobRunRow) -> serde_json::Result<()> {
    row.put("job_run_id", &r.job_run_id)?
        .put("workflow_run_id", &r.run_id)?
        .put("organization_id", &r.organization_id)?
        .put("job", &r.job)?
        .put("status", &r.status)?
        .opt_time("started_at", r.started_at)?
        .opt_time("finished_at", r.finished_at)?
        .put("tolerated_failures", &r.tolerated_failures)?;
    Ok(())
}

fn task_row(row: &mut Row<'_>, r: &TaskRunRow) -> serde_json::Result<()> {
    row.put("task_run_id", &r.task_run_id)?
        .put("workflow_run_id", &r.run_id)?
        .put("organization_id", &r.organization_id)?
        .put("job", &r.job)?
        .put("task", &r.task)?
        .put("item_index", &r.item_index)?
        .put("status", &r.status)?
        .put("attempts", &r.attempts)?
        .put("interrupts", &r.interrupts)?
        .put("tolerated", &i64::from(r.tolerated))?
        .opt_time("ready_at", r.ready_at)?
        .opt_time("started_at", r.started_at)?
        .opt_time("finished_at", r.finished_at)?
        .opt_time("retry_at", r.retry_at)?
        .put("output_io_id", &r.output_io_id)?
        .opt_text("reason_code", r.reason_code.as_deref())?
        .opt_text("reason_message", r.reason_message.as_deref())?;
    Ok(())
}

fn attempt_row(row: &mut Row<'_>, r: &AttemptRow) -> serde_json::Result<()> {
    row.put("task_attempt_id", &r.attempt_id)?
        .put("task_run_id", &r.task_run_id)?
        .put("workflow_run_id", &r.run_id)?
        .put("organization_id", &r.organization_id)?
        .put("number", &r.number)?
        .put("lease_epoch", &r.lease_epoch)?
        .put("daemon_id", &r.daemon_id)?
        .put("status", &r.status)?
        .time("started_at", r.started_at)?
        .opt_time("finished_at", r.finished_at)?
        .put("cpu_us", &r.cpu_us)?
        .put("memory_peak_bytes", &r.memory_peak_bytes)?
        .put("logs_dropped", &r.logs_dropped)?
        .opt_text("failure", r.failure.as_deref())?;
    Ok(())
}

fn io_row(row: &mut Row<'_>, r: &IoRow) -> serde_json::Result<()> {
    row.put("task_io_data_id", &r.io_id)?
        .put("workflow_run_id", &r.run_id)?
        .put("organization_id", &r.organization_id)?
        .put("task_run_id", &r.task_run_id)?
        .put("task_attempt_id", &r.attempt_id)?
        .put("kind", &r.kind)?
        .text("data", &r.data)?
        .opt_text("origins", r.origins.as_deref())?
        .time("created_at", r.created_at)?;
    Ok(())
}

fn host_call_row(row: &mut Row<'_>, r: &HostCallRow) -> serde_json::Result<()> {
    row.put("host_call_id", &r.host_call_id)?
        .put("workflow_run_id", &r.run_id)?
        .put("organization_id", &r.organization_id)?
        .put("task_attempt_id", &r.attempt_id)?
        .text("kind", &r.kind)?
        .text("target", &r.target)?
        .text("verb", &r.verb)?
        .text("outcome", &r.outcome)?
        .put("sent_bytes", &r.sent_bytes)?
        .put("received_bytes", &r.received_bytes)?
        .time("started_at", r.started_at)?
        .put("duration_us", &r.duration_us)?;
    Ok(())
}

fn log_row(row: &mut Row<'_>, t: &Transition, r: &NewLog) -> serde_json::Result<()> {
    row.put("workflow_run_id", &t.run_id)?
        .put("task_run_id", &r.task_run_id)?
        .put("task_attempt_id", &r.attempt_id)?
        .text("kind", r.kind)?
        .put("level", &r.level)?
        .text("message", &r.message)?
        .opt_text("fields", r.fields.as_deref())?
        .time("created_at", r.at)?;
    Ok(())
}
