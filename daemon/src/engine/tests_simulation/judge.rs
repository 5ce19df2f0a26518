//! What must hold of the records after a storm, whatever it was.

use std::collections::{HashMap, HashSet};

use super::{Tables, World, kin};
use crate::id::TaskRunId;
use crate::run::status::Status;
use crate::store::control::LetterState;
use crate::store::rows::{AttemptRow, IoKind, TaskRunRow};

impl World {
    /// What is wrong with what is left.
    pub(super) fn judged(&self) -> Vec<String> {
        let outside = self.guests.outside.lock().unwrap();
        let tables = self.store.tables();
        let mut wrong = outside.complaints.clone();
        // Also in fair weather a daemon may by chance not be driven for longer than its lease.
        let calm = self.calm && tables.runs.values().all(|run| run.lease_epoch <= 1);
        let mut outputs: HashMap<TaskRunId, u32> = HashMap::new();
        for io in tables.io.values().filter(|io| io.kind == IoKind::Output) {
            *outputs.entry(io.task_run_id).or_default() += 1;
        }
        for task in tables.tasks.values() {
            let mut attempts: Vec<_> = tables
                .attempts
                .values()
                .filter(|attempt| attempt.task_run_id == task.task_run_id)
                .collect();
            attempts.sort_by_key(|attempt| attempt.number);
            wrong.extend(faults_of(
                task,
                &attempts,
                outputs.get(&task.task_run_id).copied(),
            ));
            let habit = self.guests.habits[task.task.as_str()];
            let is_head = task.item_index == -1 && attempts.is_empty();
            let is_module = !kin::is_wait(&task.task) && !is_head;
            if calm && is_module && task.status == Status::Succeeded {
                let expected = habit.failures as usize + 1;
                if attempts.len() != expected {
                    wrong.push(format!(
                        "{}: {} attempts in fair weather instead of {expected}",
                        task.task,
                        attempts.len()
                    ));
                }
            }
        }
        if calm {
            // One effect an attempt: nothing ran that was not recorded.
            let effects: u32 = outside.effects.values().sum();
            let of_guest =
                |attempt: &&AttemptRow| !kin::is_wait(&tables.tasks[&attempt.task_run_id].task);
            if effects as usize != tables.attempts.values().filter(of_guest).count() {
                wrong.push(format!(
                    "{effects} effects of {} attempts",
                    tables.attempts.len()
                ));
            }
        }
        let keyed = tables
            .runs
            .values()
            .filter_map(|run| run.idempotency_key.as_ref());
        let mut keys = HashSet::new();
        wrong.extend(self.letters_judged(&tables));
        if !tables.turns.runs.is_empty() {
            wrong.push(format!(
                "{} runs never left their lane",
                tables.turns.runs.len()
            ));
        }
        wrong.extend(
            keyed
                .filter(|key| !keys.insert((*key).clone()))
                .map(|key| format!("two runs have the key {key}")),
        );
        wrong.extend(kin::faults(&tables, &self.workflows));
        wrong
    }
}

impl World {
    /// What is wrong with the dead letters, once every run has ended.
    fn letters_judged(&self, tables: &Tables) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut seen = HashSet::new();
        for letter in &tables.turns.letters {
            let run = &tables.runs[&letter.run_id];
            let mut complain = |what: String| {
                wrong.push(format!(
                    "letter of {} {:?}: {what}",
                    letter.run_id, letter.task
                ));
            };
            if run.status != Status::Failed {
                complain(format!("its run is {}", run.status));
            }
            if !seen.insert((letter.run_id, letter.task.clone(), letter.item_index)) {
                complain("written twice".to_owned());
            }
            let by = letter.redrive_run_id.map(|by| &tables.runs[&by]);
            if by.is_some_and(|by| by.rerun_of != Some(letter.run_id)) {
                complain("redriven by a run of something else".to_owned());
            }
            let fits = match (letter.state, by.map(|by| by.status)) {
                (LetterState::Open, None | Some(Status::Cancelled)) => true,
                (LetterState::Superseded, by) => by == Some(Status::Failed),
                (LetterState::Resolved, _) => tables.runs.values().any(|run| {
                    run.origin_run_id == letter.origin_run_id && run.status == Status::Succeeded
                }),
                _ => false,
            };
            if !fits {
                let by = by.map(|by| by.status);
                complain(format!(
                    "left {} with a redrive that is {by:?}",
                    letter.state.as_str()
                ));
            }
        }
        let listed: HashSet<_> = tables.turns.letters.iter().map(|l| l.run_id).collect();
        let failed = tables
            .runs
            .values()
            .filter(|run| run.status == Status::Failed);
        let missing = failed.filter(|run| !listed.contains(&run.run_id));
        wrong.extend(missing.map(|run| format!("{} failed without a letter", run.run_id)));
        wrong
    }
}

/// What is wrong with the record of a task run that has ended.
fn faults_of(task: &TaskRunRow, attempts: &[&AttemptRow], outputs: Option<u32>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut complain = |what: String| wrong.push(format!("{} {}: {what}", task.run_id, task.task));
    if !task.status.is_final() {
        complain(format!("left {}", task.status));
    }
    if outputs.unwrap_or(0) > 1 {
        complain(format!("{outputs:?} outputs"));
    }
    if (task.status == Status::Succeeded) != (task.output_io_id.is_some()) {
        complain(format!(
            "{} with output {:?}",
            task.status, task.output_io_id
        ));
    }
    for (position, attempt) in attempts.iter().enumerate() {
        if attempt.number as usize != position + 1 {
            complain(format!("attempt {} stands at {position}", attempt.number));
        }
        if !attempt.status.is_final() && attempt.status != Status::Interrupted {
            complain(format!(
                "attempt {} left {}",
                attempt.number, attempt.status
            ));
        }
    }
    if !attempts.is_sorted_by_key(|attempt| attempt.lease_epoch) {
        complain("an older owner began a later attempt".to_owned());
    }
    let successes = attempts
        .iter()
        .filter(|attempt| attempt.status == Status::Succeeded);
    if successes.count() > 1 {
        complain("succeeded twice".to_owned());
    }
    let late = attempts
        .iter()
        .position(|attempt| attempt.status == Status::Succeeded);
    if late.is_some_and(|at| at + 1 != attempts.len()) {
        complain("an attempt after it had succeeded".to_owned());
    }
    if !wrong.is_empty() {
        let story = attempts.iter().map(|attempt| {
            let (number, status, epoch) = (attempt.number, attempt.status, attempt.lease_epoch);
            let (from, to) = (attempt.started_at, attempt.finished_at);
            format!(
                "  {number} {status} by {} at epoch {epoch}, {from} to {to:?}",
                attempt.daemon_id
            )
        });
        wrong.extend(story);
    }
    wrong
}
