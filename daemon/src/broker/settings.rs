//! What the operator decides about the brokers. Reading `flowweaver.toml` is `config`'s work.

use super::http::address::Network;
use super::http::{Hosts, HttpLimits};

/// The brokers' settings. The default reaches public addresses and no database.
#[derive(Debug, Clone, Default)]
pub struct BrokerSettings {
    /// `[network] allow`, and the daemon's own ports.
    pub network: Network,
    /// `[network] hosts`: fixed addresses of names, checked like any others.
    pub hosts: Hosts,
    /// What an attempt may use of HTTP.
    pub http: HttpLimits,
}

/// Why the brokers cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// There is no runtime for the effects to run on.
    #[error("the brokers must be made on a tokio runtime")]
    NoRuntime,
}
