//! How answers look on a terminal. Text that comes from tasks or files is shown as text: control
//! characters are escaped, so that a log line stays one line and cannot repaint the screen.

#![allow(clippy::print_stdout, reason = "this is where the command line prints")]

use std::fmt::Write;

use serde_json::Value;

use super::exit::Exit;
use crate::diagnostic::shown;

/// Prints JSON, indented.
pub fn value(value: &Value) -> Exit {
    line(&format!("{value:#}"));
    Exit::Ok
}

/// Says something beside the answer, on standard error: the answer may be read by a program.
#[allow(clippy::print_stderr, reason = "the command line speaks there")]
pub fn aside(text: &str) {
    eprintln!("{text}");
}

/// Prints one line. A reader that went away (`| head`) ends the command, quietly.
pub fn line(text: &str) {
    use std::io::Write as _;
    if writeln!(std::io::stdout().lock(), "{text}").is_err() {
        std::process::exit(0);
    }
}

/// The text at a path of keys; empty when there is none.
pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Milliseconds as people read them.
pub fn duration(value: &Value, key: &str) -> String {
    match value.get(key).and_then(Value::as_u64) {
        Some(ms) if ms < 1_000 => format!("{ms} ms"),
        Some(ms) if ms < 60_000 => format!("{}.{:02} s", ms / 1_000, ms % 1_000 / 10),
        Some(ms) => format!("{} m {} s", ms / 60_000, ms % 60_000 / 1_000),
        None => String::new(),
    }
}

/// One character for a state.
pub fn mark(status: &str) -> &'static str {
    match status {
        "succeeded" => "✓",
        "failed" => "✗",
        "cancelled" => "⊘",
        "skipped" => "–",
        "running" => "▸",
        "waiting" | "interrupted" => "…",
        _ => "·",
    }
}

/// A run as a tree: jobs, tasks, and with `all` attempts and calls.
pub fn tree(run: &Value, all: bool) -> String {
    let mut out = String::new();
    // Here and below: writing to a String cannot fail.
    let _ = writeln!(
        out,
        "{} {} #{}  {}  {}  ({})",
        mark(text(run, "status")),
        text(run, "workflow"),
        run.get("number").unwrap_or(&Value::Null),
        text(run, "status"),
        duration(run, "durationMs"),
        text(run, "id"),
    );
    reason(&mut out, "  ", run.get("failure"));
    let jobs = run
        .get("jobRuns")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    for (at, job) in jobs.iter().enumerate() {
        let last_job = at + 1 == jobs.len();
        let (branch, stem) = if last_job {
            ("└─", "   ")
        } else {
            ("├─", "│  ")
        };
        let _ = writeln!(
            out,
            "{branch} {} {:<24} {}",
            mark(text(job, "status")),
            text(job, "job"),
            duration(job, "durationMs")
        );
        let tasks = job
            .get("taskRuns")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        for (at, task) in tasks.iter().enumerate() {
            let (branch, inner) = if at + 1 == tasks.len() {
                ("└─", "   ")
            } else {
                ("├─", "│  ")
            };
            task_line(&mut out, &format!("{stem}{branch}"), task);
            let indent = format!("{stem}{inner}");
            reason(&mut out, &indent, task.get("reason"));
            if all {
                attempts(&mut out, &indent, task);
            }
        }
    }
    out.truncate(out.trim_end().len());
    out
}

fn task_line(out: &mut String, lead: &str, task: &Value) {
    let item = task
        .get("itemIndex")
        .and_then(Value::as_u64)
        .map_or(String::new(), |index| format!("[{index}]"));
    let tries = task
        .get("attempts")
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    let again = if tries > 1 {
        format!("  {tries} attempts")
    } else {
        String::new()
    };
    let tolerated = if task.get("tolerated") == Some(&Value::Bool(true)) {
        "  (tolerated)"
    } else {
        ""
    };
    let name = format!("{}{item}", text(task, "task"));
    let _ = writeln!(
        out,
        "{lead} {} {name:<21} {}{again}{tolerated}",
        mark(text(task, "status")),
        duration(task, "durationMs")
    );
}

fn reason(out: &mut String, indent: &str, reason: Option<&Value>) {
    if let Some(reason) = reason.filter(|reason| reason.is_object()) {
        let message = match text(reason, "message") {
            "" => String::new(),
            message => format!(": {}", shown(message)),
        };
        let _ = writeln!(out, "{indent}  {}{message}", text(reason, "code"));
    }
}

fn attempts(out: &mut String, indent: &str, task: &Value) {
    for attempt in task
        .get("attempts")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let number = |key: &str| attempt.get(key).and_then(Value::as_u64).unwrap_or(0);
        let _ = writeln!(
            out,
            "{indent}  attempt {} {}  {}  cpu {} ms  memory {} KiB",
            number("number"),
            text(attempt, "status"),
            duration(attempt, "durationMs"),
            number("cpuUs") / 1_000,
            number("memoryPeakBytes") / 1_024,
        );
        if let Some(failure) = attempt.get("failure").filter(|failure| failure.is_object()) {
            let _ = writeln!(
                out,
                "{indent}    {}: {}",
                text(failure, "code"),
                shown(text(failure, "message"))
            );
        }
        for call in attempt
            .get("hostCalls")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let us = call.get("durationUs").and_then(Value::as_u64).unwrap_or(0);
            let _ = writeln!(
                out,
                "{indent}    {} {} {} → {}  {}.{} ms",
                text(call, "kind"),
                shown(text(call, "verb")),
                shown(text(call, "target")),
                shown(text(call, "outcome")),
                us / 1_000,
                us % 1_000 / 100,
            );
        }
    }
}

/// A log row as one line.
pub fn log_row(row: &Value) -> String {
    let at = text(row, "at").get(11..23).unwrap_or_default();
    let kind = text(row, "kind");
    let fields = row
        .get("fields")
        .and_then(Value::as_object)
        .map(pairs)
        .unwrap_or_default();
    let subject = if kind == "log" {
        String::new()
    } else {
        format!("{kind} ")
    };
    format!(
        "{at} {:<5} {subject}{}{fields}",
        text(row, "level"),
        shown(text(row, "message"))
    )
}

fn pairs(fields: &serde_json::Map<String, Value>) -> String {
    let mut out = String::new();
    for (name, value) in fields {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        let _ = write!(out, " {}={}", shown(name), shown(&value));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_log_line_stays_one_harmless_line() {
        let row = serde_json::json!({
            "kind": "log", "level": "info", "message": "a\x1b[2Jb\r\nc\u{202E}d 한글",
            "fields": { "n\u{7}": "x\ny" }, "at": "2026-01-01T00:00:00.000000Z",
        });
        let line = log_row(&row);
        assert!(
            line.contains("a\\u{1b}[2Jb\\u{d}\\u{a}c\\u{202e}d 한글"),
            "{line}"
        );
        assert!(line.ends_with(" n\\u{7}=x\\u{a}y"), "{line}");
    }
}
