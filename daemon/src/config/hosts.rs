//! `[hosts."NAME"]`: how often, and how many at once, tasks may ask a host. What waits how is the
//! HTTP broker's business.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Host;

use crate::units::Span;
use crate::workflow::grant::HostPattern;

/// A longer period is a slip of the pen, and none lets a sum of times leave their range.
const PERIOD_MAX: Duration = Duration::from_secs(366 * 24 * 3_600);

/// A host, or `*.` and a domain: all hosts below it, which then share the limit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostKey(String);

impl HostKey {
    /// The hosts that it names, as a request's URL names them.
    pub fn pattern(&self) -> HostPattern {
        match self.0.strip_prefix('*') {
            Some(suffix) => HostPattern::Suffix(suffix.to_owned()),
            None => HostPattern::Exact(self.0.clone()),
        }
    }
}

/// A text that names no host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a host, like \"api.example.com\", \"*.example.com\" or \"10.0.0.5\"")]
pub struct InvalidHost(String);

impl TryFrom<String> for HostKey {
    type Error = InvalidHost;
    fn try_from(text: String) -> Result<Self, InvalidHost> {
        let wrong = || InvalidHost(text.chars().take(80).collect());
        let (star, name) = match text.strip_prefix("*.") {
            Some(name) => ("*.", name),
            None => ("", text.as_str()),
        };
        // The parser that requests go through, so that both spell a name alike.
        let host = Host::parse(name)
            .ok()
            .filter(|_| !name.contains('*'))
            .ok_or_else(wrong)?;
        if !star.is_empty() && !matches!(host, Host::Domain(_)) {
            return Err(wrong());
        }
        Ok(Self(format!("{star}{host}")))
    }
}

impl From<HostKey> for String {
    fn from(key: HostKey) -> Self {
        key.0
    }
}

/// `"60/1m"`: so many calls in each period, evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct CallRate {
    /// At least 1.
    pub calls: u32,
    /// More than none, at most a year.
    pub per: Duration,
}

/// A text that is no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a rate, like \"60/1m\" or \"5/1s\"")]
pub struct InvalidRate(String);

impl FromStr for CallRate {
    type Err = InvalidRate;
    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let parsed = text.split_once('/').and_then(|(calls, per)| {
            let calls = calls.trim().parse::<u32>().ok()?;
            let Span(per) = per.parse().ok()?;
            (calls > 0 && !per.is_zero() && per <= PERIOD_MAX).then_some(Self { calls, per })
        });
        parsed.ok_or_else(|| InvalidRate(text.chars().take(40).collect()))
    }
}

impl TryFrom<String> for CallRate {
    type Error = InvalidRate;
    fn try_from(text: String) -> Result<Self, InvalidRate> {
        text.parse()
    }
}

impl fmt::Display for CallRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.calls, Span(self.per))
    }
}

impl From<CallRate> for String {
    fn from(rate: CallRate) -> Self {
        rate.to_string()
    }
}

/// `[hosts."NAME"]`, with at least one limit.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Written")]
pub struct HostSection {
    /// How often. None: as often as tasks ask.
    pub rate: Option<CallRate>,
    /// How many may go at once after a pause; then evenly by `rate`.
    pub burst: u32,
    /// How many at once, from sending to the last byte of the answer. None: any.
    pub concurrent: Option<u32>,
}

/// As it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    rate: Option<CallRate>,
    burst: Option<u32>,
    concurrent: Option<u32>,
}

impl TryFrom<Written> for HostSection {
    type Error = &'static str;
    fn try_from(written: Written) -> Result<Self, &'static str> {
        if written.rate.is_none() && written.concurrent.is_none() {
            return Err("a host's limit is a `rate`, `concurrent`, or both");
        }
        if written.rate.is_none() && written.burst.is_some() {
            return Err("`burst` needs a `rate`");
        }
        if written.burst == Some(0) || written.concurrent == Some(0) {
            return Err("a limit of 0 would let nothing through; it is at least 1");
        }
        Ok(Self {
            rate: written.rate,
            burst: written.burst.unwrap_or(1),
            concurrent: written.concurrent,
        })
    }
}
