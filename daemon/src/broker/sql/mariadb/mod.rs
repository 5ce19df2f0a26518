//! MariaDB as a target, through sqlx's connections and the binary protocol.
//!
//! Every session has a connection of its own, which is closed with it. MariaDB's way to clean one
//! (`COM_RESET_CONNECTION`) is not in sqlx, and without it user variables, temporary tables, locks and
//! `last_insert_id()` of one guest would meet the next. sqlx always negotiates several statements in
//! one text, so a guest's statement is always prepared, which takes exactly one: only text of our own
//! goes the other way.

mod columns;
mod errors;
mod link;
mod parameters;
mod privileges;

use std::fmt;
use std::str::FromStr as _;
use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, MySqlConnection, Row as _};
use tokio::runtime::Handle;

use super::own::Own;
use super::server::{self, Beside, Finding, Strange, unreachable};
use super::session::Session;
use crate::broker::error::Refusal;
use crate::id::DatabaseName;
use errors::Facts;
use link::MyLink;

/// The server and database of one `[databases.<name>]`.
pub(super) struct Server {
    name: DatabaseName,
    options: MySqlConnectOptions,
    user: String,
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
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    server: String,
    database: Option<String>,
}

impl Server {
    /// A server that nothing is connected to yet. Errors: why the URL cannot be used, without its text.
    pub(super) fn new(name: &DatabaseName, url: &SecretString, own: &Own) -> Result<Self, String> {
        let (options, user) = options(url)?;
        Ok(Self {
            name: name.clone(),
            options,
            user,
            strange: Strange::new(own),
        })
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            name: self.name.as_str(),
            user: &self.user,
        }
    }
}

impl Beside for Server {
    type Connection = MySqlConnection;

    async fn connect(&self) -> Result<MySqlConnection, Refusal> {
        let lost = |error: &sqlx::Error| self.facts().lost(error);
        server::connected(&self.name, self.options.connect(), lost).await
    }

    async fn compare(&self, connection: &mut MySqlConnection) -> Result<(), Refusal> {
        let is_own = async {
            let Some((own, _)) = self.strange.own().map(options).and_then(Result::ok) else {
                return Ok(false);
            };
            let lost = |error: sqlx::Error| self.facts().lost(&error);
            let mine = identity(connection).await.map_err(lost)?;
            let mut store = own.connect().await.map_err(lost)?;
            let theirs = identity(&mut store).await.map_err(lost)?;
            let _ = store.close().await;
            Ok(mine == theirs)
        };
        // Boxed: two connections are large, and asked for once.
        Box::pin(self.strange.tell(&self.name, is_own)).await
    }

    async fn look(
        &self,
        connection: &mut MySqlConnection,
        tables: &[String],
        writes: bool,
    ) -> Result<Vec<Finding>, Refusal> {
        let findings = privileges::look(connection, tables, writes).await;
        findings.map_err(|error| self.facts().lost(&error))
    }
}

/// Has a session run.
pub(super) fn spawn(session: Session, server: &Arc<Server>, runtime: &Handle) {
    server::spawn::<MyLink>(session, server, runtime);
}

/// What a URL asks for, and the user in it. Its text, which may hold a password, is in no error.
fn options(url: &SecretString) -> Result<(MySqlConnectOptions, String), String> {
    let url = url.expose_secret();
    if !url.starts_with("mysql://") && !url.starts_with("mariadb://") {
        return Err("it does not begin with `mariadb://` or `mysql://`".to_owned());
    }
    let wrong = || "it is not a URL, or one of its options is not known".to_owned();
    let parsed = url::Url::parse(url).map_err(|_| wrong())?;
    if parsed.path().trim_matches('/').is_empty() {
        return Err("it names no database".to_owned());
    }
    let user = parsed.username().to_owned();
    let options = MySqlConnectOptions::from_str(url)
        .map_err(|_| wrong())?
        .charset("utf8mb4")
        .timezone(None)
        // Both are part of the modes that a session sets for itself.
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        // A connection sees a handful of statements, each once or in a batch.
        .statement_cache_capacity(4)
        // Guests' statements hold what they like; the log is not the place for it.
        .disable_statement_logging();
    Ok((options, user))
}

/// Asked of the server itself. Before 10.5.26 and its contemporaries there is no `server_uid`: the
/// machine, the data folder and the port tell servers apart.
async fn identity(connection: &mut MySqlConnection) -> Result<Identity, sqlx::Error> {
    const UID: &str = "show variables like 'server_uid'";
    const PLACE: &str =
        "select concat(@@hostname, ' ', @@port, ' ', @@datadir), cast(null as char)";
    const DATABASE: &str = "select database()";
    let uid = sqlx::query(UID).fetch_optional(&mut *connection).await?;
    let server = match uid {
        Some(row) => row.try_get(1)?,
        None => sqlx::query(PLACE)
            .fetch_one(&mut *connection)
            .await?
            .try_get(0)?,
    };
    let database = sqlx::query_scalar(DATABASE)
        .fetch_one(&mut *connection)
        .await?;
    Ok(Identity { server, database })
}
