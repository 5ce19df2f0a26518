//! Following a run to its end: a live tree on a terminal, plain lines elsewhere, one JSON object at
//! the end with `--json`.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use http_body_util::BodyExt;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;

use super::client::{Client, Method};
use super::exit::{CliError, Exit};
use super::print;
use crate::diagnostic::shown;
use crate::run::status::Status;

/// Calm, and still visibly alive.
const TICK: Duration = Duration::from_millis(120);

/// Follows a run and prints it; the exit code is its result.
pub async fn run(client: &Client, run: &str, json: bool) -> Result<Exit, CliError> {
    let view = client.get(&format!("/v0/workflow-runs/{run}")).await?;
    let mut live = (!json && std::io::stdout().is_terminal()).then(|| Live::new(&view));
    if !json && live.is_none() {
        print::line(&format!("run {run}"));
    }
    each_event(client, run, |row| match &mut live {
        Some(live) => live.event(row),
        // The tree at the end has all of what failed.
        None if !json => print::line(&print::log_row(row, false)),
        None => {}
    })
    .await?;
    if let Some(live) = live {
        live.clear();
    }
    let view = client.get(&format!("/v0/workflow-runs/{run}")).await?;
    if json {
        print::value(&view);
    } else {
        print::line(&print::tree(&view, false));
    }
    Ok(if print::text(&view, "status") == "succeeded" {
        Exit::Ok
    } else {
        Exit::Failed
    })
}

/// Follows a run's log lines.
pub async fn logs(client: &Client, run: &str, json: bool) -> Result<Exit, CliError> {
    each_event(client, run, |row| {
        print::line(&if json {
            row.to_string()
        } else {
            print::log_row(row, true)
        })
    })
    .await?;
    Ok(Exit::Ok)
}

/// Calls `see` for each event from the run's first to its last. A broken stream is resumed after
/// the last event seen; a stream that ends with nothing new while the run goes on is the daemon's
/// goodbye.
async fn each_event(
    client: &Client,
    run: &str,
    mut see: impl FnMut(&Value),
) -> Result<(), CliError> {
    let gone = |why: &str| {
        CliError::new(
            Exit::Unreachable,
            format!(
                "{why}; run {run} goes on when the daemon starts again: flowweaver logs -f {run}"
            ),
        )
    };
    let lost = |error: CliError| match error.exit {
        Exit::Unreachable => gone(&error.message),
        _ => error,
    };
    let mut last = 0;
    loop {
        let before = last;
        let finished = stream(client, run, &mut last, &mut see).await;
        if finished.map_err(lost)? {
            return Ok(());
        }
        if last != before {
            continue;
        }
        let view = client.get(&format!("/v0/workflow-runs/{run}")).await;
        let status = print::text(&view.map_err(lost)?, "status").parse::<Status>();
        // Of a run that ended long ago the last line may be gone.
        if status.is_ok_and(Status::is_final) {
            return Ok(());
        }
        return Err(gone("the daemon is stopping"));
    }
}

/// Reads one stream to its end and moves `last`; answers whether the run's last event was in it.
async fn stream(
    client: &Client,
    run: &str,
    last: &mut i64,
    see: &mut impl FnMut(&Value),
) -> Result<bool, CliError> {
    let path = format!("/v0/events?runId={run}&after={last}");
    let reply = client
        .send(Method::GET, &path, &[("accept", "text/event-stream")], None)
        .await?;
    if !reply.status().is_success() {
        let status = reply.status();
        let refused = client.read(reply).await.err();
        return Err(refused.unwrap_or_else(|| {
            CliError::new(
                Exit::Refused,
                format!("the daemon answered {status} to {path}"),
            )
        }));
    }
    let mut body = reply.into_body();
    let mut rest = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Some(bytes) = frame.data_ref() else {
            continue;
        };
        rest.extend_from_slice(bytes);
        for row in take_rows(&mut rest) {
            *last = row.get("eventId").and_then(Value::as_i64).unwrap_or(*last);
            see(&row);
            if print::text(&row, "kind") == "run.finished" {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Takes the complete lines off a stream's bytes and gives the rows among them.
fn take_rows(bytes: &mut Vec<u8>) -> Vec<Value> {
    let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else {
        return Vec::new();
    };
    let whole: Vec<u8> = bytes.drain(..=end).collect();
    let data = whole
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.strip_prefix(b"data:"));
    data.filter_map(|data| serde_json::from_slice(data).ok())
        .collect()
}

/// The live tree: one line a task, redrawn in place.
struct Live {
    screen: MultiProgress,
    heads: Vec<ProgressBar>,
    tasks: BTreeMap<String, ProgressBar>,
    /// Tasks and items by the id that log lines carry, as events have named them.
    names: BTreeMap<String, String>,
}

/// An event of a task says `NAME: what` or `NAME[ITEM]: what`, or the name alone.
fn subject(message: &str) -> (&str, &str) {
    message.split_once(": ").unwrap_or((message, ""))
}

impl Live {
    fn new(view: &Value) -> Self {
        let screen = MultiProgress::new();
        let (mut heads, mut tasks) = (Vec::new(), BTreeMap::new());
        let quiet = ProgressStyle::with_template("{prefix}{msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        for job in view
            .get("jobRuns")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let head = screen.add(ProgressBar::new_spinner().with_style(quiet.clone()));
            head.set_message(print::text(job, "job").to_owned());
            heads.push(head);
            for task in job
                .get("taskRuns")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                let name = print::text(task, "task");
                let bar = screen.add(ProgressBar::new_spinner().with_style(quiet.clone()));
                bar.set_prefix(format!("  · {name:<22} "));
                tasks.entry(name.to_owned()).or_insert(bar);
            }
        }
        Self {
            screen,
            heads,
            tasks,
            names: BTreeMap::new(),
        }
    }

    fn event(&mut self, row: &Value) {
        let kind = print::text(row, "kind");
        let unit = print::text(row, "taskRunId");
        let message = print::text(row, "message");
        let mut note = match kind {
            "task.failed" | "task.retrying" => print::brief(message),
            _ => shown(message),
        };
        if kind.starts_with("task.") {
            let (subject, rest) = subject(&note);
            self.names.insert(unit.to_owned(), subject.to_owned());
            note = rest.to_owned();
        }
        let Some(subject) = self.names.get(unit) else {
            return;
        };
        let (task, item) = match subject.split_once('[') {
            Some((task, _)) => (task, true),
            None => (subject.as_str(), false),
        };
        let Some(bar) = self.tasks.get(task) else {
            return;
        };
        match kind {
            "task.started" => {
                let style = ProgressStyle::with_template("{prefix}{spinner} {elapsed} {msg}");
                bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
                bar.set_prefix(format!("  ▸ {task:<22} "));
                bar.reset_elapsed();
                bar.enable_steady_tick(TICK);
            }
            "log" | "progress" | "task.retrying" => bar.set_message(note),
            "task.succeeded" | "task.failed" | "task.skipped" | "task.cancelled" if item => {
                bar.set_message(format!("{subject} {}", kind.trim_start_matches("task.")));
            }
            "task.succeeded" | "task.failed" | "task.skipped" | "task.cancelled" => {
                let mark = print::mark(kind.trim_start_matches("task."));
                bar.set_prefix(format!("  {mark} {task:<22} "));
                bar.finish_with_message(note);
            }
            _ => {}
        }
    }

    /// Takes the live lines away; the final tree is printed in their place.
    fn clear(self) {
        for bar in self.heads.iter().chain(self.tasks.values()) {
            bar.finish_and_clear();
        }
        // A terminal that went away needs no clearing.
        let _ = self.screen.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_reach_the_line_of_their_task_and_lines_follow_them_by_id() {
        let view = json!({ "jobRuns": [{ "job": "j", "taskRuns": [{ "task": "first" }, { "task": "each" }] }] });
        let mut live = Live::new(&view);
        let row = |kind: &str, unit: &str, message: &str| json!({ "kind": kind, "taskRunId": unit, "message": message });
        live.event(&row("task.started", "A", "first"));
        live.event(&row("log", "A", "half\nway"));
        assert_eq!(live.tasks["first"].message(), "half\\u{a}way");
        live.event(&row("task.started", "B", "each[0]"));
        live.event(&row("task.succeeded", "B", "each[0]"));
        assert!(!live.tasks["each"].is_finished());
        live.event(&row("task.failed", "A", "first: exit: the task ended: 3"));
        assert!(live.tasks["first"].is_finished());
        assert_eq!(live.tasks["first"].message(), "exit: the task ended: 3");
    }
}
