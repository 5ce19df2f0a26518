//! What the policy lets through and what it does not, on each database.

mod allowed;
mod attacks;
mod properties;
mod scan;
mod writing;

use std::collections::BTreeSet;

use super::{Allowed, Decided, Dialect, Named, decide, table_name, tables_named};
use crate::broker::error::Refusal;
use crate::workflow::grant::SqlMode;

pub(super) const ALL: [Dialect; 3] = [Dialect::Sqlite, Dialect::Postgres, Dialect::MariaDb];
/// The tables that are granted in every test.
pub(super) const GRANTED: [&str; 3] = ["review", "live", "shop.sale"];

fn allowed(dialect: Dialect, mode: SqlMode) -> Allowed {
    let tables: BTreeSet<String> = GRANTED
        .iter()
        .filter_map(|table| table_name(dialect, table))
        .collect();
    Allowed {
        dialect,
        mode,
        tables,
    }
}

fn read(dialect: Dialect, statement: &str) -> Result<Decided, Refusal> {
    decide(statement, &allowed(dialect, SqlMode::Read))
}

fn write(dialect: Dialect, statement: &str) -> Result<Decided, Refusal> {
    decide(statement, &allowed(dialect, SqlMode::ReadWrite))
}

/// Fails with everything that is not as it must be.
fn none_of(wrong: &[String]) {
    assert!(
        wrong.is_empty(),
        "{} are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn code(decided: Result<Decided, Refusal>) -> String {
    match decided {
        Ok(decided) => format!("allowed: {}", decided.text),
        Err(refusal) => refusal.code,
    }
}

fn all_answer(dialect: Dialect, statements: &[&str], codes: &[&str]) {
    let mut wrong = Vec::new();
    for statement in statements {
        for decided in [read(dialect, statement), write(dialect, statement)] {
            let code = code(decided.clone());
            if !codes.contains(&code.as_str()) {
                wrong.push(format!("{dialect:?}: {statement}: {code} {decided:?}"));
            }
        }
    }
    none_of(&wrong);
}

/// Understood, and denied under either mode.
fn all_denied(dialect: Dialect, statements: &[&str]) {
    all_answer(dialect, statements, &["sql.denied"]);
}

/// Denied or not understood: what the parser does not know is as little run.
fn all_refused(dialect: Dialect, statements: &[&str]) {
    all_answer(dialect, statements, &["sql.denied", "sql.invalid"]);
}

/// Denied to a grant that only reads, with the line that would allow it; allowed to one that writes.
fn all_need_writing(dialect: Dialect, statements: &[&str]) {
    let mut wrong = Vec::new();
    for statement in statements {
        let teaches = |refusal: &Refusal| refusal.message.contains("mode = \"read-write\"");
        if !read(dialect, statement)
            .is_err_and(|refusal| refusal.code == "sql.denied" && teaches(&refusal))
        {
            wrong.push(format!(
                "{dialect:?}: {statement}: reading: {:?}",
                read(dialect, statement)
            ));
        }
        wrong.extend(not_stable(dialect, statement, write));
    }
    none_of(&wrong);
}

/// Allowed, and what is written out again means the same.
fn all_allowed(dialect: Dialect, statements: &[&str]) {
    let mut wrong = Vec::new();
    for statement in statements {
        if read(dialect, statement).is_ok_and(|decided| decided.changes) {
            wrong.push(format!("{dialect:?}: {statement}: changes"));
        }
        wrong.extend(not_stable(dialect, statement, read));
    }
    none_of(&wrong);
}

fn not_stable(
    dialect: Dialect,
    statement: &str,
    decide: impl Fn(Dialect, &str) -> Result<Decided, Refusal>,
) -> Option<String> {
    match decide(dialect, statement) {
        Ok(decided) if decide(dialect, &decided.text) == Ok(decided.clone()) => None,
        other => Some(format!("{dialect:?}: {statement}: {other:?}")),
    }
}
