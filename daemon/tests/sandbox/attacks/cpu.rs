//! Computing without end.

use std::sync::Arc;
use std::time::Duration;

use flowweaver::sandbox::invoke::{Invocation, Invoke as _};
use flowweaver::sandbox::module::ModuleProblem;
use flowweaver::workflow::model::TaskLimits;
use tokio_util::sync::CancellationToken;

use crate::guests::run;
use crate::world::*;

/// Attack: An endless loop. Ends with `limit.cpu`, and what it used is reported.
#[tokio::test]
async fn an_endless_loop_ends_at_its_cpu_limit_and_what_it_used_is_reported() {
    let cpu = Duration::from_millis(50);
    let (report, _) = attempt(&endless(), TaskLimits { cpu, ..limits() }).await;
    let failure = report.outcome.unwrap_err();
    assert_eq!(
        (failure.code.as_str(), failure.retryable),
        ("limit.cpu", false)
    );
    assert!(report.cpu >= cpu, "{:?}", report.cpu);
}

/// Attack: Endless loops, four for each thread. Neighbours finish while they run; a cancel ends all of them.
#[tokio::test]
async fn endless_loops_on_every_thread_do_not_keep_a_neighbour_from_finishing() {
    let (_folder, sandbox) = sandbox();
    let (hogs, echo) = (
        prepare(&sandbox, &hog()).await,
        prepare(&sandbox, &echo()).await,
    );
    let threads = std::thread::available_parallelism().unwrap().get();
    let cancel = CancellationToken::new();
    let attempts = started(&sandbox, hogs, 4 * threads, &cancel).await;
    for _ in 0..20 {
        let report = sandbox.invoke(invocation(echo, "{}")).await;
        assert!(report.outcome.is_ok());
    }
    assert!(attempts.iter().all(|(_, task)| !task.is_finished()));
    cancel.cancel();
    for (journal, task) in attempts {
        let report = tokio::time::timeout(FAR, task).await.unwrap().unwrap();
        assert_eq!(report.outcome.unwrap_err().code, "cancelled");
        assert_eq!(
            Arc::strong_count(&journal),
            1,
            "the instance is gone before the report"
        );
    }
}

/// Attack: A start function that never returns. The module is refused; where it need not run to be described, the attempt ends with `limit.cpu`.
#[tokio::test]
async fn a_start_function_that_never_returns_is_stopped_like_any_code() {
    let guest = run("(call $empty)").functions("(func $spin (loop $l (br $l))) (start $spin)");
    let (_folder, sandbox) = sandbox();
    let problem = sandbox.prepare(guest.bytes().into()).await.unwrap_err();
    let ModuleProblem::Describe(failure) = problem else {
        panic!("{problem}")
    };
    assert_eq!(failure.code, "limit.cpu");
    let digest = sandbox
        .prepare(guest.described().into())
        .await
        .unwrap()
        .digest;
    let limits = TaskLimits {
        cpu: Duration::from_millis(20),
        ..limits()
    };
    let report = sandbox
        .invoke(Invocation {
            limits,
            ..invocation(digest, "{}")
        })
        .await;
    assert_eq!(report.outcome.unwrap_err().code, "limit.cpu");
}

/// Attack: A start function that waits in a host call for an hour. The attempt ends with `timeout`.
#[tokio::test]
async fn a_start_function_that_blocks_in_the_host_is_stopped_by_the_clock() {
    let guest = run("(call $empty)").timer().functions(
        "(func $begin (call $wait (call $timer (i64.const 3600000000000)))) (start $begin)",
    );
    let (_folder, sandbox) = sandbox();
    let digest = sandbox
        .prepare(guest.described().into())
        .await
        .unwrap()
        .digest;
    let limits = TaskLimits {
        timeout: Duration::from_millis(50),
        ..limits()
    };
    let report = sandbox
        .invoke(Invocation {
            limits,
            ..invocation(digest, "{}")
        })
        .await;
    assert_eq!(report.outcome.unwrap_err().code, "timeout");
    runs_an_honest_guest(&sandbox).await;
}
