//! A daemon of the test's own: the real binary, a folder with files, its socket, its log.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Nothing in these tests takes this long on a loaded machine unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What changes without a line in the log is looked at again after this long.
const MOMENT: Duration = Duration::from_millis(20);

/// Digits of a module's digest and of the engine's, and what is between them.
const COMPILED_NAME_LENGTH: usize = 64 + 1 + 16;

/// A folder with flows, tasks, settings and state, and the daemon that runs there.
pub struct Rig {
    folder: TempDir,
    settings: String,
    environment: Vec<(String, String)>,
    daemon: Option<Running>,
}

struct Running {
    child: Child,
    log: Arc<Log>,
}

/// The daemon's log so far, and a way to wait for a line.
#[derive(Default)]
pub struct Log {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

impl Log {
    /// Waits until a line satisfies `wanted`, looking at all there are.
    pub fn wait(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.lines.lock().unwrap();
        loop {
            if let Some(line) = lines.iter().find(|line| wanted(line)) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let text = lines.join("\n");
                drop(lines);
                panic!("no line says {what}; the log:\n{text}");
            }
            lines = self.grown.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Waits for the next line, or a moment.
    pub fn grows(&self) {
        let lines = self.lines.lock().unwrap();
        drop(self.grown.wait_timeout(lines, MOMENT).unwrap());
    }

    /// Everything so far.
    pub fn text(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }
}

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

/// Compiled modules, kept from test to test: a debug build takes seconds for each.
fn compiled() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled");
    fs::create_dir_all(&folder).unwrap();
    let key = folder.join("key");
    // Tests are processes of their own: the first key stays.
    if !key.exists() {
        let own = folder.join(format!(".key-{}", std::process::id()));
        let mut file = fs::File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&own)
            .unwrap();
        file.write_all(&rand::random::<[u8; 32]>()).unwrap();
        drop(file);
        let first = fs::hard_link(&own, &key);
        assert!(first.is_ok() || key.exists(), "{first:?}");
        fs::remove_file(own).unwrap();
    }
    folder
}

/// Gives `to` the compiled code that `from` has and it lacks. Such files are never changed, so a link will do.
fn link_compiled(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let name = entry.unwrap().file_name();
        let (old, new) = (from.join(&name), to.join(&name));
        if new.exists() || !(name == "key" || name.len() == COMPILED_NAME_LENGTH) {
            continue;
        }
        // Another test may have been faster, and a daemon may have swept the file.
        if fs::hard_link(&old, &new).is_err() && !new.exists() && old.exists() {
            let beside = to.join(format!(".{}-{}", std::process::id(), name.display()));
            fs::copy(&old, &beside).unwrap();
            fs::rename(&beside, &new).unwrap();
        }
    }
}

impl Rig {
    /// An empty one.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("flows")).unwrap();
        fs::create_dir(folder.path().join("tasks")).unwrap();
        fs::create_dir(folder.path().join("state")).unwrap();
        let own = folder.path().join("state/compiled");
        fs::DirBuilder::new().mode(0o700).create(&own).unwrap();
        link_compiled(&compiled(), &own);
        // A free port: tests run side by side.
        let settings =
            "[server]\nlisten = \"127.0.0.1:0\"\n\n[reload]\nremoval_grace = \"200ms\"\n"
                .to_owned();
        Self {
            folder,
            settings,
            environment: Vec::new(),
            daemon: None,
        }
    }

    /// With the module that adds a field, waits, logs or fails as told.
    pub fn with_add_field() -> Self {
        let rig = Self::new();
        let fixture =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/add-field-0.1.0.wasm");
        fs::copy(fixture, rig.path("tasks/add-field.wasm")).unwrap();
        rig
    }

    /// Adds to `flowweaver.toml`.
    pub fn settings(&mut self, text: &str) {
        self.settings.push_str(text);
    }

    /// Changes what `flowweaver.toml` says so far.
    pub fn edit_settings(&mut self, edit: impl FnOnce(&str) -> String) {
        self.settings = edit(&self.settings);
    }

    /// Sets a variable of the daemon's environment.
    pub fn environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// A path in the folder.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// Writes a file as careful programs do: beside, then renamed over.
    pub fn write(&self, relative: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(relative);
        let beside = path.with_extension("new");
        fs::write(&beside, bytes).unwrap();
        fs::rename(beside, path).unwrap();
    }

    /// The command, with this rig's settings and environment.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flowweaver"));
        fs::write(self.path("flowweaver.toml"), &self.settings).unwrap();
        command
            .arg("--config")
            .arg(self.path("flowweaver.toml"))
            .env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts the daemon and waits until it listens.
    pub fn start(&mut self) -> Arc<Log> {
        // What one test compiles, the next ones find.
        let turn = fs::File::create(compiled().with_extension("lock")).unwrap();
        turn.lock().unwrap();
        link_compiled(&compiled(), &self.path("state/compiled"));
        let log = self.begin();
        let line = log.wait("that it listens or ended", |line| {
            line.contains("listening") || line.contains("log ended")
        });
        assert!(
            line.contains("listening"),
            "the daemon did not start:\n{}",
            log.text()
        );
        link_compiled(&self.path("state/compiled"), &compiled());
        log
    }

    /// Starts the daemon, and does not wait.
    pub fn begin(&mut self) -> Arc<Log> {
        let mut child = self
            .command()
            .arg("serve")
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let log = Arc::new(Log::default());
        let said = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                said.lines.lock().unwrap().push(format!("(stdout) {line}"));
                said.grown.notify_all();
            }
        });
        let writer = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                writer.lines.lock().unwrap().push(line);
                writer.grown.notify_all();
            }
            writer
                .lines
                .lock()
                .unwrap()
                .push("(the daemon's log ended)".to_owned());
            writer.grown.notify_all();
        });
        self.daemon = Some(Running {
            child,
            log: Arc::clone(&log),
        });
        log
    }

    /// The daemon's log.
    pub fn log(&self) -> Arc<Log> {
        Arc::clone(&self.daemon.as_ref().unwrap().log)
    }

    /// Waits until another version of a workflow than this one is live.
    pub fn newer_is_live(&self, workflow: &str, version: &Value) {
        let version = version.as_str().unwrap().trim_start_matches("sha256:");
        // The log shortens a version to its first digits.
        let old = format!("version=\"{}", &version[..8]);
        let live = format!("the workflow is live workflow={workflow} ");
        self.log().wait("that the edit is live", |line| {
            line.contains(&live) && !line.contains(&old)
        });
    }

    /// The daemon's process id.
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().unwrap().child.id()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        daemon.child.kill().unwrap();
        daemon.child.wait().unwrap();
    }

    /// SIGTERM, and how it ended.
    pub fn stop(&mut self) -> ExitStatus {
        let mut daemon = self.daemon.take().unwrap();
        let pid = rustix::process::Pid::from_child(&daemon.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        daemon.child.wait().unwrap()
    }

    /// Puts another store's file and log in the place of its own, while it does not run.
    pub fn replace_store(&self, from: &Path) {
        for name in ["flowweaver.db", "flowweaver.db-wal", "flowweaver.db-shm"] {
            let to = self.path("state").join(name);
            let _ = fs::remove_file(&to);
            if from.join(name).exists() {
                fs::copy(from.join(name), to).unwrap();
            }
        }
    }

    /// Runs a command of the command line.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    /// Runs a command with this standard input.
    pub fn cli_with(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = self
            .command()
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that refuses its arguments ends without reading.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    /// Runs a command that must exit 0 and print JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self
            .command()
            .arg("--json")
            .args(arguments)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{arguments:?} ended with {}:\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Starts a run without following it.
    pub fn detach(&self, workflow: &str, inputs: &[&str]) -> String {
        let mut arguments = vec!["run", "--detach", workflow];
        for input in inputs {
            arguments.extend(["-i", input]);
        }
        self.json(&arguments)["runId"].as_str().unwrap().to_owned()
    }

    /// Starts a run with more of the command line's words, and follows it to its end.
    pub fn run_with(&self, workflow: &str, words: &[&str]) -> Value {
        let mut arguments = vec!["run", "--detach", workflow];
        arguments.extend(words);
        let accepted = self.json(&arguments);
        self.finished(accepted["runId"].as_str().unwrap())
    }

    /// Begins a run again, and follows the new one to its end.
    pub fn rerun(&self, run: &str, words: &[&str]) -> Value {
        let mut arguments = vec!["rerun", "--detach", run];
        arguments.extend(words);
        let accepted = self.json(&arguments);
        self.finished(accepted["runId"].as_str().unwrap())
    }

    /// Follows a run to its end and gives its tree with inputs and outputs.
    pub fn finished(&self, run: &str) -> Value {
        let output = self.cli(&["logs", "-f", run]);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        self.json(&["run", "show", run])
    }

    /// Runs a workflow to its end and gives its tree with inputs and outputs.
    pub fn run(&self, workflow: &str, inputs: &[&str]) -> Value {
        let run = self.detach(workflow, inputs);
        self.finished(&run)
    }

    /// Waits for a line of a run's log, following it live.
    pub fn wait_for(&self, run: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut child = self
            .command()
            .args(["--json", "logs", "-f", run])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let found = lines
            .map_while(Result::ok)
            .filter_map(|line| serde_json::from_str::<Value>(&line).ok())
            .find(|row| wanted(row));
        child.kill().unwrap();
        child.wait().unwrap();
        found.unwrap_or_else(|| {
            panic!(
                "the run ended without it: {}",
                self.json(&["run", "show", run])
            )
        })
    }

    /// The whole reply to a request, head and body, as it came.
    pub fn reply(&self, path: &str) -> Vec<u8> {
        let mut stream = UnixStream::connect(self.path("state/daemon.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
    }

    /// Calls the daemon's API; gives the status and the body.
    pub fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.call_with(&[], method, path, body)
    }

    /// The same, with more headers.
    pub fn call_with(
        &self,
        headers: &[&str],
        method: &str,
        path: &str,
        body: &Value,
    ) -> (u16, Value) {
        let mut stream = UnixStream::connect(self.path("state/daemon.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let length = body.len();
        let more: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{more}content-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    /// The events of all runs, from the first on, as they come.
    pub fn events(&self) -> impl Iterator<Item = Value> + use<> {
        let mut stream = UnixStream::connect(self.path("state/daemon.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
            .write_all(b"GET /v0/events?after=0 HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .unwrap();
        let lines = BufReader::new(stream).lines().map(Result::unwrap);
        lines.filter_map(|line| serde_json::from_str(line.strip_prefix("data:")?).ok())
    }

    /// The data of a path of the API.
    pub fn get(&self, path: &str) -> Value {
        let (status, mut answer) = self.call("GET", path, &Value::Null);
        assert_eq!(status, 200, "{path}: {answer}");
        answer["data"].take()
    }

    /// A run's tree, without inputs and outputs.
    pub fn tree(&self, run: &str) -> Value {
        self.get(&format!("/v0/workflow-runs/{run}"))
    }

    /// The live version of a workflow.
    pub fn version(&self, workflow: &str) -> Option<String> {
        let found = self.get("/v0/workflows");
        let rows = found.as_array().unwrap();
        let row = rows.iter().find(|row| row["name"] == workflow)?;
        Some(row["version"].as_str().unwrap().to_owned())
    }

    /// What the daemon says of a file that is not live as it stands.
    pub fn problem(&self, file: &str) -> Option<Value> {
        let found = self.get("/v0/problems");
        let rows = found.as_array().unwrap();
        rows.iter().find(|row| row["file"] == file).cloned()
    }

    /// Looks again, whenever the daemon logs something and now and then, until there is an answer.
    pub fn until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < deadline, "never: {what}");
            self.log().grows();
        }
    }

    /// Every file in the folder, by its path there, but for those that the test wrote secrets into (the settings,
    /// `keys/`, `credentials/`, `secrets.key`), its modules, and compiled code, which tests share.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        let own = [
            "flowweaver.toml",
            "keys",
            "credentials",
            "secrets.key",
            "tasks",
        ];
        let own = own.map(|own| self.path(own));
        let mut files = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                // Compiled code comes from other tests too, and is made of modules alone.
                let left_out = own.contains(&path) || path.ends_with("compiled");
                if path.is_symlink() || left_out {
                    continue;
                } else if path.is_dir() {
                    folders.push(path);
                } else if path.is_file() {
                    let name = path.strip_prefix(self.folder.path()).unwrap();
                    files.push((name.display().to_string(), fs::read(&path).unwrap()));
                }
            }
        }
        files
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            let _ = daemon.child.kill();
            let _ = daemon.child.wait();
            if std::thread::panicking() {
                eprintln!("the daemon's log:\n{}", daemon.log.text());
            }
        }
    }
}

/// The task runs of a run's tree, by task name.
pub fn tasks(run: &Value) -> Vec<&Value> {
    run["jobRuns"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|job| job["taskRuns"].as_array().unwrap())
        .collect()
}

/// One task run of a run's tree.
pub fn task<'a>(run: &'a Value, name: &str) -> &'a Value {
    tasks(run)
        .into_iter()
        .find(|task| task["task"] == name)
        .unwrap_or_else(|| panic!("no task {name} in {run:#}"))
}

/// A task's recorded output.
pub fn output<'a>(run: &'a Value, name: &str) -> &'a Value {
    let rows = run["io"].as_array().unwrap();
    &rows
        .iter()
        .find(|row| row["kind"] == "output" && row["task"] == name)
        .unwrap_or_else(|| panic!("no output of {name} in {run:#}"))["data"]
}

/// What a task was given.
pub fn input<'a>(run: &'a Value, name: &str) -> &'a Value {
    let rows = run["io"].as_array().unwrap();
    &rows
        .iter()
        .find(|row| row["kind"] == "input" && row["task"] == name)
        .unwrap_or_else(|| panic!("no input of {name} in {run:#}"))["data"]
}

/// How a task's last attempt failed.
pub fn failure<'a>(run: &'a Value, name: &str) -> &'a Value {
    let attempts = task(run, name)["attempts"].as_array().unwrap();
    let failure = &attempts.last().unwrap()["failure"];
    assert!(!failure.is_null(), "{name} did not fail: {run:#}");
    failure
}
