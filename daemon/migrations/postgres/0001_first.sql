-- Everything that FlowWeaver keeps. The same numbers, tables and columns exist for every database.
--
-- Rules: singular names; primary key <table>_id, made by the daemon (a ULID, a digest or a name), never
-- by the database; no physical foreign keys (the statements check what they refer to, and a test looks
-- for orphans); every table that holds people's data has its organization.
-- Times are whole microseconds since 1970-01-01T00:00:00Z in UTC: one form on every database, exact in
-- JSON, so that a batch travels as one JSON text and is loaded set by set. Truth values are 0 and 1 for
-- the same reason. Ids are text of 26 characters, digests text of 71 (sha256: and 64 hex digits).
--
-- Dialect: ids and digests compare byte by byte (collate "C"), whatever the database's own collation.
-- lz4 is not asked for: it is a build option of the server.

-- An organization. The root one owns the files directly in flows/.
create table "organization" (
    "organization_id" varchar(26) collate "C" not null primary key,
    "name" text not null,
    "created_at" bigint not null
);

-- A workflow's identity across its versions, and the counter that numbers its runs.
create table "workflow" (
    "workflow_id" varchar(26) collate "C" not null primary key,
    "organization_id" varchar(26) collate "C" not null,
    "name" text not null,
    "active_version" varchar(71) collate "C",
    "last_number" bigint not null,
    "created_at" bigint not null
);
-- names are unique within an organization
create unique index "workflow_name" on "workflow" ("organization_id", "name");

-- What a workflow's file meant at one time; its id is its content digest. Never changed.
create table "workflow_version" (
    "workflow_version_id" varchar(71) collate "C" not null primary key,
    "organization_id" varchar(26) collate "C" not null,
    "workflow_id" varchar(26) collate "C" not null,
    "workflow_name" text not null,
    "file" text not null,
    "source" text not null,
    "vars" text not null,
    "ceilings" text not null,
    "modules" text not null,
    "created_at" bigint not null
);
-- the versions of a workflow, newest first
create index "workflow_version_workflow" on "workflow_version" ("workflow_id", "created_at");

-- A compiled task module; its id is its content digest. Modules are shared: they belong to the root organization.
create table "module" (
    "module_id" varchar(71) collate "C" not null primary key,
    "organization_id" varchar(26) collate "C" not null,
    "name" text not null,
    "size_bytes" bigint not null,
    "description" text not null,
    "imports" text not null,
    "created_at" bigint not null
);

-- A module's bytes in pieces of 1 MiB.
create table "module_chunk" (
    "module_chunk_id" varchar(26) collate "C" not null primary key,
    "organization_id" varchar(26) collate "C" not null,
    "module_id" varchar(71) collate "C" not null,
    "position" bigint not null,
    "data" bytea not null
);
-- the pieces of a module in order
create unique index "module_chunk_position" on "module_chunk" ("module_id", "position");

-- A run. lease_epoch and revision are its fence.
create table "workflow_run" (
    "workflow_run_id" varchar(26) collate "C" not null primary key,
    "organization_id" varchar(26) collate "C" not null,
    "workflow_id" varchar(26) collate "C" not null,
    "workflow_name" text not null,
    "workflow_version_id" varchar(71) collate "C" not null,
    "number" bigint not null,
    "status" text not null,
    "trigger" text not null,
    "trace_id" text not null,
    "rerun_of" varchar(26) collate "C",
    "origin_run_id" varchar(26) collate "C" not null,
    "inputs" text not null,
    "config" text not null,
    "idempotency_key" text,
    "priority" bigint not null,
    "owner" varchar(26) collate "C",
    "lease_epoch" bigint not null,
    "revision" bigint not null,
    "scheduled_at" bigint not null,
    "created_at" bigint not null,
    "started_at" bigint,
    "finished_at" bigint,
    "tolerated_failures" bigint not null,
    "failure_code" text,
    "failure_message" text
);
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
    "job_run_id" varchar(26) collate "C" not null primary key,
    "workflow_run_id" varchar(26) collate "C" not null,
    "organization_id" varchar(26) collate "C" not null,
    "job" text not null,
    "status" text not null,
    "started_at" bigint,
    "finished_at" bigint,
    "tolerated_failures" bigint not null
);
-- everything of a run
create index "job_run_run" on "job_run" ("workflow_run_id");

-- A task run; one a for_each item, and one with item_index -1 for the whole.
create table "task_run" (
    "task_run_id" varchar(26) collate "C" not null primary key,
    "workflow_run_id" varchar(26) collate "C" not null,
    "organization_id" varchar(26) collate "C" not null,
    "job" text not null,
    "task" text not null,
    "item_index" bigint not null,
    "status" text not null,
    "attempts" bigint not null,
    "interrupts" bigint not null,
    "tolerated" bigint not null,
    "ready_at" bigint,
    "started_at" bigint,
    "finished_at" bigint,
    "retry_at" bigint,
    "output_io_id" varchar(26) collate "C",
    "reason_code" text,
    "reason_message" text
);
-- everything of a run
create index "task_run_run" on "task_run" ("workflow_run_id");

-- One try of a task run.
create table "task_attempt" (
    "task_attempt_id" varchar(26) collate "C" not null primary key,
    "task_run_id" varchar(26) collate "C" not null,
    "workflow_run_id" varchar(26) collate "C" not null,
    "organization_id" varchar(26) collate "C" not null,
    "number" bigint not null,
    "lease_epoch" bigint not null,
    "daemon_id" varchar(26) collate "C" not null,
    "status" text not null,
    "started_at" bigint not null,
    "finished_at" bigint,
    "cpu_us" bigint not null,
    "memory_peak_bytes" bigint not null,
    "logs_dropped" bigint not null,
    "failure" text
);
-- everything of a run
create index "task_attempt_run" on "task_attempt" ("workflow_run_id");

-- A recorded input or output.
create table "task_io_data" (
    "task_io_data_id" varchar(26) collate "C" not null primary key,
    "workflow_run_id" varchar(26) collate "C" not null,
    "organization_id" varchar(26) collate "C" not null,
    "task_run_id" varchar(26) collate "C" not null,
    "task_attempt_id" varchar(26) collate "C",
    "kind" text not null,
    "data" text not null,
    "origins" text,
    "created_at" bigint not null
);
-- everything of a run
create index "task_io_data_run" on "task_io_data" ("workflow_run_id");

-- A log line or event. Its id comes from the stream counter, so that a reader who follows it misses none.
create table "execution_log" (
    "execution_log_id" bigint not null primary key,
    "organization_id" varchar(26) collate "C" not null,
    "workflow_run_id" varchar(26) collate "C" not null,
    "task_run_id" varchar(26) collate "C",
    "task_attempt_id" varchar(26) collate "C",
    "kind" text not null,
    "level" text not null,
    "message" text not null,
    "fields" text,
    "created_at" bigint not null
);
-- the lines of a run in order
create index "execution_log_run" on "execution_log" ("workflow_run_id", "execution_log_id");

-- A call that a task made through a broker. Never a secret, a query string or a body.
create table "host_call" (
    "host_call_id" varchar(26) collate "C" not null primary key,
    "workflow_run_id" varchar(26) collate "C" not null,
    "organization_id" varchar(26) collate "C" not null,
    "task_attempt_id" varchar(26) collate "C" not null,
    "kind" text not null,
    "target" text not null,
    "verb" text not null,
    "outcome" text not null,
    "sent_bytes" bigint not null,
    "received_bytes" bigint not null,
    "started_at" bigint not null,
    "duration_us" bigint not null
);
-- everything of a run
create index "host_call_run" on "host_call" ("workflow_run_id");

-- An order to a run's owner; removed when it is carried out, so it stays small.
create table "run_command" (
    "run_command_id" varchar(26) collate "C" not null primary key,
    "workflow_run_id" varchar(26) collate "C" not null,
    "organization_id" varchar(26) collate "C" not null,
    "kind" text not null,
    "reason" text not null,
    "created_at" bigint not null
);
-- the orders of a run
create index "run_command_run" on "run_command" ("workflow_run_id");

-- Counters that must grow in the order of commits, which a database sequence does not promise.
create table "stream" (
    "stream_id" text not null primary key,
    "value" bigint not null
);

-- A key of a workflow's state. Keys are bytes: they sort the same everywhere.
create table "kv_entry" (
    "kv_entry_id" varchar(26) collate "C" not null primary key,
    "organization_id" varchar(26) collate "C" not null,
    "workflow_name" text not null,
    "key" bytea not null,
    "value" bytea not null,
    "revision" bigint not null,
    "expires_at" bigint
);
-- one entry a key; keys in order
create unique index "kv_entry_key" on "kv_entry" ("organization_id", "workflow_name", "key");

-- A process of the daemon and its last sign of life, by the database's clock. Kept: attempts name it.
create table "daemon" (
    "daemon_id" varchar(26) collate "C" not null primary key,
    "instance" text not null,
    "started_at" bigint not null,
    "seen_at" bigint not null,
    "gone_at" bigint
);

-- The default organization; its id is the smallest of all.
insert into "organization" ("organization_id", "name", "created_at") values ('00000000000000000000000000', 'root', 0);
insert into "stream" ("stream_id", "value") values ('execution_log', 0), ('kv_entry', 0);
