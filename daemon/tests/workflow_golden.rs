//! What the compiler says and makes of whole files: every `bad/*.toml` has its remarks beside it,
//! every `good/*.toml` what it means. `UPDATE_EXPECT=1` writes them anew; read them then.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a panic in a test is its report"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use expect_test::expect_file;
use flowweaver::diagnostic::render;
use flowweaver::id::Digest;
use flowweaver::units::{Size, Span};
use flowweaver::workflow::environment::{
    DatabaseFacts, Environment, ModuleFacts, NameCase, WorkflowFacts,
};
use flowweaver::workflow::expression::Template;
use flowweaver::workflow::family::{TaskOutput, output_schema};
use flowweaver::workflow::grant::{Grants, KvGrant, SecretPiece, SecretText, Signing, SqlMode};
use flowweaver::workflow::model::{CatchUp, InputSpec, Task, TriggerSpec, Uses};
use flowweaver::workflow::{Compiled, Workflow, WorkflowSource, compile};
use serde_json::{Map, Value, json};

#[path = "workflow_golden/properties.rs"]
mod properties;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/workflow")
}

fn environment() -> Environment {
    let text = std::fs::read_to_string(folder().join("environment.json")).unwrap();
    let fixture: Value = serde_json::from_str(&text).unwrap();
    let object = |key: &str| fixture[key].as_object().unwrap().clone();
    let module = |(name, facts): (String, Value)| {
        let mut facts = facts;
        facts["digest"] = json!(Digest::of(name.as_bytes()));
        let facts: ModuleFacts = serde_json::from_value(facts).unwrap();
        (name.parse().unwrap(), facts)
    };
    let database = |(name, facts): (String, Value)| {
        let mode = match facts["mode"].as_str() {
            Some("read-write") => SqlMode::ReadWrite,
            _ => SqlMode::Read,
        };
        let tables = facts.get("tables").cloned();
        let tables = tables.map(|tables| serde_json::from_value(tables).unwrap());
        let facts = DatabaseFacts {
            mode,
            tables,
            case: match facts["case"].as_str() {
                Some("counts") => NameCase::Counts,
                Some("quoted") => NameCase::Quoted,
                _ => NameCase::Ignored,
            },
        };
        (name.parse().unwrap(), facts)
    };
    let workflow = |(name, facts): (String, Value)| {
        let list = |key: &str| facts[key].as_array().cloned().unwrap_or_default();
        let inputs = list("inputs").into_iter().map(|input| InputSpec {
            name: input["name"].as_str().unwrap().parse().unwrap(),
            schema: input["schema"].clone(),
            required: input["required"].as_bool().unwrap(),
            default: None,
        });
        let tasks: Vec<TaskOutput> = list("tasks")
            .iter()
            .map(|task| TaskOutput {
                name: task["name"].as_str().unwrap().parse().unwrap(),
                output: task["output"].clone(),
            })
            .collect();
        let facts = WorkflowFacts {
            version: Digest::of(name.as_bytes()),
            inputs: inputs.collect(),
            output: output_schema(&tasks),
            tasks,
            uses: serde_json::from_value(json!(list("uses"))).unwrap(),
            height: u32::try_from(facts["height"].as_u64().unwrap_or(0)).unwrap(),
        };
        (name.parse().unwrap(), facts)
    };
    Environment {
        modules: object("modules").into_iter().map(module).collect(),
        databases: Some(object("databases").into_iter().map(database).collect()),
        secrets: Some(serde_json::from_value(fixture["secrets"].clone()).unwrap()),
        workflows: object("workflows").into_iter().map(workflow).collect(),
        ..Environment::default()
    }
}

fn files(kind: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder().join(kind))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    files.sort();
    files
}

fn compiled(path: &Path) -> Result<Compiled, String> {
    let name = format!("flows/{}", path.file_name().unwrap().to_str().unwrap());
    let bytes = std::fs::read(path).unwrap();
    WorkflowSource::from_bytes(name, &bytes)
        .map(|source| compile(&source, &environment()))
        .map_err(|refused| render(&[*refused]))
}

#[test]
fn every_mistake_of_a_bad_file_is_told_at_once_at_its_place_with_its_cure() {
    let files = files("bad");
    assert!(files.len() >= 60, "only {} bad files", files.len());
    for path in files {
        let text = match compiled(&path) {
            Err(refused) => refused,
            Ok(compiled) => {
                assert!(compiled.workflow.is_none(), "{} compiles", path.display());
                render(&compiled.diagnostics)
            }
        };
        expect_file![path.with_extension("err")].assert_eq(&text);
    }
}

#[test]
fn a_good_file_means_what_it_says() {
    let files = files("good");
    assert!(files.len() >= 20, "only {} good files", files.len());
    for path in files {
        let compiled = compiled(&path).unwrap();
        let remarks = render(&compiled.diagnostics);
        let Some(workflow) = compiled.workflow else {
            panic!("{}:\n{remarks}", path.display());
        };
        let text = format!("{}{remarks}", dump(&workflow));
        expect_file![path.with_extension("effective")].assert_eq(&text);
    }
}

#[test]
fn the_schema_for_editors_accepts_every_good_file() {
    let validator =
        jsonschema::validator_for(&flowweaver::workflow::schema::json_schema()).unwrap();
    for path in files("good") {
        let text = std::fs::read_to_string(&path).unwrap();
        let table: toml::Table = text.parse().unwrap();
        let value = serde_json::to_value(table).unwrap();
        let errors: Vec<String> = validator
            .iter_errors(&value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", path.display());
    }
}

#[test]
fn compiling_again_gives_the_same_version_and_any_change_another() {
    let path = folder().join("good/product-blog.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let version = |text: &str, environment: &Environment| {
        let compiled = compile(&WorkflowSource::new("a.toml", text), environment);
        compiled.workflow.unwrap().version
    };
    let base = environment();
    let first = version(&text, &base);
    assert_eq!(version(&text, &base), first);
    assert_ne!(version(&format!("{text}\n"), &base), first);
    let mut vars = base.clone();
    vars.vars.insert(
        "mall_url".parse().unwrap(),
        json!("https://mall.example.com"),
    );
    assert_ne!(version(&text, &vars), first);
    let mut ceilings = base.clone();
    ceilings.ceilings.memory_bytes -= 1;
    assert_ne!(version(&text, &ceilings), first);
    let mut module = base.clone();
    let facts = module.modules.get_mut("keyword-search").unwrap();
    facts.digest = Digest::of(b"another build");
    assert_ne!(version(&text, &module), first);
    // What is only checked, not compiled in, does not make a version.
    let unknown = Environment {
        databases: None,
        secrets: None,
        ..base
    };
    assert_eq!(version(&text, &unknown), first);
}

#[test]
fn a_thousand_tasks_compile_as_one_file() {
    let mut text = String::from("flowweaver = 1\nname = \"large\"\n[[job]]\nname = \"all\"\n");
    for n in 0..1_000 {
        write!(
            text,
            "[[job.task]]\nname = \"t{n}\"\nuses = \"json-transform\"\n"
        )
        .unwrap();
        let value = match n {
            0 => "1".to_owned(),
            _ => format!("\"{{{{ tasks.t{}.value }}}}\"", n - 1),
        };
        writeln!(text, "with = {{ program = \".\", value = {value} }}").unwrap();
    }
    let compiled = compile(&WorkflowSource::new("a.toml", text), &environment());
    assert_eq!(render(&compiled.diagnostics), "");
    assert_eq!(compiled.workflow.unwrap().tasks.len(), 1_000);
}

/// A workflow as people would tell it.
fn dump(workflow: &Workflow) -> String {
    let mut out = String::new();
    let w = &mut out;
    writeln!(w, "workflow {}", workflow.name).unwrap();
    if !workflow.description.is_empty() {
        writeln!(w, "  description {}", workflow.description).unwrap();
    }
    for (key, value) in &workflow.labels {
        writeln!(w, "  label {key} = {value}").unwrap();
    }
    for input in &workflow.inputs {
        let need = if input.required {
            "required"
        } else {
            "optional"
        };
        let default = input
            .default
            .as_ref()
            .map_or_else(String::new, |d| format!(", default {d}"));
        writeln!(
            w,
            "  input {} {need}{default}: {}",
            input.name, input.schema
        )
        .unwrap();
    }
    for (name, value) in &workflow.vars {
        writeln!(w, "  var {name} = {value}").unwrap();
    }
    dump_starts(w, workflow);
    if let Some(timeout) = workflow.timeout {
        writeln!(w, "  timeout {}", Span(timeout)).unwrap();
    }
    if let Some(concurrency) = &workflow.concurrency {
        writeln!(
            w,
            "  concurrency {} by {:?}",
            concurrency.max, concurrency.key
        )
        .unwrap();
    }
    if workflow.priority != 0 {
        writeln!(w, "  priority {}", workflow.priority).unwrap();
    }
    if workflow.retention != Default::default() {
        writeln!(w, "  retention {:?}", workflow.retention).unwrap();
    }
    for job in &workflow.jobs {
        let needs: Vec<&str> = job
            .needs
            .iter()
            .map(|n| workflow.job(*n).name.as_str())
            .collect();
        writeln!(
            w,
            "job {} needs {needs:?}, on failure {:?}, runs on {:?}",
            job.name, job.on_failure, job.run_on
        )
        .unwrap();
        for task in &job.tasks {
            dump_task(w, workflow, workflow.task(*task));
        }
    }
    out
}

/// What starts it by itself.
fn dump_starts(w: &mut String, workflow: &Workflow) {
    for s in &workflow.schedules {
        writeln!(
            w,
            "  schedule {}: \"{}\" in {}, catch up {:?}, overlap {:?}",
            s.name, s.cron, s.timezone, s.catch_up, s.overlap
        )
        .unwrap();
        let bounds = (s.start.as_deref(), s.end.as_deref());
        if !s.enabled || !s.jitter.0.is_zero() || bounds != (None, None) {
            writeln!(
                w,
                "    enabled {}, jitter {}, from {} to {}",
                s.enabled,
                s.jitter,
                bounds.0.unwrap_or("-"),
                bounds.1.unwrap_or("-"),
            )
            .unwrap();
        }
        if s.catch_up != CatchUp::Skip {
            let (window, max) = (s.catch_up_window, s.catch_up_max);
            writeln!(w, "    catches up {max} within {window}").unwrap();
        }
        if !s.inputs.is_empty() || !s.config.is_empty() {
            writeln!(
                w,
                "    inputs {}, config {}",
                json!(s.inputs),
                json!(s.config)
            )
            .unwrap();
        }
    }
    for trigger in &workflow.triggers {
        match trigger {
            TriggerSpec::Webhook { name } => writeln!(w, "  on webhook {name}").unwrap(),
            TriggerSpec::Workflow(after) => {
                let (name, ends) = (&after.workflow, &after.ends);
                write!(w, "  on workflow {name} {ends:?}").unwrap();
                if let Some(when) = &after.when {
                    write!(w, " when {when:?}").unwrap();
                }
                match after.inputs.literal() {
                    Some(inputs) if inputs == json!({}) => writeln!(w),
                    _ => writeln!(w, " with {:?}", after.inputs),
                }
                .unwrap();
            }
        }
    }
}

fn dump_task(w: &mut String, workflow: &Workflow, task: &Task) {
    let names = |list: &[flowweaver::workflow::model::TaskIndex]| -> Vec<&str> {
        list.iter()
            .map(|n| workflow.task(*n).name.as_str())
            .collect()
    };
    let uses = match &task.uses {
        Uses::Module { name, .. } => name.to_string(),
        Uses::Workflow { name, .. } => format!("workflow:{name}"),
    };
    writeln!(
        w,
        "  task {} uses {uses}, needs {:?}, reads {:?}",
        task.name,
        names(&task.needs),
        names(&task.reads)
    )
    .unwrap();
    if let Some(when) = &task.when {
        writeln!(w, "    when {when:?}").unwrap();
    }
    if let Some(for_each) = &task.for_each {
        writeln!(
            w,
            "    for each of {:?}, {} at once",
            for_each.items, for_each.max_parallel
        )
        .unwrap();
    }
    for (field, (origin, value)) in fields(task) {
        writeln!(w, "    {field} = {value}  # {origin}").unwrap();
    }
    let l = &task.limits;
    writeln!(
        w,
        "    limits: timeout {}, cpu {}, memory {}, output {}",
        Span(l.timeout),
        Span(l.cpu),
        Size(l.memory_bytes),
        Size(l.output_bytes)
    )
    .unwrap();
    let r = &task.retry;
    writeln!(
        w,
        "    retry: {} attempts, wait {} × {} up to {}, jitter {}, on {:?}",
        r.attempts,
        Span(r.delay),
        r.factor,
        Span(r.max_delay),
        r.jitter,
        r.on
    )
    .unwrap();
    writeln!(
        w,
        "    on failure {:?}, on interrupt {:?}",
        task.on_failure, task.on_interrupt
    )
    .unwrap();
    dump_grants(w, &task.grants);
}

/// The fields of the input that the file decides, each with its origin.
fn fields(task: &Task) -> BTreeMap<String, (&'static str, String)> {
    let mut fields = BTreeMap::new();
    for (name, value) in task.defaults.as_object().unwrap_or(&Map::new()) {
        fields.insert(name.clone(), ("module", value.to_string()));
    }
    if let Template::Object(with) = &task.with {
        for (name, template) in with {
            let shown = match template.literal() {
                Some(value) => value.to_string(),
                None => format!("{template:?}"),
            };
            fields.insert(name.clone(), ("workflow", shown));
        }
    }
    fields
}

fn dump_grants(w: &mut String, grants: &Grants) {
    for http in &grants.http {
        writeln!(
            w,
            "    http {} {} (line {})",
            http.methods.join(","),
            http.url,
            http.place.line
        )
        .unwrap();
        for (name, value) in &http.headers {
            writeln!(w, "      header {name}: {}", secret_text(value)).unwrap();
        }
        if http.idempotency_key {
            writeln!(w, "      idempotency key").unwrap();
        }
        match &http.sign {
            None => {}
            Some(Signing::AwsSigV4 {
                service,
                region,
                access_key,
                secret_key,
            }) => writeln!(
                w,
                "      signed aws-sigv4 {service} {region} {} {}",
                secret_text(access_key),
                secret_text(secret_key)
            )
            .unwrap(),
            Some(Signing::StandardWebhooks { secret }) => {
                writeln!(w, "      signed standard-webhooks {}", secret_text(secret)).unwrap();
            }
        }
    }
    for sql in &grants.sql {
        writeln!(
            w,
            "    sql {} {:?} {:?} (line {})",
            sql.database, sql.mode, sql.tables, sql.place.line
        )
        .unwrap();
    }
    if grants.kv != KvGrant::None {
        writeln!(w, "    kv {:?}", grants.kv).unwrap();
    }
}

fn secret_text(text: &SecretText) -> String {
    let pieces = text.0.iter().map(|piece| match piece {
        SecretPiece::Text(text) => text.clone(),
        SecretPiece::Secret(name) => format!("<secret {name}>"),
    });
    pieces.collect()
}
