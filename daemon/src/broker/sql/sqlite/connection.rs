//! A connection to a SQLite file for one session: opened, set up for statements from strangers, and
//! in a transaction from its first moment to its last.
//!
//! So what a session sees is one snapshot, waiting for a lock happens in one place, and whatever is
//! not committed is gone when the connection is closed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

use super::super::session::Stop;
use super::guard::Guard;
use super::watch::{Watch, is_busy};
use crate::broker::error::Refusal;

/// How long SQLite waits for a lock by itself before the session looks up again: nothing can wake it.
const LOCK_WAIT: Duration = Duration::from_millis(50);
/// The same in the middle of a statement, where it cannot look up: rare, and only without a WAL.
const LOCK_WAIT_WITHIN: Duration = Duration::from_secs(2);
/// SQLite's own caps, set low for statements from strangers (sqlite.org/security.html).
const LIMITS: &[(Limit, i32)] = &[
    (Limit::SQLITE_LIMIT_LENGTH, 8 * 1024 * 1024),
    (Limit::SQLITE_LIMIT_SQL_LENGTH, 64 * 1024),
    (Limit::SQLITE_LIMIT_COLUMN, 500),
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
    (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 50),
    (Limit::SQLITE_LIMIT_VDBE_OP, 100_000),
    (Limit::SQLITE_LIMIT_FUNCTION_ARG, 64),
    (Limit::SQLITE_LIMIT_ATTACHED, 0),
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1_000),
    (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 1_000),
    (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 10),
    (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
];

/// Opens the file, which must be there.
pub(super) fn open(path: &Path, writes: bool) -> Result<Connection, Refusal> {
    let connect = |error: rusqlite::Error| {
        tracing::warn!(%error, path = %path.display(), "a database for tasks cannot be opened");
        let why = if path.exists() {
            "the database cannot be opened now"
        } else {
            "the database's file does not exist; the operator's settings name it under [databases]"
        };
        Refusal::retryable("sql.connect", why)
    };
    let mode = if writes {
        OpenFlags::SQLITE_OPEN_READ_WRITE
    } else {
        OpenFlags::SQLITE_OPEN_READ_ONLY
    };
    let flags = mode | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(connect)?;
    let configure = || -> rusqlite::Result<()> {
        connection.busy_timeout(LOCK_WAIT)?;
        for (limit, value) in LIMITS {
            connection.set_limit(*limit, *value)?;
        }
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)?;
        connection.pragma_update(None, "query_only", !writes)
    };
    configure().map_err(connect)?;
    Ok(connection)
}

/// Begins, with the lock that the session will need, waiting for it within the time.
pub(super) fn begin(
    connection: &Connection,
    writes: bool,
    watch: &Watch,
    stop: &Stop,
) -> Result<(), Refusal> {
    if writes {
        patiently(watch, stop, || connection.execute_batch("begin immediate"))?;
    } else {
        patiently(watch, stop, || connection.execute_batch("begin"))?;
        // The first look takes the lock and the snapshot.
        patiently(watch, stop, || {
            connection.query_row("select count(*) from sqlite_schema", [], |_| Ok(()))
        })?;
    }
    connection
        .busy_timeout(LOCK_WAIT_WITHIN)
        .map_err(|error| watch.refusal(&error))
}

/// Makes the changes durable, waiting for readers that are in the way.
pub(super) fn commit(
    connection: &Connection,
    guard: &Arc<Guard>,
    watch: &Watch,
    stop: &Stop,
) -> Result<(), Refusal> {
    let short = connection.busy_timeout(LOCK_WAIT);
    short.map_err(|error| watch.refusal(&error))?;
    guard.aside(|| patiently(watch, stop, || connection.execute_batch("commit")))
}

/// Runs a part of a transaction that is undone by itself when it fails.
pub(super) fn all_or_none<T>(
    connection: &Connection,
    guard: &Arc<Guard>,
    watch: &Watch,
    work: impl FnOnce() -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let run = |statement: &str| {
        let done = guard.aside(|| connection.execute_batch(statement));
        done.map_err(|error| watch.refusal(&error))
    };
    run("savepoint part")?;
    let done = work();
    // Some errors end the whole transaction, and then there is nothing to go back to.
    if connection.is_autocommit() {
        return done;
    }
    if done.is_err() {
        run("rollback to part")?;
    }
    run("release part")?;
    done
}

/// Tries again while others hold the lock, until the time is over or nobody waits for it any more.
fn patiently<T>(
    watch: &Watch,
    stop: &Stop,
    mut attempt: impl FnMut() -> rusqlite::Result<T>,
) -> Result<T, Refusal> {
    loop {
        match attempt() {
            Err(error) if is_busy(&error) && !watch.expired() && !stop.is_stopped() => {}
            done => return done.map_err(|error| watch.refusal(&error)),
        }
    }
}
