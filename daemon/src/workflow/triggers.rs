//! What starts a workflow by itself, checked: schedules with their inputs and overrides, other
//! triggers, and how many runs may be active at once.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::time::Duration;

use serde_json::{Map, Value};

use super::after::after;
use super::compile::Compiler;
use super::decode::{At, DeValue, Entry, entries, wrong_type};
use super::draft::{DraftSchedule, DraftTrigger};
use super::input::{explain, validator};
use super::model::{Concurrency, Schedule, TriggerSpec};
use super::report::Report;
use super::schedule::{CATCH_UP, WINDOW};
use super::template::{Names, View, template};
use super::value::to_json;
use super::wiring::{check_literals, takes};
use crate::id::{TaskName, VariableName};
use crate::units::Span;

/// The schedules of a file.
pub(super) fn schedules(
    compiler: &Compiler<'_, '_>,
    names: &Names<'_>,
    report: &mut Report,
) -> Vec<Schedule> {
    let mut seen: HashMap<String, Range<usize>> = HashMap::new();
    let mut schedules = Vec::new();
    for draft in &compiler.draft.schedules {
        if let Some(name) = &draft.name {
            if let Some(first) = seen.get(name.value.as_str()) {
                let line = report.line(first.start);
                let message = format!(
                    "there are two schedules named `{}`; the first is in line {line}",
                    name.value
                );
                report.error(name.span.clone(), message);
            } else {
                seen.insert(name.value.to_string(), name.span.clone());
            }
        }
        let inputs = schedule_inputs(compiler, draft, report);
        let config = schedule_config(compiler, draft, names, report);
        schedules.extend(schedule(draft, inputs, config, report));
    }
    schedules
}

fn schedule(
    draft: &DraftSchedule<'_>,
    inputs: BTreeMap<VariableName, Value>,
    config: BTreeMap<TaskName, Value>,
    report: &mut Report,
) -> Option<Schedule> {
    let cron = draft.cron.as_ref()?;
    let name = draft.name.as_ref().map(|name| name.value.clone());
    let written = |text: &Option<At<&str>>| text.as_ref().map(|text| text.value.to_owned());
    let schedule = Schedule {
        // What is wrong with the rest does not depend on a name or a zone that are none.
        name: name.clone().or_else(|| "unnamed".parse().ok())?,
        cron: cron.value.to_owned(),
        timezone: draft
            .timezone
            .as_ref()
            .map_or(chrono_tz::UTC, |zone| zone.value),
        enabled: draft.enabled.unwrap_or(true),
        catch_up: draft.catch_up,
        catch_up_window: Span(draft.catch_up_window.as_ref().map_or(WINDOW, |at| at.value)),
        catch_up_max: draft.catch_up_max.as_ref().map_or(CATCH_UP, |at| at.value),
        overlap: draft.overlap,
        jitter: Span(draft.jitter.as_ref().map_or(Duration::ZERO, |at| at.value)),
        start: written(&draft.start),
        end: written(&draft.end),
        inputs,
        config,
    };
    for problem in schedule.times().err().unwrap_or_default() {
        let span = match problem.key {
            "jitter" => draft.jitter.as_ref().map(|at| &at.span),
            "catch_up_window" => draft.catch_up_window.as_ref().map(|at| &at.span),
            "catch_up_max" => draft.catch_up_max.as_ref().map(|at| &at.span),
            "start" => draft.start.as_ref().map(|at| &at.span),
            "end" => draft.end.as_ref().map(|at| &at.span),
            _ => Some(&cron.span),
        };
        let span = span.unwrap_or(&draft.at).clone();
        report.error(span, problem.message).help(problem.help);
    }
    draft.timezone.as_ref()?;
    name.map(|_| schedule)
}

fn schedule_inputs(
    compiler: &Compiler<'_, '_>,
    draft: &DraftSchedule<'_>,
    report: &mut Report,
) -> BTreeMap<VariableName, Value> {
    let specs = &compiler.draft.inputs;
    let mut inputs = BTreeMap::new();
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
        constant(node.get_ref(), node.span(), report);
        let value = to_json(node, report);
        // A schema that is none is told where the input is declared.
        if let Ok(validator) = validator(&spec.value.schema)
            && let Err(error) = validator.validate(&value)
        {
            let message = format!("input `{key}` does not take this: {}", explain(&error));
            report.error(node.span(), message);
        }
        inputs.insert(spec.value.name.clone(), value);
    }
    let absent = specs.iter().filter(|spec| {
        let given = draft
            .inputs
            .iter()
            .any(|entry| entry.key == spec.value.name.as_str());
        spec.value.required && !given
    });
    for spec in absent {
        let name = &spec.value.name;
        report
            .error(
                draft.at.clone(),
                format!("a run of this schedule lacks the input `{name}`"),
            )
            .help(format!(
                "write inputs = {{ {name} = … }}, or give the input a default"
            ));
    }
    inputs
}

/// Nobody evaluates what a schedule gives.
fn constant(value: &DeValue<'_>, span: Range<usize>, report: &mut Report) {
    let found = match value {
        DeValue::String(text) => text.contains("{{"),
        _ => false,
    };
    if found {
        report
            .warning(
                span,
                "a schedule gives constants: `{{ }}` is not evaluated here",
            )
            .help("put the expression into the task's `with`");
    }
}

fn schedule_config(
    compiler: &Compiler<'_, '_>,
    draft: &DraftSchedule<'_>,
    names: &Names<'_>,
    report: &mut Report,
) -> BTreeMap<TaskName, Value> {
    let mut config = BTreeMap::new();
    for Entry {
        key,
        key_span,
        node,
    } in &draft.config
    {
        let tasks = compiler.draft.jobs.iter().flat_map(|job| &job.tasks);
        let found = names
            .tasks
            .get(*key)
            .and_then(|position| tasks.clone().nth(*position));
        let Some(task) = found else {
            report
                .error(key_span.clone(), format!("there is no task `{key}`"))
                .suggest(key, names.tasks.keys().copied());
            continue;
        };
        let DeValue::Table(table) = node.get_ref() else {
            wrong_type(key, node, "a table of input fields", report);
            continue;
        };
        let fields = entries(table);
        let mut values = Map::new();
        let target = compiler.target(task);
        for field in &fields {
            constant(field.node.get_ref(), field.node.span(), report);
            values.insert(field.key.to_owned(), to_json(field.node, report));
            if let Some(target) = target.as_ref().filter(|target| !takes(target, field.key)) {
                let known = target.schema.get("properties").and_then(Value::as_object);
                let known = known
                    .into_iter()
                    .flat_map(|known| known.keys().map(String::as_str));
                report
                    .error(
                        field.key_span.clone(),
                        format!("{} takes no `{}`", target.title, field.key),
                    )
                    .suggest(field.key, known);
            }
        }
        if let Some(target) = &target {
            let find = |name: &str| fields.iter().find(|f| f.key == name).map(|f| f.node);
            let known: Map<String, Value> = values
                .iter()
                .filter(|(name, _)| takes(target, name))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            check_literals(target, &known, &find, report);
        }
        if let Some(name) = &task.name {
            config.insert(name.value.clone(), Value::Object(values));
        }
    }
    config
}

/// The other triggers of a file.
pub(super) fn triggers(
    compiler: &Compiler<'_, '_>,
    names: &Names<'_>,
    report: &mut Report,
) -> Vec<TriggerSpec> {
    let mut triggers: Vec<TriggerSpec> = Vec::new();
    let drafts = &compiler.draft.triggers;
    for (position, trigger) in drafts.iter().enumerate() {
        let before = drafts.get(..position).unwrap_or_default();
        if let Some(first) = before.iter().find(|first| takes_all(first, trigger)) {
            let line = report.line(first.span.start);
            report
                .error(
                    trigger.span.clone(),
                    format!(
                        "this trigger never starts anything: the one in line {line} takes the same"
                    ),
                )
                .help("an end starts the workflow once, by the first trigger that fits it");
            continue;
        }
        triggers.push(match &trigger.value {
            DraftTrigger::Webhook { name } => TriggerSpec::Webhook { name: name.clone() },
            DraftTrigger::Workflow(draft) => {
                TriggerSpec::Workflow(after(compiler, names, draft, report))
            }
        });
    }
    triggers
}

/// Whether nothing is left for the second trigger.
fn takes_all(first: &At<DraftTrigger<'_>>, second: &At<DraftTrigger<'_>>) -> bool {
    match (&first.value, &second.value) {
        (DraftTrigger::Webhook { name: a }, DraftTrigger::Webhook { name: b }) => a == b,
        (DraftTrigger::Workflow(a), DraftTrigger::Workflow(b)) => {
            a.name.value == b.name.value
                && a.when.is_none()
                && b.ends.iter().all(|end| a.ends.contains(end))
        }
        _ => false,
    }
}

/// `concurrency`.
pub(super) fn concurrency(
    compiler: &Compiler<'_, '_>,
    names: &Names<'_>,
    report: &mut Report,
) -> Option<Concurrency> {
    let draft = compiler.draft.concurrency.as_ref()?;
    let view = View {
        names,
        reader: None,
        item: None,
    };
    let key = draft.key.map(|node| {
        if !node.get_ref().is_str() {
            wrong_type("key", node, "text, like \"{{ inputs.platform }}\"", report);
        }
        template(node, None, view, report)
    });
    Some(Concurrency {
        key,
        max: draft.max,
    })
}
