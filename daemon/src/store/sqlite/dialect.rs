//! What SQLite says differently: set-based writes over `jsonb_each`, the claim, its clock and its errors.
//!
//! `jsonb_each` (3.51) hands each row over parsed; `json_each` would write and parse it once more.
//! Positions in `->>` follow the order in which `batch` writes the fields.

use std::sync::LazyLock;

use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::id::{DaemonId, RunId};
use crate::store::LEASE;
use crate::store::batch::Table;
use crate::store::cells::{Cells as _, cells};
use crate::store::commit::{Dialect, Fault, Lines, Sighting};
use crate::store::rows::ClaimedRun;

/// Takes the write lock at once: a later upgrade from reading could fail for a reader's sake.
pub(super) const BEGIN: &str = "begin immediate";
/// Makes the transaction durable.
pub(super) const COMMIT: &str = "commit";
/// Undoes the transaction.
pub(super) const ROLLBACK: &str = "rollback";

/// The database's clock in microseconds; SQLite knows milliseconds.
pub(super) const NOW: &str = "select cast(round(unixepoch('subsec') * 1000) as integer) * 1000";

/// New runs whose id and key are free, whose workflow exists, and whose owner, if any, is known;
/// numbered from their workflow's counter.
const INSERT_RUNS: &str = r#"
insert into "workflow_run" ("workflow_run_id", "organization_id", "workflow_id", "workflow_name",
  "workflow_version_id", "number", "status", "trigger", "trace_id", "rerun_of", "origin_run_id", "inputs",
  "config", "idempotency_key", "priority", "owner", "lease_epoch", "revision", "scheduled_at", "created_at",
  "started_at", "finished_at", "tolerated_failures", "failure_code", "failure_message")
select "t"."value" ->> 0, "t"."value" ->> 1, "t"."value" ->> 2, "t"."value" ->> 3, "t"."value" ->> 4,
  case when "t"."value" ->> 5 > 0 then "t"."value" ->> 5
    else "w"."last_number" + row_number() over (partition by "w"."workflow_id" order by "t"."key") end,
  "t"."value" ->> 6, "t"."value" ->> 7, "t"."value" ->> 8, "t"."value" ->> 9, "t"."value" ->> 10,
  "t"."value" ->> 11, "t"."value" ->> 12, "t"."value" ->> 13, "t"."value" ->> 14, "t"."value" ->> 15,
  "t"."value" ->> 16, "t"."value" ->> 17, "t"."value" ->> 18, "t"."value" ->> 19, "t"."value" ->> 20,
  "t"."value" ->> 21, "t"."value" ->> 22, "t"."value" ->> 23, "t"."value" ->> 24
from jsonb_each($1) as "t"
join "workflow" as "w" on "w"."workflow_id" = "t"."value" ->> 2
where not exists (select 1 from "workflow_run" as "r" where "r"."workflow_run_id" = "t"."value" ->> 0)
  and not exists (select 1 from "workflow_run" as "r"
    where "r"."organization_id" = "t"."value" ->> 1 and "r"."idempotency_key" = "t"."value" ->> 13)
  and ("t"."value" ->> 15 is null
    or exists (select 1 from "daemon" as "d" where "d"."daemon_id" = "t"."value" ->> 15))
returning "workflow_run_id""#;

/// Moves the counters of the workflows of these runs to the highest number given.
const ADVANCE_NUMBERS: &str = r#"
update "workflow" set "last_number" = max("workflow"."last_number", "m"."number")
from (select "r"."workflow_id" as "workflow_id", max("r"."number") as "number"
  from jsonb_each($1) as "t" join "workflow_run" as "r" on "r"."workflow_run_id" = "t"."value" ->> 0
  group by "r"."workflow_id") as "m"
where "workflow"."workflow_id" = "m"."workflow_id""#;

/// The fence: only a run at the expected epoch and revision moves.
pub(super) const UPDATE_RUNS: &str = r#"
update "workflow_run" set "revision" = "workflow_run"."revision" + 1, "status" = "t"."value" ->> 3,
  "started_at" = "t"."value" ->> 4, "finished_at" = "t"."value" ->> 5,
  "tolerated_failures" = "t"."value" ->> 6, "failure_code" = "t"."value" ->> 7,
  "failure_message" = "t"."value" ->> 8
from jsonb_each($1) as "t"
where "workflow_run"."workflow_run_id" = "t"."value" ->> 0
  and "workflow_run"."lease_epoch" = "t"."value" ->> 1
  and "workflow_run"."revision" = "t"."value" ->> 2
returning "workflow_run"."workflow_run_id""#;

/// What is known of runs that did not pass.
const LOOK: &str = r#"
select "t"."value" ->> 0 as "ordinal", "r"."lease_epoch" as "lease_epoch",
  (select "h"."workflow_run_id" from "workflow_run" as "h"
   where "h"."organization_id" = "t"."value" ->> 2 and "h"."idempotency_key" = "t"."value" ->> 3) as "holder"
from jsonb_each($1) as "t"
left join "workflow_run" as "r" on "r"."workflow_run_id" = "t"."value" ->> 1"#;

// `where true` in the upserts: without it SQLite reads `on conflict` as the condition of a join.

/// Job runs, replaced by id.
const WRITE_JOBS: &str = r#"
insert into "job_run" ("job_run_id", "workflow_run_id", "organization_id", "job", "status", "started_at",
  "finished_at", "tolerated_failures")
select "value" ->> 0, "value" ->> 1, "value" ->> 2, "value" ->> 3, "value" ->> 4, "value" ->> 5,
  "value" ->> 6, "value" ->> 7
from jsonb_each(?) where true
on conflict ("job_run_id") do update set "status" = excluded."status",
  "started_at" = excluded."started_at", "finished_at" = excluded."finished_at",
  "tolerated_failures" = excluded."tolerated_failures""#;

/// Task runs, replaced by id.
const WRITE_TASKS: &str = r#"
insert into "task_run" ("task_run_id", "workflow_run_id", "organization_id", "job", "task", "item_index",
  "status", "attempts", "interrupts", "tolerated", "ready_at", "started_at", "finished_at", "retry_at",
  "output_io_id", "reason_code", "reason_message")
select "value" ->> 0, "value" ->> 1, "value" ->> 2, "value" ->> 3, "value" ->> 4, "value" ->> 5,
  "value" ->> 6, "value" ->> 7, "value" ->> 8, "value" ->> 9, "value" ->> 10, "value" ->> 11,
  "value" ->> 12, "value" ->> 13, "value" ->> 14, "value" ->> 15, "value" ->> 16
from jsonb_each(?) where true
on conflict ("task_run_id") do update set "status" = excluded."status",
  "attempts" = excluded."attempts", "interrupts" = excluded."interrupts",
  "tolerated" = excluded."tolerated", "ready_at" = excluded."ready_at",
  "started_at" = excluded."started_at", "finished_at" = excluded."finished_at",
  "retry_at" = excluded."retry_at", "output_io_id" = excluded."output_io_id",
  "reason_code" = excluded."reason_code", "reason_message" = excluded."reason_message""#;

/// Attempts, replaced by id.
const WRITE_ATTEMPTS: &str = r#"
insert into "task_attempt" ("task_attempt_id", "task_run_id", "workflow_run_id", "organization_id", "number",
  "lease_epoch", "daemon_id", "status", "started_at", "finished_at", "cpu_us", "memory_peak_bytes",
  "logs_dropped", "failure")
select "value" ->> 0, "value" ->> 1, "value" ->> 2, "value" ->> 3, "value" ->> 4, "value" ->> 5,
  "value" ->> 6, "value" ->> 7, "value" ->> 8, "value" ->> 9, "value" ->> 10, "value" ->> 11,
  "value" ->> 12, "value" ->> 13
from jsonb_each(?) where true
on conflict ("task_attempt_id") do update set "lease_epoch" = excluded."lease_epoch",
  "daemon_id" = excluded."daemon_id", "status" = excluded."status", "started_at" = excluded."started_at",
  "finished_at" = excluded."finished_at", "cpu_us" = excluded."cpu_us",
  "memory_peak_bytes" = excluded."memory_peak_bytes", "logs_dropped" = excluded."logs_dropped",
  "failure" = excluded."failure""#;

/// Inputs and outputs.
const WRITE_IO: &str = r#"
insert into "task_io_data" ("task_io_data_id", "workflow_run_id", "organization_id", "task_run_id",
  "task_attempt_id", "kind", "data", "origins", "created_at")
select "value" ->> 0, "value" ->> 1, "value" ->> 2, "value" ->> 3, "value" ->> 4, "value" ->> 5,
  "value" ->> 6, "value" ->> 7, "value" ->> 8
from jsonb_each(?)"#;

/// Broker calls.
const WRITE_HOST_CALLS: &str = r#"
insert into "host_call" ("host_call_id", "workflow_run_id", "organization_id", "task_attempt_id", "kind",
  "target", "verb", "outcome", "sent_bytes", "received_bytes", "started_at", "duration_us")
select "value" ->> 0, "value" ->> 1, "value" ->> 2, "value" ->> 3, "value" ->> 4, "value" ->> 5,
  "value" ->> 6, "value" ->> 7, "value" ->> 8, "value" ->> 9, "value" ->> 10, "value" ->> 11
from jsonb_each(?)"#;

/// Orders that were carried out.
const CONSUME: &str = r#"
delete from "run_command" where "run_command_id" in (select "value" ->> 0 from jsonb_each(?))"#;

/// Takes a range of event ids.
const TAKE_EVENT_IDS: &str = r#"
update "stream" set "value" = "value" + ? where "stream_id" = 'execution_log'"#;

/// Log lines with the ids of the range that was just taken, in order. `cross join` keeps the lines outside,
/// the runs inside.
pub(super) const APPEND_LOGS: &str = r#"
insert into "execution_log" ("execution_log_id", "organization_id", "workflow_run_id", "task_run_id",
  "task_attempt_id", "kind", "level", "message", "fields", "created_at")
select (select "value" from "stream" where "stream_id" = 'execution_log') - ? + "t"."key" + 1,
  "r"."organization_id", "t"."value" ->> 2, "t"."value" ->> 3, "t"."value" ->> 4,
  "t"."value" ->> 5, "t"."value" ->> 6, "t"."value" ->> 7, "t"."value" ->> 8, "t"."value" ->> 9
from jsonb_each(?) as "t"
cross join "workflow_run" as "r" on "r"."workflow_run_id" = "t"."value" ->> 2"#;

// A call of the connection costs a change of threads there and back, more than most statements; so what
// needs no look at an answer goes as one text.

/// `begin`, then new runs and their counters.
static BEGIN_INSERT: LazyLock<String> =
    LazyLock::new(|| [BEGIN, INSERT_RUNS, ADVANCE_NUMBERS].join(";\n"));
/// New runs and their counters.
static INSERT: LazyLock<String> = LazyLock::new(|| [INSERT_RUNS, ADVANCE_NUMBERS].join(";\n"));
/// `begin`, then the fence.
static BEGIN_UPDATE: LazyLock<String> = LazyLock::new(|| [BEGIN, UPDATE_RUNS].join(";\n"));

/// The bit of the log in a choice of tables.
const LOG_BIT: usize = 1 << Table::ALL.len();

/// The statements for each choice of tables (a bit each, in the order of writing) and the log.
static WRITES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let choice = |bits: usize| {
        let tables = Table::ALL
            .into_iter()
            .filter(|table| bits & bit(*table) != 0);
        let mut statements: Vec<&str> = tables.map(statement).collect();
        if bits & LOG_BIT != 0 {
            statements.extend([TAKE_EVENT_IDS, APPEND_LOGS]);
        }
        statements.join(";\n")
    };
    (0..2 * LOG_BIT).map(choice).collect()
});

const fn bit(table: Table) -> usize {
    1 << table as usize
}

const fn statement(table: Table) -> &'static str {
    match table {
        Table::Job => WRITE_JOBS,
        Table::Task => WRITE_TASKS,
        Table::Attempt => WRITE_ATTEMPTS,
        Table::Io => WRITE_IO,
        Table::HostCall => WRITE_HOST_CALLS,
        Table::Consumed => CONSUME,
    }
}

/// Takes over runs without a live owner for daemon $1: at most $2, owners silent since before $3 count
/// as dead. Two halves, because each has an index of its own that holds nothing else; `indexed by`, because
/// without statistics SQLite thinks the index on the state narrower.
pub(super) const CLAIM: &str = r#"
update "workflow_run" set "owner" = $1, "lease_epoch" = "lease_epoch" + 1
where "workflow_run_id" in (select "workflow_run_id" from (
  select * from (select "workflow_run_id", "priority" from "workflow_run" indexed by "workflow_run_claim"
    where "owner" is null and "status" in ('queued', 'running', 'waiting', 'interrupted')
    order by "priority" desc, "workflow_run_id" limit $2)
  union all
  select * from (select "workflow_run_id", "priority" from "workflow_run" indexed by "workflow_run_owner"
    where "owner" in (select "daemon_id" from "daemon" where "gone_at" is not null or "seen_at" < $3)
      and "status" in ('queued', 'running', 'waiting', 'interrupted')
    order by "priority" desc, "workflow_run_id" limit $2)
  ) order by "priority" desc, "workflow_run_id" limit $2)
returning "workflow_run_id", "lease_epoch", "priority""#;

cells!(SqliteRow);

/// One statement without parameters or rows.
pub(super) async fn step(
    connection: &mut SqliteConnection,
    statement: &'static str,
) -> Result<(), Fault> {
    sqlx::query(statement)
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(fault)
}

/// What an error of SQLite means. Codes: <https://sqlite.org/rescode.html>.
pub(super) fn fault(error: sqlx::Error) -> Fault {
    let text = error.to_string();
    let code = match &error {
        sqlx::Error::Database(e) => e.code().and_then(|code| code.parse::<u32>().ok()),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
            return Fault::Corrupt(text);
        }
        _ => None,
    };
    // The low byte is the primary code, the rest says more about it.
    match code.map(|code| code & 0xff) {
        // generic error (a value that JSON cannot hold), too big, constraint, mismatch
        Some(1 | 18 | 19 | 20) => Fault::Data(text),
        // full
        Some(13) => Fault::Full(text),
        // corrupt, not a database
        Some(11 | 26) => Fault::Corrupt(text),
        _ => Fault::Lost(text),
    }
}

/// Takes over runs; the caller is inside a transaction.
pub(super) async fn claim(
    db: &mut SqliteConnection,
    daemon: DaemonId,
    limit: u32,
) -> Result<Vec<ClaimedRun>, Fault> {
    let now = super::calls::now(&mut *db).await?;
    let alive_since = now.saturating_sub(i64::try_from(LEASE.as_micros()).unwrap_or(i64::MAX));
    super::calls::check_alive(&mut *db, daemon, alive_since).await?;
    let rows = sqlx::query(CLAIM)
        .bind(daemon.to_string())
        .bind(i64::from(limit))
        .bind(alive_since)
        .fetch_all(db)
        .await
        .map_err(fault)?;
    crate::store::commit::claimed(&rows)
}

/// The writer's connection as the commit protocol sees it.
pub(super) struct SqliteDialect<'c> {
    connection: &'c mut SqliteConnection,
    /// A transaction was asked for; it begins together with its first statement, which is a fence.
    beginning: bool,
}

impl<'c> SqliteDialect<'c> {
    /// Outside a transaction.
    pub(super) fn new(connection: &'c mut SqliteConnection) -> Self {
        Self {
            connection,
            beginning: false,
        }
    }

    async fn rows(&mut self, sql: &'static str, rows: String) -> Result<Vec<SqliteRow>, Fault> {
        sqlx::query(sql)
            .bind(rows)
            .fetch_all(&mut *self.connection)
            .await
            .map_err(fault)
    }

    async fn ids(&mut self, sql: &'static str, rows: String) -> Result<Vec<RunId>, Fault> {
        let rows = self.rows(sql, rows).await?;
        rows.iter()
            .map(|row| row.parsed("workflow_run_id"))
            .collect()
    }
}

impl Dialect for SqliteDialect<'_> {
    async fn begin(&mut self) -> Result<(), Fault> {
        self.beginning = true;
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), Fault> {
        step(self.connection, COMMIT).await
    }

    async fn rollback(&mut self) -> Result<(), Fault> {
        if std::mem::take(&mut self.beginning) {
            return Ok(());
        }
        step(self.connection, ROLLBACK).await
    }

    async fn insert_runs(&mut self, rows: String) -> Result<Vec<RunId>, Fault> {
        let sql = match std::mem::take(&mut self.beginning) {
            true => &BEGIN_INSERT,
            false => &INSERT,
        };
        self.ids(sql, rows).await
    }

    async fn update_runs(&mut self, rows: String) -> Result<Vec<RunId>, Fault> {
        match std::mem::take(&mut self.beginning) {
            true => self.ids(&BEGIN_UPDATE, rows).await,
            false => self.ids(UPDATE_RUNS, rows).await,
        }
    }

    async fn look(&mut self, rows: String) -> Result<Vec<Sighting>, Fault> {
        let rows = self.rows(LOOK, rows).await?;
        rows.iter().map(crate::store::commit::sighting).collect()
    }

    async fn write(
        &mut self,
        rows: Vec<(Table, String)>,
        logs: Option<Lines>,
    ) -> Result<(), Fault> {
        let mut choice = rows.iter().fold(0, |bits, (table, _)| bits | bit(*table));
        if logs.is_some() {
            choice |= LOG_BIT;
        }
        let missing = || Fault::Corrupt("tables out of their order".into());
        let mut query = sqlx::query(WRITES.get(choice).ok_or_else(missing)?.as_str());
        for (_, rows) in rows {
            query = query.bind(rows);
        }
        if let Some(Lines { count, rows }) = logs {
            query = query.bind(count).bind(count).bind(rows);
        }
        query
            .execute(&mut *self.connection)
            .await
            .map(|_| ())
            .map_err(fault)
    }
}
