//! What a file's names mean outside it, gathered once a compile: vars after overrides, validators
//! of the modules it uses, schemas of what expressions can see.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jsonschema::Validator;
use serde_json::{Map, Value, json};

use super::decode::At;
use super::draft::Draft;
use super::draft_task::DraftUses;
use super::environment::{Environment, WorkflowFacts};
use super::input::validator;
use super::model::InputSpec;
use super::report::Report;
use crate::id::{VariableName, WorkflowName};

/// What the file's names mean outside it, gathered once.
pub(super) struct Known {
    pub(super) vars: BTreeMap<VariableName, Value>,
    /// Made once a module: large schemas are shared by many tasks.
    pub(super) validators: HashMap<String, Option<Arc<Validator>>>,
    /// The input schemas of workflows that tasks run.
    pub(super) children: HashMap<WorkflowName, Value>,
}

impl Known {
    /// Gathers it; what is wrong is reported.
    pub(super) fn gather(
        draft: &Draft<'_>,
        environment: &Environment,
        report: &mut Report,
    ) -> Self {
        let mut known = Self {
            vars: resolved_vars(draft, environment, report),
            validators: HashMap::new(),
            children: HashMap::new(),
        };
        for task in draft.jobs.iter().flat_map(|job| &job.tasks) {
            match &task.uses {
                Some(At {
                    value: DraftUses::Module(name),
                    span,
                }) => {
                    let Some(facts) = environment.modules.get(name) else {
                        continue;
                    };
                    known.validators.entry(name.to_string()).or_insert_with(|| {
                        match validator(&facts.description.input) {
                            Ok(validator) => Some(Arc::new(validator)),
                            Err(why) => {
                                let message = format!("the input schema of module `{name}`: {why}");
                                report
                                    .error(span.clone(), message)
                                    .help("the module itself must be mended");
                                None
                            }
                        }
                    });
                }
                Some(At {
                    value: DraftUses::Workflow(name),
                    ..
                }) => {
                    if let Some(facts) = environment.workflows.get(name) {
                        let schema = child_schema(facts);
                        let validator = validator(&schema).ok().map(Arc::new);
                        known
                            .validators
                            .insert(format!("workflow:{name}"), validator);
                        known.children.insert(name.clone(), schema);
                    }
                }
                None => {}
            }
        }
        known
    }
}

fn resolved_vars(
    draft: &Draft<'_>,
    environment: &Environment,
    report: &mut Report,
) -> BTreeMap<VariableName, Value> {
    let mut vars: BTreeMap<VariableName, Value> = BTreeMap::new();
    for (name, value) in &draft.vars {
        vars.insert(name.value.clone(), value.clone());
    }
    for (name, value) in &environment.vars {
        match vars.get_mut(name) {
            Some(var) => *var = value.clone(),
            None => {
                let at = draft.name.as_ref().map_or(0..0, |name| name.span.clone());
                let message =
                    format!("flowweaver.toml sets var `{name}`, which this file does not have");
                report.warning(at, message).suggest(
                    name.as_str(),
                    draft.vars.iter().map(|(n, _)| n.value.as_str()),
                );
            }
        }
    }
    vars
}

/// The inputs of a workflow as the schema of an object.
fn child_schema(facts: &WorkflowFacts) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for spec in &facts.inputs {
        properties.insert(spec.name.to_string(), readable_schema(spec));
        if spec.required {
            required.push(Value::from(spec.name.as_str()));
        }
    }
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// What reading an input gives: null, too, when nobody must give it.
pub(super) fn readable_schema(spec: &InputSpec) -> Value {
    if spec.required || spec.default.is_some() {
        spec.schema.clone()
    } else {
        json!({ "anyOf": [spec.schema, { "type": "null" }] })
    }
}

/// The type of a constant.
pub(super) fn var_schema(value: &Value) -> Value {
    match value {
        Value::Array(_) => json!({ "type": "array" }),
        Value::Object(_) => json!({ "type": "object" }),
        scalar => json!({ "const": scalar }),
    }
}

/// What expressions of a trigger see as `run`: the run that ended.
pub(super) fn ended_run_schema() -> Value {
    let mut schema = run_schema();
    if let Some(fields) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, field) in [
            (
                "status",
                json!({ "enum": ["succeeded", "failed", "cancelled"] }),
            ),
            ("started_at", json!({ "type": ["string", "null"] })),
            ("finished_at", json!({ "type": "string" })),
            (
                "failure",
                json!({ "anyOf": [{ "type": "null" }, {
                    "type": "object",
                    "properties": { "code": { "type": "string" }, "message": { "type": "string" } },
                }] }),
            ),
        ] {
            fields.insert(name.to_owned(), field);
        }
    }
    schema
}

pub(super) fn run_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "id": { "type": "string" },
            "number": { "type": "integer" },
            "workflow": { "type": "string" },
            "trigger": { "type": "string" },
            "scheduled_at": { "type": ["string", "null"] },
            "trace_id": { "type": "string" },
        }
    })
}
