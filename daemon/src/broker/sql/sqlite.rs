//! SQLite as a target: the only home of rusqlite, for its authorizer, limits and interrupt.
//!
//! A query has a connection and a blocking thread of its own for as long as its rows are read, so
//! that nothing a guest did can be left behind in a pool. The session is read-only three times: by
//! its flags, by `query_only`, and by an authorizer that knows the grant. What the statement may be
//! was decided in `policy`; the authorizer does not rely on that.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::ffi::ErrorCode;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, Statement};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::functions;
use super::policy::{Allowed, DecidedQuery};
use super::{Column, SqlLimits, Value};
use crate::broker::error::Refusal;

/// Rows that travel to the guest's side at a time.
const PORTION_ROWS: usize = 256;
/// The same in bytes: a portion ends at whichever comes first.
const PORTION_BYTES: usize = 1024 * 1024;
/// Virtual-machine steps between two looks at the clock: some tens of microseconds.
const STEPS_BETWEEN_LOOKS: i32 = 1_000;
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

/// What the thread sends.
pub(super) enum Message {
    /// First, exactly once.
    Columns(Vec<Column>),
    /// Then, any number of times; the end of the channel is the end of the rows.
    Rows(Vec<Vec<Value>>, usize),
    /// At any time, last.
    Failed(Refusal),
}

/// How the other side ends a query early.
#[derive(Default)]
pub(super) struct Stop {
    given_up: AtomicBool,
    /// Ends even a single long step, where SQLite looks for it.
    interrupt: Mutex<Option<rusqlite::InterruptHandle>>,
}

impl Stop {
    pub(super) fn stop(&self) {
        self.given_up.store(true, Ordering::Relaxed);
        if let Some(handle) = &*self
            .interrupt
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
        {
            handle.interrupt();
        }
    }
}

/// A query to run.
pub(super) struct Job {
    pub(super) path: Arc<Path>,
    pub(super) parameters: Vec<Value>,
    pub(super) allowed: Allowed,
    pub(super) query: DecidedQuery,
    pub(super) limits: SqlLimits,
    pub(super) timeout: Duration,
    pub(super) stop: Arc<Stop>,
    pub(super) rows: mpsc::Sender<Message>,
    /// Held until the thread is free again, also when nobody waits for its rows any more.
    pub(super) _thread: OwnedSemaphorePermit,
}

/// Time that SQLite itself has used: waiting for the guest to take rows does not count.
struct Watch {
    start: Instant,
    used_until_us: AtomicU64,
    ends_us: AtomicU64,
    timed_out: AtomicBool,
}

impl Watch {
    fn new(timeout: Duration) -> Self {
        Self {
            start: Instant::now(),
            used_until_us: AtomicU64::new(0),
            ends_us: AtomicU64::new(u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX)),
            timed_out: AtomicBool::new(false),
        }
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn expired(&self) -> bool {
        let expired = self.now_us() > self.ends_us.load(Ordering::Relaxed);
        if expired {
            self.timed_out.store(true, Ordering::Relaxed);
        }
        expired
    }

    fn pause(&self) {
        self.used_until_us.store(self.now_us(), Ordering::Relaxed);
    }

    fn go_on(&self) {
        let waited = self
            .now_us()
            .saturating_sub(self.used_until_us.load(Ordering::Relaxed));
        let _ = self
            .ends_us
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |ends| {
                ends.checked_add(waited)
            });
    }
}

/// Runs a query to its end. Blocks; call it on a thread for that.
pub(super) fn run(job: Job) {
    let watch = Arc::new(Watch::new(job.timeout));
    if let Err(refusal) = query(&job, &watch) {
        // Nobody listens any more if the guest gave the rows up.
        let _ = job.rows.blocking_send(Message::Failed(refusal));
    }
}

fn query(job: &Job, watch: &Arc<Watch>) -> Result<(), Refusal> {
    let failed = |error: rusqlite::Error| refusal(&error, watch);
    let connection = open(&job.path, job.timeout)?;
    *job.stop
        .interrupt
        .lock()
        .unwrap_or_else(PoisonError::into_inner) = Some(connection.get_interrupt_handle());
    let views = views_behind(&connection, &job.allowed).map_err(failed)?;
    guard(&connection, job, views, watch).map_err(failed)?;
    let mut statement =
        connection
            .prepare(&job.query.text)
            .map_err(|error| match refusal(&error, watch) {
                generic if generic.code == "sql.1" => Refusal {
                    code: "sql.invalid".to_owned(),
                    ..generic
                },
                specific => specific,
            })?;
    if !statement.readonly() {
        return Err(Refusal::permanent(
            "sql.denied",
            "only a query can be run here",
        ));
    }
    bind(&mut statement, &job.parameters).map_err(|wrong| wrong.unwrap_or_else(failed))?;
    let kinds: Vec<Kind> = statement
        .columns()
        .iter()
        .map(|column| Kind::of(column.decl_type()))
        .collect();
    let columns = statement
        .columns()
        .iter()
        .map(|column| Column {
            name: column.name().to_owned(),
            type_name: column.decl_type().unwrap_or_default().to_owned(),
        })
        .collect();
    watch.pause();
    if job.rows.blocking_send(Message::Columns(columns)).is_err() {
        return Ok(());
    }
    send_rows(job, watch, &mut statement, &kinds)
}

fn send_rows(
    job: &Job,
    watch: &Watch,
    statement: &mut Statement<'_>,
    kinds: &[Kind],
) -> Result<(), Refusal> {
    let mut rows = statement.raw_query();
    let (mut portion, mut portion_bytes) = (Vec::new(), 0);
    let (mut count, mut bytes) = (0_u64, 0_u64);
    watch.go_on();
    while let Some(row) = rows.next().map_err(|error| refusal(&error, watch))? {
        let mut values = Vec::with_capacity(kinds.len());
        let mut size = 0;
        for (index, kind) in kinds.iter().enumerate() {
            let value = row.get_ref(index).map_err(|error| refusal(&error, watch))?;
            size += size_of(value);
            values.push(kind.value(value));
        }
        count += 1;
        bytes += size as u64;
        over("limit.sql-rows", "rows", count, job.limits.rows)?;
        over("limit.sql-bytes", "bytes", bytes, job.limits.bytes)?;
        portion.push(values);
        portion_bytes += size;
        if portion.len() >= PORTION_ROWS || portion_bytes >= PORTION_BYTES {
            watch.pause();
            let message = Message::Rows(
                std::mem::take(&mut portion),
                std::mem::take(&mut portion_bytes),
            );
            if job.rows.blocking_send(message).is_err() {
                return Ok(());
            }
            watch.go_on();
        }
    }
    if !portion.is_empty() {
        let _ = job
            .rows
            .blocking_send(Message::Rows(portion, portion_bytes));
    }
    Ok(())
}

fn over(code: &str, what: &str, used: u64, max: u64) -> Result<(), Refusal> {
    if used > max {
        return Err(Refusal::permanent(
            code,
            format!("a query answers at most {max} {what}"),
        ));
    }
    Ok(())
}

fn open(path: &Path, timeout: Duration) -> Result<Connection, Refusal> {
    let connect = |error: rusqlite::Error| {
        tracing::warn!(%error, path = %path.display(), "a database for tasks cannot be opened");
        Refusal::retryable("sql.connect", "the database cannot be opened now")
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(connect)?;
    let configure = || -> rusqlite::Result<()> {
        connection.busy_timeout(timeout)?;
        for (limit, value) in LIMITS {
            connection.set_limit(*limit, *value)?;
        }
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.pragma_update(None, "query_only", true)
    };
    configure().map_err(connect)?;
    Ok(connection)
}

/// The granted views, and the views that those read: what is reached through one of them is granted
/// with it.
fn views_behind(connection: &Connection, allowed: &Allowed) -> rusqlite::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut listed = connection.prepare("select name from sqlite_schema where type = 'view'")?;
    for name in listed.query_map([], |row| row.get::<_, String>(0))? {
        let name = name?;
        if !allowed.tables.contains(&name.to_ascii_lowercase()) {
            continue;
        }
        found.insert(name.to_ascii_lowercase());
        let seen = Arc::new(Mutex::new(BTreeSet::new()));
        let notes = seen.clone();
        connection.authorizer(Some(move |context: AuthContext<'_>| {
            if let Some(accessor) = context.accessor {
                notes
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(accessor.to_ascii_lowercase());
            }
            Authorization::Allow
        }))?;
        // Preparing expands the view; it is not run.
        let expanded = connection
            .prepare(&format!(
                "select * from main.\"{}\"",
                name.replace('"', "\"\"")
            ))
            .map(drop);
        connection.authorizer(None::<fn(AuthContext<'_>) -> Authorization>)?;
        // A broken view answers when it is read, and spoils nothing else.
        if let Err(error) = expanded {
            tracing::debug!(%error, view = name, "a granted view cannot be expanded");
        }
        found.append(&mut seen.lock().unwrap_or_else(PoisonError::into_inner));
    }
    Ok(found)
}

/// From here on the session can do what the grant says and nothing else.
fn guard(
    connection: &Connection,
    job: &Job,
    views: BTreeSet<String>,
    watch: &Arc<Watch>,
) -> rusqlite::Result<()> {
    let (tables, ctes) = (job.allowed.tables.clone(), job.query.ctes.clone());
    connection.authorizer(Some(move |context: AuthContext<'_>| {
        authorize(&context, &tables, &ctes, &views)
    }))?;
    let (stop, watch) = (job.stop.clone(), watch.clone());
    connection.progress_handler(
        STEPS_BETWEEN_LOOKS,
        Some(move || stop.given_up.load(Ordering::Relaxed) || watch.expired()),
    )
}

fn authorize(
    context: &AuthContext<'_>,
    tables: &BTreeSet<String>,
    ctes: &BTreeSet<String>,
    views: &BTreeSet<String>,
) -> Authorization {
    // Set while SQLite expands something by that name; `policy` keeps a guest's own names apart from ours.
    let by_view = context.accessor.is_some_and(|name| {
        views.contains(&name.to_ascii_lowercase()) && !ctes.contains(&name.to_ascii_lowercase())
    });
    let here = matches!(context.database_name, None | Some("main"));
    let allowed = match context.action {
        AuthAction::Select | AuthAction::Recursive => true,
        AuthAction::Function { function_name } => {
            by_view || functions::is_allowed(&function_name.to_ascii_lowercase())
        }
        AuthAction::Read {
            table_name,
            column_name,
        } => {
            let table = table_name.to_ascii_lowercase();
            // A WITH name from which no column is taken is announced like a table.
            here && (by_view
                || tables.contains(&table)
                || (column_name.is_empty() && ctes.contains(&table)))
        }
        _ => false,
    };
    if allowed {
        Authorization::Allow
    } else {
        Authorization::Deny
    }
}

/// As many as the statement has, in order.
fn bind(statement: &mut Statement<'_>, parameters: &[Value]) -> Result<(), BindError> {
    let wanted = statement.parameter_count();
    if wanted != parameters.len() {
        let message = format!(
            "the statement has {wanted} parameters, not {}",
            parameters.len()
        );
        return Err(BindError::Guest(Refusal::permanent("sql.invalid", message)));
    }
    for (index, value) in parameters.iter().enumerate() {
        let bound = match value {
            Value::Null => ValueRef::Null,
            Value::Boolean(value) => ValueRef::Integer((*value).into()),
            Value::Int64(value) => ValueRef::Integer(*value),
            Value::Float64(value) => ValueRef::Real(*value),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
            Value::Text(text)
            | Value::Decimal(text)
            | Value::Timestamp(text)
            | Value::Json(text)
            | Value::Uuid(text)
            | Value::Other((_, text)) => ValueRef::Text(text.as_bytes()),
        };
        statement
            .raw_bind_parameter(index + 1, ToSqlOutput::Borrowed(bound))
            .map_err(BindError::Database)?;
    }
    Ok(())
}

enum BindError {
    Guest(Refusal),
    Database(rusqlite::Error),
}

impl BindError {
    fn unwrap_or_else(self, database: impl FnOnce(rusqlite::Error) -> Refusal) -> Refusal {
        match self {
            Self::Guest(refusal) => refusal,
            Self::Database(error) => database(error),
        }
    }
}

/// What a column was declared as, where that says more than how SQLite stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Boolean,
    Decimal,
    Json,
    Uuid,
    Timestamp,
    AsStored,
}

impl Kind {
    fn of(declared: Option<&str>) -> Self {
        let name = declared.unwrap_or_default().to_ascii_lowercase();
        match name.split(['(', ' ']).next().unwrap_or_default() {
            "bool" | "boolean" => Self::Boolean,
            "decimal" | "numeric" => Self::Decimal,
            "json" => Self::Json,
            "uuid" => Self::Uuid,
            "date" | "datetime" | "time" | "timestamp" => Self::Timestamp,
            _ => Self::AsStored,
        }
    }

    fn value(self, stored: ValueRef<'_>) -> Value {
        match (stored, self) {
            (ValueRef::Null, _) => Value::Null,
            (ValueRef::Integer(value @ (0 | 1)), Self::Boolean) => Value::Boolean(value == 1),
            (ValueRef::Integer(value), _) => Value::Int64(value),
            (ValueRef::Real(value), _) => Value::Float64(value),
            (ValueRef::Blob(bytes), _) => Value::Blob(bytes.to_vec()),
            (ValueRef::Text(bytes), kind) => match (String::from_utf8(bytes.to_vec()), kind) {
                // SQLite does not check; the guest's strings must be UTF-8.
                (Err(error), _) => Value::Blob(error.into_bytes()),
                (Ok(text), Self::Decimal) => Value::Decimal(text),
                (Ok(text), Self::Json) => Value::Json(text),
                (Ok(text), Self::Uuid) => Value::Uuid(text.to_ascii_lowercase()),
                // SQLite's functions write a space where RFC 3339 has a T.
                (Ok(text), Self::Timestamp) => Value::Timestamp(text.replacen(' ', "T", 1)),
                (Ok(text), Self::Boolean | Self::AsStored) => Value::Text(text),
            },
        }
    }
}

fn size_of(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => 8,
        // A name and a length travel with it.
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len() + 16,
    }
}

fn refusal(error: &rusqlite::Error, watch: &Watch) -> Refusal {
    let rusqlite::Error::SqliteFailure(code, text) = error else {
        return match error {
            rusqlite::Error::MultipleStatement => {
                Refusal::permanent("sql.denied", "one call is one statement")
            }
            other => Refusal::permanent("sql.invalid", other.to_string()),
        };
    };
    native(
        *code,
        text.as_deref().unwrap_or("the database gave no reason"),
        watch,
    )
}

fn native(code: rusqlite::ffi::Error, text: &str, watch: &Watch) -> Refusal {
    match code.code {
        ErrorCode::AuthorizationForStatementDenied => Refusal::permanent("sql.denied", text),
        // A function's denial has a general code.
        _ if text.starts_with("not authorized") => Refusal::permanent("sql.denied", text),
        ErrorCode::OperationInterrupted if watch.timed_out.load(Ordering::Relaxed) => {
            Refusal::retryable("sql.timeout", "the query did not end in time")
        }
        ErrorCode::OperationInterrupted => Refusal::cancelled(),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            Refusal::retryable("sql.timeout", "the database was locked for too long")
        }
        ErrorCode::TooBig => Refusal::permanent("limit.sql-bytes", text),
        ErrorCode::CannotOpen | ErrorCode::NotADatabase => {
            Refusal::retryable("sql.connect", "the database cannot be opened now")
        }
        _ => Refusal::permanent(format!("sql.{}", code.extended_code), text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::Semaphore;

    /// What the database answers to a statement that no policy has seen.
    fn unguarded(path: &Path, statement: &str, tables: &[&str]) -> Result<usize, String> {
        let (rows, mut messages) = mpsc::channel(16);
        let places = Arc::new(Semaphore::new(1));
        run(Job {
            path: path.into(),
            parameters: Vec::new(),
            allowed: Allowed {
                tables: tables.iter().map(|table| (*table).to_owned()).collect(),
            },
            query: DecidedQuery {
                text: statement.to_owned(),
                ctes: BTreeSet::new(),
            },
            limits: SqlLimits::default(),
            timeout: Duration::from_secs(5),
            stop: Arc::default(),
            rows,
            _thread: places.try_acquire_owned().unwrap(),
        });
        let mut count = 0;
        while let Some(message) = messages.blocking_recv() {
            match message {
                Message::Columns(_) => {}
                Message::Rows(rows, _) => count += rows.len(),
                Message::Failed(refusal) => return Err(refusal.code),
            }
        }
        Ok(count)
    }

    #[test]
    fn the_session_itself_refuses_what_the_policy_would_have_let_through() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let made = Connection::open(&path).unwrap();
        made.execute_batch(
            "create table open_table (a); insert into open_table values (1); create table secret (word);
             insert into secret values ('x'); create view good as select upper(word) from secret;
             create view bad as select * from nowhere;",
        )
        .unwrap();
        for statement in [
            "select * from secret",
            "select count(*) from secret",
            "select 1 from secret",
            "select * from (select * from secret) as good",
            "select word from secret as good",
            "select * from open_table where exists (select * from secret)",
            "select * from sqlite_schema",
            "select * from pragma_table_info('secret')",
            "select load_extension('x')",
            "select sqlite_version()",
            "pragma table_list",
            "pragma query_only = 0",
            "attach 'x' as y",
            "vacuum into 'x'",
            "insert into open_table values (2)",
            "delete from open_table",
            "create temp table t (a)",
            "drop table open_table",
            "begin",
            "explain select * from secret",
        ] {
            let code = unguarded(&path, statement, &["open_table", "good", "bad"]).unwrap_err();
            assert_eq!(code, "sql.denied", "{statement}");
        }
        assert_eq!(
            unguarded(
                &path,
                "select a, count(*) from open_table",
                &["open_table", "bad"]
            ),
            Ok(1)
        );
        assert_eq!(unguarded(&path, "select * from good", &["good"]), Ok(1));
        assert_eq!(
            unguarded(&path, "select * from good", &["open_table"]),
            Err("sql.denied".to_owned())
        );
        assert_eq!(
            made.query_row("select count(*) from open_table", [], |row| row.get(0)),
            Ok(1)
        );
    }
}
