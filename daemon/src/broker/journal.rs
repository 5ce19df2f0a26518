//! What an attempt reports while it runs: log lines, progress, host calls. Bounded; the engine
//! drains it into the store together with the output, or from time to time before that.

use std::sync::Mutex;

use tokio::sync::Notify;

use crate::clock::Timestamp;
use crate::run::status::Level;

/// Enough for a chatty task, small enough that a thousand floods fit in memory.
const LINES_MAX: usize = 10_000;
/// A line longer than this is cut; longer text belongs in the output.
pub(crate) const LINE_BYTES_MAX: usize = 16 * 1024;
/// Bounds what one attempt can make the host hold and store.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// The limits of all capabilities together, and half as much again for calls that they refuse: a task
/// that needs more is a loop of tasks.
pub(super) const CALLS_MAX: usize = 24_000;
/// Targets of those calls: some 350 bytes each.
const CALL_BYTES_MAX: usize = 8 * 1024 * 1024;

/// One log line.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// When it was written.
    pub at: Timestamp,
    /// How much it matters.
    pub level: Level,
    /// One line; control characters are escaped when it is shown, not here.
    pub message: String,
    /// Names with values.
    pub fields: Vec<(String, String)>,
}

/// One call to a broker, allowed or denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostCall {
    /// `http`, `sql`, `kv`.
    pub kind: &'static str,
    /// Scheme, host, port and path; database; key. Never a secret, a query string or a body.
    pub target: String,
    /// The method, or the kind of statement.
    pub verb: String,
    /// The status code, or `ok` (and how many rows were changed), or the error's code.
    pub outcome: String,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took, in microseconds.
    pub duration_us: u64,
}

/// The latest progress report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// When.
    pub at: Timestamp,
    /// Steps done.
    pub done: u64,
    /// Steps in all, if known.
    pub total: Option<u64>,
    /// For people.
    pub note: String,
}

/// What was reported since the last drain.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Entries {
    /// Log lines in order.
    pub lines: Vec<Line>,
    /// Broker calls in order of their end.
    pub calls: Vec<HostCall>,
    /// The latest progress report, if there was one.
    pub progress: Option<Progress>,
    /// Lines dropped and calls refused at the limits, over the whole attempt.
    pub dropped: u64,
}

impl Entries {
    /// Whether there is nothing to store.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.calls.is_empty() && self.progress.is_none()
    }
}

/// The journal of one attempt, shared by the guest's brokers (writers) and the engine (reader).
#[derive(Debug, Default)]
pub struct Journal {
    state: Mutex<State>,
    written: Notify,
}

#[derive(Debug, Default)]
struct State {
    entries: Entries,
    lines_total: usize,
    bytes_total: usize,
    calls_total: usize,
    call_bytes_total: usize,
}

impl Journal {
    /// Adds a line, cut and counted against the attempt's limits.
    pub fn line(&self, mut line: Line) {
        truncate(&mut line.message, LINE_BYTES_MAX);
        for (name, value) in &mut line.fields {
            truncate(name, LINE_BYTES_MAX);
            truncate(value, LINE_BYTES_MAX);
        }
        let bytes = line.message.len()
            + line
                .fields
                .iter()
                .map(|(n, v)| n.len() + v.len())
                .sum::<usize>();
        self.with(|state| {
            if state.lines_total >= LINES_MAX || state.bytes_total + bytes > BYTES_MAX {
                state.entries.dropped += 1;
                return;
            }
            state.lines_total += 1;
            state.bytes_total += bytes;
            state.entries.lines.push(line);
        });
    }

    /// Takes room for a call's record whose target has so many bytes; answers whether there is any.
    pub(super) fn make_room(&self, bytes: usize) -> bool {
        let mut made = false;
        self.quietly(|state| {
            made = state.calls_total < CALLS_MAX
                && state.call_bytes_total.saturating_add(bytes) <= CALL_BYTES_MAX;
            if made {
                state.calls_total += 1;
                state.call_bytes_total += bytes;
            } else {
                state.entries.dropped += 1;
            }
        });
        made
    }

    /// The call was not made.
    pub(super) fn give_room_back(&self, bytes: usize) {
        self.quietly(|state| {
            state.calls_total = state.calls_total.saturating_sub(1);
            state.call_bytes_total = state.call_bytes_total.saturating_sub(bytes);
        });
    }

    /// Adds a broker call, whose room was taken before it began.
    pub(crate) fn call(&self, call: HostCall) {
        self.with(|state| state.entries.calls.push(call));
    }

    /// Replaces the progress report.
    pub fn progress(&self, mut progress: Progress) {
        truncate(&mut progress.note, LINE_BYTES_MAX);
        self.with(|state| state.entries.progress = Some(progress));
    }

    /// Takes what was reported since the last time; `dropped` stays the total.
    pub fn drain(&self) -> Entries {
        let mut state = self
            .state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let dropped = state.entries.dropped;
        std::mem::replace(
            &mut state.entries,
            Entries {
                dropped,
                ..Entries::default()
            },
        )
    }

    /// Returns when something was written since the last drain or wait.
    pub async fn written(&self) {
        self.written.notified().await;
    }

    /// Changes what no reader waits for.
    fn quietly<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(
            &mut self
                .state
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }

    fn with(&self, change: impl FnOnce(&mut State)) {
        change(
            &mut self
                .state
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        );
        self.written.notify_one();
    }
}

/// Cuts a text that is longer than `max` bytes, and shows that it was.
pub(super) fn truncate(text: &mut String, max: usize) {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max));
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_lines_is_capped_and_counted() {
        let journal = Journal::default();
        for _ in 0..LINES_MAX + 7 {
            let at = Timestamp::from_micros(0);
            journal.line(Line {
                at,
                level: Level::Info,
                message: "가".repeat(10),
                fields: Vec::new(),
            });
        }
        let entries = journal.drain();
        assert_eq!((entries.lines.len(), entries.dropped), (LINES_MAX, 7));
        assert_eq!(
            journal.drain(),
            Entries {
                dropped: 7,
                ..Entries::default()
            }
        );
    }
}
