//! Values that cross from the guest to the host: too many, too large, or wrong.

use flowweaver::workflow::model::TaskLimits;

use crate::guests::run;
use crate::world::*;

/// Attack: A string of 1 GiB for a host function. Ends with `limit.transfer`; nothing is copied.
/// Attack: A list of 10 million elements for a host function. Ends with `limit.transfer`; nothing is copied.
/// Attack: An output of 100 MiB. Ends with `limit.transfer`; nothing is copied.
#[tokio::test]
async fn an_enormous_string_or_list_for_the_host_is_a_limit_and_nothing_is_copied() {
    if !alone(
        "attacks::boundary::an_enormous_string_or_list_for_the_host_is_a_limit_and_nothing_is_copied",
    ) {
        return;
    }
    let limits = TaskLimits {
        memory_bytes: 2 << 30,
        ..limits()
    };
    let before = peak_resident_bytes();
    let grow = "(drop (memory.grow (i32.const 17000)))";
    let string = format!(
        "{grow} (call $log (i32.const 2) (i32.const 0) (i32.const 1073741824) (i32.const 0) (i32.const 0)) (call $empty)"
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
    let grown = peak_resident_bytes() - before;
    assert!(grown < 128 << 20, "{grown} bytes");
}

/// Attack: 10 million resource handles, of the host or of its own. Ends with `limit.handles`.
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

/// Attack: Invalid UTF-8, an unknown enum value or handle, a pointer or list out of bounds or unaligned for a host function. Ends with `trap.contract`.
/// Attack: A `realloc` that answers an address out of bounds. Ends with `trap.contract`.
/// Attack: A result out of bounds, unaligned, with an unknown case or in invalid UTF-8. Ends with `trap.contract`.
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
