-- Several daemons on one store: each says how long its silence may last, one at a time turns files into
-- versions, and a counter tells the others that there is something new.

-- How long a daemon counts as alive after its last sign of life, in microseconds.
alter table "daemon" add column if not exists "lease_us" bigint not null default 30000000;

-- What one daemon does at a time, and who does it now. A duty ends with the life of its daemon.
create table if not exists "duty" (
    "duty_id" varchar(64) not null primary key,
    "daemon_id" varchar(26)
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

insert into "duty" ("duty_id") values ('publish') on duplicate key update "duty_id" = "duty_id";
insert into "stream" ("stream_id", "value") values ('catalog', 0) on duplicate key update "value" = "value";
