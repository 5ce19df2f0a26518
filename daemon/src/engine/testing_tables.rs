//! How the store in memory writes transitions, and what it tells of runs that begin runs.

use async_trait::async_trait;

use super::testing_store::{FakeStore, Tables};
use crate::clock::Timestamp;
use crate::id::{OrganizationId, RunId};
use crate::store::lineage::{DeliveryId, DeliveryRow, DeliveryState};
use crate::store::rows::*;
use crate::store::{CommitOutcome, LineageStore, StoreError};

impl Tables {
    fn write(&mut self, t: &Transition) -> CommitOutcome {
        match &t.run {
            RunChange::Insert(row) => {
                if self.runs.contains_key(&t.run_id) {
                    return CommitOutcome::Conflict;
                }
                if let Some(owner) = row.owner {
                    assert!(
                        self.daemons.contains_key(&owner),
                        "an owner without a sign of life"
                    );
                }
                let mut others = self.runs.values();
                let same = others.find(|r| {
                    r.idempotency_key.is_some() && r.idempotency_key == row.idempotency_key
                });
                if let Some(same) = same {
                    return CommitOutcome::Duplicate(same.run_id);
                }
                let number = self.runs.len() as i64 + 1;
                let row = RunRow {
                    number,
                    revision: 1,
                    ..(**row).clone()
                };
                self.runs.insert(t.run_id, row);
            }
            RunChange::Update(update) => {
                if let Some(stopped) = self.update(t, update) {
                    return stopped;
                }
            }
        }
        self.jobs
            .extend(t.jobs.iter().map(|row| (row.job_run_id, row.clone())));
        for row in &t.tasks {
            let before = self.tasks.insert(row.task_run_id, row.clone());
            if !self.lax
                && let Some(before) = before.and_then(|before| before.output_io_id)
            {
                assert_eq!(
                    row.output_io_id,
                    Some(before),
                    "a second output was recorded"
                );
            }
        }
        self.attempts
            .extend(t.attempts.iter().map(|row| (row.attempt_id, row.clone())));
        self.io
            .extend(t.io.iter().map(|row| (row.io_id, row.clone())));
        self.calls.extend(t.host_calls.iter().cloned());
        self.logs
            .extend(t.logs.iter().map(|log| (t.run_id, log.clone())));
        self.orders
            .retain(|order| !t.consumed.contains(&order.command_id));
        if t.ends {
            self.note_end(t.run_id);
        }
        if let Some(control) = &t.control {
            self.control(t.run_id, control);
        }
        CommitOutcome::Committed
    }

    /// Notes who starts after the end of this run.
    fn note_end(&mut self, run: RunId) {
        let source = &self.runs[&run];
        for (workflow, end) in &self.triggers {
            if end.workflow != source.workflow_name || end.status != source.status {
                continue;
            }
            let at = source.finished_at.unwrap();
            let id = DeliveryId {
                source: run,
                workflow: *workflow,
            };
            let row = DeliveryRow {
                id,
                organization_id: source.organization_id,
                source_status: source.status,
                state: DeliveryState::Pending,
                run_id: None,
                reason_code: None,
                reason_message: None,
                due_at: at,
                created_at: at,
                settled_at: None,
            };
            let before = self.deliveries.insert(id, row);
            assert!(before.is_none() || self.lax, "a run ended twice");
        }
    }

    fn update(&mut self, t: &Transition, update: &RunUpdate) -> Option<CommitOutcome> {
        let Some(row) = self.runs.get_mut(&t.run_id) else {
            return Some(CommitOutcome::Conflict);
        };
        if row.lease_epoch != t.lease_epoch {
            self.fenced += 1;
            if !self.lax {
                return Some(CommitOutcome::Fenced);
            }
        }
        if row.revision != t.expected_revision && !self.lax {
            return Some(CommitOutcome::Conflict);
        }
        row.revision += 1;
        row.status = update.status;
        row.started_at = update.started_at;
        row.finished_at = update.finished_at;
        row.tolerated_failures = update.tolerated_failures;
        row.failure_code = update.failure_code.clone();
        row.failure_message = update.failure_message.clone();
        None
    }

    pub(super) fn write_all(&mut self, batch: &[Transition], reject: bool) -> Vec<CommitOutcome> {
        self.largest_batch = self.largest_batch.max(batch.len());
        let write = |t: &Transition| match (&t.run, reject) {
            (RunChange::Update(_), true) => CommitOutcome::Rejected("bad data".into()),
            _ => self.write(t),
        };
        batch.iter().map(write).collect()
    }
}

#[async_trait]
impl LineageStore for FakeStore {
    async fn run(&self, run: RunId) -> Result<Option<RunRow>, StoreError> {
        Ok(self.up()?.runs.get(&run).cloned())
    }

    async fn run_of_key(
        &self,
        organization: OrganizationId,
        key: &str,
    ) -> Result<Option<RunRow>, StoreError> {
        let tables = self.up()?;
        let mut runs = tables.runs.values();
        let found = runs.find(|run| {
            run.organization_id == organization && run.idempotency_key.as_deref() == Some(key)
        });
        Ok(found.cloned())
    }

    async fn deliveries_due(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        let tables = self.up()?;
        let due = |row: &&DeliveryRow| row.state == DeliveryState::Pending && row.due_at <= now;
        let mut due: Vec<_> = tables.deliveries.values().filter(due).cloned().collect();
        due.sort_by_key(|row| row.due_at);
        due.truncate(limit as usize);
        Ok(due)
    }

    async fn deliveries_of(&self, run: RunId) -> Result<Vec<DeliveryRow>, StoreError> {
        let tables = self.up()?;
        let of = |row: &&DeliveryRow| row.id.source == run;
        Ok(tables.deliveries.values().filter(of).cloned().collect())
    }

    async fn settle_delivery(&self, delivery: &DeliveryRow) -> Result<(), StoreError> {
        let mut tables = self.up()?;
        if let Some(row) = tables.deliveries.get_mut(&delivery.id)
            && row.state == DeliveryState::Pending
        {
            *row = delivery.clone();
        }
        Ok(())
    }
}
