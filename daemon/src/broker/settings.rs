//! What the operator decides about the brokers. Reading `flowweaver.toml` is `config`'s work.

use super::http::address::Network;
use super::http::{Hosts, HttpLimits};
use super::sql::{DatabaseError, DatabaseSettings, SqlLimits};

/// The brokers' settings. The default reaches public addresses and no database.
#[derive(Debug, Clone, Default)]
pub struct BrokerSettings {
    /// `[network] allow`, and the daemon's own ports.
    pub network: Network,
    /// `[network] hosts`: fixed addresses of names, checked like any others.
    pub hosts: Hosts,
    /// What an attempt may use of HTTP.
    pub http: HttpLimits,
    /// `[databases.<name>]`.
    pub databases: Vec<DatabaseSettings>,
    /// What an attempt may use of SQL.
    pub sql: SqlLimits,
    /// The files of the daemon's own store, which no task may reach as a database.
    pub own_files: Vec<std::path::PathBuf>,
}

/// Why the brokers cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// A configured database cannot be used.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// There is no runtime for the effects to run on.
    #[error("the brokers must be made on a tokio runtime")]
    NoRuntime,
}
