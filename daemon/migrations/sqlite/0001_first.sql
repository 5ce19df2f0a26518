-- Everything that FlowWeaver keeps. The same numbers, tables and columns exist for every database.
--
-- Rules: singular names; primary key <table>_id, made by the daemon (a ULID, a digest or a name), never
-- by the database; no physical foreign keys (the statements check what they refer to, and a test looks
-- for orphans); every table that holds people's data has its organization.
-- Times are whole microseconds since 1970-01-01T00:00:00Z in UTC: one form on every database, exact in
-- JSON, so that a batch travels as one JSON text and is loaded set by set. Truth values are 0 and 1 for
-- the same reason. Ids are text of 26 characters, digests text of 71 (sha256: and 64 hex digits).
--
-- Dialect: STRICT tables refuse wrong types. Narrow tables that are read only by key or by run are WITHOUT
-- ROWID, which saves one of two trees; those with large values keep their rowid.

-- An organization. The root one owns the files directly in flows/.
create table "organization" (
    "organization_id" text not null primary key,
    "name" text not null,
    "created_at" integer not null
) strict;

-- A workflow's identity across its versions, and the counter that numbers its runs.
create table "workflow" (
    "workflow_id" text not null primary key,
    "organization_id" text not null,
    "name" text not null,
    "active_version" text,
    "last_number" integer not null,
    "created_at" integer not null
) strict;
-- names are unique within an organization
create unique index "workflow_name" on "workflow" ("organization_id", "name");

-- What a workflow's file meant at one time; its id is its content digest. Never changed.
create table "workflow_version" (
    "workflow_version_id" text not null primary key,
    "organization_id" text not null,
    "workflow_id" text not null,
    "workflow_name" text not null,
    "file" text not null,
    "source" text not null,
    "vars" text not null,
    "ceilings" text not null,
    "modules" text not null,
    "created_at" integer not null
) strict;
-- the versions of a workflow, newest first
create index "workflow_version_workflow" on "workflow_version" ("workflow_id", "created_at");

-- A compiled task module; its id is its content digest. Modules are shared: they belong to the root organization.
create table "module" (
    "module_id" text not null primary key,
    "organization_id" text not null,
    "name" text not null,
    "size_bytes" integer not null,
    "description" text not null,
    "imports" text not null,
    "created_at" integer not null
) strict;

-- A module's bytes in pieces of 1 MiB.
create table "module_chunk" (
    "module_chunk_id" text not null primary key,
    "organization_id" text not null,
    "module_id" text not null,
    "position" integer not null,
    "data" blob not null
) strict;
-- the pieces of a module in order
create unique index "module_chunk_position" on "module_chunk" ("module_id", "position");

-- A run. lease_epoch and revision are its fence.
create table "workflow_run" (
    "workflow_run_id" text not null primary key,
    "organization_id" text not null,
    "workflow_id" text not null,
    "workflow_name" text not null,
    "workflow_version_id" text not null,
    "number" integer not null,
    "status" text not null,
    "trigger" text not null,
    "trace_id" text not null,
    "rerun_of" text,
    "origin_run_id" text not null,
    "inputs" text not null,
    "config" text not null,
    "idempotency_key" text,
    "priority" integer not null,
    "owner" text,
    "lease_epoch" integer not null,
    "revision" integer not null,
    "scheduled_at" integer not null,
    "created_at" integer not null,
    "started_at" integer,
    "finished_at" integer,
    "tolerated_failures" integer not null,
    "failure_code" text,
    "failure_message" text
) strict;
-- claim: runs that nobody owns, best first; holds only those
create index "workflow_run_claim" on "workflow_run" ("priority" desc, "workflow_run_id")
    where "owner" is null and "status" in ('queued', 'running', 'waiting', 'interrupted');
-- claim: runs of a dead owner; orders: runs of a live one; holds only active runs
create index "workflow_run_owner" on "workflow_run" ("owner")
    where "owner" is not null and "status" in ('queued', 'running', 'waiting', 'interrupted');
-- list: runs of a workflow by keyset
create index "workflow_run_workflow" on "workflow_run" ("workflow_name", "workflow_run_id");
-- list: runs in one state by keyset
create index "workflow_run_status" on "workflow_run" ("status", "workflow_run_id");
-- run 42 of a workflow, found and unique
create unique index "workflow_run_number" on "workflow_run" ("workflow_id", "number");
-- one run a key; holds only runs with a key
create unique index "workflow_run_idempotency" on "workflow_run" ("organization_id", "idempotency_key")
    where "idempotency_key" is not null;

-- A job run.
create table "job_run" (
    "job_run_id" text not null primary key,
    "workflow_run_id" text not null,
    "organization_id" text not null,
    "job" text not null,
    "status" text not null,
    "started_at" integer,
    "finished_at" integer,
    "tolerated_failures" integer not null
) strict, without rowid;
-- everything of a run
create index "job_run_run" on "job_run" ("workflow_run_id");

-- A task run; one a for_each item, and one with item_index -1 for the whole.
create table "task_run" (
    "task_run_id" text not null primary key,
    "workflow_run_id" text not null,
    "organization_id" text not null,
    "job" text not null,
    "task" text not null,
    "item_index" integer not null,
    "status" text not null,
    "attempts" integer not null,
    "interrupts" integer not null,
    "tolerated" integer not null,
    "ready_at" integer,
    "started_at" integer,
    "finished_at" integer,
    "retry_at" integer,
    "output_io_id" text,
    "reason_code" text,
    "reason_message" text
) strict, without rowid;
-- everything of a run
create index "task_run_run" on "task_run" ("workflow_run_id");

-- One try of a task run.
create table "task_attempt" (
    "task_attempt_id" text not null primary key,
    "task_run_id" text not null,
    "workflow_run_id" text not null,
    "organization_id" text not null,
    "number" integer not null,
    "lease_epoch" integer not null,
    "daemon_id" text not null,
    "status" text not null,
    "started_at" integer not null,
    "finished_at" integer,
    "cpu_us" integer not null,
    "memory_peak_bytes" integer not null,
    "logs_dropped" integer not null,
    "failure" text
) strict, without rowid;
-- everything of a run
create index "task_attempt_run" on "task_attempt" ("workflow_run_id");

-- A recorded input or output.
create table "task_io_data" (
    "task_io_data_id" text not null primary key,
    "workflow_run_id" text not null,
    "organization_id" text not null,
    "task_run_id" text not null,
    "task_attempt_id" text,
    "kind" text not null,
    "data" text not null,
    "origins" text,
    "created_at" integer not null
) strict;
-- everything of a run
create index "task_io_data_run" on "task_io_data" ("workflow_run_id");

-- A log line or event. Its id comes from the stream counter, so that a reader who follows it misses none.
create table "execution_log" (
    "execution_log_id" integer not null primary key,
    "organization_id" text not null,
    "workflow_run_id" text not null,
    "task_run_id" text,
    "task_attempt_id" text,
    "kind" text not null,
    "level" text not null,
    "message" text not null,
    "fields" text,
    "created_at" integer not null
) strict;
-- the lines of a run in order
create index "execution_log_run" on "execution_log" ("workflow_run_id", "execution_log_id");

-- A call that a task made through a broker. Never a secret, a query string or a body.
create table "host_call" (
    "host_call_id" text not null primary key,
    "workflow_run_id" text not null,
    "organization_id" text not null,
    "task_attempt_id" text not null,
    "kind" text not null,
    "target" text not null,
    "verb" text not null,
    "outcome" text not null,
    "sent_bytes" integer not null,
    "received_bytes" integer not null,
    "started_at" integer not null,
    "duration_us" integer not null
) strict, without rowid;
-- everything of a run
create index "host_call_run" on "host_call" ("workflow_run_id");

-- An order to a run's owner; removed when it is carried out, so it stays small.
create table "run_command" (
    "run_command_id" text not null primary key,
    "workflow_run_id" text not null,
    "organization_id" text not null,
    "kind" text not null,
    "reason" text not null,
    "created_at" integer not null
) strict, without rowid;
-- the orders of a run
create index "run_command_run" on "run_command" ("workflow_run_id");

-- Counters that must grow in the order of commits, which a database sequence does not promise.
create table "stream" (
    "stream_id" text not null primary key,
    "value" integer not null
) strict;

-- A key of a workflow's state. Keys are bytes: they sort the same everywhere.
create table "kv_entry" (
    "kv_entry_id" text not null primary key,
    "organization_id" text not null,
    "workflow_name" text not null,
    "key" blob not null,
    "value" blob not null,
    "revision" integer not null,
    "expires_at" integer
) strict;
-- one entry a key; keys in order
create unique index "kv_entry_key" on "kv_entry" ("organization_id", "workflow_name", "key");

-- A process of the daemon and its last sign of life, by the database's clock. Kept: attempts name it.
create table "daemon" (
    "daemon_id" text not null primary key,
    "instance" text not null,
    "started_at" integer not null,
    "seen_at" integer not null,
    "gone_at" integer
) strict;

-- The default organization; its id is the smallest of all.
insert into "organization" ("organization_id", "name", "created_at") values ('00000000000000000000000000', 'root', 0);
insert into "stream" ("stream_id", "value") values ('execution_log', 0), ('kv_entry', 0);
