//! Looking around: what a guest finds of the machine it runs on.
//!
//! Clocks and chance are there, because ordinary programs hash and measure: the time of day, a monotonic clock in
//! nanoseconds, and random bytes, a MiB at most a call. A guest that times its own cache misses cannot be kept from
//! it while it may compute at all; secrets are in other processes' memory or never in the guest's.

use crate::guests::run;
use crate::world::*;

/// Attack: A guest asks for files, folders, its working folder, arguments and environment. There are none.
#[tokio::test]
async fn a_guest_that_looks_around_finds_no_files_environment_or_arguments() {
    let guest = run("
        (call $environment (i32.const 2048)) (call $arguments (i32.const 2056))
        (call $directories (i32.const 2064)) (call $folder (i32.const 2072))
        (if (i32.load (i32.const 2052)) (then unreachable))
        (if (i32.load (i32.const 2060)) (then unreachable))
        (if (i32.load (i32.const 2068)) (then unreachable))
        (if (i32.load8_u (i32.const 2072)) (then unreachable))
        (call $empty)")
    .surroundings();
    let (report, _) = attempt(&guest, limits()).await;
    assert_eq!(report.outcome.as_deref(), Ok("{}"));
}

/// Attack: A guest invents handles of files and sockets. Ends with `trap.contract`.
#[tokio::test]
async fn invented_handles_of_files_and_sockets_are_traps() {
    for handle in [0, 1, 3, 1_000_000] {
        let file = run(&format!(
            "(drop (call $same (i32.const {handle}) (i32.const {handle}))) (call $empty)"
        ))
        .surroundings();
        assert_eq!(code_of(&file, limits()).await, trap("trap.contract"));
        let socket = run(&format!(
            "(drop (call $listening (i32.const {handle}))) (call $empty)"
        ))
        .network();
        assert_eq!(code_of(&socket, limits()).await, trap("trap.contract"));
    }
}

/// Attack: A guest asks for TCP and UDP sockets of either family, to connect or to listen. Each is denied; without one there is nothing to connect or bind.
/// Attack: A guest resolves a name. It is denied.
#[tokio::test]
async fn sockets_and_names_are_denied() {
    // The errors' numbers in WASI: access-denied, permanent-resolver-failure.
    let (denied, unresolved) = (1, 20);
    for (call, error) in [
        ("(call $tcp (i32.const 0) (i32.const 2080))", denied),
        ("(call $tcp (i32.const 1) (i32.const 2080))", denied),
        ("(call $udp (i32.const 0) (i32.const 2080))", denied),
        ("(call $udp (i32.const 1) (i32.const 2080))", denied),
        (
            "(call $resolve (call $network) (i32.const 256) (i32.const 9) (i32.const 2080))",
            unresolved,
        ),
        (
            "(call $resolve (call $network) (i32.const 265) (i32.const 9) (i32.const 2080))",
            unresolved,
        ),
    ] {
        // A result is its case, 1 for an error, then the error's number.
        let guest = run(&format!(
            "{call}
            (if (i32.ne (i32.load8_u (i32.const 2080)) (i32.const 1)) (then unreachable))
            (if (i32.ne (i32.load8_u (i32.const 2084)) (i32.const {error})) (then unreachable))
            (call $empty)"
        ))
        .network()
        .data("(data (i32.const 256) \"localhost127.0.0.1\")");
        let (report, _) = attempt(&guest, limits()).await;
        assert_eq!(report.outcome.as_deref(), Ok("{}"), "{call}");
    }
}

/// Attack: A guest reads standard input. It is closed.
#[tokio::test]
async fn standard_input_is_closed() {
    let guest = run("(call $read (call $stdin) (i64.const 100) (i32.const 2080))
        (if (i32.ne (i32.load8_u (i32.const 2080)) (i32.const 1)) (then unreachable))
        (if (i32.ne (i32.load8_u (i32.const 2084)) (i32.const 1)) (then unreachable))
        (call $empty)")
    .stdin();
    let (report, _) = attempt(&guest, limits()).await;
    assert_eq!(report.outcome.as_deref(), Ok("{}"));
}

/// Attack: A guest asks for a GiB of random bytes. The attempt fails; a KiB is given.
#[tokio::test]
async fn random_bytes_are_given_in_portions() {
    let ask = |bytes: u32| {
        run(&format!(
            "(call $random (i64.const {bytes}) (i32.const 2080)) (call $empty)"
        ))
        .chance_and_time()
    };
    assert_eq!(
        code_of(&ask(1 << 30), limits()).await,
        trap("trap.contract")
    );
    let (report, _) = attempt(&ask(1 << 10), limits()).await;
    assert_eq!(report.outcome.as_deref(), Ok("{}"));
}

#[tokio::test]
async fn a_guest_can_tell_the_time() {
    // 2020-01-01 in seconds.
    let guest = run("(call $now (i32.const 2080))
        (if (i64.lt_u (i64.load (i32.const 2080)) (i64.const 1577836800)) (then unreachable))
        (call $empty)")
    .chance_and_time();
    let (report, _) = attempt(&guest, limits()).await;
    assert_eq!(report.outcome.as_deref(), Ok("{}"));
}
