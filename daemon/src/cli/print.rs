//! How answers look on a terminal. Text that comes from tasks or files is shown as text: control
//! characters are escaped, so that a log line stays one line and cannot repaint the screen. A failure's
//! message may have lines to be pasted into a file: they are printed once, each indented.

#![allow(clippy::print_stdout, reason = "this is where the command line prints")]

use std::cell::RefCell;
use std::fmt::Write;

use secrecy::ExposeSecret as _;
use serde_json::Value;

use super::exit::{self, Exit};
use crate::access::FirstAdmin;
use crate::diagnostic::shown;

/// Lines of a failure's message that are printed; those of a denial are fewer. `--json` has all.
const MESSAGE_LINES_MAX: usize = 20;
/// Before each further line of a message: nothing that a TOML file would mind.
const PASTED: &str = "        ";

/// Prints JSON, indented.
pub fn value(value: &Value) -> Exit {
    line(&format!("{value:#}"));
    Exit::Ok
}

/// Says something beside the answer, on standard error: the answer may be read by a program.
pub fn aside(text: &str) {
    exit::say("remark", text, Value::Null);
}

/// Says once how to log in for the first time. Not in the log, which is kept and sent elsewhere.
pub fn first_admin(first: &FirstAdmin) {
    line(&format!(
        "first start: log in as {} with the one-time password {} and change it; \
         it is not shown again (a new one: flowweaver user password)",
        first.email,
        first.password.expose_secret(),
    ));
}

thread_local! {
    /// What is to be printed later, if it is. Commands run on the process's first thread alone.
    static HELD: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps what is printed until [`release`]: a pager that nobody reads on must not hold up the state folder.
pub fn hold() {
    HELD.set(Some(String::new()));
}

/// Prints what was kept.
pub fn release() {
    if let Some(text) = HELD.take() {
        write(&text);
    }
}

/// Prints one line.
pub fn line(text: &str) {
    let held = HELD.with_borrow_mut(|held| {
        held.as_mut().map(|held| {
            held.push_str(text);
            held.push('\n');
        })
    });
    if held.is_none() {
        write(&format!("{text}\n"));
    }
}

/// A reader that went away (`| head`) ends the command, quietly.
fn write(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    if out
        .write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .is_err()
    {
        std::process::exit(0);
    }
}

/// The text at a path of keys; empty when there is none.
pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A message's first line.
pub fn brief(message: &str) -> String {
    match message.split_once('\n') {
        Some((first, _)) => format!("{} …", shown(first)),
        None => shown(message),
    }
}

/// A message with its further lines as lines, all of them `indent` deep and so no row of their own.
fn whole(message: &str, indent: &str) -> String {
    let mut lines = message.lines();
    let mut out = shown(lines.next().unwrap_or_default());
    for line in lines.by_ref().take(MESSAGE_LINES_MAX) {
        let _ = write!(out, "\n{indent}{}", shown(line));
    }
    match lines.count() {
        0 => {}
        more => {
            let _ = write!(out, "\n{indent}… and {more} more lines; --json shows them");
        }
    }
    out
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
    if let Some(failure) = run.get("failure").filter(|failure| failure.is_object()) {
        // The task's own line, below, has the rest.
        let message = without_cause(text(failure, "message"));
        let _ = writeln!(out, "    {}: {}", text(failure, "code"), brief(message));
    }
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
            // What is to be pasted stands behind spaces alone, not behind the tree's branches.
            message => format!(": {}", whole(message, PASTED)),
        };
        let _ = writeln!(out, "{indent}  {}{message}", text(reason, "code"));
    }
}

/// "task `x` failed: why" without why: of a run that a task has failed.
fn without_cause(message: &str) -> &str {
    const FAILED: &str = "` failed";
    let end = message
        .find("` failed: ")
        .map_or(message.len(), |at| at + FAILED.len());
    message.get(..end).unwrap_or(message)
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
            let reason = task.get("reason").unwrap_or(&Value::Null);
            let said = text(failure, "message") == text(reason, "message");
            let message = match said {
                true => String::new(),
                false => format!(": {}", brief(text(failure, "message"))),
            };
            let _ = writeln!(out, "{indent}    {}{message}", text(failure, "code"));
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

/// A log row as one line; with `all`, the further lines of a task's failure follow it.
pub fn log_row(row: &Value, all: bool) -> String {
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
    let message = text(row, "message");
    let message = match kind {
        "task.failed" if all => whole(message, PASTED),
        "task.failed" | "task.retrying" => brief(message),
        "run.finished" => brief(without_cause(message)),
        _ => shown(message),
    };
    format!("{at} {:<5} {subject}{message}{fields}", text(row, "level"))
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
        let line = log_row(&row, true);
        assert!(
            line.contains("a\\u{1b}[2Jb\\u{d}\\u{a}c\\u{202e}d 한글"),
            "{line}"
        );
        assert!(line.ends_with(" n\\u{7}=x\\u{a}y"), "{line}");
    }

    #[test]
    fn lines_to_be_pasted_are_printed_once_and_a_forged_row_is_not_taken_for_one() {
        let message =
            "GET x is not granted. To allow it, add:\n[[job.task.http]]\nurl = \"x\"\n\x1b[2J";
        let row = |kind: &str, message: String| serde_json::json!({ "kind": kind, "level": "error", "message": message });
        let failed = row("task.failed", format!("ask: http.denied: {message}"));
        let lines = log_row(&failed, true);
        assert!(
            lines.contains(
                "add:\n        [[job.task.http]]\n        url = \"x\"\n        \\u{1b}[2J"
            ),
            "{lines}"
        );
        assert!(log_row(&failed, false).ends_with("add: …"));
        let finished = row(
            "run.finished",
            format!("failed: task `ask` failed: {message}"),
        );
        assert!(log_row(&finished, true).ends_with("run.finished failed: task `ask` failed"));
        let run = serde_json::json!({
            "status": "failed", "failure": { "code": "http.denied", "message": format!("task `ask` failed: {message}") },
            "jobRuns": [{ "job": "j", "status": "failed", "taskRuns": [{
                "task": "ask", "status": "failed", "reason": { "code": "http.denied", "message": message },
                "attempts": [{ "number": 1, "failure": { "code": "http.denied", "message": message } }],
            }] }],
        });
        let tree = tree(&run, true);
        assert_eq!(tree.matches("is not granted").count(), 1, "{tree}");
        assert!(
            tree.contains("\n        [[job.task.http]]\n        url = \"x\"\n"),
            "{tree}"
        );
        let long = whole(&"x\n".repeat(100), " ");
        assert_eq!(long.lines().count(), 1 + MESSAGE_LINES_MAX + 1);
    }
}
