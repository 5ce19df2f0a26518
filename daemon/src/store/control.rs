//! What control keeps beside a run's history: turns of runs whose workflow limits them, dead letters, and how many
//! runs wait. Their statements are in `sql_control`; who may go is decided here, in [`promoted`].

use async_trait::async_trait;

use super::StoreError;
use crate::clock::Timestamp;
use crate::id::{
    DeadLetterId, Digest, JobName, OrganizationId, RunId, TaskName, WorkflowId, WorkflowName,
};

/// What a transition changes besides the run's own history.
#[derive(Debug, Clone, Default)]
pub struct Control {
    /// The run's turn.
    pub lane: Option<LaneMove>,
    /// What failed for good; inserted.
    pub letters: Vec<DeadLetterRow>,
    /// What becomes of the dead letters of the run that this one repeats.
    pub settled: Option<Settled>,
}

impl Control {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.lane.is_none() && self.letters.is_empty() && self.settled.is_none()
    }
}

/// A run enters its lane or leaves it. In the same transaction the places that are free go to those that wait,
/// the best first: their status changes from `held` to `queued`.
#[derive(Debug, Clone)]
pub enum LaneMove {
    /// With its insert, as `held`.
    Enter(Lane),
    /// With its end, whichever lane it is in.
    Leave,
}

/// Runs of a workflow that share a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// Names it: the digest of organization, workflow and key.
    pub lane_id: Digest,
    /// Its organization.
    pub organization_id: OrganizationId,
    /// Its workflow.
    pub workflow_id: WorkflowId,
    /// So many may go at once.
    pub max: u32,
    /// The run's priority in it.
    pub priority: i32,
}

/// How many of those that wait may go now, as `going` hold a place.
pub(super) fn promoted(max: i64, going: i64) -> i64 {
    max.saturating_sub(going).max(0)
}

/// Where an entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetterState {
    /// Somebody should look at it.
    Open,
    /// A run that repeats it has begun.
    Redriven,
    /// A later run of the chain succeeded.
    Resolved,
    /// Somebody said that it does not matter.
    Dismissed,
    /// The run that repeated it failed, too, and has entries of its own.
    Superseded,
}

impl LetterState {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Open,
        Self::Redriven,
        Self::Resolved,
        Self::Dismissed,
        Self::Superseded,
    ];

    /// The word that is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Redriven => "redriven",
            Self::Resolved => "resolved",
            Self::Dismissed => "dismissed",
            Self::Superseded => "superseded",
        }
    }
}

impl std::str::FromStr for LetterState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| "one of open, redriven, resolved, dismissed, superseded".to_owned())
    }
}

/// A task (or one item of it) that failed for good and failed its run (`dead_letter`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterRow {
    /// Its id; of the time of the failure.
    pub dead_letter_id: DeadLetterId,
    /// Its organization.
    pub organization_id: OrganizationId,
    /// The run that failed.
    pub run_id: RunId,
    /// The first run of its chain.
    pub origin_run_id: RunId,
    /// Its workflow.
    pub workflow_name: WorkflowName,
    /// The job; none when the run itself failed.
    pub job: Option<JobName>,
    /// The task; none when the run itself failed.
    pub task: Option<TaskName>,
    /// The item's position; -1 without one.
    pub item_index: i64,
    /// Why: a dotted code.
    pub code: String,
    /// The same as a sentence.
    pub message: String,
    /// Attempts begun.
    pub attempts: u32,
    /// Attempts that ended with the daemon's death.
    pub interrupts: u32,
    /// When.
    pub created_at: Timestamp,
    /// Where it stands.
    pub state: LetterState,
    /// How often it was redriven.
    pub redrives: u32,
    /// The last run that repeated it.
    pub redrive_run_id: Option<RunId>,
    /// When it was resolved or dismissed.
    pub settled_at: Option<Timestamp>,
    /// Who dismissed it.
    pub settled_by: Option<String>,
    /// Why, as they said.
    pub note: Option<String>,
}

/// What a run means for the dead letters of the run that it repeats.
#[derive(Debug, Clone)]
pub struct Settled {
    /// The run that it repeats.
    pub of: RunId,
    /// The first of its chain.
    pub origin: RunId,
    /// The run itself.
    pub by: RunId,
    /// It began: [`Redriven`](LetterState::Redriven); it succeeded: `Resolved`; it failed: `Superseded`; it was
    /// cancelled: `Open`.
    pub to: LetterState,
    /// When.
    pub at: Timestamp,
}

/// Which dead letters to list.
#[derive(Debug, Clone)]
pub struct LetterFilter {
    /// Of one organization.
    pub organization: Option<OrganizationId>,
    /// In this state.
    pub state: LetterState,
    /// Of one workflow.
    pub workflow: Option<WorkflowName>,
    /// With this code.
    pub code: Option<String>,
    /// Not older.
    pub since: Option<Timestamp>,
    /// Older.
    pub until: Option<Timestamp>,
    /// Older than this entry.
    pub before: Option<DeadLetterId>,
    /// At most this many.
    pub limit: u32,
}

impl LetterFilter {
    /// The first page of all entries in a state.
    pub fn in_state(state: LetterState, limit: u32) -> Self {
        Self {
            organization: None,
            state,
            workflow: None,
            code: None,
            since: None,
            until: None,
            before: None,
            limit,
        }
    }

    /// The ids that it leaves: from the first, before the second. '~' sorts after every id.
    pub(super) fn bounds(&self) -> (String, String) {
        let least = |time: Timestamp| DeadLetterId::least_at(unix_ms(time)).to_string();
        let since = self.since.map(least).unwrap_or_default();
        let until = self.until.map_or_else(|| "~".to_owned(), least);
        let before = self
            .before
            .map_or_else(|| "~".to_owned(), |id| id.to_string());
        (since, until.min(before))
    }
}

/// Milliseconds since 1970; what was before that is 1970.
pub fn unix_ms(time: Timestamp) -> u64 {
    u64::try_from(time.as_micros() / 1_000).unwrap_or(0)
}

/// Dead letters and waiting runs.
#[async_trait]
pub trait ControlStore: Send + Sync {
    /// Dead letters, newest first, by keyset.
    async fn dead_letters(&self, filter: &LetterFilter) -> Result<Vec<DeadLetterRow>, StoreError>;

    /// Those of these entries that there are.
    async fn dead_letters_named(
        &self,
        organization: OrganizationId,
        ids: &[DeadLetterId],
    ) -> Result<Vec<DeadLetterRow>, StoreError>;

    /// Dismisses open entries; answers those that it did dismiss.
    async fn dismiss(
        &self,
        organization: OrganizationId,
        ids: &[DeadLetterId],
        by: &str,
        note: &str,
        now: Timestamp,
    ) -> Result<Vec<DeadLetterId>, StoreError>;

    /// How many unfinished runs nobody owns, held ones included; counts no further than `limit`.
    async fn waiting(&self, limit: u32) -> Result<u32, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_cursors_cut_a_list_by_id() {
        let filter = LetterFilter::in_state(LetterState::Open, 5);
        assert_eq!(filter.bounds(), (String::new(), "~".to_owned()));
        let time = Timestamp::from_micros(1_700_000_000_123_456);
        let (before, at) = (unix_ms(time) - 1, unix_ms(time));
        let cut = LetterFilter {
            since: Some(time),
            ..filter.clone()
        };
        let (since, _) = cut.bounds();
        assert!(DeadLetterId::at(before).to_string() < since);
        assert!(DeadLetterId::at(at).to_string() >= since);
        let id = DeadLetterId::at(at + 50);
        let page = LetterFilter {
            until: Some(time),
            before: Some(id),
            ..filter
        };
        assert_eq!(page.bounds().1, DeadLetterId::least_at(at).to_string());
    }

    #[test]
    fn no_more_go_than_there_are_places() {
        assert_eq!((promoted(3, 1), promoted(3, 3), promoted(1, 4)), (2, 0, 0));
    }
}
