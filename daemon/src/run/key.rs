//! The idempotency key that a task gives to the outside world.

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
