//! A run's family in its view: the run above it, the runs that are its tasks, and what its end started.

use serde_json::{Value, json};

use super::ApiState;
use super::problem::ApiError;
use super::views;
use crate::id::RunId;
use crate::store::lineage::DeliveryRow;
use crate::store::rows::{RunFilter, RunRow, WorkflowRow};

/// Runs below a run that its view shows; the list, filtered by `parent`, has all.
const CHILDREN: u32 = 100;

/// Adds a run's family to its view.
pub(super) async fn add(state: &ApiState, run: &RunRow, view: &mut Value) -> Result<(), ApiError> {
    let parent = above(state, run.lineage.parent_run_id).await?;
    let triggered_by = above(state, run.lineage.triggered_by).await?;
    let below = RunFilter {
        organization: Some(run.organization_id),
        parent: Some(run.run_id),
        limit: CHILDREN,
        ..RunFilter::default()
    };
    let children: Vec<Value> = state
        .store
        .runs(&below)
        .await?
        .iter()
        .map(views::run)
        .collect();
    let deliveries = state.store.deliveries_of(run.run_id).await?;
    let workflows = match deliveries.is_empty() {
        true => Vec::new(),
        false => state.store.workflows().await?,
    };
    let deliveries: Vec<Value> = deliveries
        .iter()
        .map(|delivery| delivered(delivery, &workflows))
        .collect();
    if let Some(view) = view.as_object_mut() {
        view.insert("parent".to_owned(), parent);
        view.insert("triggeredByRun".to_owned(), triggered_by);
        view.insert("children".to_owned(), children.into());
        view.insert("deliveries".to_owned(), deliveries.into());
    }
    Ok(())
}

/// The run above, which is of the same organization by how it came about.
async fn above(state: &ApiState, run: Option<RunId>) -> Result<Value, ApiError> {
    let Some(run) = run else {
        return Ok(Value::Null);
    };
    let row = state.store.run(run).await?;
    Ok(row.as_ref().map_or(Value::Null, views::run))
}

fn delivered(delivery: &DeliveryRow, workflows: &[WorkflowRow]) -> Value {
    let workflow = workflows
        .iter()
        .find(|row| row.workflow_id == delivery.id.workflow);
    json!({
        "workflow": workflow.map(|row| &row.name),
        "workflowId": delivery.id.workflow,
        "state": delivery.state,
        "runId": delivery.run_id,
        "reason": views::failure(delivery.reason_code.as_deref(), delivery.reason_message.as_deref()),
        "dueAt": delivery.due_at,
        "settledAt": delivery.settled_at,
    })
}
