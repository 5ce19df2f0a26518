//! Families in the storm: a workflow whose tasks are other workflows, and one that starts after others; and what must
//! hold of them afterwards.

use std::collections::HashMap;
use std::sync::Arc;

use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::{Habit, Tables};
use crate::id::{Digest, TaskName, WorkflowName};
use crate::run::status::Status;
use crate::run::testing::{draft, for_each};
use crate::store::lineage::DeliveryState;
use crate::store::rows::RunRow;
use crate::workflow::expression::Template;
use crate::workflow::model::{End, EndTrigger, OnFailure, TriggerSpec, Uses, Workflow};

/// Whether a task of the storm waits for a run instead of a guest.
pub(super) fn is_wait(task: &TaskName) -> bool {
    task.as_str().starts_with("wait")
}

/// Adds a parent of two of the workflows, a parent of that parent, and one that starts after some of them.
pub(super) fn add(
    rng: &mut StdRng,
    workflows: &mut Vec<Arc<Workflow>>,
    habits: &mut HashMap<String, Habit>,
) {
    let low = parent(rng, 3, &[&workflows[0], &workflows[1]], habits);
    let high = parent(rng, 4, &[&low], habits);
    let sources = [&workflows[1], &low, &high];
    let triggers = sources.map(|source| after(rng, &source.name)).into();
    habits.insert(
        "told".into(),
        Habit {
            failures: 0,
            millis: 5,
        },
    );
    let mut listener = draft().job("after").task("told");
    listener.0.version = Digest::of(b"storm listener");
    listener.0.name = "storm-listener".parse().unwrap();
    listener.0.triggers = triggers;
    workflows.extend([low, high, listener.build()]);
}

fn parent(
    rng: &mut StdRng,
    number: usize,
    children: &[&Arc<Workflow>],
    habits: &mut HashMap<String, Habit>,
) -> Arc<Workflow> {
    let mut built = draft();
    built.0.version = Digest::of(format!("storm {number}").as_bytes());
    built.0.name = format!("storm-{number}").parse().unwrap();
    built = built.job(&format!("j{number}"));
    for (at, child) in children.iter().enumerate() {
        let name = format!("wait{number}-{at}");
        habits.insert(
            name.clone(),
            Habit {
                failures: 0,
                millis: 0,
            },
        );
        let items = (rng.random_range(0..3) == 0).then(|| rng.random_range(1..4));
        let (attempts, tolerant) = (rng.random_range(1..4), rng.random_range(0..2) == 0);
        let beside = rng.random_range(0..2) == 0;
        built = built.task_with(&name, |task| {
            task.uses = Uses::Workflow {
                name: child.name.clone(),
                version: child.version,
            };
            task.retry.attempts = attempts;
            // No child of a storm takes as long, however often it is retried.
            task.limits.timeout = std::time::Duration::from_secs(1_000_000);
            if beside {
                task.needs.clear();
            }
            if let Some(items) = items {
                task.for_each = for_each(items, 2);
            }
            if tolerant {
                task.on_failure = OnFailure::Continue;
            }
        });
    }
    built.build()
}

fn after(rng: &mut StdRng, source: &WorkflowName) -> TriggerSpec {
    let mut ends: Vec<End> = End::ALL.iter().map(|(_, end)| *end).collect();
    ends.truncate(rng.random_range(1..=3));
    TriggerSpec::Workflow(EndTrigger {
        workflow: source.clone(),
        ends,
        when: None,
        inputs: Template::Literal(json!({})),
        tasks: Vec::new(),
    })
}

/// Whether everything that ends were to start was started, or not.
pub(super) fn all_delivered(tables: &Tables) -> bool {
    let mut deliveries = tables.deliveries.values();
    deliveries.all(|delivery| delivery.state != DeliveryState::Pending)
}

/// What is wrong with the families that are left.
pub(super) fn faults(tables: &Tables, workflows: &[Arc<Workflow>]) -> Vec<String> {
    let mut wrong = Vec::new();
    for run in tables.runs.values() {
        if let Some(above) = run.lineage.above() {
            let depth = tables.runs.get(&above).map(|row| row.lineage.depth + 1);
            if depth != Some(run.lineage.depth) {
                wrong.push(format!(
                    "{} stands at {} below {above}",
                    run.run_id, run.lineage.depth
                ));
            }
        }
        wrong.extend(faults_of_end(tables, run, workflows));
    }
    wrong.extend(faults_of_waits(tables));
    wrong
}

/// Each end starts what waits for it once.
fn faults_of_end(tables: &Tables, run: &RunRow, workflows: &[Arc<Workflow>]) -> Vec<String> {
    let mut wrong = Vec::new();
    let word = run.status.as_str();
    let waits = |after: &EndTrigger| {
        let ends = after.ends.iter();
        let mut words = ends.filter_map(|end| End::ALL.iter().find(|(_, e)| e == end));
        after.workflow == run.workflow_name && words.any(|(name, _)| *name == word)
    };
    let wanted = workflows
        .iter()
        .filter(|workflow| workflow.starts_after().any(waits))
        .count();
    let noted = tables
        .deliveries
        .keys()
        .filter(|id| id.source == run.run_id);
    let noted = noted.count();
    let started = tables
        .runs
        .values()
        .filter(|row| row.lineage.triggered_by == Some(run.run_id))
        .count();
    if (noted, started) != (wanted, wanted) {
        wrong.push(format!(
            "{} of {} ended {word}: {wanted} wait for that, {noted} were noted, {started} started",
            run.run_id, run.workflow_name
        ));
    }
    wrong
}

/// Each round of a wait has one child, the last one succeeded if the task did, and none is left behind.
fn faults_of_waits(tables: &Tables) -> Vec<String> {
    let mut wrong = Vec::new();
    let waits = tables.tasks.values().filter(|task| is_wait(&task.task));
    for task in waits {
        let of = |row: &&RunRow| row.lineage.parent_task_run_id == Some(task.task_run_id);
        let children: Vec<&RunRow> = tables.runs.values().filter(of).collect();
        let failed = tables.attempts.values().filter(|attempt| {
            attempt.task_run_id == task.task_run_id && attempt.status == Status::Failed
        });
        let rounds = failed.count() + 1;
        let succeeded = children
            .iter()
            .filter(|row| row.status == Status::Succeeded);
        let succeeded = succeeded.count();
        // A run that continues another has linked outputs, which are of that one's children; and the whole of a
        // `for_each` has children in its items alone.
        let is_other = children.is_empty();
        let mut complain = |what: String| {
            wrong.push(format!(
                "{} {}[{}]: {what}",
                task.run_id, task.task, task.item_index
            ));
        };
        if children.len() > rounds {
            complain(format!("{} children in {rounds} rounds", children.len()));
        }
        if task.status == Status::Succeeded && !is_other && succeeded != 1 {
            complain(format!("succeeded with {succeeded} children that did"));
        }
        let output = task.output_io_id.and_then(|id| tables.io.get(&id));
        let output: Option<Value> = output.and_then(|io| serde_json::from_str(&io.data).ok());
        let named = output.and_then(|output| output["run_id"].as_str().map(str::to_owned));
        if let Some(named) = named
            && !is_other
            && !children.iter().any(|row| row.run_id.to_string() == named)
        {
            complain(format!("its output is that of {named}, no child of it"));
        }
    }
    wrong
}
