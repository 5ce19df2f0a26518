//! Counts instructions by running this program again under `valgrind`, if the machine has it.

use std::process::{Command, Stdio};

/// The instructions of carrying out so many runs, so many of them at a time, start and end included.
pub fn instructions(runs: usize, width: usize) -> Option<u64> {
    let output = Command::new("valgrind")
        .args([
            "--tool=cachegrind",
            "--cache-sim=no",
            "--cachegrind-out-file=/dev/null",
        ])
        .arg(std::env::current_exe().unwrap())
        .args(["--carry-out", &runs.to_string(), &width.to_string()])
        .stdout(Stdio::null())
        .output()
        .ok()?;
    let report = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{report}");
    let line = report.lines().find_map(|line| line.split_once("refs:"))?;
    line.1.trim().replace(',', "").parse().ok()
}
