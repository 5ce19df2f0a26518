//! PostgreSQL as a target, through sqlx's pool and its binary protocol.
//!
//! Every session is one transaction, read-only unless it may write. Its settings come with the
//! connection's start, so that `discard all` at its end brings back exactly those: no schema but
//! `public`, UTC, standard strings. `link` runs statements, `parameters` and `columns` carry values.

mod columns;
mod errors;
mod link;
mod numeric;
mod parameters;
mod privileges;
mod time;

use std::fmt;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, Postgres};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, Row as _};
use tokio::runtime::Handle;

use super::own::Own;
use super::server::{self, Beside, CONNECT_TIME, Finding, Strange, unreachable};
use super::session::Session;
use crate::broker::error::Refusal;
use crate::id::DatabaseName;
use errors::Facts;
use link::PgLink;

/// How long a connection that nobody uses stays open: a run's tasks follow each other faster.
const IDLE_TIME: Duration = Duration::from_secs(60);
/// How old a connection gets: a server's memory for one grows, and addresses change.
const LIFE_TIME: Duration = Duration::from_secs(30 * 60);

/// Settings that every session begins with, whatever the role's or the database's own are.
const SETTINGS: &[(&str, &str)] = &[
    // No `$user`, and temporary tables last: a name means the same for everybody.
    ("search_path", "public,pg_temp"),
    ("default_transaction_read_only", "on"),
    ("default_transaction_isolation", "read committed"),
    ("standard_conforming_strings", "on"),
    ("backslash_quote", "safe_encoding"),
    ("bytea_output", "hex"),
    ("intervalstyle", "postgres"),
    ("extra_float_digits", "1"),
    ("xmloption", "content"),
    ("row_security", "on"),
    // A cursor's plan is otherwise made for its first tenth.
    ("cursor_tuple_fraction", "1.0"),
];

/// The server and database of one `[databases.<name>]`.
pub(super) struct Server {
    name: DatabaseName,
    options: PgConnectOptions,
    pool: PgPool,
    strange: Strange,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The options hold a password.
        f.debug_struct("Server")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Which database of which server: what they say themselves, not how they were reached.
#[derive(Debug)]
struct Identity {
    /// Only some roles may read it; a copy of the server has the same.
    system: Option<String>,
    /// When the server started, to the microsecond: any role may ask.
    started: String,
    database: i64,
}

impl Identity {
    /// By whatever both roles could tell.
    fn is_same(&self, other: &Self) -> bool {
        let copied = self.system.is_some() && self.system == other.system;
        self.database == other.database && (copied || self.started == other.started)
    }
}

impl Server {
    /// A server that nothing is connected to yet. Errors: why the URL cannot be used, without its text.
    pub(super) fn new(
        name: &DatabaseName,
        url: &SecretString,
        connections: u32,
        own: &Own,
    ) -> Result<Self, String> {
        let options = options(url)?;
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(CONNECT_TIME)
            .idle_timeout(IDLE_TIME)
            .max_lifetime(LIFE_TIME)
            .connect_lazy_with(options.clone());
        Ok(Self {
            name: name.clone(),
            options,
            pool,
            strange: Strange::new(own),
        })
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            name: self.name.as_str(),
            user: self.options.get_username(),
        }
    }

    /// A connection from the pool.
    async fn acquire(&self) -> Result<PoolConnection<Postgres>, Refusal> {
        let acquired = self.pool.acquire().await;
        let mut connection = acquired.map_err(|error| self.facts().lost(&error))?;
        self.compare(&mut connection).await?;
        Ok(connection)
    }
}

impl Beside for Server {
    type Connection = PgConnection;

    /// Beside the pool, which may be exhausted.
    async fn connect(&self) -> Result<PgConnection, Refusal> {
        let lost = |error: &sqlx::Error| self.facts().lost(error);
        server::connected(&self.name, self.options.connect(), lost).await
    }

    async fn compare(&self, connection: &mut PgConnection) -> Result<(), Refusal> {
        let is_own = async {
            let Some(own) = self.strange.own().map(options).and_then(Result::ok) else {
                return Ok(false);
            };
            let lost = |error: sqlx::Error| self.facts().lost(&error);
            let mine = identity(connection).await.map_err(lost)?;
            let mut store = own.connect().await.map_err(lost)?;
            let theirs = identity(&mut store).await.map_err(lost)?;
            let _ = store.close().await;
            Ok(mine.is_same(&theirs))
        };
        // Boxed: two connections are large, and asked for once.
        Box::pin(self.strange.tell(&self.name, is_own)).await
    }

    async fn look(
        &self,
        connection: &mut PgConnection,
        tables: &[String],
        writes: bool,
    ) -> Result<Vec<Finding>, Refusal> {
        let findings = privileges::look(connection, tables, writes).await;
        findings.map_err(|error| self.facts().lost(&error))
    }
}

/// Has a session run.
pub(super) fn spawn(session: Session, server: &Arc<Server>, runtime: &Handle) {
    server::spawn::<PgLink>(session, server, runtime);
}

/// What a URL asks for, and what every connection has. Its text, which may hold a password, is in no error.
fn options(url: &SecretString) -> Result<PgConnectOptions, String> {
    let url = url.expose_secret();
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err("it does not begin with `postgres://`".to_owned());
    }
    let parsed = PgConnectOptions::from_str(url)
        .map_err(|_| "it is not a URL, or one of its options is not known".to_owned())?;
    if parsed.get_database().is_none_or(str::is_empty) {
        return Err("it names no database".to_owned());
    }
    Ok(parsed
        .options(SETTINGS.iter().copied())
        .application_name("flowweaver")
        // Guests' statements hold what they like; the log is not the place for it.
        .disable_statement_logging())
}

/// Asked of the server itself.
async fn identity(connection: &mut PgConnection) -> Result<Identity, sqlx::Error> {
    const SYSTEM: &str = "select system_identifier::text from pg_control_system()";
    const START: &str = "select extract(epoch from pg_postmaster_start_time())::text, \
        (select oid::int8 from pg_database where datname = current_database()), \
        has_function_privilege('pg_control_system()', 'execute')";
    let row = sqlx::query(START)
        .persistent(false)
        .fetch_one(&mut *connection)
        .await?;
    let system = if row.try_get(2)? {
        let asked = sqlx::query_scalar(SYSTEM).persistent(false);
        Some(asked.fetch_one(&mut *connection).await?)
    } else {
        None
    };
    Ok(Identity {
        system,
        started: row.try_get(0)?,
        database: row.try_get(1)?,
    })
}
