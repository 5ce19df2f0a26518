//! Workflows that run workflows and workflows that start after others, on the real daemon.

use std::fs;

use serde_json::{Value, json};

use super::rig::{Rig, output, task};
use super::world::{World, caller};

const PARENT: &str = "flowweaver = 1\nname = \"parent\"\n\n[[job]]\nname = \"j\"\n
[[job.task]]\nname = \"child\"\nuses = \"workflow:call\"\n
[[job.task]]\nname = \"end\"\nuses = \"add-field\"\nwith = { object = \"{{ tasks.child.tasks.after.object }}\", field = \"g\", value = 2 }\n";

const LISTENER: &str = "flowweaver = 1\nname = \"listener\"\n\n[inputs.seen]\ntype = \"object\"\n
[[on]]\nworkflow = \"parent\"\ninputs = { seen = \"{{ tasks.end.object }}\" }\n
[[job]]\nname = \"j\"\n
[[job.task]]\nname = \"note\"\nuses = \"add-field\"\nwith = { object = \"{{ inputs.seen }}\", field = \"h\", value = 3 }\n";

/// A parent, its child, which is held in its first task, and who starts after the parent.
fn family() -> Option<(Rig, World)> {
    let (rig, world) = caller("5s")?;
    rig.write("flows/parent.toml", PARENT);
    rig.write("flows/listener.toml", LISTENER);
    Some((rig, world))
}

/// The run that the end of this one has started, once it has ended itself.
fn started_by(rig: &Rig, run: &str) -> Value {
    let id = rig.until("that its end started a workflow", || {
        let tree = rig.tree(run);
        Some(tree["deliveries"][0]["runId"].as_str()?.to_owned())
    });
    rig.finished(&id)
}

fn runs(rig: &Rig, filter: &str) -> Vec<Value> {
    let page = rig.get(&format!("/v0/workflow-runs?{filter}"));
    page["data"].as_array().unwrap().clone()
}

#[test]
fn a_kill_while_the_child_runs_makes_neither_a_second_child_nor_a_second_start() {
    let Some((mut rig, world)) = family() else {
        return;
    };
    rig.start();
    let run = rig.detach("parent", &[]);
    world.held();
    rig.kill();
    world.release();
    rig.start();
    let done = rig.finished(&run);
    assert_eq!(done["status"], "succeeded", "{done:#}");
    // The wait is one attempt; what the kill cut off was the child's.
    let attempts = task(&done, "child")["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 1, "{done:#}");
    let children = runs(&rig, &format!("parent={run}"));
    assert_eq!(children.len(), 1, "{children:#?}");
    let child = rig.finished(children[0]["id"].as_str().unwrap());
    assert_eq!(task(&child, "ask")["attempts"].as_array().unwrap().len(), 2);
    assert_eq!(child["parent"]["id"], json!(run), "{child:#}");
    assert_eq!(done["children"][0]["id"], child["id"]);
    let told = started_by(&rig, &run);
    assert_eq!(told["status"], "succeeded", "{told:#}");
    assert_eq!(told["triggeredByRun"]["id"], json!(run));
    assert_eq!(
        output(&told, "note")["object"],
        json!({ "f": 1, "g": 2, "h": 3 })
    );
    assert_eq!(runs(&rig, &format!("root={run}")).len(), 2);
    assert_eq!(runs(&rig, "workflow=listener").len(), 1);
    let shown = rig.cli(&["run", "show", &run]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("runs  ✓ call #1"), "{shown}");
    assert!(shown.contains("its end started listener"), "{shown}");
}

#[test]
fn a_parent_that_runs_keeps_the_child_it_started_with_and_new_runs_get_the_new_one() {
    let Some((mut rig, world)) = family() else {
        return;
    };
    rig.start();
    let (child, parent) = (rig.version("call"), rig.version("parent"));
    let run = rig.detach("parent", &[]);
    world.held();
    let text = fs::read_to_string(rig.path("flows/call.toml")).unwrap();
    rig.write("flows/call.toml", text.replace("value = 1", "value = 10"));
    rig.newer_is_live("call", &json!(child));
    // Its file has not changed, but what it runs has.
    rig.newer_is_live("parent", &json!(parent));
    // After this only the store knows what the run started with.
    rig.kill();
    world.release();
    rig.start();
    let old = rig.finished(&run);
    assert_eq!(
        output(&old, "end")["object"],
        json!({ "f": 1, "g": 2 }),
        "{old:#}"
    );
    assert_eq!(old["version"], json!(parent));
    let new = rig.run("parent", &[]);
    assert_eq!(
        output(&new, "end")["object"],
        json!({ "f": 10, "g": 2 }),
        "{new:#}"
    );
}

#[test]
fn a_child_that_breaks_or_goes_leaves_the_parent_live_and_says_so() {
    let Some((mut rig, world)) = family() else {
        return;
    };
    rig.start();
    let version = rig.version("parent");
    let text = fs::read_to_string(rig.path("flows/call.toml")).unwrap();
    rig.write(
        "flows/call.toml",
        text.replace("uses = \"add-field\"", "uses = \"add-feild\""),
    );
    rig.until("that the child is broken", || {
        rig.problem("flows/call.toml")
    });
    assert_eq!(rig.version("parent"), version);
    fs::remove_file(rig.path("flows/call.toml")).unwrap();
    let problem = rig.until("that the parent's child is gone", || {
        rig.problem("flows/parent.toml")
    });
    let said = problem["text"].as_str().unwrap();
    assert!(said.contains("there is no workflow `call`"), "{said}");
    assert!(said.contains("flows/parent.toml:9:8"), "{said}");
    assert_eq!(rig.version("parent"), version);
    world.release();
    let run = rig.run("parent", &[]);
    assert_eq!(run["status"], "succeeded", "{run:#}");
}

#[test]
fn files_that_would_run_each_other_are_refused_and_the_live_ones_stay() {
    let Some((mut rig, _world)) = family() else {
        return;
    };
    rig.start();
    let version = rig.version("call");
    let text = fs::read_to_string(rig.path("flows/call.toml")).unwrap();
    let more = "\n[[job.task]]\nname = \"round\"\nuses = \"workflow:parent\"\n";
    rig.write("flows/call.toml", format!("{text}{more}"));
    let problem = rig.until("that it is refused", || rig.problem("flows/call.toml"));
    let said = problem["text"].as_str().unwrap();
    assert!(said.contains("call → parent → call"), "{said}");
    assert_eq!(rig.version("call"), version);
}

#[test]
fn a_cancel_of_the_parent_ends_the_child_and_starts_nothing_that_waits_for_success() {
    let Some((mut rig, world)) = family() else {
        return;
    };
    rig.start();
    let run = rig.detach("parent", &[]);
    world.held();
    let children = runs(&rig, &format!("parent={run}"));
    let child = children[0]["id"].as_str().unwrap().to_owned();
    assert!(rig.cli(&["cancel", &run]).status.success());
    for run in [&run, &child] {
        assert_eq!(rig.finished(run)["status"], "cancelled");
    }
    assert!(rig.tree(&run)["deliveries"].as_array().unwrap().is_empty());
    world.release();
}
