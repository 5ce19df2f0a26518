//! The effective input of a task (module defaults ← `with` ← schedule ← run, field by field) and
//! of a run (what a trigger gives, checked and completed).
//!
//! When these are asked for, and what becomes of a problem, is the engine's business.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use jsonschema::{ValidationError, Validator};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::expression::{EvaluationError, Scope};
use super::model::{Task, Workflow};
use super::report::suggestion;
use super::typing;

/// Who gave a field of a task's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The module's defaults.
    Module,
    /// The task's `with`.
    Workflow,
    /// The schedule's `config`.
    Schedule,
    /// The run's `config`.
    Run,
}

/// A task's input, ready for an attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedInput {
    /// An object.
    pub value: Value,
    /// Who gave each of its fields.
    pub origins: BTreeMap<String, Origin>,
}

/// Why there is no input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InputProblem {
    /// `input.missing`: it reads an output that is absent. `input.invalid`: anything else.
    pub code: &'static str,
    /// One sentence for a person.
    pub message: String,
}

impl From<EvaluationError> for InputProblem {
    fn from(error: EvaluationError) -> Self {
        let code = match error {
            EvaluationError::Missing { .. } => "input.missing",
            EvaluationError::Invalid(_) => "input.invalid",
        };
        Self {
            code,
            message: error.to_string(),
        }
    }
}

/// The validator of a schema, made when first needed and then shared.
#[derive(Clone, Default)]
pub struct InputValidator(Arc<OnceLock<Result<Arc<Validator>, String>>>);

impl InputValidator {
    pub(super) fn ready(validator: Arc<Validator>) -> Self {
        Self(Arc::new(OnceLock::from(Ok(validator))))
    }

    fn get(&self, schema: &Value) -> Result<&Validator, String> {
        match self.0.get_or_init(|| validator(schema).map(Arc::new)) {
            Ok(validator) => Ok(validator),
            Err(message) => Err(message.clone()),
        }
    }
}

impl fmt::Debug for InputValidator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InputValidator")
    }
}

/// Makes a validator; the error is one sentence.
pub(super) fn validator(schema: &Value) -> Result<Validator, String> {
    jsonschema::validator_for(schema)
        .map_err(|error| format!("this is no valid JSON Schema: {}", explain(&error)))
}

/// Problems of one value told at once; the first few say it all.
const PROBLEMS_MAX: usize = 5;
/// A message with a larger value in it hides what is wrong.
const MESSAGE_MAX: usize = 200;

/// A validation error in one sentence that never holds a large value.
pub(super) fn explain(error: &ValidationError<'_>) -> String {
    let text = error.to_string();
    if text.len() <= MESSAGE_MAX {
        return text;
    }
    let masked = error.masked_with("the value").to_string();
    masked.chars().take(MESSAGE_MAX).collect()
}

fn located(error: &ValidationError<'_>) -> String {
    let path = error
        .instance_path()
        .as_str()
        .trim_start_matches('/')
        .replace('/', ".");
    if path.is_empty() {
        explain(error)
    } else {
        format!("`{path}`: {}", explain(error))
    }
}

/// The effective input of a task. `schedule_config` and `run_config` are the objects given for
/// this very task, if any.
pub fn resolve(
    task: &Task,
    scope: &Scope<'_>,
    schedule_config: Option<&Value>,
    run_config: Option<&Value>,
) -> Result<ResolvedInput, InputProblem> {
    let mut value = Map::new();
    let mut origins = BTreeMap::new();
    let mut lay = |fields: Cow<'_, Value>, origin: Origin| {
        let is_null = fields.is_null();
        let fields = match fields {
            Cow::Owned(Value::Object(fields)) => fields,
            Cow::Borrowed(Value::Object(fields)) => fields.clone(),
            _ => return is_null,
        };
        for (name, field) in fields {
            origins.insert(name.clone(), origin);
            value.insert(name, field);
        }
        true
    };
    // Filled here, so its data, which may be large, moves on.
    let with = task.with.fill(scope)?;
    let layers = [
        (Some(Cow::Borrowed(&task.defaults)), Origin::Module),
        (Some(Cow::Owned(with)), Origin::Workflow),
        (schedule_config.map(Cow::Borrowed), Origin::Schedule),
        (run_config.map(Cow::Borrowed), Origin::Run),
    ];
    for (fields, origin) in layers {
        if let Some(fields) = fields
            && !lay(fields, origin)
        {
            return Err(InputProblem {
                code: "input.invalid",
                message: format!("the input of task `{}` is not an object", task.name),
            });
        }
    }
    let value = Value::Object(value);
    check(task, &value)?;
    Ok(ResolvedInput { value, origins })
}

fn check(task: &Task, value: &Value) -> Result<(), InputProblem> {
    let invalid = |message| InputProblem {
        code: "input.invalid",
        message,
    };
    let validator = task.validator.get(&task.input_schema).map_err(invalid)?;
    // Nearly every input is valid, and to say so takes a fraction of collecting errors.
    if validator.is_valid(value) {
        return Ok(());
    }
    let problems: Vec<String> = validator
        .iter_errors(value)
        .take(PROBLEMS_MAX)
        .map(|error| located(&error))
        .collect();
    if problems.is_empty() {
        Ok(())
    } else {
        Err(invalid(problems.join("; ")))
    }
}

/// The inputs of a run: what a trigger gives, checked against the workflow's inputs, with defaults
/// filled in. An input that nobody gives and nobody must give is null. All problems at once.
pub fn workflow_inputs(workflow: &Workflow, given: &Value) -> Result<Value, Vec<String>> {
    let nothing = Map::new();
    let given = match given {
        Value::Null => &nothing,
        Value::Object(given) => given,
        _ => return Err(vec!["inputs must be an object".to_owned()]),
    };
    let mut problems = Vec::new();
    for name in given.keys() {
        if !workflow
            .inputs
            .iter()
            .any(|spec| spec.name.as_str() == name)
        {
            let names = workflow.inputs.iter().map(|spec| spec.name.as_str());
            let help = suggestion(name, names).map_or_else(String::new, |help| format!(": {help}"));
            problems.push(format!("there is no input `{name}`{help}"));
        }
    }
    let mut inputs = Map::new();
    for spec in &workflow.inputs {
        let name = spec.name.as_str();
        let value = match given.get(name) {
            // Null is how JSON says "not given".
            Some(value) if !value.is_null() || spec.required => {
                let checked = validator(&spec.schema).and_then(|validator| {
                    validator.validate(value).map_err(|error| located(&error))
                });
                if let Err(why) = checked {
                    problems.push(format!("input `{name}`: {why}"));
                }
                value.clone()
            }
            _ if spec.required => {
                problems.push(format!("input `{name}` is missing"));
                Value::Null
            }
            _ => spec.default.clone().unwrap_or_default(),
        };
        inputs.insert(name.to_owned(), value);
    }
    if problems.is_empty() {
        Ok(Value::Object(inputs))
    } else {
        Err(problems)
    }
}

/// Checks the `config` of a run: an object of objects by task, whose fields the tasks take. All
/// problems at once.
pub fn check_config(workflow: &Workflow, config: &Value) -> Result<(), Vec<String>> {
    let Value::Object(tasks) = config else {
        return match config {
            Value::Null => Ok(()),
            _ => Err(vec!["config must be an object of task inputs".to_owned()]),
        };
    };
    let mut problems = Vec::new();
    for (name, fields) in tasks {
        let Some(index) = workflow.task_named(name) else {
            let names = workflow.tasks.iter().map(|task| task.name.as_str());
            let help = suggestion(name, names).map_or_else(String::new, |help| format!(": {help}"));
            problems.push(format!("there is no task `{name}`{help}"));
            continue;
        };
        let Value::Object(fields) = fields else {
            problems.push(format!("the config of task `{name}` must be an object"));
            continue;
        };
        let schema = &workflow.task(index).input_schema;
        if typing::is_open(schema) {
            continue;
        }
        let known = schema.get("properties").and_then(Value::as_object);
        for field in fields.keys() {
            if known.is_none_or(|known| known.contains_key(field)) {
                continue;
            }
            let names = known
                .into_iter()
                .flat_map(|known| known.keys().map(String::as_str));
            let help =
                suggestion(field, names).map_or_else(String::new, |help| format!(": {help}"));
            problems.push(format!("task `{name}` takes no `{field}`{help}"));
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems)
    }
}
