//! The whole product, measured from outside: the release binary in a folder of its own, spoken to over its
//! socket. It measures and prints; it asserts nothing. What the figures mean is in `docs/benchmarks.md`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark stops at the first surprise and prints what it found"
)]

mod caller;
mod disk;
mod figures;
mod flows;
mod flushes;
#[path = "../../tests/fresh/mod.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod fresh;
mod machine;
mod served;
mod within;

use std::path::Path;
use std::time::{Duration, Instant};

use caller::Caller;
use figures::{Row, Spread};
use flowweaver::clock::{Clock as _, SystemClock};
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
/// Without a run the store is written for signs of life only, one in five seconds.
const IDLE: Duration = Duration::from_secs(20);
/// Workflows beside the one that runs.
const MANY_FLOWS: usize = 1_000;
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
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    println!("\n{}\n", machine::described(folder.path()));
    flows::lay_out(folder.path());
    let mut rows = runtime.block_on(measure(folder.path()));
    // As many at once as a restart finds, say: what the engine does when no request holds it up.
    for at_once in [CALLERS, 256] {
        rows.push(within::crowd(folder.path(), at_once));
    }
    rows.extend(runtime.block_on(on_postgres()));
    rows.extend(runtime.block_on(many_flows(folder.path())));
    println!("{}", figures::table(&rows));
}

#[allow(
    clippy::too_many_lines,
    reason = "one table, measured from its first row to its last"
)]
async fn measure(folder: &Path) -> Vec<Row> {
    let mut rows = Vec::new();

    let starts = starts(folder).await;

    let daemon = Served::start(folder).await;
    rows.push(Row::bytes(
        "resident memory, idle after start",
        daemon.resident_bytes(),
    ));

    let floor = disk::Floor::of(folder);
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

    rows.push(idle_flushes(&daemon).await);
    rows.push(count_flushes(&daemon, "flushes a run, W1 alone", false).await);
    rows.push(count_flushes(&daemon, "flushes a run, W1 with 32 callers", true).await);
    rows.push(Row::spread("process start to first finished run", &starts));
    if let Some(w1) = &w1 {
        rows.push(Row::number(
            "W1 alone / nine flushes (medians)",
            w1.at(50).as_secs_f64() / floor.nine.at(50).as_secs_f64(),
        ));
    }
    daemon.stop();
    rows
}

/// From nothing to the end of the first run. The first start compiles the module, or looks at new files; the others
/// find everything.
async fn starts(folder: &Path) -> Spread {
    let mut starts = Vec::new();
    for at in 0..=STARTS {
        let begun = Instant::now();
        let daemon = Served::start(folder).await;
        daemon.first_run("w3").await;
        if at > 0 {
            starts.push(begun.elapsed());
        }
        daemon.stop();
    }
    Spread::of(starts)
}

async fn many_flows(folder: &Path) -> Vec<Row> {
    flows::add(folder, MANY_FLOWS);
    let title = "the same with 1,000 workflows more";
    vec![Row::spread(title, &starts(folder).await)]
}

/// The crowd on a PostgreSQL store: `FLOWWEAVER_TEST_POSTGRES`, or the server of this machine. No rows without one.
async fn on_postgres() -> Vec<Row> {
    let (hand, rows) = tokio::sync::oneshot::channel();
    fresh::postgres(|url| async move {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        flows::lay_out(folder.path());
        let daemon = Served::start_with(folder.path(), &[("FLOWWEAVER_STORE_URL", &url)]).await;
        let alone = alone(&daemon, "w1", WARM_UP * 3).await;
        crowd(&daemon, WARM_UP).await;
        let (spread, took) = crowd(&daemon, CROWD / 2).await;
        let tasks = spread.count() as f64 * flows::W1_TASKS / took.as_secs_f64();
        daemon.stop();
        let rows = vec![
            Row::spread("PostgreSQL: W1 alone", &alone),
            Row::spread("PostgreSQL: W1, 32 callers at once", &spread),
            Row::number("PostgreSQL: durable tasks a second", tasks),
        ];
        // The other end waits below.
        let _ = hand.send(rows);
    })
    .await;
    rows.await.unwrap_or_default()
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
    crowd_of(callers, long).await
}

async fn crowd_of(mut callers: Vec<Caller>, long: Duration) -> (Spread, Duration) {
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

/// The flushes of a daemon that has nothing to do.
async fn idle_flushes(daemon: &Served) -> Row {
    let title = "flushes in 20 s without a run (4 are signs of life)";
    let Some(counter) = flushes::Counter::attach(daemon.pid()) else {
        return Row::text(title, "not counted: there is no strace");
    };
    SystemClock.wait_until(SystemClock.now().after(IDLE)).await;
    match counter.stop() {
        Some(flushes) => Row::text(title, &flushes.to_string()),
        None => Row::text(title, "0, or strace may not attach here"),
    }
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
