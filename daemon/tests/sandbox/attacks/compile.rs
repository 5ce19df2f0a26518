//! Modules that are written against the compiler. It works in a child process with limits, here small ones.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use flowweaver::sandbox::compiler::CompileLimits;
use flowweaver::sandbox::invoke::Invoke as _;
use flowweaver::sandbox::module::ModuleProblem;
use flowweaver::sandbox::{Sandbox, SandboxOptions};
use tempfile::TempDir;

use crate::broker::broker;
use crate::guests::run;
use crate::world::*;

/// One function with many branches over many variables that all live to its end: what a compiler keeps of it grows
/// with branches times variables.
fn bomb(branches: usize) -> Vec<u8> {
    const VARIABLES: usize = 500;
    let mut body = format!(
        "(func $bomb (param i64) (result i64) (local {})",
        "i64 ".repeat(VARIABLES)
    );
    for branch in 0..branches {
        let (to, from) = (1 + branch % VARIABLES, 1 + (branch * 7 + 3) % VARIABLES);
        writeln!(
            body,
            "(block (br_if 0 (i32.wrap_i64 (local.get {from}))) (local.set {to} (i64.add (local.get {from}) (local.get 0))))"
        )
        .unwrap();
    }
    body += "(local.get 0)";
    for variable in 1..=VARIABLES {
        write!(body, "(i64.add (local.get {variable}))").unwrap();
    }
    body += ")";
    run("(call $empty)").functions(&body).bytes()
}

fn limited(time: Duration, memory_bytes: u64) -> (TempDir, Arc<Sandbox>) {
    let folder = tempfile::tempdir().unwrap();
    let options = SandboxOptions {
        compile_limits: CompileLimits { time, memory_bytes },
        ..options(folder.path())
    };
    let sandbox = Sandbox::open(options, broker()).unwrap();
    (folder, Arc::new(sandbox))
}

/// Attack: A module that takes the compiler too long. Its process is killed at `compile_time` and the module is refused.
#[tokio::test]
async fn a_module_that_takes_the_compiler_too_long_is_refused() {
    let (folder, sandbox) = limited(Duration::from_secs(1), 8 << 30);
    let problem = sandbox.prepare(bomb(60_000).into()).await.unwrap_err();
    assert!(
        matches!(&problem, ModuleProblem::CompileLimit(why) if why.contains("compile_time")),
        "{problem}"
    );
    assert_eq!(compiled_files(folder.path()).len(), 0);
    runs_an_honest_guest(&sandbox).await;
}

/// Attack: A module that takes the compiler too much memory. Its process ends at `compile_memory`, the module is refused, and the daemon's memory does not notice.
#[tokio::test]
async fn a_module_that_takes_the_compiler_too_much_memory_is_refused() {
    if !alone("attacks::compile::a_module_that_takes_the_compiler_too_much_memory_is_refused") {
        return;
    }
    let (folder, sandbox) = limited(FAR, 96 << 20);
    let bomb = bomb(60_000);
    let before = peak_resident_bytes();
    let problem = sandbox.prepare(bomb.into()).await.unwrap_err();
    assert!(
        matches!(&problem, ModuleProblem::CompileLimit(why) if why.contains("compile_memory")),
        "{problem}"
    );
    let grown = peak_resident_bytes() - before;
    assert!(grown < 48 << 20, "{grown} bytes");
    assert_eq!(compiled_files(folder.path()).len(), 0);
    runs_an_honest_guest(&sandbox).await;
}

/// Attack: Modules that keep every compiling process busy. Attempts of other modules run meanwhile; with nobody waiting for them the processes end.
#[tokio::test]
async fn attempts_do_not_wait_for_a_compilation() {
    if !alone("attacks::compile::attempts_do_not_wait_for_a_compilation") {
        return;
    }
    let (_folder, sandbox) = limited(FAR, 8 << 30);
    let echo = prepare(&sandbox, &echo()).await;
    let before = children();
    let mut bombs = Vec::new();
    for number in 0..3 {
        let (sandbox, bytes) = (Arc::clone(&sandbox), bomb(60_000 + number));
        bombs.push(tokio::spawn(
            async move { sandbox.prepare(bytes.into()).await },
        ));
    }
    // At least one process is at it; the others wait for their turn where there is one core.
    until(|| children() > before).await;
    for _ in 0..200 {
        let report = sandbox.invoke(invocation(echo, "{}")).await;
        assert!(report.outcome.is_ok());
    }
    assert!(bombs.iter().all(|bomb| !bomb.is_finished()));
    for bomb in &bombs {
        bomb.abort();
    }
    until(|| children() == before).await;
    runs_an_honest_guest(&sandbox).await;
}

/// Attack: A type that doubles with each level, 50,000 locals, a table of a million branches, blocks nested 100,000 deep. Refused or compiled, within the limits.
#[tokio::test]
async fn what_grows_faster_than_its_text_is_refused_or_compiled() {
    let (_folder, sandbox) = limited(Duration::from_secs(20), 1 << 30);
    let mut doubling = "(type $t0 (tuple u8 u8))".to_owned();
    for level in 1..64 {
        let below = level - 1;
        write!(doubling, "(type $t{level} (tuple $t{below} $t{below}))").unwrap();
    }
    let doubling =
        run("(call $empty)")
            .wat()
            .replacen("(component", &format!("(component {doubling}"), 1);
    let problem = sandbox
        .prepare(wat::parse_str(doubling).unwrap().into())
        .await
        .unwrap_err();
    assert!(matches!(problem, ModuleProblem::Invalid(_)), "{problem}");
    for function in [
        format!("(func (local {}))", "i64 ".repeat(50_000)),
        format!(
            "(func (param i32) block local.get 0 br_table {} end)",
            "0 ".repeat(1_000_000)
        ),
        format!(
            "(func {} {})",
            "block ".repeat(100_000),
            "end ".repeat(100_000)
        ),
    ] {
        let bytes = run("(call $empty)").functions(&function).bytes();
        match sandbox.prepare(bytes.into()).await {
            Ok(_) | Err(ModuleProblem::Invalid(_) | ModuleProblem::CompileLimit(_)) => {}
            Err(problem) => panic!("{problem}"),
        }
    }
    runs_an_honest_guest(&sandbox).await;
}
