//! Tasks in other languages, as their authors make them: the real compilers, the real daemon.
//!
//! The components come from `polyglot/build.sh`; `make test-languages` installs the compilers, builds, and says
//! in `FLOWWEAVER_POLYGLOT` where they are. Without it only the text of the pages is checked.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a panic in a test is the report"
)]

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use rig::Rig;
use serde_json::Value;

#[path = "languages/chat.rs"]
mod chat;
#[path = "languages/javascript.rs"]
mod javascript;
#[path = "languages/limits.rs"]
mod limits;
#[path = "languages/pages.rs"]
mod pages;
#[path = "languages/python.rs"]
mod python;
#[path = "system/rig.rs"]
#[allow(dead_code, reason = "the system tests use the rest")]
mod rig;

/// Where the components are; none, and a line that says so, when nobody built them.
fn components() -> Option<PathBuf> {
    let folder = std::env::var_os("FLOWWEAVER_POLYGLOT").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: tasks in other languages; `make test-languages` runs them");
    }
    folder
}

/// Compiles what is in the folder: an interpreter takes a debug build longer than a test waits for a daemon. One
/// at a time, so that the next one finds it.
fn compile(rig: &Rig) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    rig.json(&["tasks"]);
}

/// A daemon's folder with these components; none when nobody built them.
fn rig(modules: &[&str]) -> Option<Rig> {
    let folder = components()?;
    let rig = Rig::new();
    for module in modules {
        let component = folder.join(format!("{module}.wasm"));
        let bytes = fs::read(&component).unwrap_or_else(|error| {
            panic!(
                "{}: {error}; polyglot/build.sh makes it",
                component.display()
            )
        });
        rig.write(&format!("tasks/{module}.wasm"), bytes);
    }
    compile(&rig);
    Some(rig)
}

/// A workflow of one task with the inputs that a test chooses.
fn flow(name: &str, module: &str, inputs: &[&str], more: &str) -> String {
    let declared: String = inputs
        .iter()
        .map(|input| format!("[inputs.{input}]\ntype = \"string\"\n\n"))
        .collect();
    let with: Vec<_> = inputs
        .iter()
        .map(|input| format!("{input} = \"{{{{ inputs.{input} }}}}\""))
        .collect();
    format!(
        "flowweaver = 1\nname = \"{name}\"\n\n{declared}[[job]]\nname = \"only\"\n\n[[job.task]]\nname = \"it\"\n\
         uses = \"{module}\"\nwith = {{ {} }}\n{more}\n",
        with.join(", ")
    )
}

/// How many times the task was tried.
fn tries(run: &Value) -> usize {
    rig::task(run, "it")["attempts"].as_array().unwrap().len()
}

/// What the daemon shows of a module.
fn module(rig: &Rig, name: &str) -> Value {
    let modules = rig.json(&["tasks"]);
    let rows = modules.as_array().unwrap();
    rows.iter()
        .find(|row| row["name"] == name)
        .unwrap_or_else(|| panic!("no module {name} in {modules:#}"))
        .clone()
}

/// The lines of a run's log.
fn log(rig: &Rig, run: &Value) -> Vec<Value> {
    let output = rig.cli(&["--json", "logs", run["id"].as_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
