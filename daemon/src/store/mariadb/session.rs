//! What a connection is told before its first statement, and which servers are fit to keep a store.

use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{AssertSqlSafe, Row as _};

use super::dialect::fault;
use crate::store::{Durability, StoreError};

/// The oldest release line with `skip locked`, JSON_TABLE and crash-safe changes of tables.
const OLDEST_SERVER: (u32, u32) = (10, 6);

/// The server's own default. An output has 8 MiB and a row is written in one packet.
const LEAST_PACKET: i64 = 16 << 20;

/// All modes, whatever the server's are. `ansi_quotes` and `pipes_as_concat`: the statements for all
/// databases quote names so and join text so. Strict: a value that does not fit is refused, not cut.
const MODES: &str = "ansi_quotes,pipes_as_concat,strict_all_tables,no_engine_substitution,error_for_division_by_zero";

/// Told to every connection, at once. A lock that is not free after 10 s, or a transaction that says nothing
/// for 60 s (a daemon that was stopped midway), is given up, so that the others go on.
/// `collation_database` is what JSON_TABLE's text is in: with another character set it would write `?`
/// for what that does not have. `completion_type`: no transaction begins by itself after another.
const SETTINGS: &str = "autocommit = 1, time_zone = '+00:00', innodb_lock_wait_timeout = 10, lock_wait_timeout = 10, \
    idle_transaction_timeout = 60, max_statement_time = 0, completion_type = 'NO_CHAIN', sql_auto_is_null = 0, \
    sql_safe_updates = 0, sql_select_limit = default, collation_database = utf8mb4_nopad_bin";

/// Each statement sees what was committed before it, so the fence sees the newest epoch; and no gaps
/// between rows are locked, which daemons that insert beside each other would wait for in a circle.
const ISOLATION: &str = "set session transaction isolation level read committed";

/// Text is UTF-8 both ways and compares byte by byte; 'a' and 'a ' differ.
const NAMES: &str = "set names utf8mb4 collate utf8mb4_nopad_bin";

/// Makes a fresh connection one of the store's.
pub(super) async fn settle(connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    let text = format!("set session sql_mode = '{MODES}', {SETTINGS}; {ISOLATION}; {NAMES}");
    sqlx::raw_sql(AssertSqlSafe(text))
        .execute(connection)
        .await
        .map(|_| ())
}

/// What a server says about how it keeps data.
#[derive(Debug, Clone)]
struct Facts {
    /// `innodb_flush_log_at_trx_commit`: 1 and 3 flush at each commit.
    flush: i64,
    /// `log_bin`: commits also go to a log for replicas.
    logs: bool,
    /// `sync_binlog`: after how many commits that log is flushed; 0: never.
    sync: i64,
    /// `binlog_format`.
    format: String,
    /// `max_allowed_packet`.
    packet: i64,
}

/// Whether this server may keep the store; answers the largest packet that it takes, in bytes.
pub(super) async fn admit(
    connection: &mut MySqlConnection,
    durability: Durability,
) -> Result<usize, StoreError> {
    let version: String = sqlx::query_scalar("select version()")
        .fetch_one(&mut *connection)
        .await
        .map_err(fault)?;
    check_version(&version)?;
    settle(&mut *connection).await.map_err(fault)?;
    let row = sqlx::query(
        "select cast(@@innodb_flush_log_at_trx_commit as signed), cast(@@log_bin as signed), \
         cast(@@sync_binlog as signed), cast(@@binlog_format as char), cast(@@max_allowed_packet as signed)",
    )
    .fetch_one(connection)
    .await
    .map_err(fault)?;
    let facts = facts(&row).map_err(fault)?;
    check(&facts, durability)?;
    usize::try_from(facts.packet).map_err(|e| StoreError::Corrupt(e.to_string()))
}

fn facts(row: &MySqlRow) -> Result<Facts, sqlx::Error> {
    Ok(Facts {
        flush: row.try_get(0)?,
        logs: row.try_get::<i64, _>(1)? != 0,
        sync: row.try_get(2)?,
        format: row.try_get(3)?,
        packet: row.try_get(4)?,
    })
}

fn check_version(version: &str) -> Result<(), StoreError> {
    if !version.to_ascii_lowercase().contains("mariadb") {
        return Err(StoreError::Rejected(format!(
            "the server is not MariaDB (it says {version}): MySQL has no `insert … returning`, which the store \
             needs. Use MariaDB 10.6 or newer"
        )));
    }
    let mut numbers = version
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0));
    let mut number = || numbers.next().unwrap_or(0);
    if (number(), number()) < OLDEST_SERVER {
        return Err(StoreError::Rejected(format!(
            "MariaDB {version} is too old: it has no `skip locked` or JSON_TABLE. Use 10.6 or newer"
        )));
    }
    Ok(())
}

fn check(facts: &Facts, durability: Durability) -> Result<(), StoreError> {
    let wrong = if durability == Durability::Full && !matches!(facts.flush, 1 | 3) {
        let now = facts.flush;
        format!(
            "durability = \"full\" needs innodb_flush_log_at_trx_commit = 1 on the server, which has {now}: set it there, \
             or durability = \"normal\" in [store]"
        )
    } else if durability == Durability::Full && facts.logs && facts.sync != 1 {
        let now = facts.sync;
        format!(
            "durability = \"full\" needs sync_binlog = 1 on a server with a binary log, which has {now}: without it a power \
             failure takes back commits. Set it there, or durability = \"normal\" in [store]"
        )
    } else if facts.logs && facts.format.eq_ignore_ascii_case("statement") {
        "the server's binary log has binlog_format = STATEMENT, which refuses transactions that read what is \
         committed: set it to MIXED or ROW"
            .to_owned()
    } else if facts.packet < LEAST_PACKET {
        let now = facts.packet;
        format!(
            "the server's max_allowed_packet is {now} bytes; the store needs {LEAST_PACKET} (16 MiB) or more"
        )
    } else {
        return Ok(());
    };
    Err(StoreError::Rejected(wrong))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(answer: Result<(), StoreError>) -> String {
        match answer {
            Err(StoreError::Rejected(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn mysql_and_old_servers_are_told_what_is_missing() {
        assert!(said(check_version("8.0.36")).contains("not MariaDB (it says 8.0.36)"));
        assert!(said(check_version("9.1.0-commercial")).contains("insert … returning"));
        for old in ["5.5.68-MariaDB", "10.5.29-MariaDB-log"] {
            assert!(said(check_version(old)).contains("skip locked"), "{old}");
        }
        for good in [
            "10.6.0-MariaDB",
            "10.11.19-MariaDB-0+deb12u1",
            "11.4.2-MariaDB-ubu2404",
            "12.0.1-mariadb",
        ] {
            check_version(good).unwrap();
        }
    }

    const GOOD: Facts = Facts {
        flush: 1,
        logs: false,
        sync: 0,
        format: String::new(),
        packet: LEAST_PACKET,
    };

    #[test]
    fn a_server_that_forgets_commits_is_refused_for_full_durability_only() {
        check(&GOOD, Durability::Full).unwrap();
        check(&Facts { flush: 3, ..GOOD }, Durability::Full).unwrap();
        for flush in [0, 2] {
            let lax = Facts { flush, ..GOOD };
            let why = said(check(&lax, Durability::Full));
            assert!(why.contains("innodb_flush_log_at_trx_commit = 1"), "{why}");
            assert!(why.contains("durability = \"normal\""), "{why}");
            check(&lax, Durability::Normal).unwrap();
        }
        let logged = Facts { logs: true, ..GOOD };
        assert!(said(check(&logged, Durability::Full)).contains("sync_binlog = 1"));
        check(&logged, Durability::Normal).unwrap();
        check(&Facts { sync: 1, ..logged }, Durability::Full).unwrap();
    }

    #[test]
    fn a_server_that_cannot_take_the_stores_statements_is_refused() {
        let statement = Facts {
            logs: true,
            sync: 1,
            format: "STATEMENT".into(),
            ..GOOD
        };
        assert!(said(check(&statement, Durability::Full)).contains("MIXED or ROW"));
        let small = Facts {
            packet: (16 << 20) - 1024,
            ..GOOD
        };
        assert!(said(check(&small, Durability::Normal)).contains("max_allowed_packet"));
    }
}
