//! What a run leaves behind for people: the log lines, calls and progress of its attempts, and an
//! event for everything the machine notes.

use std::sync::Arc;

use super::active::Active;
use super::book::Output;
use super::step::Sheet;
use crate::broker::journal::Entries;
use crate::clock::Timestamp;
use crate::id::{AttemptId, HostCallId};
use crate::run::event::{Note, Unit};
use crate::run::status::{Level, Status};
use crate::store::rows::{HostCallRow, IoKind, NewLog};

impl Active {
    /// What an attempt reported becomes rows.
    pub(super) fn report(
        &mut self,
        unit: Unit,
        attempt: AttemptId,
        entries: &Entries,
        sheet: &mut Sheet,
    ) {
        let task_run = self.book.entry(unit).id;
        let log = |kind, level, message: &str, fields, at| NewLog {
            task_run_id: Some(task_run),
            attempt_id: Some(attempt),
            kind,
            level,
            message: message.to_owned(),
            fields,
            at,
        };
        for line in &entries.lines {
            let fields = (!line.fields.is_empty()).then(|| {
                let fields = line.fields.iter().cloned();
                let fields: serde_json::Map<_, _> =
                    fields.map(|(name, value)| (name, value.into())).collect();
                serde_json::Value::Object(fields).to_string().into()
            });
            sheet
                .logs
                .push(log("log", line.level, &line.message, fields, line.at));
        }
        if let Some(progress) = &entries.progress {
            let fields = serde_json::json!({ "done": progress.done, "total": progress.total });
            let fields = Some(fields.to_string().into());
            sheet.logs.push(log(
                "progress",
                Level::Info,
                &progress.note,
                fields,
                progress.at,
            ));
        }
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        sheet
            .calls
            .extend(entries.calls.iter().map(|call| HostCallRow {
                host_call_id: HostCallId::generate(),
                run_id: self.row.run_id,
                organization_id: self.row.organization_id,
                attempt_id: attempt,
                kind: call.kind.to_owned(),
                target: call.target.clone(),
                verb: call.verb.clone(),
                outcome: call.outcome.clone(),
                sent_bytes: signed(call.sent_bytes),
                received_bytes: signed(call.received_bytes),
                started_at: call.started_at,
                duration_us: signed(call.duration_us),
            }));
    }

    /// The machine's notes become history; a `for_each` that succeeded gets its output.
    pub(super) fn write_notes(&mut self, sheet: &mut Sheet, now: Timestamp) {
        let graph = Arc::clone(self.graph());
        let workflow = graph.workflow();
        for note in self.state.take_notes() {
            let (kind, level, unit, text) = match note {
                Note::RunStarted => ("run.started", Level::Info, None, String::new()),
                Note::RunFinished => {
                    let record = self.state.record();
                    let text = match &record.failure {
                        Some(reason) => format!("{}: {}", record.status, reason.message),
                        None => record.status.to_string(),
                    };
                    let failed = record.status == Status::Failed;
                    let level = if failed { Level::Error } else { Level::Info };
                    ("run.finished", level, None, text)
                }
                Note::JobStarted(job) => {
                    let name = workflow.job(job).name.to_string();
                    ("job.started", Level::Info, None, name)
                }
                Note::JobFinished(job) => {
                    let status = self.state.job_record(job).status;
                    let text = format!("{}: {status}", workflow.job(job).name);
                    ("job.finished", Level::Info, None, text)
                }
                Note::TaskStarted(unit) => ("task.started", Level::Info, Some(unit), String::new()),
                Note::TaskSucceeded(unit) => {
                    self.gather(unit, sheet, now);
                    ("task.succeeded", Level::Info, Some(unit), String::new())
                }
                Note::TaskFailed(unit, reason) => {
                    let text = format!("{}: {}", reason.code, reason.message);
                    ("task.failed", Level::Error, Some(unit), text)
                }
                Note::TaskRetrying(unit, reason, wait) => {
                    let wait = wait.as_secs_f64();
                    let text = format!("in {wait:.3}s after {}: {}", reason.code, reason.message);
                    ("task.retrying", Level::Warn, Some(unit), text)
                }
                Note::TaskInterrupted(unit) => {
                    ("task.interrupted", Level::Warn, Some(unit), String::new())
                }
                Note::TaskSkipped(unit, reason) => {
                    let text = format!("{}: {}", reason.code, reason.message);
                    ("task.skipped", Level::Info, Some(unit), text)
                }
                Note::TaskCancelled(unit) => {
                    ("task.cancelled", Level::Warn, Some(unit), String::new())
                }
            };
            let mut log = event(kind, level, text, now);
            if let Some(unit) = unit {
                let name = &workflow.task(unit.task).name;
                let item = unit
                    .item
                    .map_or_else(String::new, |item| format!("[{item}]"));
                let colon = if log.message.is_empty() { "" } else { ": " };
                log.message = format!("{name}{item}{colon}{}", log.message);
                let entry = self.book.entry(unit);
                log.task_run_id = Some(entry.id);
                log.attempt_id = entry.attempt.as_ref().map(|row| row.attempt_id);
            }
            sheet.logs.push(log);
        }
    }

    fn gather(&mut self, unit: Unit, sheet: &mut Sheet, now: Timestamp) {
        let each = self.graph().workflow().task(unit.task).for_each.is_some();
        if !each || unit.item.is_some() {
            return;
        }
        let items = self.state.items(unit.task).unwrap_or(0);
        let text = self.book.gather(unit.task, items);
        let id = self.book.entry(unit).id;
        let io = self.io(id, None, IoKind::Output, &text, None, now);
        self.book.entry(unit).output = Some(Output::new(io.io_id, text));
        sheet.io.push(io);
    }
}

/// An event of the run itself.
pub(super) fn event(kind: &'static str, level: Level, message: String, at: Timestamp) -> NewLog {
    NewLog {
        task_run_id: None,
        attempt_id: None,
        kind,
        level,
        message,
        fields: None,
        at,
    }
}
