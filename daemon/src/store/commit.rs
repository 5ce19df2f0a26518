//! The commit protocol, once for all databases: fence first, rows of those that passed, event ids last.
//!
//! What each step is in SQL belongs to the drivers; how rows become JSON to `batch`.

use std::collections::{HashMap, HashSet};
use std::future::Future;

use super::batch::{Batch, Table};
use super::cells::Cells;
use super::control::Control;
use super::rows::ClaimedRun;
use super::{CommitOutcome, StoreError};
use crate::id::RunId;

/// How a statement failed, as far as the protocol must tell.
#[derive(Debug)]
pub(super) enum Fault {
    /// The database refuses the data; nothing else is wrong.
    Data(String),
    /// Another transaction was in the way and this one was undone: try again.
    Again(String),
    /// Disk or quota is full.
    Full(String),
    /// A row that was read makes no sense.
    Corrupt(String),
    /// No answer; whether a commit happened is unknown.
    Lost(String),
}

impl Fault {
    /// Whether the connection is closed after it instead of rolled back: the transaction's fate is
    /// unknown, or the database may have ended it already (SQLite does when the disk is full).
    pub(super) fn spoils_connection(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::Full(_) | Self::Corrupt(_))
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Data(why) => Self::Rejected(why),
            Fault::Full(why) => Self::Full(why),
            Fault::Corrupt(why) => Self::Corrupt(why),
            Fault::Again(why) | Fault::Lost(why) => Self::Unavailable(why),
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Rejected(why) => Self::Data(why),
            StoreError::Full(why) => Self::Full(why),
            StoreError::Corrupt(why) => Self::Corrupt(why),
            StoreError::Unavailable(why) => Self::Lost(why),
        }
    }
}

/// What the store holds about a transition that did not pass.
#[derive(Debug)]
pub(super) struct Sighting {
    /// Which transition of the batch.
    pub(super) ordinal: usize,
    /// The epoch of the run with its id, if there is one.
    pub(super) lease_epoch: Option<i64>,
    /// The run that holds its idempotency key, if there is one.
    pub(super) holder: Option<RunId>,
}

/// Reads a [`Sighting`].
pub(super) fn sighting(row: &impl Cells) -> Result<Sighting, Fault> {
    Ok(Sighting {
        ordinal: row.count("ordinal")?,
        lease_epoch: row.opt_int("lease_epoch")?,
        holder: row.opt_parsed("holder")?,
    })
}

/// Reads claimed runs, larger priority first, then older; `returning` has no order of its own.
pub(super) fn claimed(rows: &[impl Cells]) -> Result<Vec<ClaimedRun>, Fault> {
    let mut runs = rows
        .iter()
        .map(|row| {
            let run_id: RunId = row.parsed("workflow_run_id")?;
            let lease_epoch = row.int("lease_epoch")?;
            Ok((std::cmp::Reverse(row.int("priority")?), run_id, lease_epoch))
        })
        .collect::<Result<Vec<_>, Fault>>()?;
    runs.sort_unstable();
    Ok(runs
        .into_iter()
        .map(|(_, run_id, lease_epoch)| ClaimedRun {
            run_id,
            lease_epoch,
        })
        .collect())
}

/// The log lines of a transaction.
#[derive(Debug)]
pub(super) struct Lines {
    /// How many event ids they take.
    pub(super) count: i64,
    /// The lines as one JSON text.
    pub(super) rows: String,
}

/// One connection that speaks one database's SQL. Rows are JSON arrays from [`Batch`].
pub(super) trait Dialect: Send {
    /// Opens a transaction that may write.
    fn begin(&mut self) -> impl Future<Output = Result<(), Fault>> + Send;
    /// Makes it durable.
    fn commit(&mut self) -> impl Future<Output = Result<(), Fault>> + Send;
    /// Undoes it.
    fn rollback(&mut self) -> impl Future<Output = Result<(), Fault>> + Send;
    /// Inserts runs whose id and idempotency key are new; answers the ids of those.
    fn insert_runs(
        &mut self,
        rows: String,
    ) -> impl Future<Output = Result<Vec<RunId>, Fault>> + Send;
    /// Updates runs whose epoch and revision match; answers the ids of those.
    fn update_runs(
        &mut self,
        rows: String,
    ) -> impl Future<Output = Result<Vec<RunId>, Fault>> + Send;
    /// Why the others did not pass.
    fn look(&mut self, rows: String) -> impl Future<Output = Result<Vec<Sighting>, Fault>> + Send;
    /// Applies changes of turns and dead letters.
    fn control(
        &mut self,
        changes: &[(RunId, &Control)],
    ) -> impl Future<Output = Result<(), Fault>> + Send;
    /// Writes the rows of some tables, then takes event ids for the log lines and inserts them in order.
    fn write(
        &mut self,
        rows: Vec<(Table, String)>,
        logs: Option<Lines>,
    ) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// How often a batch that was in another transaction's way is tried: two daemons cross only when
/// one has lost its lease, so a third conflict in a row means something else is wrong.
const TRIES: usize = 3;

/// Commits a batch; the body of [`super::Store::commit`].
pub(super) async fn commit<D: Dialect>(
    db: &mut D,
    batch: &Batch,
) -> Result<Vec<CommitOutcome>, Fault> {
    let mut live: Vec<usize> = (0..batch.heads.len()).collect();
    let mut outcomes: Vec<Option<CommitOutcome>> = vec![None; live.len()];
    while !live.is_empty() {
        match attempt(db, batch, &live, true).await {
            Ok(found) => {
                settle(&mut outcomes, found);
                break;
            }
            Err(Fault::Data(why)) => {
                let offenders = offenders(db, batch, &live, why).await?;
                live.retain(|ordinal| offenders.iter().all(|(bad, _)| bad != ordinal));
                settle(
                    &mut outcomes,
                    offenders
                        .into_iter()
                        .map(|(bad, why)| (bad, CommitOutcome::Rejected(why)))
                        .collect(),
                );
            }
            Err(other) => return Err(other),
        }
    }
    outcomes
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| Fault::Lost("a transition was left without an outcome".into()))
}

fn settle(outcomes: &mut [Option<CommitOutcome>], found: Vec<(usize, CommitOutcome)>) {
    for (ordinal, outcome) in found {
        if let Some(slot) = outcomes.get_mut(ordinal) {
            *slot = Some(outcome);
        }
    }
}

/// Finds the transitions that the database refuses by trying halves and undoing them. Finds at
/// least one: where no half fails alone, they clash with each other and the last one goes.
async fn offenders<D: Dialect>(
    db: &mut D,
    batch: &Batch,
    live: &[usize],
    why: String,
) -> Result<Vec<(usize, String)>, Fault> {
    let mut found = Vec::new();
    let mut suspects = vec![(live.to_vec(), why.clone())];
    while let Some((part, why)) = suspects.pop() {
        if let [only] = part.as_slice() {
            found.push((*only, why));
            continue;
        }
        let (left, right) = part.split_at(part.len() / 2);
        for half in [left, right] {
            match attempt(db, batch, half, false).await {
                Ok(_) => {}
                Err(Fault::Data(why)) => suspects.push((half.to_vec(), why)),
                Err(other) => return Err(other),
            }
        }
    }
    if let (true, Some(last)) = (found.is_empty(), live.last()) {
        found.push((*last, why));
    }
    Ok(found)
}

/// One transaction over these transitions: kept, or undone if `keep` is false.
async fn attempt<D: Dialect>(
    db: &mut D,
    batch: &Batch,
    live: &[usize],
    keep: bool,
) -> Result<Vec<(usize, CommitOutcome)>, Fault> {
    let mut tries = 0;
    loop {
        tries += 1;
        db.begin().await?;
        let mut result = apply(db, batch, live).await;
        if keep && result.is_ok() {
            match db.commit().await {
                Ok(()) => return result,
                Err(fault) => result = Err(fault),
            }
        }
        if result.as_ref().is_err_and(Fault::spoils_connection) {
            return result;
        }
        db.rollback().await?;
        match result {
            Err(Fault::Again(_)) if tries < TRIES => {}
            other => return other,
        }
    }
}

async fn apply<D: Dialect>(
    db: &mut D,
    batch: &Batch,
    live: &[usize],
) -> Result<Vec<(usize, CommitOutcome)>, Fault> {
    let mut outcomes = Vec::with_capacity(live.len());
    let mut passed = Vec::with_capacity(live.len());
    let mut waves = waves(batch, live).into_iter().peekable();
    while let Some(wave) = waves.next() {
        let through = fence(db, batch, &wave).await?;
        let (ok, stopped): (Vec<usize>, Vec<usize>) = wave.into_iter().partition(|ordinal| {
            batch
                .heads
                .get(*ordinal)
                .is_some_and(|head| through.contains(&head.run_id))
        });
        if let Some(rows) = batch.looks(&stopped)? {
            for sighting in db.look(rows).await? {
                let outcome = match batch.heads.get(sighting.ordinal) {
                    Some(head) => reason(head.insert.is_some(), head.lease_epoch, &sighting),
                    None => CommitOutcome::Conflict,
                };
                outcomes.push((sighting.ordinal, outcome));
            }
        }
        let mut rows = Vec::with_capacity(Table::ALL.len());
        for table in Table::ALL {
            rows.extend(batch.rows(table, &ok)?.map(|rows| (table, rows)));
        }
        passed.extend(ok);
        // The event ids come last: their counter is what daemons would wait for each other at.
        let logs = match waves.peek() {
            Some(_) => None,
            None => {
                let changes = batch.controls(&passed);
                if !changes.is_empty() {
                    db.control(&changes).await?;
                }
                lines(batch, &mut passed)?
            }
        };
        if !rows.is_empty() || logs.is_some() {
            db.write(rows, logs).await?;
        }
    }
    outcomes.extend(
        passed
            .into_iter()
            .map(|ordinal| (ordinal, CommitOutcome::Committed)),
    );
    Ok(outcomes)
}

/// The log lines of the transitions that passed, in their order.
fn lines(batch: &Batch, passed: &mut [usize]) -> Result<Option<Lines>, Fault> {
    passed.sort_unstable();
    let Some(rows) = batch.logs(passed)? else {
        return Ok(None);
    };
    let lines: usize = passed
        .iter()
        .filter_map(|ordinal| batch.heads.get(*ordinal))
        .map(|head| head.logs)
        .sum();
    let count = i64::try_from(lines).map_err(|e| Fault::Data(e.to_string()))?;
    Ok(Some(Lines { count, rows }))
}

async fn fence<D: Dialect>(
    db: &mut D,
    batch: &Batch,
    wave: &[usize],
) -> Result<HashSet<RunId>, Fault> {
    let mut through = HashSet::with_capacity(wave.len());
    if let Some(rows) = batch.inserts(wave)? {
        through.extend(db.insert_runs(rows).await?);
    }
    if let Some(rows) = batch.updates(wave)? {
        through.extend(db.update_runs(rows).await?);
    }
    Ok(through)
}

/// What a sighting means for a transition that did not pass: of a new run or one at this epoch.
pub(super) fn reason(is_insert: bool, lease_epoch: i64, sighting: &Sighting) -> CommitOutcome {
    match (is_insert, sighting.lease_epoch, sighting.holder) {
        (true, Some(_), _) => CommitOutcome::Conflict,
        (true, None, Some(holder)) => CommitOutcome::Duplicate(holder),
        (true, None, None) => CommitOutcome::Rejected(
            "the run's workflow or its owner is not in the store: publish the workflow and send a heartbeat first".into(),
        ),
        (false, Some(epoch), _) if epoch != lease_epoch => CommitOutcome::Fenced,
        (false, _, _) => CommitOutcome::Conflict,
    }
}

/// Whether no run and no key occurs twice.
pub(super) fn is_one_wave(batch: &Batch) -> bool {
    let all: Vec<usize> = (0..batch.heads.len()).collect();
    waves(batch, &all).len() == 1
}

/// Set-based statements see each run and each key once, so a second transition of the same run (or
/// key) waits for the next wave of the same transaction.
fn waves(batch: &Batch, live: &[usize]) -> Vec<Vec<usize>> {
    let mut of_run: HashMap<RunId, usize> = HashMap::with_capacity(live.len());
    let mut of_key = HashMap::new();
    let mut waves: Vec<Vec<usize>> = Vec::new();
    for ordinal in live {
        let Some(head) = batch.heads.get(*ordinal) else {
            continue;
        };
        let next_of_run = of_run.entry(head.run_id).or_insert(0);
        let mut wave = *next_of_run;
        if let Some((organization, Some(key))) = &head.insert {
            let next_of_key = of_key.entry((organization, key)).or_insert(0);
            wave = wave.max(*next_of_key);
            *next_of_key = wave + 1;
        }
        *next_of_run = wave + 1;
        if waves.len() <= wave {
            waves.resize_with(wave + 1, Vec::new);
        }
        if let Some(members) = waves.get_mut(wave) {
            members.push(*ordinal);
        }
    }
    waves
}
