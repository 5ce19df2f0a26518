//! The schedules of files, taken into the store: made, edited, retired when they are gone, revived when they return.
//! A schedule of a file is the same one across edits by workflow and name.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::edit::edited;
use super::keeper::Keeper;
use crate::catalog::{Catalog, LiveWorkflow};
use crate::clock::Timestamp;
use crate::id::{ScheduleId, ScheduleName, WorkflowId};
use crate::store::StoreError;
use crate::store::schedule::{Before, ScheduleOrigin, ScheduleRow};
use crate::workflow::schedule::Schedule;

impl Keeper {
    /// Brings the store's schedules of files to what the live files say. A daemon whose files are not the active
    /// version changes nothing.
    pub(super) async fn sync(&mut self) -> Result<(), StoreError> {
        let catalog = self.shared.catalog.load_full();
        let now = self.now();
        let known: HashMap<(WorkflowId, ScheduleName), ScheduleRow> = self
            .kept
            .values()
            .filter(|kept| kept.row.origin == ScheduleOrigin::File)
            .map(|kept| {
                let key = (kept.row.workflow_id, kept.row.name.clone());
                (key, kept.row.clone())
            })
            .collect();
        let mut named: HashSet<ScheduleId> = HashSet::new();
        for live in catalog.workflows.values() {
            for schedule in &live.workflow.schedules {
                let key = (live.workflow_id, schedule.name.clone());
                let row = known.get(&key);
                named.extend(row.map(|row| row.schedule_id));
                self.sync_one(live, schedule, row, now).await?;
            }
        }
        let gone = known
            .into_values()
            .filter(|row| row.retired_at.is_none() && !named.contains(&row.schedule_id));
        self.retire(&catalog, gone.collect(), now).await
    }

    async fn sync_one(
        &self,
        live: &LiveWorkflow,
        schedule: &Schedule,
        row: Option<&ScheduleRow>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let unwritable = |error: serde_json::Error| StoreError::Rejected(error.to_string());
        let (written, before, fires) = match row {
            None => {
                let row = new_row(live, schedule, ScheduleOrigin::File, now).map_err(unwritable)?;
                (row, Before::Absent, Vec::new())
            }
            Some(row) => {
                let (written, fires) = edited(row, schedule, now).map_err(unwritable)?;
                if row.retired_at.is_none() && written.definition == row.definition {
                    return Ok(());
                }
                (written, Before::Row(row), fires)
            }
        };
        let active = Some(live.workflow.version);
        let store = &self.shared.store;
        let done = store.schedule_put(&written, before, active, &fires).await?;
        if done {
            tracing::info!(workflow = %live.workflow.name, schedule = %schedule.name, "the schedule is live");
        }
        Ok(())
    }

    /// Schedules that no live file has any more start nothing more; their history stays.
    async fn retire(
        &self,
        catalog: &Catalog,
        gone: Vec<ScheduleRow>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if gone.is_empty() {
            return Ok(());
        }
        let workflows = self.shared.store.workflows().await?;
        let retired: HashSet<WorkflowId> = workflows
            .iter()
            .filter(|row| row.active_version.is_none())
            .map(|row| row.workflow_id)
            .collect();
        for row in gone {
            let live: Option<&Arc<LiveWorkflow>> = catalog
                .workflow(row.organization_id, &row.workflow_name)
                .filter(|live| live.workflow_id == row.workflow_id);
            // A workflow that is only not live here may be live at another daemon.
            if live.is_none() && !retired.contains(&row.workflow_id) {
                continue;
            }
            let active = live.map(|live| live.workflow.version);
            let written = ScheduleRow {
                retired_at: Some(now),
                updated_at: now,
                ..row.clone()
            };
            let store = &self.shared.store;
            if store
                .schedule_put(&written, Before::Row(&row), active, &[])
                .await?
            {
                tracing::info!(workflow = %row.workflow_name, schedule = %row.name, "the schedule is gone from its file");
            }
        }
        Ok(())
    }
}

/// A schedule that begins now.
pub(super) fn new_row(
    live: &LiveWorkflow,
    schedule: &Schedule,
    origin: ScheduleOrigin,
    now: Timestamp,
) -> Result<ScheduleRow, serde_json::Error> {
    Ok(ScheduleRow {
        schedule_id: ScheduleId::generate(),
        organization_id: live.organization_id,
        workflow_id: live.workflow_id,
        workflow_name: live.workflow.name.clone(),
        name: schedule.name.clone(),
        origin,
        name_is_free: false,
        definition: serde_json::to_string(schedule)?.into(),
        decided_until: now,
        looked_at: now,
        revision: 1,
        turn: 1,
        created_at: now,
        updated_at: now,
        retired_at: None,
    })
}
