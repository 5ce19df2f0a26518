//! The functions a statement may call: those that compute from their arguments and nothing else.
//!
//! What reads files or catalogs, loads code, reaches the network, keeps state in the session, waits, or
//! runs text as SQL is in none of the lists. A name alone does not say whose function it is: a database
//! takes its own before one that somebody made.

mod mariadb;
mod postgres;
mod sqlite;

use super::dialect::Dialect;

/// Whether a statement may call this function; `name` in lower case.
pub fn is_allowed(dialect: Dialect, name: &str) -> bool {
    match dialect {
        Dialect::Sqlite => sqlite::ALLOWED.contains(&name),
        Dialect::Postgres => postgres::ALLOWED.contains(&name),
        Dialect::MariaDb => mariadb::ALLOWED.contains(&name),
    }
}

/// Functions that may stand in FROM, each with its columns; none for one column without a name of its own.
type TableFunctions = &'static [(&'static str, &'static [&'static str])];

/// The functions that may stand in FROM. MariaDB's only one, `json_table`, has a grammar of its own.
fn table_functions(dialect: Dialect) -> TableFunctions {
    match dialect {
        Dialect::Sqlite => sqlite::TABLE_FUNCTIONS,
        Dialect::Postgres => postgres::TABLE_FUNCTIONS,
        Dialect::MariaDb => &[],
    }
}

/// The columns of a function that may stand in FROM; empty for one column without a name of its own.
pub(super) fn table_function(dialect: Dialect, name: &str) -> Option<&'static [&'static str]> {
    table_functions(dialect)
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, columns)| *columns)
}

/// Whether a function of this name, in lower case, may stand in FROM.
pub fn is_table_function(dialect: Dialect, name: &str) -> bool {
    table_function(dialect, name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the servers themselves must never be asked for, whatever a list says one day.
    const NEVER: &str = "advisory benchmark connection_id currval current_setting current_user database dblink \
        extractvalue file fts3_tokenizer get_lock has_ is_free_lock is_used_lock kill last_insert lastval lastval \
        load lo_ ls_dir master_pos nextval notify pg_ query_to readfile regclass release_ row_count schema_to \
        session_user set_config setseed setval sleep sqlite_ stat table_to to_reg ts_stat txid updatexml user \
        version wait writefile xml xpath ts_rewrite database_to cursor_to row_security inet_client inet_server";

    #[test]
    fn no_list_names_a_function_with_a_power_of_its_own() {
        let lists = [sqlite::ALLOWED, postgres::ALLOWED, mariadb::ALLOWED];
        let tables = [Dialect::Sqlite, Dialect::Postgres, Dialect::MariaDb].map(table_functions);
        let tables = tables.concat().into_iter().map(|(name, _)| name);
        for name in lists.concat().into_iter().chain(tables) {
            for part in NEVER.split_whitespace() {
                let is_time = ["statement_timestamp", "jsonb_set_lax"].contains(&name);
                let is_uuid = name.starts_with("uuid");
                assert!(!name.contains(part) || is_time || is_uuid, "{name}: {part}");
            }
        }
    }

    #[test]
    fn a_list_is_sorted_and_in_lower_case() {
        for list in [sqlite::ALLOWED, postgres::ALLOWED, mariadb::ALLOWED] {
            assert!(list.iter().all(|name| *name == name.to_lowercase()));
            assert!(
                list.iter()
                    .filter(|name| !name.starts_with('-'))
                    .is_sorted()
            );
        }
    }
}
