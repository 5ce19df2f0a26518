//! Modules with random damage: whatever a file in `tasks/` holds, the daemon goes on.

use std::collections::HashSet;
use std::sync::Arc;

use flowweaver::sandbox::invoke::{Invocation, Invoke as _};
use flowweaver::sandbox::module::ModuleProblem;
use flowweaver::workflow::model::TaskLimits;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::guests::{Guest, run};
use crate::world::*;

/// How many modules are tried unless `FLOWWEAVER_MUTATIONS` says otherwise. Each costs some
/// ten milliseconds, most of them for the compiler's process.
const MUTATIONS: u64 = 2_000;
/// Modules that may be loaded at once.
const KEPT: u64 = 64;

/// Uses most of what a guest can: several imports, memory, a table, a loop, a string for the host.
fn rich() -> Guest {
    run("(local $left i32)
        (local.set $left (i32.const 10))
        (loop $more
            (call $log (i32.const 2) (i32.const 64) (i32.const 2) (i32.const 0) (i32.const 0))
            (call_indirect $functions (type $plain) (i32.const 0))
            (local.set $left (i32.sub (local.get $left) (i32.const 1)))
            (br_if $more (local.get $left)))
        (drop (call $attempt)) (drop (call $request (i32.const 64) (i32.const 2) (i32.const 64) (i32.const 2)))
        (drop (memory.grow (i32.const 1)))
        (call $ok (local.get $input) (local.get $length))")
    .functions("(type $plain (func)) (table $functions 2 funcref) (func $nothing) (elem (i32.const 0) $nothing)")
    .log()
    .context()
    .http()
}

/// Damages bytes as bad disks, bad linkers and bad people do.
fn mutate(bytes: &mut Vec<u8>, random: &mut StdRng) {
    for _ in 0..random.random_range(1..=2) {
        let at = random.random_range(8..bytes.len());
        match random.random_range(0..6) {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes[at] = random.random(),
            2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.random_range(0..5)],
            3 => bytes.insert(at, random.random()),
            4 => drop(bytes.remove(at)),
            _ => {
                let to = random.random_range(8..bytes.len());
                let length = random.random_range(1..32).min(bytes.len() - at.max(to));
                bytes.copy_within(at..at + length, to);
            }
        }
    }
}

/// Attack: Modules with random damage, two thousand of them. Each is refused or runs within its limits; an honest module still runs.
#[tokio::test]
async fn damaged_modules_are_refused_or_run_within_limits() {
    let count =
        std::env::var("FLOWWEAVER_MUTATIONS").map_or(MUTATIONS, |text| text.parse().unwrap());
    let seed = std::env::var("FLOWWEAVER_SEED").map_or(0, |text| text.parse().unwrap());
    let (_folder, sandbox) = sandbox();
    // With a description, so that `run` is reached also where `describe` is damaged.
    let whole = rich().described();
    let limits = TaskLimits {
        cpu: std::time::Duration::from_millis(50),
        timeout: std::time::Duration::from_secs(20),
        ..limits()
    };
    let turns = Arc::new(tokio::sync::Semaphore::new(8));
    let in_use = Arc::new(tokio::sync::RwLock::new(()));
    let mut tried = tokio::task::JoinSet::new();
    for number in 0..count {
        let turn = Arc::clone(&turns).acquire_owned().await.unwrap();
        let mut bytes = whole.clone();
        let mut random = StdRng::seed_from_u64(seed + number);
        mutate(&mut bytes, &mut random);
        let (sandbox, in_use) = (Arc::clone(&sandbox), Arc::clone(&in_use));
        if number % KEPT == 0 {
            let _nobody_runs = in_use.write().await;
            sandbox.unload_except(&HashSet::new());
            sandbox.sweep_except(HashSet::new()).await.unwrap();
        }
        tried.spawn(async move {
            let _turn = turn;
            let _runs = in_use.read().await;
            let digest = match sandbox.prepare(bytes.into()).await {
                Ok(prepared) => prepared.digest,
                // Neither a crash of the compiler nor a mistake of ours.
                Err(problem @ (ModuleProblem::CompilerFailed(_) | ModuleProblem::Host(_))) => {
                    panic!("seed {seed}, number {number}: {problem}")
                }
                Err(_) => return (1, 0, 0),
            };
            let report = sandbox
                .invoke(Invocation {
                    limits,
                    ..invocation(digest, "{}")
                })
                .await;
            assert!(report.memory_peak_bytes <= limits.memory_bytes);
            match report.outcome {
                Ok(_) => (0, 1, 0),
                Err(failure) => {
                    assert!(
                        !failure.code.starts_with("host."),
                        "number {number}: {failure:?}"
                    );
                    (0, 0, 1)
                }
            }
        });
    }
    let (mut refused, mut ran, mut failed) = (0, 0, 0);
    while let Some(result) = tried.join_next().await {
        let (a, b, c) = result.unwrap();
        refused += a;
        ran += b;
        failed += c;
    }
    println!("{refused} refused, {ran} ran, {failed} failed");
    assert_eq!(refused + ran + failed, count);
    // The damage reaches all three, or it is too weak or too strong to show anything.
    assert!(
        count < 100 || (refused > 0 && ran > 0 && failed > 0),
        "{refused} {ran} {failed}"
    );
    runs_an_honest_guest(&sandbox).await;
}
