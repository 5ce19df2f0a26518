//! The reference shapes as workflow files, with the module that adds a field to a JSON object.

use std::fs;
use std::path::Path;

/// Tasks of one run of W1.
pub const W1_TASKS: f64 = 9.0;

/// Makes the folder that a daemon serves.
pub fn lay_out(folder: &Path) {
    for name in ["flows", "tasks"] {
        fs::create_dir(folder.join(name)).unwrap();
    }
    // Everything else as it is out of the box, full durability included; any free port will do.
    let settings = "[server]\nlisten = \"127.0.0.1:0\"\n";
    fs::write(folder.join("flowweaver.toml"), settings).unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    fs::copy(
        fixtures.join("add-field-0.1.0.wasm"),
        folder.join("tasks/add-field.wasm"),
    )
    .unwrap();
    for (name, text) in [("w1", w1()), ("w2", w2()), ("w3", W3.to_owned())] {
        fs::write(folder.join(format!("flows/{name}.toml")), text).unwrap();
    }
}

/// Adds so many workflows that never run.
pub fn add(folder: &Path, count: usize) {
    for number in 0..count {
        let text = W3.replace("\"w3\"", &format!("\"other-{number}\""));
        fs::write(folder.join(format!("flows/other-{number}.toml")), text).unwrap();
    }
}

/// Three jobs of three tasks in sequence.
pub fn w1() -> String {
    let mut text = "flowweaver = 1\nname = \"w1\"\n".to_owned();
    let mut before = None;
    for job in 0..3 {
        text.push_str(&format!("\n[[job]]\nname = \"job-{job}\"\n"));
        for task in 0..3 {
            let name = format!("t{}", job * 3 + task);
            let object = match &before {
                None => "{}".to_owned(),
                Some(before) => format!("\"{{{{ tasks.{before}.object }}}}\""),
            };
            text.push_str(&format!(
                "\n[[job.task]]\nname = \"{name}\"\nuses = \"add-field\"\n\
                 with = {{ object = {object}, field = \"{name}\", value = {task} }}\n"
            ));
            before = Some(name);
        }
    }
    text
}

fn w2() -> String {
    let items: Vec<String> = (0..100).map(|item| item.to_string()).collect();
    format!(
        r#"
flowweaver = 1
name = "w2"

[inputs.items]
type = "array"
default = [{}]

[[job]]
name = "fan"

[[job.task]]
name = "first"
uses = "add-field"
with = {{ object = {{}}, field = "n", value = 1 }}

[[job.task]]
name = "each"
uses = "add-field"
for_each = "{{{{ inputs.items }}}}"
max_parallel = 100
with = {{ object = "{{{{ tasks.first.object }}}}", field = "item", value = "{{{{ item }}}}" }}

[[job.task]]
name = "last"
uses = "add-field"
with = {{ object = {{}}, field = "all", value = "{{{{ tasks.each }}}}" }}
"#,
        items.join(", ")
    )
}

const W3: &str = r#"
flowweaver = 1
name = "w3"

[[job]]
name = "only"

[[job.task]]
name = "one"
uses = "add-field"
with = { object = {}, field = "n", value = 1 }
"#;
