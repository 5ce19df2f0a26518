-- When workflows start by themselves, and what became of each of those times.

-- A schedule, of a file or made through the API. Everything up to decided_until has its decision; looked_at is what the
-- clock said then. revision grows with each edit, turn with each decision: who decides names both, so that of several
-- daemons one does. name_key is null once a schedule was deleted, so that its name is free.
create table if not exists "schedule" (
    "schedule_id" varchar(26) not null primary key,
    "organization_id" varchar(26) not null,
    "workflow_id" varchar(26) not null,
    "workflow_name" varchar(64) not null,
    "name" varchar(64) not null,
    "origin" varchar(16) not null,
    "name_key" varchar(80),
    "definition" longtext not null,
    "decided_until" bigint not null,
    "looked_at" bigint not null,
    "revision" bigint not null,
    "turn" bigint not null,
    "created_at" bigint not null,
    "updated_at" bigint not null,
    "retired_at" bigint,
    -- one schedule a name
    unique key "schedule_name" ("workflow_id", "name_key")
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- What became of one time of a schedule (span 0), or that a span of them was missed (1). The unique key is what makes a
-- schedule fire at most once for each time, whoever decides and whatever the clock does.
create table if not exists "schedule_fire" (
    "schedule_fire_id" varchar(26) not null primary key,
    "organization_id" varchar(26) not null,
    "schedule_id" varchar(26) not null,
    "nominal_at" bigint not null,
    "span" bigint not null,
    "last_at" bigint not null,
    "times" bigint not null,
    "cause" varchar(16) not null,
    "outcome" varchar(16) not null,
    "reason_code" longtext,
    "reason_message" longtext,
    "workflow_run_id" varchar(26),
    "open" bigint not null,
    "decided_at" bigint not null,
    -- one fire a time; the history of a schedule, newest first
    unique key "schedule_fire_time" ("schedule_id", "nominal_at", "span"),
    -- what is under way
    key "schedule_fire_open" ("open", "schedule_id")
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- Moves with every change of a schedule: daemons that share the store see by it that there is something to read.
insert into "stream" ("stream_id", "value") values ('schedule', 0) on duplicate key update "value" = "value";
