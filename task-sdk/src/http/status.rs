//! What a bad status means: the error, whether a retry may help, and when. Reading bodies is elsewhere.

use std::time::{Duration, SystemTime};

use serde_json::json;

use super::Response;
use crate::Error;

/// How much of the body an error keeps: enough for a service's own message, too little to flood a log.
pub(super) const EXCERPT_BYTES: u32 = 2048;

/// How much of it goes into the one sentence for people.
const EXCERPT_CHARS: usize = 200;

/// The error for a response with a status of 400 or more.
pub(super) fn error(response: &Response, excerpt: &[u8]) -> Error {
    let status = response.status();
    let body = String::from_utf8_lossy(excerpt);
    let shown: String = body
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(EXCERPT_CHARS)
        .collect();
    let mut message = format!("{} answered {status}", without_query(response.url()));
    if !shown.is_empty() {
        message = format!("{message}: {shown}");
    }
    let mut error = Error::permanent("http.status", message).with_details(
        json!({ "status": status, "url": without_query(response.url()), "body": body }),
    );
    error.retryable = may_pass(status);
    if error.retryable {
        error.retry_after = response
            .header("retry-after")
            .and_then(|wait| retry_after(wait, sent_at(response)));
    }
    error
}

/// Whether the same request may be answered differently later (RFC 9110 §15, RFC 8470, RFC 6585).
/// 501 and 505 speak of what the server cannot do at all.
fn may_pass(status: u16) -> bool {
    matches!(status, 408 | 425 | 429) || (status >= 500 && !matches!(status, 501 | 505))
}

/// Queries hold keys and personal data more often than paths do, and errors are kept for long.
fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or(url)
}

/// The server's own clock, by which its `retry-after` date is meant; ours when it does not tell.
fn sent_at(response: &Response) -> SystemTime {
    response
        .header("date")
        .and_then(|date| httpdate::parse_http_date(date).ok())
        .unwrap_or_else(SystemTime::now)
}

/// Seconds, or an HTTP date; a date in the past is no wait.
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_can_never_do_is_not_retried_and_what_may_pass_is() {
        for status in [400, 401, 403, 404, 409, 410, 422, 501, 505] {
            assert!(!may_pass(status), "{status}");
        }
        for status in [408, 425, 429, 500, 502, 503, 504, 529] {
            assert!(may_pass(status), "{status}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_by_the_servers_clock() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(retry_after(" 120 ", now), Some(Duration::from_secs(120)));
        assert_eq!(
            retry_after("Sun, 06 Nov 1994 08:50:07 GMT", now),
            Some(Duration::from_secs(30))
        );
        assert_eq!(
            retry_after("Sun, 06 Nov 1994 08:00:00 GMT", now),
            Some(Duration::ZERO)
        );
        assert_eq!(retry_after("soon", now), None);
    }
}
