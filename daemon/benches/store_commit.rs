//! How many durable task steps a second one SQLite writer takes, by batch size and durability.
//!
//! A step is what a finished task writes: the run, a task run, an attempt, its input and output, two lines.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::too_many_lines,
    missing_docs,
    reason = "a benchmark stops at the first surprise"
)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flowweaver::clock::Timestamp;
use flowweaver::id::{AttemptId, DaemonId, Digest, IoId, OrganizationId, RunId, TaskRunId};
use flowweaver::run::status::{Level, Status, Trigger};
use flowweaver::store::rows::{
    AttemptRow, IoKind, IoRow, NewLog, RunChange, RunRow, RunUpdate, TaskRunRow, Transition,
    VersionRow,
};
use flowweaver::store::sqlite::SqliteStore;
use flowweaver::store::{CommitOutcome, Durability, Store};

const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

fn blank(run_id: RunId, run: RunChange) -> Transition {
    Transition {
        run_id,
        lease_epoch: 1,
        expected_revision: 0,
        run,
        jobs: vec![],
        tasks: vec![],
        attempts: vec![],
        io: vec![],
        host_calls: vec![],
        logs: vec![],
        consumed: vec![],
        control: None,
    }
}

async fn start_run(store: &SqliteStore, daemon: DaemonId) -> RunId {
    let version = VersionRow {
        version: Digest::of(b"bench"),
        organization_id: OrganizationId::ROOT,
        workflow_name: "bench".parse().unwrap(),
        file: "flows/bench.toml".into(),
        source: "".into(),
        vars: "{}".into(),
        ceilings: "{}".into(),
        modules: "{}".into(),
        created_at: NOW,
    };
    let run_id = RunId::generate();
    let row = RunRow {
        run_id,
        organization_id: OrganizationId::ROOT,
        workflow_id: store.publish(&version).await.unwrap(),
        workflow_name: version.workflow_name,
        version: version.version,
        number: 0,
        status: Status::Running,
        trigger: Trigger::Manual,
        trace_id: "0af7651916cd43dd8448eb211c80319c".into(),
        rerun_of: None,
        origin_run_id: run_id,
        inputs: "{}".into(),
        config: "{}".into(),
        idempotency_key: None,
        priority: 0,
        owner: Some(daemon),
        lease_epoch: 1,
        revision: 0,
        scheduled_at: NOW,
        created_at: NOW,
        started_at: None,
        finished_at: None,
        tolerated_failures: 0,
        failure_code: None,
        failure_message: None,
    };
    let outcome = store
        .commit([blank(run_id, RunChange::Insert(Box::new(row)))].into())
        .await;
    assert_eq!(outcome.unwrap(), [CommitOutcome::Committed]);
    run_id
}

fn step(run_id: RunId, revision: i64, daemon_id: DaemonId) -> Transition {
    let organization_id = OrganizationId::ROOT;
    let (task_run_id, attempt_id, output) = (
        TaskRunId::generate(),
        AttemptId::generate(),
        IoId::generate(),
    );
    let io = |io_id, kind, data: &str| IoRow {
        io_id,
        run_id,
        organization_id,
        task_run_id,
        attempt_id: Some(attempt_id),
        kind,
        data: data.into(),
        origins: None,
        created_at: NOW,
    };
    let event = |kind, message: &str| NewLog {
        task_run_id: Some(task_run_id),
        attempt_id: Some(attempt_id),
        kind,
        level: Level::Info,
        message: message.into(),
        fields: None,
        at: NOW,
    };
    Transition {
        expected_revision: revision,
        tasks: vec![TaskRunRow {
            task_run_id,
            run_id,
            organization_id,
            job: "analyse".parse().unwrap(),
            task: "keyword".parse().unwrap(),
            item_index: -1,
            status: Status::Succeeded,
            attempts: 1,
            interrupts: 0,
            tolerated: false,
            ready_at: Some(NOW),
            started_at: Some(NOW),
            finished_at: Some(NOW),
            retry_at: None,
            output_io_id: Some(output),
            reason_code: None,
            reason_message: None,
        }],
        attempts: vec![AttemptRow {
            attempt_id,
            task_run_id,
            run_id,
            organization_id,
            number: 1,
            lease_epoch: 1,
            daemon_id,
            status: Status::Succeeded,
            started_at: NOW,
            finished_at: Some(NOW),
            cpu_us: 120,
            memory_peak_bytes: 1 << 20,
            logs_dropped: 0,
            failure: None,
        }],
        io: vec![
            io(
                IoId::generate(),
                IoKind::Input,
                r#"{"a":1,"b":"two","c":[3]}"#,
            ),
            io(output, IoKind::Output, r#"{"a":1,"b":"two","c":[3],"d":4}"#),
        ],
        logs: vec![
            event("task.started", "keyword started"),
            event("task.succeeded", "keyword succeeded"),
        ],
        ..blank(
            run_id,
            RunChange::Update(RunUpdate {
                status: Status::Running,
                started_at: Some(NOW),
                finished_at: None,
                tolerated_failures: 0,
                failure_code: None,
                failure_message: None,
            }),
        )
    }
}

fn commit(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mut group = c.benchmark_group("sqlite_commit");
    for durability in [Durability::Full, Durability::Normal] {
        for size in [1_usize, 32, 128] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("store.db");
            let store = runtime
                .block_on(SqliteStore::open(&path, durability))
                .unwrap();
            let daemon = DaemonId::generate();
            runtime.block_on(store.heartbeat(daemon, "bench")).unwrap();
            let runs: Vec<RunId> = (0..size)
                .map(|_| runtime.block_on(start_run(&store, daemon)))
                .collect();
            let mut revision = 0;
            group.throughput(Throughput::Elements(size as u64));
            let id = BenchmarkId::new(format!("{durability:?}"), size);
            group.bench_function(id, |b| {
                b.iter(|| {
                    revision += 1;
                    let batch: Vec<_> = runs.iter().map(|r| step(*r, revision, daemon)).collect();
                    let outcomes = runtime.block_on(store.commit(batch.into())).unwrap();
                    assert!(outcomes.iter().all(|o| *o == CommitOutcome::Committed));
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, commit);
criterion_main!(benches);
