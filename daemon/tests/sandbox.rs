//! Hostile and ordinary guests in the real sandbox.
//!
//! Brokers have their own tests. No test here measures time; bounds are there to end a broken run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers may panic as its body may"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flowweaver::broker::identity::AttemptIdentity;
use flowweaver::broker::journal::Journal;
use flowweaver::clock::Timestamp;
use flowweaver::id::{Digest, OrganizationId, RunId};
use flowweaver::run::failure::FailureSource;
use flowweaver::sandbox::invoke::{AttemptReport, Invocation, Invoke as _};
use flowweaver::sandbox::{Sandbox, SandboxOptions};
use flowweaver::workflow::grant::Grants;
use flowweaver::workflow::model::TaskLimits;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

#[path = "guests/broker.rs"]
mod broker;
mod guests;
#[path = "sandbox/modules.rs"]
mod modules;
use broker::broker;
use guests::{Guest, run};

/// Ends a test that would hang; nothing waits for it otherwise.
const FAR: Duration = Duration::from_secs(300);

fn limits() -> TaskLimits {
    TaskLimits {
        timeout: FAR,
        cpu: FAR,
        memory_bytes: 4 << 20,
        output_bytes: 1 << 20,
    }
}

fn open(folder: &Path) -> Sandbox {
    Sandbox::open(SandboxOptions::new(folder), broker()).unwrap()
}

fn sandbox() -> (TempDir, Arc<Sandbox>) {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = open(folder.path());
    (folder, Arc::new(sandbox))
}

fn invocation(module: Digest, input: &str) -> Invocation {
    Invocation {
        module,
        input: input.into(),
        identity: Arc::new(AttemptIdentity {
            organization: OrganizationId::ROOT,
            run_id: RunId::generate(),
            workflow: "flow".parse().unwrap(),
            job: "job".parse().unwrap(),
            task: "task".parse().unwrap(),
            item_index: None,
            attempt: 3,
            trace_id: "a".repeat(32),
            idempotency_key: "b".repeat(64),
            scheduled_at: Timestamp::from_micros(0),
        }),
        grants: Arc::new(Grants::default()),
        limits: limits(),
        journal: Arc::new(Journal::default()),
        cancel: CancellationToken::new(),
    }
}

async fn prepare(sandbox: &Sandbox, guest: &Guest) -> Digest {
    sandbox.prepare(guest.bytes().into()).await.unwrap().digest
}

/// Runs a guest in a sandbox of its own, then an honest one, which must not notice.
async fn attempt(guest: &Guest, limits: TaskLimits) -> (AttemptReport, Arc<Journal>) {
    let (_folder, sandbox) = sandbox();
    let hostile = Invocation {
        limits,
        ..invocation(prepare(&sandbox, guest).await, "{}")
    };
    let journal = Arc::clone(&hostile.journal);
    let report = sandbox.invoke(hostile).await;
    let honest = sandbox
        .invoke(invocation(prepare(&sandbox, &echo()).await, "{\"a\":1}"))
        .await;
    assert_eq!(honest.outcome.as_deref(), Ok("{\"a\":1}"));
    (report, journal)
}

async fn code_of(guest: &Guest, limits: TaskLimits) -> (FailureSource, String) {
    let failure = attempt(guest, limits).await.0.outcome.unwrap_err();
    (failure.source, failure.code)
}

fn limit(code: &str) -> (FailureSource, String) {
    (FailureSource::Limit, code.to_owned())
}

fn trap(code: &str) -> (FailureSource, String) {
    (FailureSource::Trap, code.to_owned())
}

fn echo() -> Guest {
    run("(call $ok (local.get $input) (local.get $length))")
}

fn endless() -> Guest {
    run("(loop $forever (br $forever)) unreachable").log()
}

/// Says that it started, then waits for an hour in a host call.
fn sleeper() -> Guest {
    run(
        "(call $log (i32.const 2) (i32.const 64) (i32.const 2) (i32.const 0) (i32.const 0))
        (call $wait (call $timer (i64.const 3600000000000))) (call $empty)",
    )
    .log()
    .timer()
}

/// Says that it started, then never stops computing.
fn hog() -> Guest {
    run(
        "(call $log (i32.const 2) (i32.const 64) (i32.const 2) (i32.const 0) (i32.const 0))
        (loop $forever (br $forever)) unreachable",
    )
    .log()
}

/// Starts attempts and returns when each of them has said that it started.
async fn started(
    sandbox: &Arc<Sandbox>,
    module: Digest,
    count: usize,
    cancel: &CancellationToken,
) -> Vec<(Arc<Journal>, tokio::task::JoinHandle<AttemptReport>)> {
    let mut attempts = Vec::new();
    for _ in 0..count {
        let invocation = Invocation {
            cancel: cancel.clone(),
            ..invocation(module, "{}")
        };
        let (journal, sandbox) = (Arc::clone(&invocation.journal), Arc::clone(sandbox));
        attempts.push((
            journal,
            tokio::spawn(async move { sandbox.invoke(invocation).await }),
        ));
    }
    for (journal, _) in &attempts {
        tokio::time::timeout(FAR, journal.written()).await.unwrap();
    }
    attempts
}

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

#[tokio::test]
async fn a_start_function_that_never_returns_is_stopped_like_any_code() {
    let guest = run("(call $empty)").functions("(func $spin (loop $l (br $l))) (start $spin)");
    let (_folder, sandbox) = sandbox();
    let problem = sandbox.prepare(guest.bytes().into()).await.unwrap_err();
    let flowweaver::sandbox::module::ModuleProblem::Describe(failure) = problem else {
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

#[tokio::test]
async fn growing_memory_past_the_limit_ends_the_attempt_and_the_peak_stays_below() {
    for pages in ["65535", "60", "63"] {
        let guest = run(&format!(
            "(drop (memory.grow (i32.const {pages}))) (call $empty)"
        ));
        let (report, _) = attempt(&guest, limits()).await;
        if pages == "65535" {
            assert_eq!(report.outcome.unwrap_err().code, "limit.memory");
        } else {
            assert_eq!(report.outcome.as_deref(), Ok("{}"), "{pages}");
        }
        assert!(report.memory_peak_bytes <= limits().memory_bytes);
    }
    let step_by_step =
        run("(loop $more (drop (memory.grow (i32.const 1))) (br $more)) unreachable");
    assert_eq!(
        code_of(&step_by_step, limits()).await,
        limit("limit.memory")
    );
}

#[tokio::test]
async fn tables_count_as_memory() {
    let guest = run("(loop $more (drop (table.grow 0 (ref.null func) (i32.const 1000))) (br $more)) unreachable")
        .functions("(table 1 funcref)");
    let code = code_of(
        &guest,
        TaskLimits {
            memory_bytes: 100_000,
            ..limits()
        },
    )
    .await;
    assert_eq!(code, limit("limit.memory"));
}

#[tokio::test]
async fn deep_recursion_is_a_trap() {
    let guest = run("(call $deeper (i64.const 0)) (call $empty)").functions(
        "(func $deeper (param i64) (call $deeper (i64.add (local.get 0) (i64.const 1))) (call $deeper (local.get 0)))",
    );
    assert_eq!(code_of(&guest, limits()).await, trap("trap.stack-overflow"));
}

#[tokio::test]
async fn a_program_that_aborts_or_exits_has_failed_even_with_status_zero() {
    assert_eq!(
        code_of(&run("unreachable"), limits()).await,
        trap("trap.unreachable")
    );
    for status in ["0", "1"] {
        let guest = run(&format!("(call $exit (i32.const {status})) (call $empty)")).exit();
        let failure = attempt(&guest, limits()).await.0.outcome.unwrap_err();
        assert_eq!(failure.code, "exit");
        assert_eq!(failure.details["status"].to_string(), status);
    }
}

#[tokio::test]
async fn an_enormous_string_or_list_for_the_host_is_a_limit_and_nothing_is_copied() {
    let limits = TaskLimits {
        memory_bytes: 256 << 20,
        ..limits()
    };
    let grow = "(drop (memory.grow (i32.const 3000)))";
    let string = format!(
        "{grow} (call $log (i32.const 2) (i32.const 0) (i32.const 50000000) (i32.const 0) (i32.const 0)) (call $empty)"
    );
    assert_eq!(
        code_of(&run(&string).log(), limits).await,
        limit("limit.transfer")
    );
    let list = format!(
        "{grow} (call $log (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 1024) (i32.const 10000000)) (call $empty)"
    );
    assert_eq!(
        code_of(&run(&list).log(), limits).await,
        limit("limit.transfer")
    );
    let output = format!("{grow} (call $ok (i32.const 8192) (i32.const 104857600))");
    assert_eq!(
        code_of(&run(&output), limits).await,
        limit("limit.transfer")
    );
}

#[tokio::test]
async fn a_flood_of_handles_is_a_limit() {
    let flood = |call: &str| {
        run(&format!(
            "(loop $more (drop {call}) (br $more)) unreachable"
        ))
    };
    let requests =
        flood("(call $request (i32.const 64) (i32.const 2) (i32.const 64) (i32.const 2))").http();
    assert_eq!(code_of(&requests, limits()).await, limit("limit.handles"));
    let own = flood("(call $make (i32.const 1))").resource();
    assert_eq!(code_of(&own, limits()).await, limit("limit.handles"));
}

#[tokio::test]
async fn values_that_break_the_calling_contract_are_traps_and_never_a_panic() {
    let log = |arguments: &str| {
        run(&format!("(call $log {arguments}) (call $empty)"))
            .log()
            .data("(data (i32.const 256) \"\\ff\\fe\\fd\")")
    };
    for (what, guest) in [
        (
            "invalid UTF-8",
            log("(i32.const 2) (i32.const 256) (i32.const 3) (i32.const 0) (i32.const 0)"),
        ),
        (
            "unknown enum value",
            log("(i32.const 9) (i32.const 64) (i32.const 2) (i32.const 0) (i32.const 0)"),
        ),
        (
            "string out of bounds",
            log("(i32.const 2) (i32.const -2) (i32.const 100) (i32.const 0) (i32.const 0)"),
        ),
        (
            "list out of bounds",
            log("(i32.const 2) (i32.const 64) (i32.const 2) (i32.const -8) (i32.const 100)"),
        ),
        (
            "list not aligned",
            log("(i32.const 2) (i32.const 64) (i32.const 2) (i32.const 65) (i32.const 1)"),
        ),
        (
            "unknown handle",
            run("(call $wait (i32.const 77)) (call $empty)").timer(),
        ),
        (
            "realloc out of bounds",
            run("(call $empty)").realloc("(return (i32.const -16))"),
        ),
        ("result out of bounds", run("(i32.const -8)")),
        ("result not aligned", run("(i32.const 1027)")),
        (
            "result with an unknown case",
            run("(i32.store8 (i32.const 1024) (i32.const 7)) (i32.const 1024)"),
        ),
        (
            "output out of bounds",
            run("(call $ok (i32.const 64) (i32.const -1))"),
        ),
        (
            "output in invalid UTF-8",
            run("(call $ok (i32.const 256) (i32.const 3))")
                .data("(data (i32.const 256) \"\\ff\\fe\\fd\")"),
        ),
    ] {
        assert_eq!(
            code_of(&guest, limits()).await,
            trap("trap.contract"),
            "{what}"
        );
    }
}

#[tokio::test]
async fn an_output_over_its_limit_or_too_deep_or_not_an_object_is_refused() {
    let memory = TaskLimits {
        memory_bytes: 16 << 20,
        ..limits()
    };
    let long =
        run("(drop (memory.grow (i32.const 100))) (call $ok (i32.const 8192) (i32.const 2000000))");
    assert_eq!(code_of(&long, memory).await, limit("limit.output"));
    let deep = run(
        "(drop (memory.grow (i32.const 4))) (memory.fill (i32.const 8192) (i32.const 91) (i32.const 100000)) (call $ok (i32.const 8192) (i32.const 100000))",
    );
    assert_eq!(code_of(&deep, memory).await, limit("limit.output"));
    let text =
        run("(call $ok (i32.const 256) (i32.const 4))").data("(data (i32.const 256) \"null\")");
    assert_eq!(
        code_of(&text, memory).await,
        (FailureSource::Task, "output.invalid".to_owned())
    );
}

#[tokio::test]
async fn a_flood_on_standard_output_is_capped_with_a_marker() {
    let guest = run("(local $out i32) (local $left i32)
        (memory.fill (i32.const 8192) (i32.const 120) (i32.const 1000))
        (i32.store8 (i32.const 9191) (i32.const 10))
        (local.set $out (call $stdout)) (local.set $left (i32.const 20000))
        (loop $more
            (call $print (local.get $out) (i32.const 8192) (i32.const 1000) (i32.const 2048))
            (local.set $left (i32.sub (local.get $left) (i32.const 1)))
            (br_if $more (local.get $left)))
        (call $empty)")
    .stdout();
    let (report, journal) = attempt(&guest, limits()).await;
    assert_eq!(
        report.outcome.as_deref(),
        Ok("{}"),
        "a flood is not a failure"
    );
    let lines = journal.drain().lines;
    assert!(lines.len() < 2_000, "{}", lines.len());
    assert_eq!(lines.first().map(|line| line.message.len()), Some(999));
    assert!(lines.last().unwrap().message.contains("is not kept"));
}

#[tokio::test]
async fn a_guest_that_looks_around_finds_no_files_environment_arguments_or_names() {
    let guest = run("(local $at i32)
        (call $environment (i32.const 2048)) (call $arguments (i32.const 2056)) (call $directories (i32.const 2064))
        (if (i32.load (i32.const 2052)) (then unreachable))
        (if (i32.load (i32.const 2060)) (then unreachable))
        (if (i32.load (i32.const 2068)) (then unreachable))
        (call $resolve (call $network) (i32.const 256) (i32.const 9) (i32.const 2080))
        (if (i32.ne (i32.load8_u (i32.const 2080)) (i32.const 1)) (then unreachable))
        (call $empty)")
    .surroundings()
    .network()
    .data("(data (i32.const 256) \"localhost\")");
    let (report, _) = attempt(&guest, limits()).await;
    assert_eq!(report.outcome.as_deref(), Ok("{}"));
}

#[tokio::test]
async fn nothing_of_an_instance_is_left_for_the_next() {
    // Fails if any byte of a fresh page is not zero, then leaves its own marks everywhere.
    let guest = run("(local $at i32)
        (if (i32.load (i32.const 4000)) (then unreachable))
        (if (global.get $seen) (then unreachable))
        (global.set $seen (i32.const 1))
        (drop (memory.grow (i32.const 20)))
        (local.set $at (i32.const 65536))
        (loop $next
            (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then unreachable))
            (local.set $at (i32.add (local.get $at) (i32.const 8)))
            (br_if $next (i32.lt_u (local.get $at) (i32.const 1376256))))
        (memory.fill (i32.const 4000) (i32.const 170) (i32.const 1372256))
        (call $empty)")
    .functions("(global $seen (mut i32) (i32.const 0))");
    let (_folder, sandbox) = sandbox();
    let digest = prepare(&sandbox, &guest).await;
    for round in 0..50 {
        let report = sandbox.invoke(invocation(digest, "{}")).await;
        assert_eq!(report.outcome.as_deref(), Ok("{}"), "round {round}");
    }
}

#[tokio::test]
async fn a_cancelled_host_call_ends_at_once_and_leaves_nothing_however_often() {
    let (_folder, sandbox) = sandbox();
    let digest = prepare(&sandbox, &sleeper()).await;
    for _ in 0..100 {
        let cancel = CancellationToken::new();
        let attempts = started(&sandbox, digest, 10, &cancel).await;
        cancel.cancel();
        for (journal, task) in attempts {
            let report = tokio::time::timeout(FAR, task).await.unwrap().unwrap();
            let failure = report.outcome.unwrap_err();
            assert_eq!(
                (failure.source, failure.code.as_str()),
                (FailureSource::Cancel, "cancelled")
            );
            assert_eq!(Arc::strong_count(&journal), 1);
        }
    }
}

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
