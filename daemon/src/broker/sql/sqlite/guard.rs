//! The authorizer: what a session can do in the database itself, whatever statement reaches it.
//!
//! It knows the grant, not the policy. What the database's owner attached to a granted table or view
//! (what a view reads, what a trigger or a foreign key does, what a check or a default computes) is
//! granted with it; so it is found out first, by preparing statements that touch all of it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use super::super::policy::{Allowed, functions};

/// Names in lower case, as all comparisons here are.
type Names = BTreeSet<String>;

/// What SQLite announces: the kind, its object and column or function, and the trigger or view that
/// it does it for.
type Event = (&'static str, String, String, Option<String>);

/// What a session may do.
pub(super) struct Guard {
    allowed: Allowed,
    writes: bool,
    /// The granted views, and those that they read.
    views: Names,
    /// Names of tables and views that the file itself has: a table function's name is only that if it is not among them.
    named: Names,
    /// What changing the granted tables brings with it.
    implied: BTreeSet<Event>,
    /// The names that the statement's `WITH` clauses define; never a granted table's.
    ctes: Mutex<Names>,
    /// Whether the statement was seen to change a granted table: only then does anything come with it.
    changing: AtomicBool,
    /// Set while the session ends a transaction, or a part of one, by itself.
    ending: AtomicBool,
}

impl Guard {
    /// Finds out what the grant brings with it. Nothing is guarded yet.
    pub(super) fn new(
        connection: &Connection,
        allowed: &Allowed,
        writes: bool,
    ) -> rusqlite::Result<Arc<Self>> {
        let views = views_behind(connection, allowed)?;
        let implied = if writes {
            implied_by(connection, allowed)?
        } else {
            BTreeSet::new()
        };
        Ok(Arc::new(Self {
            allowed: allowed.clone(),
            writes,
            views,
            named: names_of(connection)?,
            implied,
            ctes: Mutex::default(),
            changing: AtomicBool::new(false),
            ending: AtomicBool::new(false),
        }))
    }

    /// From here on the connection can do what the grant says and nothing else.
    pub(super) fn stand(self: &Arc<Self>, connection: &Connection) -> rusqlite::Result<()> {
        let guard = self.clone();
        connection.authorizer(Some(move |context: AuthContext<'_>| {
            if guard.allows(&context) {
                Authorization::Allow
            } else {
                Authorization::Deny
            }
        }))
    }

    /// Before each statement: the names that only it knows.
    pub(super) fn names(&self, ctes: &Names) {
        let ctes = ctes.iter().map(|name| lower(name)).collect();
        *self.ctes.lock().unwrap_or_else(PoisonError::into_inner) = ctes;
        self.changing.store(false, Ordering::Relaxed);
    }

    /// Runs the session's own `commit`, `rollback` or savepoint.
    pub(super) fn aside<T>(&self, work: impl FnOnce() -> T) -> T {
        self.ending.store(true, Ordering::Relaxed);
        let done = work();
        self.ending.store(false, Ordering::Relaxed);
        done
    }

    /// Whether the name is that of a function whose rows can be read like a table's.
    fn is_computed(&self, table: &str) -> bool {
        functions::is_table_function(self.allowed.dialect, table) && !self.named.contains(table)
    }

    fn allows(&self, context: &AuthContext<'_>) -> bool {
        let ctes = self.ctes.lock().unwrap_or_else(PoisonError::into_inner);
        // Set while SQLite expands something by that name; `policy` keeps a guest's own names apart from ours.
        let accessor = context.accessor.map(lower);
        let by_ours = accessor.as_ref().is_none_or(|name| !ctes.contains(name));
        let by_view = by_ours && accessor.is_some_and(|name| self.views.contains(&name));
        let here = matches!(context.database_name, None | Some("main"));
        let granted = |table: &str| here && self.allowed.tables.contains(&lower(table));
        let itself = match context.action {
            AuthAction::Select | AuthAction::Recursive => true,
            AuthAction::Function { function_name } => {
                by_view || functions::is_allowed(self.allowed.dialect, &lower(function_name))
            }
            // A WITH name from which no column is taken is announced like a table.
            AuthAction::Read {
                table_name,
                column_name,
            } => {
                granted(table_name)
                    || (here && by_view)
                    || (here && self.is_computed(&lower(table_name)))
                    || (here && column_name.is_empty() && ctes.contains(&lower(table_name)))
            }
            AuthAction::Insert { table_name }
            | AuthAction::Delete { table_name }
            | AuthAction::Update { table_name, .. } => {
                let may = self.writes && granted(table_name);
                // A foreign key's action is announced as if the guest had written it, but not first.
                self.changing.fetch_or(may, Ordering::Relaxed);
                may
            }
            AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => {
                return self.ending.load(Ordering::Relaxed);
            }
            _ => false,
        };
        itself
            || (self.changing.load(Ordering::Relaxed)
                && by_ours
                && event(context).is_some_and(|event| self.implied.contains(&event)))
    }
}

fn lower(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// An announcement that can come with a change of a table; none for one that never does.
fn event(context: &AuthContext<'_>) -> Option<Event> {
    if !matches!(context.database_name, None | Some("main" | "temp")) {
        return None;
    }
    let (kind, object, part) = match context.action {
        AuthAction::Read {
            table_name,
            column_name,
        } => ("read", table_name, column_name),
        AuthAction::Insert { table_name } => ("insert", table_name, ""),
        AuthAction::Delete { table_name } => ("delete", table_name, ""),
        AuthAction::Update {
            table_name,
            column_name,
        } => ("update", table_name, column_name),
        AuthAction::Function { function_name } => ("function", function_name, ""),
        _ => return None,
    };
    Some((
        kind,
        lower(object),
        lower(part),
        context.accessor.map(lower),
    ))
}

/// What preparing a statement announces. It is not run.
fn announced(connection: &Connection, statement: &str) -> rusqlite::Result<BTreeSet<Event>> {
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let notes = seen.clone();
    connection.authorizer(Some(move |context: AuthContext<'_>| {
        if let Some(event) = event(&context) {
            let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
            notes.insert(event);
        }
        Authorization::Allow
    }))?;
    let prepared = connection.prepare(statement).map(drop);
    connection.authorizer(None::<fn(AuthContext<'_>) -> Authorization>)?;
    // What is broken, or cannot be changed, answers when it is used, and spoils nothing else.
    if let Err(error) = prepared {
        tracing::debug!(%error, statement, "a granted table cannot be looked into");
    }
    let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(seen)
}

/// The granted tables or views as the database writes their names.
fn objects(
    connection: &Connection,
    allowed: &Allowed,
    statement: &str,
) -> rusqlite::Result<Vec<String>> {
    let mut listed = connection.prepare(statement)?;
    let names = listed.query_map([], |row| row.get::<_, String>(0))?;
    let mut found = Vec::new();
    for name in names {
        let name = name?;
        if allowed.tables.contains(&lower(&name)) {
            found.push(name);
        }
    }
    Ok(found)
}

/// Every table and view, whoever may use it.
fn names_of(connection: &Connection) -> rusqlite::Result<Names> {
    let mut listed =
        connection.prepare("select name from sqlite_schema where type in ('table', 'view')")?;
    let names = listed.query_map([], |row| row.get::<_, String>(0))?;
    names.map(|name| name.map(|name| lower(&name))).collect()
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The granted views, and the views that those read: what is reached through one of them is granted
/// with it.
fn views_behind(connection: &Connection, allowed: &Allowed) -> rusqlite::Result<Names> {
    let mut found = Names::new();
    let views = "select name from sqlite_schema where type = 'view'";
    for name in objects(connection, allowed, views)? {
        found.insert(lower(&name));
        let reading = format!("select * from main.{}", quoted(&name));
        for (_, _, _, accessor) in announced(connection, &reading)? {
            found.extend(accessor);
        }
    }
    Ok(found)
}

/// What changing any column of any granted table announces.
fn implied_by(connection: &Connection, allowed: &Allowed) -> rusqlite::Result<BTreeSet<Event>> {
    let mut found = BTreeSet::new();
    let tables = "select name from sqlite_schema where type in ('table', 'view')";
    for name in objects(connection, allowed, tables)? {
        let table = format!("main.{}", quoted(&name));
        let columns = columns_of(connection, &name);
        let sets = columns.map(|columns| columns.join(", "));
        // A view that reads what is not there has none, and changes nothing.
        let Ok(sets) = sets else { continue };
        for statement in [
            format!("insert into {table} default values"),
            format!("delete from {table}"),
            format!("update {table} set {sets}"),
        ] {
            found.append(&mut announced(connection, &statement)?);
        }
    }
    Ok(found)
}

/// Each column of a table, set to itself.
fn columns_of(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut listed = connection.prepare("select name from pragma_table_info(?1)")?;
    let names = listed.query_map([table], |row| row.get::<_, String>(0))?;
    let itself = |name: String| format!("{0} = {0}", quoted(&name));
    names.map(|name| name.map(itself)).collect()
}
