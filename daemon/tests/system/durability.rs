//! What a kill, a stop and a repeated order leave behind: nothing lost, nothing done twice.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::basics;
use super::rig::{Rig, task, tasks};
use super::world::{World, caller, product_blog};

/// A request in which a task can be held: section, method, path.
type Held = (&'static str, &'static str, &'static str);

/// The tasks of the sample workflow in their order, each with the request in which it can be held:
/// (task, section, method, path). Those without one only compute.
const TASKS: &[(&str, Option<Held>)] = &[
    ("keyword", Some(("trend", "POST", "*"))),
    ("search", Some(("mall", "GET", "/shop/search.php"))),
    ("match", None),
    ("rank", None),
    ("crawl", Some(("mall", "GET", "/shop/view.php"))),
    ("upload", Some(("s3", "PUT", "*"))),
    ("select", None),
    ("ocr", Some(("vision", "POST", "*"))),
    ("compose", Some(("llm", "POST", "*"))),
    ("publish", Some(("blog", "POST", "/wp-json/wp/v2/posts"))),
];

/// Attempts of a task are numbered from 1 without gaps; gives how many there are.
fn attempts(task: &Value) -> usize {
    let attempts = task["attempts"].as_array().unwrap();
    let numbers: Vec<u64> = attempts
        .iter()
        .map(|attempt| attempt["number"].as_u64().unwrap())
        .collect();
    let whole: Vec<u64> = (1..=attempts.len() as u64).collect();
    assert_eq!(numbers, whole, "{task:#}");
    attempts.len()
}

/// Starts a run and returns when this task of it is under way.
fn run_into(rig: &Rig, world: &World, name: &str, held: Option<Held>) -> String {
    let Some((section, method, path)) = held else {
        let run = rig.detach("product-blog", &[]);
        rig.wait_for(&run, |row| {
            row["kind"] == "task.started" && row["message"] == name
        });
        return run;
    };
    world.gate(&json!({ "section": section, "method": method, "path": path }));
    let run = rig.detach("product-blog", &[]);
    loop {
        world.held();
        if task(&rig.tree(&run), name)["status"] == "running" {
            return run;
        }
        // An earlier task asks the same of the same section.
        world.control("POST", "gate/release", &json!({ "keep": true }));
    }
}

#[test]
fn a_kill_in_the_middle_of_any_task_of_the_sample_neither_loses_nor_repeats_anything() {
    let Some((mut rig, world)) = product_blog() else {
        return;
    };
    rig.start();
    for (done, (name, held)) in TASKS.iter().enumerate() {
        let run = run_into(&rig, &world, name, *held);
        rig.kill();
        world.release();
        rig.start();
        let run = rig.finished(&run);
        assert_eq!(run["status"], "succeeded", "killed in {name}: {run:#}");
        assert_eq!(tasks(&run).len(), TASKS.len());
        // Only the attempt that the kill cut off is repeated. A task that cannot be held may have
        // given way to the next one by then.
        let mut cut = Vec::new();
        for one in tasks(&run) {
            let first = &one["attempts"][0]["status"];
            match attempts(one) {
                1 => assert_eq!(first, "succeeded", "killed in {name}: {one:#}"),
                2 => {
                    assert_eq!(first, "interrupted", "killed in {name}: {one:#}");
                    cut.push(one["task"].as_str().unwrap());
                }
                more => panic!("{more} attempts after one kill: {one:#}"),
            }
        }
        match held {
            Some(_) => assert_eq!(cut, [*name]),
            None => assert!(cut.len() <= 1, "killed in {name}: {cut:?}"),
        }
        assert_eq!(world.posts().len(), done + 1, "killed in {name}");
    }
    assert_eq!(
        rig.json(&["runs"])["data"].as_array().unwrap().len(),
        TASKS.len()
    );
}

const HELLO: &str = "flowweaver = 1\nname = \"hello\"\n\n[[job]]\nname = \"only\"\n
[[job.task]]\nname = \"one\"\nuses = \"add-field\"\nwith = { field = \"f\", value = 1 }\n
[[job.task]]\nname = \"two\"\nuses = \"add-field\"\nwith = { object = \"{{ tasks.one.object }}\", field = \"g\", value = 2 }\n";

#[test]
fn every_run_whose_id_was_printed_before_a_kill_exists_and_finishes_after_it() {
    const CALLERS: usize = 5;
    const EACH: usize = 10;
    let mut rig = Rig::with_add_field();
    rig.write("flows/hello.toml", HELLO);
    rig.start();
    let printed: Vec<String> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| scope.spawn(|| (0..EACH).map(|_| rig.detach("hello", &[])).collect()))
            .collect();
        let printed: Vec<Vec<String>> = callers
            .into_iter()
            .map(|caller| caller.join().unwrap())
            .collect();
        printed.concat()
    });
    rig.kill();
    rig.start();
    for run in &printed {
        let run = rig.finished(run);
        assert_eq!(run["status"], "succeeded", "{run:#}");
        for one in tasks(&run) {
            attempts(one);
        }
    }
    let page = rig.get("/v0/workflow-runs?limit=1000");
    let listed: BTreeSet<&str> = page["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["id"].as_str().unwrap())
        .collect();
    let printed: BTreeSet<&str> = printed.iter().map(String::as_str).collect();
    assert_eq!(printed.len(), CALLERS * EACH);
    assert_eq!(listed, printed, "what nobody was told of was not started");
}

#[test]
fn the_same_idempotency_key_starts_one_run_also_after_a_kill() {
    let mut rig = Rig::with_add_field();
    rig.write("flows/hello.toml", HELLO);
    rig.start();
    let with_key = |rig: &Rig, key: &str| {
        let answer = rig.json(&["run", "--detach", "--idempotency-key", key, "hello"]);
        answer["runId"].as_str().unwrap().to_owned()
    };
    let first = with_key(&rig, "order-17");
    assert_eq!(with_key(&rig, "order-17"), first);
    let other = with_key(&rig, "order-18");
    assert_ne!(other, first);
    rig.kill();
    rig.start();
    assert_eq!(with_key(&rig, "order-17"), first);
    for run in [&first, &other] {
        assert_eq!(rig.finished(run)["status"], "succeeded");
    }
    assert_eq!(rig.json(&["runs"])["data"].as_array().unwrap().len(), 2);
}

#[test]
fn an_idempotency_key_that_comes_with_another_request_is_refused_and_names_its_run() {
    let mut rig = Rig::with_add_field();
    rig.write("flows/hello.toml", basics::HELLO);
    rig.write(
        "flows/other.toml",
        basics::HELLO.replace("\"hello\"", "\"other\""),
    );
    rig.start();
    let keyed = |words: &[&str]| {
        let all = [&["run", "--detach", "--idempotency-key", "order-17"], words].concat();
        rig.cli(&all)
    };
    let first = String::from_utf8(keyed(&["hello", "-i", "who=a"]).stdout).unwrap();
    for other in [
        ["hello", "-i", "who=b"].as_slice(),
        &["hello"],
        &[
            "hello",
            "-i",
            "who=a",
            "--overrides",
            r#"{"first":{"value":"c"}}"#,
        ],
        &["other", "-i", "who=a"],
    ] {
        let refused = keyed(other);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(4), "{other:?}: {said}");
        assert!(said.contains(first.trim()), "{other:?}: {said}");
    }
    // The body is made once more by hand: what the API says of it.
    let (status, problem) = rig.call_with(
        &["idempotency-key: order-17"],
        "POST",
        "/v0/workflows/hello/run",
        &json!({ "inputs": { "who": "b" } }),
    );
    assert_eq!(
        (status, &problem["code"]),
        (422, &json!("idempotency.reused"))
    );
    assert_eq!(keyed(&["hello", "-i", "who=a"]).stdout, first.as_bytes());
    // A default that a newer version changed does not make the same request another one.
    let plain = ["run", "--detach", "--idempotency-key", "order-18", "hello"];
    let second = rig.json(&plain);
    let version = rig.version("hello").unwrap();
    rig.write(
        "flows/hello.toml",
        basics::HELLO.replace("\"world\"", "\"moon\""),
    );
    rig.newer_is_live("hello", &json!(version));
    assert_eq!(rig.json(&plain), second);
    assert_eq!(rig.json(&["runs"])["data"].as_array().unwrap().len(), 2);
}

#[test]
fn sigterm_lets_a_running_attempt_finish_and_takes_up_the_rest_after_the_restart() {
    let Some((mut rig, world)) = caller("30s") else {
        return;
    };
    let log = rig.start();
    let run = rig.detach("call", &[]);
    world.held();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            log.wait("that it is stopping", |line| line.ends_with("stopping"));
            world.release();
        });
        assert_eq!(rig.stop().code(), Some(0));
    });
    rig.start();
    let run = rig.finished(&run);
    assert_eq!(run["status"], "succeeded", "{run:#}");
    for name in ["ask", "after"] {
        assert_eq!(attempts(task(&run, name)), 1, "{run:#}");
    }
    assert_eq!(world.requests("blog").len(), 1);
}

#[test]
fn an_attempt_that_outlasts_the_drain_is_released_without_being_spent() {
    let Some((mut rig, world)) = caller("100ms") else {
        return;
    };
    rig.start();
    let run = rig.detach("call", &[]);
    world.held();
    assert_eq!(rig.stop().code(), Some(0));
    world.release();
    rig.start();
    let run = rig.finished(&run);
    assert_eq!(run["status"], "succeeded", "{run:#}");
    let ask = task(&run, "ask");
    assert_eq!(attempts(ask), 2);
    let statuses: Vec<&Value> = ask["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| &attempt["status"])
        .collect();
    assert_eq!(statuses, ["interrupted", "succeeded"]);
}
