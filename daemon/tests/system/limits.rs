//! What ends a task before it ends itself, what is tried again, and what is repeated on purpose.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::guests;
use super::rig::{Rig, output, task, tasks};

/// Promise 6 of the design.
const CANCEL_MAX: Duration = Duration::from_millis(100);

/// A module that never returns.
fn endless() -> Vec<u8> {
    guests::run("(loop $again (br $again)) unreachable").bytes()
}

/// A workflow of one job with these tasks.
fn flow(name: &str, tasks: &str) -> String {
    format!("flowweaver = 1\nname = \"{name}\"\n\n[[job]]\nname = \"only\"\n{tasks}")
}

/// A task that uses the module that does as told.
fn told(name: &str, with: &str, more: &str) -> String {
    format!(
        "\n[[job.task]]\nname = \"{name}\"\nuses = \"add-field\"\nwith = {{ field = \"f\", {with} }}\n{more}\n"
    )
}

fn at(row: &Value, field: &str) -> DateTime<Utc> {
    let text = row[field].as_str();
    text.unwrap_or_else(|| panic!("no {field} in {row:#}"))
        .parse()
        .unwrap()
}

fn attempts(task: &Value) -> &Vec<Value> {
    task["attempts"].as_array().unwrap()
}

/// Waits until this task of the run is running.
fn running(rig: &Rig, run: &str, name: &str) {
    rig.until(&format!("{name} runs"), || {
        (task(&rig.tree(run), name)["status"] == "running").then_some(())
    });
}

#[test]
fn endless_loops_are_stopped_by_their_cpu_budget_while_other_runs_complete() {
    let mut rig = Rig::with_add_field();
    rig.write("tasks/endless.wasm", endless());
    let spin =
        "\n[[job.task]]\nname = \"spin\"\nuses = \"endless\"\ncpu = \"3s\"\ntimeout = \"10m\"\n";
    rig.write("flows/spin.toml", flow("spin", spin));
    rig.write(
        "flows/calm.toml",
        flow("calm", &told("add", "value = 1", "")),
    );
    rig.start();
    let spins = [rig.detach("spin", &[]), rig.detach("spin", &[])];
    for run in &spins {
        running(&rig, run, "spin");
    }
    let mut meanwhile = 0;
    let still = |rig: &Rig| {
        let mut trees = spins.iter().map(|run| rig.tree(run));
        trees.all(|run| run["status"] == "running")
    };
    while still(&rig) {
        let (status, answer) = rig.call("POST", "/v0/workflows/calm/run?wait=60s", &json!({}));
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["data"]["status"], "succeeded", "{answer}");
        meanwhile += 1;
    }
    assert!(
        meanwhile >= 3,
        "only {meanwhile} runs completed beside the loops"
    );
    for run in &spins {
        let run = rig.finished(run);
        assert_eq!(run["status"], "failed", "{run:#}");
        let spin = task(&run, "spin");
        assert_eq!(spin["reason"]["code"], "limit.cpu");
        assert_eq!(attempts(spin).len(), 1);
        assert!(attempts(spin)[0]["cpuUs"].as_u64().unwrap() >= 3_000_000);
    }
}

/// How long after the order the run of this workflow ended: the best of three, because the machine
/// may be busy with something else.
fn cancelled_within(rig: &Rig, workflow: &str, name: &str) -> Duration {
    let once = || {
        let run = rig.detach(workflow, &[]);
        running(rig, &run, name);
        let ordered = Utc::now();
        let path = format!("/v0/workflow-runs/{run}/cancel");
        let (status, answer) = rig.call("POST", &path, &json!({ "reason": "enough" }));
        assert_eq!(status, 200, "{answer}");
        let end = rig.wait_for(&run, |row| row["kind"] == "run.finished");
        let run = rig.tree(&run);
        assert_eq!(run["status"], "cancelled", "{run:#}");
        let task = task(&run, name);
        assert_eq!(task["status"], "cancelled");
        assert_eq!(attempts(task)[0]["status"], "cancelled");
        (at(&end, "at") - ordered).to_std().unwrap_or_default()
    };
    (0..3).map(|_| once()).min().unwrap()
}

#[test]
fn cancel_stops_an_endless_loop_and_a_sleeper_within_a_tenth_of_a_second() {
    let mut rig = Rig::with_add_field();
    rig.write("tasks/endless.wasm", endless());
    let limits = "cpu = \"5m\"\ntimeout = \"10m\"\n";
    let spin = format!("\n[[job.task]]\nname = \"spin\"\nuses = \"endless\"\n{limits}");
    rig.write("flows/spin.toml", flow("spin", &spin));
    let sleep = told("sleep", "wait_ms = 600000", limits);
    rig.write("flows/sleep.toml", flow("sleep", &sleep));
    rig.start();
    for (workflow, name) in [("spin", "spin"), ("sleep", "sleep")] {
        let took = cancelled_within(&rig, workflow, name);
        assert!(
            took <= CANCEL_MAX,
            "{workflow} ended {took:?} after the order"
        );
    }
    let run = rig.detach("spin", &[]);
    running(&rig, &run, "spin");
    let cancelled = rig.cli(&["cancel", &run, "--reason", "enough"]);
    assert_eq!(cancelled.status.code(), Some(0));
    assert_eq!(rig.finished(&run)["status"], "cancelled");
    let again = rig.cli(&["cancel", &run]);
    assert_eq!(
        again.status.code(),
        Some(4),
        "an ended run cannot be cancelled"
    );
}

#[test]
fn a_task_over_its_time_or_memory_fails_with_the_limits_code() {
    let mut rig = Rig::with_add_field();
    let hungry = "(loop $more (br_if $more (i32.ne (call $realloc (i32.const 0) (i32.const 0) (i32.const 8) (i32.const 65536)) (i32.const 0)))) unreachable";
    rig.write("tasks/hungry.wasm", guests::run(hungry).bytes());
    let slow = told("slow", "wait_ms = 600000", "timeout = \"300ms\"");
    rig.write("flows/slow.toml", flow("slow", &slow));
    let eat = "\n[[job.task]]\nname = \"eat\"\nuses = \"hungry\"\nmemory = \"4 MiB\"\n";
    rig.write("flows/eat.toml", flow("eat", eat));
    rig.start();
    for (workflow, name, code) in [("slow", "slow", "timeout"), ("eat", "eat", "limit.memory")] {
        let run = rig.run(workflow, &[]);
        assert_eq!(run["status"], "failed", "{run:#}");
        assert_eq!(task(&run, name)["reason"]["code"], code, "{run:#}");
        assert_eq!(attempts(task(&run, name))[0]["failure"]["code"], code);
        let (status, answer) = rig.call("GET", "/healthz", &Value::Null);
        assert_eq!(status, 200, "{answer}");
    }
}

#[test]
fn a_failed_attempt_is_tried_again_and_every_attempt_is_kept() {
    let mut rig = Rig::with_add_field();
    let retry = |attempts: u32| {
        format!("retry = {{ attempts = {attempts}, delay = \"10ms\", jitter = false }}")
    };
    let twice = "value = true, fail = \"flaky\", fail_attempts = 2";
    rig.write(
        "flows/enough.toml",
        flow("enough", &told("flaky", twice, &retry(3))),
    );
    rig.write(
        "flows/short.toml",
        flow("short", &told("flaky", twice, &retry(2))),
    );
    let mut tolerated = told("flaky", twice, "on_failure = \"continue\"");
    tolerated.push_str(&told(
        "after",
        "value = \"{{ tasks.flaky.object.f | default('none') }}\"",
        "",
    ));
    rig.write("flows/tolerated.toml", flow("tolerated", &tolerated));
    rig.start();

    let run = rig.run("enough", &[]);
    assert_eq!(run["status"], "succeeded", "{run:#}");
    let tries: Vec<_> = attempts(task(&run, "flaky"))
        .iter()
        .map(|one| (&one["number"], &one["status"], &one["failure"]["code"]))
        .map(|(number, status, code)| json!([number, status, code]))
        .collect();
    let kept = json!([
        [1, "failed", "flaky"],
        [2, "failed", "flaky"],
        [3, "succeeded", null]
    ]);
    assert_eq!(json!(tries), kept);
    assert_eq!(output(&run, "flaky")["attempt"], 3);

    let run = rig.run("short", &[]);
    assert_eq!(run["status"], "failed", "{run:#}");
    assert_eq!(task(&run, "flaky")["reason"]["code"], "flaky");
    assert_eq!(attempts(task(&run, "flaky")).len(), 2);

    let run = rig.run("tolerated", &[]);
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_eq!(run["toleratedFailures"], 1);
    assert_eq!(task(&run, "flaky")["status"], "failed");
    assert_eq!(output(&run, "after")["object"], json!({ "f": "none" }));
}

#[test]
fn for_each_keeps_the_order_of_items_and_never_runs_more_at_once_than_it_may() {
    let mut rig = Rig::with_add_field();
    let each = "for_each = [1, 2, 3, 4, 5, 6, 7]\nmax_parallel = 2";
    let mut text = told(
        "each",
        "value = \"{{ item * 10 + index }}\", wait_ms = 50",
        each,
    );
    text.push_str(&told(
        "all",
        "value = \"{{ tasks.each | map(attribute='object') | map(attribute='f') | list }}\"",
        "",
    ));
    rig.write("flows/each.toml", flow("each", &text));
    rig.start();
    let run = rig.run("each", &[]);
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_eq!(
        output(&run, "all")["object"],
        json!({ "f": [10, 21, 32, 43, 54, 65, 76] })
    );
    let items: Vec<&Value> = tasks(&run)
        .into_iter()
        .filter(|task| task["itemIndex"].is_u64())
        .collect();
    assert_eq!(items.len(), 7);
    let spans: Vec<_> = items
        .iter()
        .flat_map(|item| attempts(item))
        .map(|attempt| (at(attempt, "startedAt"), at(attempt, "finishedAt")))
        .collect();
    for (start, _) in &spans {
        let together = spans
            .iter()
            .filter(|(from, to)| from <= start && start < to);
        assert!(together.count() <= 2, "{spans:?}");
    }
}

#[test]
fn a_rerun_takes_over_what_it_does_not_repeat() {
    let mut rig = Rig::with_add_field();
    let text = |fail: &str| {
        let mut text = told("one", "value = 1", "");
        text.push_str(&told(
            "two",
            &format!("object = \"{{{{ tasks.one.object }}}}\", value = 2{fail}"),
            "",
        ));
        text.push_str(&told("three", "value = \"{{ tasks.two.key }}\"", ""));
        flow("steps", &text)
    };
    rig.write("flows/steps.toml", text(", fail = \"broken\""));
    rig.start();
    let first = rig.run("steps", &[]);
    assert_eq!(first["status"], "failed", "{first:#}");
    let id = first["id"].as_str().unwrap();
    let ran = |run: &Value| -> Vec<usize> {
        let names = ["one", "two", "three"];
        names.map(|name| attempts(task(run, name)).len()).to_vec()
    };
    assert_eq!(ran(&first), [1, 1, 0]);

    let again = rig.cli(&["rerun", id]);
    assert_eq!(again.status.code(), Some(1), "the same version fails again");

    let broken = first["version"].as_str().unwrap();
    rig.write("flows/steps.toml", text(""));
    rig.until("the mended version is live", || {
        rig.version("steps").filter(|version| version != broken)
    });
    let rerun = |arguments: &[&str]| {
        let mut all = vec!["rerun", "--detach"];
        all.extend(arguments);
        let answer = rig.json(&all);
        rig.finished(answer["runId"].as_str().unwrap())
    };

    let mended = rerun(&[id, "--newest"]);
    assert_eq!(mended["status"], "succeeded", "{mended:#}");
    assert_eq!(
        (&mended["trigger"], &mended["rerunOf"]),
        (&json!("rerun"), &first["id"])
    );
    assert_eq!(ran(&mended), [0, 1, 1]);
    let whole = mended["id"].as_str().unwrap();

    let from_three = rerun(&[whole, "--from", "three"]);
    assert_eq!(from_three["status"], "succeeded", "{from_three:#}");
    assert_eq!(ran(&from_three), [0, 0, 1]);
    assert_eq!(
        output(&from_three, "three")["object"],
        output(&mended, "three")["object"],
        "what was taken over is the same, and so is the key of the work"
    );

    let from_start = rerun(&[whole, "--from-start"]);
    assert_eq!(from_start["status"], "succeeded", "{from_start:#}");
    assert_eq!(ran(&from_start), [1, 1, 1]);
    assert_ne!(
        output(&from_start, "two")["key"],
        output(&mended, "two")["key"],
        "from the start it is new work"
    );

    let unknown = rig.cli(&["rerun", whole, "--from", "four"]);
    assert_eq!(unknown.status.code(), Some(4));
}
