//! Statements that every database understands as they stand. Dialects keep theirs beside their driver.
//!
//! Rows are read by column name, so `select *` survives a column that a later migration adds.

/// Runs by keyset. $1 before, $2 organization, $3 trigger, $4 states between commas, $5 limit.
pub(super) const RUNS: &str = r#"
select * from "workflow_run"
where "workflow_run_id" < $1
  and ($2 is null or "organization_id" = $2)
  and ($3 is null or "trigger" = $3)
  and ($4 is null or ',' || $4 || ',' like '%,' || "status" || ',%')
order by "workflow_run_id" desc limit $5"#;

/// The same of one workflow ($6), along its own index.
pub(super) const RUNS_OF_WORKFLOW: &str = r#"
select * from "workflow_run"
where "workflow_name" = $6 and "workflow_run_id" < $1
  and ($2 is null or "organization_id" = $2)
  and ($3 is null or "trigger" = $3)
  and ($4 is null or ',' || $4 || ',' like '%,' || "status" || ',%')
order by "workflow_run_id" desc limit $5"#;

/// The same in one state ($4), along its own index.
pub(super) const RUNS_IN_STATUS: &str = r#"
select * from "workflow_run"
where "status" = $4 and "workflow_run_id" < $1
  and ($2 is null or "organization_id" = $2)
  and ($3 is null or "trigger" = $3)
order by "workflow_run_id" desc limit $5"#;

/// The same of the runs that are tasks of one run ($6), of all workflows or of one ($7), along their own index.
pub(super) const RUNS_OF_PARENT: &str = r#"
select * from "workflow_run"
where "parent_run_id" = $6 and "workflow_run_id" < $1
  and ($2 is null or "organization_id" = $2)
  and ($3 is null or "trigger" = $3)
  and ($4 is null or ',' || $4 || ',' like '%,' || "status" || ',%')
  and ($7 is null or "workflow_name" = $7)
order by "workflow_run_id" desc limit $5"#;

/// The same of the runs below one run ($6), of all workflows or of one ($7), along their own index.
pub(super) const RUNS_OF_ROOT: &str = r#"
select * from "workflow_run"
where "root_run_id" = $6 and "workflow_run_id" < $1
  and ($2 is null or "organization_id" = $2)
  and ($3 is null or "trigger" = $3)
  and ($4 is null or ',' || $4 || ',' like '%,' || "status" || ',%')
  and ($7 is null or "workflow_name" = $7)
order by "workflow_run_id" desc limit $5"#;

/// Lines of all runs after an event id.
pub(super) const LOGS: &str = r#"
select * from "execution_log" where "execution_log_id" > $1 order by "execution_log_id" limit $2"#;

/// Lines of one run after an event id.
pub(super) const LOGS_OF_RUN: &str = r#"
select * from "execution_log" where "workflow_run_id" = $3 and "execution_log_id" > $1
order by "execution_log_id" limit $2"#;

/// One run.
pub(super) const RUN: &str = r#"select * from "workflow_run" where "workflow_run_id" = $1"#;

/// The run that holds a key.
pub(super) const RUN_OF_KEY: &str = r#"
select * from "workflow_run" where "organization_id" = $1 and "idempotency_key" = $2"#;

/// What ends of runs are to start and is due by $1, oldest first.
pub(super) const DELIVERIES_DUE: &str = r#"
select * from "trigger_delivery" where "state" = 'pending' and "due_at" <= $1
order by "due_at" limit $2"#;

/// What the end of a run came to.
pub(super) const DELIVERIES_OF_RUN: &str = r#"
select * from "trigger_delivery" where "source_run_id" = $1"#;

/// What came of a delivery, unless that is settled.
pub(super) const SETTLE_DELIVERY: &str = r#"
update "trigger_delivery" set "state" = $2, "run_id" = $3, "reason_code" = $4, "reason_message" = $5,
  "due_at" = $6, "settled_at" = $7
where "trigger_delivery_id" = $1 and "state" = 'pending'"#;

/// Forgets after which ends a workflow starts.
pub(super) const FORGET_TRIGGERS: &str =
    r#"delete from "workflow_trigger" where "workflow_id" = $1"#;

/// An end after which a workflow starts.
pub(super) const ADD_TRIGGER: &str = r#"
insert into "workflow_trigger" ("workflow_trigger_id", "organization_id", "workflow_id", "source_name", "source_status")
values ($1, $2, $3, $4, $5)"#;

/// The job runs of a run.
pub(super) const JOBS_OF_RUN: &str =
    r#"select * from "job_run" where "workflow_run_id" = $1 order by "job_run_id""#;

/// The task runs of a run.
pub(super) const TASKS_OF_RUN: &str =
    r#"select * from "task_run" where "workflow_run_id" = $1 order by "task_run_id""#;

/// The attempts of a run.
pub(super) const ATTEMPTS_OF_RUN: &str =
    r#"select * from "task_attempt" where "workflow_run_id" = $1 order by "task_attempt_id""#;

/// All inputs and outputs of a run. Not sorted here: a sort would copy megabytes of data.
pub(super) const IO_OF_RUN: &str = r#"select * from "task_io_data" where "workflow_run_id" = $1"#;

/// The broker calls of a run.
pub(super) const HOST_CALLS_OF_RUN: &str =
    r#"select * from "host_call" where "workflow_run_id" = $1"#;

/// What a run needs to continue: the outputs that its task runs point to (a rerun points to those of
/// the run before it), and the inputs of attempts that are not final.
pub(super) const IO_TO_CONTINUE: &str = r#"
select * from "task_io_data" where "task_io_data_id" in
  (select "output_io_id" from "task_run" where "workflow_run_id" = $1 and "output_io_id" is not null)
union all
select * from "task_io_data" where "workflow_run_id" = $1 and "kind" = 'input' and "task_attempt_id" in
  (select "task_attempt_id" from "task_attempt" where "workflow_run_id" = $1
     and "status" not in ('succeeded', 'failed', 'cancelled', 'skipped'))"#;

/// Gives a run back, if the epoch still holds.
pub(super) const RELEASE: &str = r#"
update "workflow_run" set "owner" = null where "workflow_run_id" = $1 and "lease_epoch" = $2"#;

/// A sign of life of a daemon that is known and not declared gone.
pub(super) const BEAT: &str =
    r#"update "daemon" set "seen_at" = $2 where "daemon_id" = $1 and "gone_at" is null"#;

/// Whether a daemon was ever heard of.
pub(super) const DAEMON_KNOWN: &str = r#"select 1 from "daemon" where "daemon_id" = $1"#;

/// Whether a daemon lives at $2: not gone, and heard of within its lease.
pub(super) const DAEMON_LIVES: &str = r#"
select 1 from "daemon"
where "daemon_id" = $1 and "gone_at" is null and "seen_at" + "lease_us" >= $2"#;

/// A daemon's first sign of life.
pub(super) const DAEMON_APPEARS: &str = r#"
insert into "daemon" ("daemon_id", "instance", "started_at", "seen_at", "lease_us")
values ($1, $2, $3, $3, $4)"#;

/// Declares the earlier processes of an instance gone.
pub(super) const DAEMON_REPLACED: &str = r#"
update "daemon" set "gone_at" = $3
where "instance" = $2 and "daemon_id" <> $1 and "gone_at" is null"#;

/// A daemon says goodbye.
pub(super) const DAEMON_LEAVES: &str =
    r#"update "daemon" set "gone_at" = $2 where "daemon_id" = $1 and "gone_at" is null"#;

/// Who has a duty.
pub(super) const DUTY: &str = r#"select "daemon_id" from "duty" where "duty_id" = $1"#;

/// Gives duty $1 to daemon $2, if nobody who lives at $3 has it.
pub(super) const TAKE_DUTY: &str = r#"
update "duty" set "daemon_id" = $2
where "duty_id" = $1 and ("daemon_id" is null or "daemon_id" = $2 or not exists
  (select 1 from "daemon" as "d" where "d"."daemon_id" = "duty"."daemon_id"
     and "d"."gone_at" is null and "d"."seen_at" + "d"."lease_us" >= $3))"#;

/// Counts a publication or a removal. Its lock makes those who publish take turns.
pub(super) const CATALOG_MOVES: &str =
    r#"update "stream" set "value" = "value" + 1 where "stream_id" = 'catalog'"#;

/// How many there have been.
pub(super) const CATALOG: &str = r#"select "value" from "stream" where "stream_id" = 'catalog'"#;

/// An order; writing it twice is writing it once.
pub(super) const ORDER: &str = r#"
insert into "run_command" ("run_command_id", "workflow_run_id", "organization_id", "kind", "reason", "created_at")
values ($1, $2, $3, $4, $5, $6) on conflict ("run_command_id") do nothing"#;

/// The orders for the runs of one owner. The table holds only what is not yet carried out.
pub(super) const ORDERS: &str = r#"
select "c".* from "run_command" as "c"
join "workflow_run" as "r" on "r"."workflow_run_id" = "c"."workflow_run_id"
where "r"."owner" = $1 order by "c"."run_command_id""#;

/// A workflow, unless its name is known.
pub(super) const WORKFLOW_APPEARS: &str = r#"
insert into "workflow" ("workflow_id", "organization_id", "name", "last_number", "created_at")
values ($1, $2, $3, 0, $4) on conflict ("organization_id", "name") do nothing"#;

/// A workflow by its name.
pub(super) const WORKFLOW: &str =
    r#"select * from "workflow" where "organization_id" = $1 and "name" = $2"#;

/// All workflows.
pub(super) const WORKFLOWS: &str = r#"select * from "workflow" order by "organization_id", "name""#;

/// A version, unless its digest is known.
pub(super) const VERSION_APPEARS: &str = r#"
insert into "workflow_version" ("workflow_version_id", "organization_id", "workflow_id", "workflow_name",
  "file", "source", "vars", "ceilings", "modules", "workflows", "starts_after", "created_at")
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) on conflict ("workflow_version_id") do nothing"#;

/// A version by its digest.
pub(super) const VERSION: &str =
    r#"select * from "workflow_version" where "workflow_version_id" = $1"#;

/// The versions of a workflow, newest first.
pub(super) const VERSIONS: &str = r#"
select * from "workflow_version" where "workflow_id" = $1
order by "created_at" desc, "workflow_version_id" desc"#;

/// Makes a version the active one.
pub(super) const ACTIVATE: &str =
    r#"update "workflow" set "active_version" = $2 where "workflow_id" = $1"#;

/// Leaves a workflow without an active version.
pub(super) const RETIRE: &str = r#"
update "workflow" set "active_version" = null where "organization_id" = $1 and "name" = $2"#;

/// A module, unless its digest is known.
pub(super) const MODULE_APPEARS: &str = r#"
insert into "module" ("module_id", "organization_id", "name", "size_bytes", "description", "imports", "created_at")
values ($1, $2, $3, $4, $5, $6, $7) on conflict ("module_id") do nothing"#;

/// A piece of a module.
pub(super) const CHUNK: &str = r#"
insert into "module_chunk" ("module_chunk_id", "organization_id", "module_id", "position", "data")
values ($1, $2, $3, $4, $5)"#;

/// A module by its digest.
pub(super) const MODULE: &str = r#"select * from "module" where "module_id" = $1"#;

/// A module's pieces in order.
pub(super) const CHUNKS: &str =
    r#"select "data" from "module_chunk" where "module_id" = $1 order by "position""#;
