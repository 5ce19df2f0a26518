//! What a denial teaches: what was refused, and the lines that would allow it.
//!
//! The lines are not guessed from the refusal: they are the least grant under which `policy` allows
//! the statement, if there is one.

use std::collections::BTreeSet;

use super::policy::{self, Allowed, table_name};
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
        lines(&database, SqlMode::Read, &tables)
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
    let (grant, database) = (&reach.grant, &reach.database);
    let place = format!("{}:{}", grant.place.file, grant.place.line);
    let Some(needed) = needed(&reach.allowed, statement) else {
        let tables: Vec<&str> = reach.allowed.tables.iter().map(String::as_str).collect();
        let message = format!(
            "{why}. The grant at {place} covers {tables:?} of `{}`, and no grant would allow this",
            database.name
        );
        return Refusal { message, ..refusal };
    };
    let mut tables = grant.tables.clone();
    tables.retain(|table| table != UNKNOWN_TABLES);
    let dialect = reach.allowed.dialect;
    let has = |tables: &[String], table: &String| {
        tables
            .iter()
            .any(|known| table_name(dialect, known).as_ref() == Some(table))
    };
    for table in &needed.tables {
        if !has(&tables, table) {
            tables.push(table.clone());
        }
    }
    let mode = grant.mode.max(needed.mode);
    let mut message = format!("{why}. To allow it, ");
    let unopened: Vec<&String> = needed
        .tables
        .iter()
        .filter(|table| !database.opens(table))
        .collect();
    let (name, over) = (&database.name, needed.mode > database.mode);
    if over || !unopened.is_empty() {
        message.push_str(&format!("flowweaver.toml needs under [databases.{name}]"));
        if over {
            message.push_str(" mode = \"read-write\"");
        }
        if !unopened.is_empty() {
            message.push_str(&format!(" and in its `tables` {unopened:?}"));
        }
        message.push_str("; then ");
    }
    message.push_str(&format!(
        "write in the place of the grant at {place}:\n{}",
        lines(name, mode, &tables)
    ));
    Refusal { message, ..refusal }
}

fn lines(database: &DatabaseName, mode: SqlMode, tables: &[String]) -> String {
    let mode = match mode {
        SqlMode::Read => "read",
        SqlMode::ReadWrite => "read-write",
    };
    format!("[[job.task.sql]]\ndatabase = \"{database}\"\nmode = \"{mode}\"\ntables = {tables:?}")
}

/// The least under which the statement is allowed; none when no grant is enough.
fn needed(allowed: &Allowed, statement: &str) -> Option<Allowed> {
    let named = policy::tables_named(statement, allowed.dialect)?;
    if named.len() > TABLES_SHOWN {
        return None;
    }
    let modes = [SqlMode::Read, SqlMode::ReadWrite];
    modes.into_iter().find_map(|mode| {
        let wanted = Allowed {
            dialect: allowed.dialect,
            mode,
            tables: named.clone(),
        };
        policy::decide(statement, &wanted).ok().map(|_| wanted)
    })
}
