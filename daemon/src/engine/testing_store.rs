//! A store in memory that can fail at any commit, in any way.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::watch;

use super::testing_control::Turns;
use crate::clock::{Clock, ManualClock, Timestamp};
use crate::id::{
    AttemptId, DaemonId, Digest, IoId, JobRunId, OrganizationId, RunId, SecretName, TaskRunId,
    WorkflowId, WorkflowName,
};
use crate::run::status::Status;
use crate::store::lineage::{DeliveryId, DeliveryRow, EndOf};
use crate::store::rows::*;
use crate::store::{
    CommitOutcome, Duty, Expect, KvSpace, KvUsage, KvWrite, KvWritten, LEASE, StateStore, Store,
    StoreError,
};

/// What goes wrong with a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is written, and it says so badly.
    Before,
    /// All is written, but the answer is lost.
    AfterButError,
    /// Nothing is written and it never answers: the process died.
    HangBefore,
    /// All is written and it never answers: the process died.
    HangAfter,
    /// The disk is full.
    Full,
    /// The data of every update is refused.
    Reject,
}

#[derive(Default)]
pub struct Tables {
    pub runs: BTreeMap<RunId, RunRow>,
    pub jobs: HashMap<JobRunId, JobRunRow>,
    pub tasks: HashMap<TaskRunId, TaskRunRow>,
    pub attempts: HashMap<AttemptId, AttemptRow>,
    pub io: HashMap<IoId, IoRow>,
    pub calls: Vec<HostCallRow>,
    pub logs: Vec<(RunId, NewLog)>,
    pub orders: Vec<CommandRow>,
    pub turns: Turns,
    pub workflows: Vec<WorkflowRow>,
    /// Who starts after which end.
    pub triggers: Vec<(WorkflowId, EndOf)>,
    pub deliveries: BTreeMap<DeliveryId, DeliveryRow>,
    pub(super) daemons: HashMap<DaemonId, Sign>,
    pub commits: usize,
    /// Signs of life that were taken.
    pub beats: usize,
    pub largest_batch: usize,
    pub(super) faults: HashMap<usize, Fault>,
    pub down: bool,
    /// Lets anybody write at any time, as a store without a fence would.
    pub lax: bool,
    /// Transitions that came from an earlier owner.
    pub fenced: usize,
}

/// What is known of a daemon.
pub(super) struct Sign {
    instance: String,
    gone: bool,
    seen: Timestamp,
}

/// A store in memory.
pub struct FakeStore {
    tables: Mutex<Tables>,
    /// Without one, leases last for ever.
    clock: Option<ManualClock>,
    /// Counts commits that have begun.
    pub begun: watch::Sender<usize>,
    /// Counts commits whose fate is sealed.
    pub sealed: watch::Sender<usize>,
    /// While it holds true, commits wait.
    pub hold: watch::Sender<bool>,
}

impl FakeStore {
    pub fn new() -> Arc<Self> {
        Self::with(None)
    }

    /// One whose leases end by this clock.
    pub fn on(clock: ManualClock) -> Arc<Self> {
        Self::with(Some(clock))
    }

    fn with(clock: Option<ManualClock>) -> Arc<Self> {
        Arc::new(Self {
            tables: Mutex::default(),
            clock,
            begun: watch::Sender::new(0),
            sealed: watch::Sender::new(0),
            hold: watch::Sender::new(false),
        })
    }

    pub fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap()
    }

    /// The commit with this number (from 0) fails so.
    pub fn fail(&self, commit: usize, fault: Fault) {
        self.tables().faults.insert(commit, fault);
    }

    pub fn fail_next(&self, fault: Fault) {
        let mut tables = self.tables();
        let next = tables.commits;
        tables.faults.insert(next, fault);
    }

    pub fn run(&self, run: RunId) -> RunRow {
        self.tables().runs[&run].clone()
    }

    /// The state of a task by name and item.
    pub fn task(&self, run: RunId, task: &str, item: i64) -> Option<TaskRunRow> {
        let tables = self.tables();
        let mut rows = tables.tasks.values();
        rows.find(|row| row.run_id == run && row.task.as_str() == task && row.item_index == item)
            .cloned()
    }

    pub fn attempts(&self, run: RunId, task: &str) -> Vec<AttemptRow> {
        let tables = self.tables();
        let mut rows: Vec<_> = tables
            .attempts
            .values()
            .filter(|row| row.run_id == run && tables.tasks[&row.task_run_id].task.as_str() == task)
            .cloned()
            .collect();
        rows.sort_by_key(|row| (row.task_run_id, row.number));
        rows
    }

    pub fn output(&self, run: RunId, task: &str) -> Value {
        let id = self.task(run, task, -1).unwrap().output_io_id.unwrap();
        serde_json::from_str(&self.tables().io[&id].data).unwrap()
    }

    pub fn kinds(&self, run: RunId) -> Vec<&'static str> {
        let tables = self.tables();
        let logs = tables.logs.iter().filter(|(of, _)| *of == run);
        logs.map(|(_, log)| log.kind).collect()
    }

    fn now(&self) -> Timestamp {
        self.clock
            .as_ref()
            .map_or(Timestamp::from_micros(0), Clock::now)
    }

    pub(super) fn up(&self) -> Result<MutexGuard<'_, Tables>, StoreError> {
        let tables = self.tables();
        if tables.down {
            return Err(StoreError::Unavailable("it is down".into()));
        }
        Ok(tables)
    }
}

#[async_trait]
impl Store for FakeStore {
    async fn commit(&self, batch: Arc<[Transition]>) -> Result<Vec<CommitOutcome>, StoreError> {
        self.begun.send_modify(|begun| *begun += 1);
        let _ = self.hold.subscribe().wait_for(|hold| !hold).await;
        let (fault, outcomes) = {
            let mut tables = self.up()?;
            let number = tables.commits;
            tables.commits += 1;
            let fault = tables.faults.get(&number).copied();
            let written = match fault {
                Some(Fault::Before | Fault::HangBefore | Fault::Full) => Vec::new(),
                other => tables.write_all(&batch, other == Some(Fault::Reject)),
            };
            (fault, written)
        };
        self.sealed.send_modify(|sealed| *sealed += 1);
        match fault {
            Some(Fault::HangBefore | Fault::HangAfter) => std::future::pending().await,
            Some(Fault::Before | Fault::AfterButError) => {
                Err(StoreError::Unavailable("the answer was lost".into()))
            }
            Some(Fault::Full) => Err(StoreError::Full("no space left".into())),
            Some(Fault::Reject) | None => Ok(outcomes),
        }
    }

    async fn claim(&self, daemon: DaemonId, limit: u32) -> Result<Vec<ClaimedRun>, StoreError> {
        let mut tables = self.up()?;
        let now = self.now();
        let dead: HashSet<DaemonId> = tables
            .daemons
            .iter()
            .filter(|(_, sign)| sign.gone || now.since(sign.seen) > LEASE)
            .map(|(id, _)| *id)
            .collect();
        if dead.contains(&daemon) {
            return Err(StoreError::Rejected("no live heartbeat".into()));
        }
        let mut runs: Vec<&mut RunRow> = tables
            .runs
            .values_mut()
            .filter(|run| !run.status.is_final() && run.status != Status::Held)
            .filter(|run| run.owner.is_none_or(|owner| dead.contains(&owner)))
            .collect();
        runs.sort_by_key(|run| (-run.priority, run.run_id));
        runs.truncate(limit as usize);
        Ok(runs
            .into_iter()
            .map(|run| {
                run.owner = Some(daemon);
                run.lease_epoch += 1;
                ClaimedRun {
                    run_id: run.run_id,
                    lease_epoch: run.lease_epoch,
                }
            })
            .collect())
    }

    async fn release(&self, runs: &[(RunId, i64)]) -> Result<(), StoreError> {
        let mut tables = self.up()?;
        for (run, epoch) in runs {
            if let Some(row) = tables
                .runs
                .get_mut(run)
                .filter(|row| row.lease_epoch == *epoch)
            {
                row.owner = None;
            }
        }
        Ok(())
    }

    async fn heartbeat(&self, daemon: DaemonId, instance: &str) -> Result<(), StoreError> {
        let mut tables = self.up()?;
        let now = self.now();
        if let Some(known) = tables.daemons.get_mut(&daemon) {
            if known.gone {
                return Err(StoreError::Rejected("it was declared gone".into()));
            }
            known.seen = now;
            tables.beats += 1;
            return Ok(());
        }
        for sign in tables.daemons.values_mut() {
            sign.gone |= sign.instance == instance;
        }
        let sign = Sign {
            instance: instance.to_owned(),
            gone: false,
            seen: now,
        };
        tables.daemons.insert(daemon, sign);
        Ok(())
    }

    async fn farewell(&self, daemon: DaemonId) -> Result<(), StoreError> {
        if let Some(sign) = self.up()?.daemons.get_mut(&daemon) {
            sign.gone = true;
        }
        Ok(())
    }

    async fn take_duty(&self, _: DaemonId, _: Duty) -> Result<bool, StoreError> {
        Err(unused())
    }

    async fn catalog_revision(&self) -> Result<i64, StoreError> {
        Err(unused())
    }

    async fn load_run(&self, run: RunId) -> Result<Option<RunImage>, StoreError> {
        let tables = self.up()?;
        let Some(row) = tables.runs.get(&run) else {
            return Ok(None);
        };
        let tasks: Vec<_> = tables
            .tasks
            .values()
            .filter(|row| row.run_id == run)
            .cloned()
            .collect();
        let attempts: Vec<_> = tables
            .attempts
            .values()
            .filter(|row| row.run_id == run)
            .cloned()
            .collect();
        let outputs: HashSet<_> = tasks.iter().filter_map(|row| row.output_io_id).collect();
        let open: HashSet<_> = attempts
            .iter()
            .filter(|row| !row.status.is_final())
            .map(|row| row.attempt_id)
            .collect();
        let wanted = |row: &&IoRow| {
            outputs.contains(&row.io_id)
                || (row.kind == IoKind::Input && row.attempt_id.is_some_and(|a| open.contains(&a)))
        };
        Ok(Some(RunImage {
            run: row.clone(),
            jobs: tables
                .jobs
                .values()
                .filter(|row| row.run_id == run)
                .cloned()
                .collect(),
            io: tables.io.values().filter(wanted).cloned().collect(),
            tasks,
            attempts,
        }))
    }

    async fn order(&self, command: &CommandRow) -> Result<(), StoreError> {
        let mut tables = self.up()?;
        tables.orders.push(command.clone());
        tables.let_go(command.run_id);
        Ok(())
    }

    async fn orders(&self, daemon: DaemonId) -> Result<Vec<CommandRow>, StoreError> {
        let tables = self.up()?;
        let mine = |order: &&CommandRow| {
            tables
                .runs
                .get(&order.run_id)
                .is_some_and(|run| run.owner == Some(daemon))
        };
        Ok(tables.orders.iter().filter(mine).cloned().collect())
    }

    async fn workflows(&self) -> Result<Vec<WorkflowRow>, StoreError> {
        Ok(self.up()?.workflows.clone())
    }

    async fn publish(&self, _: &VersionRow) -> Result<WorkflowId, StoreError> {
        Err(unused())
    }
    async fn retire(&self, _: OrganizationId, _: &WorkflowName) -> Result<(), StoreError> {
        Err(unused())
    }
    async fn version(&self, _: &Digest) -> Result<Option<VersionRow>, StoreError> {
        Err(unused())
    }
    async fn versions(&self, _: WorkflowId) -> Result<Vec<VersionRow>, StoreError> {
        Err(unused())
    }
    async fn put_module(&self, _: &ModuleRow, _: &[u8]) -> Result<(), StoreError> {
        Err(unused())
    }
    async fn module(&self, _: &Digest) -> Result<Option<ModuleRow>, StoreError> {
        Err(unused())
    }
    async fn module_bytes(&self, _: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        Err(unused())
    }
    async fn runs(&self, filter: &RunFilter) -> Result<Vec<RunRow>, StoreError> {
        let tables = self.up()?;
        let wanted = |run: &&RunRow| {
            filter
                .root
                .is_none_or(|root| run.lineage.root_run_id == Some(root))
                && (filter.workflow.as_ref()).is_none_or(|name| *name == run.workflow_name)
                && filter.trigger.is_none_or(|trigger| trigger == run.trigger)
        };
        let runs = tables.runs.values().rev().filter(wanted);
        Ok(runs.take(filter.limit as usize).cloned().collect())
    }
    async fn logs(&self, _: Option<RunId>, _: i64, _: u32) -> Result<Vec<LogRow>, StoreError> {
        Err(unused())
    }
    async fn io(&self, _: RunId) -> Result<Vec<IoRow>, StoreError> {
        Err(unused())
    }
    async fn host_calls(&self, _: RunId) -> Result<Vec<HostCallRow>, StoreError> {
        Err(unused())
    }
}

#[async_trait]
impl StateStore for FakeStore {
    async fn kv_get(
        &self,
        _: &KvSpace,
        _: &str,
        _: Timestamp,
    ) -> Result<Option<KvEntry>, StoreError> {
        Err(unused())
    }
    async fn kv_set(
        &self,
        _: &KvSpace,
        _: &str,
        _: Expect,
        _: &KvWrite,
        _: Timestamp,
    ) -> Result<KvWritten, StoreError> {
        Err(unused())
    }
    async fn kv_delete(&self, _: &KvSpace, _: &str, _: Timestamp) -> Result<bool, StoreError> {
        Err(unused())
    }
    async fn kv_keys(
        &self,
        _: &KvSpace,
        _: &str,
        _: Option<&str>,
        _: u32,
        _: Timestamp,
    ) -> Result<Vec<String>, StoreError> {
        Err(unused())
    }
    async fn kv_list(
        &self,
        _: &KvSpace,
        _: &str,
        _: Option<&str>,
        _: u32,
        _: Timestamp,
    ) -> Result<Vec<KvListed>, StoreError> {
        Err(unused())
    }
    async fn kv_usage(&self, _: &KvSpace, _: Timestamp) -> Result<KvUsage, StoreError> {
        Err(unused())
    }
    async fn secrets(&self) -> Result<(u64, Vec<SecretRow>), StoreError> {
        Err(unused())
    }
    async fn secret_changes(&self) -> Result<u64, StoreError> {
        Err(unused())
    }
    async fn secret_put(&self, _: &SecretRow, _: Option<&SecretRow>) -> Result<bool, StoreError> {
        Err(unused())
    }
    async fn secret_delete(&self, _: OrganizationId, _: &SecretName) -> Result<bool, StoreError> {
        Err(unused())
    }
}

pub(super) fn unused() -> StoreError {
    StoreError::Corrupt("the engine does not ask for this".into())
}
