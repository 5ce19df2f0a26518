-- When workflows start by themselves, and what became of each of those times.

-- A schedule, of a file or made through the API. Everything up to decided_until has its decision; looked_at is what the
-- clock said then. revision grows with each edit, turn with each decision: who decides names both, so that of several
-- daemons one does. name_key is null once a schedule was deleted, so that its name is free.
create table "schedule" (
    "schedule_id" varchar(26) collate "C" not null primary key,
    "organization_id" varchar(26) collate "C" not null,
    "workflow_id" varchar(26) collate "C" not null,
    "workflow_name" text not null,
    "name" text not null,
    "origin" text not null,
    "name_key" text,
    "definition" text not null,
    "decided_until" bigint not null,
    "looked_at" bigint not null,
    "revision" bigint not null,
    "turn" bigint not null,
    "created_at" bigint not null,
    "updated_at" bigint not null,
    "retired_at" bigint
);
-- one schedule a name
create unique index "schedule_name" on "schedule" ("workflow_id", "name_key");

-- What became of one time of a schedule (span 0), or that a span of them was missed (1). The unique key is what makes a
-- schedule fire at most once for each time, whoever decides and whatever the clock does.
create table "schedule_fire" (
    "schedule_fire_id" varchar(26) collate "C" not null primary key,
    "organization_id" varchar(26) collate "C" not null,
    "schedule_id" varchar(26) collate "C" not null,
    "nominal_at" bigint not null,
    "span" bigint not null,
    "last_at" bigint not null,
    "times" bigint not null,
    "cause" text not null,
    "outcome" text not null,
    "reason_code" text,
    "reason_message" text,
    "workflow_run_id" varchar(26) collate "C",
    "open" bigint not null,
    "decided_at" bigint not null
);
-- one fire a time; the history of a schedule, newest first
create unique index "schedule_fire_time" on "schedule_fire" ("schedule_id", "nominal_at", "span");
-- what is under way; holds only that
create index "schedule_fire_open" on "schedule_fire" ("schedule_id") where "open" = 1;

-- Moves with every change of a schedule: daemons that share the store see by it that there is something to read.
insert into "stream" ("stream_id", "value") values ('schedule', 0);
