//! What happens to a run, what it wants next, and what it reports: the words of the machine.

use std::time::Duration;

use super::failure::Failure;
use crate::workflow::model::{JobIndex, TaskIndex};

/// One thing that can be started: a task, or one item of a `for_each` task. A `for_each` task's
/// own unit (without an item) stands for the whole and has no attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unit {
    /// The task.
    pub task: TaskIndex,
    /// The item's position.
    pub item: Option<u32>,
}

impl Unit {
    /// The unit of a whole task.
    pub const fn whole(task: TaskIndex) -> Self {
        Self { task, item: None }
    }

    /// The unit of one item.
    pub const fn item(task: TaskIndex, item: u32) -> Self {
        Self {
            task,
            item: Some(item),
        }
    }
}

/// Why something ended as it did, or did not begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// A dotted, stable name.
    pub code: String,
    /// One sentence for a person.
    pub message: String,
}

impl Reason {
    /// From its parts.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
        }
    }
}

impl From<&Failure> for Reason {
    fn from(failure: &Failure) -> Self {
        Self::new(failure.code.clone(), failure.message.clone())
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The answer to [`Step::Decide`].
    Decided {
        /// The task.
        task: TaskIndex,
        /// The answer.
        decision: Decision,
    },
    /// The answer to [`Step::Start`]: an attempt begins.
    Begun {
        /// What begins.
        unit: Unit,
    },
    /// The other answer to [`Step::Start`]: it cannot begin.
    Refused {
        /// What does not begin.
        unit: Unit,
        /// What becomes of it.
        refusal: Refusal,
    },
    /// An attempt ended. Ignored unless exactly this attempt is running.
    Ended {
        /// What ended.
        unit: Unit,
        /// The attempt's number, from 1.
        attempt: u32,
        /// How.
        ending: Ending,
        /// A number in `0.0..1.0` drawn evenly, for jitter.
        draw: f64,
    },
    /// Someone wants the run to stop.
    Cancel {
        /// Why, for people.
        reason: String,
    },
    /// Retry delays may have passed.
    TimerDue,
    /// The run has used up its time.
    TimedOut,
}

/// Whether and how a task with `when` or `for_each` runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Once.
    Run,
    /// Once for each of so many items.
    Each(u32),
    /// Not at all.
    Refuse(Refusal),
}

/// What becomes of something that does not begin.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// It is skipped; what needs it goes on.
    Skip(Reason),
    /// It fails without an attempt.
    Fail(Failure),
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// With an output.
    Succeeded,
    /// With a failure.
    Failed(Failure),
    /// Its daemon died under it.
    Interrupted,
    /// Its daemon stopped it in order to leave; this spends no attempt.
    Released,
}

/// What the run wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Evaluate the task's `when` and `for_each`, and apply [`Event::Decided`].
    Decide(TaskIndex),
    /// Make the input and apply [`Event::Begun`] or [`Event::Refused`].
    Start(Unit),
}

/// An event for the run's history.
#[derive(Debug, Clone, PartialEq)]
pub enum Note {
    /// The first task begins.
    RunStarted,
    /// The run is final.
    RunFinished,
    /// The job's first task begins.
    JobStarted(JobIndex),
    /// The job is final.
    JobFinished(JobIndex),
    /// An attempt begins, or the first items of a `for_each`.
    TaskStarted(Unit),
    /// It is final, with an output.
    TaskSucceeded(Unit),
    /// It is final.
    TaskFailed(Unit, Reason),
    /// An attempt failed; another follows.
    TaskRetrying(Unit, Reason, Duration),
    /// An attempt was cut off; another follows.
    TaskInterrupted(Unit),
    /// It is final and never began.
    TaskSkipped(Unit, Reason),
    /// It is final.
    TaskCancelled(Unit),
}

/// What changed since the last time, each thing named once.
#[derive(Debug, Default, PartialEq)]
pub struct Changes {
    /// The run itself changed.
    pub run: bool,
    /// These jobs changed.
    pub jobs: Vec<JobIndex>,
    /// These units changed.
    pub units: Vec<Unit>,
    /// What happened, in order.
    pub notes: Vec<Note>,
}

impl Changes {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        !self.run && self.jobs.is_empty() && self.units.is_empty() && self.notes.is_empty()
    }
}
