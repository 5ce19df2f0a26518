//! Expressions that are more than a path: minijinja with fuel, strict about what is undefined,
//! without functions, methods or anything that is not a pure function of its arguments.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};

use minijinja::value::{Object, ObjectRepr, Rest, Value as Jv, ValueKind};
use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use serde_json::{Map, Number, Value};

use super::expression::{EvaluationError, Scope};
use super::model::TaskIndex;

/// Steps of one evaluation; one unit also pays for 64 bytes made. Enough to walk an output of the
/// largest size, too little to notice.
const FUEL: u64 = 500_000;
/// JSON deeper than this is refused everywhere else too.
const DEPTH_MAX: usize = 120;

/// Shared by all expressions, so that a compiled one borrows nothing.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let globals: Vec<String> = environment
        .globals()
        .map(|(name, _)| name.to_owned())
        .collect();
    for name in globals {
        environment.remove_global(&name);
    }
    for name in ["default", "d"] {
        environment.add_filter(name, default);
    }
    environment.add_test("defined", |value: &Jv| !is_absent(value));
    environment.add_test("undefined", is_absent);
    environment
});

/// A compiled expression.
pub(super) struct Jinja(minijinja::Expression<'static, 'static>);

impl Jinja {
    /// Compiles a text without its braces.
    pub(super) fn compile(source: &str) -> Result<Self, String> {
        ENVIRONMENT
            .compile_expression_owned(source.to_owned())
            .map(Self)
            .map_err(|error| error.detail().unwrap_or("syntax error").to_owned())
    }

    /// Evaluates it; `tasks` are those it names.
    pub(super) fn evaluate(
        &self,
        tasks: &[(String, TaskIndex)],
        scope: &Scope<'_>,
    ) -> Result<Value, EvaluationError> {
        let read = Arc::new(Mutex::new(None));
        let context = context(tasks, scope, &read);
        let missing = |read: &Arc<Mutex<Option<String>>>| {
            let task = read.lock().ok()?.clone()?;
            Some(EvaluationError::Missing { task })
        };
        match self.0.eval(context) {
            Ok(value) => {
                let json = to_json(&value, 0);
                match missing(&read) {
                    Some(error) => Err(error),
                    None => json.map_err(EvaluationError::Invalid),
                }
            }
            // What an absent output broke is its absence.
            Err(error) => {
                Err(missing(&read).unwrap_or_else(|| EvaluationError::Invalid(reason(&error))))
            }
        }
    }
}

fn reason(error: &minijinja::Error) -> String {
    match error.kind() {
        ErrorKind::OutOfFuel => "it takes too many steps".to_owned(),
        ErrorKind::UndefinedError => "a value is not there; `| default(…)` allows that".to_owned(),
        kind => match error.detail() {
            Some(detail) => format!("{kind}: {detail}"),
            None => kind.to_string(),
        },
    }
}

/// Only what the expression can name: large values are converted only when they are read.
fn context(
    tasks: &[(String, TaskIndex)],
    scope: &Scope<'_>,
    read: &Arc<Mutex<Option<String>>>,
) -> Jv {
    let outputs = tasks.iter().map(|(name, index)| {
        let output = scope.outputs.output(*index);
        (name.clone(), output.map(|output| from_json(&output)))
    });
    let outputs: Arc<BTreeMap<String, Option<Jv>>> = Arc::new(outputs.collect());
    let reading = |read| {
        let outputs = Arc::clone(&outputs);
        Jv::from_object(Tasks { outputs, read })
    };
    let mut roots = vec![
        ("inputs", from_json(scope.inputs)),
        ("run", from_json(scope.run)),
        ("vars", from_json(scope.vars)),
        ("tasks", reading(Some(Arc::clone(read)))),
        (GUARDED, reading(None)),
    ];
    if let Some((item, index)) = scope.item {
        roots.push(("item", from_json(item)));
        roots.push(("index", Jv::from(index)));
    }
    Jv::from_pairs(roots)
}

/// The root that stands for `tasks` where the value may be absent.
pub(super) const GUARDED: &str = "tasks_that_may_be_absent";

/// The outputs of tasks by name.
#[derive(Debug)]
struct Tasks {
    outputs: Arc<BTreeMap<String, Option<Jv>>>,
    /// Notes who has no output when that is read; none where it may be absent.
    read: Option<Arc<Mutex<Option<String>>>>,
}

impl Object for Tasks {
    fn get_value(self: &Arc<Self>, key: &Jv) -> Option<Jv> {
        let name = key.as_str()?;
        if let Some(output) = self.outputs.get(name)? {
            return Some(output.clone());
        }
        if let Some(Ok(mut read)) = self.read.as_ref().map(|read| read.lock()) {
            read.get_or_insert_with(|| name.to_owned());
        }
        Some(Jv::from_object(Absent))
    }
}

/// The output of a task that has none. Its fields are absent too, so that `| default(…)` may stand
/// at the end of a path.
#[derive(Debug)]
struct Absent;

impl Object for Absent {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, _key: &Jv) -> Option<Jv> {
        Some(Jv::from_dyn_object(Arc::clone(self)))
    }
}

fn is_absent(value: &Jv) -> bool {
    value.is_undefined() || value.downcast_object_ref::<Absent>().is_some()
}

/// `| default(…)`: also for the output of a task that has none.
fn default(value: &Jv, args: Rest<Jv>) -> Jv {
    let lax = args.get(1).is_some_and(Jv::is_true);
    if is_absent(value) || (lax && !value.is_true()) {
        args.first().cloned().unwrap_or_else(|| Jv::from(""))
    } else {
        value.clone()
    }
}

/// A JSON value as the expression language's.
fn from_json(value: &Value) -> Jv {
    match value {
        Value::Null => Jv::from(()),
        Value::Bool(value) => Jv::from(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Jv::from(number),
            (None, Some(number)) => Jv::from(number),
            (None, None) => Jv::from(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => Jv::from(text.as_str()),
        Value::Array(items) => items.iter().map(from_json).collect(),
        Value::Object(fields) => Jv::from_pairs(
            fields
                .iter()
                .map(|(key, field)| (key.as_str(), from_json(field))),
        ),
    }
}

/// The JSON of a result; integers stay integers, and what JSON cannot hold is refused.
fn to_json(value: &Jv, depth: usize) -> Result<Value, String> {
    if depth > DEPTH_MAX {
        return Err("the result is nested too deeply".to_owned());
    }
    match value.kind() {
        ValueKind::None => Ok(Value::Null),
        ValueKind::Bool => Ok(Value::Bool(value.is_true())),
        ValueKind::Number => number(value),
        ValueKind::String => Ok(value.as_str().unwrap_or_default().into()),
        ValueKind::Seq | ValueKind::Iterable => value
            .try_iter()
            .map_err(|error| error.to_string())?
            .map(|item| to_json(&item, depth + 1))
            .collect(),
        ValueKind::Map => {
            let mut map = Map::new();
            for key in value.try_iter().map_err(|error| error.to_string())? {
                let item = value.get_item(&key).map_err(|error| error.to_string())?;
                map.insert(key.to_string(), to_json(&item, depth + 1)?);
            }
            Ok(Value::Object(map))
        }
        ValueKind::Undefined => Err("a value is not there; `| default(…)` allows that".to_owned()),
        kind => Err(format!("the result is {kind}, which is not JSON")),
    }
}

fn number(value: &Jv) -> Result<Value, String> {
    if value.is_integer() {
        return i64::try_from(value.clone())
            .map(Number::from)
            .or_else(|_| u64::try_from(value.clone()).map(Number::from))
            .map(Value::Number)
            .map_err(|_| "the result is a whole number of more than 64 bits".to_owned());
    }
    f64::try_from(value.clone())
        .ok()
        .and_then(Number::from_f64)
        .map(Value::Number)
        .ok_or_else(|| "the result is not a finite number".to_owned())
}

/// Roughly the bytes of a value's JSON text.
pub(super) fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(|item| weight(item) + 1).sum::<usize>() + 2,
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(key, field)| key.len() + 4 + weight(field));
            fields.sum::<usize>() + 2
        }
    }
}
