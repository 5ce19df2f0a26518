//! From columns by name to rows of the domain; the same for every database.
//!
//! A value that does not parse is `Corrupt`: this version never wrote it.

use std::str::FromStr;
use std::sync::Arc;

use super::commit::Fault;
use super::control::DeadLetterRow;
use super::rows::{
    AttemptRow, CommandKind, CommandRow, HostCallRow, IoKind, IoRow, JobRunRow, KvEntry, KvListed,
    LogRow, ModuleRow, RunRow, SecretRow, TaskRunRow, VersionRow, WorkflowRow,
};
use super::schedule::{FireRow, FireSeen, ScheduleRow};
use super::state::KvUsage;
use super::text::restored;
use crate::clock::Timestamp;

/// A row whose columns are read by name.
pub(super) trait Cells {
    /// A whole number.
    fn int(&self, column: &str) -> Result<i64, Fault>;
    /// A whole number or null.
    fn opt_int(&self, column: &str) -> Result<Option<i64>, Fault>;
    /// Text as the database keeps it.
    fn raw(&self, column: &str) -> Result<Option<String>, Fault>;
    /// Bytes.
    fn bytes(&self, column: &str) -> Result<Vec<u8>, Fault>;

    /// Text or null.
    fn opt_text(&self, column: &str) -> Result<Option<String>, Fault> {
        self.raw(column)?
            .map(|text| restored(text).ok_or_else(|| broken(column, "an unknown escape")))
            .transpose()
    }

    /// Text.
    fn text(&self, column: &str) -> Result<String, Fault> {
        self.opt_text(column)?
            .ok_or_else(|| broken(column, "null where a value must be"))
    }

    /// Text that may be large and is shared.
    fn shared(&self, column: &str) -> Result<Arc<str>, Fault> {
        Ok(self.text(column)?.into())
    }

    /// Text that exists only by parsing.
    fn parsed<T: FromStr<Err: std::fmt::Display>>(&self, column: &str) -> Result<T, Fault> {
        self.text(column)?.parse().map_err(|e| broken(column, e))
    }

    /// The same or null.
    fn opt_parsed<T: FromStr<Err: std::fmt::Display>>(
        &self,
        column: &str,
    ) -> Result<Option<T>, Fault> {
        self.opt_text(column)?
            .map(|text| text.parse().map_err(|e| broken(column, e)))
            .transpose()
    }

    /// A whole number of a narrower type.
    fn count<T: TryFrom<i64, Error: std::fmt::Display>>(&self, column: &str) -> Result<T, Fault> {
        T::try_from(self.int(column)?).map_err(|e| broken(column, e))
    }

    /// An instant.
    fn time(&self, column: &str) -> Result<Timestamp, Fault> {
        Ok(Timestamp::from_micros(self.int(column)?))
    }

    /// An instant or null.
    fn opt_time(&self, column: &str) -> Result<Option<Timestamp>, Fault> {
        Ok(self.opt_int(column)?.map(Timestamp::from_micros))
    }
}

fn broken(column: &str, why: impl std::fmt::Display) -> Fault {
    Fault::Corrupt(format!("column {column}: {why}"))
}

/// Implements [`Cells`] for a driver's row.
macro_rules! cells {
    ($row:ty) => {
        impl $crate::store::cells::Cells for $row {
            fn int(&self, column: &str) -> Result<i64, Fault> {
                self.try_get(column).map_err(fault)
            }
            fn opt_int(&self, column: &str) -> Result<Option<i64>, Fault> {
                self.try_get(column).map_err(fault)
            }
            fn raw(&self, column: &str) -> Result<Option<String>, Fault> {
                self.try_get(column).map_err(fault)
            }
            fn bytes(&self, column: &str) -> Result<Vec<u8>, Fault> {
                self.try_get(column).map_err(fault)
            }
        }
    };
}
pub(super) use cells;

pub(super) fn run(c: &impl Cells) -> Result<RunRow, Fault> {
    Ok(RunRow {
        run_id: c.parsed("workflow_run_id")?,
        organization_id: c.parsed("organization_id")?,
        workflow_id: c.parsed("workflow_id")?,
        workflow_name: c.parsed("workflow_name")?,
        version: c.parsed("workflow_version_id")?,
        number: c.int("number")?,
        status: c.parsed("status")?,
        trigger: c.parsed("trigger")?,
        trace_id: c.text("trace_id")?,
        rerun_of: c.opt_parsed("rerun_of")?,
        origin_run_id: c.parsed("origin_run_id")?,
        inputs: c.shared("inputs")?,
        config: c.shared("config")?,
        idempotency_key: c.opt_text("idempotency_key")?,
        priority: c.count("priority")?,
        owner: c.opt_parsed("owner")?,
        lease_epoch: c.int("lease_epoch")?,
        revision: c.int("revision")?,
        scheduled_at: c.time("scheduled_at")?,
        created_at: c.time("created_at")?,
        started_at: c.opt_time("started_at")?,
        finished_at: c.opt_time("finished_at")?,
        tolerated_failures: c.count("tolerated_failures")?,
        failure_code: c.opt_text("failure_code")?,
        failure_message: c.opt_text("failure_message")?,
        lineage: super::lineage::lineage(c)?,
    })
}

pub(super) fn job(c: &impl Cells) -> Result<JobRunRow, Fault> {
    Ok(JobRunRow {
        job_run_id: c.parsed("job_run_id")?,
        run_id: c.parsed("workflow_run_id")?,
        organization_id: c.parsed("organization_id")?,
        job: c.parsed("job")?,
        status: c.parsed("status")?,
        started_at: c.opt_time("started_at")?,
        finished_at: c.opt_time("finished_at")?,
        tolerated_failures: c.count("tolerated_failures")?,
    })
}

pub(super) fn task(c: &impl Cells) -> Result<TaskRunRow, Fault> {
    Ok(TaskRunRow {
        task_run_id: c.parsed("task_run_id")?,
        run_id: c.parsed("workflow_run_id")?,
        organization_id: c.parsed("organization_id")?,
        job: c.parsed("job")?,
        task: c.parsed("task")?,
        item_index: c.int("item_index")?,
        status: c.parsed("status")?,
        attempts: c.count("attempts")?,
        interrupts: c.count("interrupts")?,
        tolerated: c.int("tolerated")? != 0,
        ready_at: c.opt_time("ready_at")?,
        started_at: c.opt_time("started_at")?,
        finished_at: c.opt_time("finished_at")?,
        retry_at: c.opt_time("retry_at")?,
        output_io_id: c.opt_parsed("output_io_id")?,
        reason_code: c.opt_text("reason_code")?,
        reason_message: c.opt_text("reason_message")?,
    })
}

pub(super) fn dead_letter(c: &impl Cells) -> Result<DeadLetterRow, Fault> {
    Ok(DeadLetterRow {
        dead_letter_id: c.parsed("dead_letter_id")?,
        organization_id: c.parsed("organization_id")?,
        run_id: c.parsed("workflow_run_id")?,
        origin_run_id: c.parsed("origin_run_id")?,
        workflow_name: c.parsed("workflow_name")?,
        job: c.opt_parsed("job")?,
        task: c.opt_parsed("task")?,
        item_index: c.int("item_index")?,
        code: c.text("code")?,
        message: c.text("message")?,
        attempts: c.count("attempts")?,
        interrupts: c.count("interrupts")?,
        created_at: c.time("created_at")?,
        state: c.parsed("state")?,
        redrives: c.count("redrives")?,
        redrive_run_id: c.opt_parsed("redrive_run_id")?,
        settled_at: c.opt_time("settled_at")?,
        settled_by: c.opt_text("settled_by")?,
        note: c.opt_text("note")?,
    })
}

pub(super) fn attempt(c: &impl Cells) -> Result<AttemptRow, Fault> {
    Ok(AttemptRow {
        attempt_id: c.parsed("task_attempt_id")?,
        task_run_id: c.parsed("task_run_id")?,
        run_id: c.parsed("workflow_run_id")?,
        organization_id: c.parsed("organization_id")?,
        number: c.count("number")?,
        lease_epoch: c.int("lease_epoch")?,
        daemon_id: c.parsed("daemon_id")?,
        status: c.parsed("status")?,
        started_at: c.time("started_at")?,
        finished_at: c.opt_time("finished_at")?,
        cpu_us: c.int("cpu_us")?,
        memory_peak_bytes: c.int("memory_peak_bytes")?,
        logs_dropped: c.int("logs_dropped")?,
        failure: c.opt_text("failure")?.map(Into::into),
    })
}

pub(super) fn io(c: &impl Cells) -> Result<IoRow, Fault> {
    Ok(IoRow {
        io_id: c.parsed("task_io_data_id")?,
        run_id: c.parsed("workflow_run_id")?,
        organization_id: c.parsed("organization_id")?,
        task_run_id: c.parsed("task_run_id")?,
        attempt_id: c.opt_parsed("task_attempt_id")?,
        kind: match c.text("kind")?.as_str() {
            "input" => IoKind::Input,
            "output" => IoKind::Output,
            other => return Err(broken("kind", format_args!("{other:?}"))),
        },
        data: c.shared("data")?,
        origins: c.opt_text("origins")?.map(Into::into),
        created_at: c.time("created_at")?,
    })
}

pub(super) fn host_call(c: &impl Cells) -> Result<HostCallRow, Fault> {
    Ok(HostCallRow {
        host_call_id: c.parsed("host_call_id")?,
        run_id: c.parsed("workflow_run_id")?,
        organization_id: c.parsed("organization_id")?,
        attempt_id: c.parsed("task_attempt_id")?,
        kind: c.text("kind")?,
        target: c.text("target")?,
        verb: c.text("verb")?,
        outcome: c.text("outcome")?,
        sent_bytes: c.int("sent_bytes")?,
        received_bytes: c.int("received_bytes")?,
        started_at: c.time("started_at")?,
        duration_us: c.int("duration_us")?,
    })
}

pub(super) fn log(c: &impl Cells) -> Result<LogRow, Fault> {
    Ok(LogRow {
        event_id: c.int("execution_log_id")?,
        run_id: c.parsed("workflow_run_id")?,
        organization_id: c.parsed("organization_id")?,
        task_run_id: c.opt_parsed("task_run_id")?,
        attempt_id: c.opt_parsed("task_attempt_id")?,
        kind: c.text("kind")?,
        level: c.parsed("level")?,
        message: c.text("message")?,
        fields: c.opt_text("fields")?.map(Into::into),
        at: c.time("created_at")?,
    })
}

pub(super) fn command(c: &impl Cells) -> Result<CommandRow, Fault> {
    Ok(CommandRow {
        command_id: c.parsed("run_command_id")?,
        run_id: c.parsed("workflow_run_id")?,
        organization_id: c.parsed("organization_id")?,
        kind: match c.text("kind")?.as_str() {
            "cancel" => CommandKind::Cancel,
            other => return Err(broken("kind", format_args!("{other:?}"))),
        },
        reason: c.text("reason")?,
        created_at: c.time("created_at")?,
    })
}

pub(super) fn version(c: &impl Cells) -> Result<VersionRow, Fault> {
    Ok(VersionRow {
        version: c.parsed("workflow_version_id")?,
        organization_id: c.parsed("organization_id")?,
        workflow_name: c.parsed("workflow_name")?,
        file: c.text("file")?,
        source: c.shared("source")?,
        vars: c.text("vars")?,
        ceilings: c.text("ceilings")?,
        modules: c.text("modules")?,
        workflows: c.text("workflows")?,
        starts_after: serde_json::from_str(&c.text("starts_after")?)
            .map_err(|e| broken("starts_after", e))?,
        created_at: c.time("created_at")?,
    })
}

pub(super) fn workflow(c: &impl Cells) -> Result<WorkflowRow, Fault> {
    Ok(WorkflowRow {
        workflow_id: c.parsed("workflow_id")?,
        organization_id: c.parsed("organization_id")?,
        name: c.parsed("name")?,
        active_version: c.opt_parsed("active_version")?,
    })
}

pub(super) fn module(c: &impl Cells) -> Result<ModuleRow, Fault> {
    Ok(ModuleRow {
        digest: c.parsed("module_id")?,
        name: c.parsed("name")?,
        size_bytes: c.int("size_bytes")?,
        description: c.shared("description")?,
        imports: c.text("imports")?,
        created_at: c.time("created_at")?,
    })
}

pub(super) fn kv_entry(c: &impl Cells) -> Result<KvEntry, Fault> {
    Ok(KvEntry {
        value: c.bytes("value")?,
        revision: c.count("revision")?,
        expires_at: c.opt_time("expires_at")?,
    })
}

pub(super) fn kv_key(c: &impl Cells) -> Result<String, Fault> {
    String::from_utf8(c.bytes("key")?).map_err(|e| broken("key", e))
}

pub(super) fn kv_listed(c: &impl Cells) -> Result<KvListed, Fault> {
    Ok(KvListed {
        key: kv_key(c)?,
        revision: c.count("revision")?,
        value_bytes: c.count("value_bytes")?,
        expires_at: c.opt_time("expires_at")?,
    })
}

pub(super) fn kv_usage(c: &impl Cells) -> Result<KvUsage, Fault> {
    Ok(KvUsage {
        entries: c.count("entry_count")?,
        bytes: c.count("byte_count")?,
    })
}

pub(super) fn secret(c: &impl Cells) -> Result<SecretRow, Fault> {
    Ok(SecretRow {
        organization_id: c.parsed("organization_id")?,
        name: c.parsed("name")?,
        revision: c.count("revision")?,
        key_id: c.text("key_id")?,
        nonce: c.bytes("nonce")?,
        ciphertext: c.bytes("ciphertext")?,
        created_at: c.time("created_at")?,
        created_by: c.text("created_by")?,
        updated_at: c.time("updated_at")?,
        updated_by: c.text("updated_by")?,
    })
}

pub(super) fn schedule(c: &impl Cells) -> Result<ScheduleRow, Fault> {
    Ok(ScheduleRow {
        schedule_id: c.parsed("schedule_id")?,
        organization_id: c.parsed("organization_id")?,
        workflow_id: c.parsed("workflow_id")?,
        workflow_name: c.parsed("workflow_name")?,
        name: c.parsed("name")?,
        origin: c.parsed("origin")?,
        name_is_free: c.opt_text("name_key")?.is_none(),
        definition: c.shared("definition")?,
        decided_until: c.time("decided_until")?,
        looked_at: c.time("looked_at")?,
        revision: c.int("revision")?,
        turn: c.int("turn")?,
        created_at: c.time("created_at")?,
        updated_at: c.time("updated_at")?,
        retired_at: c.opt_time("retired_at")?,
    })
}

pub(super) fn fire(c: &impl Cells) -> Result<FireRow, Fault> {
    Ok(FireRow {
        fire_id: c.parsed("schedule_fire_id")?,
        organization_id: c.parsed("organization_id")?,
        schedule_id: c.parsed("schedule_id")?,
        nominal_at: c.time("nominal_at")?,
        is_span: c.int("span")? != 0,
        last_at: c.time("last_at")?,
        times: c.count("times")?,
        cause: c.parsed("cause")?,
        outcome: c.parsed("outcome")?,
        reason_code: c.opt_text("reason_code")?,
        reason_message: c.opt_text("reason_message")?,
        run_id: c.opt_parsed("workflow_run_id")?,
        open: c.int("open")? != 0,
        decided_at: c.time("decided_at")?,
    })
}

pub(super) fn fire_seen(c: &impl Cells) -> Result<FireSeen, Fault> {
    Ok(FireSeen {
        fire: fire(c)?,
        run_status: c.opt_parsed("run_status")?,
    })
}
