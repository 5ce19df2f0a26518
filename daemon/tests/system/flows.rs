//! The example workflows: every file in `flows/` passes the check, and each does what its first line says.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use super::rig::{Rig, output, root, task, tasks};
use super::world::{World, product_blog};

/// The files that a test of this folder runs; `product-blog` in all of them.
const RUN: &[&str] = &["alarm", "conditions", "fan-out", "product-blog"];

/// A rig with all examples, pointed to the demo world.
fn examples() -> Option<(Rig, World)> {
    let (mut rig, world) = product_blog()?;
    for entry in fs::read_dir(root().join("flows")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        // Nobody waits a second for a world that is told to fail.
        let quick = text.replace("delay = \"1s\"", "delay = \"10ms\"");
        rig.write(&format!("flows/{}", name.to_str().unwrap()), quick);
    }
    let base = world.base();
    rig.settings(&format!(
        "\n[workflows.fan-out.vars]\nmall_url = \"{base}/mall\"\n\n\
         [workflows.alarm.vars]\npage_url = \"{base}/blog/\"\nhook_url = \"{base}/blog/hook\"\n"
    ));
    Some((rig, world))
}

#[test]
fn every_example_is_run_by_a_test_says_what_it_shows_and_passes_the_check() {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(root().join("flows")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(
            text.starts_with("# "),
            "{name}: the first line says what it shows"
        );
        assert!(text.contains(&format!("name = \"{name}\"")), "{name}");
        found.insert(name);
    }
    let run: BTreeSet<String> = RUN.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(found, run);
    let Some((rig, _world)) = examples() else {
        return;
    };
    let checked = rig.cli(&["check"]);
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stdout)
    );
}

#[test]
fn fan_out_asks_for_every_word_and_goes_on_without_the_one_that_fails() {
    let Some((mut rig, world)) = examples() else {
        return;
    };
    // Two are under way at once: both are held at the same time.
    world.gate(&json!({ "section": "mall", "count": 2 }));
    rig.start();
    let run = rig.detach("fan-out", &[]);
    world.control("GET", "gate?wait=2", &Value::Null);
    assert_eq!(world.requests("mall").len(), 2, "and the third waits");
    world.fault(&json!({ "section": "mall", "kind": "status", "status": 404, "count": 1 }));
    world.release();
    let run = rig.finished(&run);
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_eq!(run["toleratedFailures"], 1, "{run:#}");
    let items: Vec<&Value> = tasks(&run)
        .into_iter()
        .filter(|task| task["task"] == "pages" && task["itemIndex"].is_u64())
        .collect();
    assert_eq!(items.len(), 3);
    let failed = items
        .iter()
        .filter(|item| item["status"] == "failed")
        .count();
    assert_eq!(failed, 1, "{run:#}");
    assert_eq!(task(&run, "answered")["status"], "succeeded");
}

#[test]
fn conditions_skip_a_task_and_give_a_value_for_what_it_did_not_make() {
    let Some((mut rig, world)) = examples() else {
        return;
    };
    rig.start();
    let loose = rig.run("conditions", &[]);
    assert_eq!(loose["status"], "succeeded", "{loose:#}");
    assert_eq!(task(&loose, "sift")["status"], "skipped");
    let strict = rig.run("conditions", &["strict=true"]);
    assert_eq!(strict["status"], "succeeded", "{strict:#}");
    assert_eq!(task(&strict, "sift")["status"], "succeeded");
    for run in [&loose, &strict] {
        let top = output(run, "rank")["top_products"].as_array().unwrap();
        assert_eq!(top[0]["title"], "경량 백팩", "{run:#}");
    }
    assert!(world.requests("mall").is_empty());
}

#[test]
fn alarm_calls_for_help_after_a_failure_and_only_then() {
    let Some((mut rig, world)) = examples() else {
        return;
    };
    rig.start();
    let quiet = rig.run("alarm", &[]);
    assert_eq!(quiet["status"], "succeeded", "{quiet:#}");
    assert_eq!(task(&quiet, "call")["status"], "skipped");
    assert_eq!(
        output(&quiet, "seen")["matched_products"][0]["title"],
        "page 200"
    );
    world.fault(&json!({ "section": "blog", "method": "GET", "kind": "status", "status": 500 }));
    world.fault(&json!({ "section": "blog", "method": "POST", "kind": "status", "status": 200, "body": "{\"heard\": true}" }));
    let loud = rig.run("alarm", &[]);
    assert_eq!(loud["status"], "failed", "{loud:#}");
    assert_eq!(output(&loud, "call")["body"]["heard"], true);
    assert_eq!(
        output(&loud, "seen")["matched_products"][0]["title"],
        "page gone"
    );
    let calls = world.requests("blog");
    let call = calls.iter().find(|call| call["method"] == "POST").unwrap();
    assert!(
        call["body"]
            .as_str()
            .unwrap()
            .contains(loud["id"].as_str().unwrap())
    );
}
