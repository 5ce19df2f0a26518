//! The databases that the operator configured, checked once at start.
//!
//! What a task may do with one is its grant, cut down to what is said here. Which driver speaks to
//! which database is decided here too; how, is the drivers' business.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::own::Own;
use super::policy::{Allowed, Dialect, table_name};
use super::server::{Beside as _, Finding};
use super::session::{Session, TimeLimit};
use super::{mariadb, postgres, sqlite};
use crate::broker::error::Refusal;
use crate::id::{DatabaseName, OrganizationId};
use crate::workflow::grant::{SqlGrant, SqlMode};

/// How long the start waits for the tasks' servers: recovery waits meanwhile, and one that answers at all
/// does so faster. The check before the first statement waits as long as it needs.
const START_TIME: Duration = Duration::from_secs(1);

/// One `[databases.<name>]`.
#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    /// The name that grants use.
    pub name: DatabaseName,
    /// `sqlite:` and a path, `postgres://…`, `mariadb://…`. A URL may hold a password, so it never prints itself.
    pub url: SecretString,
    /// The most that any grant gives.
    pub mode: SqlMode,
    /// The most tables that any grant gives; none: whatever the grants say.
    pub tables: Option<Vec<String>>,
    /// How long the database may compute for one call.
    pub timeout: Duration,
    /// Connections at one time, of all attempts together.
    pub connections: usize,
    /// Who may use it; none: the root organization only.
    pub organizations: Option<BTreeSet<OrganizationId>>,
}

/// Why a configured database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Its URL is not one that the broker understands.
    #[error(
        "[databases.{name}] url: `sqlite:<path>` without parameters, `postgres://…` or `mariadb://…` can be used by tasks, not `{scheme}`"
    )]
    Scheme {
        /// The database.
        name: DatabaseName,
        /// What was written before the first colon.
        scheme: String,
    },
    /// Its URL leads to a server, but not to a database.
    #[error("[databases.{name}] url: {why}")]
    Url {
        /// The database.
        name: DatabaseName,
        /// What is wrong with it, without its text.
        why: String,
    },
    /// Two databases have one name.
    #[error("[databases.{0}] is written twice")]
    Twice(DatabaseName),
    /// It opens a table of the daemon's own store.
    #[error(
        "[databases.{name}] tables: `{table}` is of the daemon's own store, which no task may reach"
    )]
    OwnTable {
        /// The database.
        name: DatabaseName,
        /// The table.
        table: String,
    },
    /// It is the daemon's own store.
    #[error("[databases.{0}] url: this is the daemon's own store, which no task may reach")]
    Own(DatabaseName),
}

/// Where a database is, and so who speaks to it.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// A file.
    Sqlite(Arc<Path>),
    /// A PostgreSQL server.
    Postgres(Arc<postgres::Server>),
    /// A MariaDB server.
    MariaDb(Arc<mariadb::Server>),
}

impl Target {
    /// Where the settings point. Nothing is connected.
    pub(super) fn new(settings: &DatabaseSettings, own: &Own) -> Result<Self, DatabaseError> {
        let (name, url) = (&settings.name, settings.url.expose_secret());
        let is_own = || DatabaseError::Own(name.clone());
        let wrong = |why| DatabaseError::Url {
            name: name.clone(),
            why,
        };
        let server = match url.split_once("://").map_or("", |(scheme, _)| scheme) {
            "postgres" | "postgresql" => {
                let connections = u32::try_from(settings.connections).unwrap_or(u32::MAX);
                let server = postgres::Server::new(name, &settings.url, connections, own);
                Self::Postgres(Arc::new(server.map_err(wrong)?))
            }
            "mariadb" | "mysql" => {
                let server = mariadb::Server::new(name, &settings.url, own);
                Self::MariaDb(Arc::new(server.map_err(wrong)?))
            }
            _ => {
                let path = sqlite_path(settings)?;
                return match own.is_file(&path) {
                    true => Err(is_own()),
                    false => Ok(Self::Sqlite(path.into())),
                };
            }
        };
        // What the URL says is looked at now, what the server says it is when it answers.
        if own.is_server(url) {
            return Err(is_own());
        }
        Ok(server)
    }

    /// Asks a server whether it is the daemon's own store. Errors: `sql.denied`, or why it cannot be told.
    async fn is_strange(&self) -> Result<(), Refusal> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(server) => server.is_strange().await,
            Self::MariaDb(server) => server.is_strange().await,
        }
    }

    /// How it reads statements.
    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
            Self::MariaDb(_) => Dialect::MariaDb,
        }
    }

    /// Has a session run, on threads and tasks of its own.
    pub(super) fn spawn(&self, session: Session, runtime: &Handle) {
        match self {
            Self::Sqlite(path) => sqlite::spawn(session, path.clone(), runtime),
            Self::Postgres(server) => postgres::spawn(session, server, runtime),
            Self::MariaDb(server) => mariadb::spawn(session, server, runtime),
        }
    }
}

/// A database as configured.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) name: DatabaseName,
    pub(super) target: Target,
    pub(super) timeout: Duration,
    /// Its connections.
    pub(super) connections: Arc<Semaphore>,
    pub(super) mode: SqlMode,
    pub(super) tables: Option<BTreeSet<String>>,
    /// The name of the daemon's own schema, if its tables could be named from here.
    own_schema: Option<String>,
    organizations: Option<BTreeSet<OrganizationId>>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Databases {
    by_name: BTreeMap<DatabaseName, Arc<Database>>,
    own: Own,
}

impl Databases {
    pub(super) fn new(settings: Vec<DatabaseSettings>, own: Own) -> Result<Self, DatabaseError> {
        let mut by_name = BTreeMap::new();
        for database in settings {
            let name = database.name.clone();
            let target = Target::new(&database, &own)?;
            let tables = database.tables.map(|tables| {
                let normal = |table: &String| table_name(target.dialect(), table);
                tables.iter().filter_map(normal).collect()
            });
            let own_schema = own.schema(target.dialect());
            let database = Database {
                name: name.clone(),
                own_schema,
                target,
                timeout: database.timeout,
                connections: Arc::new(Semaphore::new(database.connections)),
                mode: database.mode,
                tables,
                organizations: database.organizations,
            };
            if let Some(table) = database
                .tables
                .iter()
                .flatten()
                .find(|t| database.is_own(t))
            {
                let table = table.clone();
                return Err(DatabaseError::OwnTable { name, table });
            }
            if by_name.insert(name.clone(), Arc::new(database)).is_some() {
                return Err(DatabaseError::Twice(name));
            }
        }
        Ok(Self { by_name, own })
    }

    /// A database by name. Another organization's looks the same as one that does not exist.
    pub(super) fn find(
        &self,
        name: &DatabaseName,
        organization: OrganizationId,
    ) -> Result<Arc<Database>, Refusal> {
        let usable = |database: &&Arc<Database>| match &database.organizations {
            Some(owners) => owners.contains(&organization),
            None => organization == OrganizationId::ROOT,
        };
        let found = self.by_name.get(name).filter(usable).cloned();
        let found = found.ok_or_else(|| {
            Refusal::permanent(
                "sql.unknown-database",
                format!("there is no database `{name}`"),
            )
        })?;
        self.is_strange(&found)?;
        Ok(found)
    }

    /// Asks every server, all at once, whether it is the daemon's own store. One that does not answer
    /// now is asked again before its first statement.
    pub(super) async fn are_strange(&self) -> Result<(), DatabaseError> {
        let ask = |database: &Arc<Database>| {
            let database = database.clone();
            async move {
                let answer = timeout(START_TIME, database.target.is_strange()).await;
                let late = |_| tracing::warn!(database = %database.name, "a database for tasks does not answer at the start");
                (
                    database.name.clone(),
                    answer.map_err(late).unwrap_or(Ok(())),
                )
            }
        };
        for (name, answer) in join_all(self.by_name.values().map(ask)).await {
            match answer {
                Err(refusal) if refusal.code == "sql.denied" => {
                    return Err(DatabaseError::Own(name));
                }
                // Its own warning stands in the log.
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Whether a database is none of the daemon's own: a link may have been moved since the start.
    pub(super) fn is_strange(&self, database: &Database) -> Result<(), Refusal> {
        if let Target::Sqlite(path) = &database.target
            && self.own.is_file(path)
        {
            let message = format!("`{}` is the daemon's own store", database.name);
            return Err(Refusal::permanent("sql.denied", message));
        }
        Ok(())
    }
}

impl Database {
    /// How long it may compute for one call.
    pub(super) fn time(&self) -> TimeLimit {
        TimeLimit {
            database: self.name.clone(),
            most: self.timeout,
        }
    }

    /// What the grant gives here, within what the operator allows.
    pub(super) fn allowed(&self, grant: &SqlGrant) -> Allowed {
        let dialect = self.target.dialect();
        let granted = grant
            .tables
            .iter()
            .filter_map(|table| table_name(dialect, table))
            .filter(|table| !self.is_own(table));
        let tables = match &self.tables {
            Some(most) => granted.filter(|table| most.contains(table)).collect(),
            None => granted.collect(),
        };
        Allowed {
            dialect,
            mode: self.mode.min(grant.mode),
            tables,
        }
    }

    /// Whether a table, in its compared form, stands in the daemon's own schema.
    pub(super) fn is_own(&self, table: &str) -> bool {
        let schema = table.split_once('.').map(|(schema, _)| schema);
        let folded = |name: &str| self.target.dialect().folded(name);
        match (schema, &self.own_schema) {
            (Some(schema), Some(own)) => folded(schema) == folded(own),
            _ => false,
        }
    }

    /// Whether the operator lets grants name this table.
    pub(super) fn opens(&self, table: &str) -> bool {
        self.tables.as_ref().is_none_or(|most| most.contains(table))
    }
}

/// What the role of a configured database may do that no task needs; nothing for a file. For
/// production a role may read, and write where tasks write, the tables that grants name.
///
/// # Errors
/// A setting that cannot be used, or a server that does not answer, as text for the operator.
pub async fn findings(settings: &DatabaseSettings) -> Result<Vec<Finding>, String> {
    let target = Target::new(settings, &Own::default()).map_err(|error| error.to_string())?;
    let tables = settings.tables.clone().unwrap_or_default();
    let writes = settings.mode == SqlMode::ReadWrite;
    let found = match &target {
        Target::Sqlite(_) => Ok(Vec::new()),
        Target::Postgres(server) => server.privileges(&tables, writes).await,
        Target::MariaDb(server) => server.privileges(&tables, writes).await,
    };
    found.map_err(|refusal| refusal.message)
}

fn sqlite_path(database: &DatabaseSettings) -> Result<PathBuf, DatabaseError> {
    let url = database.url.expose_secret();
    let wrong = || DatabaseError::Scheme {
        name: database.name.clone(),
        scheme: url
            .split(':')
            .next()
            .unwrap_or_default()
            .chars()
            .take(20)
            .collect(),
    };
    let path = url.strip_prefix("sqlite:").ok_or_else(wrong)?;
    let path = path.strip_prefix("//").unwrap_or(path);
    // SQLite reads `file:` as an address of its own, which the store's files are not compared with.
    if path.is_empty() || path.starts_with(':') || path.starts_with("file:") || path.contains('?') {
        return Err(wrong());
    }
    Ok(PathBuf::from(path))
}
