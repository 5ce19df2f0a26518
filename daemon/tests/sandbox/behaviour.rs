//! Ordinary guests: what they are told, what they return, how they end.

use std::sync::Arc;
use std::time::Duration;

use flowweaver::run::failure::FailureSource;
use flowweaver::workflow::model::TaskLimits;
use tokio_util::sync::CancellationToken;

use super::guests::run;
use super::world::*;

#[tokio::test]
async fn an_attempt_whose_caller_goes_away_is_stopped() {
    let (_folder, sandbox) = sandbox();
    let digest = prepare(&sandbox, &hog()).await;
    for (journal, task) in started(&sandbox, digest, 3, &CancellationToken::new()).await {
        task.abort();
        let gone = async {
            while Arc::strong_count(&journal) > 1 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(FAR, gone).await.unwrap();
    }
}

#[tokio::test]
async fn more_attempts_than_the_pool_has_slots_run_at_the_same_time() {
    let (_folder, sandbox) = sandbox();
    let digest = prepare(&sandbox, &sleeper()).await;
    let cancel = CancellationToken::new();
    let attempts = started(&sandbox, digest, 150, &cancel).await;
    assert!(attempts.iter().all(|(_, task)| !task.is_finished()));
    cancel.cancel();
    for (_, task) in attempts {
        assert_eq!(task.await.unwrap().outcome.unwrap_err().code, "cancelled");
    }
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_times_out_and_may_be_retried() {
    let timeout = Duration::from_millis(30);
    for guest in [sleeper(), hog()] {
        let failure = attempt(
            &guest,
            TaskLimits {
                timeout,
                ..limits()
            },
        )
        .await
        .0
        .outcome
        .unwrap_err();
        assert_eq!(
            (failure.code.as_str(), failure.retryable),
            ("timeout", true)
        );
    }
}

#[tokio::test]
async fn a_tasks_own_error_arrives_as_it_was_returned() {
    let guest = run("(i32.store8 (i32.const 1024) (i32.const 1))
        (i32.store (i32.const 1032) (i32.const 256)) (i32.store (i32.const 1036) (i32.const 11))
        (i32.store (i32.const 1040) (i32.const 272)) (i32.store (i32.const 1044) (i32.const 13))
        (i32.store8 (i32.const 1048) (i32.const 1))
        (i32.store8 (i32.const 1056) (i32.const 1)) (i64.store (i32.const 1064) (i64.const 1500))
        (i32.store8 (i32.const 1072) (i32.const 1)) (i32.store (i32.const 1076) (i32.const 288)) (i32.store (i32.const 1080) (i32.const 7))
        (i32.const 1024)")
    .data("(data (i32.const 256) \"shop.closed\") (data (i32.const 272) \"come tomorrow\") (data (i32.const 288) \"{\\\"a\\\":1}\")");
    let failure = attempt(&guest, limits()).await.0.outcome.unwrap_err();
    assert_eq!(failure.source, FailureSource::Task);
    assert_eq!(
        (failure.code.as_str(), failure.message.as_str()),
        ("shop.closed", "come tomorrow")
    );
    assert_eq!(
        (failure.retryable, failure.retry_after_ms),
        (true, Some(1_500))
    );
    assert_eq!(failure.details, serde_json::json!({ "a": 1 }));
}

#[tokio::test]
async fn a_guest_knows_who_it_is_and_its_log_lines_reach_the_journal() {
    let guest = run("(if (i32.ne (call $attempt) (i32.const 3)) (then unreachable))
        (call $trace-id (i32.const 2048))
        (call $log (i32.const 3) (i32.load (i32.const 2048)) (i32.load (i32.const 2052)) (i32.const 0) (i32.const 0))
        (call $ok (local.get $input) (local.get $length))")
    .context()
    .log();
    let (report, journal) = attempt(&guest, limits()).await;
    assert_eq!(report.outcome.as_deref(), Ok("{}"));
    let lines = journal.drain().lines;
    assert_eq!(lines.len(), 1);
    assert_eq!(
        (lines[0].level.as_str(), lines[0].message.as_str()),
        ("warn", "a".repeat(32).as_str())
    );
}
