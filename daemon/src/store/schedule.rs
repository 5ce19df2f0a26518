//! Schedules and what became of their times. A part of [`super::Store`] in a file of its own.
//!
//! Rows only: what a definition means and what is decided about a time is `schedule`'s business.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::StoreError;
use crate::clock::Timestamp;
use crate::id::{
    Digest, FireId, OrganizationId, RunId, ScheduleId, ScheduleName, WorkflowId, WorkflowName,
};
use crate::run::status::Status;

/// How long the history of a schedule is kept: what ran in the last quarter can be looked up.
pub(super) const FIRES_KEPT: Duration = Duration::from_secs(92 * 86_400);

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $word:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$word_doc])* $word,)* }

        impl $name {
            /// The word that is stored and shown.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$word => $text,)* }
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$word),)*
                    other => Err(format!("{other:?} is no {}", stringify!($name))),
                }
            }
        }
    };
}

words! {
    /// Where a schedule is written.
    ScheduleOrigin {
        /// In a workflow file.
        File = "file",
        /// In the store, through the API.
        Api = "api",
    }
}

words! {
    /// Why there is a fire.
    FireCause {
        /// Its time came, or was missed.
        Time = "time",
        /// Its time was missed, and is made up for.
        CatchUp = "catch-up",
        /// A person asked for it afterwards.
        Backfill = "backfill",
    }
}

words! {
    /// What became of a time.
    FireOutcome {
        /// It is about to be started.
        Due = "due",
        /// It waits for its turn.
        Waiting = "waiting",
        /// It has a run.
        Started = "started",
        /// It was not wanted.
        Skipped = "skipped",
        /// Nobody was there.
        Missed = "missed",
        /// It could not be started.
        Refused = "refused",
    }
}

/// A schedule (`schedule`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleRow {
    /// Its id, the same across edits.
    pub schedule_id: ScheduleId,
    /// Its organization.
    pub organization_id: OrganizationId,
    /// Its workflow.
    pub workflow_id: WorkflowId,
    /// The workflow's name.
    pub workflow_name: WorkflowName,
    /// Its name.
    pub name: ScheduleName,
    /// Where it is written.
    pub origin: ScheduleOrigin,
    /// Whether its name is another's to take: it was deleted.
    pub name_is_free: bool,
    /// What it says, as JSON.
    pub definition: Arc<str>,
    /// Every time up to here has its decision.
    pub decided_until: Timestamp,
    /// What the clock said then.
    pub looked_at: Timestamp,
    /// Grows with each edit.
    pub revision: i64,
    /// Grows with each decision and each edit.
    pub turn: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last edited.
    pub updated_at: Timestamp,
    /// When it was removed; its history stays.
    pub retired_at: Option<Timestamp>,
}

impl ScheduleRow {
    /// What keeps two schedules of one workflow from having one name.
    pub(super) fn name_key(&self) -> Option<String> {
        (!self.name_is_free).then(|| format!("{}:{}", self.origin.as_str(), self.name))
    }
}

/// What became of a time, or of a span of missed ones (`schedule_fire`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FireRow {
    /// Its id.
    pub fire_id: FireId,
    /// Its organization.
    pub organization_id: OrganizationId,
    /// Its schedule.
    pub schedule_id: ScheduleId,
    /// The time; of a span the first.
    pub nominal_at: Timestamp,
    /// Whether it stands for a span of times.
    pub is_span: bool,
    /// Of a span the last time, else the time.
    pub last_at: Timestamp,
    /// How many times.
    pub times: u32,
    /// Why there is a fire.
    pub cause: FireCause,
    /// What became of it.
    pub outcome: FireOutcome,
    /// Why it did not run: a dotted code.
    pub reason_code: Option<String>,
    /// The same as a sentence.
    pub reason_message: Option<String>,
    /// Its run.
    pub run_id: Option<RunId>,
    /// Whether it counts as under way: until somebody saw that its run ended.
    pub open: bool,
    /// When it was decided.
    pub decided_at: Timestamp,
}

/// A fire with the state of its run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FireSeen {
    /// The fire.
    pub fire: FireRow,
    /// Its run's state; none without a run, or when the run is gone.
    pub run_status: Option<Status>,
}

/// Decisions about the times of one schedule.
#[derive(Debug, Clone)]
pub struct ScheduleStep {
    /// The schedule.
    pub schedule_id: ScheduleId,
    /// The revision it must have.
    pub revision: i64,
    /// The turn it must be at.
    pub turn: i64,
    /// Every time up to here is decided then.
    pub decided_until: Timestamp,
    /// What the clock says.
    pub looked_at: Timestamp,
    /// Fires whose runs have ended.
    pub closed: Vec<FireId>,
    /// What becomes of the times.
    pub fires: Vec<FireRow>,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stepped {
    /// It is durable; for each fire whether it is new, in order. One that is not had its decision before.
    Decided(Vec<bool>),
    /// Somebody else decided or edited meanwhile. Nothing of it was written.
    Conflict,
}

/// What became of a fire that was under way.
#[derive(Debug, Clone)]
pub struct Settled {
    /// The fire.
    pub fire_id: FireId,
    /// What it must be now.
    pub from: FireOutcome,
    /// What it becomes.
    pub outcome: FireOutcome,
    /// Why it did not run: code and sentence.
    pub reason: Option<(String, String)>,
    /// Its run.
    pub run_id: Option<RunId>,
    /// Whether that run is known to have ended.
    pub ended: bool,
}

impl Settled {
    /// Whether it is still under way afterwards.
    pub(super) fn open(&self) -> bool {
        !self.ended
            && matches!(
                self.outcome,
                FireOutcome::Due | FireOutcome::Waiting | FireOutcome::Started
            )
    }
}

/// What must hold for a schedule to be written.
#[derive(Debug, Clone, Copy)]
pub enum Before<'a> {
    /// There is none of its name.
    Absent,
    /// It still is this one, by revision and turn.
    Row(&'a ScheduleRow),
}

/// Schedules of a driver. Every call is one transaction.
#[async_trait]
pub trait ScheduleStore: Send + Sync + 'static {
    /// All schedules, removed ones included, with the count of edits that they are the result of.
    async fn schedules(&self) -> Result<(u64, Vec<ScheduleRow>), StoreError>;

    /// How many edits there have been.
    async fn schedule_changes(&self) -> Result<u64, StoreError>;

    /// One schedule.
    async fn schedule(&self, schedule: ScheduleId) -> Result<Option<ScheduleRow>, StoreError>;

    /// Writes a schedule and the fires that its edit decides, where `before` holds and, if `active` is given, that
    /// version is its workflow's active one; answers whether it did. Revision and turn are the store's.
    async fn schedule_put(
        &self,
        row: &ScheduleRow,
        before: Before<'_>,
        active: Option<Digest>,
        fires: &[FireRow],
    ) -> Result<bool, StoreError>;

    /// Writes decisions, each only if nobody else decided meanwhile; answers one outcome each, in order.
    async fn schedule_decide(&self, steps: &[ScheduleStep]) -> Result<Vec<Stepped>, StoreError>;

    /// Writes fires that a person asked for: new ones, and ones that did not run; answers which of them run now.
    async fn schedule_backfill(&self, fires: &[FireRow]) -> Result<Vec<bool>, StoreError>;

    /// What is under way of these schedules, in the order of its times.
    async fn fires_open(&self, schedules: &[ScheduleId]) -> Result<Vec<FireSeen>, StoreError>;

    /// What is to be started, of all schedules, in the order of its times.
    async fn fires_pending(&self) -> Result<Vec<FireSeen>, StoreError>;

    /// Writes what became of fires; answers for each whether it still was what it must be.
    async fn fires_settle(&self, settled: &[Settled]) -> Result<Vec<bool>, StoreError>;

    /// The fire of one time of a schedule.
    async fn fire_of(
        &self,
        schedule: ScheduleId,
        nominal: Timestamp,
    ) -> Result<Option<FireRow>, StoreError>;

    /// The history of a schedule, newest first, by keyset: `before` are time and id of the last of the page before.
    async fn fires(
        &self,
        schedule: ScheduleId,
        before: Option<(Timestamp, FireId)>,
        limit: u32,
    ) -> Result<Vec<FireSeen>, StoreError>;
}
