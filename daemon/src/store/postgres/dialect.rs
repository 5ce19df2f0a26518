//! What PostgreSQL says differently: transactions, its clock, its errors, and the commit protocol's steps.

use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgRow};

use super::statements::{
    ADVANCE_NUMBERS, APPEND_LOGS, CLAIM, CONSUME, INSERT_RUNS, LOCK_WORKFLOWS, LOOK, NOTE_ENDS,
    TAKE_EVENT_IDS, UPDATE_RUNS, WRITE_ATTEMPTS, WRITE_HOST_CALLS, WRITE_IO, WRITE_JOBS,
    WRITE_TASKS,
};
use crate::id::{DaemonId, RunId};
use crate::store::batch::Table;
use crate::store::cells::{Cells as _, cells};
use crate::store::commit::{Dialect, Fault, Lines, Sighting};
use crate::store::control::Control;
use crate::store::rows::ClaimedRun;

/// Each statement sees what was committed before it: the fence must see the newest epoch.
pub(super) const BEGIN: &str = "begin isolation level read committed";
/// One view of the data for all statements of a read.
pub(super) const BEGIN_READING: &str = "begin isolation level repeatable read, read only";
/// Makes the transaction durable.
pub(super) const COMMIT: &str = "commit";
/// Undoes the transaction.
pub(super) const ROLLBACK: &str = "rollback";

/// The database's clock in microseconds.
pub(super) const NOW: &str = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint";

cells!(PgRow);

/// One statement without parameters or rows.
pub(super) async fn step(
    connection: &mut PgConnection,
    statement: &'static str,
) -> Result<(), Fault> {
    sqlx::query(statement)
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(fault)
}

/// What an error of PostgreSQL means. Codes: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
pub(super) fn fault(error: sqlx::Error) -> Fault {
    let text = error.to_string();
    let code = match &error {
        sqlx::Error::Database(e) => e.code().map(|code| code.into_owned()).unwrap_or_default(),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => return Fault::Corrupt(text),
        _ => return Fault::Lost(text),
    };
    match code.as_str() {
        // deadlock, serialization failure
        "40001" | "40P01" => Fault::Again(text),
        // disk full
        "53100" => Fault::Full(text),
        // data exception, constraint, program limit
        code if ["22", "23", "54"]
            .iter()
            .any(|class| code.starts_with(class)) =>
        {
            Fault::Data(text)
        }
        // corrupted data or index
        "XX001" | "XX002" => Fault::Corrupt(text),
        _ => Fault::Lost(text),
    }
}

/// Takes over runs; the caller is inside a transaction.
pub(super) async fn claim(
    db: &mut PgConnection,
    daemon: DaemonId,
    limit: u32,
) -> Result<Vec<ClaimedRun>, Fault> {
    let now = super::calls::now(&mut *db).await?;
    super::calls::check_alive(&mut *db, daemon, now).await?;
    let rows = sqlx::query(CLAIM)
        .bind(daemon.to_string())
        .bind(i64::from(limit))
        .bind(now)
        .fetch_all(db)
        .await
        .map_err(fault)?;
    crate::store::commit::claimed(&rows)
}

/// A connection as the commit protocol sees it.
pub(super) struct PgDialect<'c> {
    pub(super) connection: &'c mut PgConnection,
}

impl PgDialect<'_> {
    async fn rows(&mut self, sql: &'static str, rows: String) -> Result<Vec<PgRow>, Fault> {
        sqlx::query(sql)
            .bind(rows)
            .fetch_all(&mut *self.connection)
            .await
            .map_err(fault)
    }

    async fn ids(&mut self, sql: &'static str, rows: String) -> Result<Vec<RunId>, Fault> {
        let rows = self.rows(sql, rows).await?;
        rows.iter()
            .map(|row| row.parsed("workflow_run_id"))
            .collect()
    }
}

impl Dialect for PgDialect<'_> {
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
        self.rows(LOCK_WORKFLOWS, rows.clone()).await?;
        let ids = self.ids(INSERT_RUNS, rows.clone()).await?;
        self.rows(ADVANCE_NUMBERS, rows).await?;
        Ok(ids)
    }

    async fn update_runs(&mut self, rows: String) -> Result<Vec<RunId>, Fault> {
        self.ids(UPDATE_RUNS, rows).await
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
            self.write_table(table, rows).await?;
        }
        match logs {
            Some(Lines { count, rows }) => self.append_logs(count, rows).await,
            None => Ok(()),
        }
    }
}

impl PgDialect<'_> {
    async fn write_table(&mut self, table: Table, rows: String) -> Result<(), Fault> {
        let statement = match table {
            Table::Job => WRITE_JOBS,
            Table::Task => WRITE_TASKS,
            Table::Attempt => WRITE_ATTEMPTS,
            Table::Io => WRITE_IO,
            Table::HostCall => WRITE_HOST_CALLS,
            Table::Consumed => CONSUME,
            Table::Ended => NOTE_ENDS,
        };
        sqlx::query(statement)
            .bind(rows)
            .execute(&mut *self.connection)
            .await
            .map(|_| ())
            .map_err(fault)
    }

    async fn append_logs(&mut self, count: i64, rows: String) -> Result<(), Fault> {
        let taken = sqlx::query(TAKE_EVENT_IDS)
            .bind(count)
            .fetch_one(&mut *self.connection)
            .await
            .map_err(fault)?;
        sqlx::query(APPEND_LOGS)
            .bind(rows)
            .bind(taken.int("value")?.saturating_sub(count))
            .execute(&mut *self.connection)
            .await
            .map(|_| ())
            .map_err(fault)
    }
}
