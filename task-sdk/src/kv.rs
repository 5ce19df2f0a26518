//! Keys and values that outlive runs: cursors, "already published" sets. They belong to the workflow.
//!
//! Errors have the codes in `wit/deps/kv`: `kv.denied`, `kv.invalid`, `limit.kv-value`, `limit.kv-keys`,
//! `limit.kv-bytes`, `limit.kv-writes`, `kv.unavailable`.
//!
//! ```no_run
//! # fn main() -> flowweaver_task::Result<()> {
//! use flowweaver_task::kv;
//!
//! let seen: u64 = kv::get_json("cursor")?.unwrap_or(0);
//! kv::set_json("cursor", &(seen + 1), None)?;
//! # Ok(())
//! # }
//! ```

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use crate::{Result, host};

/// A value with the revision that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The bytes.
    pub value: Vec<u8>,
    /// Grows with every change of this key; never reused.
    pub revision: u64,
}

/// Reads a key; none when it is absent or expired.
///
/// # Errors
/// What the host answers; see the module's page.
pub fn get(key: &str) -> Result<Option<Entry>> {
    host::kv::get(key)
}

/// Writes a key and answers its new revision. `ttl` removes it after that time.
///
/// # Errors
/// What the host answers; see the module's page.
pub fn set(key: &str, value: impl AsRef<[u8]>, ttl: Option<Duration>) -> Result<u64> {
    host::kv::set(key, value.as_ref(), ttl)
}

/// Writes a key only if its revision still is `expected` (none: only if it is absent). Answers the new
/// revision, or none when someone else was first.
///
/// # Errors
/// What the host answers; see the module's page.
pub fn compare_and_set(
    key: &str,
    expected: Option<u64>,
    value: impl AsRef<[u8]>,
    ttl: Option<Duration>,
) -> Result<Option<u64>> {
    host::kv::compare_and_set(key, expected, value.as_ref(), ttl)
}

/// Writes a key without a value unless it is there, and answers whether this call did: of all runs, tasks and
/// attempts that ask for the same key, exactly one hears `true`. A set of what was seen is made of such keys; give
/// them a `ttl`, because every one counts against the workflow's quota until it ends.
///
/// Where the call stands decides what a crash does. Before the effect: the effect happens at most once, and never
/// again for a key whose task died right after it. After the effect, with [`contains`] asked before: at least once.
///
/// # Errors
/// What the host answers; see the module's page.
///
/// ```no_run
/// # fn main() -> flowweaver_task::Result<()> {
/// # let posts: Vec<String> = Vec::new();
/// use std::time::Duration;
/// use flowweaver_task::kv;
///
/// const KEPT: Duration = Duration::from_secs(90 * 86_400);
/// for post in posts {
///     if kv::insert_once(&format!("seen/{post}"), Some(KEPT))? {
///         // new: notify somebody
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub fn insert_once(key: &str, ttl: Option<Duration>) -> Result<bool> {
    Ok(compare_and_set(key, None, b"", ttl)?.is_some())
}

/// Whether a key is there.
///
/// # Errors
/// What the host answers; see the module's page.
pub fn contains(key: &str) -> Result<bool> {
    Ok(get(key)?.is_some())
}

/// Removes a key; answers whether it was there.
///
/// # Errors
/// What the host answers; see the module's page.
pub fn delete(key: &str) -> Result<bool> {
    host::kv::delete(key)
}

/// Lists keys in byte order that start with `prefix` and come after `after`, at most `limit` (1 to 1000).
///
/// # Errors
/// What the host answers; see the module's page.
pub fn keys(prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<String>> {
    host::kv::keys(prefix, after, limit)
}

/// Reads a key that holds JSON.
///
/// # Errors
/// As [`get`]; `json.invalid` when the value is not JSON for `T`, with the key in the message.
pub fn get_json<T: DeserializeOwned>(key: &str) -> Result<Option<T>> {
    let Some(entry) = get(key)? else {
        return Ok(None);
    };
    match serde_json::from_slice(&entry.value) {
        Ok(value) => Ok(Some(value)),
        Err(error) => Err(crate::Error::from(error).context(format!("reading the key `{key}`"))),
    }
}

/// Writes a key as JSON and answers its new revision.
///
/// # Errors
/// As [`set`]; `json.invalid` when the value has no JSON form.
pub fn set_json(key: &str, value: &impl Serialize, ttl: Option<Duration>) -> Result<u64> {
    set(key, serde_json::to_vec(value)?, ttl)
}
