//! What upper layers call: schedules read, made, changed, and asked about the past and the future.

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::Value;
use tokio::sync::Notify;

use super::edit::{edited, fire};
use super::meaning;
use super::plan::{QUEUE_MAX, Verdict, delay};
use super::sync::new_row;
use crate::catalog::{Catalog, LiveWorkflow};
use crate::clock::{Clock, Timestamp};
use crate::id::{FireId, OrganizationId, ScheduleId, WorkflowId};
use crate::store::schedule::{
    Before, FireCause, FireOutcome, FireRow, FireSeen, ScheduleOrigin, ScheduleRow, Settled,
};
use crate::store::{Store, StoreError};
use crate::workflow::input;
use crate::workflow::schedule::Schedule;

/// Times of one backfill: each is a run, and they go one after the other.
pub const BACKFILL_MAX: usize = 1_000;

/// What a schedule says is read with all others; bulk data is fetched by tasks.
const DEFINITION_BYTES_MAX: usize = 64 * 1024;

/// Decisions and edits that meet try again; one that never gets its turn says so.
const TRIES: usize = 8;

/// The way to the schedules. Clones are the same.
#[derive(Clone)]
pub struct Schedules(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    pub catalog: Arc<ArcSwap<Catalog>>,
    pub edited: Notify,
    pub per_workflow: usize,
}

/// Why something was not done with a schedule.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// There is no such schedule (404).
    #[error("there is no such schedule")]
    NotFound,
    /// It is written in a file (409).
    #[error(
        "the schedule is written in {file}; change it there: it is live within a second of being saved"
    )]
    OfFile {
        /// The file as people know it.
        file: String,
    },
    /// It is at another revision than the caller saw (412).
    #[error("the schedule was changed meanwhile; read it again")]
    Changed,
    /// Another schedule of the workflow has this name (409).
    #[error("the workflow has a schedule of this name already")]
    NameTaken,
    /// The workflow has as many as it may (422).
    #[error("a workflow has at most {0} schedules ([limits] schedules)")]
    TooMany(usize),
    /// It cannot be so (422).
    #[error("the schedule is not accepted: {}", .0.join("; "))]
    Invalid(Vec<String>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How a schedule is to be changed.
#[derive(Debug, Clone)]
pub enum Change {
    /// It says this from now on.
    Replace(Box<Schedule>),
    /// It fires, or does not.
    Enable(bool),
    /// It is gone; its history stays.
    Delete,
}

/// What a backfill does, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backfill {
    /// The times of the range, in order.
    pub times: Vec<BackfillTime>,
    /// Whether there are more than fit; nothing is done then.
    pub too_many: bool,
}

/// One time of a backfill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackfillTime {
    /// The time.
    pub nominal: Timestamp,
    /// Whether it runs; if not, it has run or is about to.
    pub runs: bool,
}

impl Schedules {
    /// The schedules of a workflow, those that were removed left out.
    pub async fn of_workflow(&self, workflow: WorkflowId) -> Result<Vec<ScheduleRow>, StoreError> {
        let (_, mut rows) = self.0.store.schedules().await?;
        rows.retain(|row| row.workflow_id == workflow && row.retired_at.is_none());
        Ok(rows)
    }

    /// The schedules of an organization, those that were removed left out.
    pub async fn of_organization(
        &self,
        organization: OrganizationId,
    ) -> Result<Vec<ScheduleRow>, StoreError> {
        let (_, mut rows) = self.0.store.schedules().await?;
        rows.retain(|row| row.organization_id == organization && row.retired_at.is_none());
        Ok(rows)
    }

    /// One schedule, also one that was removed.
    pub async fn get(
        &self,
        organization: OrganizationId,
        id: ScheduleId,
    ) -> Result<ScheduleRow, ScheduleError> {
        let row = self.0.store.schedule(id).await?;
        row.filter(|row| row.organization_id == organization)
            .ok_or(ScheduleError::NotFound)
    }

    /// Makes a schedule, which fires from now on.
    pub async fn create(
        &self,
        live: &LiveWorkflow,
        schedule: &Schedule,
    ) -> Result<ScheduleRow, ScheduleError> {
        check(live, schedule)?;
        let others = self.of_workflow(live.workflow_id).await?;
        if others.iter().any(|row| row.name == schedule.name) {
            return Err(ScheduleError::NameTaken);
        }
        if others.len() >= self.0.per_workflow {
            return Err(ScheduleError::TooMany(self.0.per_workflow));
        }
        let row = new_row(live, schedule, ScheduleOrigin::Api, self.0.clock.now());
        let row = row.map_err(unwritable)?;
        let put = self.0.store.schedule_put(&row, Before::Absent, None, &[]);
        if !put.await? {
            return Err(ScheduleError::NameTaken);
        }
        self.0.edited.notify_one();
        Ok(row)
    }

    /// Changes a schedule that was made here, if it still is at the revision that the caller saw.
    pub async fn change(
        &self,
        organization: OrganizationId,
        id: ScheduleId,
        change: &Change,
        seen: Option<i64>,
    ) -> Result<ScheduleRow, ScheduleError> {
        for _ in 0..TRIES {
            let row = self.get(organization, id).await?;
            if row.retired_at.is_some() {
                return Err(ScheduleError::NotFound);
            }
            if row.origin == ScheduleOrigin::File {
                return Err(self.of_file(&row));
            }
            if seen.is_some_and(|seen| seen != row.revision) {
                return Err(ScheduleError::Changed);
            }
            let now = self.0.clock.now();
            let (written, fires) = self.changed(&row, change, now).await?;
            let put = self
                .0
                .store
                .schedule_put(&written, Before::Row(&row), None, &fires);
            if put.await? {
                if matches!(change, Change::Delete) {
                    self.drop_waiting(&row).await?;
                }
                self.0.edited.notify_one();
                return Ok(ScheduleRow {
                    revision: row.revision + 1,
                    ..written
                });
            }
        }
        Err(ScheduleError::Changed)
    }

    async fn changed(
        &self,
        row: &ScheduleRow,
        change: &Change,
        now: Timestamp,
    ) -> Result<(ScheduleRow, Vec<FireRow>), ScheduleError> {
        let schedule = match change {
            Change::Delete => {
                let gone = ScheduleRow {
                    retired_at: Some(now),
                    updated_at: now,
                    name_is_free: true,
                    ..row.clone()
                };
                return Ok((gone, Vec::new()));
            }
            Change::Enable(enabled) => {
                let stored: Schedule = serde_json::from_str(&row.definition).map_err(unwritable)?;
                Schedule {
                    enabled: *enabled,
                    ..stored
                }
            }
            Change::Replace(schedule) => {
                if schedule.name != row.name {
                    let message = format!("its name is `{}`, which is not changed", row.name);
                    return Err(ScheduleError::Invalid(vec![message]));
                }
                if let Some(live) = self.live(row) {
                    check(&live, schedule)?;
                } else if let Err(problems) = schedule.times() {
                    let problems = problems.into_iter().map(|p| p.message);
                    return Err(ScheduleError::Invalid(problems.collect()));
                }
                schedule.as_ref().clone()
            }
        };
        edited(row, &schedule, now).map_err(unwritable)
    }

    /// The live workflow of a schedule.
    pub fn live(&self, row: &ScheduleRow) -> Option<Arc<LiveWorkflow>> {
        let catalog = self.0.catalog.load();
        catalog
            .workflow(row.organization_id, &row.workflow_name)
            .filter(|live| live.workflow_id == row.workflow_id)
            .cloned()
    }

    fn of_file(&self, row: &ScheduleRow) -> ScheduleError {
        let file = self.live(row).map_or_else(
            || format!("the file of workflow {}", row.workflow_name),
            |live| live.file.to_string(),
        );
        ScheduleError::OfFile { file }
    }

    async fn drop_waiting(&self, row: &ScheduleRow) -> Result<(), StoreError> {
        let open = self.0.store.fires_open(&[row.schedule_id]).await?;
        let reason = super::plan::Reason::Deleted;
        let waits = open
            .iter()
            .filter(|seen| seen.fire.outcome == FireOutcome::Waiting);
        let dropped: Vec<Settled> = waits
            .map(|seen| Settled {
                fire_id: seen.fire.fire_id,
                from: FireOutcome::Waiting,
                outcome: FireOutcome::Skipped,
                reason: Some((reason.code().to_owned(), reason.sentence().to_owned())),
                run_id: None,
                ended: true,
            })
            .collect();
        self.0.store.fires_settle(&dropped).await.map(|_| ())
    }

    /// The next times of a schedule and when it fires for each; none while it does not fire at all.
    pub fn upcoming(&self, row: &ScheduleRow, count: usize) -> Vec<(Timestamp, Timestamp)> {
        let Some((schedule, times)) = meaning(row) else {
            return Vec::new();
        };
        if !schedule.enabled || row.retired_at.is_some() {
            return Vec::new();
        }
        let delay = delay(&row.workflow_name, &schedule);
        let from = row.decided_until.max(self.0.clock.now().before(delay));
        std::iter::successors(times.next_after(from), |last| times.next_after(*last))
            .take(count)
            .map(|at| (at, at.after(delay)))
            .collect()
    }

    /// The history of a schedule, newest first.
    pub async fn fires(
        &self,
        row: &ScheduleRow,
        before: Option<(Timestamp, FireId)>,
        limit: u32,
    ) -> Result<Vec<FireSeen>, StoreError> {
        self.0.store.fires(row.schedule_id, before, limit).await
    }

    /// Runs the times from `from` up to and including `to` that have not run, one after the other (beside each other
    /// where overlap is allowed); with `dry`, only says which. Times that have not come yet are left out: they come.
    pub async fn backfill(
        &self,
        row: &ScheduleRow,
        (from, to): (Timestamp, Timestamp),
        dry: bool,
    ) -> Result<Backfill, ScheduleError> {
        let lost = || ScheduleError::Invalid(vec!["the schedule cannot be read".to_owned()]);
        let (_, times) = meaning(row).ok_or_else(lost)?;
        let now = self.0.clock.now();
        let just_before = Timestamp::from_micros(from.as_micros().saturating_sub(1));
        let range = times.between(just_before, to.min(row.decided_until));
        let times: Vec<Timestamp> = range.take(BACKFILL_MAX + 1).collect();
        let too_many = times.len() > BACKFILL_MAX;
        let mut found = Vec::new();
        for nominal in times.into_iter().take(BACKFILL_MAX) {
            let known = self.0.store.fire_of(row.schedule_id, nominal).await?;
            let runs = known.is_none_or(|fire| {
                matches!(fire.outcome, FireOutcome::Skipped | FireOutcome::Refused)
            });
            found.push(BackfillTime { nominal, runs });
        }
        if too_many || dry {
            return Ok(Backfill {
                times: found,
                too_many,
            });
        }
        self.has_room(row).await?;
        let wanted: Vec<FireRow> = found
            .iter()
            .filter(|time| time.runs)
            .map(|time| FireRow {
                cause: FireCause::Backfill,
                outcome: FireOutcome::Waiting,
                ..fire(row, &Verdict::Due(time.nominal), now)
            })
            .collect();
        let taken = self.0.store.schedule_backfill(&wanted).await?;
        let mut taken = taken.into_iter();
        // Somebody else may have been faster; what was no candidate stays none.
        for time in found.iter_mut().filter(|time| time.runs) {
            time.runs = taken.next().unwrap_or(false);
        }
        self.0.edited.notify_one();
        Ok(Backfill {
            times: found,
            too_many,
        })
    }

    /// One backfill after the other, so that what waits stays countable.
    async fn has_room(&self, row: &ScheduleRow) -> Result<(), ScheduleError> {
        let open = self.0.store.fires_open(&[row.schedule_id]).await?;
        let waits = open
            .iter()
            .filter(|seen| seen.fire.outcome == FireOutcome::Waiting);
        match waits.count() > BACKFILL_MAX + QUEUE_MAX {
            false => Ok(()),
            true => Err(ScheduleError::Invalid(vec![
                "an earlier backfill is still waiting for its turn".to_owned(),
            ])),
        }
    }
}

/// Everything about a schedule that its workflow does not take.
fn check(live: &LiveWorkflow, schedule: &Schedule) -> Result<(), ScheduleError> {
    let mut problems: Vec<String> = Vec::new();
    if let Err(wrong) = schedule.times() {
        problems.extend(
            wrong
                .into_iter()
                .map(|p| format!("{} ({})", p.message, p.help)),
        );
    }
    let value = |value: serde_json::Result<Value>| value.map_err(unwritable);
    let inputs = value(serde_json::to_value(&schedule.inputs))?;
    let config = value(serde_json::to_value(&schedule.config))?;
    problems.extend(
        input::workflow_inputs(&live.workflow, &inputs)
            .err()
            .unwrap_or_default(),
    );
    problems.extend(
        input::check_config(&live.workflow, &config)
            .err()
            .unwrap_or_default(),
    );
    let size = serde_json::to_string(schedule).map_err(unwritable)?.len();
    if size > DEFINITION_BYTES_MAX {
        problems.push(format!(
            "it takes {size} bytes, more than {DEFINITION_BYTES_MAX}"
        ));
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(ScheduleError::Invalid(problems)),
    }
}

fn unwritable(error: serde_json::Error) -> ScheduleError {
    ScheduleError::Store(StoreError::Rejected(error.to_string()))
}
