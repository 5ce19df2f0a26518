//! What goes when, and what is done about failures, as an operator does it.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use super::rig::Rig;

const FRAGILE: &str = r#"
flowweaver = 1
name = "fragile"
[inputs.how]
type = "string"
[[job]]
name = "only"
[[job.task]]
name = "one"
uses = "add-field"
with = { field = "x", fail = "{{ inputs.how if run.trigger != 'rerun' or inputs.how == 'always' else none }}" }
"#;

const SLOW: &str = r#"
flowweaver = 1
name = "slow"
concurrency = { max = 1 }
[[job]]
name = "only"
[[job.task]]
name = "one"
uses = "add-field"
timeout = "10m"
with = { field = "x", wait_ms = 300000, say = "waiting" }
"#;

fn letters(rig: &Rig, words: &[&str]) -> Vec<Value> {
    let all: Vec<&str> = ["dead-letters"].iter().chain(words).copied().collect();
    rig.json(&all)["data"].as_array().unwrap().clone()
}

#[test]
fn dead_letters_are_listed_repeated_in_bulk_and_dismissed() {
    let mut rig = Rig::with_add_field();
    rig.write("flows/fragile.toml", FRAGILE);
    rig.start();
    for how in ["how=broken", "how=always", "how=broken"] {
        assert_eq!(rig.run("fragile", &[how])["status"], "failed");
    }
    let listed = letters(&rig, &[]);
    assert_eq!(listed.len(), 3, "{listed:?}");
    let first = &listed[2];
    assert_eq!(
        (
            &first["workflow"],
            &first["task"],
            &first["code"],
            &first["attempts"]
        ),
        (
            &json!("fragile"),
            &json!("one"),
            &json!("broken"),
            &json!(1)
        )
    );
    assert_eq!(letters(&rig, &["--code", "broken"]).len(), 2);
    assert!(letters(&rig, &["--workflow", "other"]).is_empty());
    assert!(letters(&rig, &["--until", "2020-01-01T00:00:00Z"]).is_empty());
    // What does not say which entries it means is refused, as is what says it twice.
    let unclear = rig.cli(&["dead-letters", "redrive"]);
    assert_eq!(unclear.status.code(), Some(2));
    for body in [
        json!({}),
        json!({ "ids": [first["id"]], "all": true }),
        json!({ "al": true }),
    ] {
        let (status, _) = rig.call("POST", "/v0/dead-letters/redrive", &body);
        assert_eq!(status, 400, "{body}");
    }
    let done = rig.json(&["dead-letters", "redrive", "--code", "broken"]);
    let redriven = done["redriven"].as_array().unwrap();
    assert_eq!(redriven.len(), 2, "{done}");
    for run in redriven {
        let run = rig.finished(run["redriveRunId"].as_str().unwrap());
        assert_eq!(
            (&run["status"], &run["trigger"]),
            (&json!("succeeded"), &json!("rerun"))
        );
    }
    let left = letters(&rig, &[]);
    assert_eq!((left.len(), &left[0]["code"]), (1, &json!("always")));
    assert_eq!(letters(&rig, &["--state", "resolved"]).len(), 2);
    // One that fails again takes the place of the old one.
    let id = left[0]["id"].as_str().unwrap();
    let done = rig.json(&["dead-letters", "redrive", id]);
    let again = done["redriven"][0]["redriveRunId"].as_str().unwrap();
    assert_eq!(rig.finished(again)["status"], "failed");
    let left = letters(&rig, &[]);
    assert_eq!((left.len(), &left[0]["runId"]), (1, &json!(again)));
    assert_eq!(left[0]["originRunId"], listed[1]["runId"]);
    let id = left[0]["id"].as_str().unwrap();
    let done = rig.json(&["dead-letters", "dismiss", id, "--reason", "known"]);
    assert_eq!(done["dismissed"], json!([id]));
    let twice = rig.json(&["dead-letters", "dismiss", id]);
    assert_eq!(
        (&twice["dismissed"], &twice["skipped"]),
        (&json!([]), &json!([id]))
    );
    assert!(letters(&rig, &[]).is_empty());
    let kept = letters(&rig, &["--state", "dismissed"]);
    assert_eq!(
        (&kept[0]["note"], &kept[0]["settledBy"]),
        (&json!("known"), &json!("owner"))
    );
    let shown = rig.cli(&["dead-letters"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("nothing here"));
}

/// Head and body of a reply to a request that starts a run.
fn start_slow(rig: &Rig) -> String {
    let mut stream = UnixStream::connect(rig.path("state/daemon.sock")).unwrap();
    let request = "POST /v0/workflows/slow/run HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn beyond_the_limit_runs_are_held_and_beyond_the_backlog_refused_with_a_time_to_come_back() {
    let mut rig = Rig::with_add_field();
    rig.write("flows/slow.toml", SLOW);
    rig.settings("[engine]\nbacklog = 1\n");
    rig.start();
    let first = rig.detach("slow", &[]);
    rig.wait_for(&first, |line| line["kind"] == "task.started");
    let second = rig.detach("slow", &[]);
    let full = start_slow(&rig);
    assert!(full.starts_with("HTTP/1.1 429 "), "{full}");
    assert!(
        full.to_ascii_lowercase().contains("retry-after: 1\r\n"),
        "{full}"
    );
    assert!(
        full.contains("\"queue.full\"") && full.contains("backlog"),
        "{full}"
    );
    let rows = rig.json(&["runs", "--status", "held"]);
    assert_eq!(
        (
            rows["data"].as_array().unwrap().len(),
            &rows["data"][0]["id"]
        ),
        (1, &json!(second))
    );
    // A held run outlives the daemon, and goes when the first one's place is free.
    rig.kill();
    rig.start();
    rig.wait_for(&first, |line| line["message"] == "waiting");
    assert_eq!(rig.json(&["run", "show", &second])["status"], "held");
    assert!(rig.cli(&["cancel", &first]).status.success());
    rig.wait_for(&second, |line| line["kind"] == "task.started");
    assert!(rig.cli(&["cancel", &second]).status.success());
    assert_eq!(rig.finished(&second)["status"], "cancelled");
}

#[test]
fn a_priority_out_of_bounds_and_a_key_of_the_daemon_are_refused() {
    let mut rig = Rig::with_add_field();
    rig.write("flows/fragile.toml", FRAGILE);
    rig.start();
    let path = "/v0/workflows/fragile/run";
    let inputs = json!({ "how": "broken" });
    let body = json!({ "inputs": inputs, "priority": 101 });
    let (status, problem) = rig.call("POST", path, &body);
    assert_eq!(
        (status, &problem["detail"]),
        (400, &json!("priority: -100 to 100"))
    );
    let body = json!({ "inputs": inputs });
    let key = ["idempotency-key: schedule:daily:2026-01-01T00:00:00Z"];
    let (status, problem) = rig.call_with(&key, "POST", path, &body);
    assert_eq!(status, 400, "{problem}");
    let accepted = rig.json(&[
        "run",
        "--detach",
        "fragile",
        "-i",
        "how=broken",
        "--priority",
        "-3",
    ]);
    let run = rig.finished(accepted["runId"].as_str().unwrap());
    assert_eq!(run["priority"], -3, "{run}");
}
