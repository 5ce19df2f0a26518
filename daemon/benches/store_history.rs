//! Whether a claim, a list or a step costs more the more there is: the same calls on a SQLite store with nothing in
//! it, with a hundred thousand runs in line and as many of the past, and with a million of each.
//!
//! Other sizes: `cargo bench --workspace --bench store_history -- --finished 10000000 --queued 1000000`.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark stops at the first surprise and prints what it found"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use flowweaver::id::{DaemonId, RunId};
use flowweaver::run::status::Status;
use flowweaver::store::rows::RunFilter;
use flowweaver::store::sqlite::SqliteStore;
use flowweaver::store::{CommitOutcome, Durability, Store};
use steps::{start_run, step, version};

mod steps;

/// How often each call is made; the table shows the median and the slowest but one in a hundred.
const CALLS: usize = 200;

/// So many runs $1 from the number $2 on, in this state $3, of workflow $4 and version $5. Ids of digits are ids, older
/// than all that are made now.
const FILL_RUNS: &str = r#"
with recursive "n"("i") as (select ?2 union all select "i" + 1 from "n" where "i" + 1 < ?2 + ?1)
insert into "workflow_run" ("workflow_run_id", "organization_id", "workflow_id", "workflow_name",
  "workflow_version_id", "number", "status", "trigger", "trace_id", "rerun_of", "origin_run_id", "inputs",
  "config", "idempotency_key", "priority", "owner", "lease_epoch", "revision", "scheduled_at", "created_at",
  "started_at", "finished_at", "tolerated_failures", "failure_code", "failure_message")
select printf('00%024d', "i"), '00000000000000000000000000', ?4, 'bench', ?5, "i", ?3, 'manual',
  printf('%032x', "i"), null, printf('00%024d', "i"), '{}', '{}', null, 0, null, 0, 1, 0, 0, null, null, 0, null, null
from "n""#;

/// What one task of each of these runs left.
const FILL_STEPS: &[&str] = &[
    r#"insert into "task_run" select printf('01%024d', "number"), "workflow_run_id", "organization_id", 'job', 'task', -1,
  'succeeded', 1, 0, 0, 0, 0, 0, null, printf('03%024d', "number"), null, null
  from "workflow_run" where "status" = 'succeeded'"#,
    r#"insert into "task_attempt" select printf('02%024d', "number"), printf('01%024d', "number"), "workflow_run_id",
  "organization_id", 1, 1, 'gone', 'succeeded', 0, 0, 30, 1114112, 0, null
  from "workflow_run" where "status" = 'succeeded'"#,
    r#"insert into "task_io_data" select printf('03%024d', "number"), "workflow_run_id", "organization_id",
  printf('01%024d', "number"), printf('02%024d', "number"), 'output', '{"object":{"t0":0}}', null, 0
  from "workflow_run" where "status" = 'succeeded'"#,
    r#"insert into "execution_log" select "number", "organization_id", "workflow_run_id", null, null, 'run.finished', 'info',
  'succeeded', null, 0 from "workflow_run" where "status" = 'succeeded'"#,
    r#"update "stream" set "value" = (select coalesce(max("execution_log_id"), 0) from "execution_log")
  where "stream_id" = 'execution_log'"#,
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo test` runs this with `--test` and must not wait for it.
    if arguments.iter().any(|argument| argument == "--test") {
        return;
    }
    let given = |name: &str| -> Option<usize> {
        let at = arguments.iter().position(|argument| argument == name)?;
        Some(arguments[at + 1].parse().unwrap())
    };
    let sizes = match (given("--finished"), given("--queued")) {
        (None, None) => vec![(0, 0), (100_000, 100_000), (1_000_000, 1_000_000)],
        (finished, queued) => vec![(finished.unwrap_or(0), queued.unwrap_or(0))],
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    println!("| finished, in line | call | p50 | p99 |");
    println!("|---|---|---:|---:|");
    for (finished, queued) in sizes {
        runtime.block_on(measure(finished, queued));
    }
}

fn shown((finished, queued): (usize, usize), call: &str, times: &[Duration]) {
    let at = |percent: usize| {
        times[(times.len() * percent).div_ceil(100).max(1) - 1].as_secs_f64() * 1e6
    };
    println!(
        "| {finished}, {queued} | {call} | {:.0} us | {:.0} us |",
        at(50),
        at(99)
    );
}

async fn measure(finished: usize, queued: usize) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("store.db");
    let store = SqliteStore::open(&path, Durability::Full).await.unwrap();
    let version = version();
    let workflow = store.publish(&version).await.unwrap();
    // As a daemon's restart leaves it: its connections close behind it, and the last one removes the log.
    drop(store);
    while path.with_extension("db-wal").exists() {
        tokio::task::yield_now().await;
    }
    let begun = Instant::now();
    fill(
        &path,
        finished,
        queued,
        &workflow.to_string(),
        &version.version.to_string(),
    );
    let filled = begun.elapsed();
    let store = SqliteStore::open(&path, Durability::Full).await.unwrap();
    let daemon = DaemonId::generate();
    store.heartbeat(daemon, "bench").await.unwrap();

    let size = std::fs::metadata(&path).unwrap().len() >> 20;
    println!(
        "| {finished}, {queued} | (filling, {size} MiB) | {:.1} s | |",
        filled.as_secs_f64()
    );
    let show = |call: &str, times: Vec<Duration>| shown((finished, queued), call, &times);
    let page = |filter: RunFilter| {
        let store = store.clone();
        async move { store.runs(&filter).await.map(drop).unwrap() }
    };
    let fifty = || RunFilter {
        limit: 50,
        ..RunFilter::default()
    };
    show("list, newest 50", timed(|| page(fifty())).await);
    let middle: RunId = format!("00{:024}", finished / 2).parse().unwrap();
    let from_the_middle = || RunFilter {
        before: Some(middle),
        ..fifty()
    };
    show(
        "list, 50 from the middle",
        timed(|| page(from_the_middle())).await,
    );
    let failed = || RunFilter {
        status: vec![Status::Failed],
        ..fifty()
    };
    show(
        "list, 50 that failed (there are none)",
        timed(|| page(failed())).await,
    );
    let of_workflow = || RunFilter {
        workflow: Some(version.workflow_name.clone()),
        ..fifty()
    };
    show(
        "list, 50 of a workflow",
        timed(|| page(of_workflow())).await,
    );
    let claim = || async { drop(store.claim(daemon, 1).await.unwrap()) };
    show("claim of one run", timed(claim).await);
    show(
        "a task's step in a commit of its own",
        steps_of_a_run(&store, daemon).await,
    );
}

async fn timed<F: Future<Output = ()>>(mut call: impl FnMut() -> F) -> Vec<Duration> {
    let mut times = Vec::with_capacity(CALLS);
    // The first calls open readers and fill their caches.
    for at in 0..CALLS + CALLS / 10 {
        let begun = Instant::now();
        call().await;
        if at >= CALLS / 10 {
            times.push(begun.elapsed());
        }
    }
    times.sort_unstable();
    times
}

fn fill(path: &Path, finished: usize, queued: usize, workflow: &str, version: &str) {
    let db = rusqlite::Connection::open(path).unwrap();
    // Nothing of it is kept: a crash means starting again.
    db.execute_batch(
        "pragma journal_mode = off; pragma synchronous = off; pragma cache_size = -262144; begin",
    )
    .unwrap();
    for (count, from, status) in [(finished, 0, "succeeded"), (queued, finished, "queued")] {
        if count > 0 {
            let values = rusqlite::params![count as i64, from as i64, status, workflow, version];
            db.execute(FILL_RUNS, values).unwrap();
        }
    }
    for statement in FILL_STEPS {
        db.execute(statement, []).unwrap();
    }
    let counted = r#"update "workflow" set "last_number" = ?1"#;
    db.execute(counted, [(finished + queued) as i64]).unwrap();
    db.execute_batch("commit; pragma journal_mode = wal")
        .unwrap();
}

/// Steps of one run, each in a commit of its own.
async fn steps_of_a_run(store: &SqliteStore, daemon: DaemonId) -> Vec<Duration> {
    let run = start_run(store, daemon).await;
    let mut revision = 0;
    timed(|| {
        revision += 1;
        let batch = [step(run, revision, daemon)];
        async move {
            let outcomes = store.commit(batch.into()).await.unwrap();
            assert_eq!(outcomes, [CommitOutcome::Committed]);
        }
    })
    .await
}
