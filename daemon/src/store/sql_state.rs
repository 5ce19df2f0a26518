//! Statements about state and secrets that every database understands as written.
//!
//! Lengths are cast: the databases give them different types.

/// The next revision of any key; its lock makes key-value writers take turns, and a key that was
/// deleted and made again never has a revision it had before.
pub(super) const KV_REVISION: &str = r#"
update "stream" set "value" = "value" + 1 where "stream_id" = 'kv_entry' returning "value""#;

/// A key that has not expired at $4.
pub(super) const KV_GET: &str = r#"
select "value", "revision", "expires_at" from "kv_entry"
where "organization_id" = $1 and "workflow_name" = $2 and "key" = $3
  and ("expires_at" is null or "expires_at" > $4)"#;

/// Writes a key.
pub(super) const KV_PUT: &str = r#"
insert into "kv_entry" ("kv_entry_id", "organization_id", "workflow_name", "key", "value", "revision", "expires_at")
values ($1, $2, $3, $4, $5, $6, $7)
on conflict ("organization_id", "workflow_name", "key") do update
set "value" = excluded."value", "revision" = excluded."revision", "expires_at" = excluded."expires_at""#;

/// What a key has now, expired or not.
pub(super) const KV_LOOK: &str = r#"
select "revision", "expires_at", cast(length("key") + length("value") as bigint) as "size" from "kv_entry"
where "organization_id" = $1 and "workflow_name" = $2 and "key" = $3"#;

/// Removes a key; answers when it would have expired, and what it took.
pub(super) const KV_DELETE: &str = r#"
delete from "kv_entry" where "organization_id" = $1 and "workflow_name" = $2 and "key" = $3
returning "expires_at", cast(length("key") + length("value") as bigint) as "size""#;

/// Removes at most $4 of a workflow's entries that ended by $3, the first to end first; answers what they took.
pub(super) const KV_PURGE: &str = r#"
delete from "kv_entry" where "kv_entry_id" in (
  select "kv_entry_id" from "kv_entry"
  where "organization_id" = $1 and "workflow_name" = $2 and "expires_at" <= $3
  order by "expires_at" limit $4)
returning cast(length("key") + length("value") as bigint) as "size""#;

/// What a workflow's entries take together.
pub(super) const KV_USAGE: &str = r#"
select "entry_count", "byte_count" from "kv_usage" where "organization_id" = $1 and "workflow_name" = $2"#;

/// Counts $4 entries and $5 bytes more, or fewer.
pub(super) const KV_COUNT: &str = r#"
insert into "kv_usage" ("kv_usage_id", "organization_id", "workflow_name", "entry_count", "byte_count")
values ($1, $2, $3, $4, $5)
on conflict ("organization_id", "workflow_name") do update
set "entry_count" = "kv_usage"."entry_count" + excluded."entry_count",
  "byte_count" = "kv_usage"."byte_count" + excluded."byte_count""#;

/// What a workflow's entries take that have not expired at $3; read when a person asks, not at a write.
pub(super) const KV_LIVE_USAGE: &str = r#"
select count(*) as "entry_count", cast(coalesce(sum(length("key") + length("value")), 0) as bigint) as "byte_count"
from "kv_entry"
where "organization_id" = $1 and "workflow_name" = $2 and ("expires_at" is null or "expires_at" > $3)"#;

/// Keys from $3 on (with $4 = 1) or after it (0), below $5 if there is one, in byte order.
pub(super) const KV_KEYS: &str = r#"
select "key" from "kv_entry"
where "organization_id" = $1 and "workflow_name" = $2
  and "key" >= $3 and ($4 = 1 or "key" > $3) and ($5 is null or "key" < $5)
  and ("expires_at" is null or "expires_at" > $6)
order by "key" limit $7"#;

/// The same keys as [`KV_KEYS`], with what lists show of them.
pub(super) const KV_LIST: &str = r#"
select "key", "revision", "expires_at", cast(length("value") as bigint) as "value_bytes" from "kv_entry"
where "organization_id" = $1 and "workflow_name" = $2
  and "key" >= $3 and ($4 = 1 or "key" > $3) and ($5 is null or "key" < $5)
  and ("expires_at" is null or "expires_at" > $6)
order by "key" limit $7"#;

/// All sealed secrets.
pub(super) const SECRETS: &str = r#"select * from "secret" order by "organization_id", "name""#;

/// Moves with every change of a secret.
pub(super) const SECRET_CHANGES: &str =
    r#"select "value" from "stream" where "stream_id" = 'secret'"#;

/// Says that a secret has changed.
pub(super) const SECRET_CHANGED: &str =
    r#"update "stream" set "value" = "value" + 1 where "stream_id" = 'secret'"#;

/// A secret, unless its name is taken.
pub(super) const SECRET_APPEARS: &str = r#"
insert into "secret" ("secret_id", "organization_id", "name", "revision", "key_id", "nonce", "ciphertext",
  "created_at", "created_by", "updated_at", "updated_by")
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) on conflict ("organization_id", "name") do nothing"#;

/// Seals a secret anew if its row still is the one that was read: a secret that was deleted and made again
/// comes to the same revision, but never to the same nonce.
pub(super) const SECRET_RESEALED: &str = r#"
update "secret" set "revision" = $3, "key_id" = $4, "nonce" = $5, "ciphertext" = $6,
  "updated_at" = $7, "updated_by" = $8
where "organization_id" = $1 and "name" = $2 and "revision" = $9 and "nonce" = $10 and "ciphertext" = $11"#;

/// Removes a secret.
pub(super) const SECRET_GONE: &str =
    r#"delete from "secret" where "organization_id" = $1 and "name" = $2"#;
