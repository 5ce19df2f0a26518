//! When workflows start by themselves.
//!
//! * [`plan`] decides, purely, what becomes of each time; [`simulate`] plays it through.
//! * `keeper` is the one loop: it sleeps until the next time or the next change, takes the schedules of files into the
//!   store (`sync`), records decisions, and starts what they say (`starter`).
//! * [`Schedules`] (in `handle`) is what upper layers call; `edit` is what an edit means for the times before it.
//!
//! **The order of things.** A decision is recorded first: one transaction moves the schedule's progress, only from where
//! it was read, and inserts the fires, each only if its time has none. Then the run is started under a key made of
//! schedule and time, and the fire is told its run. Whoever dies in between leaves a fire that is `due`; whoever finds
//! it starts it again under the same key, and gets the run that is there or makes the one that is not. So a time has
//! at most one run, and loses none.

mod edit;
mod handle;
mod keeper;
pub mod plan;
pub mod simulate;
mod starter;
mod sync;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

pub use handle::{BACKFILL_MAX, Backfill, BackfillTime, Change, ScheduleError, Schedules};
pub use keeper::Keeper;

use crate::catalog::Catalog;
use crate::clock::{Clock, Timestamp};
use crate::engine::EngineHandle;
use crate::id::ScheduleId;
use crate::store::Store;
use crate::store::schedule::ScheduleRow;
use crate::workflow::schedule::{Schedule, Times};

/// What schedules work with.
pub struct ScheduleParts {
    /// Where they are kept.
    pub store: Arc<dyn Store>,
    /// What runs.
    pub engine: EngineHandle,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What can be run.
    pub catalog: Arc<ArcSwap<Catalog>>,
    /// Moves when the catalog was swapped; 0 until it is there.
    pub changed: watch::Receiver<u64>,
    /// Schedules of one workflow, those of its file included.
    pub per_workflow: usize,
}

/// The key under which the run of a time is started: the same for everybody who tries.
pub fn idempotency_key(schedule: ScheduleId, nominal: Timestamp) -> String {
    crate::run::key::schedule_key(&schedule.to_string(), nominal)
}

/// The trace id of the run of a time: the same for everybody who tries, so that it can be looked for before the run is
/// there.
pub fn trace_id(schedule: ScheduleId, nominal: Timestamp) -> String {
    let digest = crate::id::Digest::of_parts([
        schedule.to_string().as_bytes(),
        &nominal.as_micros().to_be_bytes(),
    ]);
    let mut hex = digest.hex();
    hex.truncate(32);
    hex
}

/// A stored schedule's meaning; none when its row makes none, which is said in the log.
fn meaning(row: &ScheduleRow) -> Option<(Schedule, Times)> {
    let schedule: Schedule = match serde_json::from_str(&row.definition) {
        Ok(schedule) => schedule,
        Err(error) => {
            tracing::error!(schedule = %row.schedule_id, %error, "a stored schedule cannot be read");
            return None;
        }
    };
    match schedule.times() {
        Ok(times) => Some((schedule, times)),
        Err(problems) => {
            let why: Vec<_> = problems.iter().map(|p| p.message.as_str()).collect();
            let why = why.join("; ");
            tracing::error!(schedule = %row.schedule_id, why, "a stored schedule cannot fire");
            None
        }
    }
}
