-- Runs that begin other runs: tasks that are workflows, and workflows that start when another has ended.

-- A run's place in its family. A run that nobody began but a person, a program or a clock has none of it.
-- parent: the run one of whose tasks this run is, and that task run; triggered_by: the run whose end began this
-- one; root: the first run of the family; depth: how many runs stand above it.
alter table "workflow_run"
    add column if not exists "parent_run_id" varchar(26),
    add column if not exists "parent_task_run_id" varchar(26),
    add column if not exists "triggered_by" varchar(26),
    add column if not exists "root_run_id" varchar(26),
    add column if not exists "depth" bigint not null default 0;
-- list: the runs that are a run's tasks, by keyset
create index if not exists "workflow_run_parent" on "workflow_run" ("parent_run_id", "workflow_run_id");
-- list: all runs below a run that has none above it, by keyset
create index if not exists "workflow_run_root" on "workflow_run" ("root_run_id", "workflow_run_id");

-- The versions of the workflows that its tasks run, by name; and after which ends of others it starts.
alter table "workflow_version"
    add column if not exists "workflows" longtext not null default '{}',
    add column if not exists "starts_after" longtext not null default '[]';

-- Who starts when a run of that workflow ends so: of active versions only. The commit that ends a run reads it.
create table if not exists "workflow_trigger" (
    "workflow_trigger_id" varchar(26) not null primary key,
    "organization_id" varchar(26) not null,
    "workflow_id" varchar(26) not null,
    "source_name" varchar(64) not null,
    "source_status" varchar(32) not null,
    -- who waits for this end, each once
    unique key "workflow_trigger_source" ("organization_id", "source_name", "source_status", "workflow_id"),
    -- what a workflow waits for
    key "workflow_trigger_workflow" ("workflow_id")
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- That a run's end is to start a workflow, and what came of it. Written by the commit that ends the run; its id is the
-- run's and the workflow's, so there is one for each.
create table if not exists "trigger_delivery" (
    "trigger_delivery_id" varchar(64) not null primary key,
    "organization_id" varchar(26) not null,
    "source_run_id" varchar(26) not null,
    "source_status" varchar(32) not null,
    "workflow_id" varchar(26) not null,
    "state" varchar(32) not null,
    "run_id" varchar(26),
    "reason_code" longtext,
    "reason_message" longtext,
    "due_at" bigint not null,
    "created_at" bigint not null,
    "settled_at" bigint,
    -- what is to be done, by its time
    key "trigger_delivery_due" ("state", "due_at"),
    -- what a run's end came to
    key "trigger_delivery_source" ("source_run_id")
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;
