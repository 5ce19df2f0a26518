-- Several daemons on one store: each says how long its silence may last, one at a time turns files into
-- versions, and a counter tells the others that there is something new.

-- How long a daemon counts as alive after its last sign of life, in microseconds.
alter table "daemon" add column "lease_us" integer not null default 30000000;

-- What one daemon does at a time, and who does it now. A duty ends with the life of its daemon.
create table "duty" (
    "duty_id" text not null primary key,
    "daemon_id" text
) strict;

insert into "duty" ("duty_id") values ('publish');
insert into "stream" ("stream_id", "value") values ('catalog', 0);
