//! The databases that the operator configured, checked once at start.
//!
//! What a task may do with one is its grant, cut down to what is said here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::policy::Allowed;
use crate::broker::error::Refusal;
use crate::id::{DatabaseName, OrganizationId};
use crate::workflow::grant::{SqlGrant, SqlMode};

/// One `[databases.<name>]`.
#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    /// The name that grants use.
    pub name: DatabaseName,
    /// `sqlite:` and a path. A URL may hold a password, so it never prints itself.
    pub url: SecretString,
    /// The most that any grant gives.
    pub mode: SqlMode,
    /// The most tables that any grant gives; none: whatever the grants say.
    pub tables: Option<Vec<String>>,
    /// How long one query may compute.
    pub timeout: Duration,
    /// Who may use it; none: the root organization only.
    pub organizations: Option<BTreeSet<OrganizationId>>,
}

/// Why a configured database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Its URL is not one that the broker understands.
    #[error(
        "[databases.{name}] url: only `sqlite:<path>` can be used by tasks, without parameters, not `{scheme}`"
    )]
    Scheme {
        /// The database.
        name: DatabaseName,
        /// What was written before the first colon.
        scheme: String,
    },
    /// Two databases have one name.
    #[error("[databases.{0}] is written twice")]
    Twice(DatabaseName),
    /// It is the daemon's own store.
    #[error("[databases.{0}] url: this is the daemon's own store, which no task may reach")]
    Own(DatabaseName),
}

/// A database as configured.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) name: DatabaseName,
    pub(super) path: Arc<Path>,
    pub(super) timeout: Duration,
    mode: SqlMode,
    tables: Option<BTreeSet<String>>,
    organizations: Option<BTreeSet<OrganizationId>>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Databases {
    by_name: BTreeMap<DatabaseName, Arc<Database>>,
    /// The files of the daemon's own store.
    own: Vec<PathBuf>,
}

impl Databases {
    pub(super) fn new(
        settings: Vec<DatabaseSettings>,
        own: Vec<PathBuf>,
    ) -> Result<Self, DatabaseError> {
        let mut by_name = BTreeMap::new();
        for database in settings {
            let name = database.name.clone();
            let path = sqlite_path(&database)?;
            if own.iter().any(|own| is_same_file(own, &path)) {
                return Err(DatabaseError::Own(name));
            }
            let database = Database {
                name: name.clone(),
                path: path.into(),
                timeout: database.timeout,
                mode: database.mode,
                tables: database
                    .tables
                    .map(|tables| tables.iter().map(|table| normal(table)).collect()),
                organizations: database.organizations,
            };
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
        // A link may have been moved since the start.
        if self.own.iter().any(|own| is_same_file(own, &found.path)) {
            return Err(Refusal::permanent(
                "sql.denied",
                format!("`{name}` is the daemon's own store"),
            ));
        }
        Ok(found)
    }
}

impl Database {
    /// What the grant gives here, within what the operator allows.
    pub(super) fn allowed(&self, grant: &SqlGrant) -> (Allowed, SqlMode) {
        let granted = grant
            .tables
            .iter()
            .map(|table| normal(table))
            .filter(|table| !table.starts_with("sqlite_"));
        let tables = match &self.tables {
            Some(most) => granted.filter(|table| most.contains(table)).collect(),
            None => granted.collect(),
        };
        (Allowed { tables }, self.mode.min(grant.mode))
    }
}

/// A table's name as the policy compares it. SQLite's own schema is `main`; its own tables are
/// never granted.
fn normal(table: &str) -> String {
    let lower = table.to_ascii_lowercase();
    match lower.strip_prefix("main.") {
        Some(name) => name.to_owned(),
        None => lower,
    }
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
    if path.is_empty() || path.starts_with(':') || path.contains('?') {
        return Err(wrong());
    }
    Ok(PathBuf::from(path))
}

/// By what the file is, not by how it is called: a link of either kind is the same file.
fn is_same_file(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (std::fs::metadata(one), std::fs::metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        // What does not exist yet can only be told by its path.
        _ => std::path::absolute(one).ok() == std::path::absolute(other).ok(),
    }
}
