//! A daemon that serves a folder, and what the kernel says about its process.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::caller::Caller;

/// A running daemon. Dropping it kills it.
pub struct Served {
    child: Child,
    folder: PathBuf,
}

impl Served {
    /// Starts the release binary and waits until it says that it listens.
    pub async fn start(folder: &Path) -> Self {
        Self::start_with(folder, &[]).await
    }

    /// The same with settings from the environment.
    pub async fn start_with(folder: &Path, settings: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_flowweaver"))
            .arg("--config")
            .arg(folder.join("flowweaver.toml"))
            .arg("serve")
            .env_clear()
            .envs(settings.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let served = Self {
            child,
            folder: folder.to_owned(),
        };
        let listens = tokio::task::spawn_blocking(move || {
            let mut said = Vec::new();
            while let Some(Ok(line)) = log.next() {
                if line.contains("listening") {
                    // A pipe that nobody empties would stop the daemon.
                    std::thread::spawn(move || log.for_each(drop));
                    return Ok(());
                }
                said.push(line);
            }
            Err(said.join("\n"))
        });
        if let Err(said) = listens.await.unwrap() {
            panic!("the daemon does not answer:\n{said}");
        }
        served
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("state/daemon.sock")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs a workflow once.
    pub async fn first_run(&self, flow: &str) {
        let mut caller = Caller::connect(&self.socket()).await.unwrap();
        caller.run(flow).await.unwrap();
    }

    /// Ends it as an operator does and waits for its end.
    pub fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap();
    }

    /// Memory that it holds now.
    pub fn resident_bytes(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    /// The most memory that it ever held.
    pub fn resident_peak_bytes(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    fn status_bytes(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let number = line.unwrap().trim().trim_end_matches(" kB");
        number.parse::<u64>().unwrap() * 1_024
    }

    /// Processor time that it has used, in user and kernel mode.
    pub fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // The name may hold spaces and is closed by the last parenthesis; utime and stime are fields 14 and 15.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It has ended already unless the benchmark stopped at a surprise.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
