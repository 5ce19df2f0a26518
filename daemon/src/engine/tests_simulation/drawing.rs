//! A workflow of the storms, drawn by chance.

use std::collections::HashMap;
use std::sync::Arc;

use rand::Rng as _;
use rand::rngs::StdRng;

use super::Habit;
use crate::id::Digest;
use crate::run::testing::{draft, for_each};
use crate::workflow::model::{Concurrency, OnFailure, OnInterrupt, RunOn, Workflow};

pub(super) fn workflow(
    rng: &mut StdRng,
    aside: &mut StdRng,
    number: usize,
    habits: &mut HashMap<String, Habit>,
) -> Arc<Workflow> {
    let mut built = draft();
    if aside.random_range(0..2) == 0 {
        let max = aside.random_range(1..4);
        built.0.concurrency = Some(Concurrency { key: None, max });
    }
    built.0.version = Digest::of(format!("storm {number}").as_bytes());
    built.0.name = format!("storm-{number}").parse().unwrap();
    for job in 0..rng.random_range(1..3) {
        let run_on = match rng.random_range(0..6) {
            0 => RunOn::Always,
            1 if job > 0 => RunOn::Failure,
            _ => RunOn::Success,
        };
        built = built.job_with(&format!("j{number}-{job}"), |job| job.run_on = run_on);
        for task in 0..rng.random_range(1..4) {
            let name = format!("t{number}-{job}-{task}");
            let failures = rng.random_range(0..4_u32).saturating_sub(1);
            let attempts = rng.random_range(1..4);
            let millis = [0, 5, 400, 20_000][rng.random_range(0..4)];
            let beside = rng.random_range(0..3) == 0;
            let items = (rng.random_range(0..4) == 0).then(|| rng.random_range(0..4));
            let tolerant = rng.random_range(0..4) == 0;
            let gives_up = rng.random_range(0..5) == 0;
            habits.insert(name.clone(), Habit { failures, millis });
            built = built.task_with(&name, |task| {
                task.retry.attempts = attempts;
                if beside {
                    task.needs.clear();
                }
                if let Some(items) = items {
                    task.for_each = for_each(items, 2);
                }
                if tolerant {
                    task.on_failure = OnFailure::Continue;
                }
                if gives_up {
                    task.on_interrupt = OnInterrupt::Fail;
                }
            });
        }
    }
    built.build()
}
