//! Holding more than is given.

use flowweaver::sandbox::module::ModuleProblem;
use flowweaver::workflow::model::TaskLimits;

use crate::guests::run;
use crate::world::*;

/// Attack: `memory.grow` to 4 GiB, at once or page by page. Ends with `limit.memory`; the peak stays below the limit.
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

/// Attack: Memory grown to the limit and every byte of it written, again and again. The host's own memory stays within it.
#[tokio::test]
async fn what_guests_hold_and_leave_behind_is_bounded_in_the_host() {
    if !alone("attacks::memory::what_guests_hold_and_leave_behind_is_bounded_in_the_host") {
        return;
    }
    let limits = TaskLimits {
        memory_bytes: 128 << 20,
        ..limits()
    };
    let eager = run("(local $at i32)
        (loop $more
            (local.set $at (i32.mul (memory.grow (i32.const 16)) (i32.const 65536)))
            (memory.fill (local.get $at) (i32.const 7) (i32.const 1048576))
            (br $more))
        unreachable");
    // Addresses are not memory: what is never written costs nothing.
    let reserving = run("(drop (memory.grow (i32.const 65535))) (call $empty)");
    let (_folder, sandbox) = sandbox();
    let eager = prepare(&sandbox, &eager).await;
    let reserving = prepare(&sandbox, &reserving).await;
    let before = resident_bytes();
    for _ in 0..20 {
        let report = invoke_with(&sandbox, eager, limits).await;
        assert_eq!(report.outcome.unwrap_err().code, "limit.memory");
        let wide = TaskLimits {
            memory_bytes: 8 << 30,
            ..limits
        };
        let report = invoke_with(&sandbox, reserving, wide).await;
        assert_eq!(report.outcome.as_deref(), Ok("{}"));
        assert_eq!(report.memory_peak_bytes, 4 << 30);
    }
    let grown = resident_bytes().saturating_sub(before);
    assert!(
        grown < 64 << 20,
        "{grown} bytes stay after the guests are gone"
    );
    assert!(peak_resident_bytes() < before + (256 << 20));
    runs_an_honest_guest(&sandbox).await;
}

/// Attack: Several memories, each within the limit, together above it. Ends with `limit.memory`.
#[tokio::test]
async fn all_memories_of_an_attempt_count_together() {
    let memories = "(memory $second 1) (memory $third 1)";
    let one = "(drop (memory.grow $second (i32.const 40)))";
    let both = format!("{one} (drop (memory.grow $third (i32.const 40)))");
    let guest = |body: &str| run(&format!("{body} (call $empty)")).functions(memories);
    assert_eq!(
        attempt(&guest(one), limits()).await.0.outcome.as_deref(),
        Ok("{}")
    );
    assert_eq!(
        code_of(&guest(&both), limits()).await,
        limit("limit.memory")
    );
}

/// Attack: A module of 60 memories, or of more than a hundred memories or tables. Refused before it runs.
#[tokio::test]
async fn a_flood_of_memories_or_tables_is_refused() {
    let (_folder, sandbox) = sandbox();
    let refuse = async |flood: &str, count: usize| {
        let guest = run("(call $empty)").functions(&flood.repeat(count));
        sandbox.prepare(guest.bytes().into()).await.unwrap_err()
    };
    let problem = refuse("(memory 0)", 60).await;
    assert!(
        matches!(&problem, ModuleProblem::Describe(failure) if failure.code == "limit.instances"),
        "{problem}"
    );
    for flood in ["(memory 0)", "(table 0 funcref)"] {
        let problem = refuse(flood, 101).await;
        assert!(matches!(&problem, ModuleProblem::Invalid(_)), "{problem}");
    }
    runs_an_honest_guest(&sandbox).await;
}

/// Attack: A table that grows without end. Ends with `limit.memory`.
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

/// Attack: Recursion without end. Ends with `trap.stack-overflow`.
#[tokio::test]
async fn deep_recursion_is_a_trap() {
    let guest = run("(call $deeper (i64.const 0)) (call $empty)").functions(
        "(func $deeper (param i64) (call $deeper (i64.add (local.get 0) (i64.const 1))) (call $deeper (local.get 0)))",
    );
    assert_eq!(code_of(&guest, limits()).await, trap("trap.stack-overflow"));
}
