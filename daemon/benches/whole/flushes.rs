//! Counts the flushes that a process asks the kernel for, by `strace`, if the machine has it.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// The calls that wait for a disk.
const CALLS: &str = "trace=fsync,fdatasync,sync_file_range,msync,sync,syncfs";

/// A tracer at work.
pub struct Counter {
    child: Child,
    report: tempfile::NamedTempFile,
}

impl Counter {
    /// Attaches to all threads of the process; none if there is no tracer. Returns once it counts.
    pub fn attach(pid: u32) -> Option<Self> {
        let report = tempfile::NamedTempFile::new().unwrap();
        let mut child = Command::new("strace")
            .args(["-f", "-c", "-U", "name,calls", "-e", CALLS, "-o"])
            .arg(report.path())
            .args(["-p", &pid.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .ok()?;
        // It says "Process … attached" or why it cannot; the pipe stays open for what it says later.
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Some(Self { child, report })
    }

    /// Lets go of the process and gives the number of calls; none if it could not attach.
    pub fn stop(mut self) -> Option<u64> {
        let pid = rustix::process::Pid::from_child(&self.child);
        // A tracer that could not attach has ended already, and its report is empty.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        self.child.wait().unwrap();
        let report = BufReader::new(File::open(self.report.path()).unwrap());
        let lines = report.lines().map_while(Result::ok);
        lines
            .filter_map(|line| {
                let mut words = line.split_whitespace();
                let (name, count) = (words.next()?, words.next()?);
                (name == "total").then(|| count.parse().ok())?
            })
            .last()
    }
}
