//! `[[on]] workflow`: starting after the end of another workflow, checked against what that one takes and gives
//! where it is known. Where it is not, or changes later, the start itself finds out.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::compile::Compiler;
use super::decode::{DeValue, Entry, Node};
use super::draft::DraftAfter;
use super::environment::WorkflowFacts;
use super::expression::Template;
use super::graph::Edges;
use super::input::{explain, validator};
use super::known::{ended_run_schema, readable_schema};
use super::model::EndTrigger;
use super::report::Report;
use super::scan::{self, Segment};
use super::template::{Names, TaskFacts, View, template};
use super::typing::Typed;
use crate::id::WorkflowName;

static ANYTHING: Value = Value::Bool(true);

/// A trigger by the end of another workflow.
pub(super) fn after(
    compiler: &Compiler<'_, '_>,
    own: &Names<'_>,
    draft: &DraftAfter<'_>,
    report: &mut Report,
) -> EndTrigger {
    let others = &compiler.environment.workflows;
    let facts = others.get(&draft.name.value);
    let itself = compiler.draft.name.as_ref();
    if itself.is_some_and(|own| own.value == draft.name.value) {
        report
            .error(
                draft.name.span.clone(),
                "a workflow cannot start after itself",
            )
            .help("it would never end");
    } else if facts.is_none() {
        // It may be added later, and until then nothing starts.
        report
            .warning(
                draft.name.span.clone(),
                format!("there is no workflow `{}` yet", draft.name.value),
            )
            .suggest(
                draft.name.value.as_str(),
                others.keys().map(WorkflowName::as_str),
            );
    }
    let mentioned = mentioned(draft);
    let tasks: Vec<(&str, &Value)> = match facts {
        Some(facts) => facts
            .tasks
            .iter()
            .map(|task| (task.name.as_str(), &task.output))
            .collect(),
        None => mentioned
            .tasks
            .iter()
            .map(|name| (name.as_str(), &ANYTHING))
            .collect(),
    };
    let names = names(own, facts, &mentioned, &tasks);
    let view = View {
        names: &names,
        reader: None,
        item: None,
    };
    let when = draft
        .when
        .as_ref()
        .and_then(|text| compiler.when(text, view, report));
    EndTrigger {
        workflow: draft.name.value.clone(),
        ends: draft.ends.clone(),
        when,
        inputs: inputs(compiler, draft, view, report),
        tasks: tasks.iter().map(|(name, _)| (*name).to_owned()).collect(),
    }
}

/// What the expressions of a trigger name.
#[derive(Default)]
struct Mentioned {
    tasks: BTreeSet<String>,
    inputs: BTreeSet<String>,
}

fn mentioned(draft: &DraftAfter<'_>) -> Mentioned {
    let mut found = Mentioned::default();
    if let Some(when) = &draft.when {
        found.read(when.value);
    }
    for entry in &draft.inputs {
        found.look_into(entry.node);
    }
    found
}

impl Mentioned {
    fn look_into(&mut self, node: Node<'_>) {
        match node.get_ref() {
            DeValue::String(text) => self.read(text),
            DeValue::Array(items) => items.iter().for_each(|item| self.look_into(item)),
            DeValue::Table(table) => table.values().for_each(|value| self.look_into(value)),
            _ => {}
        }
    }

    fn read(&mut self, text: &str) {
        let mut at = 0;
        while let Some(open) = text.get(at..).and_then(|rest| rest.find("{{")) {
            let start = at + open + 2;
            let Some(end) = scan::end_of_expression(text, start) else {
                return;
            };
            for path in scan::scan(text.get(start..end).unwrap_or_default()).paths {
                let names = match path.root.as_str() {
                    "tasks" => &mut self.tasks,
                    "inputs" => &mut self.inputs,
                    _ => continue,
                };
                if let Some((Segment::Field(name), _)) = path.segments.into_iter().next() {
                    names.insert(name);
                }
            }
            at = end;
        }
    }
}

/// What expressions see of the run that ended, and this file's vars.
fn names<'a>(
    own: &Names<'a>,
    facts: Option<&'a WorkflowFacts>,
    mentioned: &'a Mentioned,
    tasks: &[(&'a str, &'a Value)],
) -> Names<'a> {
    let inputs = match facts {
        Some(facts) => facts
            .inputs
            .iter()
            .map(|spec| (spec.name.as_str(), readable_schema(spec)))
            .collect(),
        None => mentioned
            .inputs
            .iter()
            .map(|name| (name.as_str(), ANYTHING.clone()))
            .collect(),
    };
    Names {
        inputs,
        vars: own.vars.clone(),
        run: ended_run_schema(),
        tasks: tasks
            .iter()
            .enumerate()
            .map(|(position, (name, _))| (*name, position))
            .collect(),
        broken: Vec::new(),
        facts: tasks
            .iter()
            .enumerate()
            .map(|(place, (name, output))| TaskFacts {
                job: 0,
                job_name: "",
                place,
                output,
                uses: format!("task `{name}`"),
                is_list: false,
            })
            .collect(),
        jobs: Edges { before: Vec::new() }.ancestors(),
        within: Vec::new(),
        ended: true,
    }
}

fn inputs<'n>(
    compiler: &Compiler<'_, '_>,
    draft: &DraftAfter<'_>,
    view: View<'_, 'n>,
    report: &mut Report,
) -> Template {
    let specs = &compiler.draft.inputs;
    let mut fields = Vec::with_capacity(draft.inputs.len());
    for Entry {
        key,
        key_span,
        node,
    } in &draft.inputs
    {
        let Some(spec) = specs.iter().find(|spec| spec.value.name.as_str() == *key) else {
            report
                .error(key_span.clone(), format!("there is no input `{key}`"))
                .help("the file has no inputs")
                .suggest_if_any(key, specs.iter().map(|spec| spec.value.name.as_str()));
            continue;
        };
        let schema = readable_schema(&spec.value);
        let template = wanted(node, &schema, view, report);
        // A schema that is none is told where the input is declared.
        if let Some(value) = template.literal()
            && let Ok(validator) = validator(&schema)
            && let Err(error) = validator.validate(&value)
        {
            let message = format!("input `{key}` does not take this: {}", explain(&error));
            report.error(node.span(), message);
        }
        fields.push(((*key).to_owned(), template));
    }
    for spec in specs.iter().filter(|spec| spec.value.required) {
        let name = &spec.value.name;
        if draft.inputs.iter().all(|entry| entry.key != name.as_str()) {
            report
                .error(
                    draft.name.span.clone(),
                    format!("a run that starts so lacks the input `{name}`"),
                )
                .help(format!(
                    "write inputs = {{ {name} = … }}, or give the input a default"
                ));
        }
    }
    match fields.is_empty() {
        true => Template::Literal(Value::Object(Map::new())),
        false => Template::Object(fields),
    }
}

fn wanted(node: Node<'_>, schema: &Value, view: View<'_, '_>, report: &mut Report) -> Template {
    // The schema of an input lives shorter than the names, so the view is taken anew for it.
    let View { names, .. } = view;
    let view = View {
        names,
        reader: None,
        item: None,
    };
    template(node, Some(Typed::of(schema)), view, report)
}
