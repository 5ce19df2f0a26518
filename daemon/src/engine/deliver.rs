//! What the ends of runs start (`[[on]] workflow`).
//!
//! The commit that ends a run notes, as a delivery, each workflow whose active version waits for such an end. Any
//! daemon carries deliveries out, so no crash loses one; the key of the run that starts is made of the run that ended
//! and the workflow, so no crash doubles one. What starts is the version that is active by then, by its first trigger
//! that fits. A delivery that comes to nothing says why.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::broadcast;

use super::active::run_value;
use super::handle::{EngineHandle, Shared};
use super::intake::Admission;
use super::{EngineEvent, TriggerError, TriggerRequest, VersionError};
use crate::clock::Timestamp;
use crate::id::{RunId, WorkflowId};
use crate::run::status::{Status, Trigger};
use crate::store::StoreError;
use crate::store::lineage::{DeliveryRow, DeliveryState, Lineage};
use crate::store::rows::{RunFilter, RunImage, RunRow, WorkflowRow};
use crate::workflow::expression::{EvaluationError, Outputs, Scope};
use crate::workflow::family::DEPTH_MAX;
use crate::workflow::input::workflow_inputs;
use crate::workflow::model::{End, EndTrigger, TaskIndex, Workflow};

/// Looks after ends of runs are at least so far apart: a look costs little, and many runs end in a burst.
const PACE: Duration = Duration::from_millis(50);
/// How often it is looked for what other daemons left, and for what is to be done later.
const LOOK: Duration = Duration::from_secs(5);
/// Deliveries of one look.
const BATCH: u32 = 64;
/// A workflow that comes back to itself through the ends of others starts so often in [`LOOP_SPAN`]; then it waits.
/// Often enough for work in steps, rare enough for a mistake to be seen before it has done much.
const LOOP_STARTS: u32 = 10;
/// See [`LOOP_STARTS`].
const LOOP_SPAN: Duration = Duration::from_secs(60);

/// Why a delivery is not carried out now.
struct Later(String);

impl From<StoreError> for Later {
    fn from(error: StoreError) -> Self {
        Self(error.to_string())
    }
}

/// Carries out deliveries until the engine has gone.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut gone = shared.health.clone();
    let mut events = shared.endings.subscribe();
    tokio::select! {
        // It ends with the conductor, which holds the other side.
        _ = gone.wait_for(|_| false) => {}
        () = follow(&shared, &mut events) => {}
    }
}

async fn follow(shared: &Arc<Shared>, events: &mut broadcast::Receiver<EngineEvent>) {
    let mut pause = LOOK;
    loop {
        let from = shared.clock.now();
        let more = !shared.health.borrow().draining
            && match look(shared).await {
                Ok(more) => {
                    pause = LOOK;
                    more
                }
                Err(Later(why)) => {
                    tracing::debug!(why, "what ends of runs start has to wait");
                    // Soon again at first: most of what stands in the way is short.
                    pause = if pause < LOOK { pause * 2 } else { PACE }.min(LOOK);
                    false
                }
            };
        if more {
            continue;
        }
        tokio::select! {
            () = shared.clock.wait_until(from.after(pause)) => {}
            () = an_end(events) => shared.clock.wait_until(from.after(PACE)).await,
        }
    }
}

/// Returns when a run of this engine has ended, or when that may have been missed.
async fn an_end(events: &mut broadcast::Receiver<EngineEvent>) {
    loop {
        match events.recv().await {
            Ok(EngineEvent::Changed(_)) => {}
            Ok(EngineEvent::Finished { .. }) | Err(broadcast::error::RecvError::Lagged(_)) => {
                return;
            }
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Carries out what is due; answers whether there may be more.
async fn look(shared: &Arc<Shared>) -> Result<bool, Later> {
    let due = shared
        .store
        .deliveries_due(shared.clock.now(), BATCH)
        .await?;
    if due.is_empty() {
        return Ok(false);
    }
    let workflows = shared.store.workflows().await?;
    let full = due.len() == BATCH as usize;
    let mut later = Ok(full);
    for delivery in due {
        let of = |row: &&WorkflowRow| row.workflow_id == delivery.id.workflow;
        let workflow = workflows.iter().find(of);
        let outcome = match carry_out(shared, &delivery, workflow).await {
            Ok(outcome) => outcome,
            // One that has to wait keeps no other waiting.
            Err(why) => {
                later = Err(why);
                continue;
            }
        };
        if let Outcome::Failed(code, why) = &outcome {
            let (run, workflow) = (delivery.id.source, workflow.map(|row| row.name.as_str()));
            tracing::warn!(%run, workflow, code, why, "the end of a run could not start a workflow");
        }
        let settled = outcome.noted(delivery, shared.clock.now());
        shared.store.settle_delivery(&settled).await?;
    }
    later
}

/// What comes of a delivery.
enum Outcome {
    Started(RunId),
    Skipped(&'static str, String),
    Failed(&'static str, String),
    /// It is done at this time.
    Postponed(Timestamp, &'static str, String),
}

impl Outcome {
    fn noted(self, delivery: DeliveryRow, now: Timestamp) -> DeliveryRow {
        let settled = |state, reason: Option<(&str, String)>| {
            let (code, message) = reason.map_or((None, None), |(code, message)| {
                (Some(code.to_owned()), Some(message))
            });
            DeliveryRow {
                state,
                reason_code: code,
                reason_message: message,
                settled_at: Some(now),
                ..delivery.clone()
            }
        };
        match self {
            Self::Started(run) => DeliveryRow {
                run_id: Some(run),
                ..settled(DeliveryState::Started, None)
            },
            Self::Skipped(code, why) => settled(DeliveryState::Skipped, Some((code, why))),
            Self::Failed(code, why) => settled(DeliveryState::Failed, Some((code, why))),
            Self::Postponed(due_at, code, why) => DeliveryRow {
                due_at,
                settled_at: None,
                ..settled(DeliveryState::Pending, Some((code, why)))
            },
        }
    }
}

async fn carry_out(
    shared: &Arc<Shared>,
    delivery: &DeliveryRow,
    row: Option<&WorkflowRow>,
) -> Result<Outcome, Later> {
    let removed = || Outcome::Skipped("workflow.removed", "the workflow was removed".to_owned());
    let Some((row, version)) = row.and_then(|row| Some((row, row.active_version?))) else {
        return Ok(removed());
    };
    let workflow = match (shared.versions)(version).await {
        Ok(workflow) => workflow,
        // Perhaps for long: what is behind it goes first.
        Err(VersionError::Unavailable(why)) => {
            let due_at = shared.clock.now().after(LOOK);
            return Ok(Outcome::Postponed(due_at, "version.unavailable", why));
        }
        Err(VersionError::Lost(why)) => return Ok(Outcome::Failed("version.lost", why)),
    };
    let Some(image) = shared.store.load_run(delivery.id.source).await? else {
        let why = "the run that ended is not in the store any more".to_owned();
        return Ok(Outcome::Skipped("run.gone", why));
    };
    if image.run.lineage.depth >= DEPTH_MAX {
        let why = format!(
            "{DEPTH_MAX} runs stand above this one already: workflows that start each other stop here"
        );
        return Ok(Outcome::Skipped("trigger.depth", why));
    }
    let ended = Ended::new(&image, &workflow);
    let inputs = match ended.inputs(&workflow) {
        Ok(inputs) => inputs,
        Err(outcome) => return Ok(outcome),
    };
    if let Some(outcome) = too_often(shared, &image.run, row).await? {
        return Ok(outcome);
    }
    start(shared, &image.run, row.workflow_id, workflow, inputs).await
}

/// The run that ended, as expressions see it.
struct Ended<'i> {
    image: &'i RunImage,
    inputs: Value,
    run: Value,
    vars: Value,
}

/// Its outputs, by the positions of one trigger's task names.
struct EndedOutputs<'i> {
    image: &'i RunImage,
    names: &'i [String],
}

impl Outputs for EndedOutputs<'_> {
    fn output(&self, task: TaskIndex) -> Option<Arc<Value>> {
        let name = self.names.get(task.0 as usize)?;
        let mut rows = self.image.tasks.iter();
        let row = rows.find(|row| row.item_index < 0 && row.task.as_str() == name)?;
        let id = row.output_io_id?;
        let io = self.image.io.iter().find(|io| io.io_id == id)?;
        serde_json::from_str(&io.data).ok().map(Arc::new)
    }
}

impl<'i> Ended<'i> {
    fn new(image: &'i RunImage, workflow: &Workflow) -> Self {
        let vars = workflow.vars.iter();
        Self {
            image,
            inputs: serde_json::from_str(&image.run.inputs).unwrap_or(Value::Null),
            run: ended_value(&image.run),
            vars: vars
                .map(|(name, value)| (name.to_string(), value.clone()))
                .collect::<Map<_, _>>()
                .into(),
        }
    }

    /// The inputs of the run that starts, by the first trigger that fits.
    fn inputs(&self, workflow: &Workflow) -> Result<Value, Outcome> {
        let source = &self.image.run;
        let end = match source.status {
            Status::Succeeded => End::Succeeded,
            Status::Cancelled => End::Cancelled,
            _ => End::Failed,
        };
        let mut refused = None;
        for after in workflow.starts_after() {
            if after.workflow != source.workflow_name || !after.ends.contains(&end) {
                continue;
            }
            match self.wanted(after) {
                Ok(true) => return self.mapped(workflow, after),
                Ok(false) => refused = Some(after),
                Err(error) => return Err(unmade(&error)),
            }
        }
        Err(match refused {
            Some(_) => Outcome::Skipped("when", "its condition is false".to_owned()),
            None => Outcome::Skipped(
                "trigger.removed",
                format!(
                    "by now the workflow does not start after `{}` {}",
                    source.workflow_name, source.status
                ),
            ),
        })
    }

    fn wanted(&self, after: &EndTrigger) -> Result<bool, EvaluationError> {
        let Some(when) = &after.when else {
            return Ok(true);
        };
        match self.with_scope(after, |scope| when.evaluate(scope))? {
            Value::Bool(wanted) => Ok(wanted),
            other => Err(EvaluationError::Invalid(format!(
                "`when` gave {other}, not true or false"
            ))),
        }
    }

    fn mapped(&self, workflow: &Workflow, after: &EndTrigger) -> Result<Value, Outcome> {
        let given = self
            .with_scope(after, |scope| after.inputs.fill(scope))
            .map_err(|error| unmade(&error))?;
        workflow_inputs(workflow, &given)
            .map_err(|problems| Outcome::Failed("input.invalid", problems.join("; ")))
    }

    fn with_scope<T>(&self, after: &EndTrigger, work: impl FnOnce(&Scope<'_>) -> T) -> T {
        let outputs = EndedOutputs {
            image: self.image,
            names: &after.tasks,
        };
        work(&Scope {
            inputs: &self.inputs,
            run: &self.run,
            vars: &self.vars,
            outputs: &outputs,
            item: None,
        })
    }
}

fn unmade(error: &EvaluationError) -> Outcome {
    let code = match error {
        EvaluationError::Missing { .. } => "input.missing",
        EvaluationError::Invalid(_) => "input.invalid",
    };
    Outcome::Failed(code, error.to_string())
}

/// What expressions see as `run`.
fn ended_value(row: &RunRow) -> Value {
    let mut value = run_value(row);
    if let Some(fields) = value.as_object_mut() {
        let time = |at: Option<Timestamp>| at.map_or(Value::Null, |at| at.to_string().into());
        let failure = row.failure_code.as_ref().map_or(Value::Null, |code| {
            let message = row.failure_message.as_deref().unwrap_or_default();
            serde_json::json!({ "code": code, "message": message })
        });
        fields.insert("status".into(), row.status.as_str().into());
        fields.insert("started_at".into(), time(row.started_at));
        fields.insert("finished_at".into(), time(row.finished_at));
        fields.insert("failure".into(), failure);
    }
    value
}

fn root(run: &RunRow) -> RunId {
    run.lineage.root_run_id.unwrap_or(run.run_id)
}

/// A workflow above whose runs stands another run of it comes back to itself: it waits if it did so often of late.
async fn too_often(
    shared: &Arc<Shared>,
    source: &RunRow,
    workflow: &WorkflowRow,
) -> Result<Option<Outcome>, Later> {
    let mut comes_back = source.workflow_id == workflow.workflow_id;
    let mut above = source.lineage.above();
    for _ in 0..DEPTH_MAX {
        let Some(run) = above.filter(|_| !comes_back) else {
            break;
        };
        let row = shared.store.run(run).await?;
        comes_back = row
            .as_ref()
            .is_some_and(|row| row.workflow_id == workflow.workflow_id);
        above = row.and_then(|row| row.lineage.above());
    }
    if !comes_back {
        return Ok(None);
    }
    let family = RunFilter {
        organization: Some(source.organization_id),
        root: Some(root(source)),
        workflow: Some(workflow.name.clone()),
        trigger: Some(Trigger::Workflow),
        limit: LOOP_STARTS,
        ..RunFilter::default()
    };
    let latest = shared.store.runs(&family).await?;
    let Some(first) = latest
        .last()
        .filter(|_| latest.len() == LOOP_STARTS as usize)
    else {
        return Ok(None);
    };
    let free = first.created_at.after(LOOP_SPAN);
    Ok((free > shared.clock.now()).then(|| {
        let why = format!(
            "it has come back to itself {LOOP_STARTS} times in {} s; it goes on at {free}",
            LOOP_SPAN.as_secs()
        );
        Outcome::Postponed(free, "trigger.rate", why)
    }))
}

async fn start(
    shared: &Arc<Shared>,
    source: &RunRow,
    workflow_id: WorkflowId,
    workflow: Arc<Workflow>,
    inputs: Value,
) -> Result<Outcome, Later> {
    let now = shared.clock.now();
    let request = TriggerRequest {
        workflow,
        workflow_id,
        organization: source.organization_id,
        inputs,
        config: Value::Null,
        trigger: Trigger::Workflow,
        // As with a child's key: no key from outside can be this one.
        idempotency_key: Some(format!("after·{}·{workflow_id}", source.run_id)),
        scheduled_at: source.finished_at,
        priority: None,
        trace_id: Some(source.trace_id.clone()),
    };
    let (mut admission, answer) = Admission::new(request, now);
    admission.run.row.lineage = Lineage {
        parent_run_id: None,
        parent_task_run_id: None,
        triggered_by: Some(source.run_id),
        root_run_id: Some(root(source)),
        depth: source.lineage.depth.saturating_add(1),
    };
    let handle = EngineHandle::new(Arc::clone(shared));
    match handle.admit_in_turn((admission, answer)).await {
        Ok(accepted) => Ok(Outcome::Started(accepted.run_id)),
        Err(TriggerError::Rejected(why)) => Ok(Outcome::Failed("store.rejected", why)),
        Err(other) => Err(Later(other.to_string())),
    }
}
