//! Checks a task against what it runs: the fields of `with`, what is missing, which capabilities
//! are granted.

use std::ops::Range;
use std::sync::Arc;

use jsonschema::Validator;
use serde_json::{Map, Value};

use super::decode::{At, DeValue, Node, entries, wrong_type};
use super::draft_task::DraftTask;
use super::environment::ModuleFacts;
use super::expression::Template;
use super::grant::{Grants, KvGrant};
use super::input::explain;
use super::report::{Report, listed, suggestion};
use super::scan::Segment;
use super::template::{View, template};
use super::typing::{Typed, is_open, required};

/// What a task runs, as far as its input goes.
#[derive(Clone)]
pub(super) struct Target<'n> {
    /// How remarks call it.
    pub(super) title: String,
    pub(super) schema: &'n Value,
    pub(super) defaults: &'n Map<String, Value>,
    pub(super) validator: Option<Arc<Validator>>,
}

/// Reads `with` and checks it field by field.
pub(super) fn with<'n>(
    task: &DraftTask<'_>,
    target: Option<&Target<'n>>,
    view: View<'_, 'n>,
    report: &mut Report,
) -> Template {
    let fields = match task.with.map(|node| (node, node.get_ref())) {
        None => Vec::new(),
        Some((_, DeValue::Table(table))) => entries(table),
        Some((node, _)) => {
            wrong_type("with", node, "a table of input fields", report);
            return Template::Object(Vec::new());
        }
    };
    let mut templates = Vec::with_capacity(fields.len());
    let mut meant = Vec::new();
    for field in &fields {
        let wanted = target.and_then(|target| {
            if !takes(target, field.key) {
                meant.extend(suggestion(field.key, taken(target.schema)));
                let message = format!("{} takes no `{}`", target.title, field.key);
                report
                    .error(field.key_span.clone(), message)
                    .suggest(field.key, taken(target.schema));
            }
            let step = Segment::Field(field.key.to_owned());
            Typed::of(target.schema).step(&step).ok().flatten()
        });
        let template = template(field.node, wanted, view, report);
        templates.push((field.key.to_owned(), template));
    }
    if let Some(target) = target {
        let literals = templates
            .iter()
            .filter(|(name, _)| takes(target, name))
            .filter_map(|(name, template)| Some((name.clone(), template.literal()?)));
        let node = |name: &str| {
            fields
                .iter()
                .find(|field| field.key == name)
                .map(|f| f.node)
        };
        check_literals(target, &literals.collect(), &node, report);
        missing(task, target, &templates, &meant, report);
    }
    Template::Object(templates)
}

/// Whether the target has a field, or takes any.
pub(super) fn takes(target: &Target<'_>, field: &str) -> bool {
    is_open(target.schema) || taken(target.schema).any(|known| known == field)
}

fn taken(schema: &Value) -> impl Iterator<Item = &str> {
    let fields = schema.get("properties").and_then(Value::as_object);
    fields
        .into_iter()
        .flat_map(|fields| fields.keys().map(String::as_str))
}

/// Checks values that are known now against the schema; `node` finds a field in the file.
pub(super) fn check_literals<'d>(
    target: &Target<'_>,
    literals: &Map<String, Value>,
    node: &dyn Fn(&str) -> Option<Node<'d>>,
    report: &mut Report,
) {
    let Some(validator) = &target.validator else {
        return;
    };
    let value = Value::Object(literals.clone());
    let mut told: Vec<String> = Vec::new();
    for error in validator.iter_errors(&value) {
        let path = error.instance_path().as_str().to_owned();
        // One value may break several rules; the first is enough to look at it.
        if told.contains(&path) {
            continue;
        }
        told.push(path.clone());
        // About the object itself: fields that are absent here may come from elsewhere.
        let Some(field) = path.split('/').nth(1).map(unescaped) else {
            continue;
        };
        if let Some(node) = node(&field) {
            let at = deepest(node, path.split('/').skip(2));
            report.error(
                at,
                format!("{} does not take this: {}", target.title, explain(&error)),
            );
        }
    }
}

fn unescaped(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

/// The place of a value inside a value.
fn deepest<'p>(node: Node<'_>, path: impl Iterator<Item = &'p str>) -> Range<usize> {
    let mut at = node;
    for part in path {
        let part = unescaped(part);
        let next = match at.get_ref() {
            DeValue::Table(table) => table.get(part.as_str()),
            DeValue::Array(items) => part.parse::<usize>().ok().and_then(|i| items.get(i)),
            _ => None,
        };
        let Some(next) = next else { break };
        at = next;
    }
    at.span()
}

fn missing(
    task: &DraftTask<'_>,
    target: &Target<'_>,
    with: &[(String, Template)],
    meant: &[String],
    report: &mut Report,
) {
    let absent: Vec<&str> = required(target.schema)
        .into_iter()
        .filter(|name| !target.defaults.contains_key(*name))
        .filter(|name| !with.iter().any(|(given, _)| given == name))
        .filter(|name| !meant.contains(&format!("did you mean `{name}`?")))
        .collect();
    if absent.is_empty() {
        return;
    }
    let at = match (&task.with, &task.uses) {
        (Some(node), _) if !node.span().is_empty() => node.span(),
        (_, Some(uses)) => uses.span.clone(),
        _ => task.at.clone(),
    };
    let list: Vec<String> = absent.iter().map(|name| format!("`{name}`")).collect();
    let fields: Vec<String> = absent.iter().map(|name| format!("{name} = …")).collect();
    report
        .error(at, format!("{} needs {}", target.title, listed(&list)))
        .help(format!("write with = {{ {} }}", fields.join(", ")));
}

/// The three capabilities that are granted, and the table that grants each.
const CAPABILITIES: [(&str, &str); 3] = [
    ("http", "[[job.task.http]]"),
    ("sql", "[[job.task.sql]]"),
    ("kv", "kv = \"read\" or \"read-write\""),
];

/// Compares what a module wants with what its task grants.
pub(super) fn capabilities(
    task: &DraftTask<'_>,
    module: &ModuleFacts,
    grants: &Grants,
    report: &mut Report,
) {
    let Some(At { span, .. }) = &task.uses else {
        return;
    };
    let name = &module.description.name;
    let mut denied = Vec::new();
    for (capability, table) in CAPABILITIES {
        // What was written counts, so that a mistake in a grant is not told twice.
        let granted = match capability {
            "http" => !task.http.is_empty(),
            "sql" => !task.sql.is_empty(),
            _ => grants.kv != KvGrant::None,
        };
        let package = format!("flowweaver:{capability}/");
        let imported = module
            .imports
            .iter()
            .any(|import| import.starts_with(&package));
        let requires = module.description.requires.iter().any(|r| r == capability);
        match (granted, requires, imported) {
            (false, true, _) => {
                report
                    .error(
                        span.clone(),
                        format!("module `{name}` needs {capability}, and this task grants none"),
                    )
                    .help(format!("add {table} with what it may reach"));
            }
            (false, false, true) => denied.push(capability),
            (true, false, false) if !module.imports.is_empty() => {
                report
                    .warning(
                        span.clone(),
                        format!("module `{name}` cannot use the {capability} grant of this task"),
                    )
                    .help(format!("it does not import {package}*: remove the grant"));
            }
            _ => {}
        }
    }
    if !denied.is_empty() {
        report
            .warning(
                span.clone(),
                format!(
                    "module `{name}` imports {}, which this task does not grant",
                    listed(&denied)
                ),
            )
            .help("such a call is answered with a denial");
    }
}
