//! What becomes of each time of a schedule: pure, so that what the daemon does, what `simulate` prints and what a
//! test walks through is one function.
//!
//! Nothing here knows a clock, a store or a run: the instant and the number of active runs are arguments.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::clock::Timestamp;
use crate::id::WorkflowName;
use crate::workflow::schedule::{CatchUp, Overlap, Schedule, Times};

/// A time that is found no later than this is on time: a restart of the daemon is no reason to skip the day.
pub const LATE: Duration = Duration::from_secs(60);
/// Clocks of daemons differ, and are corrected a little; one set back by more than this has been set back.
pub const SET_BACK: Duration = Duration::from_secs(60);
/// Missed times are counted up to here; more are "at least so many".
pub const COUNTED: u32 = 10_000;
/// Times that wait for their turn; a schedule that queues faster than it runs never ends.
pub const QUEUE_MAX: usize = 100;
/// Runs of one schedule at once where it allows overlap.
pub const ACTIVE_MAX: usize = 1_000;

/// How far a schedule's times are decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Every time up to and including this instant has its decision.
    pub decided_until: Timestamp,
    /// What the clock said when that was decided.
    pub looked_at: Timestamp,
}

/// What becomes of one time, or of a span of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is due.
    Due(Timestamp),
    /// It was missed, and runs now.
    CaughtUp(Timestamp),
    /// These were missed.
    Missed(Missed),
}

/// Times that do not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed {
    /// The first of them.
    pub first: Timestamp,
    /// The last of them.
    pub last: Timestamp,
    /// How many; [`COUNTED`] means at least so many.
    pub times: u32,
    /// Why.
    pub reason: Reason,
}

/// Why a time did not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No daemon looked, and `catch_up` is `skip`.
    CatchUpSkip,
    /// No daemon looked, and `catch_up` is `latest`: a later time ran.
    CatchUpLatest,
    /// It was missed longer ago than `catch_up_window`.
    CatchUpWindow,
    /// More were missed than `catch_up_max`.
    CatchUpMax,
    /// The schedule was paused.
    Paused,
    /// The schedule was changed before anybody looked.
    Edited,
    /// An earlier run was active, and `overlap` is `skip`.
    Overlap,
    /// Too many wait already.
    QueueFull,
    /// Too many runs are active already.
    TooManyActive,
    /// The schedule was deleted while it waited.
    Deleted,
}

impl Reason {
    /// A dotted, stable name.
    pub const fn code(self) -> &'static str {
        match self {
            Self::CatchUpSkip => "catch-up.skip",
            Self::CatchUpLatest => "catch-up.latest",
            Self::CatchUpWindow => "catch-up.window",
            Self::CatchUpMax => "catch-up.max",
            Self::Paused => "paused",
            Self::Edited => "edited",
            Self::Overlap => "overlap.skip",
            Self::QueueFull => "overlap.queue-full",
            Self::TooManyActive => "overlap.too-many",
            Self::Deleted => "deleted",
        }
    }

    /// The same as a sentence.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::CatchUpSkip => "no daemon was there at the time, and catch_up is \"skip\"",
            Self::CatchUpLatest => {
                "no daemon was there at the time, and catch_up is \"latest\": a later time runs"
            }
            Self::CatchUpWindow => "it was missed longer ago than catch_up_window",
            Self::CatchUpMax => "more times were missed than catch_up_max",
            Self::Paused => "the schedule was paused",
            Self::Edited => "the schedule was changed; the new times count from then on",
            Self::Overlap => "an earlier run was still active, and overlap is \"skip\"",
            Self::QueueFull => "100 times were waiting already",
            Self::TooManyActive => "1000 runs of this schedule were active already",
            Self::Deleted => "the schedule was deleted while it waited",
        }
    }
}

/// The decisions of one look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// In the order of their times.
    pub verdicts: Vec<Verdict>,
    /// What is decided then.
    pub progress: Progress,
    /// When to look again; none: it never fires again.
    pub next: Option<Timestamp>,
}

/// How much later than its times a schedule fires. Made from its names, so that every daemon and every preview says
/// the same.
pub fn delay(workflow: &WorkflowName, schedule: &Schedule) -> Duration {
    let jitter = u64::try_from(schedule.jitter.0.as_millis()).unwrap_or(u64::MAX);
    if jitter == 0 {
        return Duration::ZERO;
    }
    let mut hash = Sha256::new();
    for part in [workflow.as_str(), schedule.name.as_str()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let number = hash
        .finalize()
        .iter()
        .take(8)
        .fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    Duration::from_millis(number % jitter)
}

/// Decides about every time that has come since the last look.
///
/// The newest of them is due if it came just now; all others were missed, because nobody looked when they came, and
/// follow `catch_up`. A clock that was set back lives some hours again: their times are decided again, and whoever
/// records the decisions leaves out what has run.
pub fn plan(
    schedule: &Schedule,
    times: &Times,
    delay: Duration,
    progress: Progress,
    now: Timestamp,
) -> Plan {
    let until = now.before(delay);
    let set_back = now.after(SET_BACK) < progress.looked_at;
    let after = match set_back {
        // It is noticed a little later than it happens.
        true => progress.decided_until.min(until.before(SET_BACK)),
        false => progress.decided_until,
    };
    let keep = usize::try_from(schedule.catch_up_max).unwrap_or(usize::MAX);
    let keep = match schedule.catch_up {
        CatchUp::All => keep.saturating_add(1),
        CatchUp::Skip | CatchUp::Latest => 2,
    };
    let mut latest = latest(times, after, until, keep);
    let mut verdicts = Vec::new();
    let due = latest.pop_if(|at| until.since(*at) <= LATE);
    let missed_until = due.map_or(until, just_before);
    let runs = caught_up(schedule, &latest, due.is_some(), until);
    let missed_until = runs
        .first()
        .map_or(missed_until, |first| just_before(*first));
    // Under a clock that was set back, what was missed has been told.
    if let Some(missed) = missed(times, after, missed_until).filter(|_| !set_back) {
        let reason = match schedule.catch_up {
            CatchUp::Skip => Reason::CatchUpSkip,
            _ if until.since(missed.last) > schedule.catch_up_window.0 => Reason::CatchUpWindow,
            CatchUp::Latest => Reason::CatchUpLatest,
            CatchUp::All => Reason::CatchUpMax,
        };
        verdicts.push(Verdict::Missed(Missed { reason, ..missed }));
    }
    verdicts.extend(runs.iter().copied().map(Verdict::CaughtUp));
    verdicts.extend(due.map(Verdict::Due));
    let decided_until = after.max(until);
    Plan {
        verdicts,
        progress: Progress {
            decided_until,
            looked_at: now,
        },
        next: times
            .next_after(decided_until)
            .map(|next| next.after(delay)),
    }
}

/// When a schedule that is decided so far is to be looked at.
pub fn next_look(times: &Times, delay: Duration, decided_until: Timestamp) -> Option<Timestamp> {
    times
        .next_after(decided_until)
        .map(|next| next.after(delay))
}

/// Which of the missed times run.
fn caught_up<'a>(
    schedule: &Schedule,
    missed: &'a [Timestamp],
    later_is_due: bool,
    until: Timestamp,
) -> &'a [Timestamp] {
    let wanted = match schedule.catch_up {
        CatchUp::Skip => 0,
        CatchUp::Latest => usize::from(!later_is_due),
        CatchUp::All => usize::try_from(schedule.catch_up_max).unwrap_or(usize::MAX),
    };
    let oldest = until.before(schedule.catch_up_window.0);
    let in_window = missed.partition_point(|at| *at < oldest);
    let first = missed.len().saturating_sub(wanted).max(in_window);
    missed.get(first..).unwrap_or_default()
}

/// Counts the times of a span that do not run.
pub fn missed(times: &Times, after: Timestamp, until: Timestamp) -> Option<Missed> {
    let first = times.next_after(after).filter(|first| *first <= until)?;
    let last = latest(times, after, until, 1).pop().unwrap_or(first);
    let counted = times.between(after, last).take(COUNTED as usize).count();
    Some(Missed {
        first,
        last,
        times: u32::try_from(counted).unwrap_or(COUNTED),
        reason: Reason::CatchUpSkip,
    })
}

/// The latest `count` times of a span, in order. Looks back further and further, so that a schedule of seconds that
/// was not looked at for a year does not count thirty million of them.
fn latest(times: &Times, after: Timestamp, until: Timestamp, count: usize) -> Vec<Timestamp> {
    let mut back = Duration::from_secs(60);
    loop {
        let from = until.before(back).max(after);
        let mut found: Vec<Timestamp> = times.between(from, until).collect();
        if found.len() >= count || from == after {
            return found.split_off(found.len().saturating_sub(count));
        }
        back = back.saturating_mul(8);
    }
}

fn just_before(at: Timestamp) -> Timestamp {
    at.before(Duration::from_micros(1))
}

/// What else of a schedule is under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Runs that have not ended, or are about to be started.
    pub active: usize,
    /// Times that wait for their turn.
    pub waiting: usize,
}

/// What becomes of a time that is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It runs.
    Run,
    /// It runs, and earlier runs are cancelled.
    RunInstead,
    /// It waits until nothing else of the schedule runs.
    Wait,
    /// It does not run.
    Skip(Reason),
}

/// Decides whether a time runs beside what is under way. Times that are caught up never push each other aside: they
/// run one after the other.
pub fn admit(overlap: Overlap, caught_up: bool, standing: Standing) -> Admission {
    let Standing { active, waiting } = standing;
    let idle = active == 0 && waiting == 0;
    match overlap {
        Overlap::Allow if active >= ACTIVE_MAX => Admission::Skip(Reason::TooManyActive),
        Overlap::Allow => Admission::Run,
        _ if idle => Admission::Run,
        _ if caught_up => Admission::Wait,
        Overlap::Skip => Admission::Skip(Reason::Overlap),
        Overlap::CancelPrevious if waiting == 0 => Admission::RunInstead,
        Overlap::Queue | Overlap::CancelPrevious if waiting >= QUEUE_MAX => {
            Admission::Skip(Reason::QueueFull)
        }
        Overlap::Queue | Overlap::CancelPrevious => Admission::Wait,
    }
}
