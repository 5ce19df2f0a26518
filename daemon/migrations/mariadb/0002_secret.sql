-- Secrets that are set by command, and what each workflow's key-value state takes.
--
-- A secret's row is sealed with a key that is never in the database; organization, name and revision are
-- bound into the seal, so that a row moved to another place or changed does not open.

-- A sealed secret.
create table if not exists "secret" (
    "secret_id" varchar(26) not null primary key,
    "organization_id" varchar(26) not null,
    "name" varchar(64) not null,
    "revision" bigint not null,
    "key_id" longtext not null,
    "nonce" longblob not null,
    "ciphertext" longblob not null,
    "created_at" bigint not null,
    "created_by" longtext not null,
    "updated_at" bigint not null,
    "updated_by" longtext not null,
    -- one secret a name
    unique key "secret_name" ("organization_id", "name")
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- What a workflow's entries take together, expired ones included until they are removed. Counted, because adding up
-- a hundred thousand rows at each write would not be.
create table if not exists "kv_usage" (
    "kv_usage_id" varchar(26) not null primary key,
    "organization_id" varchar(26) not null,
    "workflow_name" varchar(64) not null,
    "entry_count" bigint not null,
    "byte_count" bigint not null,
    -- one count a workflow
    unique key "kv_usage_workflow" ("organization_id", "workflow_name")
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- a workflow's entries that end, the first to end first
create index if not exists "kv_entry_expiry" on "kv_entry" ("organization_id", "workflow_name", "expires_at");

-- An id made for one of a workflow's entries is no other workflow's.
insert into "kv_usage" ("kv_usage_id", "organization_id", "workflow_name", "entry_count", "byte_count")
select min("kv_entry_id"), "organization_id", "workflow_name", count(*), sum(length("key") + length("value"))
from "kv_entry" group by "organization_id", "workflow_name"
on duplicate key update "kv_usage_id" = "kv_usage"."kv_usage_id";

-- Moves with every change of a secret: daemons that share the store see by it that there is something to read.
insert into "stream" ("stream_id", "value") values ('secret', 0) on duplicate key update "value" = "value";
