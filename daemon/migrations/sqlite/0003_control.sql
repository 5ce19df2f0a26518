-- Turns of runs whose workflow limits how many may go at once, and the list of what failed for good.

-- Runs of one workflow with the same key: a lane. Its row is what daemons take turns at, and goes with the lane's
-- last run. The id is a digest of organization, workflow and key; "max" is as the run that entered last says.
create table "lane" (
    "lane_id" text not null primary key,
    "organization_id" text not null,
    "workflow_id" text not null,
    "max" integer not null
) strict;

-- A run in a lane until it ends; the id is the run's. "has_place": whether it may go. "rank": the smaller, the earlier.
create table "lane_run" (
    "lane_run_id" text not null primary key,
    "organization_id" text not null,
    "lane_id" text not null,
    "has_place" integer not null,
    "rank" integer not null
) strict;
-- those that go, and those that wait in their order
create index "lane_run_turn" on "lane_run" ("lane_id", "has_place", "rank", "lane_run_id");

-- A task (or one item of it) that failed for good and failed its run; without a task: what failed the run itself.
-- Written with the run's end. "state": open, redriven, resolved, dismissed, superseded.
create table "dead_letter" (
    "dead_letter_id" text not null primary key,
    "organization_id" text not null,
    "workflow_run_id" text not null,
    "origin_run_id" text not null,
    "workflow_name" text not null,
    "job" text,
    "task" text,
    "item_index" integer not null,
    "code" text not null,
    "message" text not null,
    "attempts" integer not null,
    "interrupts" integer not null,
    "created_at" integer not null,
    "state" text not null,
    "redrives" integer not null,
    "redrive_run_id" text,
    "settled_at" integer,
    "settled_by" text,
    "note" text
) strict;
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
