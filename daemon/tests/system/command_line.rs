//! The command line without a daemon, beside one, and when it is used wrongly.

use std::io::Read as _;
use std::process::Stdio;

use serde_json::{Value, json};

use super::basics::HELLO;
use super::rig::{Rig, output};

fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn serve_waits_for_who_just_looks_and_a_second_daemon_is_told_of_the_first() {
    let mut rig = Rig::with_add_field();
    let lock = std::fs::File::create(rig.path("state/lock")).unwrap();
    lock.lock().unwrap();
    std::fs::write(rig.path("state/lock"), "4711\n").unwrap();
    let log = rig.begin();
    log.wait("for whom it waits", |line| {
        line.contains("waiting") && line.contains("in use by process 4711")
    });
    drop(lock);
    log.wait("that it listens", |line| line.contains("listening"));
    let second = rig.cli(&["serve"]);
    assert_eq!(second.status.code(), Some(3));
    let message = said(&second.stderr);
    let holder = format!("in use by process {}", rig.pid());
    assert!(message.contains(&holder), "{message}");
    assert!(rig.stop().success());
}

#[test]
fn a_pager_that_nobody_reads_on_does_not_keep_a_daemon_from_starting() {
    let mut rig = Rig::with_add_field();
    rig.write("flows/hello.toml", HELLO);
    rig.start();
    // More than a pipe holds.
    let long = format!("who={}", "long ".repeat(20_000));
    let run = rig.run("hello", &[&long]);
    rig.stop();
    let mut shown = rig
        .command()
        .args(["--json", "run", "show", run["id"].as_str().unwrap()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = shown.stdout.take().unwrap();
    let mut text = vec![0];
    pipe.read_exact(&mut text).unwrap();
    rig.start();
    assert!(
        shown.try_wait().unwrap().is_none(),
        "it is not done printing"
    );
    pipe.read_to_end(&mut text).unwrap();
    assert!(shown.wait().unwrap().success());
    let shown: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(output(&shown, "second"), output(&run, "second"));
}

#[test]
fn a_detached_run_without_a_daemon_is_kept_says_so_and_begins_with_the_daemon() {
    let mut rig = Rig::with_add_field();
    rig.write("flows/hello.toml", HELLO);
    let kept = rig.json(&["run", "--detach", "hello"]);
    assert!(
        kept["note"].as_str().unwrap().contains("flowweaver serve"),
        "{kept}"
    );
    let told = rig.cli(&["run", "--detach", "hello"]);
    assert!(said(&told.stderr).contains("begins when one starts"));
    let unwanted = said(&told.stdout).trim().to_owned();
    let cancelled = rig.cli(&["cancel", &unwanted]);
    assert!(cancelled.status.success());
    assert!(said(&cancelled.stderr).contains("when one starts"));
    let rows = rig.json(&["runs"]);
    let rows = rows["data"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    assert!(
        rows.iter().all(|row| row["status"] == "queued"),
        "{rows:#?}"
    );
    rig.start();
    let run = rig.finished(kept["runId"].as_str().unwrap());
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_eq!(rig.finished(&unwanted)["status"], "cancelled");
}

#[test]
fn looking_at_runs_carries_none_out() {
    let rig = Rig::with_add_field();
    rig.write("flows/hello.toml", HELLO);
    let kept = rig.json(&["run", "--detach", "hello"]);
    let run = kept["runId"].as_str().unwrap();
    for words in [
        ["runs"].as_slice(),
        &["run", "show", run],
        &["logs", run],
        &["tasks"],
        &["workflows"],
        &["secret", "list"],
        &["kv", "list", "hello"],
    ] {
        let looked = rig.cli(words);
        assert!(
            looked.status.success(),
            "{words:?}: {}",
            said(&looked.stderr)
        );
    }
    assert_eq!(rig.json(&["run", "show", run])["status"], "queued");
}

/// Runs a command that must be refused as wrong usage, for people and for programs; gives what was said.
fn wrong(rig: &Rig, words: &[&str]) -> String {
    let plain = rig.cli(words);
    let text = said(&plain.stderr);
    assert_eq!(plain.status.code(), Some(2), "{words:?}: {text}");
    assert_eq!(said(&plain.stdout), "", "{words:?}");
    let json = rig.cli(&[&["--json"], words].concat());
    assert_eq!(json.status.code(), Some(2), "{words:?}");
    let answer: Value = serde_json::from_slice(&json.stderr)
        .unwrap_or_else(|error| panic!("{words:?}: {error}: {}", said(&json.stderr)));
    assert_eq!(answer["exit"], 2, "{words:?}: {answer}");
    assert!(!answer["error"].as_str().unwrap().is_empty(), "{answer}");
    text
}

#[test]
fn wrong_arguments_exit_2_and_say_what_is_accepted() {
    let rig = Rig::with_add_field();
    rig.write("flows/hello.toml", HELLO);
    for (words, accepted) in [
        (["runs", "--limit", "0"].as_slice(), "1..=1000"),
        (&["runs", "--limit", "1001"], "1..=1000"),
        (
            &["runs", "--status", "failed,banana"],
            "queued, held, running, waiting",
        ),
        (&["kv", "list", "hello", "--limit", "0"], "1..="),
        (&["run", "show", "banana"], "run id"),
        (&["run", "hello", "-i", "who"], "NAME=VALUE"),
        (&["run", "hello", "--overrides", "{"], "--overrides"),
        (&["run", "hello", "--idempotency-key", ""], "1 to 255"),
        (&["kv", "get", "hello", ""], "key"),
        (&["banana"], "Usage"),
        (&["check", "flows/absent.toml"], "flows/absent.toml"),
    ] {
        let text = wrong(&rig, words);
        assert!(text.contains(accepted), "{words:?}: {text}");
    }
}

#[test]
fn wrong_settings_exit_2_and_say_what_is_accepted() {
    let database = "[databases.blog]\nurl = \"sqlite:x.db\"\n";
    let file = "[paths]\ntasks = \"flows/hello.toml\"\n";
    for (settings, accepted) in [
        (
            format!("{database}mode = \"banana\"\n"),
            "\"read\" or \"read-write\"",
        ),
        (
            "[store]\ndurability = \"banana\"\n".to_owned(),
            "\"full\" or \"normal\"",
        ),
        ("[store]\nurl = \"banana:x\"\n".to_owned(), "sqlite:"),
        ("[log]\nformat = \"banana\"\n".to_owned(), "\"text\""),
        (
            "[network]\nallow = [\"banana\"]\n".to_owned(),
            "[network] allow",
        ),
        ("[banana]\nx = 1\n".to_owned(), "banana"),
        (file.to_owned(), "[paths] tasks = "),
        (file.replace("tasks", "flows"), "must be a folder"),
        (file.replace("tasks", "state"), "must be a folder"),
    ] {
        let mut rig = Rig::with_add_field();
        rig.write("flows/hello.toml", HELLO);
        rig.settings(&settings);
        for command in ["serve", "check", "runs", "workflows"] {
            // `check` opens no store.
            if command == "check" && settings.contains("banana:x") {
                continue;
            }
            let text = wrong(&rig, &[command]);
            assert!(text.contains(accepted), "{command} with {settings}: {text}");
        }
    }
    let mut rig = Rig::with_add_field();
    rig.environment("MODE", "banana");
    let text = wrong(&rig, &["runs"]);
    assert!(text.contains("neither `dev` nor `prd`"), "{text}");
}

#[test]
fn a_refusal_is_for_programs_what_the_api_said() {
    let rig = Rig::with_add_field();
    rig.write("flows/hello.toml", HELLO);
    let refused = rig.cli(&["--json", "run", "hello", "-i", "whom=x"]);
    assert_eq!(refused.status.code(), Some(4));
    let answer: Value = serde_json::from_slice(&refused.stderr).unwrap();
    assert_eq!(answer["exit"], 4);
    assert_eq!(answer["problem"]["code"], "input.invalid");
    assert!(answer["problem"]["errors"].is_array(), "{answer:#}");
    assert_eq!(json!(said(&refused.stdout)), json!(""));
}
