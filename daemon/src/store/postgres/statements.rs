//! PostgreSQL's statements: set-based writes over `json_to_recordset`, and the claim.
//!
//! `json`, not `jsonb`: it is read once and thrown away, so building a tree would be wasted.

/// New runs whose id and key are free, whose workflow exists, and whose owner, if any, is known;
/// numbered from their workflow's counter. `on conflict` is for a key that another daemon writes at this moment.
pub(super) const INSERT_RUNS: &str = r#"
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
join "workflow" as "w" on "w"."workflow_id" = "t"."workflow_id"
where not exists (select 1 from "workflow_run" as "r" where "r"."workflow_run_id" = "t"."workflow_run_id")
  and not exists (select 1 from "workflow_run" as "r"
    where "r"."organization_id" = "t"."organization_id" and "r"."idempotency_key" = "t"."idempotency_key")
  and ("t"."owner" is null or exists (select 1 from "daemon" as "d" where "d"."daemon_id" = "t"."owner"))
on conflict do nothing
returning "workflow_run_id""#;

/// Makes daemons that number runs of the same workflow take turns, always in the same order.
pub(super) const LOCK_WORKFLOWS: &str = r#"
select "workflow_id" from "workflow"
where "workflow_id" in (select "t"."workflow_id" from json_to_recordset($1::json) as "t"("workflow_id" text))
order by "workflow_id" for update"#;

/// Moves the counters of the workflows of these runs to the highest number given.
pub(super) const ADVANCE_NUMBERS: &str = r#"
update "workflow" set "last_number" = greatest("workflow"."last_number", "m"."number")
from (select "r"."workflow_id" as "workflow_id", max("r"."number") as "number"
  from json_to_recordset($1::json) as "t"("workflow_run_id" text)
  join "workflow_run" as "r" on "r"."workflow_run_id" = "t"."workflow_run_id"
  group by "r"."workflow_id") as "m"
where "workflow"."workflow_id" = "m"."workflow_id""#;

/// The fence: only a run at the expected epoch and revision moves.
pub(super) const UPDATE_RUNS: &str = r#"
update "workflow_run" as "r" set "revision" = "r"."revision" + 1,
  "status" = "t"."status", "started_at" = "t"."started_at", "finished_at" = "t"."finished_at",
  "tolerated_failures" = "t"."tolerated_failures", "failure_code" = "t"."failure_code",
  "failure_message" = "t"."failure_message"
from json_to_recordset($1::json) as "t"("workflow_run_id" text, "lease_epoch" bigint, "revision" bigint, "status" text, "started_at" bigint,
  "finished_at" bigint, "tolerated_failures" bigint, "failure_code" text, "failure_message" text)
where "r"."workflow_run_id" = "t"."workflow_run_id" and "r"."lease_epoch" = "t"."lease_epoch"
  and "r"."revision" = "t"."revision"
returning "r"."workflow_run_id""#;

/// What is known of runs that did not pass.
pub(super) const LOOK: &str = r#"
select "t"."ordinal" as "ordinal", "r"."lease_epoch" as "lease_epoch",
  (select "h"."workflow_run_id" from "workflow_run" as "h"
   where "h"."organization_id" = "t"."organization_id" and "h"."idempotency_key" = "t"."idempotency_key") as "holder"
from json_to_recordset($1::json) as "t"("ordinal" bigint, "workflow_run_id" text, "organization_id" text,
  "idempotency_key" text)
left join "workflow_run" as "r" on "r"."workflow_run_id" = "t"."workflow_run_id""#;

/// Job runs, replaced by id.
pub(super) const WRITE_JOBS: &str = r#"
insert into "job_run" ("job_run_id", "workflow_run_id", "organization_id", "job", "status", "started_at", "finished_at",
  "tolerated_failures")
select "job_run_id", "workflow_run_id", "organization_id", "job", "status", "started_at", "finished_at",
  "tolerated_failures"
from json_to_recordset($1::json) as "t"("job_run_id" text, "workflow_run_id" text, "organization_id" text, "job" text, "status" text,
  "started_at" bigint, "finished_at" bigint, "tolerated_failures" bigint)
on conflict ("job_run_id") do update set "status" = excluded."status", "started_at" = excluded."started_at", "finished_at" = excluded."finished_at",
  "tolerated_failures" = excluded."tolerated_failures""#;

/// Task runs, replaced by id.
pub(super) const WRITE_TASKS: &str = r#"
insert into "task_run" ("task_run_id", "workflow_run_id", "organization_id", "job", "task", "item_index", "status", "attempts",
  "interrupts", "tolerated", "ready_at", "started_at", "finished_at", "retry_at", "output_io_id",
  "reason_code", "reason_message")
select "task_run_id", "workflow_run_id", "organization_id", "job", "task", "item_index", "status", "attempts",
  "interrupts", "tolerated", "ready_at", "started_at", "finished_at", "retry_at", "output_io_id",
  "reason_code", "reason_message"
from json_to_recordset($1::json) as "t"("task_run_id" text, "workflow_run_id" text, "organization_id" text, "job" text, "task" text,
  "item_index" bigint, "status" text, "attempts" bigint, "interrupts" bigint, "tolerated" bigint,
  "ready_at" bigint, "started_at" bigint, "finished_at" bigint, "retry_at" bigint, "output_io_id" text,
  "reason_code" text, "reason_message" text)
on conflict ("task_run_id") do update set "status" = excluded."status", "attempts" = excluded."attempts", "interrupts" = excluded."interrupts",
  "tolerated" = excluded."tolerated", "ready_at" = excluded."ready_at",
  "started_at" = excluded."started_at", "finished_at" = excluded."finished_at",
  "retry_at" = excluded."retry_at", "output_io_id" = excluded."output_io_id",
  "reason_code" = excluded."reason_code", "reason_message" = excluded."reason_message""#;

/// Attempts, replaced by id.
pub(super) const WRITE_ATTEMPTS: &str = r#"
insert into "task_attempt" ("task_attempt_id", "task_run_id", "workflow_run_id", "organization_id", "number", "lease_epoch",
  "daemon_id", "status", "started_at", "finished_at", "cpu_us", "memory_peak_bytes", "logs_dropped",
  "failure")
select "task_attempt_id", "task_run_id", "workflow_run_id", "organization_id", "number", "lease_epoch",
  "daemon_id", "status", "started_at", "finished_at", "cpu_us", "memory_peak_bytes", "logs_dropped",
  "failure"
from json_to_recordset($1::json) as "t"("task_attempt_id" text, "task_run_id" text, "workflow_run_id" text, "organization_id" text,
  "number" bigint, "lease_epoch" bigint, "daemon_id" text, "status" text, "started_at" bigint,
  "finished_at" bigint, "cpu_us" bigint, "memory_peak_bytes" bigint, "logs_dropped" bigint, "failure" text)
on conflict ("task_attempt_id") do update set "lease_epoch" = excluded."lease_epoch", "daemon_id" = excluded."daemon_id", "status" = excluded."status",
  "started_at" = excluded."started_at", "finished_at" = excluded."finished_at",
  "cpu_us" = excluded."cpu_us", "memory_peak_bytes" = excluded."memory_peak_bytes",
  "logs_dropped" = excluded."logs_dropped", "failure" = excluded."failure""#;

/// Inputs and outputs.
pub(super) const WRITE_IO: &str = r#"
insert into "task_io_data" ("task_io_data_id", "workflow_run_id", "organization_id", "task_run_id", "task_attempt_id", "kind", "data",
  "origins", "created_at")
select "task_io_data_id", "workflow_run_id", "organization_id", "task_run_id", "task_attempt_id", "kind", "data",
  "origins", "created_at"
from json_to_recordset($1::json) as "t"("task_io_data_id" text, "workflow_run_id" text, "organization_id" text, "task_run_id" text,
  "task_attempt_id" text, "kind" text, "data" text, "origins" text, "created_at" bigint)"#;

/// Broker calls.
pub(super) const WRITE_HOST_CALLS: &str = r#"
insert into "host_call" ("host_call_id", "workflow_run_id", "organization_id", "task_attempt_id", "kind", "target", "verb",
  "outcome", "sent_bytes", "received_bytes", "started_at", "duration_us")
select "host_call_id", "workflow_run_id", "organization_id", "task_attempt_id", "kind", "target", "verb",
  "outcome", "sent_bytes", "received_bytes", "started_at", "duration_us"
from json_to_recordset($1::json) as "t"("host_call_id" text, "workflow_run_id" text, "organization_id" text, "task_attempt_id" text, "kind" text,
  "target" text, "verb" text, "outcome" text, "sent_bytes" bigint, "received_bytes" bigint,
  "started_at" bigint, "duration_us" bigint)"#;

/// Orders that were carried out.
pub(super) const CONSUME: &str = r#"
delete from "run_command" where "run_command_id" in
  (select "t"."run_command_id" from json_to_recordset($1::json) as "t"("run_command_id" text))"#;

/// Notes the workflows that start after the ends of these runs, which have just come to them.
pub(super) const NOTE_ENDS: &str = r#"
insert into "trigger_delivery" ("trigger_delivery_id", "organization_id", "source_run_id", "source_status",
  "workflow_id", "state", "due_at", "created_at")
select "r"."workflow_run_id" || '.' || "w"."workflow_id", "r"."organization_id", "r"."workflow_run_id", "r"."status",
  "w"."workflow_id", 'pending', "r"."finished_at", "r"."finished_at"
from json_to_recordset($1::json) as "t"("workflow_run_id" text)
join "workflow_run" as "r" on "r"."workflow_run_id" = "t"."workflow_run_id"
join "workflow_trigger" as "w" on "w"."organization_id" = "r"."organization_id"
  and "w"."source_name" = "r"."workflow_name" and "w"."source_status" = "r"."status""#;

/// Takes a range of event ids; answers the last one. The row stays locked until the commit, so ranges
/// become visible in their order.
pub(super) const TAKE_EVENT_IDS: &str = r#"
update "stream" set "value" = "value" + $1 where "stream_id" = 'execution_log' returning "value""#;

/// Log lines with the ids after $2, in order.
pub(super) const APPEND_LOGS: &str = r#"
insert into "execution_log" ("execution_log_id", "organization_id", "workflow_run_id", "task_run_id", "task_attempt_id", "kind", "level", "message", "fields", "created_at")
select $2 + row_number() over (order by "t"."ordinal", "t"."line"), "r"."organization_id",
  "t"."workflow_run_id", "t"."task_run_id", "t"."task_attempt_id", "t"."kind", "t"."level", "t"."message",
  "t"."fields", "t"."created_at"
from json_to_recordset($1::json) as "t"("ordinal" bigint, "line" bigint, "workflow_run_id" text, "task_run_id" text, "task_attempt_id" text,
  "kind" text, "level" text, "message" text, "fields" text, "created_at" bigint)
join "workflow_run" as "r" on "r"."workflow_run_id" = "t"."workflow_run_id""#;

/// Takes over runs without a live owner for daemon $1: at most $2, owners silent for longer than their
/// lease at $3 count as dead. Rows that another daemon is claiming are passed over.
pub(super) const CLAIM: &str = r#"
with "free" as (select "workflow_run_id", "priority" from "workflow_run"
    where "owner" is null and "status" in ('queued', 'running', 'waiting', 'interrupted')
    order by "priority" desc, "workflow_run_id" limit $2 for update skip locked),
  "dead" as (select "workflow_run_id", "priority" from "workflow_run"
    where "owner" in (select "daemon_id" from "daemon" where "gone_at" is not null or "seen_at" + "lease_us" < $3) and "status" in ('queued', 'running', 'waiting', 'interrupted')
    order by "priority" desc, "workflow_run_id" limit $2 for update of "workflow_run" skip locked),
  "best" as (select * from "free" union all select * from "dead"
    order by "priority" desc, "workflow_run_id" limit $2)
update "workflow_run" as "r" set "owner" = $1, "lease_epoch" = "r"."lease_epoch" + 1
from "best" where "r"."workflow_run_id" = "best"."workflow_run_id"
returning "r"."workflow_run_id", "r"."lease_epoch", "r"."priority""#;
