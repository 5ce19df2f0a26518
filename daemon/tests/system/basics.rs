//! Starting, running, stopping: what the README shows first.

use serde_json::json;

use super::rig::{Rig, output, task};

pub const HELLO: &str = r#"
flowweaver = 1
name = "hello"

[inputs.who]
type = "string"
default = "world"

[[job]]
name = "greet"

[[job.task]]
name = "first"
uses = "add-field"
with = { object = {}, field = "who", value = "{{ inputs.who }}", say = "hello {{ inputs.who }}" }

[[job.task]]
name = "second"
uses = "add-field"
with = { object = "{{ tasks.first.object }}", field = "done", value = true }
"#;

#[test]
fn a_run_pipes_outputs_to_inputs_and_records_everything() {
    let mut rig = Rig::with_add_field();
    rig.write("flows/hello.toml", HELLO);
    rig.start();
    let run = rig.run("hello", &["who=한글"]);
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_eq!(
        output(&run, "second")["object"],
        json!({ "who": "한글", "done": true })
    );
    assert_eq!(task(&run, "first")["attempts"].as_array().unwrap().len(), 1);
    assert!(
        task(&run, "first")["attempts"][0]["memoryPeakBytes"]
            .as_u64()
            .unwrap()
            > 0
    );
    assert!(rig.stop().success());
}

#[test]
fn without_a_daemon_the_command_line_runs_the_engine_itself() {
    let rig = Rig::with_add_field();
    rig.write("flows/hello.toml", HELLO);
    let run = rig.json(&["run", "hello"]);
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_eq!(rig.json(&["runs"])["data"].as_array().unwrap().len(), 1);
}

#[test]
fn a_refused_module_is_reported_and_holds_nothing_up() {
    let mut rig = Rig::with_add_field();
    rig.write("flows/hello.toml", HELLO);
    rig.write("tasks/broken.wasm", "no WebAssembly");
    let broken = HELLO.replace("hello", "broken");
    rig.write("flows/broken.toml", broken.replace("add-field", "broken"));
    rig.start();
    assert_eq!(rig.run("hello", &[])["status"], "succeeded");
    let listed = rig.cli(&["workflows"]);
    assert_eq!(listed.status.code(), Some(1));
    let said = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(said.contains("tasks/broken.wasm is refused"), "{said}");
    assert!(said.contains("flows/broken.toml is invalid"), "{said}");
}

#[test]
fn a_refused_input_starts_nothing_and_says_what_is_accepted() {
    let mut rig = Rig::with_add_field();
    rig.write("flows/hello.toml", HELLO);
    rig.start();
    let refused = rig.cli(&["run", "hello", "-i", "whom=x"]);
    assert_eq!(refused.status.code(), Some(4));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("whom") && said.contains("who"), "{said}");
    assert_eq!(rig.json(&["runs"])["data"], json!([]));
}

#[test]
fn every_mistake_of_the_settings_is_told_at_once_and_nothing_starts() {
    let mut rig = Rig::with_add_field();
    rig.edit_settings(|_| {
        "[limits]\ntimeuot = \"5m\"\nmemory = \"64 mb\"\n[databases.a]\nurl = \"postgres://u:geheim@h\"\n".to_owned()
    });
    rig.environment("FLOWWEAVER_ENGINE_SLOTS", "0");
    for words in [&["serve"][..], &["check"], &["runs"], &["secret", "list"]] {
        let refused = rig.cli(words);
        assert_eq!(refused.status.code(), Some(2));
        let said = String::from_utf8(refused.stderr).unwrap();
        for part in [
            "flowweaver.toml:2:1",
            "did you mean `timeout`?",
            "flowweaver.toml:3:10",
            "[limits] memory = \"64 mb\" is not a size",
            "flowweaver.toml:5:7",
            "FLOWWEAVER_ENGINE_SLOTS: [engine] slots = 0 is not a whole number of at least 1",
        ] {
            assert!(said.contains(part), "{words:?}, {part}: {said}");
        }
        assert!(!said.contains("geheim"), "{said}");
    }
    assert!(!rig.path("state/flowweaver.db").exists());

    rig.edit_settings(|_| "[databases.blog]\nurl = \"sqlite:blog.db\"\n".to_owned());
    rig.environment("FLOWWEAVER_ENGINE_SLOTS", "1");
    let log = rig.start();
    log.wait("that the database's file is missing", |line| {
        line.contains("blog.db does not exist") && line.contains("sql.connect")
    });
}
