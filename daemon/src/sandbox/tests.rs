//! What only a mistake in the host could cause; hostile guests are in `tests/sandbox.rs`.

use std::time::Duration;

use super::*;
use crate::broker::identity::AttemptIdentity;
use crate::broker::journal::Journal;
use crate::clock::Timestamp;
use crate::id::{Digest, OrganizationId, RunId};
use crate::workflow::model::TaskLimits;

#[path = "../../tests/guests/broker.rs"]
#[allow(missing_docs, reason = "shared with the tests of the whole sandbox")]
mod broker;
#[path = "../../tests/guests/mod.rs"]
#[allow(dead_code, reason = "shared with the tests of the whole sandbox")]
pub(super) mod guests;

/// A sandbox whose `context.attempt` panics, as a mistake of ours would.
fn sandbox_with_a_mistake(folder: &std::path::Path) -> Sandbox {
    let mut machines = Machines::new().unwrap();
    for machine in machines.pooled.iter_mut().chain([&mut machines.spare]) {
        machine.linker.allow_shadowing(true);
        let mut context = machine
            .linker
            .instance("flowweaver:context/context@0.1.0")
            .unwrap();
        context
            .func_wrap("attempt", |_, ()| -> wasmtime::Result<(u32,)> {
                panic!("a mistake of ours")
            })
            .unwrap();
    }
    Sandbox::with_machines(SandboxOptions::new(folder), broker::broker(), machines).unwrap()
}

/// Prepares a module as a sandbox does that finds its code: this program is no compiler, the command is.
async fn prepare_here(sandbox: &Sandbox, guest: &guests::Guest) -> Digest {
    let bytes = guest.described();
    let digest = Digest::of(&bytes);
    let head = prepare::Read::new(&bytes, digest).unwrap().prepared;
    let engine = sandbox.machines.compiler();
    let code = engine.precompile_component(&bytes).unwrap();
    sandbox
        .modules
        .compiled
        .write(engine, &head, &code)
        .unwrap();
    sandbox.restore(digest).await.unwrap().digest
}

#[tokio::test]
async fn a_panic_in_the_host_fails_one_attempt_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = sandbox_with_a_mistake(folder.path());
    let calls = guests::run("(drop (call $attempt)) (call $empty)").context();
    let calls = prepare_here(&sandbox, &calls).await;
    let quiet = prepare_here(&sandbox, &guests::run("(call $empty)")).await;
    let invocation = |module| Invocation {
        module,
        input: "{}".into(),
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
        grants: Arc::default(),
        limits: TaskLimits {
            timeout: Duration::from_secs(300),
            cpu: Duration::from_secs(300),
            memory_bytes: 1 << 20,
            output_bytes: 1 << 10,
        },
        journal: Arc::new(Journal::default()),
        cancel: tokio_util::sync::CancellationToken::new(),
    };
    for _ in 0..200 {
        let broken = invocation(calls);
        let journal = Arc::clone(&broken.journal);
        let failure = sandbox.invoke(broken).await.outcome.unwrap_err();
        assert_eq!(
            (failure.source, failure.code.as_str()),
            (FailureSource::Host, "host.panic")
        );
        assert_eq!(Arc::strong_count(&journal), 1);
    }
    assert!(sandbox.invoke(invocation(quiet)).await.outcome.is_ok());
}
