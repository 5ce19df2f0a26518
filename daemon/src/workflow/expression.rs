//! Expressions (`{{ }}`) and the templates that hold them: compiled once, evaluated in the host.
//!
//! Which names may be used where is checked by the compiler (`template`, `wiring`); this file
//! evaluates. What an expression gives is data: it is never evaluated again.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::jinja::{self, Jinja};
use super::model::TaskIndex;
use super::scan::Segment;

/// One compiled expression.
#[derive(Clone)]
pub struct Expression(Arc<Compiled>);

struct Compiled {
    /// Its text, without the braces.
    source: String,
    kind: Kind,
    /// The tasks it names.
    tasks: Vec<(String, TaskIndex)>,
}

enum Kind {
    /// A pure path, walked directly: it keeps every JSON type as it is.
    Path(Root, Vec<Segment>),
    /// Anything else.
    Jinja(Jinja),
}

/// Where a path begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    Inputs,
    Tasks,
    Run,
    Vars,
    Item,
    Index,
}

impl Root {
    pub(super) const ALL: [(&'static str, Self); 6] = [
        ("inputs", Self::Inputs),
        ("tasks", Self::Tasks),
        ("run", Self::Run),
        ("vars", Self::Vars),
        ("item", Self::Item),
        ("index", Self::Index),
    ];

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(text, _)| *text == name)
            .map(|(_, root)| *root)
    }
}

/// A JSON value with expressions in it.
#[derive(Debug, Clone)]
pub enum Template {
    /// As it stands.
    Literal(Value),
    /// A string that is exactly one `{{ }}`: keeps the JSON type.
    Expression(Expression),
    /// Text around expressions.
    Text(Vec<TextPiece>),
    /// An array.
    Array(Vec<Template>),
    /// An object, in file order.
    Object(Vec<(String, Template)>),
}

/// A piece of text in a template.
#[derive(Debug, Clone)]
pub enum TextPiece {
    /// As written.
    Text(String),
    /// An expression, shown as text.
    Expression(Expression),
}

/// What an expression can see.
pub struct Scope<'a> {
    /// The run's inputs: an object.
    pub inputs: &'a Value,
    /// The run: id, number, workflow, trigger, scheduled_at, trace_id.
    pub run: &'a Value,
    /// The workflow's vars: an object.
    pub vars: &'a Value,
    /// The outputs of tasks; none when a task has none.
    pub outputs: &'a dyn Outputs,
    /// The current item and its position, inside `for_each`.
    pub item: Option<(&'a Value, u32)>,
}

/// The outputs that expressions read.
pub trait Outputs {
    /// The output of a task: of a `for_each` task the array of its items' outputs.
    fn output(&self, task: TaskIndex) -> Option<Arc<Value>>;
}

/// Why an expression gave no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// It read the output of a task that has none (`input.missing`).
    #[error("task `{task}` has no output")]
    Missing {
        /// The task.
        task: String,
    },
    /// Anything else (`input.invalid`).
    #[error("{0}")]
    Invalid(String),
}

/// The JSON text of a filled template, roughly, in bytes: what the largest output allows twice
/// over. Beyond, an expression has copied something many times.
const FILLED_MAX: usize = 16 << 20;

impl Expression {
    /// Compiles a text without its braces. `tasks` are those it names; `guarded` are the places of
    /// those roots `tasks` whose value may be absent.
    pub(super) fn compile(
        source: &str,
        path: Option<(Root, Vec<Segment>)>,
        tasks: Vec<(String, TaskIndex)>,
        guarded: &[usize],
    ) -> Result<Self, String> {
        let kind = match path {
            Some((root, segments)) => Kind::Path(root, segments),
            None => {
                let mut text = source.to_owned();
                // From the back, so that the places before stay right.
                for at in guarded.iter().rev() {
                    text.replace_range(*at..at + "tasks".len(), jinja::GUARDED);
                }
                Kind::Jinja(Jinja::compile(&text)?)
            }
        };
        Ok(Self(Arc::new(Compiled {
            source: source.to_owned(),
            kind,
            tasks,
        })))
    }

    /// Its text, without the braces.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// The tasks it names.
    pub fn tasks(&self) -> impl Iterator<Item = TaskIndex> + '_ {
        self.0.tasks.iter().map(|(_, index)| *index)
    }

    /// Evaluates it with bounded work.
    pub fn evaluate(&self, scope: &Scope<'_>) -> Result<Value, EvaluationError> {
        match &self.0.kind {
            Kind::Path(root, segments) => self.walk(*root, segments, scope),
            Kind::Jinja(jinja) => jinja.evaluate(&self.0.tasks, scope),
        }
        .map_err(|error| match error {
            EvaluationError::Invalid(message) => {
                EvaluationError::Invalid(format!("{{{{ {} }}}}: {message}", self.0.source))
            }
            missing => missing,
        })
    }

    fn walk(
        &self,
        root: Root,
        segments: &[Segment],
        scope: &Scope<'_>,
    ) -> Result<Value, EvaluationError> {
        match root {
            Root::Inputs => follow(scope.inputs, segments),
            Root::Run => follow(scope.run, segments),
            Root::Vars => follow(scope.vars, segments),
            Root::Index => scope
                .item
                .map(|(_, index)| index.into())
                .ok_or_else(no_item),
            Root::Item => follow(scope.item.ok_or_else(no_item)?.0, segments),
            Root::Tasks => {
                let (name, index) = self.0.tasks.first().ok_or_else(|| {
                    EvaluationError::Invalid("`tasks` alone is no value".to_owned())
                })?;
                let output = scope
                    .outputs
                    .output(*index)
                    .ok_or_else(|| EvaluationError::Missing { task: name.clone() })?;
                // The first step is the task's name.
                follow(&output, segments.get(1..).unwrap_or_default())
            }
        }
    }
}

fn no_item() -> EvaluationError {
    EvaluationError::Invalid("there is no item outside `for_each`".to_owned())
}

fn follow(value: &Value, segments: &[Segment]) -> Result<Value, EvaluationError> {
    let mut at = value;
    for segment in segments {
        let next = match segment {
            Segment::Field(name) => at.get(name),
            Segment::Index(index) => at.get(index),
        };
        at = next.ok_or_else(|| {
            let kind = kind_of(at);
            EvaluationError::Invalid(match segment {
                Segment::Field(name) if at.is_object() => {
                    format!("there is no field `{name}`; `| default(…)` allows that")
                }
                Segment::Field(name) => format!("`{name}` cannot be read of {kind}"),
                Segment::Index(index) if at.is_array() => {
                    format!("there is no item [{index}]; `| default(…)` allows that")
                }
                Segment::Index(index) => format!("[{index}] cannot be read of {kind}"),
            })
        })?;
    }
    Ok(at.clone())
}

/// A value's type, with its article.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{{ {} }}}}", self.0.source)
    }
}

impl Template {
    /// Fills it in.
    pub fn fill(&self, scope: &Scope<'_>) -> Result<Value, EvaluationError> {
        let mut left = FILLED_MAX;
        self.fill_within(scope, &mut left)
    }

    fn fill_within(&self, scope: &Scope<'_>, left: &mut usize) -> Result<Value, EvaluationError> {
        let mut bounded = |value: Value| {
            *left = left.checked_sub(jinja::weight(&value)).ok_or_else(|| {
                EvaluationError::Invalid(format!(
                    "the filled-in value is larger than {} MiB",
                    FILLED_MAX >> 20
                ))
            })?;
            Ok(value)
        };
        match self {
            Self::Literal(value) => bounded(value.clone()),
            Self::Expression(expression) => bounded(expression.evaluate(scope)?),
            Self::Text(pieces) => {
                let mut text = String::new();
                for piece in pieces {
                    match piece {
                        TextPiece::Text(piece) => text.push_str(piece),
                        TextPiece::Expression(expression) => {
                            match bounded(expression.evaluate(scope)?)? {
                                Value::String(piece) => text.push_str(&piece),
                                other => text.push_str(&other.to_string()),
                            }
                        }
                    }
                }
                Ok(Value::String(text))
            }
            Self::Array(items) => items
                .iter()
                .map(|item| item.fill_within(scope, left))
                .collect(),
            Self::Object(fields) => {
                let mut object = Map::new();
                for (name, field) in fields {
                    object.insert(name.clone(), field.fill_within(scope, left)?);
                }
                Ok(Value::Object(object))
            }
        }
    }

    /// Its value when no expression is in it.
    pub fn literal(&self) -> Option<Value> {
        match self {
            Self::Literal(value) => Some(value.clone()),
            Self::Expression(_) | Self::Text(_) => None,
            Self::Array(items) => items.iter().map(Self::literal).collect(),
            Self::Object(fields) => fields
                .iter()
                .map(|(name, field)| Some((name.clone(), field.literal()?)))
                .collect::<Option<Map<_, _>>>()
                .map(Value::Object),
        }
    }

    /// Every expression in it.
    pub fn expressions(&self) -> Vec<&Expression> {
        match self {
            Self::Literal(_) => Vec::new(),
            Self::Expression(expression) => vec![expression],
            Self::Text(pieces) => pieces
                .iter()
                .filter_map(|piece| match piece {
                    TextPiece::Expression(expression) => Some(expression),
                    TextPiece::Text(_) => None,
                })
                .collect(),
            Self::Array(items) => items.iter().flat_map(Self::expressions).collect(),
            Self::Object(fields) => fields.iter().flat_map(|(_, f)| f.expressions()).collect(),
        }
    }
}
