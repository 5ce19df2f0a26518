//! Following a run to its end: a live tree on a terminal, plain lines elsewhere, one JSON object at
//! the end with `--json`.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::Method;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;

use super::client::Client;
use super::exit::{CliError, Exit};
use super::print;

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
        None if !json => print::line(&print::log_row(row)),
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
            print::log_row(row)
        })
    })
    .await?;
    Ok(Exit::Ok)
}

/// Calls `see` for each event from the run's first to its last. A broken stream is resumed after
/// the last event seen.
async fn each_event(
    client: &Client,
    run: &str,
    mut see: impl FnMut(&Value),
) -> Result<(), CliError> {
    let mut last = 0;
    let mut ended = false;
    while !ended {
        let path = format!("/v0/events?runId={run}&after={last}");
        let reply = client
            .send(Method::GET, &path, &[("accept", "text/event-stream")], None)
            .await?;
        if !reply.status().is_success() {
            return Err(CliError::new(
                Exit::Refused,
                format!("the daemon answered {} to {path}", reply.status()),
            ));
        }
        let before = last;
        let mut body = reply.into_body();
        let mut rest = Vec::new();
        while !ended {
            let Some(Ok(frame)) = body.frame().await else {
                break;
            };
            rest.extend_from_slice(frame.data_ref().map_or(&[][..], |bytes| bytes));
            for row in take_rows(&mut rest) {
                last = row.get("event_id").and_then(Value::as_i64).unwrap_or(last);
                ended = ended || print::text(&row, "kind") == "run.finished";
                see(&row);
            }
        }
        if !ended && last == before {
            let text = format!("the daemon ended the stream; run {run} continues when it is back");
            return Err(CliError::new(Exit::Unreachable, text));
        }
    }
    Ok(())
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
    /// Which task a task run belongs to, once it has begun.
    begun: BTreeMap<String, String>,
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
            begun: BTreeMap::new(),
        }
    }

    fn event(&mut self, row: &Value) {
        let (kind, message) = (
            print::text(row, "kind"),
            print::plain(print::text(row, "message")),
        );
        let task_run = print::text(row, "task_run_id");
        if kind == "task.started" {
            // The message is the task's name, with the item's position where there is one.
            let task = message.split(['[', ':']).next().unwrap_or_default();
            self.begun.insert(task_run.to_owned(), task.to_owned());
        }
        let Some(task) = self.begun.get(task_run) else {
            return;
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
            "log" | "progress" | "task.retrying" => bar.set_message(message),
            "task.succeeded" | "task.failed" | "task.skipped" | "task.cancelled" => {
                let status = kind.trim_start_matches("task.");
                bar.set_prefix(format!("  {} {task:<22} ", print::mark(status)));
                let note = if status == "succeeded" {
                    String::new()
                } else {
                    message
                };
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
