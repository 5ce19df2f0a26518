-- Secrets that are set by command, and what each workflow's key-value state takes.
--
-- A secret's row is sealed with a key that is never in the database; organization, name and revision are
-- bound into the seal, so that a row moved to another place or changed does not open.

-- A sealed secret.
create table "secret" (
    "secret_id" text not null primary key,
    "organization_id" text not null,
    "name" text not null,
    "revision" integer not null,
    "key_id" text not null,
    "nonce" blob not null,
    "ciphertext" blob not null,
    "created_at" integer not null,
    "created_by" text not null,
    "updated_at" integer not null,
    "updated_by" text not null
) strict;
-- one secret a name
create unique index "secret_name" on "secret" ("organization_id", "name");

-- What a workflow's entries take together, expired ones included until they are removed. Counted, because adding up
-- a hundred thousand rows at each write would not be.
create table "kv_usage" (
    "kv_usage_id" text not null primary key,
    "organization_id" text not null,
    "workflow_name" text not null,
    "entry_count" integer not null,
    "byte_count" integer not null
) strict;
-- one count a workflow
create unique index "kv_usage_workflow" on "kv_usage" ("organization_id", "workflow_name");

-- a workflow's entries that end, the first to end first; holds only those
create index "kv_entry_expiry" on "kv_entry" ("organization_id", "workflow_name", "expires_at")
    where "expires_at" is not null;

-- An id made for one of a workflow's entries is no other workflow's.
insert into "kv_usage" ("kv_usage_id", "organization_id", "workflow_name", "entry_count", "byte_count")
select min("kv_entry_id"), "organization_id", "workflow_name", count(*), sum(length("key") + length("value"))
from "kv_entry" group by "organization_id", "workflow_name";

-- Moves with every change of a secret: daemons that share the store see by it that there is something to read.
insert into "stream" ("stream_id", "value") values ('secret', 0);
