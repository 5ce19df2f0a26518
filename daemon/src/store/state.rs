//! What outlives runs and belongs to people: the state of workflows, and sealed secrets.
//!
//! A part of [`super::Store`] in a file of its own. Who may read a key and how a secret is sealed is the
//! brokers' business; here are rows, and the quota, which only the writing transaction can keep.

use async_trait::async_trait;

use super::StoreError;
use super::rows::{KvEntry, KvListed, SecretRow};
use crate::clock::Timestamp;
use crate::id::{OrganizationId, SecretName, WorkflowName};

/// Expired entries that one write removes before its own: enough to keep up with writers, few enough
/// that nobody waits for them. Where that makes too little room the write removes more.
pub(super) const PURGE: u32 = 100;

/// Key-value state and secrets of a driver. Every call is one transaction.
#[async_trait]
pub trait StateStore: Send + Sync + 'static {
    /// Reads a key of a workflow's state; none when absent or expired at `now`.
    async fn kv_get(
        &self,
        space: &KvSpace,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<KvEntry>, StoreError>;

    /// Writes a key: always (`Expect::Any`), or only at the expected revision, and only within the
    /// quota. Writers take turns, also those of other daemons, so the quota is never exceeded; entries
    /// that expired by `now` do not count. A value that takes no more than the one it replaces is
    /// written even where the quota was lowered below what is there.
    async fn kv_set(
        &self,
        space: &KvSpace,
        key: &str,
        expect: Expect,
        entry: &KvWrite,
        now: Timestamp,
    ) -> Result<KvWritten, StoreError>;

    /// Removes a key; answers whether it was there.
    async fn kv_delete(
        &self,
        space: &KvSpace,
        key: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Keys in byte order that start with `prefix` and come after `after`.
    async fn kv_keys(
        &self,
        space: &KvSpace,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<String>, StoreError>;

    /// The same keys with revision, length and end.
    async fn kv_list(
        &self,
        space: &KvSpace,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<KvListed>, StoreError>;

    /// What the entries take that have not expired. Reads them all: for people, not for every write.
    async fn kv_usage(&self, space: &KvSpace, now: Timestamp) -> Result<KvUsage, StoreError>;

    /// All sealed secrets, with the count of changes that they are the result of.
    async fn secrets(&self) -> Result<(u64, Vec<SecretRow>), StoreError>;

    /// How many changes of secrets there have been.
    async fn secret_changes(&self) -> Result<u64, StoreError>;

    /// Writes a sealed secret where the row still is `before`, by revision, nonce and ciphertext (none:
    /// where there is none); answers whether it did.
    async fn secret_put(
        &self,
        row: &SecretRow,
        before: Option<&SecretRow>,
    ) -> Result<bool, StoreError>;

    /// Removes a sealed secret; answers whether it was there.
    async fn secret_delete(
        &self,
        organization: OrganizationId,
        name: &SecretName,
    ) -> Result<bool, StoreError>;
}

/// Whose key-value state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KvSpace {
    /// The organization.
    pub organization: OrganizationId,
    /// The workflow.
    pub workflow: WorkflowName,
}

/// What must be true of a key for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Anything.
    Any,
    /// It is absent (or expired).
    Absent,
    /// It is at this revision.
    Revision(u64),
}

/// A value to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvWrite {
    /// The bytes.
    pub value: Vec<u8>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// What the workflow's entries may take together once it is written.
    pub quota: KvUsage,
}

/// What entries take together, or may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvUsage {
    /// How many there are.
    pub entries: u64,
    /// Keys and values, in bytes.
    pub bytes: u64,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvWritten {
    /// It is durable, at this revision.
    At(u64),
    /// The expectation did not hold.
    Unexpected,
    /// There would be more entries than the quota allows.
    TooManyKeys,
    /// They would take more bytes than the quota allows.
    TooManyBytes,
}

impl KvWritten {
    /// The new revision, if it was written.
    pub fn revision(self) -> Option<u64> {
        match self {
            Self::At(revision) => Some(revision),
            Self::Unexpected | Self::TooManyKeys | Self::TooManyBytes => None,
        }
    }
}

impl KvUsage {
    /// Whether an entry of `new` bytes fits in `quota` in the place of one of `old` bytes, or of none.
    pub(super) fn takes(self, old: Option<u64>, new: u64, quota: Self) -> Result<(), KvWritten> {
        if old.is_none() && self.entries >= quota.entries {
            return Err(KvWritten::TooManyKeys);
        }
        let freed = old.unwrap_or(0);
        let after = self.bytes.saturating_sub(freed).saturating_add(new);
        if after > quota.bytes && (old.is_none() || new > freed) {
            return Err(KvWritten::TooManyBytes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_space_refuses_growth_and_takes_what_is_no_larger() {
        let quota = KvUsage {
            entries: 2,
            bytes: 10,
        };
        let full = KvUsage {
            entries: 2,
            bytes: 10,
        };
        assert_eq!(full.takes(None, 0, quota), Err(KvWritten::TooManyKeys));
        assert_eq!(full.takes(Some(4), 5, quota), Err(KvWritten::TooManyBytes));
        assert_eq!(full.takes(Some(4), 4, quota), Ok(()));
        let over = KvUsage {
            entries: 9,
            bytes: 90,
        };
        assert_eq!(over.takes(Some(4), 3, quota), Ok(()));
        let half = KvUsage {
            entries: 1,
            bytes: 5,
        };
        assert_eq!(half.takes(None, 6, quota), Err(KvWritten::TooManyBytes));
        assert_eq!(half.takes(None, 5, quota), Ok(()));
    }
}
