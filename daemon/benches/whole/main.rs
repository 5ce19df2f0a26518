//! The whole product, measured from outside: the release binary in a folder of its own, spoken to over its
//! socket. It measures and prints; it asserts nothing. What the figures mean is in `docs/benchmarks.md`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark stops at the first surprise and prints what it found"
)]

mod caller;
mod disk;
mod figures;
mod flows;
mod flushes;
mod machine;
mod served;

use std::time::{Duration, Instant};

use caller::Caller;
use figures::{Row, Spread};
use served::Served;

/// Callers at once, as the aim has it.
const CALLERS: usize = 32;
/// How long each shape is measured alone: some hundred runs on a disk that flushes in a millisecond.
const ALONE: Duration = Duration::from_secs(6);
/// How long the crowd is measured: several checkpoints of the store fall into it.
const CROWD: Duration = Duration::from_secs(12);
/// What is thrown away before each measurement, so that code, caches and files are as they stay.
const WARM_UP: Duration = Duration::from_secs(1);
/// How long flushes are counted; the tracer slows the daemon, so nothing else is measured then.
const COUNTED: Duration = Duration::from_secs(4);
/// Starts of the daemon over which the first run's time is taken.
const STARTS: usize = 5;

fn main() {
    // `cargo bench` passes `--bench` and filters; `cargo test` runs this with `--test` and must not wait for it.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(measure());
}

#[allow(
    clippy::too_many_lines,
    reason = "one table, measured from its first row to its last"
)]
async fn measure() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    println!("\n{}\n", machine::described(folder.path()));
    flows::lay_out(folder.path());
    let mut rows = Vec::new();

    // The first start compiles the module; the others find it.
    let daemon = Served::start(folder.path()).await;
    daemon.first_run("w3").await;
    daemon.stop();
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        let begun = Instant::now();
        let daemon = Served::start(folder.path()).await;
        daemon.first_run("w3").await;
        starts.push(begun.elapsed());
        daemon.stop();
    }

    let daemon = Served::start(folder.path()).await;
    rows.push(Row::bytes(
        "resident memory, idle after start",
        daemon.resident_bytes(),
    ));

    let floor = disk::Floor::of(folder.path());
    rows.push(Row::spread(
        "one flush (4 KiB appended, fdatasync)",
        &floor.one,
    ));
    rows.push(Row::spread("nine flushes in a row", &floor.nine));
    let mut w1 = None;
    for (flow, title) in [
        ("w1", "W1 alone: 3 jobs x 3 tasks in sequence"),
        ("w2", "W2 alone: 1, 100 in parallel, 1"),
        ("w3", "W3 alone: one task"),
    ] {
        alone(&daemon, flow, WARM_UP).await;
        let spread = alone(&daemon, flow, ALONE).await;
        rows.push(Row::spread(title, &spread));
        w1.get_or_insert(spread);
    }

    crowd(&daemon, WARM_UP).await;
    let before = daemon.cpu_time();
    let (spread, took) = crowd(&daemon, CROWD).await;
    let cpu = daemon.cpu_time().saturating_sub(before);
    let runs = spread.count() as f64;
    rows.push(Row::spread("W1, 32 callers at once", &spread));
    rows.push(Row::number(
        "durable tasks a second, 32 callers of W1",
        runs * flows::W1_TASKS / took.as_secs_f64(),
    ));
    rows.push(Row::number(
        "processor time a task, 32 callers of W1 (us)",
        cpu.as_secs_f64() * 1e6 / (runs * flows::W1_TASKS),
    ));
    rows.push(Row::bytes(
        "resident memory after that load",
        daemon.resident_bytes(),
    ));
    rows.push(Row::bytes(
        "resident memory, highest",
        daemon.resident_peak_bytes(),
    ));

    rows.push(count_flushes(&daemon, "flushes a run, W1 alone", false).await);
    rows.push(count_flushes(&daemon, "flushes a run, W1 with 32 callers", true).await);
    rows.push(Row::spread(
        "process start to first finished run",
        &Spread::of(starts),
    ));
    if let Some(w1) = &w1 {
        rows.push(Row::number(
            "W1 alone / nine flushes (medians)",
            w1.at(50).as_secs_f64() / floor.nine.at(50).as_secs_f64(),
        ));
    }
    daemon.stop();
    println!("{}", figures::table(&rows));
}

/// One caller, one run after the other, for this long.
async fn alone(daemon: &Served, flow: &str, long: Duration) -> Spread {
    let mut caller = Caller::connect(&daemon.socket()).await.unwrap();
    Spread::of(call_for(&mut caller, flow, long).await)
}

async fn call_for(caller: &mut Caller, flow: &str, long: Duration) -> Vec<Duration> {
    let end = Instant::now() + long;
    let mut times = Vec::new();
    while Instant::now() < end {
        let begun = Instant::now();
        caller.run(flow).await.unwrap();
        times.push(begun.elapsed());
    }
    times
}

/// 32 callers of W1 for this long: each run's time, and the time until the last of them ended.
async fn crowd(daemon: &Served, long: Duration) -> (Spread, Duration) {
    let mut callers = Vec::new();
    for _ in 0..CALLERS {
        callers.push(Caller::connect(&daemon.socket()).await.unwrap());
    }
    let begun = Instant::now();
    let calls = callers
        .iter_mut()
        .map(|caller| call_for(caller, "w1", long));
    let times = futures_util::future::join_all(calls).await;
    (
        Spread::of(times.into_iter().flatten().collect()),
        begun.elapsed(),
    )
}

/// The flushes that the daemon asks for, divided by the runs that ended meanwhile.
async fn count_flushes(daemon: &Served, title: &'static str, many: bool) -> Row {
    let Some(counter) = flushes::Counter::attach(daemon.pid()) else {
        return Row::text(title, "not counted: there is no strace");
    };
    let runs = if many {
        crowd(daemon, COUNTED).await.0.count()
    } else {
        alone(daemon, "w1", COUNTED).await.count()
    };
    match counter.stop() {
        Some(flushes) => Row::number(title, flushes as f64 / runs as f64),
        None => Row::text(title, "not counted: strace may not attach here"),
    }
}
