//! What the operator decides about the brokers. Reading `flowweaver.toml` is `config`'s work.

use super::http::address::Network;
use super::http::{HostLimit, Hosts, HttpLimits};
use super::kv::KvQuota;
use super::sql::{DatabaseError, DatabaseSettings, Own, SqlLimits};

/// The brokers' settings. The default reaches public addresses and no database.
#[derive(Debug, Clone, Default)]
pub struct BrokerSettings {
    /// `[network] allow`, and the daemon's own ports.
    pub network: Network,
    /// Addresses of names in place of the machine's resolver, checked like any others.
    pub hosts: Hosts,
    /// `[hosts]`: how often, and how many at once, requests go to a host.
    pub host_limits: Vec<HostLimit>,
    /// What an attempt may use of HTTP.
    pub http: HttpLimits,
    /// `[databases.<name>]`.
    pub databases: Vec<DatabaseSettings>,
    /// What an attempt may use of SQL.
    pub sql: SqlLimits,
    /// What the key-value entries of one workflow may take.
    pub kv: KvQuota,
    /// The daemon's own store, which no task may reach as a database.
    pub own: Own,
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
