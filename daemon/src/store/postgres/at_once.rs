//! A whole commit as one statement, which is one journey to the server and its own transaction.
//!
//! It does what the steps of `store::commit` do one after the other. Where one statement cannot, because a run or
//! a key occurs twice in the batch, turns or dead letters change, or the server refuses some row, those steps do it instead.

use std::collections::HashSet;

use sqlx::postgres::PgConnection;

use super::dialect::{PgDialect, fault};
use crate::id::RunId;
use crate::store::batch::{Batch, Head, Table};
use crate::store::cells::Cells as _;
use crate::store::commit::{Dialect as _, Fault, is_one_wave, reason};
use crate::store::{CommitOutcome, StoreError};

/// New runs $1 and moved runs $2 that pass; of those that do, jobs $3, tasks $4, attempts $5, data $6, calls $7,
/// orders $8, ends $9 and lines $10. What each part means is said in `statements`.
///
/// The parts see the data as it was before the statement and know of each other only what "passed" and the others
/// hand on. That order puts the counter of event ids, where daemons wait for each other, after the fence.
const COMMIT_AT_ONCE: &str = r#"
with "w" as (select "workflow_id", "last_number" from "workflow"
    where "workflow_id" in (select "t"."workflow_id" from json_to_recordset($1::json) as "t"("workflow_id" text))
    order by "workflow_id" for update),
"inserted" as (
insert into "workflow_run" ("workflow_run_id", "organization_id", "workflow_id", "workflow_name", "workflow_version_id", "number",
  "status", "trigger", "trace_id", "rerun_of", "origin_run_id", "inputs", "config", "idempotency_key",
  "priority", "owner", "lease_epoch", "revision", "scheduled_at", "created_at", "started_at",
  "finished_at", "tolerated_failures", "failure_code", "failure_message",
  "parent_run_id", "parent_task_run_id", "triggered_by", "root_run_id", "depth")
select "t"."workflow_run_id", "t"."organization_id", "t"."workflow_id", "t"."workflow_name",
  "t"."workflow_version_id",
  case when "t"."number" > 0 then "t"."number"
    else "w"."last_number" + row_number() over (partition by "w"."workflow_id" order by "t"."ordinality") end,
  "t"."status", "t"."trigger", "t"."trace_id", "t"."rerun_of", "t"."origin_run_id", "t"."inputs",
  "t"."config", "t"."idempotency_key", "t"."priority", "t"."owner", "t"."lease_epoch", "t"."revision",
  "t"."scheduled_at", "t"."created_at", "t"."started_at", "t"."finished_at", "t"."tolerated_failures",
  "t"."failure_code", "t"."failure_message", "t"."parent_run_id", "t"."parent_task_run_id", "t"."triggered_by",
  "t"."root_run_id", "t"."depth"
from rows from (json_to_recordset($1::json) as ("workflow_run_id" text, "organization_id" text, "workflow_id" text, "workflow_name" text,
  "workflow_version_id" text, "number" bigint, "status" text, "trigger" text, "trace_id" text,
  "rerun_of" text, "origin_run_id" text, "inputs" text, "config" text, "idempotency_key" text,
  "priority" bigint, "owner" text, "lease_epoch" bigint, "revision" bigint, "scheduled_at" bigint,
  "created_at" bigint, "started_at" bigint, "finished_at" bigint, "tolerated_failures" bigint,
  "failure_code" text, "failure_message" text, "parent_run_id" text, "parent_task_run_id" text,
  "triggered_by" text, "root_run_id" text, "depth" bigint)) with ordinality as "t"
join "w" on "w"."workflow_id" = "t"."workflow_id"
where not exists (select 1 from "workflow_run" as "r" where "r"."workflow_run_id" = "t"."workflow_run_id")
  and not exists (select 1 from "workflow_run" as "r"
    where "r"."organization_id" = "t"."organization_id" and "r"."idempotency_key" = "t"."idempotency_key")
  and ("t"."owner" is null or exists (select 1 from "daemon" as "d" where "d"."daemon_id" = "t"."owner"))
on conflict do nothing
returning "workflow_run_id", "organization_id", "workflow_id", "number", "workflow_name", "status", "finished_at"),
"numbered" as (
update "workflow" set "last_number" = greatest("workflow"."last_number", "m"."number")
from (select "workflow_id", max("number") as "number" from "inserted" group by "workflow_id") as "m"
where "workflow"."workflow_id" = "m"."workflow_id"),
"moved" as (
update "workflow_run" as "r" set "revision" = "r"."revision" + 1,
  "status" = "t"."status", "started_at" = "t"."started_at", "finished_at" = "t"."finished_at",
  "tolerated_failures" = "t"."tolerated_failures", "failure_code" = "t"."failure_code",
  "failure_message" = "t"."failure_message"
from json_to_recordset($2::json) as "t"("workflow_run_id" text, "lease_epoch" bigint, "revision" bigint, "status" text, "started_at" bigint,
  "finished_at" bigint, "tolerated_failures" bigint, "failure_code" text, "failure_message" text)
where "r"."workflow_run_id" = "t"."workflow_run_id" and "r"."lease_epoch" = "t"."lease_epoch"
  and "r"."revision" = "t"."revision"
returning "r"."workflow_run_id", "r"."organization_id", "r"."workflow_name", "r"."status", "r"."finished_at"),
"passed" as materialized (
select "workflow_run_id", "organization_id", "workflow_name", "status", "finished_at" from "inserted"
  union all select "workflow_run_id", "organization_id", "workflow_name", "status", "finished_at" from "moved"),
"jobs" as (
insert into "job_run" ("job_run_id", "workflow_run_id", "organization_id", "job", "status", "started_at", "finished_at",
  "tolerated_failures")
select "job_run_id", "workflow_run_id", "organization_id", "job", "status", "started_at", "finished_at",
  "tolerated_failures"
from json_to_recordset($3::json) as "t"("job_run_id" text, "workflow_run_id" text, "organization_id" text, "job" text, "status" text,
  "started_at" bigint, "finished_at" bigint, "tolerated_failures" bigint)
where "workflow_run_id" in (select "workflow_run_id" from "passed")
on conflict ("job_run_id") do update set "status" = excluded."status", "started_at" = excluded."started_at", "finished_at" = excluded."finished_at",
  "tolerated_failures" = excluded."tolerated_failures"),
"tasks" as (
insert into "task_run" ("task_run_id", "workflow_run_id", "organization_id", "job", "task", "item_index", "status", "attempts",
  "interrupts", "tolerated", "ready_at", "started_at", "finished_at", "retry_at", "output_io_id",
  "reason_code", "reason_message")
select "task_run_id", "workflow_run_id", "organization_id", "job", "task", "item_index", "status", "attempts",
  "interrupts", "tolerated", "ready_at", "started_at", "finished_at", "retry_at", "output_io_id",
  "reason_code", "reason_message"
from json_to_recordset($4::json) as "t"("task_run_id" text, "workflow_run_id" text, "organization_id" text, "job" text, "task" text,
  "item_index" bigint, "status" text, "attempts" bigint, "interrupts" bigint, "tolerated" bigint,
  "ready_at" bigint, "started_at" bigint, "finished_at" bigint, "retry_at" bigint, "output_io_id" text,
  "reason_code" text, "reason_message" text)
where "workflow_run_id" in (select "workflow_run_id" from "passed")
on conflict ("task_run_id") do update set "status" = excluded."status", "attempts" = excluded."attempts", "interrupts" = excluded."interrupts",
  "tolerated" = excluded."tolerated", "ready_at" = excluded."ready_at",
  "started_at" = excluded."started_at", "finished_at" = excluded."finished_at",
  "retry_at" = excluded."retry_at", "output_io_id" = excluded."output_io_id",
  "reason_code" = excluded."reason_code", "reason_message" = excluded."reason_message"),
"attempts" as (
insert into "task_attempt" ("task_attempt_id", "task_run_id", "workflow_run_id", "organization_id", "number", "lease_epoch",
  "daemon_id", "status", "started_at", "finished_at", "cpu_us", "memory_peak_bytes", "logs_dropped",
  "failure")
select "task_attempt_id", "task_run_id", "workflow_run_id", "organization_id", "number", "lease_epoch",
  "daemon_id", "status", "started_at", "finished_at", "cpu_us", "memory_peak_bytes", "logs_dropped",
  "failure"
from json_to_recordset($5::json) as "t"("task_attempt_id" text, "task_run_id" text, "workflow_run_id" text, "organization_id" text,
  "number" bigint, "lease_epoch" bigint, "daemon_id" text, "status" text, "started_at" bigint,
  "finished_at" bigint, "cpu_us" bigint, "memory_peak_bytes" bigint, "logs_dropped" bigint, "failure" text)
where "workflow_run_id" in (select "workflow_run_id" from "passed")
on conflict ("task_attempt_id") do update set "lease_epoch" = excluded."lease_epoch", "daemon_id" = excluded."daemon_id", "status" = excluded."status",
  "started_at" = excluded."started_at", "finished_at" = excluded."finished_at",
  "cpu_us" = excluded."cpu_us", "memory_peak_bytes" = excluded."memory_peak_bytes",
  "logs_dropped" = excluded."logs_dropped", "failure" = excluded."failure"),
"data" as (
insert into "task_io_data" ("task_io_data_id", "workflow_run_id", "organization_id", "task_run_id", "task_attempt_id", "kind", "data",
  "origins", "created_at")
select "task_io_data_id", "workflow_run_id", "organization_id", "task_run_id", "task_attempt_id", "kind", "data",
  "origins", "created_at"
from json_to_recordset($6::json) as "t"("task_io_data_id" text, "workflow_run_id" text, "organization_id" text, "task_run_id" text,
  "task_attempt_id" text, "kind" text, "data" text, "origins" text, "created_at" bigint)
where "workflow_run_id" in (select "workflow_run_id" from "passed")),
"calls" as (
insert into "host_call" ("host_call_id", "workflow_run_id", "organization_id", "task_attempt_id", "kind", "target", "verb",
  "outcome", "sent_bytes", "received_bytes", "started_at", "duration_us")
select "host_call_id", "workflow_run_id", "organization_id", "task_attempt_id", "kind", "target", "verb",
  "outcome", "sent_bytes", "received_bytes", "started_at", "duration_us"
from json_to_recordset($7::json) as "t"("host_call_id" text, "workflow_run_id" text, "organization_id" text, "task_attempt_id" text, "kind" text,
  "target" text, "verb" text, "outcome" text, "sent_bytes" bigint, "received_bytes" bigint,
  "started_at" bigint, "duration_us" bigint)
where "workflow_run_id" in (select "workflow_run_id" from "passed")),
"consumed" as (
delete from "run_command" where "run_command_id" in
  (select "t"."run_command_id" from json_to_recordset($8::json) as "t"("run_command_id" text))
  and "workflow_run_id" in (select "workflow_run_id" from "passed")),
"told" as (
insert into "trigger_delivery" ("trigger_delivery_id", "organization_id", "source_run_id", "source_status",
  "workflow_id", "state", "due_at", "created_at")
select "r"."workflow_run_id" || '.' || "w"."workflow_id", "r"."organization_id", "r"."workflow_run_id", "r"."status",
  "w"."workflow_id", 'pending', "r"."finished_at", "r"."finished_at"
from json_to_recordset($9::json) as "t"("workflow_run_id" text)
join "passed" as "r" on "r"."workflow_run_id" = "t"."workflow_run_id"
join "workflow_trigger" as "w" on "w"."organization_id" = "r"."organization_id"
  and "w"."source_name" = "r"."workflow_name" and "w"."source_status" = "r"."status"),
"lines" as materialized (
select row_number() over (order by "t"."ordinal", "t"."line") as "place", "t".*, "passed"."organization_id"
from json_to_recordset($10::json) as "t"("ordinal" bigint, "line" bigint, "workflow_run_id" text, "task_run_id" text, "task_attempt_id" text,
  "kind" text, "level" text, "message" text, "fields" text, "created_at" bigint)
join "passed" on "passed"."workflow_run_id" = "t"."workflow_run_id"),
"counted" as (select count(*) as "lines" from "lines"),
"taken" as (
update "stream" set "value" = "value" + "counted"."lines" from "counted"
where "stream_id" = 'execution_log' and "counted"."lines" > 0
returning "stream"."value" - "counted"."lines" as "before"),
"logged" as (
insert into "execution_log" ("execution_log_id", "organization_id", "workflow_run_id", "task_run_id", "task_attempt_id", "kind", "level", "message", "fields", "created_at")
select "taken"."before" + "place", "organization_id", "workflow_run_id", "task_run_id", "task_attempt_id", "kind", "level", "message",
  "fields", "created_at"
from "lines" cross join "taken")
select "workflow_run_id" from "passed""#;

/// Commits a batch with one statement; none if that takes the steps one by one, and nothing was written.
pub(super) async fn commit_at_once(
    db: &mut PgConnection,
    batch: &Batch,
) -> Result<Option<Vec<CommitOutcome>>, Fault> {
    if !is_one_wave(batch) || batch.has_controls() {
        return Ok(None);
    }
    let through = match write(db, batch).await {
        Ok(through) => through,
        // Undone, as any single statement is. The steps find the offender, or wait their turn.
        Err(Fault::Data(_) | Fault::Again(_)) => return Ok(None),
        Err(other) => return Err(other),
    };
    let outcome_of = |head: &Head| match through.contains(&head.run_id) {
        true => CommitOutcome::Committed,
        false => CommitOutcome::Conflict,
    };
    let mut outcomes: Vec<CommitOutcome> = batch.heads.iter().map(outcome_of).collect();
    let stopped: Vec<usize> = (0..)
        .zip(&outcomes)
        .filter(|(_, outcome)| **outcome != CommitOutcome::Committed)
        .map(|(ordinal, _)| ordinal)
        .collect();
    if let Some(rows) = batch.looks(&stopped)? {
        // Why they stopped is asked afterwards, which is as good: an epoch never goes back. The others are durable,
        // so that nobody answers now means that the outcome of the batch is unknown.
        let look = PgDialect { connection: db }.look(rows).await;
        for sighting in look.map_err(|fault| Fault::Lost(StoreError::from(fault).to_string()))? {
            let at = sighting.ordinal;
            if let (Some(outcome), Some(head)) = (outcomes.get_mut(at), batch.heads.get(at)) {
                *outcome = reason(head.insert.is_some(), head.lease_epoch, &sighting);
            }
        }
    }
    Ok(Some(outcomes))
}

/// Answers the runs that passed.
async fn write(db: &mut PgConnection, batch: &Batch) -> Result<HashSet<RunId>, Fault> {
    let all: Vec<usize> = (0..batch.heads.len()).collect();
    let none = || "[]".to_owned();
    let mut query = sqlx::query(COMMIT_AT_ONCE)
        .bind(batch.inserts(&all)?.unwrap_or_else(none))
        .bind(batch.updates(&all)?.unwrap_or_else(none));
    for table in Table::ALL {
        query = query.bind(batch.rows(table, &all)?.unwrap_or_else(none));
    }
    let rows = query
        .bind(batch.logs(&all)?.unwrap_or_else(none))
        .fetch_all(db)
        .await
        .map_err(fault)?;
    rows.iter()
        .map(|row| row.parsed("workflow_run_id"))
        .collect()
}
