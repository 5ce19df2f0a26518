//! A new run from an earlier one: what it repeats, what it links.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::oneshot;

use super::book::Output;
use super::intake::{Admission, Answer, NewRun, new_trace_id};
use super::{RerunError, RerunMode};
use crate::clock::Timestamp;
use crate::id::{IoId, RunId};
use crate::run::event::Unit;
use crate::run::graph::Graph;
use crate::run::rerun::{self, Earlier, From};
use crate::run::status::{Status, Trigger};
use crate::store::lineage::Lineage;
use crate::store::rows::{RunImage, RunRow};
use crate::workflow::model::Workflow;

/// The run that repeats or continues the run of this image.
pub(super) fn admission(
    image: RunImage,
    workflow: &Arc<Workflow>,
    mode: &RerunMode,
    same_version: bool,
    key: Option<String>,
    now: Timestamp,
) -> Result<(Admission, Answer), RerunError> {
    let from = match mode {
        RerunMode::FromFailed => From::Failed,
        RerunMode::FromStart => From::Start,
        RerunMode::FromTask(task) => From::Task(
            workflow
                .task_named(task.as_str())
                .ok_or_else(|| RerunError::UnknownTask(task.clone()))?,
        ),
    };
    let links = links(&image, workflow, from, same_version);
    let run_id = RunId::generate();
    let earlier = image.run;
    let origin_run_id = match from {
        From::Start => run_id,
        From::Failed | From::Task(_) => earlier.origin_run_id,
    };
    let parse = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
    let (inputs, config) = (parse(&earlier.inputs), parse(&earlier.config));
    let (answer, receiver) = oneshot::channel();
    let row = RunRow {
        run_id,
        version: workflow.version,
        number: 0,
        status: Status::Queued,
        trigger: Trigger::Rerun,
        trace_id: new_trace_id(),
        rerun_of: Some(earlier.run_id),
        origin_run_id,
        idempotency_key: key,
        priority: workflow.priority,
        owner: None,
        lease_epoch: 0,
        revision: 0,
        scheduled_at: now,
        created_at: now,
        started_at: None,
        finished_at: None,
        tolerated_failures: 0,
        failure_code: None,
        failure_message: None,
        // Nobody waits for it but who asked for it.
        lineage: Lineage::default(),
        ..earlier
    };
    let run = NewRun {
        row,
        workflow: Arc::clone(workflow),
        inputs,
        config,
        links,
        called_off: None,
    };
    Ok((Admission { run, answer }, receiver))
}

fn links(
    image: &RunImage,
    workflow: &Arc<Workflow>,
    from: From,
    same_version: bool,
) -> Vec<(Unit, Output)> {
    let io: HashMap<IoId, &Arc<str>> = image.io.iter().map(|row| (row.io_id, &row.data)).collect();
    let mut outputs = HashMap::new();
    let mut earlier = Vec::new();
    for row in &image.tasks {
        // A task that the version does not have, or has in another job, is another task.
        let Some(task) = workflow.task_named(row.task.as_str()) else {
            continue;
        };
        if workflow.job(workflow.task(task).job).name != row.job {
            continue;
        }
        let unit = Unit {
            task,
            item: u32::try_from(row.item_index).ok(),
        };
        let output = row.output_io_id.and_then(|id| Some((id, io.get(&id)?)));
        if let Some((id, text)) = output {
            outputs.insert(unit, Output::new(id, Arc::clone(text)));
            earlier.push(Earlier {
                unit,
                status: row.status,
            });
        }
    }
    let graph = Graph::new(Arc::clone(workflow));
    rerun::linked(&graph, &earlier, from, same_version)
        .into_iter()
        .filter_map(|unit| Some((unit, outputs.remove(&unit)?)))
        .collect()
}
