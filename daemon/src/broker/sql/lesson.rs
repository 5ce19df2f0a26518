//! What a denial teaches: what was refused, and the lines that would allow it.
//!
//! The lines are not guessed from the refusal: under the grant that they make, and that the operator's would let it make,
//! `policy` allows the statement. Where there is no such grant, it is said.

use std::collections::BTreeSet;

use super::policy::{self, Allowed, Dialect, table_name};
use super::reach::Reach;
use crate::broker::error::Refusal;
use crate::broker::identity::AttemptIdentity;
use crate::id::DatabaseName;
use crate::workflow::grant::SqlMode;

/// More tables in one statement are not a mistake in a grant.
const TABLES_SHOWN: usize = 50;
/// What stands for the tables until a statement names them; the next denial replaces it.
const UNKNOWN_TABLES: &str = "the_tables_it_needs";
/// How a policy's refusal ends where it says a part of what is said here.
const ITS_OWN_ADVICE: &str = ". To allow it";

/// A database that no grant of the task names. What it would need of it is not known yet.
pub(super) fn not_granted(
    who: &AttemptIdentity,
    file: Option<&str>,
    name: &str,
    tables: Option<&BTreeSet<String>>,
) -> Refusal {
    let Ok(database) = name.parse::<DatabaseName>() else {
        let shown: String = name.escape_debug().take(64).collect();
        let message = format!("`{shown}` is not granted: it is not the name of a database");
        return Refusal::permanent("sql.denied", message);
    };
    let file = file.map(|file| format!("{file}, ")).unwrap_or_default();
    let tables = match tables {
        Some(tables) => tables.iter().cloned().collect(),
        None => vec![UNKNOWN_TABLES.to_owned()],
    };
    let message = format!(
        "the database `{database}` is not granted. To allow it, add to {file}workflow `{}`, task `{}`:\n{}",
        who.workflow,
        who.task,
        grant_lines(&database, SqlMode::Read, &tables)
    );
    Refusal::permanent("sql.denied", message)
}

/// A statement that the grant does not cover.
pub(super) fn denied(reach: &Reach, refusal: Refusal, statement: &str) -> Refusal {
    let why = refusal
        .message
        .split(ITS_OWN_ADVICE)
        .next()
        .unwrap_or_default();
    let message = match cure(reach, statement) {
        Cure::None => {
            let tables: Vec<&str> = reach.allowed.tables.iter().map(String::as_str).collect();
            format!(
                "{why}. The grant at {} covers {} of `{}`, and no wider grant would allow this",
                place(reach),
                list(&tables),
                reach.database.name
            )
        }
        Cure::Statement(what) => format!("{why}: {what}"),
        Cure::Lines { operator, grant } => lines(reach, why, operator, grant),
    };
    Refusal { message, ..refusal }
}

/// What helps against a denial.
enum Cure {
    /// Nothing that is written in a file.
    None,
    /// To write the statement otherwise.
    Statement(String),
    /// Lines in `flowweaver.toml`, in the grant, or in both.
    Lines {
        operator: Option<String>,
        grant: Option<String>,
    },
}

fn cure(reach: &Reach, statement: &str) -> Cure {
    let (grant, database, dialect) = (&reach.grant, &reach.database, reach.allowed.dialect);
    let Some(named) = policy::tables_named(statement, dialect) else {
        return Cure::None;
    };
    if named.tables.len() > TABLES_SHOWN {
        return Cure::None;
    }
    if let Some(table) = named.tables.iter().find(|table| database.is_own(table)) {
        let what = format!("`{table}` is of the daemon's own store, which no task may reach");
        return Cure::Statement(what);
    }
    let mut written = grant.tables.clone();
    written.retain(|table| table != UNKNOWN_TABLES);
    let mut tables: BTreeSet<String> = written
        .iter()
        .filter_map(|table| table_name(dialect, table))
        .collect();
    let missing: Vec<String> = named.tables.difference(&tables).cloned().collect();
    let is_bare = |table: &&String| named.bare.contains(*table);
    if let Some(what) = missing
        .iter()
        .filter(is_bare)
        .find_map(|table| namesake(dialect, table, &tables))
    {
        return Cure::Statement(what);
    }
    written.extend(missing.iter().cloned());
    tables.extend(missing.iter().cloned());
    let is_enough = |mode: SqlMode, tables: &BTreeSet<String>| {
        let wanted = Allowed {
            dialect,
            mode,
            tables: tables.clone(),
        };
        policy::decide(statement, &wanted).is_ok()
    };
    let modes = [grant.mode, SqlMode::ReadWrite];
    let Some(mode) = modes.into_iter().find(|mode| is_enough(*mode, &tables)) else {
        return Cure::None;
    };
    let closed: Vec<String> = tables
        .iter()
        .filter(|table| named.tables.contains(*table) && !database.opens(table))
        .cloned()
        .collect();
    let operator = operator_lines(reach, mode, closed);
    let changes = mode > grant.mode || !missing.is_empty();
    let grant = changes.then(|| grant_lines(&database.name, mode, &written));
    if operator.is_none() && grant.is_none() {
        let what = format!(
            "the grant at {} covers it, and the database itself refuses it",
            place(reach)
        );
        return Cure::Statement(what);
    }
    Cure::Lines { operator, grant }
}

/// A table that is granted with its schema, and named without.
fn namesake(dialect: Dialect, table: &str, granted: &BTreeSet<String>) -> Option<String> {
    let whose = match dialect {
        Dialect::Postgres => "the schema `public`",
        Dialect::MariaDb => "the connection's own database",
        Dialect::Sqlite => return None,
    };
    let is_called_so =
        |known: &&String| known.rsplit_once('.').map(|(_, last)| last) == Some(table);
    granted.iter().find(is_called_so).map(|known| {
        format!("without a schema it is one of {whose}; the grant has `{known}`, so write that in the statement")
    })
}

/// What `[databases.<name>]` has to say for the grant to count.
fn operator_lines(reach: &Reach, mode: SqlMode, closed: Vec<String>) -> Option<String> {
    let database = &reach.database;
    let mut lines = Vec::new();
    if mode > database.mode {
        lines.push(mode_line(mode));
    }
    if let (Some(open), false) = (&database.tables, closed.is_empty()) {
        let all: Vec<String> = open.iter().cloned().chain(closed).collect();
        lines.push(format!("tables = {}", list(&all)));
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn lines(reach: &Reach, why: &str, operator: Option<String>, grant: Option<String>) -> String {
    let place = place(reach);
    let own = |lines: &str| {
        format!(
            "in flowweaver.toml, under [databases.{}]:\n{lines}",
            reach.database.name
        )
    };
    let theirs = |lines: &str| format!("in the place of the grant at {place}:\n{lines}");
    match (operator, grant) {
        (Some(operator), Some(grant)) => format!(
            "{why}. To allow it, write {}\nand {}",
            own(&operator),
            theirs(&grant)
        ),
        // What the policy says of the grant is what the operator's settings left of it.
        (Some(operator), None) => format!(
            "{why}: the grant at {place} has it, and the operator's settings do not. To allow it, write {}",
            own(&operator)
        ),
        (None, grant) => format!(
            "{why}. To allow it, write {}",
            theirs(&grant.unwrap_or_default())
        ),
    }
}

fn place(reach: &Reach) -> String {
    let place = &reach.grant.place;
    format!("{}:{}", place.file, place.line)
}

fn grant_lines(database: &DatabaseName, mode: SqlMode, tables: &[String]) -> String {
    let mode = mode_line(mode);
    let tables = list(tables);
    format!("[[job.task.sql]]\ndatabase = \"{database}\"\n{mode}\ntables = {tables}")
}

fn mode_line(mode: SqlMode) -> String {
    let mode = match mode {
        SqlMode::Read => "read",
        SqlMode::ReadWrite => "read-write",
    };
    format!("mode = \"{mode}\"")
}

/// Names as a TOML list.
fn list<T: AsRef<str>>(names: &[T]) -> String {
    let quoted = |name: &T| {
        let name = name.as_ref();
        // No name holds both kinds of quotes, nor a control character.
        match name.contains(['"', '\\']) {
            true => format!("'{name}'"),
            false => format!("\"{name}\""),
        }
    };
    let names: Vec<String> = names.iter().map(quoted).collect();
    format!("[{}]", names.join(", "))
}
