//! A task's fate when it did not succeed. What people wrote wrong is a `Diagnostic`, not this.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Why an attempt, and in the end a task, failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Who says so.
    pub source: FailureSource,
    /// A dotted, stable name: `http.status`, `limit.memory`, `trap.unreachable`, `timeout`.
    pub code: String,
    /// One sentence for a person, without secrets.
    pub message: String,
    /// Whether another attempt may do better.
    pub retryable: bool,
    /// The shortest sensible wait, in milliseconds, where the other side said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Anything more, as a JSON value.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub details: serde_json::Value,
}

/// Who ended the attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureSource {
    /// The task returned an error.
    Task,
    /// The guest trapped.
    Trap,
    /// A limit was reached.
    Limit,
    /// Its input could not be made or was not accepted.
    Input,
    /// The host could not do its part.
    Host,
    /// The daemon died or let go during the attempt.
    Interrupt,
    /// Someone cancelled.
    Cancel,
}

impl Failure {
    /// A failure that another attempt cannot mend.
    pub fn permanent(
        source: FailureSource,
        code: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            source,
            code: code.into(),
            message: message.into(),
            retryable: false,
            retry_after_ms: None,
            details: serde_json::Value::Null,
        }
    }

    /// A failure that another attempt may mend.
    pub fn retryable(
        source: FailureSource,
        code: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            retryable: true,
            ..Self::permanent(source, code, message)
        }
    }

    /// The failure of an attempt that someone stopped.
    pub fn cancelled(reason: impl Into<String>) -> Self {
        Self::permanent(FailureSource::Cancel, "cancelled", reason)
    }

    /// The shortest sensible wait before another attempt.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after_ms.map(Duration::from_millis)
    }
}
