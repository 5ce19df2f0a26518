//! The error that tasks return and that host functions answer: a record with a code, as in
//! `wit/deps/types`. There is one type for both, so that `?` never loses what the host said.

use std::{fmt, time::Duration};

use serde_json::Value;

/// A result with the SDK's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something did not work.
///
/// ```
/// use flowweaver_task::{Error, json};
///
/// let error = Error::permanent("rank.empty", "the service knows no ranking for that day")
///     .with_details(json!({ "day": "2026-11-22" }));
/// assert_eq!(error.to_string(), "rank.empty: the service knows no ranking for that day");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// A dotted, stable, lower-case name: `http.status`, `input.invalid`, or the task's own.
    pub code: String,
    /// One sentence for a person. It may change; programs match on `code`.
    pub message: String,
    /// Whether the same call may succeed later without anything being changed.
    pub retryable: bool,
    /// The shortest wait before a retry makes sense. It crosses the boundary in whole milliseconds, rounded up.
    pub retry_after: Option<Duration>,
    /// Anything more.
    pub details: Option<Value>,
}

impl Error {
    /// An error that no retry can cure.
    pub fn permanent(code: impl Into<String>, message: impl fmt::Display) -> Self {
        Error {
            code: code.into(),
            message: message.to_string(),
            retryable: false,
            retry_after: None,
            details: None,
        }
    }

    /// An error that may go away by itself.
    pub fn retryable(code: impl Into<String>, message: impl fmt::Display) -> Self {
        Error {
            retryable: true,
            ..Error::permanent(code, message)
        }
    }

    /// States the shortest wait before a retry makes sense.
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Adds facts for programs.
    pub fn with_details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    /// Says what was being done, in front of the message. The code and all else stay.
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Error {}

/// JSON that does not fit is `json.invalid`, and permanent: the same text stays wrong.
impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Error::permanent("json.invalid", error)
    }
}

/// Bytes that are not UTF-8 are `text.invalid`, and permanent.
impl From<std::string::FromUtf8Error> for Error {
    fn from(error: std::string::FromUtf8Error) -> Self {
        Error::permanent("text.invalid", error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn saying_what_was_being_done_keeps_the_code_and_all_else() {
        let error = Error::retryable("http.timeout", "no answer within 5 s")
            .with_retry_after(Duration::from_secs(3))
            .with_details(json!({ "url": "https://mall.test/" }))
            .context("reading page 2");
        assert_eq!(error.code, "http.timeout");
        assert_eq!(error.message, "reading page 2: no answer within 5 s");
        assert!(error.retryable);
        assert_eq!(error.retry_after, Some(Duration::from_secs(3)));
        assert_eq!(error.details, Some(json!({ "url": "https://mall.test/" })));
    }

    #[test]
    fn text_that_is_not_json_is_a_permanent_error() {
        let error: Error = serde_json::from_str::<Value>("{").unwrap_err().into();
        assert_eq!(
            (error.code.as_str(), error.retryable),
            ("json.invalid", false)
        );
    }
}
