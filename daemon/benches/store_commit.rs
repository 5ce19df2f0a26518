//! How many durable task steps a second one SQLite writer takes, by batch size and durability.
//!
//! What a step is stands in `steps`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::too_many_lines,
    missing_docs,
    reason = "a benchmark stops at the first surprise"
)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flowweaver::id::{DaemonId, RunId};
use flowweaver::store::sqlite::SqliteStore;
use flowweaver::store::{CommitOutcome, Durability, Store};
use steps::{start_run, step};

mod steps;

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
