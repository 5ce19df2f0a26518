//! What expressions give and what inputs become, asked of compiled workflows; and that the
//! decoder, the table of keys and the schema for editors agree.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::environment::{Environment, ModuleFacts};
use super::expression::{EvaluationError, Outputs, Scope};
use super::input::{InputProblem, Origin, check_config, resolve, workflow_inputs};
use super::keys::{self, Section, Shape};
use super::model::TaskIndex;
use super::{Workflow, WorkflowSource, compile};
use crate::diagnostic::{Severity, render};
use crate::id::Digest;

fn environment() -> Environment {
    let facts: ModuleFacts = serde_json::from_value(json!({
        "digest": Digest::of(b"m"),
        "description": {
            "name": "m",
            "input": {
                "type": "object",
                "properties": {
                    "v": {}, "n": { "type": "integer" }, "unit": { "type": "string" },
                    "size": { "type": "integer", "minimum": 1 }
                }
            },
            "defaults": { "unit": "kg", "size": 3 }
        }
    }))
    .unwrap();
    Environment {
        modules: BTreeMap::from([("m".parse().unwrap(), facts)]),
        ..Environment::default()
    }
}

/// Task `a` has an output in most tests; task `b` is the one that is asked.
fn source(with: &str) -> WorkflowSource {
    let text = format!(
        "flowweaver = 1\nname = \"w\"\n\
         [inputs.name]\ntype = \"string\"\ndefault = \"기본\"\n\
         [inputs.count]\ntype = \"integer\"\nrequired = false\n\
         [inputs.must]\ntype = \"string\"\nenum = [\"x\", \"y\"]\n\
         [vars]\nratio = 0.1\nbig = 9223372036854775807\n\
         [[job]]\nname = \"j\"\n\
         [[job.task]]\nname = \"a\"\nuses = \"m\"\n\
         [[job.task]]\nname = \"b\"\nuses = \"m\"\nwith = {{ {with} }}\n"
    );
    WorkflowSource::new("w.toml", text)
}

fn workflow(with: &str) -> Result<Workflow, String> {
    let compiled = compile(&source(with), &environment());
    compiled
        .workflow
        .ok_or_else(|| render(&compiled.diagnostics))
}

struct Fixed(Option<Value>);

impl Outputs for Fixed {
    fn output(&self, task: TaskIndex) -> Option<Arc<Value>> {
        self.0
            .clone()
            .filter(|_| task == TaskIndex(0))
            .map(Arc::new)
    }
}

/// What `b` receives as `v`, when `a` gave this output.
fn evaluate(expression: &str, output: Option<Value>) -> Result<Value, EvaluationError> {
    let text = format!("v = {}", serde_json::Value::from(expression));
    let workflow = workflow(&text).unwrap_or_else(|errors| panic!("{expression}:\n{errors}"));
    let scope = Scope {
        inputs: &json!({ "name": "가방", "count": null, "must": "x" }),
        run: &json!({ "id": "01", "number": 7, "scheduled_at": null }),
        vars: &json!({ "ratio": 0.1, "big": i64::MAX }),
        outputs: &Fixed(output),
        item: None,
    };
    let filled = workflow.task(TaskIndex(1)).with.fill(&scope)?;
    Ok(filled["v"].clone())
}

#[test]
fn a_string_that_is_one_expression_keeps_the_json_type() {
    let output = json!({
        "int": -9_007_199_254_740_993_i64, "big": u64::MAX, "float": 1.0, "tiny": 1e-300, "null": null,
        "list": [1, "2", null, [true]], "map": { "z": 1, "a": { "한글": "값" } }, "text": "{{ run.id }}"
    });
    let all = output.as_object().unwrap().clone();
    for (key, value) in all {
        let path = format!("{{{{ tasks.a.{key} }}}}");
        assert_eq!(
            evaluate(&path, Some(output.clone())),
            Ok(value.clone()),
            "{path}"
        );
        // The same through the expression language; braces make it more than a path.
        let computed = format!("{{{{ (tasks.a.{key}) }}}}");
        assert_eq!(
            evaluate(&computed, Some(output.clone())),
            Ok(value),
            "{computed}"
        );
    }
    assert_eq!(evaluate("{{ vars.big }}", None), Ok(json!(i64::MAX)));
    assert_eq!(evaluate("{{ 1 == 1 }}", None), Ok(json!(true)));
}

#[test]
fn text_around_expressions_becomes_text_and_is_not_evaluated_again() {
    let output = Some(json!({ "text": "{{ run.id }}", "list": [1, "a"] }));
    assert_eq!(
        evaluate(
            "[{{ tasks.a.text }}] {{ tasks.a.list }} {{ run.number }}",
            output.clone()
        ),
        Ok(json!("[{{ run.id }}] [1,\"a\"] 7"))
    );
    assert_eq!(
        evaluate("{{ tasks.a.text | upper }}", output),
        Ok(json!("{{ RUN.ID }}"))
    );
    assert_eq!(evaluate(" {{ run.number }}", None), Ok(json!(" 7")));
}

#[test]
fn an_absent_output_is_missing_unless_a_default_is_written() {
    for reads in [
        "{{ tasks.a.k }}",
        "{{ tasks.a }}",
        "{{ tasks.a.k | upper }}",
        "{{ tasks.a.k ~ 'x' }}",
        "{{ tasks.a.k + 1 }}",
        "{{ 'y' if tasks.a.k else 'n' }}",
        "{{ tasks.a.k == 1 }}",
        "{{ [tasks.a.k] }}",
        "{{ tasks.a.k | length }}",
        "{{ 1 in tasks.a.k }}",
        "{{ tasks.a | tojson }}",
        "x {{ tasks.a.k }}",
    ] {
        let missing = EvaluationError::Missing {
            task: "a".to_owned(),
        };
        assert_eq!(evaluate(reads, None), Err(missing), "{reads}");
    }
    assert_eq!(
        evaluate("{{ tasks.a.k.deep[0] | default('d') }}", None),
        Ok(json!("d"))
    );
    assert_eq!(evaluate("{{ tasks.a | default({}) }}", None), Ok(json!({})));
    assert_eq!(evaluate("{{ tasks.a is defined }}", None), Ok(json!(false)));
    assert_eq!(
        evaluate("{{ tasks.a.k if tasks.a is defined else 'none' }}", None),
        Ok(json!("none"))
    );
    let there = Some(json!({ "k": "v" }));
    assert_eq!(
        evaluate("{{ tasks.a.k | default('d') }}", there.clone()),
        Ok(json!("v"))
    );
    assert_eq!(
        evaluate("{{ tasks.a.other | default('d') }}", there),
        Ok(json!("d"))
    );
}

#[test]
fn what_an_expression_cannot_give_is_invalid_and_says_which() {
    let output = || Some(json!({ "k": "text", "n": null }));
    for bad in [
        "{{ tasks.a.other }}",
        "{{ tasks.a.k.deep }}",
        "{{ tasks.a.k[0] }}",
        "{{ tasks.a.n.deep }}",
        "{{ (tasks.a.other) }}",
        "{{ tasks.a.k - 1 }}",
        "{{ 1 / 0 }}",
        "{{ vars.big * vars.big * vars.big * vars.big }}",
        "{{ 'x' * 1000000000 }}",
        "{{ tasks.a.k | round }}",
    ] {
        match evaluate(bad, output()) {
            Err(EvaluationError::Invalid(message)) => {
                assert!(
                    message.contains(bad.trim_matches(['{', '}', ' '])),
                    "{message}"
                );
            }
            other => panic!("{bad}: {other:?}"),
        }
    }
}

#[test]
fn the_same_file_of_another_organization_is_another_version() {
    let source = source("n = 1");
    let version = |organization: &str| {
        let environment = Environment {
            organization: organization.parse().unwrap(),
            ..environment()
        };
        compile(&source, &environment).workflow.unwrap().version
    };
    let (a, b) = ("01ARZ3NDEKTSV4RRFFQ69G5FAA", "01ARZ3NDEKTSV4RRFFQ69G5FAB");
    assert_eq!(version(a), version(a));
    assert_ne!(version(a), version(b));
}

#[test]
fn an_expression_cannot_work_or_grow_without_end() {
    let many: Vec<Value> = (0..60_000).map(Value::from).collect();
    let output = || Some(json!({ "list": many.clone(), "text": "x".repeat(9 << 20) }));
    let long = "{{ tasks.a.list | map('string') | map('upper') | map('lower') | map('title') | list | sort | join('-') }}";
    for bad in [long, "{{ tasks.a.text }}{{ tasks.a.text }}"] {
        assert!(
            matches!(evaluate(bad, output()), Err(EvaluationError::Invalid(_))),
            "{bad}"
        );
    }
    let deep = format!("{{{{ {}1{} }}}}", "(".repeat(5_000), ")".repeat(5_000));
    assert!(workflow(&format!("v = \"{deep}\"")).is_err());
}

fn resolved(
    with: &str,
    schedule: Option<Value>,
    run: Option<Value>,
) -> Result<(Value, BTreeMap<String, Origin>), InputProblem> {
    let workflow = workflow(with).unwrap();
    let scope = Scope {
        inputs: &json!({ "name": "가방" }),
        run: &json!({}),
        vars: &json!({}),
        outputs: &Fixed(None),
        item: None,
    };
    let task = workflow.task(TaskIndex(1));
    resolve(task, &scope, schedule.as_ref(), run.as_ref()).map(|input| (input.value, input.origins))
}

#[test]
fn each_field_of_an_input_comes_from_the_last_who_gave_it() {
    let schedule = Some(json!({ "size": 5, "n": 1 }));
    let run = Some(json!({ "n": 2 }));
    let (value, origins) = resolved("v = \"{{ inputs.name }}\", size = 4", schedule, run).unwrap();
    assert_eq!(
        value,
        json!({ "unit": "kg", "v": "가방", "size": 5, "n": 2 })
    );
    let expected = [
        ("n", Origin::Run),
        ("size", Origin::Schedule),
        ("unit", Origin::Module),
        ("v", Origin::Workflow),
    ];
    let expected = expected.map(|(name, origin)| (name.to_owned(), origin));
    assert_eq!(origins, BTreeMap::from(expected));
}

#[test]
fn an_input_that_the_module_would_not_take_is_invalid_before_it_starts() {
    let code = |result: Result<_, InputProblem>| result.unwrap_err().code;
    assert_eq!(
        code(resolved("", None, Some(json!({ "size": 0 })))),
        "input.invalid"
    );
    assert_eq!(
        code(resolved("", None, Some(json!({ "n": "three" })))),
        "input.invalid"
    );
    assert_eq!(code(resolved("", Some(json!([1])), None)), "input.invalid");
    assert_eq!(
        code(resolved("v = \"{{ tasks.a.k }}\"", None, None)),
        "input.missing"
    );
}

#[test]
fn a_triggers_inputs_are_checked_and_completed_and_all_problems_told() {
    let workflow = workflow("").unwrap();
    assert_eq!(
        workflow_inputs(&workflow, &json!({ "must": "x" })),
        Ok(json!({ "name": "기본", "count": null, "must": "x" }))
    );
    assert_eq!(
        workflow_inputs(&workflow, &json!({ "must": "x", "count": null })),
        Ok(json!({ "name": "기본", "count": null, "must": "x" }))
    );
    let problems = workflow_inputs(&workflow, &json!({ "nam": "x", "count": "3" })).unwrap_err();
    assert_eq!(
        problems,
        [
            "there is no input `nam`: did you mean `name`?",
            "input `count`: \"3\" is not of type \"integer\"",
            "input `must` is missing",
        ]
    );
    assert!(workflow_inputs(&workflow, &Value::Null).is_err());
    assert!(workflow_inputs(&workflow, &json!([])).is_err());
}

#[test]
fn a_runs_config_names_tasks_and_fields_that_exist() {
    let workflow = workflow("").unwrap();
    assert_eq!(
        check_config(&workflow, &json!({ "b": { "size": 3 } })),
        Ok(())
    );
    assert_eq!(
        check_config(&workflow, &json!({ "a": 3, "b": { "sise": 1 }, "c": {} })).unwrap_err(),
        [
            "the config of task `a` must be an object",
            "task `b` takes no `sise`: did you mean `size`?",
            "there is no task `c`: there are `a` and `b`",
        ]
    );
}

/// A file in which every table of the format is written, with `key = value` put into one of them.
fn file_with(section: &Section, key: &str, value: &str) -> String {
    let line = |of: &Section| match std::ptr::eq(of, section) {
        true => format!("{key} = {value}\n"),
        false => String::new(),
    };
    let inline = |of: &Section| match std::ptr::eq(of, section) {
        true => format!("{{ {key} = {value} }}"),
        false => "{}".to_owned(),
    };
    let without = |name: &str| std::ptr::eq(section, &keys::FILE) && key == name;
    let mut text = line(&keys::FILE);
    let tables = [
        ("inputs", format!("[inputs.x]\n{}", line(&keys::INPUT))),
        (
            "schedule",
            format!("[[schedule]]\n{}", line(&keys::SCHEDULE)),
        ),
        ("on", format!("[[on]]\n{}", line(&keys::TRIGGER))),
        (
            "concurrency",
            format!("[concurrency]\n{}", line(&keys::CONCURRENCY)),
        ),
        (
            "retention",
            format!("[retention]\n{}", line(&keys::RETENTION)),
        ),
        ("defaults", format!("[defaults]\n{}", line(&keys::DEFAULTS))),
    ];
    for (_, table) in tables.iter().filter(|(name, _)| !without(name)) {
        text.push_str(table);
    }
    if !without("job") {
        text.push_str(&format!("[[job]]\n{}", line(&keys::JOB)));
        if !(std::ptr::eq(section, &keys::JOB) && key == "task") {
            let in_task = std::ptr::eq(section, &keys::TASK);
            text.push_str(&format!("[[job.task]]\n{}", line(&keys::TASK)));
            if !(in_task && key == "retry") {
                text.push_str(&format!("retry = {}\n", inline(&keys::RETRY)));
            }
            if !(in_task && key == "http") {
                text.push_str(&format!("[[job.task.http]]\n{}", line(&keys::HTTP)));
                if !(std::ptr::eq(section, &keys::HTTP) && key == "sign") {
                    // Without a kind, it is the one whose keys it has.
                    let sign = match std::ptr::eq(section, &keys::SIGN_WEBHOOKS) {
                        true => &keys::SIGN_WEBHOOKS,
                        false => &keys::SIGN_AWS,
                    };
                    text.push_str(&format!("sign = {}\n", inline(sign)));
                }
            }
            if !(in_task && key == "sql") {
                text.push_str(&format!("[[job.task.sql]]\n{}", line(&keys::SQL)));
            }
        }
    }
    text
}

#[test]
fn the_decoder_reads_every_key_that_the_table_lists() {
    let sections = [
        &keys::FILE,
        &keys::INPUT,
        &keys::SCHEDULE,
        &keys::TRIGGER,
        &keys::DEFAULTS,
        &keys::RETRY,
        &keys::CONCURRENCY,
        &keys::RETENTION,
        &keys::JOB,
        &keys::TASK,
        &keys::HTTP,
        &keys::SIGN_AWS,
        &keys::SIGN_WEBHOOKS,
        &keys::SQL,
    ];
    for section in sections {
        for key in section.keys {
            // No key takes this: a whole number where a date is wanted nowhere, a date elsewhere.
            let value = match key.shape {
                Shape::Any | Shape::Template => "nan",
                _ => "1979-05-27",
            };
            let text = file_with(section, key.name, value);
            let compiled = compile(
                &WorkflowSource::new("k.toml", text.as_str()),
                &environment(),
            );
            let wanted = text.find(value).unwrap();
            let told = compiled.diagnostics.iter().any(|remark| {
                let mentions = remark.span.start == wanted || remark.message.contains(key.name);
                remark.severity == Severity::Error
                    && mentions
                    && !remark.message.contains("has no key")
            });
            assert!(
                told,
                "{} `{}`:\n{text}\n{}",
                section.title,
                key.name,
                render(&compiled.diagnostics)
            );
        }
    }
}

#[test]
fn the_schema_for_editors_is_a_schema_and_refuses_what_the_decoder_refuses() {
    let schema = super::schema::json_schema();
    let validator = super::input::validator(&schema).unwrap();
    let minimal = json!({
        "flowweaver": 1, "name": "a",
        "job": [{ "name": "j", "task": [{ "name": "t", "uses": "m" }] }]
    });
    assert!(validator.is_valid(&minimal));
    let signed = |sign: serde_json::Value| {
        let mut file = minimal.clone();
        file["job"][0]["task"][0]["http"] = json!([{ "url": "https://a.test/", "sign": sign }]);
        validator.is_valid(&file)
    };
    assert!(!signed(json!({ "secret": "s" })));
    assert!(!signed(
        json!({ "kind": "standard-webhooks", "service": "s3" })
    ));
    assert!(!signed(json!({ "kind": "aws-sigv4", "secret": "s" })));
    assert!(signed(
        json!({ "kind": "standard-webhooks", "secret": "s" })
    ));
    for (pointer, value) in [
        ("/name", json!("A")),
        ("/flowweaver", json!(2)),
        ("/nmae", json!("x")),
        ("/timeout", json!(60)),
        ("/job/0/run_on", json!("never")),
        ("/job/0/task/0/memory", json!("64")),
        ("/job/0/task/0/when", json!("inputs.a")),
        ("/job/0/task/0/http", json!([{ "uri": "x" }])),
    ] {
        let mut broken = minimal.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        broken.pointer_mut(parent).unwrap()[key] = value;
        assert!(!validator.is_valid(&broken), "{pointer}");
    }
}
