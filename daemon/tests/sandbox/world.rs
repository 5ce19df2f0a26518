//! What the sandbox's tests share: a sandbox of their own, an invocation, guests, and what an attempt's end is called.

use std::path::{Path, PathBuf};
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

use super::broker::broker;
use super::guests::{Guest, run};

/// Ends a test that would hang; nothing waits for it otherwise.
pub const FAR: Duration = Duration::from_secs(300);

pub fn limits() -> TaskLimits {
    TaskLimits {
        timeout: FAR,
        cpu: FAR,
        memory_bytes: 4 << 20,
        output_bytes: 1 << 20,
    }
}

/// The command compiles, as it does for the daemon.
pub fn options(folder: &Path) -> SandboxOptions {
    SandboxOptions {
        compiler: env!("CARGO_BIN_EXE_flowweaver").into(),
        ..SandboxOptions::new(folder)
    }
}

pub fn open(folder: &Path) -> Sandbox {
    Sandbox::open(options(folder), broker()).unwrap()
}

pub fn sandbox() -> (TempDir, Arc<Sandbox>) {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = open(folder.path());
    (folder, Arc::new(sandbox))
}

pub fn invocation(module: Digest, input: &str) -> Invocation {
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

pub async fn prepare(sandbox: &Sandbox, guest: &Guest) -> Digest {
    sandbox.prepare(guest.bytes().into()).await.unwrap().digest
}

/// Runs a guest in a sandbox of its own, then an honest one, which must not notice.
pub async fn attempt(guest: &Guest, limits: TaskLimits) -> (AttemptReport, Arc<Journal>) {
    let (_folder, sandbox) = sandbox();
    let hostile = Invocation {
        limits,
        ..invocation(prepare(&sandbox, guest).await, "{}")
    };
    let journal = Arc::clone(&hostile.journal);
    let report = sandbox.invoke(hostile).await;
    runs_an_honest_guest(&sandbox).await;
    (report, journal)
}

/// Whatever was done to the sandbox, it still does its work.
pub async fn runs_an_honest_guest(sandbox: &Sandbox) {
    let honest = sandbox
        .invoke(invocation(prepare(sandbox, &echo()).await, "{\"a\":1}"))
        .await;
    assert_eq!(honest.outcome.as_deref(), Ok("{\"a\":1}"));
}

pub async fn invoke_with(sandbox: &Sandbox, module: Digest, limits: TaskLimits) -> AttemptReport {
    sandbox
        .invoke(Invocation {
            limits,
            ..invocation(module, "{}")
        })
        .await
}

pub async fn code_of(guest: &Guest, limits: TaskLimits) -> (FailureSource, String) {
    let failure = attempt(guest, limits).await.0.outcome.unwrap_err();
    (failure.source, failure.code)
}

pub fn limit(code: &str) -> (FailureSource, String) {
    (FailureSource::Limit, code.to_owned())
}

pub fn trap(code: &str) -> (FailureSource, String) {
    (FailureSource::Trap, code.to_owned())
}

pub fn echo() -> Guest {
    run("(call $ok (local.get $input) (local.get $length))")
}

pub fn endless() -> Guest {
    run("(loop $forever (br $forever)) unreachable").log()
}

/// Says that it started, then waits for an hour in a host call.
pub fn sleeper() -> Guest {
    run(
        "(call $log (i32.const 2) (i32.const 64) (i32.const 2) (i32.const 0) (i32.const 0))
        (call $wait (call $timer (i64.const 3600000000000))) (call $empty)",
    )
    .log()
    .timer()
}

/// Says that it started, then never stops computing.
pub fn hog() -> Guest {
    run(
        "(call $log (i32.const 2) (i32.const 64) (i32.const 2) (i32.const 0) (i32.const 0))
        (loop $forever (br $forever)) unreachable",
    )
    .log()
}

/// Starts attempts and returns when each of them has said that it started.
pub async fn started(
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

/// Set in the process that runs one test alone.
const ALONE: &str = "FLOWWEAVER_TEST_ALONE";

/// Whether this process runs only this test, so that what is measured of the process is the test's. If not, the test
/// is run so, and has passed when this returns.
pub fn alone(name: &str) -> bool {
    let by_the_runner = std::env::var_os("NEXTEST_EXECUTION_MODE");
    if by_the_runner.is_some_and(|mode| mode == "process-per-test")
        || std::env::var_os(ALONE).is_some()
    {
        return true;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
    false
}

/// A number of this process from `/proc/self/status`.
fn status(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Memory that this process has now.
pub fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size() as u64
}

/// The most memory that this process ever had.
pub fn peak_resident_bytes() -> u64 {
    status("VmHWM:") * 1024
}

/// Threads of this process.
pub fn threads() -> u64 {
    status("Threads:")
}

/// Open descriptors of this process.
pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The compiled code in a sandbox's folder.
pub fn compiled_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.file_name().is_some_and(|name| name != "key"))
        .collect()
}

/// What `/proc` says of a process: its state, its parent and its niceness. None when it is gone.
pub fn process(pid: u32) -> Option<(char, u32, i32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before the last parenthesis may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    Some((
        fields[0].chars().next()?,
        fields[1].parse().ok()?,
        fields[16].parse().ok()?,
    ))
}

/// Whether a process runs; one that only waits for its parent to hear of its end does not.
pub fn runs(pid: u32) -> bool {
    process(pid).is_some_and(|(state, _, _)| state != 'Z' && state != 'X')
}

/// Children of this process that run.
pub fn children() -> usize {
    let own = std::process::id();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| runs(*pid) && process(*pid).is_some_and(|(_, parent, _)| parent == own))
        .count()
}

/// Waits until something is so, looking again whenever the runtime has nothing better to do.
pub async fn until(mut is_so: impl FnMut() -> bool) {
    let so = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(FAR, so).await.unwrap();
}
