//! `flowweaver:kv`: durable state of a workflow, within its own space and the task's grant.
//!
//! Where the rows live is the store's business.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::call::CallRecord;
use super::error::{CallError, Refusal};
use super::{AttemptScope, BrokerView};
use crate::bindings::kv::store::{Entry, Host};
use crate::clock::{Clock, Timestamp};
use crate::store::rows::KvEntry;
use crate::store::{Expect, KvSpace, KvUsage, KvWrite, KvWritten, Store, StoreError};
use crate::units::{Size, Span};
use crate::workflow::grant::KvGrant;

/// Keys are names, not documents; index entries must stay small in every database.
pub const KEY_BYTES_MAX: usize = 512;
/// State, not storage: what is larger belongs in a bucket or a database.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;
/// Writes of one attempt, so that a loop cannot fill the store: more is the work of a database.
pub const WRITES_MAX: u32 = 10_000;
/// Calls of one attempt, denied ones included: room for as many writes as there may be and a read for
/// every second. Each is recorded, and the records have room for these and the other capabilities'.
pub const CALLS_MAX: u32 = 15_000;
/// The most keys that one call lists, as in `wit/`.
pub const LIST_MAX: u32 = 1_000;
/// An entry that is to last longer is one without an end; and every end can be written as a date.
pub const TTL_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);

/// What the entries of one workflow may take, whoever writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvQuota {
    /// `[limits] kv_keys`.
    pub keys: u64,
    /// `[limits] kv_bytes`: keys and values.
    pub bytes: u64,
}

impl Default for KvQuota {
    fn default() -> Self {
        Self {
            // A year of a feed with 270 items a day, each marked as seen; listed in a hundred calls.
            keys: 100_000,
            // 640 bytes for each of them. State, not storage: it is in every backup of the store.
            bytes: 64 << 20,
        }
    }
}

impl KvQuota {
    /// As the store counts.
    pub fn usage(self) -> KvUsage {
        KvUsage {
            entries: self.keys,
            bytes: self.bytes,
        }
    }

    /// The refusal that a write which did not fit gets; none for one that was written or not expected.
    pub fn refusal(self, written: KvWritten) -> Option<(&'static str, String)> {
        match written {
            KvWritten::At(_) | KvWritten::Unexpected => None,
            KvWritten::TooManyKeys => {
                let keys = self.keys;
                let message = format!(
                    "a workflow keeps at most {keys} keys; delete some, or give them a ttl. The operator's limit is [limits] kv_keys"
                );
                Some(("limit.kv-keys", message))
            }
            KvWritten::TooManyBytes => {
                let bytes = Size(self.bytes);
                let message = format!(
                    "a workflow's keys and values take at most {bytes} together; delete some, or write less. The operator's limit is [limits] kv_bytes"
                );
                Some(("limit.kv-bytes", message))
            }
        }
    }
}

/// What all attempts share.
pub(super) struct KvShared {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) quota: KvQuota,
}

/// Key-value state as one attempt sees it.
pub struct KvCtx {
    shared: Arc<KvShared>,
    scope: AttemptScope,
    space: KvSpace,
    calls: AtomicU32,
    writes: AtomicU32,
}

impl KvCtx {
    pub(super) fn new(shared: Arc<KvShared>, scope: AttemptScope) -> Self {
        let space = KvSpace {
            organization: scope.identity.organization,
            workflow: scope.identity.workflow.clone(),
        };
        Self {
            shared,
            scope,
            space,
            calls: AtomicU32::new(0),
            writes: AtomicU32::new(0),
        }
    }

    /// Reads a key; none when it is absent or expired.
    pub async fn get(&self, key: &str) -> Result<Option<KvEntry>, Refusal> {
        let mut record = self.record("get", key)?;
        let result = async {
            self.may_read(key)?;
            let found = self.shared.store.kv_get(&self.space, key, self.now()).await;
            found.map_err(unavailable)
        };
        let result = self.unless_cancelled(result).await;
        if let Ok(Some(entry)) = &result {
            record.received(entry.value.len());
        }
        record.settle(result)
    }

    /// Writes a key where `expect` holds; answers the new revision, or none where it does not.
    pub async fn set(
        &self,
        key: &str,
        expect: Expect,
        value: Vec<u8>,
        ttl: Option<Duration>,
    ) -> Result<Option<u64>, Refusal> {
        let mut record = self.record("set", key)?;
        record.sent(value.len());
        let result = async {
            self.may_write(key)?;
            let now = self.now();
            let write = write(value, ttl, now, self.shared.quota)
                .map_err(|(code, message)| Refusal::permanent(code, message))?;
            let written = self
                .shared
                .store
                .kv_set(&self.space, key, expect, &write, now)
                .await
                .map_err(unavailable)?;
            match self.shared.quota.refusal(written) {
                Some((code, message)) => Err(Refusal::permanent(code, message)),
                None => Ok(written.revision()),
            }
        };
        let result = self.unless_cancelled(result).await;
        record.settle(result)
    }

    /// Removes a key; answers whether it was there.
    pub async fn delete(&self, key: &str) -> Result<bool, Refusal> {
        let record = self.record("delete", key)?;
        let result = async {
            self.may_write(key)?;
            let deleted = self
                .shared
                .store
                .kv_delete(&self.space, key, self.now())
                .await;
            deleted.map_err(unavailable)
        };
        let result = self.unless_cancelled(result).await;
        record.settle(result)
    }

    /// Lists keys in byte order that start with `prefix` and come after `after`.
    pub async fn keys(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, Refusal> {
        let record = self.record("keys", prefix)?;
        let result = async {
            self.count()?;
            self.granted(KvGrant::Read)?;
            for text in [Some(prefix), after]
                .into_iter()
                .flatten()
                .filter(|text| !text.is_empty())
            {
                valid_key(text)?;
            }
            if !(1..=LIST_MAX).contains(&limit) {
                let message = format!("a list has 1 to {LIST_MAX} keys, not {limit}");
                return Err(Refusal::permanent("kv.invalid", message));
            }
            let listed = self
                .shared
                .store
                .kv_keys(&self.space, prefix, after, limit, self.now())
                .await;
            listed.map_err(unavailable)
        };
        let result = self.unless_cancelled(result).await;
        record.settle(result)
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    fn record(&self, verb: &str, key: &str) -> Result<CallRecord, Refusal> {
        // Control characters would be refused a moment later; the record is read by people.
        let key = key
            .chars()
            .filter(|c| !c.is_control())
            .take(KEY_BYTES_MAX)
            .collect();
        let (journal, clock) = (self.scope.journal.clone(), self.shared.clock.clone());
        CallRecord::begin(journal, clock, "kv", key, verb.to_owned())
    }

    async fn unless_cancelled<T>(
        &self,
        work: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        tokio::select! {
            biased;
            () = self.scope.cancel.cancelled() => Err(Refusal::cancelled()),
            result = work => result,
        }
    }

    fn may_read(&self, key: &str) -> Result<(), Refusal> {
        self.count()?;
        self.granted(KvGrant::Read)?;
        valid_key(key)
    }

    fn may_write(&self, key: &str) -> Result<(), Refusal> {
        self.count()?;
        self.granted(KvGrant::ReadWrite)?;
        valid_key(key)?;
        if self.writes.fetch_add(1, Ordering::Relaxed) >= WRITES_MAX {
            self.writes.fetch_sub(1, Ordering::Relaxed);
            let message = format!("an attempt changes at most {WRITES_MAX} keys");
            return Err(Refusal::permanent("limit.kv-writes", message));
        }
        Ok(())
    }

    /// Counts a call, denied ones included: asking is not free either.
    fn count(&self) -> Result<(), Refusal> {
        if self.calls.fetch_add(1, Ordering::Relaxed) < CALLS_MAX {
            return Ok(());
        }
        self.calls.fetch_sub(1, Ordering::Relaxed);
        let message = format!("an attempt makes at most {CALLS_MAX} calls for keys");
        Err(Refusal::permanent("limit.kv-calls", message))
    }

    fn granted(&self, wanted: KvGrant) -> Result<(), Refusal> {
        let word = match (wanted, self.scope.grants.kv) {
            (KvGrant::Read, KvGrant::Read | KvGrant::ReadWrite)
            | (KvGrant::ReadWrite, KvGrant::ReadWrite) => {
                return Ok(());
            }
            (KvGrant::ReadWrite, _) => "read-write",
            (KvGrant::Read | KvGrant::None, _) => "read",
        };
        let who = &self.scope.identity;
        let message = format!(
            "key-value state is not granted for this. To allow it, write under task `{}` of workflow `{}`: kv = \"{word}\"",
            who.task, who.workflow
        );
        Err(Refusal::permanent("kv.denied", message))
    }
}

/// Whether this can be a key. Errors: `kv.invalid`.
pub fn valid_key(key: &str) -> Result<(), Refusal> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX || key.chars().any(char::is_control) {
        let message = format!("a key has 1 to {KEY_BYTES_MAX} bytes and no control characters");
        return Err(Refusal::permanent("kv.invalid", message));
    }
    Ok(())
}

/// What is to be written, whoever writes it.
///
/// # Errors
/// Code and message: `limit.kv-value` for a value that is too large, `kv.invalid` for an end that is none.
pub fn write(
    value: Vec<u8>,
    ttl: Option<Duration>,
    now: Timestamp,
    quota: KvQuota,
) -> Result<KvWrite, (&'static str, String)> {
    if value.len() > VALUE_BYTES_MAX {
        let message = format!(
            "a value has at most {}, and this one {} bytes",
            Size(VALUE_BYTES_MAX as u64),
            value.len()
        );
        return Err(("limit.kv-value", message));
    }
    let ends = |ttl: Duration| {
        if !ttl.is_zero() && ttl <= TTL_MAX {
            return Ok(now.after(ttl));
        }
        let message = format!(
            "a ttl is longer than zero and at most {}; leave it out for an entry without an end, and delete one that is to end now",
            Span(TTL_MAX)
        );
        Err(("kv.invalid", message))
    };
    Ok(KvWrite {
        value,
        expires_at: ttl.map(ends).transpose()?,
        quota: quota.usage(),
    })
}

fn unavailable(error: StoreError) -> Refusal {
    // The store's own words may name its host; the operator finds them in the daemon's log.
    tracing::warn!(%error, "a task's key-value call failed in the store");
    Refusal::retryable("kv.unavailable", "the store cannot be used now")
}

impl Host for BrokerView<'_> {
    async fn get(&mut self, key: String) -> Result<Option<Entry>, CallError> {
        let found = self.ctx.kv.get(&key).await?;
        Ok(found.map(|entry| Entry {
            value: entry.value,
            revision: entry.revision,
        }))
    }

    async fn set(
        &mut self,
        key: String,
        value: Vec<u8>,
        ttl_ms: Option<u64>,
    ) -> Result<u64, CallError> {
        let ttl = ttl_ms.map(Duration::from_millis);
        let written = self.ctx.kv.set(&key, Expect::Any, value, ttl).await?;
        // A driver that answers none to an unconditional write broke its contract.
        Ok(written
            .ok_or_else(|| Refusal::retryable("kv.unavailable", "the store did not write"))?)
    }

    async fn compare_and_set(
        &mut self,
        key: String,
        expected: Option<u64>,
        value: Vec<u8>,
        ttl_ms: Option<u64>,
    ) -> Result<Option<u64>, CallError> {
        let expect = expected.map_or(Expect::Absent, Expect::Revision);
        Ok(self
            .ctx
            .kv
            .set(&key, expect, value, ttl_ms.map(Duration::from_millis))
            .await?)
    }

    async fn delete(&mut self, key: String) -> Result<bool, CallError> {
        Ok(self.ctx.kv.delete(&key).await?)
    }

    async fn keys(
        &mut self,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> Result<Vec<String>, CallError> {
        Ok(self.ctx.kv.keys(&prefix, after.as_deref(), limit).await?)
    }
}
