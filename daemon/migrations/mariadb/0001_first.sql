-- Everything that FlowWeaver keeps. The same numbers, tables and columns exist for every database.
--
-- Rules: singular names; primary key <table>_id, made by the daemon (a ULID, a digest or a name), never
-- by the database; no physical foreign keys (the statements check what they refer to, and a test looks
-- for orphans); every table that holds people's data has its organization.
-- Times are whole microseconds since 1970-01-01T00:00:00Z in UTC: one form on every database, exact in
-- JSON, so that a batch travels as one JSON text and is loaded set by set. Truth values are 0 and 1 for
-- the same reason. Ids are text of 26 characters, digests text of 71 (sha256: and 64 hex digits).
--
-- Dialect: every column compares byte by byte (utf8mb4_nopad_bin: 'a', 'A' and 'a ' are three keys), whatever the
-- server's own collation. What PostgreSQL keeps as text is varchar where an index or a fixed vocabulary bounds it, else longtext.
-- MariaDB has no partial indexes: generated columns are null where such an index would hold nothing.
-- Each statement commits by itself here, so each may be repeated: a start that was cut off in the middle is
-- finished by the next one.

-- An organization. The root one owns the files directly in flows/.
create table if not exists "organization" (
    "organization_id" varchar(26) not null primary key,
    "name" longtext not null,
    "created_at" bigint not null
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- A workflow's identity across its versions, and the counter that numbers its runs.
create table if not exists "workflow" (
    "workflow_id" varchar(26) not null primary key,
    "organization_id" varchar(26) not null,
    "name" varchar(64) not null,
    "active_version" varchar(71),
    "last_number" bigint not null,
    "created_at" bigint not null,
    -- names are unique within an organization
    unique key "workflow_name" ("organization_id", "name")
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- What a workflow's file meant at one time; its id is its content digest. Never changed.
create table if not exists "workflow_version" (
    "workflow_version_id" varchar(71) not null primary key,
    "organization_id" varchar(26) not null,
    "workflow_id" varchar(26) not null,
    "workflow_name" varchar(64) not null,
    "file" longtext not null,
    "source" longtext not null,
    "vars" longtext not null,
    "ceilings" longtext not null,
    "modules" longtext not null,
    "created_at" bigint not null,
    -- the versions of a workflow, newest first
    key "workflow_version_workflow" ("workflow_id", "created_at")
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- A compiled task module; its id is its content digest. Modules are shared: they belong to the root organization.
create table if not exists "module" (
    "module_id" varchar(71) not null primary key,
    "organization_id" varchar(26) not null,
    "name" varchar(64) not null,
    "size_bytes" bigint not null,
    "description" longtext not null,
    "imports" longtext not null,
    "created_at" bigint not null
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- A module's bytes in pieces of 1 MiB.
create table if not exists "module_chunk" (
    "module_chunk_id" varchar(26) not null primary key,
    "organization_id" varchar(26) not null,
    "module_id" varchar(71) not null,
    "position" bigint not null,
    "data" longblob not null,
    -- the pieces of a module in order
    unique key "module_chunk_position" ("module_id", "position")
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- A run. lease_epoch and revision are its fence.
create table if not exists "workflow_run" (
    "workflow_run_id" varchar(26) not null primary key,
    "organization_id" varchar(26) not null,
    "workflow_id" varchar(26) not null,
    "workflow_name" varchar(64) not null,
    "workflow_version_id" varchar(71) not null,
    "number" bigint not null,
    "status" varchar(32) not null,
    "trigger" varchar(32) not null,
    "trace_id" varchar(64) not null,
    "rerun_of" varchar(26),
    "origin_run_id" varchar(26) not null,
    "inputs" longtext not null,
    "config" longtext not null,
    "idempotency_key" varchar(700),
    "priority" bigint not null,
    "owner" varchar(26),
    "lease_epoch" bigint not null,
    "revision" bigint not null,
    "scheduled_at" bigint not null,
    "created_at" bigint not null,
    "started_at" bigint,
    "finished_at" bigint,
    "tolerated_failures" bigint not null,
    "failure_code" longtext,
    "failure_message" longtext,
    -- what claims read: negative, because before 10.8 no index descends; null once a run is owned or over
    "claim_rank" bigint generated always as (case when "owner" is null
        and "status" in ('queued', 'running', 'waiting', 'interrupted') then -"priority" end) stored,
    -- the owner of a run that is not over
    "active_owner" varchar(26) generated always as (case
        when "status" in ('queued', 'running', 'waiting', 'interrupted') then "owner" end) stored,
    -- claim: runs that nobody owns, best first
    key "workflow_run_claim" ("claim_rank", "workflow_run_id"),
    -- claim: runs of a dead owner; orders: runs of a live one
    key "workflow_run_owner" ("active_owner"),
    -- list: runs of a workflow by keyset
    key "workflow_run_workflow" ("workflow_name", "workflow_run_id"),
    -- list: runs in one state by keyset
    key "workflow_run_status" ("status", "workflow_run_id"),
    -- run 42 of a workflow, found and unique
    unique key "workflow_run_number" ("workflow_id", "number"),
    -- one run a key; runs without one are not compared
    unique key "workflow_run_idempotency" ("organization_id", "idempotency_key")
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- A job run.
create table if not exists "job_run" (
    "job_run_id" varchar(26) not null primary key,
    "workflow_run_id" varchar(26) not null,
    "organization_id" varchar(26) not null,
    "job" varchar(64) not null,
    "status" varchar(32) not null,
    "started_at" bigint,
    "finished_at" bigint,
    "tolerated_failures" bigint not null,
    -- everything of a run
    key "job_run_run" ("workflow_run_id")
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- A task run; one a for_each item, and one with item_index -1 for the whole.
create table if not exists "task_run" (
    "task_run_id" varchar(26) not null primary key,
    "workflow_run_id" varchar(26) not null,
    "organization_id" varchar(26) not null,
    "job" varchar(64) not null,
    "task" varchar(64) not null,
    "item_index" bigint not null,
    "status" varchar(32) not null,
    "attempts" bigint not null,
    "interrupts" bigint not null,
    "tolerated" bigint not null,
    "ready_at" bigint,
    "started_at" bigint,
    "finished_at" bigint,
    "retry_at" bigint,
    "output_io_id" varchar(26),
    "reason_code" longtext,
    "reason_message" longtext,
    -- everything of a run
    key "task_run_run" ("workflow_run_id")
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- One try of a task run.
create table if not exists "task_attempt" (
    "task_attempt_id" varchar(26) not null primary key,
    "task_run_id" varchar(26) not null,
    "workflow_run_id" varchar(26) not null,
    "organization_id" varchar(26) not null,
    "number" bigint not null,
    "lease_epoch" bigint not null,
    "daemon_id" varchar(26) not null,
    "status" varchar(32) not null,
    "started_at" bigint not null,
    "finished_at" bigint,
    "cpu_us" bigint not null,
    "memory_peak_bytes" bigint not null,
    "logs_dropped" bigint not null,
    "failure" longtext,
    -- everything of a run
    key "task_attempt_run" ("workflow_run_id")
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- A recorded input or output.
create table if not exists "task_io_data" (
    "task_io_data_id" varchar(26) not null primary key,
    "workflow_run_id" varchar(26) not null,
    "organization_id" varchar(26) not null,
    "task_run_id" varchar(26) not null,
    "task_attempt_id" varchar(26),
    "kind" varchar(64) not null,
    "data" longtext not null,
    "origins" longtext,
    "created_at" bigint not null,
    -- everything of a run
    key "task_io_data_run" ("workflow_run_id")
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- A log line or event. Its id comes from the stream counter, so that a reader who follows it misses none.
create table if not exists "execution_log" (
    "execution_log_id" bigint not null primary key,
    "organization_id" varchar(26) not null,
    "workflow_run_id" varchar(26) not null,
    "task_run_id" varchar(26),
    "task_attempt_id" varchar(26),
    "kind" varchar(64) not null,
    "level" varchar(32) not null,
    "message" longtext not null,
    "fields" longtext,
    "created_at" bigint not null,
    -- the lines of a run in order
    key "execution_log_run" ("workflow_run_id", "execution_log_id")
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- A call that a task made through a broker. Never a secret, a query string or a body.
create table if not exists "host_call" (
    "host_call_id" varchar(26) not null primary key,
    "workflow_run_id" varchar(26) not null,
    "organization_id" varchar(26) not null,
    "task_attempt_id" varchar(26) not null,
    "kind" longtext not null,
    "target" longtext not null,
    "verb" longtext not null,
    "outcome" longtext not null,
    "sent_bytes" bigint not null,
    "received_bytes" bigint not null,
    "started_at" bigint not null,
    "duration_us" bigint not null,
    -- everything of a run
    key "host_call_run" ("workflow_run_id")
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- An order to a run's owner; removed when it is carried out, so it stays small.
create table if not exists "run_command" (
    "run_command_id" varchar(26) not null primary key,
    "workflow_run_id" varchar(26) not null,
    "organization_id" varchar(26) not null,
    "kind" varchar(64) not null,
    "reason" longtext not null,
    "created_at" bigint not null,
    -- the orders of a run
    key "run_command_run" ("workflow_run_id")
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- Counters that must grow in the order of commits, which a database sequence does not promise.
create table if not exists "stream" (
    "stream_id" varchar(64) not null primary key,
    "value" bigint not null
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- A key of a workflow's state. Keys are bytes: they sort the same everywhere.
create table if not exists "kv_entry" (
    "kv_entry_id" varchar(26) not null primary key,
    "organization_id" varchar(26) not null,
    "workflow_name" varchar(64) not null,
    "key" varbinary(2048) not null,
    "value" longblob not null,
    "revision" bigint not null,
    "expires_at" bigint,
    -- one entry a key; keys in order
    unique key "kv_entry_key" ("organization_id", "workflow_name", "key")
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- A process of the daemon and its last sign of life, by the database's clock. Kept: attempts name it.
create table if not exists "daemon" (
    "daemon_id" varchar(26) not null primary key,
    "instance" longtext not null,
    "started_at" bigint not null,
    "seen_at" bigint not null,
    "gone_at" bigint
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- The default organization; its id is the smallest of all.
insert into "organization" ("organization_id", "name", "created_at") values ('00000000000000000000000000', 'root', 0)
    on duplicate key update "name" = "name";
insert into "stream" ("stream_id", "value") values ('execution_log', 0), ('kv_entry', 0)
    on duplicate key update "value" = "value";
