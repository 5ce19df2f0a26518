//! Whether a failed attempt is tried again, and after what wait.

use std::time::Duration;

use super::failure::{Failure, FailureSource};
use crate::workflow::model::{RetryOn, RetryPolicy};

/// The wait before another attempt after so many failures (from 1); none: it is final.
///
/// The wait grows as `delay × factor^(failures-1)`; full jitter draws it evenly between zero and
/// that, so that many clients spread out (AWS Architecture Blog, "Exponential Backoff And Jitter").
/// What the other side asked for is a lower bound. Nothing is longer than `max_delay`.
pub fn wait(policy: &RetryPolicy, failure: &Failure, failures: u32, draw: f64) -> Option<Duration> {
    if failures >= policy.attempts || !matches(policy, failure) {
        return None;
    }
    let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
    let grown = policy.delay.as_secs_f64() * policy.factor.max(1.0).powi(exponent);
    // The product may be infinite or, for a zero delay, not a number: both are bounded here.
    let bounded = if grown.is_nan() {
        0.0
    } else {
        grown.min(policy.max_delay.as_secs_f64())
    };
    let drawn = if policy.jitter {
        bounded * draw.clamp(0.0, 1.0)
    } else {
        bounded
    };
    let drawn = Duration::try_from_secs_f64(drawn).unwrap_or(policy.max_delay);
    Some(
        failure
            .retry_after()
            .map_or(drawn, |asked| drawn.max(asked))
            .min(policy.max_delay),
    )
}

fn matches(policy: &RetryPolicy, failure: &Failure) -> bool {
    // A wrong input stays wrong, and who cancelled does not want another attempt.
    if matches!(failure.source, FailureSource::Input | FailureSource::Cancel) {
        return false;
    }
    if policy.on.is_empty() {
        return failure.retryable;
    }
    let status = (failure.code == "http.status")
        .then(|| failure.details.get("status").and_then(|s| s.as_u64()))
        .flatten();
    policy.on.iter().any(|on| match on {
        RetryOn::Timeout => failure.code == "timeout" || failure.code.ends_with(".timeout"),
        RetryOn::Http5xx => status.is_some_and(|status| (500..600).contains(&status)),
        RetryOn::HttpStatus(wanted) => status == Some(u64::from(*wanted)),
        RetryOn::Code(code) => failure.code == *code,
    })
}
