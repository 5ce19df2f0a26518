//! What happens to an active run, as data that can be taken in twice: once into a draft, and again
//! if that draft was lost.

use std::sync::Arc;

use crate::broker::journal::Entries;
use crate::id::AttemptId;
use crate::run::event::Unit;
use crate::run::failure::{Failure, FailureSource};
use crate::sandbox::invoke::AttemptReport;

/// Something that happened to an active run.
#[derive(Debug, Clone)]
pub(super) enum Happening {
    /// A guest ended.
    Ended {
        unit: Unit,
        attempt: AttemptId,
        report: AttemptReport,
        entries: Arc<Entries>,
        /// Whether it was stopped so that the engine can leave.
        released: bool,
    },
    /// A guest reported something and goes on.
    Reported {
        unit: Unit,
        attempt: AttemptId,
        entries: Arc<Entries>,
    },
    /// An attempt died with the daemon that ran it.
    Interrupted {
        unit: Unit,
        attempt: Option<AttemptId>,
    },
    /// Someone ordered the run to stop.
    Cancel { reason: String },
    /// A time has come: a retry, or the end of the run's time.
    Due,
}

impl Happening {
    /// The attempt whose end this is.
    pub(super) fn ended_attempt(&self) -> Option<AttemptId> {
        match self {
            Self::Ended { attempt, .. } => Some(*attempt),
            _ => None,
        }
    }

    /// The same without the data that the store refused: the attempt fails instead.
    pub(super) fn without_data(self, why: &str) -> Option<Self> {
        match self {
            Self::Ended {
                unit,
                attempt,
                report,
                entries,
                released,
            } => Some(Self::Ended {
                unit,
                attempt,
                report: AttemptReport {
                    outcome: Err(Failure::permanent(
                        FailureSource::Host,
                        "store.rejected",
                        format!("the store refused what the task gave: {why}"),
                    )),
                    ..report
                },
                entries: Arc::new(Entries {
                    dropped: entries.dropped + (entries.lines.len() + entries.calls.len()) as u64,
                    ..Entries::default()
                }),
                released,
            }),
            Self::Reported { .. } => None,
            other => Some(other),
        }
    }
}
