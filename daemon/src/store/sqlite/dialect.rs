//! What SQLite says differently: the claim, its clock and its errors.

use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::id::DaemonId;
use crate::store::cells::cells;
use crate::store::commit::Fault;
use crate::store::rows::ClaimedRun;

/// Takes the write lock at once: a later upgrade from reading could fail for a reader's sake.
pub(super) const BEGIN: &str = "begin immediate";
/// Makes the transaction durable.
pub(super) const COMMIT: &str = "commit";
/// Undoes the transaction.
pub(super) const ROLLBACK: &str = "rollback";

/// The database's clock in microseconds; SQLite knows milliseconds.
pub(super) const NOW: &str = "select cast(round(unixepoch('subsec') * 1000) as integer) * 1000";

/// Takes over runs without a live owner for daemon $1: at most $2, owners silent for longer than their lease
/// at $3 count as dead. Two halves, because each has an index of its own that holds nothing else; `indexed by`, because
/// without statistics SQLite thinks the index on the state narrower.
pub(super) const CLAIM: &str = r#"
update "workflow_run" set "owner" = $1, "lease_epoch" = "lease_epoch" + 1
where "workflow_run_id" in (select "workflow_run_id" from (
  select * from (select "workflow_run_id", "priority" from "workflow_run" indexed by "workflow_run_claim"
    where "owner" is null and "status" in ('queued', 'running', 'waiting', 'interrupted')
    order by "priority" desc, "workflow_run_id" limit $2)
  union all
  select * from (select "workflow_run_id", "priority" from "workflow_run" indexed by "workflow_run_owner"
    where "owner" in (select "daemon_id" from "daemon" where "gone_at" is not null or "seen_at" + "lease_us" < $3)
      and "status" in ('queued', 'running', 'waiting', 'interrupted')
    order by "priority" desc, "workflow_run_id" limit $2)
  ) order by "priority" desc, "workflow_run_id" limit $2)
returning "workflow_run_id", "lease_epoch", "priority""#;

cells!(SqliteRow);

/// One statement without parameters or rows.
pub(super) async fn step(
    connection: &mut SqliteConnection,
    statement: &'static str,
) -> Result<(), Fault> {
    sqlx::query(statement)
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(fault)
}

/// What an error of SQLite means, as sqlx hands it over.
pub(super) fn fault(error: sqlx::Error) -> Fault {
    let text = error.to_string();
    let code = match &error {
        sqlx::Error::Database(e) => e.code().and_then(|code| code.parse().ok()),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
            return Fault::Corrupt(text);
        }
        _ => None,
    };
    meaning(code, text)
}

/// What an error of SQLite means, as rusqlite hands it over.
pub(super) fn fault_of(error: rusqlite::Error) -> Fault {
    let text = error.to_string();
    match error {
        rusqlite::Error::SqliteFailure(code, _) => meaning(Some(code.extended_code), text),
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..) => Fault::Corrupt(text),
        _ => Fault::Lost(text),
    }
}

/// Codes: <https://sqlite.org/rescode.html>.
fn meaning(code: Option<i32>, text: String) -> Fault {
    // The low byte is the primary code, the rest says more about it.
    match code.map(|code| code & 0xff) {
        // generic error (a value that a statement cannot hold), too big, constraint, mismatch
        Some(1 | 18 | 19 | 20) => Fault::Data(text),
        // full
        Some(13) => Fault::Full(text),
        // corrupt, not a database
        Some(11 | 26) => Fault::Corrupt(text),
        _ => Fault::Lost(text),
    }
}

/// Takes over runs; the caller is inside a transaction.
pub(super) async fn claim(
    db: &mut SqliteConnection,
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
