//! The store in one SQLite file: one connection commits steps of runs, one writes the rest, a few read.
//!
//! WAL lets readers go on while a writer commits. The daemon's `state/lock` keeps other processes
//! away; a second one would be safe here, only slow. Statements for all databases are in `sql`.

mod access;
mod calls;
mod commit;
mod committer;
mod control;
mod dialect;
#[cfg(test)]
pub(crate) mod failpoint;
mod put;
mod schedule;
mod state;
mod statements;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _};

use super::calls::store;
use super::commit::Fault;
use super::{Durability, LEASE, StoreError};
use committer::{Committer, Turn};
use dialect::fault;
use writer::Writer;

/// Earlier versions can corrupt a WAL database when a checkpoint and a write race.
const OLDEST_SQLITE: (u32, u32, u32) = (3, 51, 3);

/// How long a statement waits for another process's lock; the daemon itself has one writer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Enough for pages of the dashboard to overtake one long list; each holds a cache and a thread.
const READERS: u32 = 4;

/// The settings of every connection besides what `sqlx` has names for.
const PRAGMAS: &[(&str, &str)] = &[
    ("mmap_size", MMAP),
    ("wal_autocheckpoint", CHECKPOINT_PAGES),
    ("journal_size_limit", WAL_KEPT),
    // Sorts of a page of rows need no file.
    ("temp_store", "memory"),
];

/// Pages of WAL before it is copied back: 16 MiB. The default of 4 MiB means ten checkpoints, each with
/// two syncs, in a second of full load; much more makes opening after a crash slow.
const CHECKPOINT_PAGES: &str = "4000";

/// The WAL file shrinks to this after a burst, in bytes.
const WAL_KEPT: &str = "67108864";

/// Of the connection that commits: 16 MiB (negative: KiB) hold the upper levels of all indexes of some
/// millions of rows.
const WRITER_CACHE: &str = "-16384";

/// Of the others: 2 MiB. A reader looks at one page of a list, and there are several readers.
const OTHER_CACHE: &str = "-2048";

/// No memory map: an I/O error on it would kill the daemon instead of failing one call.
const MMAP: &str = "0";

/// The statements whose cost must not grow with history, for the test that reads their plans.
#[doc(hidden)]
pub const HOT_STATEMENTS: &[(&str, &str)] = &[
    ("claim", dialect::CLAIM),
    ("fence", statements::FENCE),
    ("note of an end", statements::NOTE_END),
    ("step of a known run", statements::MOVE_KNOWN),
    ("runs", super::sql::RUNS),
    ("runs of a workflow", super::sql::RUNS_OF_WORKFLOW),
    ("runs in a status", super::sql::RUNS_IN_STATUS),
    ("runs of a parent", super::sql::RUNS_OF_PARENT),
    ("runs of a root", super::sql::RUNS_OF_ROOT),
    ("run of a key", super::sql::RUN_OF_KEY),
    ("deliveries due", super::sql::DELIVERIES_DUE),
    ("deliveries of a run", super::sql::DELIVERIES_OF_RUN),
    ("logs", super::sql::LOGS),
    ("logs of a run", super::sql::LOGS_OF_RUN),
    ("jobs of a run", super::sql::JOBS_OF_RUN),
    ("tasks of a run", super::sql::TASKS_OF_RUN),
    ("attempts of a run", super::sql::ATTEMPTS_OF_RUN),
    ("io of a run", super::sql::IO_OF_RUN),
    ("io to continue", super::sql::IO_TO_CONTINUE),
    ("host calls of a run", super::sql::HOST_CALLS_OF_RUN),
    ("kv keys", super::sql_state::KV_KEYS),
    ("kv list", super::sql_state::KV_LIST),
    ("kv usage", super::sql_state::KV_USAGE),
    ("kv purge", super::sql_state::KV_PURGE),
    ("unowned", control::sql::UNOWNED),
    ("held", control::sql::HELD),
    ("letters", control::sql::LETTERS),
    ("letters of a workflow", control::sql::LETTERS_OF_WORKFLOW),
    ("letters with a code", control::sql::LETTERS_WITH_CODE),
    ("letters of a run", control::sql::RESOLVED_RUN),
    ("letters of a chain", control::sql::RESOLVED_CHAIN),
    ("letters not resolved", control::sql::NOT_RESOLVED),
    ("lane going", control::sql::LANE_GOING),
    ("lane next", control::sql::LANE_NEXT),
];

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");

/// A store in one file. Dropping it closes the file after the work that was accepted.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    committer: Committer,
    writer: Writer,
    readers: SqlitePool,
    lease: Duration,
}

impl SqliteStore {
    /// Those that wait are one transaction, so that each is only the way to the thread and back.
    const COMMITS_AT_ONCE: usize = 8;

    /// Opens the file, makes it (readable by its owner only) if it is absent, and brings its tables
    /// up to date.
    ///
    /// # Errors
    /// `Unavailable` when the file cannot be opened, `Full` when there is no room for it, `Corrupt`
    /// when it is no database of ours or of a later version, `Rejected` when SQLite itself is too old.
    pub async fn open(path: &Path, durability: Durability) -> Result<Self, StoreError> {
        keep_private(path)?;
        let options = options(path, durability);
        let mut connection = options.connect().await.map_err(fault)?;
        check_version(&mut connection).await?;
        migrate(&mut connection).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            // One stays warm; the others come when they are needed and leave memory when idle.
            .min_connections(0)
            .connect_lazy_with(options.clone().read_only(true));
        let turn = Turn::default();
        Ok(Self {
            committer: Committer::start(path.to_owned(), durability, Turn::clone(&turn))?,
            writer: Writer::start(options, connection, turn),
            readers,
            lease: LEASE,
        })
    }

    /// The same store for a daemon with this lease.
    #[must_use]
    pub fn with_lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    /// Nobody else works in the file: there is no one to tell.
    fn tell(&self, _: impl FnOnce() -> News) {}

    fn heard(&self) -> Option<tokio::sync::broadcast::Receiver<News>> {
        None
    }

    /// Runs `work` in one transaction of the writer. It goes on if the caller goes away.
    async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, Fault>>
            + Send
            + 'static,
    {
        self.writer.transaction(work).await
    }

    /// Commits a batch.
    async fn apply(&self, batch: Arc<[Transition]>) -> Result<Vec<CommitOutcome>, StoreError> {
        self.committer.commit(batch).await
    }

    /// Runs `work` on a reader, in one snapshot. In a task of its own, because a reader that is
    /// dropped inside a transaction would go back to the pool with it.
    async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, Fault>>
            + Send
            + 'static,
    {
        let pool = self.readers.clone();
        let task = tokio::spawn(async move {
            let mut connection = pool.acquire().await.map_err(fault)?;
            let mut transaction = connection.begin().await.map_err(fault)?;
            let result = work(&mut transaction).await;
            transaction.rollback().await.map_err(fault)?;
            result
        });
        let result = task
            .await
            .map_err(|e| StoreError::Unavailable(e.to_string()))?;
        result.map_err(StoreError::from)
    }
}

fn options(path: &Path, durability: Durability) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(match durability {
            Durability::Full => SqliteSynchronous::Full,
            Durability::Normal => SqliteSynchronous::Normal,
        })
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(false)
        .pragma("cache_size", OTHER_CACHE)
        .disable_statement_logging();
    PRAGMAS.iter().fold(options, |options, (name, value)| {
        options.pragma(*name, *value)
    })
}

/// Makes the file before SQLite does, so that it is never readable by others; the WAL inherits its
/// mode. An existing file is not opened here: closing it would drop this process's locks on it.
fn keep_private(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    let made = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
                .map_err(|e| cannot_open(path, &e))
        }
        Err(e) if e.kind() == std::io::ErrorKind::StorageFull => {
            Err(StoreError::Full(e.to_string()))
        }
        Err(e) => Err(cannot_open(path, &e)),
    }
}

fn cannot_open(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Unavailable(format!("{}: {error}", path.display()))
}

async fn check_version(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let version: String = sqlx::query_scalar("select sqlite_version()")
        .fetch_one(connection)
        .await
        .map_err(fault)?;
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    let mut part = || parts.next().unwrap_or(0);
    if (part(), part(), part()) < OLDEST_SQLITE {
        return Err(StoreError::Rejected(format!(
            "SQLite {version} is too old: 3.51.3 or newer is needed"
        )));
    }
    Ok(())
}

/// Under one exclusive transaction, because the migrator takes no lock of its own on SQLite.
async fn migrate(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let mut transaction = connection
        .begin_with("begin exclusive")
        .await
        .map_err(fault)?;
    MIGRATIONS
        .run_direct(None, &mut *transaction, false)
        .await
        .map_err(migration_fault)?;
    transaction.commit().await.map_err(fault)?;
    Ok(())
}

/// A migration failed: the database's reason, or tables that are not ours.
fn migration_fault(error: sqlx::migrate::MigrateError) -> Fault {
    match error {
        sqlx::migrate::MigrateError::Execute(e)
        | sqlx::migrate::MigrateError::ExecuteMigration(e, _) => fault(e),
        other => Fault::Corrupt(other.to_string()),
    }
}

store!(SqliteStore);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::{Expect, KvSpace, KvUsage, KvWrite, KvWritten, StateStore as _};
    use super::*;
    use crate::clock::Timestamp;

    async fn set(store: &SqliteStore, key: &str, bytes: usize) -> Result<KvWritten, StoreError> {
        let space = KvSpace {
            organization: OrganizationId::ROOT,
            workflow: "flow".parse().unwrap(),
        };
        let entry = KvWrite {
            value: vec![7; bytes],
            expires_at: None,
            quota: KvUsage {
                entries: u64::MAX,
                bytes: u64::MAX,
            },
        };
        let now = Timestamp::from_micros(0);
        store.kv_set(&space, key, Expect::Any, &entry, now).await
    }

    async fn limit_pages(store: &SqliteStore, pages: &'static str) {
        let set = store.writer.run(move |c| Box::pin(dialect::step(c, pages)));
        set.await.unwrap();
    }

    #[tokio::test]
    async fn the_file_is_its_owners_alone_and_opens_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        for _ in 0..2 {
            let store = SqliteStore::open(&path, Durability::Full).await.unwrap();
            set(&store, "k", 10).await.unwrap();
            for name in ["store.db", "store.db-wal"] {
                let mode = std::fs::metadata(folder.path().join(name)).unwrap();
                assert_eq!(mode.permissions().mode() & 0o777, 0o600, "{name}");
            }
        }
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        std::fs::write(&path, "This is a letter, not a database. ".repeat(99)).unwrap();
        let before = std::fs::read(&path).unwrap();
        let answer = SqliteStore::open(&path, Durability::Full).await;
        assert!(matches!(answer, Err(StoreError::Corrupt(_))), "{answer:?}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[tokio::test]
    async fn a_full_store_says_so_keeps_what_it_has_and_recovers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let store = SqliteStore::open(&path, Durability::Full).await.unwrap();
        set(&store, "small", 10).await.unwrap();
        limit_pages(&store, "pragma max_page_count = 90").await;
        let answer = set(&store, "large", 1 << 20).await;
        assert!(matches!(answer, Err(StoreError::Full(_))), "{answer:?}");
        // The limit went with the connection, as a full disk goes when somebody makes room.
        let space = KvSpace {
            organization: OrganizationId::ROOT,
            workflow: "flow".parse().unwrap(),
        };
        let now = Timestamp::from_micros(0);
        let small = store.kv_get(&space, "small", now).await.unwrap();
        assert_eq!(small.map(|entry| entry.value), Some(vec![7; 10]));
        assert_eq!(store.kv_get(&space, "large", now).await.unwrap(), None);
        let large = set(&store, "large", 1 << 20).await.unwrap();
        assert!(large.revision().is_some(), "{large:?}");
    }
}
