//! Expressions (`{{ }}`) and the templates that hold them: compiled once, evaluated in the host.
//!
//! Which names may be used where is checked by the compiler; this file evaluates.

use std::sync::Arc;

use serde_json::Value;

use super::model::TaskIndex;

/// One compiled expression.
#[derive(Debug, Clone)]
pub struct Expression(Arc<str>);

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

impl Expression {
    /// Evaluates it with bounded work.
    pub fn evaluate(&self, _scope: &Scope<'_>) -> Result<Value, EvaluationError> {
        Err(EvaluationError::Invalid(self.0.to_string()))
    }
}

impl Template {
    /// Fills it in.
    pub fn fill(&self, _scope: &Scope<'_>) -> Result<Value, EvaluationError> {
        Err(EvaluationError::Invalid(String::new()))
    }
}
