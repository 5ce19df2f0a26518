-- Runs that begin other runs: tasks that are workflows, and workflows that start when another has ended.

-- A run's place in its family. A run that nobody began but a person, a program or a clock has none of it.
-- parent: the run one of whose tasks this run is, and that task run; triggered_by: the run whose end began this
-- one; root: the first run of the family; depth: how many runs stand above it.
alter table "workflow_run" add column "parent_run_id" varchar(26) collate "C";
alter table "workflow_run" add column "parent_task_run_id" varchar(26) collate "C";
alter table "workflow_run" add column "triggered_by" varchar(26) collate "C";
alter table "workflow_run" add column "root_run_id" varchar(26) collate "C";
alter table "workflow_run" add column "depth" bigint not null default 0;
-- list: the runs that are a run's tasks, by keyset; holds only those
create index "workflow_run_parent" on "workflow_run" ("parent_run_id", "workflow_run_id")
    where "parent_run_id" is not null;
-- list: all runs below a run that has none above it, by keyset; holds only those
create index "workflow_run_root" on "workflow_run" ("root_run_id", "workflow_run_id")
    where "root_run_id" is not null;

-- The versions of the workflows that its tasks run, by name; and after which ends of others it starts.
alter table "workflow_version" add column "workflows" text not null default '{}';
alter table "workflow_version" add column "starts_after" text not null default '[]';

-- Who starts when a run of that workflow ends so: of active versions only. The commit that ends a run reads it.
create table "workflow_trigger" (
    "workflow_trigger_id" varchar(26) collate "C" not null primary key,
    "organization_id" varchar(26) collate "C" not null,
    "workflow_id" varchar(26) collate "C" not null,
    "source_name" text not null,
    "source_status" text not null
);
-- who waits for this end, each once
create unique index "workflow_trigger_source" on "workflow_trigger"
    ("organization_id", "source_name", "source_status", "workflow_id");
-- what a workflow waits for
create index "workflow_trigger_workflow" on "workflow_trigger" ("workflow_id");

-- That a run's end is to start a workflow, and what came of it. Written by the commit that ends the run; its id is the
-- run's and the workflow's, so there is one for each.
create table "trigger_delivery" (
    "trigger_delivery_id" varchar(64) collate "C" not null primary key,
    "organization_id" varchar(26) collate "C" not null,
    "source_run_id" varchar(26) collate "C" not null,
    "source_status" text not null,
    "workflow_id" varchar(26) collate "C" not null,
    "state" text not null,
    "run_id" varchar(26) collate "C",
    "reason_code" text,
    "reason_message" text,
    "due_at" bigint not null,
    "created_at" bigint not null,
    "settled_at" bigint
);
-- what is to be done, by its time; holds only that
create index "trigger_delivery_due" on "trigger_delivery" ("due_at") where "state" = 'pending';
-- what a run's end came to
create index "trigger_delivery_source" on "trigger_delivery" ("source_run_id");
