//! SQLite's statements of a commit, each for one row.

/// A new run, if its id and key are free, its workflow exists and its owner, if any, is known;
/// numbered from its workflow's counter.
pub(super) const INSERT_RUN: &str = r#"
insert into "workflow_run" ("workflow_run_id", "organization_id", "workflow_id", "workflow_name",
  "workflow_version_id", "number", "status", "trigger", "trace_id", "rerun_of", "origin_run_id", "inputs",
  "config", "idempotency_key", "priority", "owner", "lease_epoch", "revision", "scheduled_at", "created_at",
  "started_at", "finished_at", "tolerated_failures", "failure_code", "failure_message",
  "parent_run_id", "parent_task_run_id", "triggered_by", "root_run_id", "depth")
select ?1, ?2, ?3, ?4, ?5, case when ?6 > 0 then ?6 else "w"."last_number" + 1 end, ?7, ?8, ?9, ?10, ?11, ?12,
  ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25,
  ?26, ?27, ?28, ?29, ?30
from "workflow" as "w" where "w"."workflow_id" = ?3
  and not exists (select 1 from "workflow_run" as "r" where "r"."workflow_run_id" = ?1)
  and not exists (select 1 from "workflow_run" as "r"
    where "r"."organization_id" = ?2 and "r"."idempotency_key" = ?14)
  and (?16 is null or exists (select 1 from "daemon" as "d" where "d"."daemon_id" = ?16))"#;

/// Moves the counter of a workflow ($2) to the number of its new run ($1).
pub(super) const ADVANCE_NUMBER: &str = r#"
update "workflow" set "last_number" = max("last_number",
  (select "number" from "workflow_run" where "workflow_run_id" = ?1))
where "workflow_id" = ?2"#;

/// Notes the workflows that start after the end of this run, which has just come to it.
pub(super) const NOTE_END: &str = r#"
insert into "trigger_delivery" ("trigger_delivery_id", "organization_id", "source_run_id", "source_status",
  "workflow_id", "state", "due_at", "created_at")
select "r"."workflow_run_id" || '.' || "t"."workflow_id", "r"."organization_id", "r"."workflow_run_id", "r"."status",
  "t"."workflow_id", 'pending', "r"."finished_at", "r"."finished_at"
from "workflow_run" as "r" join "workflow_trigger" as "t" on "t"."organization_id" = "r"."organization_id"
  and "t"."source_name" = "r"."workflow_name" and "t"."source_status" = "r"."status"
where "r"."workflow_run_id" = ?1"#;

/// The fence: a run at the expected epoch and revision.
pub(super) const FENCE: &str = r#"
select rowid, "status", "organization_id" from "workflow_run"
where "workflow_run_id" = ?1 and "lease_epoch" = ?2 and "revision" = ?3"#;

/// A step of a run that stays in its state, as most do: no index has an entry to be rewritten.
pub(super) const MOVE: &str = r#"
update "workflow_run" set "revision" = "revision" + 1, "started_at" = ?2, "finished_at" = ?3,
  "tolerated_failures" = ?4, "failure_code" = ?5, "failure_message" = ?6
where rowid = ?1"#;

/// A step of a run into another state.
pub(super) const MOVE_ON: &str = r#"
update "workflow_run" set "revision" = "revision" + 1, "started_at" = ?2, "finished_at" = ?3,
  "tolerated_failures" = ?4, "failure_code" = ?5, "failure_message" = ?6, "status" = ?7
where rowid = ?1"#;

/// The same for a run whose place in the table and whose state are known from before: the fence and the step at once.
pub(super) const MOVE_KNOWN: &str = r#"
update "workflow_run" set "revision" = "revision" + 1, "started_at" = ?2, "finished_at" = ?3,
  "tolerated_failures" = ?4, "failure_code" = ?5, "failure_message" = ?6
where rowid = ?1 and "workflow_run_id" = ?7 and "lease_epoch" = ?8 and "revision" = ?9 and "status" = ?10"#;

/// What is known of a run that did not pass: $1 itself, $2 organization, $3 key.
pub(super) const LOOK: &str = r#"
select (select "lease_epoch" from "workflow_run" where "workflow_run_id" = ?1),
  (select "workflow_run_id" from "workflow_run" where "organization_id" = ?2 and "idempotency_key" = ?3)"#;

/// A job run, inserted or replaced by its id.
pub(super) const PUT_JOB: &str = r#"
insert into "job_run" ("job_run_id", "workflow_run_id", "organization_id", "job", "status", "started_at",
  "finished_at", "tolerated_failures")
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
on conflict ("job_run_id") do update set "status" = excluded."status",
  "started_at" = excluded."started_at", "finished_at" = excluded."finished_at",
  "tolerated_failures" = excluded."tolerated_failures""#;

/// A task run, likewise.
pub(super) const PUT_TASK: &str = r#"
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

/// A task run that is there ends, as nearly all do: none of the checks that an insert makes first.
pub(super) const END_TASK: &str = r#"
update "task_run" set "status" = ?2, "attempts" = ?3, "interrupts" = ?4, "tolerated" = ?5, "ready_at" = ?6,
  "started_at" = ?7, "finished_at" = ?8, "retry_at" = ?9, "output_io_id" = ?10, "reason_code" = ?11,
  "reason_message" = ?12
where "task_run_id" = ?1"#;

/// An attempt that is there ends.
pub(super) const END_ATTEMPT: &str = r#"
update "task_attempt" set "lease_epoch" = ?2, "daemon_id" = ?3, "status" = ?4, "started_at" = ?5,
  "finished_at" = ?6, "cpu_us" = ?7, "memory_peak_bytes" = ?8, "logs_dropped" = ?9, "failure" = ?10
where "task_attempt_id" = ?1"#;

/// An attempt, likewise.
pub(super) const PUT_ATTEMPT: &str = r#"
insert into "task_attempt" ("task_attempt_id", "task_run_id", "workflow_run_id", "organization_id", "number",
  "lease_epoch", "daemon_id", "status", "started_at", "finished_at", "cpu_us", "memory_peak_bytes",
  "logs_dropped", "failure")
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
on conflict ("task_attempt_id") do update set "lease_epoch" = excluded."lease_epoch",
  "daemon_id" = excluded."daemon_id", "status" = excluded."status", "started_at" = excluded."started_at",
  "finished_at" = excluded."finished_at", "cpu_us" = excluded."cpu_us",
  "memory_peak_bytes" = excluded."memory_peak_bytes", "logs_dropped" = excluded."logs_dropped",
  "failure" = excluded."failure""#;

/// An input or output.
pub(super) const ADD_IO: &str = r#"
insert into "task_io_data" ("task_io_data_id", "workflow_run_id", "organization_id", "task_run_id",
  "task_attempt_id", "kind", "data", "origins", "created_at")
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"#;

/// A broker call.
pub(super) const ADD_HOST_CALL: &str = r#"
insert into "host_call" ("host_call_id", "workflow_run_id", "organization_id", "task_attempt_id", "kind",
  "target", "verb", "outcome", "sent_bytes", "received_bytes", "started_at", "duration_us")
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"#;

/// An order that was carried out.
pub(super) const CONSUME: &str = r#"delete from "run_command" where "run_command_id" = ?1"#;

/// The last event id.
pub(super) const LAST_EVENT_ID: &str =
    r#"select "value" from "stream" where "stream_id" = 'execution_log'"#;

/// Keeps the last event id: once a transaction, which nobody else writes beside.
pub(super) const KEEP_EVENT_ID: &str =
    r#"update "stream" set "value" = ?1 where "stream_id" = 'execution_log'"#;

/// A log line with the next event id.
pub(super) const ADD_LOG: &str = r#"
insert into "execution_log" ("execution_log_id", "organization_id", "workflow_run_id", "task_run_id",
  "task_attempt_id", "kind", "level", "message", "fields", "created_at")
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"#;
