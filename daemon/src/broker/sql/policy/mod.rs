//! Whether a statement is covered by a grant. Pure: the database is not asked here, and it checks
//! again for itself.
//!
//! A statement is refused unless every part of it is understood: the parser's tree is walked field by
//! field, each name put into quotes, and the tree written out again. That text is what runs; it must be
//! read back to the same tree. So a database finds keywords that the walk knows, names that can be nothing
//! but names, literals without escapes, listed functions and types, and no comment.

mod call;
mod change;
mod computed;
mod dialect;
mod expression;
pub mod functions;
mod lex;
mod names;
mod query;
mod refusal;
#[cfg(test)]
mod tests;
mod value;
mod walk;

use std::collections::BTreeSet;

use crate::broker::error::Refusal;
use crate::workflow::grant::SqlMode;
pub(super) use dialect::written;
pub use dialect::{Dialect, table_name};
pub use names::{Named, tables_named};
use walk::Walk;

/// What a task may do with one database: the grant, cut down to what the operator allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// The database's language.
    pub dialect: Dialect,
    /// Queries only, or changes too.
    pub mode: SqlMode,
    /// Tables and views, each as [`table_name`] writes it.
    pub tables: BTreeSet<String>,
}

/// A statement that may be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// What is run: the statement as it was understood, written out again. Whatever a database would
    /// have read otherwise, comments among it, is not there any more.
    pub text: String,
    /// What it does, for the record: `select`, `values`, `insert`, `replace`, `update`, `delete`.
    pub verb: &'static str,
    /// Whether it answers rows.
    pub returns_rows: bool,
    /// Whether it may change rows, a clause within it included.
    pub changes: bool,
    /// Whether it locks the rows that it reads, which a session that only reads cannot.
    pub locks: bool,
    /// The names that its `WITH` clauses define; never a granted table's. Lower case on SQLite.
    pub ctes: BTreeSet<String>,
    /// How many values it takes.
    pub parameters: usize,
}

/// Stack for one decision: the parser's tree is taken apart, written and compared by functions that call
/// themselves, and `lex` bounds how deep. Twice what the deepest trees need in an unoptimized build.
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// Decides on a statement.
///
/// Errors: `sql.invalid` when it is not one statement that can be understood without doubt;
/// `sql.denied` when it does more than what is allowed.
pub fn decide(statement: &str, allowed: &Allowed) -> Result<Decided, Refusal> {
    stacker::grow(STACK_BYTES, || decide_here(statement, allowed))
}

fn decide_here(statement: &str, allowed: &Allowed) -> Result<Decided, Refusal> {
    let mut parsed = lex::parse(statement, allowed.dialect)?;
    let mut walk = Walk::new(allowed);
    let outline = walk.statement(&mut parsed)?;
    walk.check_columns()?;
    let text = parsed.to_string();
    lex::check_written(&text, allowed.dialect)?;
    // What the parser writes otherwise than it reads, a database might read otherwise too.
    if lex::parse(&text, allowed.dialect)? != parsed {
        return Err(refusal::invalid(
            "the statement cannot be written out without doubt; write it more simply, and pass literals as parameters",
        ));
    }
    Ok(Decided {
        text,
        verb: outline.verb,
        returns_rows: outline.returns_rows,
        changes: walk.changes,
        locks: walk.locks,
        ctes: walk.ctes,
        parameters: walk.placeholders,
    })
}
