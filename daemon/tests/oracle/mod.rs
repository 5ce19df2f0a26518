//! What must hold of a run's records, whatever happened to those who wrote them.

#![allow(
    dead_code,
    reason = "not every test binary that judges says what it saw"
)]

use std::collections::{BTreeMap, BTreeSet, HashMap};

use flowweaver::id::RunId;
use flowweaver::run::status::Status;
use flowweaver::store::Store;
use flowweaver::store::rows::{AttemptRow, IoKind, RunFilter, RunImage, TaskRunRow};

/// What the oracle saw.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Runs in the store.
    pub runs: usize,
    /// Acknowledged runs that are not there, or have not ended.
    pub lost: usize,
    /// Outputs, successes or starts beyond the one that there may be.
    pub doubled: usize,
    /// Runs that ended because a task was cut off three times.
    pub poisoned: usize,
    /// Attempts that were cut off.
    pub cut: usize,
    /// Everything that is wrong, in words.
    pub wrong: Vec<String>,
}

impl Verdict {
    /// Fails with all that is wrong.
    pub fn must_be_clean(&self) {
        assert!(
            self.wrong.is_empty(),
            "{} faults of {} runs:\n{}",
            self.wrong.len(),
            self.runs,
            self.wrong.join("\n")
        );
    }

    /// One line for the table of what was run.
    pub fn line(&self) -> String {
        format!(
            "{} runs, {} lost, {} doubled, {} attempts cut off, {} dead-lettered",
            self.runs, self.lost, self.doubled, self.cut, self.poisoned
        )
    }
}

/// Judges all runs of a store. `acknowledged`: those that somebody was told of. `chain`: the tasks of the workflow
/// in their order, each of which needs the one before.
pub async fn judge(store: &dyn Store, acknowledged: &BTreeSet<RunId>, chain: &[&str]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut found = BTreeSet::new();
    let mut filter = RunFilter {
        limit: 500,
        ..RunFilter::default()
    };
    loop {
        let page = store.runs(&filter).await.expect("a store that answers");
        for row in &page {
            found.insert(row.run_id);
        }
        match page.last() {
            Some(last) => filter.before = Some(last.run_id),
            None => break,
        }
    }
    verdict.runs = found.len();
    for run in acknowledged.difference(&found) {
        verdict.lost += 1;
        verdict
            .wrong
            .push(format!("{run} was acknowledged and is not there"));
    }
    for run in &found {
        let image = store.load_run(*run).await.expect("a store that answers");
        let image = image.expect("a run that was listed");
        let io = store.io(*run).await.expect("a store that answers");
        let outputs = io.iter().filter(|io| io.kind == IoKind::Output);
        let mut of_task: HashMap<_, usize> = HashMap::new();
        for output in outputs {
            *of_task.entry(output.task_run_id).or_default() += 1;
        }
        verdict.judge_run(&image, chain);
        for task in &image.tasks {
            let mut attempts: Vec<_> = image
                .attempts
                .iter()
                .filter(|attempt| attempt.task_run_id == task.task_run_id)
                .collect();
            attempts.sort_by_key(|attempt| attempt.number);
            let outputs = of_task.get(&task.task_run_id).copied().unwrap_or(0);
            verdict.judge_task(task, &attempts, outputs);
        }
    }
    verdict
}

impl Verdict {
    fn complain(&mut self, run: RunId, what: String) {
        self.wrong.push(format!("{run}: {what}"));
    }

    fn judge_run(&mut self, image: &RunImage, chain: &[&str]) {
        let run = image.run.run_id;
        if !image.run.status.is_final() {
            self.lost += 1;
            self.complain(run, format!("it is {}", image.run.status));
            return;
        }
        let poisoned = image.run.failure_code.as_deref() == Some("poison");
        self.poisoned += usize::from(poisoned);
        if image.run.status != Status::Succeeded && !poisoned {
            let why = &image.run.failure_message;
            self.complain(run, format!("it ended {}: {why:?}", image.run.status));
        }
        let mut by_name: BTreeMap<&str, &TaskRunRow> = BTreeMap::new();
        for task in &image.tasks {
            if by_name.insert(task.task.as_str(), task).is_some() {
                self.doubled += 1;
                self.complain(run, format!("two task runs of {}", task.task));
            }
        }
        for pair in chain.windows(2) {
            let (Some(before), Some(after)) = (by_name.get(pair[0]), by_name.get(pair[1])) else {
                continue;
            };
            let begun = after.started_at;
            let in_order =
                begun.is_none() || (before.output_io_id.is_some() && before.finished_at.is_some());
            if !in_order {
                self.complain(
                    run,
                    format!("{} began before {} had ended", pair[1], pair[0]),
                );
            }
        }
        if image.run.status == Status::Succeeded && by_name.len() != chain.len() {
            self.complain(run, format!("{} tasks of {}", by_name.len(), chain.len()));
        }
    }

    fn judge_task(&mut self, task: &TaskRunRow, attempts: &[&AttemptRow], outputs: usize) {
        let run = task.run_id;
        let name = &task.task;
        if outputs > 1 {
            self.doubled += outputs - 1;
            self.complain(run, format!("{outputs} outputs of {name}"));
        }
        let whole = (task.status == Status::Succeeded) == (outputs == 1);
        if !whole || task.output_io_id.is_some() != (outputs == 1) {
            self.complain(
                run,
                format!("{name} is {} with {outputs} outputs", task.status),
            );
        }
        for (position, attempt) in attempts.iter().enumerate() {
            if attempt.number as usize != position + 1 {
                self.complain(
                    run,
                    format!("{name}: attempt {} stands at {position}", attempt.number),
                );
            }
            let interrupted = attempt.status == Status::Interrupted;
            self.cut += usize::from(interrupted);
            if !attempt.status.is_final() && !interrupted {
                self.complain(
                    run,
                    format!("{name}: attempt {} left {}", attempt.number, attempt.status),
                );
            }
        }
        let done = attempts.iter().filter(|a| a.status == Status::Succeeded);
        let done = done.count();
        if done > 1 {
            self.doubled += done - 1;
            self.complain(run, format!("{name} succeeded {done} times"));
        }
        let last = attempts.last().map(|attempt| attempt.status);
        if done == 1 && last != Some(Status::Succeeded) {
            self.complain(run, format!("{name} was tried after it had succeeded"));
        }
        if !attempts.is_sorted_by_key(|attempt| attempt.lease_epoch) {
            self.complain(
                run,
                format!("an older owner began a later attempt of {name}"),
            );
        }
        if task.attempts as usize != attempts.len() {
            let counted = task.attempts;
            self.complain(
                run,
                format!("{name} counts {counted} attempts of {}", attempts.len()),
            );
        }
    }
}
