//! What one attempt costs: a new instance, one call, and the end, with nothing done in between.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark"
)]

use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use flowweaver::broker::identity::AttemptIdentity;
use flowweaver::broker::journal::Journal;
use flowweaver::clock::Timestamp;
use flowweaver::id::{OrganizationId, RunId};
use flowweaver::sandbox::invoke::{Invocation, Invoke as _};
use flowweaver::sandbox::{Sandbox, SandboxOptions};
use flowweaver::workflow::grant::Grants;
use flowweaver::workflow::model::TaskLimits;
use tokio_util::sync::CancellationToken;

#[path = "../tests/guests/broker.rs"]
mod broker;
#[path = "../tests/guests/mod.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod guests;

fn attempt(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    let options = SandboxOptions {
        compiler: env!("CARGO_BIN_EXE_flowweaver").into(),
        ..SandboxOptions::new(folder.path())
    };
    let sandbox = Sandbox::open(options, broker::broker()).unwrap();
    let guest = guests::run("(call $ok (local.get $input) (local.get $length))");
    let prepared = runtime
        .block_on(sandbox.prepare(guest.bytes().into()))
        .unwrap();
    let invocation = Invocation {
        module: prepared.digest,
        input: r#"{"keyword":"umbrella","count":3}"#.into(),
        identity: Arc::new(AttemptIdentity {
            organization: OrganizationId::ROOT,
            run_id: RunId::generate(),
            workflow: "flow".parse().unwrap(),
            job: "job".parse().unwrap(),
            task: "task".parse().unwrap(),
            item_index: None,
            attempt: 1,
            trace_id: "a".repeat(32),
            idempotency_key: "b".repeat(64),
            scheduled_at: Timestamp::from_micros(0),
        }),
        grants: Arc::new(Grants::default()),
        limits: TaskLimits {
            timeout: Duration::from_secs(60),
            cpu: Duration::from_secs(10),
            memory_bytes: 64 << 20,
            output_bytes: 1 << 20,
        },
        journal: Arc::new(Journal::default()),
        cancel: CancellationToken::new(),
    };
    c.bench_function("attempt, one after the other", |b| {
        b.iter(|| runtime.block_on(sandbox.invoke(invocation.clone())));
    });
    c.bench_function("attempt, 32 at a time, all of them", |b| {
        b.iter(|| {
            let attempts = (0..32).map(|_| sandbox.invoke(invocation.clone()));
            runtime.block_on(futures_util::future::join_all(attempts))
        });
    });
}

criterion_group!(benches, attempt);
criterion_main!(benches);
