//! `[server]` and `[auth]`: where the API listens, how browsers see it, and how long they stay logged in.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units::Span;

/// The port that is taken where none is said.
const PORT: u16 = 8080;

/// `[server]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSection {
    /// The address and port of the API; empty: the socket in the state folder alone.
    pub listen: Listen,
    /// What browsers see, where a proxy stands before the daemon: `https://flow.example.com`.
    pub public_url: Option<PublicUrl>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// Connections at one time; more wait in the kernel's line.
    pub connections: NonZeroU32,
}

impl Default for ServerSection {
    fn default() -> Self {
        Self {
            listen: Listen(Some(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)))),
            public_url: None,
            trusted_proxies: Vec::new(),
            // A descriptor and some 20 KiB each; browsers keep up to six.
            connections: NonZeroU32::MIN.saturating_add(1_023),
        }
    }
}

/// An address to listen on, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Listen(pub Option<SocketAddr>);

impl TryFrom<String> for Listen {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "" => Ok(Self(None)),
            text => text.parse().map(Some).map(Self).map_err(
                |_| "an address and a port, like \"127.0.0.1:8080\" or \"[::]:8080\"; \"\" listens on no port",
            ),
        }
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> Self {
        listen
            .0
            .map(|address| address.to_string())
            .unwrap_or_default()
    }
}

/// Scheme, host and port as a browser names them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicUrl(String);

impl PublicUrl {
    /// As the header `Origin` has it.
    pub fn origin(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PublicUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let rule = "a URL without a path, like \"https://flow.example.com\"";
        let url = url::Url::parse(&text).map_err(|error| format!("{rule}: {error}"))?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let plain = url.username().is_empty() && url.password().is_none();
        match (url.scheme(), bare && plain) {
            ("http" | "https", true) => Ok(Self(url.origin().ascii_serialization())),
            _ => Err(rule.to_owned()),
        }
    }
}

impl From<PublicUrl> for String {
    fn from(url: PublicUrl) -> Self {
        url.0
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `[auth]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSection {
    /// A browser that does nothing is logged out after this long.
    pub session_idle: Span,
    /// Every browser is logged out after this long.
    pub session_life: Span,
}

impl Default for AuthSection {
    fn default() -> Self {
        Self {
            // A meeting.
            session_idle: Span(Duration::from_secs(2 * 3600)),
            // A working day.
            session_life: Span(Duration::from_secs(12 * 3600)),
        }
    }
}
