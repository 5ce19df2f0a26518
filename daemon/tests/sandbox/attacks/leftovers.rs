//! What others left in the slot that an instance gets.

use flowweaver::sandbox::invoke::Invoke as _;

use crate::guests::run;
use crate::world::*;

/// Attack: Memory and globals that an earlier instance of the module has written. They read as zero.
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

/// Attack: Memory and tables that another module's instance has written in the same slot. They read as zero and null.
#[tokio::test]
async fn nothing_of_another_modules_instance_can_be_read() {
    let secretive = run("(drop (memory.grow (i32.const 30)))
        (memory.fill (i32.const 8192) (i32.const 170) (i32.const 2023424))
        (table.fill $own (i32.const 0) (ref.func $empty) (i32.const 50))
        (drop (table.grow $own (ref.func $empty) (i32.const 200)))
        (call $empty)")
    .functions("(table $own 50 1000 funcref) (elem declare func $empty)");
    // Its own input stands at 8192.
    let curious = run("(local $at i32)
        (drop (memory.grow (i32.const 30)))
        (local.set $at (i32.const 12288))
        (loop $next
            (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then unreachable))
            (local.set $at (i32.add (local.get $at) (i32.const 8)))
            (br_if $next (i32.lt_u (local.get $at) (i32.const 2031616))))
        (drop (table.grow $own (ref.null func) (i32.const 200)))
        (local.set $at (i32.const 0))
        (loop $next
            (if (i32.eqz (ref.is_null (table.get $own (local.get $at)))) (then unreachable))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br_if $next (i32.lt_u (local.get $at) (i32.const 250))))
        (call $empty)")
    .functions("(table $own 50 1000 funcref)");
    let (_folder, sandbox) = sandbox();
    let secretive = prepare(&sandbox, &secretive).await;
    // Its own input stands at 8192.
    let curious = prepare(&sandbox, &curious).await;
    // More than the pool has slots: each is used again, by the one and by the other.
    for round in 0..300 {
        let module = if round % 2 == 0 { secretive } else { curious };
        let report = sandbox.invoke(invocation(module, "{}")).await;
        assert_eq!(report.outcome.as_deref(), Ok("{}"), "round {round}");
    }
}
