//! The database behind the daemon: one trait, one driver a database, no decisions.
//!
//! What to write is decided by `engine`; a driver turns it into set-based SQL and back into rows.

pub mod access;
mod access_calls;
mod access_cells;
mod access_writes;
mod batch;
mod calls;
mod cells;
mod commit;
pub mod control;
mod control_calls;
pub mod lineage;
mod lineage_calls;
pub mod mariadb;
pub mod news;
pub mod postgres;
pub mod rows;
pub mod schedule;
mod schedule_calls;
mod sql;
mod sql_access;
mod sql_control;
mod sql_schedule;
mod sql_state;
pub mod sqlite;
mod state;
mod state_calls;
mod text;

pub use access::AccessStore;
pub use control::ControlStore;
pub use lineage::LineageStore;
pub use schedule::ScheduleStore;
pub use state::{Expect, KvSpace, KvUsage, KvWrite, KvWritten, StateStore};

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;

use crate::id::{DaemonId, Digest, OrganizationId, RunId, WorkflowId, WorkflowName};
use news::News;
use rows::{
    ClaimedRun, CommandRow, HostCallRow, IoRow, LogRow, ModuleRow, RunFilter, RunImage, RunRow,
    Transition, VersionRow, WorkflowRow,
};

/// How long a daemon counts as alive after its last heartbeat, unless its operator says otherwise. Long
/// enough for a slow disk, a long pause of the machine's scheduler and a few lost heartbeats; short enough
/// that a crash delays its runs by half a minute. A restart of the same instance does not wait for it.
pub const LEASE: Duration = Duration::from_secs(30);

/// A module's bytes are kept in pieces of this size: no database then needs a large value in one packet.
const CHUNK_BYTES: usize = 1 << 20;

/// What a successful write means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// It survives a power failure.
    #[default]
    Full,
    /// It survives a crash of the daemon; a power failure may take the last writes, never tear them.
    Normal,
}

/// Opens the store that a URL names: `sqlite:/path/to/file`, `postgres://…` or `mariadb://…`. Brings its
/// tables up to date.
///
/// # Errors
/// `Rejected` for a URL of another kind; otherwise as the driver says.
pub async fn open(url: &str, durability: Durability) -> Result<Arc<dyn Store>, StoreError> {
    open_as(url, durability, LEASE).await
}

/// The same for a daemon that counts as alive for `lease` after each of its heartbeats. Each daemon says its
/// own: those with different leases judge each other rightly.
///
/// # Errors
/// As [`open`].
pub async fn open_as(
    url: &str,
    durability: Durability,
    lease: Duration,
) -> Result<Arc<dyn Store>, StoreError> {
    Ok(open_all(url, durability, lease).await?.0)
}

/// The same, and what it knows of people.
///
/// # Errors
/// As [`open`].
pub async fn open_all(
    url: &str,
    durability: Durability,
    lease: Duration,
) -> Result<(Arc<dyn Store>, Arc<dyn AccessStore>), StoreError> {
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        let store = sqlite::SqliteStore::open(Path::new(path), durability).await?;
        let store = Arc::new(store.with_lease(lease));
        return Ok((Arc::clone(&store) as _, store));
    }
    if url.starts_with("postgres:") || url.starts_with("postgresql:") {
        let store = postgres::PostgresStore::open(url, durability).await?;
        let store = Arc::new(store.with_lease(lease));
        return Ok((Arc::clone(&store) as _, store));
    }
    if url.starts_with("mariadb:") || url.starts_with("mysql:") {
        let store = mariadb::MariaDbStore::open(url, durability).await?;
        let store = Arc::new(store.with_lease(lease));
        return Ok((Arc::clone(&store) as _, store));
    }
    // The URL itself stays out of the message: it may hold a password.
    Err(StoreError::Rejected(
        "a store's URL begins with sqlite:, postgres: or mariadb:".into(),
    ))
}

/// A span as the tables hold it.
fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// The least key that is greater than every key with this prefix; none if there is no such key.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix.get(..=last)?.to_vec();
    if let Some(byte) = end.last_mut() {
        *byte += 1;
    }
    Some(end)
}

/// Why a call to the store gave nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database did not answer, or the answer was lost: whether anything was written is
    /// unknown. Whoever gets this for a commit drops the run from memory and loads it again.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The disk or the quota is full; nothing was written.
    #[error("the store is full: {0}")]
    Full(String),
    /// A row in the database is not one this version writes.
    #[error("the store holds something unreadable: {0}")]
    Corrupt(String),
    /// The database refused the data itself; nothing was written.
    #[error("the store refused the data: {0}")]
    Rejected(String),
}

/// What became of one transition of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitOutcome {
    /// It is durable.
    Committed,
    /// Another owner has the run: the lease epoch moved on. Nothing of it was written.
    Fenced,
    /// The run is not at the expected revision (or, for an insert, its id exists). Nothing of it was written.
    Conflict,
    /// An insert carried an idempotency key that an earlier run holds. Nothing of it was written.
    Duplicate(RunId),
    /// The database refused its data; the others of the batch were written without it.
    Rejected(String),
}

/// What only one daemon may do at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// Turning files into versions and removals.
    Publish,
}

impl Duty {
    /// As the table has it.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
        }
    }
}

/// A driver. Every write is one transaction; a call that returns an error other than
/// `Unavailable` wrote nothing. Calls may be dropped midway without harm to later calls.
#[async_trait]
pub trait Store: StateStore + ControlStore + ScheduleStore + LineageStore {
    /// Writes all transitions in one durable transaction, each only if its fence holds, and
    /// answers one outcome each, in order. If the database refuses the batch for its data, the
    /// driver bisects it until only the offenders are left out. Event ids are taken last.
    async fn commit(&self, batch: Arc<[Transition]>) -> Result<Vec<CommitOutcome>, StoreError>;

    /// How many commits one caller may well have under way at once: more than one where those that wait are
    /// written together, so that the next begins when the last one ends and not when its caller has heard of it.
    fn commits_at_once(&self) -> usize {
        1
    }

    /// Takes over up to `limit` runs that are not final and have no live owner: queued ones, those
    /// released, and those whose owner's heartbeat is older than its lease allows. Larger priority
    /// first, then older first. Each gets the next lease epoch with `daemon` as its owner.
    async fn claim(&self, daemon: DaemonId, limit: u32) -> Result<Vec<ClaimedRun>, StoreError>;

    /// Gives runs back, so that any daemon may claim them at once. Only where the epoch still holds.
    async fn release(&self, runs: &[(RunId, i64)]) -> Result<(), StoreError>;

    /// Writes this daemon's sign of life (database clock). `instance` names the installation: a new
    /// process of the same instance declares the one before it dead at once.
    async fn heartbeat(&self, daemon: DaemonId, instance: &str) -> Result<(), StoreError>;

    /// Says that this daemon has gone, so that nobody waits for its lease.
    async fn farewell(&self, daemon: DaemonId) -> Result<(), StoreError>;

    /// Takes a duty that one daemon has at a time, or keeps it; answers whether `daemon` has it now. It is
    /// free when the one who had it says goodbye, is replaced, or is silent for longer than its lease.
    async fn take_duty(&self, daemon: DaemonId, duty: Duty) -> Result<bool, StoreError>;

    /// What other daemons tell; none where the database has no way to, and everybody only looks for himself.
    fn news(&self) -> Option<broadcast::Receiver<News>> {
        None
    }

    /// Everything needed to continue a run.
    async fn load_run(&self, run: RunId) -> Result<Option<RunImage>, StoreError>;

    /// Writes an order to a run's owner. Durable when it returns.
    async fn order(&self, command: &CommandRow) -> Result<(), StoreError>;

    /// The unconsumed orders for runs that this daemon owns, oldest first.
    async fn orders(&self, daemon: DaemonId) -> Result<Vec<CommandRow>, StoreError>;

    /// Makes a version the active one of its workflow (creating the workflow at need). One
    /// transaction. Publishing what is active already changes nothing.
    async fn publish(&self, version: &VersionRow) -> Result<WorkflowId, StoreError>;

    /// Marks a workflow as removed: it starts no more runs; history stays.
    async fn retire(
        &self,
        organization: OrganizationId,
        name: &WorkflowName,
    ) -> Result<(), StoreError>;

    /// Grows with each publication and removal, whoever makes it.
    async fn catalog_revision(&self) -> Result<i64, StoreError>;

    /// All workflows, retired ones included.
    async fn workflows(&self) -> Result<Vec<WorkflowRow>, StoreError>;

    /// A version by its digest.
    async fn version(&self, version: &Digest) -> Result<Option<VersionRow>, StoreError>;

    /// The versions of a workflow, newest first.
    async fn versions(&self, workflow: WorkflowId) -> Result<Vec<VersionRow>, StoreError>;

    /// Keeps a module's bytes in chunks of 1 MiB. A digest that is already there is left alone.
    async fn put_module(&self, module: &ModuleRow, bytes: &[u8]) -> Result<(), StoreError>;

    /// What is known of a module.
    async fn module(&self, digest: &Digest) -> Result<Option<ModuleRow>, StoreError>;

    /// A module's bytes, verified against the digest.
    async fn module_bytes(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError>;

    /// Runs, newest first, by keyset: `filter.before` is the last id of the page before.
    async fn runs(&self, filter: &RunFilter) -> Result<Vec<RunRow>, StoreError>;

    /// Log lines and events with ids greater than `after`, in order, at most `limit`; of one run or of all.
    async fn logs(
        &self,
        run: Option<RunId>,
        after: i64,
        limit: u32,
    ) -> Result<Vec<LogRow>, StoreError>;

    /// Recorded inputs and outputs of a run.
    async fn io(&self, run: RunId) -> Result<Vec<IoRow>, StoreError>;

    /// The broker calls of a run, in the order they were recorded.
    async fn host_calls(&self, run: RunId) -> Result<Vec<HostCallRow>, StoreError>;
}
