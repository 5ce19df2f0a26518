//! What a guest returns, prints and says of itself.

use flowweaver::run::failure::FailureSource;
use flowweaver::sandbox::invoke::Invoke as _;
use flowweaver::sandbox::module::ModuleProblem;
use flowweaver::workflow::model::TaskLimits;

use crate::guests::run;
use crate::world::*;

/// Attack: `exit(0)`. Fails with `exit`; only a returned result is success.
/// Attack: An abort, which is `unreachable` in WASM. Fails with `trap.unreachable`.
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

/// Attack: An output above its limit. Ends with `limit.output`.
/// Attack: An output nested 100,000 levels deep. Ends with `limit.output`.
/// Attack: An output that is no JSON object. Fails with `output.invalid`.
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

/// Attack: 20 MB on standard output. The first MiB is kept, then a line says so; the attempt goes on.
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

/// Attack: An input nested 100,000 levels deep. It reaches the guest as text; nothing of the host recurses over it.
#[tokio::test]
async fn a_deep_input_is_text_to_the_host() {
    let (_folder, sandbox) = sandbox();
    let counter = run(
        "(if (i32.ne (local.get $length) (i32.const 200006)) (then unreachable)) (call $empty)",
    );
    let counter = prepare(&sandbox, &counter).await;
    let echo = prepare(&sandbox, &echo()).await;
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let report = sandbox.invoke(invocation(counter, &deep)).await;
    assert_eq!(report.outcome.as_deref(), Ok("{}"));
    let report = sandbox.invoke(invocation(echo, &deep)).await;
    assert_eq!(report.outcome.unwrap_err().code, "limit.output");
}

/// Attack: A description nested 100,000 levels deep, or larger than 256 KiB. The module is refused, and the reason is short.
#[tokio::test]
async fn a_deep_or_large_description_is_refused_wherever_it_stands() {
    let (_folder, sandbox) = sandbox();
    let deep = format!("{{\"name\":\"x\",\"input\":{}", "[".repeat(100_000));
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(300_000));
    for text in [&deep, &large] {
        let problem = sandbox
            .prepare(run("(call $empty)").described_as(text).into())
            .await
            .unwrap_err();
        assert!(
            matches!(&problem, ModuleProblem::Description(_)),
            "{problem}"
        );
        assert!(problem.to_string().len() < 200, "{problem}");
    }
    let answers = |bracket: char| {
        run("(call $empty)").describe(&format!(
            "(drop (memory.grow (i32.const 8)))
            (memory.fill (i32.const 8192) (i32.const {}) (i32.const 200000))
            (i32.store (i32.const 512) (i32.const 8192)) (i32.store (i32.const 516) (i32.const 200000))",
            u32::from(bracket)
        ))
    };
    for bracket in ['[', '{'] {
        let problem = sandbox
            .prepare(answers(bracket).bytes().into())
            .await
            .unwrap_err();
        assert!(
            matches!(&problem, ModuleProblem::Describe(failure) if failure.code == "limit.output"),
            "{problem}"
        );
    }
    runs_an_honest_guest(&sandbox).await;
}

/// Attack: An error whose details are nested 50,000 levels deep. They are kept as text.
#[tokio::test]
async fn deep_details_of_an_error_are_kept_as_text() {
    let guest = run("(memory.fill (i32.const 8192) (i32.const 91) (i32.const 50000))
        (i32.store8 (i32.const 1024) (i32.const 1))
        (i32.store (i32.const 1032) (i32.const 64)) (i32.store (i32.const 1036) (i32.const 2))
        (i32.store (i32.const 1040) (i32.const 64)) (i32.store (i32.const 1044) (i32.const 2))
        (i32.store8 (i32.const 1072) (i32.const 1)) (i32.store (i32.const 1076) (i32.const 8192)) (i32.store (i32.const 1080) (i32.const 50000))
        (i32.const 1024)");
    let failure = attempt(&guest, limits()).await.0.outcome.unwrap_err();
    assert_eq!(failure.source, FailureSource::Task);
    assert_eq!(failure.details.as_str().map(str::len), Some(50_000));
}
