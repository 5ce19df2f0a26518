//! What a task asks for and what the operator allows: the effective limits and retry policy.
//!
//! Asking for more than allowed is no error: the ceiling is in force, and a warning says so.

use std::fmt::Display;
use std::time::Duration;

use super::decode::At;
use super::draft_task::{DraftPolicy, DraftRetry};
use super::environment::Ceilings;
use super::model::{RetryPolicy, TaskLimits};
use super::report::Report;
use crate::units::{Size, Span};

/// The wait before the second attempt unless written: long enough for a hiccup to pass.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Doubling, the usual choice.
const RETRY_FACTOR: f64 = 2.0;
/// A task that waits longer than this between attempts says so in its file.
const RETRY_MAX_DELAY: Duration = Duration::from_secs(60);

/// The limits of a task's attempts.
pub(super) fn limits(
    own: &DraftPolicy,
    defaults: &DraftPolicy,
    ceilings: &Ceilings,
    report: &mut Report,
) -> TaskLimits {
    let span = |duration| Span(duration);
    TaskLimits {
        timeout: capped(
            pick(&own.timeout, &defaults.timeout),
            ceilings.default_timeout,
            ceilings.timeout,
            ("timeout", span),
            report,
        ),
        cpu: capped(
            pick(&own.cpu, &defaults.cpu),
            ceilings.default_cpu,
            ceilings.cpu,
            ("cpu", span),
            report,
        ),
        memory_bytes: capped(
            pick(&own.memory, &defaults.memory),
            ceilings.default_memory_bytes,
            ceilings.memory_bytes,
            ("memory", Size),
            report,
        ),
        output_bytes: capped(
            pick(&own.output, &defaults.output),
            ceilings.output_bytes,
            ceilings.output_bytes,
            ("output", Size),
            report,
        ),
    }
}

/// The limits of a task that runs a workflow: it waits, and computes nothing.
pub(super) fn of_a_wait(
    own: &DraftPolicy,
    defaults: &DraftPolicy,
    ceilings: &Ceilings,
    report: &mut Report,
) -> TaskLimits {
    for (key, at) in [
        ("cpu", own.cpu.as_ref().map(|cpu| &cpu.span)),
        ("memory", own.memory.as_ref().map(|memory| &memory.span)),
    ] {
        if let Some(at) = at {
            report
                .error(
                    at.clone(),
                    format!("a task that runs a workflow has no `{key}` of its own"),
                )
                .help("it stands at the tasks of that workflow's own file");
        }
    }
    TaskLimits {
        timeout: capped(
            pick(&own.timeout, &defaults.timeout),
            ceilings.run_timeout,
            ceilings.run_timeout,
            ("run_timeout", Span),
            report,
        ),
        cpu: ceilings.default_cpu.min(ceilings.cpu),
        memory_bytes: ceilings.default_memory_bytes.min(ceilings.memory_bytes),
        output_bytes: capped(
            pick(&own.output, &defaults.output),
            ceilings.output_bytes,
            ceilings.output_bytes,
            ("output", Size),
            report,
        ),
    }
}

fn pick<'p, T>(own: &'p Option<At<T>>, default: &'p Option<At<T>>) -> Option<&'p At<T>> {
    own.as_ref().or(default.as_ref())
}

/// The smaller of what is asked and what is allowed; `key` is both the file's and, below
/// `[limits]`, the operator's.
pub(super) fn capped<T, S>(
    asked: Option<&At<T>>,
    default: T,
    ceiling: T,
    (key, show): (&str, impl Fn(T) -> S),
    report: &mut Report,
) -> T
where
    T: Copy + PartialOrd,
    S: Display,
{
    let Some(asked) = asked else {
        return if default > ceiling { ceiling } else { default };
    };
    if asked.value <= ceiling {
        return asked.value;
    }
    let (wants, allowed) = (show(asked.value), show(ceiling));
    report
        .warning(
            asked.span.clone(),
            format!("this asks for {wants}, but the operator allows {allowed}"),
        )
        .help(format!(
            "{allowed} is in force; flowweaver.toml says so: `{key}` in [limits]"
        ));
    ceiling
}

/// The retry policy: each field of the task's own, else of the defaults, else of the format.
pub(super) fn retry(
    own: &DraftRetry,
    defaults: &DraftRetry,
    ceilings: &Ceilings,
    report: &mut Report,
) -> RetryPolicy {
    let longest = pick(&own.max_delay, &defaults.max_delay);
    let first = pick(&own.delay, &defaults.delay);
    if let (Some(first), Some(longest)) = (first, longest)
        && first.value > longest.value
    {
        let message = format!(
            "the first wait, {}, is longer than `max_delay`, {}",
            Span(first.value),
            Span(longest.value)
        );
        report.error(first.span.clone(), message);
    }
    let key = ("retry_delay", Span);
    let delay = capped(first, RETRY_DELAY, ceilings.retry_delay, key, report);
    let max_delay = capped(
        longest,
        RETRY_MAX_DELAY.max(delay),
        ceilings.retry_delay,
        key,
        report,
    );
    RetryPolicy {
        attempts: capped(
            pick(&own.attempts, &defaults.attempts),
            1,
            ceilings.attempts,
            ("attempts", |count| count),
            report,
        )
        .max(1),
        delay,
        factor: own.factor.or(defaults.factor).unwrap_or(RETRY_FACTOR),
        max_delay,
        jitter: own.jitter.or(defaults.jitter).unwrap_or(true),
        on: own
            .on
            .clone()
            .or_else(|| defaults.on.clone())
            .unwrap_or_default(),
    }
}
