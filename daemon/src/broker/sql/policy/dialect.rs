//! What differs between the databases as far as the policy sees it: the parser, the names of tables,
//! how a name is written so that it can be nothing else.

use std::collections::BTreeSet;

use sqlparser::dialect::{MySqlDialect, PostgreSqlDialect, SQLiteDialect};

/// PostgreSQL cuts longer names off, so that two different ones could become the same.
const POSTGRES_NAME_BYTES_MAX: usize = 63;
/// Schemas of MariaDB's own: accounts, grants, what other sessions do.
const MARIADB_OWN: &[&str] = &["mysql", "information_schema", "performance_schema", "sys"];

/// Which database's language a statement is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// SQLite 3.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MariaDB, and what speaks like it.
    MariaDb,
}

impl Dialect {
    pub(super) fn parser(self) -> &'static dyn sqlparser::dialect::Dialect {
        match self {
            Self::Sqlite => &SQLiteDialect {},
            Self::Postgres => &PostgreSqlDialect {},
            Self::MariaDb => &MySqlDialect {},
        }
    }

    /// The quote that makes a name of any word. Not `"` on SQLite, which reads an unknown `"name"` as text.
    pub(super) fn quote(self) -> char {
        match self {
            Self::Postgres => '"',
            Self::Sqlite | Self::MariaDb => '`',
        }
    }

    /// How the database itself writes a name that stands without quotes.
    pub(super) fn unquoted(self, name: &str) -> String {
        match self {
            Self::Postgres => name.to_ascii_lowercase(),
            Self::Sqlite | Self::MariaDb => name.to_owned(),
        }
    }

    /// Equal for two names that the database, or any setting of it, may take for the same.
    pub(in super::super) fn folded(self, name: &str) -> String {
        match self {
            Self::Postgres => name.to_owned(),
            Self::Sqlite => name.to_ascii_lowercase(),
            Self::MariaDb => name.to_lowercase(),
        }
    }

    /// Longest name that means itself, in bytes.
    pub(super) fn name_bytes_max(self) -> usize {
        match self {
            Self::Postgres => POSTGRES_NAME_BYTES_MAX,
            // They answer an error themselves, or keep it whole.
            Self::Sqlite | Self::MariaDb => usize::MAX,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
            Self::MariaDb => "MariaDB",
        }
    }
}

/// A table's name, as a grant or an operator's list writes it, in the form that is compared.
///
/// SQLite: the case of ASCII letters does not count, `main.x` is `x`. PostgreSQL: as in a statement, so lower case
/// unless it stands in double quotes (`"Orders"`, `shop."Orders"`); `public.x` is `x`. MariaDB: exactly as written,
/// since whether case counts is a setting of the server, and without quotes; `shop.x` is not `x`.
///
/// The compared form is itself a name that can be granted: it means the same table again.
///
/// None: a name that is never granted, the database's own tables among them.
pub fn table_name(dialect: Dialect, text: &str) -> Option<String> {
    let read = |part: &str| match dialect {
        Dialect::Sqlite => part.to_ascii_lowercase(),
        Dialect::Postgres => match part
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
        {
            Some(exact) => exact.to_owned(),
            None => part.to_ascii_lowercase(),
        },
        Dialect::MariaDb => part.to_owned(),
    };
    let parts: Vec<String> = text.split('.').map(read).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    joined(dialect, &parts)
}

/// A part of a name as a grant writes it: PostgreSQL reads others than these without quotes as another name.
pub(in super::super) fn written(dialect: Dialect, part: &str) -> String {
    let is_plain = part.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && part
            .chars()
            .all(|c| (c.is_alphanumeric() || "_$".contains(c)) && !c.is_ascii_uppercase());
    if dialect != Dialect::Postgres || is_plain {
        return part.to_owned();
    }
    format!("\"{part}\"")
}

/// The compared form of a name in one or two parts, each as the database reads it.
pub(super) fn joined(dialect: Dialect, parts: &[&str]) -> Option<String> {
    let is_plain = |part: &&str| {
        !part.is_empty()
            && part.len() <= dialect.name_bytes_max()
            && !part.contains(|c: char| c.is_control() || "\"'`[].".contains(c))
    };
    if !parts.iter().all(is_plain) {
        return None;
    }
    let (schema, table) = match parts {
        [table] => (None, *table),
        [schema, table] => (Some(*schema), *table),
        _ => return None,
    };
    match (dialect, schema) {
        (Dialect::Sqlite, None | Some("main")) => {
            // A pragma can be read like a table.
            let own = table.starts_with("sqlite_") || table.starts_with("pragma_");
            (!own).then(|| table.to_owned())
        }
        (Dialect::Sqlite, Some(_)) => None,
        // A name alone is looked up in `pg_catalog` first, and all of its names begin so.
        (Dialect::Postgres, _) if table.starts_with("pg_") => None,
        (Dialect::Postgres, None | Some("public")) => Some(written(dialect, table)),
        (Dialect::Postgres, Some(schema)) => (!schema.starts_with("pg_")
            && schema != "information_schema")
            .then(|| format!("{}.{}", written(dialect, schema), written(dialect, table))),
        (Dialect::MariaDb, None) => Some(table.to_owned()),
        (Dialect::MariaDb, Some(schema)) => (!MARIADB_OWN
            .contains(&schema.to_lowercase().as_str()))
        .then(|| format!("{schema}.{table}")),
    }
}

/// Whether a name is, to any server, one of the granted tables.
pub(super) fn is_like_a_granted(dialect: Dialect, name: &str, tables: &BTreeSet<String>) -> bool {
    if dialect == Dialect::Postgres {
        return joined(dialect, &[name]).is_some_and(|name| tables.contains(&name));
    }
    let folded = dialect.folded(name);
    tables.iter().any(|table| dialect.folded(table) == folded)
}
