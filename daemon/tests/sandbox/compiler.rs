//! The compiler's process: what it may do, what it is told, and how its end is understood.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use flowweaver::sandbox::compiler::{COMMAND, CompileLimits};
use flowweaver::sandbox::module::{ModuleProblem, PreparedModule};
use flowweaver::sandbox::{Sandbox, SandboxOptions};
use tempfile::TempDir;

use super::broker::broker;
use super::world::*;

/// More than a pipe holds: when it is written, its reader has begun to read, and that it does last.
const MORE_THAN_A_PIPE: usize = 256 << 10;

/// A sandbox whose compiler is this shell script. `$FOLDER` in it is a folder of the test's own.
fn scripted(script: &str) -> (TempDir, Arc<Sandbox>) {
    scripted_within(Duration::from_millis(500), script)
}

/// The same, with so much CPU time.
fn scripted_within(time: Duration, script: &str) -> (TempDir, Arc<Sandbox>) {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("compiler");
    let script = script.replace("$FOLDER", folder.path().to_str().unwrap());
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let options = SandboxOptions {
        compiler: program,
        compile_limits: CompileLimits {
            time,
            memory_bytes: 1 << 30,
        },
        ..SandboxOptions::new(folder.path().join("compiled"))
    };
    (folder, Arc::new(Sandbox::open(options, broker()).unwrap()))
}

async fn prepare_by(sandbox: &Sandbox) -> Result<Arc<PreparedModule>, ModuleProblem> {
    loop {
        let prepared = sandbox.prepare(echo().bytes().into()).await;
        match &prepared {
            // A process that another test is just starting still holds the script open for writing.
            Err(ModuleProblem::Host(why)) if why.contains("busy") => {}
            _ => return prepared,
        }
    }
}

/// The command's own compiling child of this process, or of the shell that `wrapper` has made of it.
fn child_of(mut wrapper: Command, parent: Option<u32>) -> Child {
    wrapper
        .args([COMMAND, "--memory=1073741824", "--cpu-seconds=7"])
        .args(parent.map(|parent| format!("--parent={parent}")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn the_process_gives_up_all_that_it_does_not_need() {
    // The shell opens a descriptor that the command inherits, as it might from a careless daemon.
    let mut shell = Command::new("/bin/sh");
    let program = format!(
        "exec 7</dev/null; exec {} \"$@\"",
        env!("CARGO_BIN_EXE_flowweaver")
    );
    shell.args(["-c", &program, "sh"]);
    let mut child = child_of(shell, Some(std::process::id()));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&[0; MORE_THAN_A_PIPE]).unwrap();
    let proc = |file: &str| format!("/proc/{}/{file}", child.id());
    let mut open: Vec<_> = fs::read_dir(proc("fd"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    open.sort();
    assert_eq!(open, ["0", "1", "2"]);
    let limits = fs::read_to_string(proc("limits")).unwrap();
    for (name, soft, hard) in [
        ("Max cpu time", "7", "8"),
        ("Max file size", "0", "0"),
        ("Max data size", "1073741824", "1073741824"),
        ("Max core file size", "0", "0"),
        ("Max open files", "3", "3"),
        ("Max address space", "3221225472", "3221225472"),
    ] {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        let words: Vec<_> = line[name.len()..].split_whitespace().collect();
        assert_eq!(words[..2], [soft, hard], "{line}");
    }
    let status = fs::read_to_string(proc("status")).unwrap();
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    let (_, _, nice) = process(child.id()).unwrap();
    assert_eq!(nice, 10);
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "zeros are no module");
}

#[test]
fn the_process_ends_with_the_daemon_that_started_it() {
    let mut shell = Command::new("/bin/sh");
    let program = format!(
        "exec 3<&0; {} \"$@\" --parent=$$ <&3 & echo $!; wait",
        env!("CARGO_BIN_EXE_flowweaver")
    );
    shell.args(["-c", &program, "sh"]);
    let mut shell = child_of(shell, None);
    let mut line = String::new();
    BufReader::new(shell.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let compiler: u32 = line.trim().parse().unwrap();
    let mut stdin = shell.stdin.take().unwrap();
    stdin.write_all(&[0; MORE_THAN_A_PIPE]).unwrap();
    assert!(runs(compiler));
    shell.kill().unwrap();
    shell.wait().unwrap();
    // Its input stays open: only the signal can end it.
    while runs(compiler) {
        std::thread::yield_now();
    }
    drop(stdin);
}

#[test]
fn a_process_whose_daemon_is_gone_already_reads_nothing() {
    let mut child = child_of(Command::new(env!("CARGO_BIN_EXE_flowweaver")), Some(1));
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("the daemon is gone"));
}

#[tokio::test]
async fn the_process_gets_an_empty_environment_and_the_root_folder() {
    let (folder, sandbox) =
        scripted("cat /proc/$$/environ > $FOLDER/environment; pwd > $FOLDER/where; exit 9");
    assert!(
        std::env::vars_os().count() > 1,
        "there is something to be passed on"
    );
    prepare_by(&sandbox).await.unwrap_err();
    let environment = fs::read_to_string(folder.path().join("environment")).unwrap();
    let variables: Vec<_> = environment.split_terminator('\0').collect();
    assert!(
        matches!(variables[..], [one] if one.starts_with("RAYON_NUM_THREADS=")),
        "{variables:?}"
    );
    assert_eq!(
        fs::read_to_string(folder.path().join("where")).unwrap(),
        "/\n"
    );
}

#[tokio::test]
async fn how_the_process_ended_is_said() {
    let refused = async |script: &str| {
        let (folder, sandbox) = scripted(script);
        let problem = prepare_by(&sandbox).await.unwrap_err();
        assert!(compiled_files(&folder.path().join("compiled")).is_empty());
        problem
    };
    let crashed = refused("echo something broke >&2; kill -SEGV $$").await;
    assert!(
        matches!(&crashed, ModuleProblem::CompilerFailed(why) if why.contains("SIGSEGV") && why.contains("something broke")),
        "{crashed}"
    );
    let no_memory = refused("echo memory allocation of 7 bytes failed >&2; kill -ABRT $$").await;
    assert!(
        matches!(&no_memory, ModuleProblem::CompileLimit(why) if why.contains("compile_memory")),
        "{no_memory}"
    );
    let no_time = refused("kill -XCPU $$").await;
    assert!(
        matches!(&no_time, ModuleProblem::CompileLimit(why) if why.contains("CPU time")),
        "{no_time}"
    );
    let waits = refused("exec tail -f /dev/null").await;
    assert!(
        matches!(&waits, ModuleProblem::CompileLimit(why) if why.contains("by the clock")),
        "{waits}"
    );
    let module_at_fault = refused("cat > /dev/null; echo line 1 is wrong; exit 1").await;
    assert_eq!(
        module_at_fault,
        ModuleProblem::Invalid("line 1 is wrong".to_owned())
    );
    let verbose = refused("cat /dev/zero | tr '\\0' x | head -c 1000000; exit 1").await;
    assert!(verbose.to_string().len() < 10_000);
    let unlimited = refused("echo no limits here >&2; exit 3").await;
    assert!(
        matches!(&unlimited, ModuleProblem::Host(why) if why.contains("no limits here")),
        "{unlimited}"
    );
    let no_code = refused("cat > /dev/null; echo nonsense").await;
    assert!(matches!(&no_code, ModuleProblem::Invalid(_)), "{no_code}");
    let endless = refused("exec cat /dev/zero").await;
    assert!(
        matches!(&endless, ModuleProblem::CompileLimit(why) if why.contains("its code has more than")),
        "{endless}"
    );
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_the_hosts_problem_and_not_the_modules() {
    let folder = tempfile::tempdir().unwrap();
    let options = SandboxOptions {
        compiler: folder.path().join("absent"),
        ..SandboxOptions::new(folder.path())
    };
    let sandbox = Sandbox::open(options, broker()).unwrap();
    let problem = prepare_by(&sandbox).await.unwrap_err();
    assert!(matches!(&problem, ModuleProblem::Host(_)), "{problem}");
}

/// Counts its starts in `$FOLDER/starts`, then waits for `$FOLDER/go`, then does what `then` says.
fn counted(then: &str) -> (TempDir, Arc<Sandbox>) {
    let script = format!("echo start >> $FOLDER/starts; read go < $FOLDER/go; {then}");
    scripted_within(FAR, &script)
}

fn starts(folder: &TempDir) -> usize {
    let text = fs::read_to_string(folder.path().join("starts")).unwrap_or_default();
    text.lines().count()
}

/// Makes the pipe that the script waits for; whoever opens it for writing lets one start go on.
fn gate(folder: &TempDir) {
    let made = Command::new("mkfifo")
        .arg(folder.path().join("go"))
        .status();
    assert!(made.unwrap().success());
}

#[tokio::test]
async fn a_module_that_many_want_at_once_is_compiled_once_and_its_failure_does_not_stick() {
    let compile = format!("exec {} \"$@\"", env!("CARGO_BIN_EXE_flowweaver"));
    let fails_first = format!("[ $(wc -l < $FOLDER/starts) = 1 ] && exit 9; {compile}");
    let (folder, sandbox) = counted(&fails_first);
    gate(&folder);
    for expected in [1, 2] {
        // All of them ask before the compiler may go on: polled once, they wait for the one that is first.
        let mut asking: Vec<_> = (0..4).map(|_| Box::pin(prepare_by(&sandbox))).collect();
        until_polled(&mut asking, || starts(&folder) == expected).await;
        let path = folder.path().join("go");
        let opened = tokio::task::spawn_blocking(move || fs::write(path, "go").unwrap());
        for asked in asking {
            let outcome = asked.await;
            assert_eq!(outcome.is_ok(), expected == 2, "{outcome:?}");
        }
        opened.await.unwrap();
        assert_eq!(starts(&folder), expected);
    }
    assert_eq!(sandbox.loaded().len(), 1);
}

/// Polls all of these again and again until something is so; none of them may end before.
async fn until_polled<F: Future + Unpin>(futures: &mut [F], is_so: impl Fn() -> bool) {
    let so = std::future::poll_fn(|context| {
        for future in futures.iter_mut() {
            assert!(std::pin::Pin::new(future).poll(context).is_pending());
        }
        if is_so() {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    });
    tokio::time::timeout(FAR, so).await.unwrap();
}

#[tokio::test]
async fn when_the_first_who_wants_a_module_goes_away_the_next_one_compiles_it() {
    let (folder, sandbox) = counted("cat > /dev/null; echo line 1 is wrong; exit 1");
    gate(&folder);
    let mut first = [Box::pin(prepare_by(&sandbox))];
    until_polled(&mut first, || starts(&folder) == 1).await;
    let mut second = [Box::pin(prepare_by(&sandbox))];
    until_polled(&mut second, || true).await;
    drop(first);
    until_polled(&mut second, || starts(&folder) == 2).await;
    let path = folder.path().join("go");
    let opened = tokio::task::spawn_blocking(move || fs::write(path, "go").unwrap());
    let [second] = second;
    let problem = second.await.unwrap_err();
    assert_eq!(
        problem,
        ModuleProblem::Invalid("line 1 is wrong".to_owned())
    );
    opened.await.unwrap();
}

#[tokio::test]
async fn the_process_ends_when_nobody_waits_for_it() {
    let (folder, sandbox) =
        scripted("echo $$ > $FOLDER/new; mv $FOLDER/new $FOLDER/pid; exec tail -f /dev/null");
    let file = folder.path().join("pid");
    let preparing = tokio::spawn(async move { prepare_by(&sandbox).await });
    until(|| file.exists()).await;
    let pid: u32 = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    preparing.abort();
    assert!(preparing.await.unwrap_err().is_cancelled());
    until(|| !runs(pid)).await;
}
