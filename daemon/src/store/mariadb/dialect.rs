//! What MariaDB says differently: transactions, its clock, its errors, and the commit protocol's steps.

use std::collections::BTreeSet;

use serde_json::value::RawValue;
use sqlx::Row as _;
use sqlx::mysql::{MySqlConnection, MySqlDatabaseError, MySqlRow};

use super::query::{DUPLICATE_KEY, Value, execute_in_order, query};
use super::statements::{
    ADVANCE_NUMBERS, APPEND_LOGS, CLAIM_DEAD, CLAIM_FREE, CONSUME, DEAD_RUNS, INSERT_RUNS, Insert,
    LOCK_WORKFLOWS, LOOK, NOTE_ENDS, PASS, TAKE, TAKE_EVENT_IDS, UPDATE_RUNS, WRITE_ATTEMPTS,
    WRITE_HOST_CALLS, WRITE_IO, WRITE_JOBS, WRITE_TASKS,
};
use crate::id::{DaemonId, RunId};
use crate::store::batch::Table;
use crate::store::cells::{Cells as _, cells};
use crate::store::commit::{Dialect, Fault, Lines, Sighting, claimed};
use crate::store::control::Control;
use crate::store::rows::ClaimedRun;

/// The session's own isolation: see `session`.
pub(super) const BEGIN: &str = "start transaction";
/// One view of the data for all statements of a read.
pub(super) const BEGIN_READING: &str = "set transaction isolation level repeatable read; \
    start transaction with consistent snapshot, read only";
/// Makes the transaction durable.
pub(super) const COMMIT: &str = "commit";
/// Undoes the transaction.
pub(super) const ROLLBACK: &str = "rollback";

/// The database's clock in microseconds.
pub(super) const NOW: &str = "select timestampdiff(microsecond, '1970-01-01', utc_timestamp(6))";

/// Rows of one `insert`, at most. Each power of two up to here is a prepared statement of its own.
const ROWS: usize = 64;

/// What a packet holds besides its values, and a row besides its parameters: generously, in bytes.
const ENVELOPE: usize = 4096;

cells!(MySqlRow);

/// One statement without parameters or rows.
pub(super) async fn step(
    connection: &mut MySqlConnection,
    statement: &'static str,
) -> Result<(), Fault> {
    // Not prepared, so that it is one round trip, also where it is two statements.
    sqlx::raw_sql(statement)
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(fault)
}

/// The server's number of an error that is the server's.
pub(super) fn number(error: &sqlx::Error) -> Option<u16> {
    error
        .as_database_error()?
        .try_downcast_ref::<MySqlDatabaseError>()
        .map(MySqlDatabaseError::number)
}

/// What an error of MariaDB means. Numbers: <https://mariadb.com/kb/en/mariadb-error-code-reference/>.
pub(super) fn fault(error: sqlx::Error) -> Fault {
    let text = error.to_string();
    let state = match &error {
        sqlx::Error::Database(e) => e.code().map(|code| code.into_owned()).unwrap_or_default(),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => return Fault::Corrupt(text),
        _ => return Fault::Lost(text),
    };
    match number(&error).unwrap_or_default() {
        // deadlock, lock wait, a row changed since it was read
        1213 | 1205 | 1020 => Fault::Again(text),
        // disk full, table full; and as the system said it in an error of writing
        1021 | 1114 => Fault::Full(text),
        3 | 1026 | 1030 if text.contains("rror 28") || text.contains("rrcode: 28") => {
            Fault::Full(text)
        }
        // a crashed table, a corrupted index or table
        1194 | 1712 | 1877 => Fault::Corrupt(text),
        // a word for a number or text that is not UTF-8, no value for a column, a row or a key too long,
        // what is no JSON
        1366 | 1364 | 1118 | 1071 | 4036..=4042 | 4174..=4178 => Fault::Data(text),
        // data exception, constraint
        _ if state.starts_with("22") || state.starts_with("23") => Fault::Data(text),
        _ => Fault::Lost(text),
    }
}

/// Takes over runs; the caller is inside a transaction.
pub(super) async fn claim(
    db: &mut MySqlConnection,
    daemon: DaemonId,
    limit: u32,
) -> Result<Vec<ClaimedRun>, Fault> {
    let now = super::calls::now(&mut *db).await?;
    super::calls::check_alive(&mut *db, daemon, now).await?;
    let mut rows = query(CLAIM_FREE)
        .bind(i64::from(limit))
        .fetch_all(&mut *db)
        .await
        .map_err(fault)?;
    rows.extend(claim_dead(&mut *db, now, limit).await?);
    let mut runs = claimed(&rows)?;
    // What is locked beyond the limit is free again with the commit.
    runs.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    if runs.is_empty() {
        return Ok(runs);
    }
    let ids: Vec<[RunId; 1]> = runs.iter().map(|run| [run.run_id]).collect();
    query(TAKE)
        .bind(json(&ids)?)
        .bind(daemon.to_string())
        .execute(db)
        .await
        .map_err(fault)?;
    Ok(runs)
}

async fn claim_dead(
    db: &mut MySqlConnection,
    now: i64,
    limit: u32,
) -> Result<Vec<MySqlRow>, Fault> {
    let seen = query(DEAD_RUNS)
        .bind(now)
        .bind(i64::from(limit))
        .fetch_all(&mut *db)
        .await
        .map_err(fault)?;
    if seen.is_empty() {
        return Ok(Vec::new());
    }
    let seen = seen
        .iter()
        .map(|row| {
            Ok((
                row.text("workflow_run_id")?,
                row.text("owner")?,
                row.int("lease_epoch")?,
            ))
        })
        .collect::<Result<Vec<_>, Fault>>()?;
    query(CLAIM_DEAD)
        .bind(json(&seen)?)
        .fetch_all(db)
        .await
        .map_err(fault)
}

fn json(rows: &impl serde::Serialize) -> Result<String, Fault> {
    serde_json::to_string(rows).map_err(|e| Fault::Data(e.to_string()))
}

/// A connection as the commit protocol sees it.
pub(super) struct MariaDbDialect<'c> {
    pub(super) connection: &'c mut MySqlConnection,
    /// The largest packet that the server takes, in bytes.
    pub(super) packet: usize,
}

impl MariaDbDialect<'_> {
    /// The rows of a statement over a JSON text, in as many portions as it takes.
    async fn rows(&mut self, sql: &'static str, rows: String) -> Result<Vec<MySqlRow>, Fault> {
        let mut found = Vec::new();
        for portion in portions(rows, self.packet)? {
            let some = query(sql).bind(portion).fetch_all(&mut *self.connection);
            found.extend(some.await.map_err(fault)?);
        }
        Ok(found)
    }

    async fn ids(&mut self, sql: &'static str, rows: String) -> Result<Vec<RunId>, Fault> {
        let rows = self.rows(sql, rows).await?;
        rows.iter()
            .map(|row| row.parsed("workflow_run_id"))
            .collect()
    }

    /// [`INSERT_RUNS`]. Where a key is taken at this very moment by another daemon, which has committed by the
    /// time the error comes, the same statement sees that and leaves the run out.
    async fn insert(&mut self, rows: &str) -> Result<Vec<MySqlRow>, Fault> {
        let insert = || query(INSERT_RUNS).bind(rows);
        match insert().fetch_all(&mut *self.connection).await {
            Err(error) if number(&error) == Some(DUPLICATE_KEY) => {
                insert().fetch_all(&mut *self.connection).await
            }
            other => other,
        }
        .map_err(fault)
    }

    async fn write_table(&mut self, table: Table, rows: &str) -> Result<(), Fault> {
        let insert = match table {
            Table::Job => &WRITE_JOBS,
            Table::Task => &WRITE_TASKS,
            Table::Attempt => &WRITE_ATTEMPTS,
            Table::Io => &WRITE_IO,
            Table::HostCall => &WRITE_HOST_CALLS,
            Table::Consumed => return self.rows(CONSUME, rows.to_owned()).await.map(drop),
            Table::Ended => return self.rows(NOTE_ENDS, rows.to_owned()).await.map(drop),
        };
        self.put(insert, &values(rows)?).await
    }

    async fn append_logs(&mut self, count: i64, rows: &str) -> Result<(), Fault> {
        let taken = query(TAKE_EVENT_IDS)
            .bind(count)
            .fetch_one(&mut *self.connection)
            .await
            .map_err(fault)?;
        let first = taken.int("value")?.saturating_sub(count).saturating_add(1);
        let lines = (first..)
            .zip(values(rows)?)
            .map(|(id, row)| {
                // Ordinal and line have done their part: the lines are in their order.
                let [_, _, run, rest @ ..] = row.as_slice() else {
                    return Err(Fault::Corrupt("a log line without its run".into()));
                };
                let head = [Value::Int(id), run.clone(), run.clone()];
                Ok(head.into_iter().chain(rest.iter().cloned()).collect())
            })
            .collect::<Result<Vec<Vec<Value>>, Fault>>()?;
        self.put(&APPEND_LOGS, &lines).await
    }

    /// Inserts rows, in as few statements as packets and prepared statements allow.
    async fn put(&mut self, insert: &Insert, rows: &[Vec<Value>]) -> Result<(), Fault> {
        let mut rest = rows;
        while !rest.is_empty() {
            let (now, later) = rest
                .split_at_checked(fitting(rest, self.packet)?)
                .unwrap_or((rest, &[]));
            let places = vec![insert.row; now.len()].join(", ");
            let text = [insert.into, &places, insert.replace].concat();
            execute_in_order(&mut *self.connection, text, now.iter().flatten())
                .await
                .map_err(fault)?;
            rest = later;
        }
        Ok(())
    }
}

impl Dialect for MariaDbDialect<'_> {
    async fn begin(&mut self) -> Result<(), Fault> {
        step(self.connection, BEGIN).await
    }

    async fn commit(&mut self) -> Result<(), Fault> {
        step(self.connection, COMMIT).await
    }

    async fn rollback(&mut self) -> Result<(), Fault> {
        step(self.connection, ROLLBACK).await
    }

    async fn insert_runs(&mut self, rows: String) -> Result<Vec<RunId>, Fault> {
        self.rows(LOCK_WORKFLOWS, json(&workflows(&rows)?)?).await?;
        let mut ids = Vec::new();
        for portion in portions(rows, self.packet)? {
            for row in self.insert(&portion).await? {
                ids.push(row.parsed("workflow_run_id")?);
            }
            self.rows(ADVANCE_NUMBERS, portion).await?;
        }
        Ok(ids)
    }

    async fn update_runs(&mut self, rows: String) -> Result<Vec<RunId>, Fault> {
        let ids = self.ids(PASS, rows.clone()).await?;
        if !ids.is_empty() {
            self.rows(UPDATE_RUNS, rows).await?;
        }
        Ok(ids)
    }

    async fn look(&mut self, rows: String) -> Result<Vec<Sighting>, Fault> {
        let rows = self.rows(LOOK, rows).await?;
        rows.iter().map(crate::store::commit::sighting).collect()
    }

    async fn control(&mut self, changes: &[(RunId, &Control)]) -> Result<(), Fault> {
        super::control::commit(self.connection, changes).await
    }

    async fn write(
        &mut self,
        rows: Vec<(Table, String)>,
        logs: Option<Lines>,
    ) -> Result<(), Fault> {
        for (table, rows) in rows {
            self.write_table(table, &rows).await?;
        }
        match logs {
            Some(Lines { count, rows }) => self.append_logs(count, &rows).await,
            None => Ok(()),
        }
    }
}

/// The rows that `batch` wrote as JSON arrays, column by column.
fn values(rows: &str) -> Result<Vec<Vec<Value>>, Fault> {
    let odd = |what: &dyn std::fmt::Display| Fault::Corrupt(format!("a batch holds {what}"));
    let rows: Vec<Vec<serde_json::Value>> = serde_json::from_str(rows).map_err(|e| odd(&e))?;
    let value = |cell| match cell {
        serde_json::Value::Null => Ok(Value::Null),
        serde_json::Value::String(text) => Ok(Value::Text(text)),
        serde_json::Value::Number(number) if number.is_i64() => {
            Ok(Value::Int(number.as_i64().unwrap_or_default()))
        }
        other => Err(odd(&other)),
    };
    rows.into_iter()
        .map(|row| row.into_iter().map(value).collect())
        .collect()
}

/// The workflows of new runs, each once, always in the same order.
fn workflows(rows: &str) -> Result<BTreeSet<String>, Fault> {
    let workflow = |row: Vec<Value>| match row.into_iter().nth(2) {
        Some(Value::Text(workflow)) => Ok(workflow),
        other => Err(Fault::Corrupt(format!("a run of workflow {other:?}"))),
    };
    values(rows)?.into_iter().map(workflow).collect()
}

/// How many of these rows go into the next statement: a power of two, and no more than a packet takes.
fn fitting(rows: &[Vec<Value>], packet: usize) -> Result<usize, Fault> {
    let room = packet.saturating_sub(ENVELOPE);
    let mut bytes = 0_usize;
    let mut fit = 0_usize;
    for row in rows.iter().take(ROWS) {
        // Two bytes a parameter for its type.
        bytes = row.iter().fold(bytes, |sum, value| {
            sum.saturating_add(value.size()).saturating_add(2)
        });
        if bytes > room {
            break;
        }
        fit += 1;
    }
    match fit.checked_ilog2() {
        Some(power) => Ok(1 << power),
        None => Err(too_large(bytes, packet)),
    }
}

/// A JSON array of rows as arrays that each fit into a packet.
fn portions(rows: String, packet: usize) -> Result<Vec<String>, Fault> {
    let room = packet.saturating_sub(ENVELOPE);
    if rows.len() <= room {
        return Ok(vec![rows]);
    }
    let rows: Vec<&RawValue> =
        serde_json::from_str(&rows).map_err(|e| Fault::Corrupt(e.to_string()))?;
    let mut portions: Vec<String> = Vec::new();
    for row in rows {
        let row = row.get();
        if row.len().saturating_add(2) > room {
            return Err(too_large(row.len(), packet));
        }
        match portions.last_mut() {
            Some(last) if last.len().saturating_add(row.len()).saturating_add(2) <= room => {
                last.push(',');
                last.push_str(row);
            }
            _ => portions.push(format!("[{row}")),
        }
    }
    for portion in &mut portions {
        portion.push(']');
    }
    Ok(portions)
}

fn too_large(bytes: usize, packet: usize) -> Fault {
    Fault::Data(format!(
        "a row of {bytes} bytes is larger than the server's max_allowed_packet ({packet} bytes): raise it there"
    ))
}

#[cfg(test)]
mod tests {
    use sqlx::Connection as _;

    use super::*;

    fn row(bytes: usize) -> Vec<Value> {
        vec![Value::Text("x".repeat(bytes)), Value::Null]
    }

    #[test]
    fn rows_go_in_powers_of_two_that_fit_a_packet() {
        let many = vec![row(10); 100];
        assert_eq!(fitting(&many, 1 << 20).unwrap(), 64);
        assert_eq!(fitting(&many[..37], 1 << 20).unwrap(), 32);
        assert_eq!(fitting(&many[..1], 1 << 20).unwrap(), 1);
        // Three of them fit.
        assert_eq!(fitting(&vec![row(1000); 9], ENVELOPE + 3100).unwrap(), 2);
        let large = fitting(&[row(5000), row(1)], ENVELOPE + 5000);
        assert!(matches!(large, Err(Fault::Data(why)) if why.contains("max_allowed_packet")));
    }

    #[test]
    fn a_json_text_is_cut_between_rows_only() {
        let text = r#"[["a","],["],["b",1],["c",null]]"#;
        assert_eq!(portions(text.into(), 1 << 20).unwrap(), [text]);
        let cut = portions(text.into(), ENVELOPE + 18).unwrap();
        assert_eq!(cut, [r#"[["a","],["]]"#, r#"[["b",1]]"#, r#"[["c",null]]"#]);
        let cut = portions(text.into(), ENVELOPE + 20).unwrap();
        assert_eq!(cut, [r#"[["a","],["]]"#, r#"[["b",1],["c",null]]"#]);
        let large = portions(text.into(), ENVELOPE + 10);
        assert!(matches!(large, Err(Fault::Data(why)) if why.contains("max_allowed_packet")));
    }

    #[test]
    fn cells_of_a_batch_keep_their_types() {
        let rows = values(r#"[["a\u0001",-5,null]]"#).unwrap();
        assert_eq!(
            rows,
            [[Value::Text("a\u{1}".into()), Value::Int(-5), Value::Null]]
        );
        assert!(matches!(values("[[1.5]]"), Err(Fault::Corrupt(_))));
    }

    /// What a server's error becomes; `signal` raises those that need a full disk or two daemons.
    #[tokio::test]
    async fn what_the_server_says_is_told_apart() {
        const SERVER: &str = "mysql://root@127.0.0.1:3306/mysql";
        let url = std::env::var("FLOWWEAVER_TEST_MARIADB").unwrap_or_else(|_| SERVER.into());
        let mut connection = match MySqlConnection::connect(&url).await {
            Ok(connection) => connection,
            Err(error) => return eprintln!("skipped: no MariaDB server answers: {error}"),
        };
        let mut class = async |sql: String| {
            let text = sqlx::AssertSqlSafe(sql);
            let error = sqlx::raw_sql(text).execute(&mut connection).await;
            let fault = fault(error.unwrap_err());
            let text = format!("{fault:?}");
            text.split_once('(').unwrap().0.to_owned()
        };
        for (number, state, message, expected) in [
            (1213, "40001", "Deadlock found", "Again"),
            (1205, "HY000", "Lock wait timeout exceeded", "Again"),
            (1020, "HY000", "Record has changed since last read", "Again"),
            (1021, "HY000", "Disk full", "Full"),
            (1114, "HY000", "The table is full", "Full"),
            (1026, "HY000", "Error writing file (Errcode: 28)", "Full"),
            (1026, "HY000", "Error writing file (Errcode: 5)", "Lost"),
            (1030, "HY000", "Got error 28 from storage engine", "Full"),
            (1712, "HY000", "Index is corrupted", "Corrupt"),
            (1062, "23000", "Duplicate entry", "Data"),
            (1406, "22001", "Data too long", "Data"),
            (1366, "22007", "Incorrect string value", "Data"),
            (1053, "08S01", "Server shutdown in progress", "Lost"),
            (1290, "HY000", "running with --read-only", "Lost"),
        ] {
            let signal = format!(
                "signal sqlstate '{state}' set mysql_errno = {number}, message_text = '{message}'"
            );
            assert_eq!(class(signal).await, expected, "{number} {message}");
        }
        // The real ones: what is no JSON, and an end from outside.
        let torn = "select * from json_table('[', '$[*]' columns (a int path '$')) as t";
        assert_eq!(class(torn.into()).await, "Data");
        let end = "set @id = connection_id(); kill connection @id";
        assert_eq!(class(end.into()).await, "Lost");
        assert_eq!(class("select 1".into()).await, "Lost");
    }
}
