//! Values on their way into SQLite and out of it.
//!
//! SQLite has five kinds of its own; the others are text, which comes back as what its column was
//! declared. A column declared `decimal` or `numeric` makes floats of numbers that fit none: one that
//! must keep every digit is declared `decimal text`.

use rusqlite::Statement;
use rusqlite::types::{ToSqlOutput, ValueRef};

use super::super::Value;
use super::super::session::sized;
use super::watch::Watch;
use crate::broker::error::Refusal;

/// Binds as many values as the statement has parameters, in order.
pub(super) fn bind(
    statement: &mut Statement<'_>,
    parameters: &[Value],
    watch: &Watch,
) -> Result<(), Refusal> {
    let wanted = statement.parameter_count();
    if wanted != parameters.len() {
        let message = format!(
            "the statement has {wanted} parameters, not {}",
            parameters.len()
        );
        return Err(Refusal::permanent("sql.invalid", message));
    }
    for (index, value) in parameters.iter().enumerate() {
        let bound = match value {
            Value::Null => ValueRef::Null,
            Value::Boolean(value) => ValueRef::Integer((*value).into()),
            Value::Int64(value) => ValueRef::Integer(*value),
            // SQLite would store NULL, and nobody would know.
            Value::Float64(value) if value.is_nan() => {
                let message = format!("parameter {} is NaN, which SQLite cannot store", index + 1);
                return Err(Refusal::permanent("sql.invalid", message));
            }
            Value::Float64(value) => ValueRef::Real(*value),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
            Value::Text(text)
            | Value::Decimal(text)
            | Value::Timestamp(text)
            | Value::Json(text)
            | Value::Uuid(text)
            | Value::Other((_, text)) => ValueRef::Text(text.as_bytes()),
        };
        statement
            .raw_bind_parameter(index + 1, ToSqlOutput::Borrowed(bound))
            .map_err(|error| watch.refusal(&error))?;
    }
    Ok(())
}

/// What a column was declared as, where that says more than how SQLite stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    Decimal,
    Json,
    Uuid,
    Timestamp,
    AsStored,
}

impl Kind {
    pub(super) fn of(declared: Option<&str>) -> Self {
        let name = declared.unwrap_or_default().to_ascii_lowercase();
        match name.split(['(', ' ']).next().unwrap_or_default() {
            "bool" | "boolean" => Self::Boolean,
            "decimal" | "numeric" => Self::Decimal,
            "json" => Self::Json,
            "uuid" => Self::Uuid,
            "date" | "datetime" | "time" | "timestamp" | "timestamptz" => Self::Timestamp,
            _ => Self::AsStored,
        }
    }

    pub(super) fn value(self, stored: ValueRef<'_>) -> Value {
        match (stored, self) {
            (ValueRef::Null, _) => Value::Null,
            (ValueRef::Integer(value @ (0 | 1)), Self::Boolean) => Value::Boolean(value == 1),
            // A column declared `json` stores a number as a number.
            (ValueRef::Integer(value), Self::Json) => Value::Json(value.to_string()),
            (ValueRef::Integer(value), _) => Value::Int64(value),
            (ValueRef::Real(value), _) => Value::Float64(value),
            (ValueRef::Blob(bytes), _) => Value::Blob(bytes.to_vec()),
            (ValueRef::Text(bytes), kind) => match (String::from_utf8(bytes.to_vec()), kind) {
                // SQLite does not check; the guest's strings must be UTF-8.
                (Err(error), _) => Value::Blob(error.into_bytes()),
                (Ok(text), Self::Decimal) => Value::Decimal(text),
                (Ok(text), Self::Json) => Value::Json(text),
                (Ok(text), Self::Uuid) => Value::Uuid(text.to_ascii_lowercase()),
                // SQLite's functions write a space where RFC 3339 has a T.
                (Ok(text), Self::Timestamp) => Value::Timestamp(text.replacen(' ', "T", 1)),
                (Ok(text), Self::Boolean | Self::AsStored) => Value::Text(text),
            },
        }
    }
}

/// What a stored value counts against the limits.
pub(super) fn size_of(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => sized(0),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => sized(bytes.len()),
    }
}
