//! Idempotency keys: what a task gives to the outside world, and the names by which the daemon finds again the runs that
//! it begins by itself.

use crate::clock::Timestamp;
use crate::id::{Digest, JobName, RunId, TaskName};

/// sha256(origin run id, job, task, item index) as 64 hex digits: the same for every attempt and
/// for every rerun that continues the same origin, different for everything else.
pub fn idempotency_key(origin: RunId, job: &JobName, task: &TaskName, item: Option<u32>) -> String {
    let origin = origin.to_string();
    let item = item.map_or_else(String::new, |item| item.to_string());
    Digest::of_parts([
        origin.as_bytes(),
        job.as_str().as_bytes(),
        task.as_str().as_bytes(),
        item.as_bytes(),
    ])
    .hex()
}

/// How the keys of the daemon's own runs begin; nobody else may use them.
const RESERVED: [&str; 3] = ["schedule:", "redrive:", "child."];

/// Whether only the daemon itself may use the key.
pub fn is_reserved(key: &str) -> bool {
    RESERVED.iter().any(|prefix| key.starts_with(prefix))
}

/// The key of the run that a schedule begins for a nominal time, whichever daemon does it and however often.
pub fn schedule_key(schedule: &str, nominal: Timestamp) -> String {
    format!("schedule:{schedule}:{nominal}")
}

/// The key of the run that repeats a failed one for the round-th time (from 0) on account of its dead letters.
pub fn redrive_key(run: RunId, round: u32) -> String {
    format!("redrive:{run}:{round}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemons_own_keys_are_reserved_and_say_what_they_are_for() {
        assert!(!is_reserved("order 7") && !is_reserved("schedules"));
        let nominal = Timestamp::from_micros(1_700_000_000_000_000);
        let key = schedule_key("daily", nominal);
        assert_eq!(key, "schedule:daily:2023-11-14T22:13:20.000000Z");
        assert!(is_reserved(&key) && is_reserved(&redrive_key(RunId::generate(), 0)));
    }
}
