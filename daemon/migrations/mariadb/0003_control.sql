-- Turns of runs whose workflow limits how many may go at once, and the list of what failed for good.

-- Runs of one workflow with the same key: a lane. Its row is what daemons take turns at, and goes with the lane's
-- last run. The id is a digest of organization, workflow and key; "max" is as the run that entered last says.
create table if not exists "lane" (
    "lane_id" varchar(71) not null primary key,
    "organization_id" varchar(26) not null,
    "workflow_id" varchar(26) not null,
    "max" bigint not null
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- A run in a lane until it ends; the id is the run's. "has_place": whether it may go. "rank": the smaller, the earlier.
create table if not exists "lane_run" (
    "lane_run_id" varchar(26) not null primary key,
    "organization_id" varchar(26) not null,
    "lane_id" varchar(71) not null,
    "has_place" bigint not null,
    "rank" bigint not null,
    -- those that go, and those that wait in their order
    key "lane_run_turn" ("lane_id", "has_place", "rank", "lane_run_id")
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- A task (or one item of it) that failed for good and failed its run; without a task: what failed the run itself.
-- Written with the run's end. "state": open, redriven, resolved, dismissed, superseded.
create table if not exists "dead_letter" (
    "dead_letter_id" varchar(26) not null primary key,
    "organization_id" varchar(26) not null,
    "workflow_run_id" varchar(26) not null,
    "origin_run_id" varchar(26) not null,
    "workflow_name" varchar(64) not null,
    "job" varchar(64),
    "task" varchar(64),
    "item_index" bigint not null,
    "code" varchar(200) not null,
    "message" longtext not null,
    "attempts" bigint not null,
    "interrupts" bigint not null,
    "created_at" bigint not null,
    "state" varchar(32) not null,
    "redrives" bigint not null,
    "redrive_run_id" varchar(26),
    "settled_at" bigint,
    "settled_by" longtext,
    "note" longtext,
    -- list: those in one state by keyset
    key "dead_letter_state" ("state", "dead_letter_id"),
    -- list: those of a workflow in one state by keyset
    key "dead_letter_workflow" ("workflow_name", "state", "dead_letter_id"),
    -- list: those with a code in one state by keyset
    key "dead_letter_code" ("code", "state", "dead_letter_id"),
    -- those of a run
    key "dead_letter_run" ("workflow_run_id"),
    -- those of a chain of reruns
    key "dead_letter_origin" ("origin_run_id")
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;
