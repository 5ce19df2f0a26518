//! A run in memory: what is recorded of it, what follows from that, and how the second is made from
//! the first. How events change it is in `machine` and `jobs`.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::event::{Changes, Note, Reason, Unit};
use super::graph::Graph;
use super::status::Status;
use crate::clock::Timestamp;
use crate::workflow::model::{JobIndex, TaskIndex};

/// What is recorded of a unit (`task_run`, without names and ids).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitRecord {
    /// Its state.
    pub status: Status,
    /// Attempts begun.
    pub attempts: u32,
    /// Attempts that ended in a failure of their own.
    pub failures: u32,
    /// Attempts that ended with the daemon's death.
    pub interrupts: u32,
    /// Whether its failure was tolerated.
    pub tolerated: bool,
    /// When its last dependency was met.
    pub ready_at: Option<Timestamp>,
    /// When its first attempt began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// When it is tried again.
    pub retry_at: Option<Timestamp>,
    /// Why it failed, waits or was skipped.
    pub reason: Option<Reason>,
}

impl Default for UnitRecord {
    fn default() -> Self {
        Self {
            status: Status::Queued,
            attempts: 0,
            failures: 0,
            interrupts: 0,
            tolerated: false,
            ready_at: None,
            started_at: None,
            finished_at: None,
            retry_at: None,
            reason: None,
        }
    }
}

/// What is recorded of a job (`job_run`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobRecord {
    /// Its state.
    pub status: Status,
    /// When its first task began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Failures that were tolerated.
    pub tolerated_failures: u32,
}

impl Default for JobRecord {
    fn default() -> Self {
        Self {
            status: Status::Queued,
            started_at: None,
            finished_at: None,
            tolerated_failures: 0,
        }
    }
}

/// What is recorded of a run itself (`workflow_run`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRecord {
    /// Its state.
    pub status: Status,
    /// When its first task began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Failures that were tolerated.
    pub tolerated_failures: u32,
    /// Why it failed.
    pub failure: Option<Reason>,
}

impl Default for RunRecord {
    fn default() -> Self {
        Self {
            status: Status::Queued,
            started_at: None,
            finished_at: None,
            tolerated_failures: 0,
            failure: None,
        }
    }
}

/// Everything that is recorded of a run; what is not named stands as `queued`.
#[derive(Debug, Clone, Default)]
pub struct Records {
    /// The run itself.
    pub run: RunRecord,
    /// Its jobs.
    pub jobs: Vec<(JobIndex, JobRecord)>,
    /// Its tasks and items.
    pub units: Vec<(Unit, UnitRecord)>,
}

/// A run in memory. See the module's essay for how it is used.
#[derive(Debug)]
pub struct RunState {
    pub(super) graph: Arc<Graph>,
    pub(super) run: RunRecord,
    pub(super) jobs: Vec<JobState>,
    pub(super) tasks: Vec<TaskState>,
    /// Jobs that are not final.
    pub(super) open_jobs: usize,
    /// Set once the run is to end early.
    pub(super) stop: Option<Stop>,
    /// Tasks whose `when` or `for_each` is to be evaluated.
    pub(super) undecided: BTreeSet<TaskIndex>,
    /// Units that may begin.
    pub(super) ready: BTreeSet<Unit>,
    /// Units that wait for a retry delay.
    pub(super) retries: BTreeSet<(Timestamp, Unit)>,
    /// Units with an attempt under way.
    pub(super) running: BTreeSet<Unit>,
    /// Jobs whose needs have just been met.
    pub(super) entering: Vec<JobIndex>,
    pub(super) changes: Changes,
}

/// Why a run ends early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stop {
    Cancelled(String),
    TimedOut,
}

/// The code of what a cancel ended.
pub const CANCELLED: &str = "cancelled";
/// The code of what the run's own time limit ended.
pub const RUN_TIMEOUT: &str = "run.timeout";

impl Stop {
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Cancelled(why) => Reason::new(CANCELLED, why.clone()),
            Self::TimedOut => Reason::new(RUN_TIMEOUT, "the run used up its time"),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct JobState {
    pub record: JobRecord,
    /// Needs that are not final.
    pub unmet: usize,
    /// Whether a job before it, near or far, failed.
    pub tainted: bool,
    /// Whether its needs are met and its `run_on` agreed.
    pub entered: bool,
    /// Tasks that are not final.
    pub open: usize,
    /// Whether a task failed for good: nothing new starts.
    pub stopped: bool,
    pub touched: bool,
}

#[derive(Debug, Default)]
pub(super) struct TaskState {
    pub record: UnitRecord,
    /// Needs that are not met.
    pub unmet: usize,
    pub each: Option<Each>,
    pub touched: bool,
}

/// The items of a `for_each` task.
#[derive(Debug, Default)]
pub(super) struct Each {
    pub items: Vec<(UnitRecord, bool)>,
    /// How many there are; none until decided (again, after a restart).
    pub total: Option<u32>,
    /// The first item that was not yet given a place.
    pub next: u32,
    /// Items that hold one of the `max_parallel` places.
    pub in_play: u32,
    /// Why it will fail.
    pub failed: Option<Reason>,
}

impl RunState {
    /// The run as its records have it, with everything that follows from them. A new run has no
    /// records; a rerun has those of its linked tasks. Attempts that were running are
    /// [`running`](Self::running) here: who restores after a crash says which of them died.
    pub fn restore(graph: Arc<Graph>, records: Records, now: Timestamp) -> Self {
        let workflow = Arc::clone(graph.workflow());
        let mut state = Self {
            graph,
            run: records.run,
            jobs: workflow.jobs.iter().map(|_| JobState::default()).collect(),
            tasks: workflow
                .tasks
                .iter()
                .map(|_| TaskState::default())
                .collect(),
            open_jobs: 0,
            stop: None,
            undecided: BTreeSet::new(),
            ready: BTreeSet::new(),
            retries: BTreeSet::new(),
            running: BTreeSet::new(),
            entering: Vec::new(),
            changes: Changes::default(),
        };
        for (job, record) in records.jobs {
            state.job_mut(job).record = record;
        }
        for (unit, record) in records.units {
            state.place(unit, record);
        }
        if state.run.status.is_final() {
            return state;
        }
        state.derive_tasks();
        state.derive_jobs();
        state.resume_units();
        state.resume_stop(now);
        state.timer_due(now);
        state.settle(now);
        state
    }

    fn place(&mut self, unit: Unit, record: UnitRecord) {
        if record.status == Status::Cancelled && self.stop.is_none() {
            self.stop = Some(match &record.reason {
                Some(reason) if reason.code == RUN_TIMEOUT => Stop::TimedOut,
                Some(reason) => Stop::Cancelled(reason.message.clone()),
                None => Stop::Cancelled(String::new()),
            });
        }
        match unit.item {
            None => self.task_mut(unit.task).record = record,
            Some(item) => {
                let each = self.task_mut(unit.task).each.get_or_insert_default();
                let at = item as usize;
                if each.items.len() <= at {
                    each.items.resize_with(at + 1, Default::default);
                }
                if let Some(slot) = each.items.get_mut(at) {
                    slot.0 = record;
                }
            }
        }
    }

    fn derive_tasks(&mut self) {
        let workflow = Arc::clone(self.graph.workflow());
        for (at, task) in (0..).map(TaskIndex).zip(&workflow.tasks) {
            let unmet = task
                .needs
                .iter()
                .filter(|need| !self.task(**need).lets_go_on());
            self.task_mut(at).unmet = unmet.count();
            let record = &self.task(at).record;
            let (is_final, failed) = (record.status.is_final(), record.failed_for_good());
            let job = self.job_mut(task.job);
            job.open += usize::from(!is_final);
            job.stopped |= failed;
        }
    }

    fn derive_jobs(&mut self) {
        let graph = Arc::clone(&self.graph);
        for job in graph.job_order().iter().copied() {
            let needs = &graph.workflow().job(job).needs;
            let unmet = needs
                .iter()
                .filter(|need| !self.job(**need).record.status.is_final());
            let unmet = unmet.count();
            let tainted = needs.iter().any(|need| {
                let need = self.job(*need);
                let status = need.record.status;
                status == Status::Failed || (status.is_final() && need.tainted)
            });
            let state = self.job_mut(job);
            state.unmet = unmet;
            state.tainted = tainted;
            if !state.record.status.is_final() {
                self.open_jobs += 1;
                if unmet == 0 {
                    self.entering.push(job);
                }
            }
        }
    }

    fn resume_units(&mut self) {
        let mut units = Vec::new();
        for (at, task) in (0..).map(TaskIndex).zip(&self.tasks) {
            match &task.each {
                // A whole that is not running has no items under way, only linked ones.
                Some(each) if task.record.status == Status::Running => {
                    for (item, (record, _)) in (0..).zip(&each.items) {
                        units.push((Unit::item(at, item), record.status, record.retry_at));
                    }
                }
                _ => units.push((Unit::whole(at), task.record.status, task.record.retry_at)),
            }
        }
        for (unit, status, retry_at) in units {
            let in_play = match (status, retry_at) {
                (Status::Running, _) if self.is_each_whole(unit) => false,
                (Status::Running, _) => self.running.insert(unit),
                (Status::Waiting, Some(at)) => self.retries.insert((at, unit)),
                (Status::Waiting | Status::Interrupted, _) => self.ready.insert(unit),
                _ => false,
            };
            let failed = unit
                .item
                .is_some()
                .then(|| self.unit(unit).first_failure())
                .flatten();
            if let Some(each) = unit.item.and(self.task_mut(unit.task).each.as_mut()) {
                each.in_play += u32::from(in_play);
                each.failed = each.failed.take().or(failed);
            }
        }
        // The number of items is not recorded, because it follows from what is.
        for (at, task) in (0..).map(TaskIndex).zip(&self.tasks) {
            let each = self.graph.workflow().task(at).for_each.is_some();
            if each && task.record.status == Status::Running {
                self.undecided.insert(at);
            }
        }
    }

    /// A `for_each` of a run that is being stopped waits for its attempts only, not for a decision.
    fn resume_stop(&mut self, now: Timestamp) {
        let Some(reason) = self.stop.as_ref().map(Stop::reason) else {
            return;
        };
        for task in std::mem::take(&mut self.undecided) {
            self.stop_task(task, &reason, now);
        }
    }

    fn is_each_whole(&self, unit: Unit) -> bool {
        unit.item.is_none() && self.graph.workflow().task(unit.task).for_each.is_some()
    }

    /// The graph it follows.
    pub fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    /// The run itself.
    pub fn record(&self) -> &RunRecord {
        &self.run
    }

    /// A job as it stands.
    pub fn job_record(&self, job: JobIndex) -> &JobRecord {
        &self.job(job).record
    }

    /// A unit as it stands; an item nobody has counted yet stands as `queued`.
    pub fn unit(&self, unit: Unit) -> UnitView<'_> {
        let task = self.task(unit.task);
        UnitView(match unit.item {
            None => Some(&task.record),
            Some(item) => task
                .each
                .as_ref()
                .and_then(|each| each.items.get(item as usize))
                .map(|(record, _)| record),
        })
    }

    /// How many items a `for_each` task has, once decided.
    pub fn items(&self, task: TaskIndex) -> Option<u32> {
        self.task(task).each.as_ref().and_then(|each| each.total)
    }

    /// The units with an attempt under way.
    pub fn running(&self) -> impl Iterator<Item = Unit> + '_ {
        self.running.iter().copied()
    }

    /// Whether its attempts are to stop.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_some()
    }

    /// How many units could begin if there were room.
    pub fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// What happened since the last time, in order; `take_changes` has what is left of it.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.changes.notes)
    }

    /// When the next retry is due.
    pub fn next_retry(&self) -> Option<Timestamp> {
        self.retries.first().map(|(at, _)| *at)
    }

    /// When the run will have used up its time; none before it started or without a limit.
    pub fn deadline(&self) -> Option<Timestamp> {
        let timeout = self.graph.workflow().timeout?;
        Some(self.run.started_at?.after(timeout))
    }

    /// What changed since the last time.
    pub fn take_changes(&mut self) -> Changes {
        let changes = std::mem::take(&mut self.changes);
        for job in &changes.jobs {
            self.job_mut(*job).touched = false;
        }
        for unit in &changes.units {
            if let Some((_, touched)) = self.unit_mut(*unit) {
                *touched = false;
            }
        }
        changes
    }
}

/// A look at a unit's record.
#[derive(Debug, Clone, Copy)]
pub struct UnitView<'a>(Option<&'a UnitRecord>);

impl UnitView<'_> {
    /// Its state.
    pub fn status(&self) -> Status {
        self.0.map_or(Status::Queued, |record| record.status)
    }

    /// Attempts begun.
    pub fn attempts(&self) -> u32 {
        self.0.map_or(0, |record| record.attempts)
    }

    /// A copy of its record.
    pub fn record(&self) -> UnitRecord {
        self.0.cloned().unwrap_or_default()
    }

    fn first_failure(&self) -> Option<Reason> {
        self.0
            .filter(|record| record.failed_for_good())
            .and_then(|record| record.reason.clone())
    }
}

impl UnitRecord {
    pub(super) fn failed_for_good(&self) -> bool {
        self.status == Status::Failed && !self.tolerated
    }
}

impl TaskState {
    /// Whether what needs it may begin.
    pub(super) fn lets_go_on(&self) -> bool {
        self.record.status.is_final() && !self.record.failed_for_good()
    }
}

#[allow(
    clippy::indexing_slicing,
    reason = "both lists are as long as the workflow's own, from which every index comes"
)]
impl RunState {
    pub(super) fn job(&self, job: JobIndex) -> &JobState {
        &self.jobs[job.0 as usize]
    }

    pub(super) fn job_mut(&mut self, job: JobIndex) -> &mut JobState {
        &mut self.jobs[job.0 as usize]
    }

    pub(super) fn task(&self, task: TaskIndex) -> &TaskState {
        &self.tasks[task.0 as usize]
    }

    pub(super) fn task_mut(&mut self, task: TaskIndex) -> &mut TaskState {
        &mut self.tasks[task.0 as usize]
    }

    pub(super) fn unit_mut(&mut self, unit: Unit) -> Option<(&mut UnitRecord, &mut bool)> {
        let task = self.task_mut(unit.task);
        match unit.item {
            None => Some((&mut task.record, &mut task.touched)),
            Some(item) => task
                .each
                .as_mut()
                .and_then(|each| each.items.get_mut(item as usize))
                .map(|(record, touched)| (record, touched)),
        }
    }
}
