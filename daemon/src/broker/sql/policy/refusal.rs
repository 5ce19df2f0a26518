//! What a refusal says: what was refused, and the lines of the grant that would allow it.

use std::collections::BTreeSet;

use crate::broker::error::Refusal;

/// Names shown of a grant: a longer list is looked up where it was written.
const SHOWN_TABLES: usize = 20;
/// Characters shown of what a guest wrote.
const SHOWN_CHARACTERS: usize = 80;

/// What to write in the place of a statement that only some of the databases have.
pub(super) const NO_MERGE: &str =
    "MERGE is not allowed; use INSERT … ON CONFLICT, on MariaDB INSERT … ON DUPLICATE KEY UPDATE";

/// The statement is understood and not allowed.
pub(super) fn denied(why: impl Into<String>) -> Refusal {
    Refusal::permanent("sql.denied", why)
}

/// The statement is not understood, or not without doubt.
pub(super) fn invalid(why: impl Into<String>) -> Refusal {
    Refusal::permanent("sql.invalid", why)
}

/// A table that the grant does not list; `grantable` is false for the database's own.
pub(super) fn table(name: &str, grantable: bool, granted: &BTreeSet<String>) -> Refusal {
    let name = shown(name);
    if !grantable {
        return denied(format!("the table `{name}` cannot be granted"));
    }
    let mut tables: Vec<&str> = granted
        .iter()
        .map(String::as_str)
        .take(SHOWN_TABLES)
        .collect();
    tables.push(&name);
    denied(format!(
        "the table `{name}` is not granted. To allow it, write in the grant: tables = {tables:?}"
    ))
}

/// A change under a grant that only reads.
pub(super) fn read_only(verb: &str) -> Refusal {
    denied(format!(
        "{verb} changes or locks rows, and the grant only reads. To allow it, write in the grant: mode = \"read-write\""
    ))
}

/// A piece of a guest's text, fit for a message.
pub(super) fn shown(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(SHOWN_CHARACTERS)
        .collect()
}
