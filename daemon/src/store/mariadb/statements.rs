//! MariaDB's statements: sets of rows by JSON_TABLE or in one `values`, the claim, and what the shared ones say otherwise.
//!
//! JSON_TABLE cuts text that is longer than its column and reads a word as the number 0, both in silence
//! (10.11, even with `error on error`). So it reads only what `batch` wrote: whole numbers, and text as `longtext`,
//! which the table's own column then measures. Rows with what guests made go as `values`, where each parameter has
//! its type and large outputs are not escaped once more. That is also faster: a row of `task_run` took 64 µs
//! against 123 µs where eight go together, 57 µs against 82 µs of 128 (medians of three, 10.11).

/// Makes daemons that number runs of the same workflow take turns, in the order in which the workflows are
/// given: a sort here would come after the locks.
pub(super) const LOCK_WORKFLOWS: &str = r#"
select straight_join "w"."workflow_id"
from json_table($1, '$[*]' columns ("workflow_id" longtext path '$' error on error)) as "t"
join "workflow" as "w" on "w"."workflow_id" = "t"."workflow_id"
for update"#;

/// New runs whose id and key are free, whose workflow exists, and whose owner, if any, is known;
/// numbered from their workflow's counter.
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
from json_table($1, '$[*]' columns ("ordinality" for ordinality,
  "workflow_run_id" longtext path '$[0]' error on error, "organization_id" longtext path '$[1]' error on error,
  "workflow_id" longtext path '$[2]' error on error, "workflow_name" longtext path '$[3]' error on error,
  "workflow_version_id" longtext path '$[4]' error on error, "number" bigint path '$[5]' error on error,
  "status" longtext path '$[6]' error on error, "trigger" longtext path '$[7]' error on error,
  "trace_id" longtext path '$[8]' error on error, "rerun_of" longtext path '$[9]' error on error,
  "origin_run_id" longtext path '$[10]' error on error, "inputs" longtext path '$[11]' error on error,
  "config" longtext path '$[12]' error on error, "idempotency_key" longtext path '$[13]' error on error,
  "priority" bigint path '$[14]' error on error, "owner" longtext path '$[15]' error on error,
  "lease_epoch" bigint path '$[16]' error on error, "revision" bigint path '$[17]' error on error,
  "scheduled_at" bigint path '$[18]' error on error, "created_at" bigint path '$[19]' error on error,
  "started_at" bigint path '$[20]' error on error, "finished_at" bigint path '$[21]' error on error,
  "tolerated_failures" bigint path '$[22]' error on error, "failure_code" longtext path '$[23]' error on error,
  "failure_message" longtext path '$[24]' error on error, "parent_run_id" longtext path '$[25]' error on error,
  "parent_task_run_id" longtext path '$[26]' error on error, "triggered_by" longtext path '$[27]' error on error,
  "root_run_id" longtext path '$[28]' error on error, "depth" bigint path '$[29]' error on error)) as "t"
join "workflow" as "w" on "w"."workflow_id" = "t"."workflow_id"
where not exists (select 1 from "workflow_run" as "r" where "r"."workflow_run_id" = "t"."workflow_run_id")
  and not exists (select 1 from "workflow_run" as "r"
    where "r"."organization_id" = "t"."organization_id" and "r"."idempotency_key" = "t"."idempotency_key")
  and ("t"."owner" is null or exists (select 1 from "daemon" as "d" where "d"."daemon_id" = "t"."owner"))
returning "workflow_run_id""#;

/// Moves the counters of the workflows of these runs to the highest number given.
pub(super) const ADVANCE_NUMBERS: &str = r#"
update (select "r"."workflow_id" as "workflow_id", max("r"."number") as "number"
  from json_table($1, '$[*]' columns ("workflow_run_id" longtext path '$[0]' error on error)) as "t"
  straight_join "workflow_run" as "r" on "r"."workflow_run_id" = "t"."workflow_run_id"
  group by "r"."workflow_id") as "m"
straight_join "workflow" as "w" on "w"."workflow_id" = "m"."workflow_id"
set "w"."last_number" = greatest("w"."last_number", "m"."number")"#;

/// The fence: locks the runs that are at the expected epoch and revision. `update` has no `returning` here;
/// `straight_join` keeps the batch outside, the runs inside.
pub(super) const PASS: &str = r#"
select straight_join "r"."workflow_run_id"
from json_table($1, '$[*]' columns ("workflow_run_id" longtext path '$[0]' error on error,
  "lease_epoch" bigint path '$[1]' error on error, "revision" bigint path '$[2]' error on error)) as "t"
join "workflow_run" as "r" on "r"."workflow_run_id" = "t"."workflow_run_id"
where "r"."lease_epoch" = "t"."lease_epoch" and "r"."revision" = "t"."revision"
for update"#;

/// Moves the runs that [`PASS`] has locked, by the same condition.
pub(super) const UPDATE_RUNS: &str = r#"
update json_table($1, '$[*]' columns ("workflow_run_id" longtext path '$[0]' error on error,
  "lease_epoch" bigint path '$[1]' error on error, "revision" bigint path '$[2]' error on error,
  "status" longtext path '$[3]' error on error, "started_at" bigint path '$[4]' error on error,
  "finished_at" bigint path '$[5]' error on error, "tolerated_failures" bigint path '$[6]' error on error,
  "failure_code" longtext path '$[7]' error on error, "failure_message" longtext path '$[8]' error on error)) as "t"
straight_join "workflow_run" as "r" on "r"."workflow_run_id" = "t"."workflow_run_id"
set "r"."revision" = "r"."revision" + 1,
  "r"."status" = "t"."status", "r"."started_at" = "t"."started_at", "r"."finished_at" = "t"."finished_at",
  "r"."tolerated_failures" = "t"."tolerated_failures", "r"."failure_code" = "t"."failure_code",
  "r"."failure_message" = "t"."failure_message"
where "r"."lease_epoch" = "t"."lease_epoch" and "r"."revision" = "t"."revision""#;

/// What is known of runs that did not pass.
pub(super) const LOOK: &str = r#"
select "t"."ordinal" as "ordinal", "r"."lease_epoch" as "lease_epoch",
  (select "h"."workflow_run_id" from "workflow_run" as "h"
   where "h"."organization_id" = "t"."organization_id" and "h"."idempotency_key" = "t"."idempotency_key") as "holder"
from json_table($1, '$[*]' columns ("ordinal" bigint path '$[0]' error on error,
  "workflow_run_id" longtext path '$[1]' error on error, "organization_id" longtext path '$[2]' error on error,
  "idempotency_key" longtext path '$[3]' error on error)) as "t"
left join "workflow_run" as "r" on "r"."workflow_run_id" = "t"."workflow_run_id""#;

/// Orders that were carried out. `straight_join`: else each order of the table is looked for in the set.
pub(super) const CONSUME: &str = r#"
delete "c" from json_table($1, '$[*]' columns ("run_command_id" longtext path '$[0]' error on error)) as "t"
straight_join "run_command" as "c" on "c"."run_command_id" = "t"."run_command_id""#;

/// Notes the workflows that start after the ends of these runs, which have just come to them.
pub(super) const NOTE_ENDS: &str = r#"
insert into "trigger_delivery" ("trigger_delivery_id", "organization_id", "source_run_id", "source_status",
  "workflow_id", "state", "due_at", "created_at")
select straight_join "r"."workflow_run_id" || '.' || "w"."workflow_id", "r"."organization_id", "r"."workflow_run_id",
  "r"."status", "w"."workflow_id", 'pending', "r"."finished_at", "r"."finished_at"
from json_table($1, '$[*]' columns ("workflow_run_id" longtext path '$[0]' error on error)) as "t"
join "workflow_run" as "r" on "r"."workflow_run_id" = "t"."workflow_run_id"
join "workflow_trigger" as "w" on "w"."organization_id" = "r"."organization_id"
  and "w"."source_name" = "r"."workflow_name" and "w"."source_status" = "r"."status""#;

/// A table's rows: as many as fit are put between its two ends, each with a parameter a column.
#[derive(Debug)]
pub(super) struct Insert {
    /// Up to and with `values`.
    pub(super) into: &'static str,
    /// One row.
    pub(super) row: &'static str,
    /// What happens to a row whose id is there.
    pub(super) replace: &'static str,
}

/// Job runs, replaced by id.
pub(super) const WRITE_JOBS: Insert = Insert {
    into: r#"insert into "job_run" ("job_run_id", "workflow_run_id", "organization_id", "job", "status", "started_at", "finished_at",
  "tolerated_failures") values "#,
    row: "(?, ?, ?, ?, ?, ?, ?, ?)",
    replace: r#" on duplicate key update "status" = value("status"), "started_at" = value("started_at"),
  "finished_at" = value("finished_at"), "tolerated_failures" = value("tolerated_failures")"#,
};

/// Task runs, replaced by id.
pub(super) const WRITE_TASKS: Insert = Insert {
    into: r#"insert into "task_run" ("task_run_id", "workflow_run_id", "organization_id", "job", "task", "item_index", "status",
  "attempts", "interrupts", "tolerated", "ready_at", "started_at", "finished_at", "retry_at", "output_io_id",
  "reason_code", "reason_message") values "#,
    row: "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    replace: r#" on duplicate key update "status" = value("status"), "attempts" = value("attempts"),
  "interrupts" = value("interrupts"), "tolerated" = value("tolerated"), "ready_at" = value("ready_at"),
  "started_at" = value("started_at"), "finished_at" = value("finished_at"), "retry_at" = value("retry_at"),
  "output_io_id" = value("output_io_id"), "reason_code" = value("reason_code"),
  "reason_message" = value("reason_message")"#,
};

/// Attempts, replaced by id.
pub(super) const WRITE_ATTEMPTS: Insert = Insert {
    into: r#"insert into "task_attempt" ("task_attempt_id", "task_run_id", "workflow_run_id", "organization_id", "number",
  "lease_epoch", "daemon_id", "status", "started_at", "finished_at", "cpu_us", "memory_peak_bytes", "logs_dropped",
  "failure") values "#,
    row: "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    replace: r#" on duplicate key update "lease_epoch" = value("lease_epoch"), "daemon_id" = value("daemon_id"),
  "status" = value("status"), "started_at" = value("started_at"), "finished_at" = value("finished_at"),
  "cpu_us" = value("cpu_us"), "memory_peak_bytes" = value("memory_peak_bytes"), "logs_dropped" = value("logs_dropped"),
  "failure" = value("failure")"#,
};

/// Inputs and outputs.
pub(super) const WRITE_IO: Insert = Insert {
    into: r#"insert into "task_io_data" ("task_io_data_id", "workflow_run_id", "organization_id", "task_run_id", "task_attempt_id",
  "kind", "data", "origins", "created_at") values "#,
    row: "(?, ?, ?, ?, ?, ?, ?, ?, ?)",
    replace: "",
};

/// Broker calls.
pub(super) const WRITE_HOST_CALLS: Insert = Insert {
    into: r#"insert into "host_call" ("host_call_id", "workflow_run_id", "organization_id", "task_attempt_id", "kind", "target",
  "verb", "outcome", "sent_bytes", "received_bytes", "started_at", "duration_us") values "#,
    row: "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    replace: "",
};

/// Log lines. The run's id comes twice: for itself, and to find its organization.
pub(super) const APPEND_LOGS: Insert = Insert {
    into: r#"insert into "execution_log" ("execution_log_id", "workflow_run_id", "organization_id", "task_run_id", "task_attempt_id",
  "kind", "level", "message", "fields", "created_at") values "#,
    row: r#"(?, ?, (select "organization_id" from "workflow_run" where "workflow_run_id" = ?), ?, ?, ?, ?, ?, ?, ?)"#,
    replace: "",
};

/// Takes a range of $1 event ids; answers the last one. The row stays locked until the commit, so ranges
/// become visible in their order.
pub(super) const TAKE_EVENT_IDS: &str = r#"
insert into "stream" ("stream_id", "value") values ('execution_log', $1)
on duplicate key update "value" = "stream"."value" + value("value") returning "value""#;

/// The best $1 runs that nobody owns, locked, in the order of their index, so that no others are; those
/// that another daemon is claiming are passed over. Named by the index, because without statistics that of the states looks as good.
pub(super) const CLAIM_FREE: &str = r#"
select "workflow_run_id", "priority", "lease_epoch" + 1 as "lease_epoch"
from "workflow_run" force index ("workflow_run_claim")
where "claim_rank" is not null order by "claim_rank", "workflow_run_id" limit $1 for update skip locked"#;

/// The best $2 runs of owners that are gone, or silent for longer than their lease at $1. Not locked: a lock would hold
/// all that the sort has looked at.
pub(super) const DEAD_RUNS: &str = r#"
select straight_join "r"."workflow_run_id", "r"."owner", "r"."lease_epoch"
from "daemon" as "d" join "workflow_run" as "r" force index ("workflow_run_owner") on "r"."active_owner" = "d"."daemon_id"
where "d"."gone_at" is not null or "d"."seen_at" + "d"."lease_us" < $1
order by "r"."priority" desc, "r"."workflow_run_id" limit $2"#;

/// Locks those of [`DEAD_RUNS`] that are still as they were seen and that no other daemon is claiming.
pub(super) const CLAIM_DEAD: &str = r#"
select straight_join "r"."workflow_run_id", "r"."priority", "r"."lease_epoch" + 1 as "lease_epoch"
from json_table($1, '$[*]' columns ("workflow_run_id" longtext path '$[0]' error on error,
  "owner" longtext path '$[1]' error on error, "lease_epoch" bigint path '$[2]' error on error)) as "t"
join "workflow_run" as "r" on "r"."workflow_run_id" = "t"."workflow_run_id"
where "r"."active_owner" = "t"."owner" and "r"."lease_epoch" = "t"."lease_epoch"
for update skip locked"#;

/// Gives the locked runs to daemon $2.
pub(super) const TAKE: &str = r#"
update json_table($1, '$[*]' columns ("workflow_run_id" longtext path '$[0]' error on error)) as "t"
straight_join "workflow_run" as "r" on "r"."workflow_run_id" = "t"."workflow_run_id"
set "r"."owner" = $2, "r"."lease_epoch" = "r"."lease_epoch" + 1"#;

/// The statements of `store::sql`, with those that MariaDB needs otherwise.
pub(super) mod shared {
    pub(in crate::store) use crate::store::sql::*;

    /// A workflow, unless its name is known. Not `do nothing`: whoever meets a taken name would share its
    /// lock, and two who share it and then activate a version wait for each other.
    pub(in crate::store) const WORKFLOW_APPEARS: &str = r#"
insert into "workflow" ("workflow_id", "organization_id", "name", "last_number", "created_at")
values ($1, $2, $3, 0, $4) on duplicate key update "name" = "workflow"."name""#;

    /// What a run needs to continue. A join and not `in`, which reads the whole table of data.
    pub(in crate::store) const IO_TO_CONTINUE: &str = r#"
select "io".* from (select distinct "output_io_id" from "task_run"
    where "workflow_run_id" = $1 and "output_io_id" is not null) as "t"
straight_join "task_io_data" as "io" on "io"."task_io_data_id" = "t"."output_io_id"
union all
select "io".* from "task_io_data" as "io"
straight_join "task_attempt" as "a" on "a"."task_attempt_id" = "io"."task_attempt_id"
where "io"."workflow_run_id" = $1 and "io"."kind" = 'input' and "a"."workflow_run_id" = $1
  and "a"."status" not in ('succeeded', 'failed', 'cancelled', 'skipped')"#;
}

/// The statements of `store::sql_control`, with those that MariaDB needs otherwise.
pub(super) mod control {
    pub(in crate::store) use crate::store::sql_control::*;

    /// Makes a lane, or brings its limit up to date.
    pub(in crate::store) const LANE_APPEARS: &str = r#"
insert into "lane" ("lane_id", "organization_id", "workflow_id", "max") values ($1, $2, $3, $4)
on duplicate key update "max" = value("max")"#;

    /// Queued, interrupted and given-back runs, counted up to $1, in the index of claims.
    pub(in crate::store) const UNOWNED: &str = r#"
select count(*) as "count" from (select 1 as "one" from "workflow_run" force index ("workflow_run_claim")
  where "claim_rank" is not null limit $1) as "w""#;
}

/// The statements of `store::sql_state`, with those that MariaDB needs otherwise: `cast` knows `signed` and not
/// `bigint`, a key that is there is `on duplicate key`, `update` has no `returning`.
pub(super) mod state {
    pub(in crate::store) use crate::store::sql_state::*;

    /// The next revision of any key; its lock makes key-value writers take turns.
    pub(in crate::store) const KV_REVISION: &str = r#"
insert into "stream" ("stream_id", "value") values ('kv_entry', 1)
on duplicate key update "value" = "stream"."value" + 1 returning "value""#;

    /// Writes a key.
    pub(in crate::store) const KV_PUT: &str = r#"
insert into "kv_entry" ("kv_entry_id", "organization_id", "workflow_name", "key", "value", "revision", "expires_at")
values ($1, $2, $3, $4, $5, $6, $7)
on duplicate key update "value" = value("value"), "revision" = value("revision"), "expires_at" = value("expires_at")"#;

    /// What a key has now, expired or not.
    pub(in crate::store) const KV_LOOK: &str = r#"
select "revision", "expires_at", cast(length("key") + length("value") as signed) as "size" from "kv_entry"
where "organization_id" = $1 and "workflow_name" = $2 and "key" = $3"#;

    /// Removes a key; answers when it would have expired, and what it took.
    pub(in crate::store) const KV_DELETE: &str = r#"
delete from "kv_entry" where "organization_id" = $1 and "workflow_name" = $2 and "key" = $3
returning "expires_at", cast(length("key") + length("value") as signed) as "size""#;

    /// Removes at most $4 of a workflow's entries that ended by $3, the first to end first; answers what they took.
    pub(in crate::store) const KV_PURGE: &str = r#"
delete from "kv_entry" where "organization_id" = $1 and "workflow_name" = $2 and "expires_at" <= $3
order by "expires_at" limit $4
returning cast(length("key") + length("value") as signed) as "size""#;

    /// Counts $4 entries and $5 bytes more, or fewer.
    pub(in crate::store) const KV_COUNT: &str = r#"
insert into "kv_usage" ("kv_usage_id", "organization_id", "workflow_name", "entry_count", "byte_count")
values ($1, $2, $3, $4, $5)
on duplicate key update "entry_count" = "kv_usage"."entry_count" + value("entry_count"),
  "byte_count" = "kv_usage"."byte_count" + value("byte_count")"#;

    /// What a workflow's entries take that have not expired at $3; read when a person asks, not at a write.
    pub(in crate::store) const KV_LIVE_USAGE: &str = r#"
select count(*) as "entry_count", cast(coalesce(sum(length("key") + length("value")), 0) as signed) as "byte_count"
from "kv_entry"
where "organization_id" = $1 and "workflow_name" = $2 and ("expires_at" is null or "expires_at" > $3)"#;

    /// The same keys as [`KV_KEYS`], with what lists show of them.
    pub(in crate::store) const KV_LIST: &str = r#"
select "key", "revision", "expires_at", cast(length("value") as signed) as "value_bytes" from "kv_entry"
where "organization_id" = $1 and "workflow_name" = $2
  and "key" >= $3 and ($4 = 1 or "key" > $3) and ($5 is null or "key" < $5)
  and ("expires_at" is null or "expires_at" > $6)
order by "key" limit $7"#;
}

/// The statements of `store::sql_schedule`, with those that MariaDB needs otherwise: it deletes from no table that it
/// reads in a subquery with a limit.
pub(super) mod schedule {
    pub(in crate::store) use crate::store::sql_schedule::*;

    /// Removes some of a schedule's oldest history, from before $2.
    pub(in crate::store) const FIRES_FORGET: &str = r#"
delete from "schedule_fire" where "schedule_id" = $1 and "nominal_at" < $2 and "open" = 0
order by "nominal_at" limit 10"#;
}
