//! Bringing the tables up to date, where every change of a table commits by itself.
//!
//! A start that is cut off in the middle leaves some tables made and its migration noted as begun. The
//! statements of a migration may be repeated, so the next start forgets that note and begins it again.

use std::sync::LazyLock;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::mysql::MySqlConnection;

use super::dialect::fault;
use crate::store::commit::Fault;

/// How long a start waits for another daemon's start: a new database takes seconds on a slow disk.
const TURN: Duration = Duration::from_secs(60);

static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrations = sqlx::migrate!("migrations/mariadb");
    // sqlx would ask for a lock with a wait of -1, which MariaDB answers at once with null: it locks nothing.
    migrations.set_locking(false);
    migrations
});

/// A lock of the whole server is named by what it is for.
const LOCK: &str = "select get_lock(concat('flowweaver ', md5(database())), ?)";
const UNLOCK: &str = "do release_lock(concat('flowweaver ', md5(database())))";

/// Whether there is a note of migrations, and whether there is anything else.
const THERE: &str = "select cast(coalesce(sum(table_name = '_sqlx_migrations'), 0) as signed), \
    cast(coalesce(sum(table_name <> '_sqlx_migrations'), 0) as signed) \
    from information_schema.tables where table_schema = database()";

/// Forgets that one of our own migrations has begun.
const FORGET: &str =
    "delete from _sqlx_migrations where success = false and version = ? and checksum = ?";

/// Makes or changes the tables, one daemon at a time.
///
/// # Errors
/// `Lost` when another daemon holds the lock for too long, `Data` when the database holds tables of someone
/// else, `Corrupt` when they are of a later version.
pub(super) async fn run(connection: &mut MySqlConnection) -> Result<(), Fault> {
    let turn: Option<i64> = sqlx::query_scalar(LOCK)
        .bind(TURN.as_secs())
        .fetch_one(&mut *connection)
        .await
        .map_err(fault)?;
    if turn != Some(1) {
        return Err(Fault::Lost(format!(
            "another daemon has been bringing the tables up to date for {} s",
            TURN.as_secs()
        )));
    }
    let result = migrate(&mut *connection).await;
    // The lock also ends with the connection, which is closed next.
    let unlocked = super::dialect::step(connection, UNLOCK).await;
    result.and(unlocked)
}

async fn migrate(connection: &mut MySqlConnection) -> Result<(), Fault> {
    let (noted, others): (i64, i64) = sqlx::query_as(THERE)
        .fetch_one(&mut *connection)
        .await
        .map_err(fault)?;
    if noted == 0 && others > 0 {
        return Err(Fault::Data(
            "the database of the store's URL holds tables that are not FlowWeaver's: give the store one of its own".into(),
        ));
    }
    if noted > 0 {
        for migration in MIGRATIONS.iter() {
            sqlx::query(FORGET)
                .bind(migration.version)
                .bind(migration.checksum.as_ref())
                .execute(&mut *connection)
                .await
                .map_err(fault)?;
        }
    }
    MIGRATIONS
        .run_direct(None, connection, false)
        .await
        .map_err(|error| match error {
            MigrateError::Execute(e) | MigrateError::ExecuteMigration(e, _) => fault(e),
            other => Fault::Corrupt(other.to_string()),
        })
}
