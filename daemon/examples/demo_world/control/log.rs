//! What was asked of the world: every request with its answer's status, credentials replaced by digests.

use std::collections::VecDeque;

use axum::http::{HeaderMap, Uri};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::watch;

use super::faults::Kind;
use super::rule::{Call, Rule};
use crate::fields::Fields;
use crate::guarded::Guarded;
use crate::picture::digest;

/// Requests remembered: a long simulation with thousands of runs still fits, a forgotten server stays small.
const REMEMBERED: usize = 20_000;
/// Body text kept of one request, in bytes: the longest article prompt fits.
const BODY_TEXT: usize = 64 * 1024;
/// Hex digits of a credential's digest: enough to compare with a known value, useless to guess from.
const DIGEST_DIGITS: usize = 16;
const SECRET_HEADERS: [&str; 5] = [
    "authorization",
    "cookie",
    "proxy-authorization",
    "x-goog-api-key",
    "x-amz-security-token",
];
const SECRET_QUERY: [&str; 3] = ["key", "access_token", "api_key"];

/// One request.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Counts from 1, also across a clearing of the log.
    pub number: u64,
    /// Arrival, RFC 3339.
    pub at: String,
    /// Section, method and path.
    #[serde(flatten)]
    pub call: Call,
    /// Query fields; a repeated name keeps its last value.
    pub query: Map<String, Value>,
    /// Headers in lower case; repeated values are joined by a comma.
    pub headers: Map<String, Value>,
    /// The body's text, cut at 64 KiB; absent if it is no text.
    pub body: Option<String>,
    /// Bytes of the whole body.
    pub body_bytes: usize,
    /// Digest of the whole body.
    pub body_sha256: String,
    /// The answer's status; absent while the request is under way and when the connection was dropped.
    pub status: Option<u16>,
    /// True once it was answered or dropped.
    pub done: bool,
    /// The fault that struck it.
    pub fault: Option<Kind>,
}

/// The log.
pub struct RequestLog {
    inner: Guarded<Inner>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Inner {
    entries: VecDeque<Entry>,
    last_number: u64,
}

impl Default for RequestLog {
    fn default() -> Self {
        Self {
            inner: Guarded::default(),
            changed: watch::Sender::new(()),
        }
    }
}

impl RequestLog {
    /// Writes a request down and numbers it.
    pub fn arrived(
        &self,
        call: &Call,
        uri: &Uri,
        headers: &HeaderMap,
        body: &[u8],
        at: DateTime<Utc>,
    ) -> u64 {
        let mut inner = self.inner.lock();
        inner.last_number += 1;
        let number = inner.last_number;
        if inner.entries.len() >= REMEMBERED {
            inner.entries.pop_front();
        }
        inner.entries.push_back(Entry {
            number,
            at: at.to_rfc3339_opts(SecondsFormat::Millis, true),
            call: call.clone(),
            query: shown_query(uri.query().unwrap_or_default()),
            headers: shown_headers(headers),
            body: shown_body(body),
            body_bytes: body.len(),
            body_sha256: digest(body),
            status: None,
            done: false,
            fault: None,
        });
        number
    }

    /// Completes an entry; one that was forgotten meanwhile stays so.
    pub fn answered(&self, number: u64, status: Option<u16>, fault: Option<Kind>) {
        let mut inner = self.inner.lock();
        if let Some(entry) = inner
            .entries
            .iter_mut()
            .rev()
            .find(|entry| entry.number == number)
        {
            entry.status = status;
            entry.fault = fault;
            entry.done = true;
        }
        drop(inner);
        self.changed.send_replace(());
    }

    /// Forgets all entries.
    pub fn clear(&self) {
        self.inner.lock().entries.clear();
    }

    /// The entries that the rule means, oldest first.
    pub fn list(&self, rule: &Rule) -> Vec<Entry> {
        self.inner
            .lock()
            .entries
            .iter()
            .filter(|entry| rule.matches(&entry.call))
            .cloned()
            .collect()
    }

    /// Returns when at least `count` requests that the rule means are done.
    pub async fn wait_for(&self, rule: &Rule, count: usize) {
        let mut changes = self.changed.subscribe();
        while self.list(rule).iter().filter(|entry| entry.done).count() < count {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

fn masked(secret: &str) -> String {
    let digest = digest(secret.as_bytes());
    format!("sha256:{}", digest.get(..DIGEST_DIGITS).unwrap_or_default())
}

fn shown_headers(headers: &HeaderMap) -> Map<String, Value> {
    let mut shown = Map::new();
    for name in headers.keys() {
        let values: Vec<String> = headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect();
        let value = values.join(", ");
        let value = if SECRET_HEADERS.contains(&name.as_str()) {
            match value.split_once(' ') {
                Some((scheme, secret)) => format!("{scheme} {}", masked(secret)),
                None => masked(&value),
            }
        } else {
            value
        };
        shown.insert(name.as_str().to_owned(), Value::String(value));
    }
    shown
}

fn shown_query(query: &str) -> Map<String, Value> {
    let fields = Fields::from_query(query);
    let shown = |(name, value): (&str, &str)| {
        let value = if SECRET_QUERY.contains(&name) {
            masked(value)
        } else {
            value.to_owned()
        };
        (name.to_owned(), Value::String(value))
    };
    fields.iter().map(shown).collect()
}

fn shown_body(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let mut end = text.len().min(BODY_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{RequestLog, Rule};
    use crate::control::rule::Call;
    use axum::http::{HeaderMap, HeaderValue, Method, Uri};
    use chrono::Utc;

    #[test]
    fn a_credential_never_appears_in_the_log() {
        let log = RequestLog::default();
        let uri: Uri = "/vision/v1/images:annotate?key=very-secret&a=b"
            .parse()
            .unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(
            "authorization",
            HeaderValue::from_static("Bearer very-secret"),
        );
        headers.insert("x-goog-api-key", HeaderValue::from_static("very-secret"));
        log.arrived(
            &Call::of(&Method::POST, &uri),
            &uri,
            &headers,
            b"{}",
            Utc::now(),
        );
        let text = serde_json::to_string(&log.list(&Rule::default())).unwrap();
        assert!(!text.contains("very-secret"), "{text}");
        assert!(text.contains("Bearer sha256:"), "{text}");
    }

    #[tokio::test]
    async fn waiting_ends_when_enough_requests_are_done() {
        let log = RequestLog::default();
        let uri: Uri = "/mall/x".parse().unwrap();
        let number = log.arrived(
            &Call::of(&Method::GET, &uri),
            &uri,
            &HeaderMap::new(),
            b"",
            Utc::now(),
        );
        log.answered(number, Some(200), None);
        log.wait_for(&Rule::default(), 1).await;
        assert_eq!(log.list(&Rule::default())[0].status, Some(200));
    }
}
