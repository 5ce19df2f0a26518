//! Going away in the middle of things.

use std::sync::Arc;

use flowweaver::run::failure::FailureSource;
use tokio_util::sync::CancellationToken;

use crate::world::*;

/// Attack: A cancel in the middle of a host call, 10,000 times. Nothing leaks: no instance, memory, thread or descriptor.
#[tokio::test]
async fn ten_thousand_cancelled_host_calls_leave_nothing() {
    if !alone("attacks::cancel::ten_thousand_cancelled_host_calls_leave_nothing") {
        return;
    }
    let (_folder, sandbox) = sandbox();
    let digest = prepare(&sandbox, &sleeper()).await;
    let mut early = None;
    for round in 0..100 {
        let cancel = CancellationToken::new();
        let attempts = started(&sandbox, digest, 100, &cancel).await;
        cancel.cancel();
        for (journal, task) in attempts {
            let report = tokio::time::timeout(FAR, task).await.unwrap().unwrap();
            let failure = report.outcome.unwrap_err();
            assert_eq!(
                (failure.source, failure.code.as_str()),
                (FailureSource::Cancel, "cancelled")
            );
            assert_eq!(Arc::strong_count(&journal), 1, "the instance is gone");
        }
        let now = (resident_bytes(), threads(), descriptors());
        // By then every slot has been used and the allocator has its arenas.
        if round == 20 {
            early = Some(now);
        }
        if round == 99 {
            let early = early.unwrap();
            assert!(now.0 < early.0 + (16 << 20), "{early:?} {now:?}");
            assert!(now.1 <= early.1 && now.2 <= early.2, "{early:?} {now:?}");
        }
    }
    // The test's own tasks, which waited for them, are over as well.
    assert_eq!(
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks(),
        0
    );
    runs_an_honest_guest(&sandbox).await;
}
