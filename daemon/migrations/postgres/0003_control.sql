-- Turns of runs whose workflow limits how many may go at once, and the list of what failed for good.

-- Runs of one workflow with the same key: a lane. Its row is what daemons take turns at, and goes with the lane's
-- last run. The id is a digest of organization, workflow and key; "max" is as the run that entered last says.
create table "lane" (
    "lane_id" varchar(71) collate "C" not null primary key,
    "organization_id" varchar(26) collate "C" not null,
    "workflow_id" varchar(26) collate "C" not null,
    "max" bigint not null
);

-- A run in a lane until it ends; the id is the run's. "has_place": whether it may go. "rank": the smaller, the earlier.
create table "lane_run" (
    "lane_run_id" varchar(26) collate "C" not null primary key,
    "organization_id" varchar(26) collate "C" not null,
    "lane_id" varchar(71) collate "C" not null,
    "has_place" bigint not null,
    "rank" bigint not null
);
-- those that go, and those that wait in their order
create index "lane_run_turn" on "lane_run" ("lane_id", "has_place", "rank", "lane_run_id");

-- A task (or one item of it) that failed for good and failed its run; without a task: what failed the run itself.
-- Written with the run's end. "state": open, redriven, resolved, dismissed, superseded.
create table "dead_letter" (
    "dead_letter_id" varchar(26) collate "C" not null primary key,
    "organization_id" varchar(26) collate "C" not null,
    "workflow_run_id" varchar(26) collate "C" not null,
    "origin_run_id" varchar(26) collate "C" not null,
    "workflow_name" text not null,
    "job" text,
    "task" text,
    "item_index" bigint not null,
    "code" text not null,
    "message" text not null,
    "attempts" bigint not null,
    "interrupts" bigint not null,
    "created_at" bigint not null,
    "state" text not null,
    "redrives" bigint not null,
    "redrive_run_id" varchar(26) collate "C",
    "settled_at" bigint,
    "settled_by" text,
    "note" text
);
-- list: those in one state by keyset
create index "dead_letter_state" on "dead_letter" ("state", "dead_letter_id");
-- list: those of a workflow in one state by keyset
create index "dead_letter_workflow" on "dead_letter" ("workflow_name", "state", "dead_letter_id");
-- list: those with a code in one state by keyset
create index "dead_letter_code" on "dead_letter" ("code", "state", "dead_letter_id");
-- those of a run
create index "dead_letter_run" on "dead_letter" ("workflow_run_id");
-- those of a chain of reruns
create index "dead_letter_origin" on "dead_letter" ("origin_run_id");
