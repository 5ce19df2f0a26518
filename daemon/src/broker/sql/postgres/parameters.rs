//! A guest's values as PostgreSQL's parameters.
//!
//! The server says which type each parameter has. Where a value has the same binary form it travels as
//! it is; everything else travels as text, and the statement casts it: PostgreSQL's own reading of a
//! `numeric`, an `interval` or an enum is the exact one. Nothing of a value is ever in the statement.

use std::borrow::Cow;

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::tokenizer::{Token, Tokenizer};
use sqlx::Arguments as _;
use sqlx::postgres::PgArguments;

use crate::broker::error::Refusal;
use crate::broker::sql::Value;
use crate::broker::sql::server::mismatch;

/// PostgreSQL's own types by their numbers, which never change, with names that a cast can use.
const NAMES: &[(u32, &str)] = &[
    (16, "boolean"),
    (17, "bytea"),
    (18, "\"char\""),
    (19, "name"),
    (20, "bigint"),
    (21, "smallint"),
    (23, "integer"),
    (25, "text"),
    (26, "oid"),
    (114, "json"),
    (700, "real"),
    (701, "double precision"),
    (1042, "bpchar"),
    (1043, "varchar"),
    (1082, "date"),
    (1083, "time"),
    (1114, "timestamp"),
    (1184, "timestamptz"),
    (1186, "interval"),
    (1700, "numeric"),
    (2950, "uuid"),
    (3802, "jsonb"),
];
const BYTEA: u32 = 17;
const TIMESTAMP: u32 = 1114;

/// How one parameter travels.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    Bool,
    Int2,
    Int4,
    Int8,
    Float8,
    Text,
    Bytea,
    /// As text, cast to the type with this number and name.
    Cast(u32, String),
}

/// How the parameters of one statement travel, the same for all lists of a batch.
#[derive(Debug)]
pub(super) struct Plan(Vec<Way>);

impl Plan {
    /// Errors: a value that its type cannot take.
    pub(super) fn new(types: &[u32], batch: &[&[Value]]) -> Result<Self, Refusal> {
        let mut ways = Vec::with_capacity(types.len());
        for (position, oid) in types.iter().enumerate() {
            let values = || batch.iter().filter_map(|list| list.get(position));
            let natural = natural(*oid);
            let way = match natural {
                Some((way, fits))
                    if values().all(|value| matches!(value, Value::Null) || fits(value)) =>
                {
                    way
                }
                _ => Way::Cast(*oid, named(*oid).to_owned()),
            };
            for value in values() {
                // A blob is bytes and bytes only; text that stands for bytes would be read with escapes.
                let fits = match value {
                    Value::Null => true,
                    Value::Blob(_) => way == Way::Bytea,
                    _ => *oid != BYTEA,
                };
                if !fits {
                    return Err(mismatch(position + 1, shown(*oid), kind(value)));
                }
            }
            ways.push(way);
        }
        Ok(Self(ways))
    }

    /// Types whose names must be asked for.
    pub(super) fn unnamed(&self) -> Vec<u32> {
        let unnamed = |way: &Way| match way {
            Way::Cast(oid, name) if name.is_empty() => Some(*oid),
            _ => None,
        };
        let mut oids: Vec<u32> = self.0.iter().filter_map(unnamed).collect();
        oids.sort_unstable();
        oids.dedup();
        oids
    }

    /// Tells a type's name as SQL writes it.
    pub(super) fn name(&mut self, oid: u32, name: &str) {
        for way in &mut self.0 {
            if let Way::Cast(asked, known) = way
                && *asked == oid
            {
                name.clone_into(known);
            }
        }
    }

    /// The statement with the casts in it.
    pub(super) fn text<'a>(&self, statement: &'a str) -> Result<Cow<'a, str>, Refusal> {
        if !self.0.iter().any(|way| matches!(way, Way::Cast(..))) {
            return Ok(Cow::Borrowed(statement));
        }
        let unclear =
            || Refusal::permanent("sql.invalid", "the statement's parameters cannot be found");
        let tokens = Tokenizer::new(&PostgreSqlDialect {}, statement)
            .with_unescape(false)
            .tokenize_with_location()
            .map_err(|_| unclear())?;
        let mut lines = vec![0];
        lines.extend(statement.match_indices('\n').map(|(at, _)| at + 1));
        let (mut text, mut done) = (String::with_capacity(statement.len() * 2), 0);
        for token in tokens {
            let Token::Placeholder(name) = &token.token else {
                continue;
            };
            let number: Option<usize> = name.strip_prefix('$').and_then(|n| n.parse().ok());
            let way = number.and_then(|n| self.0.get(n.checked_sub(1)?));
            let at = offset(statement, &lines, token.span.start).ok_or_else(unclear)?;
            // A statement in which the parser and we see different places is not run.
            let here = statement.get(at..at + name.len());
            let (Some(way), Some(before)) = (way, statement.get(done..at)) else {
                return Err(unclear());
            };
            if here != Some(name.as_str()) {
                return Err(unclear());
            }
            text.push_str(before);
            text.push_str(&way.cast(name));
            done = at + name.len();
        }
        text.push_str(statement.get(done..).unwrap_or_default());
        Ok(Cow::Owned(text))
    }

    /// One list of values, encoded.
    pub(super) fn arguments(&self, values: &[Value]) -> Result<PgArguments, Refusal> {
        let mut arguments = PgArguments::default();
        for (way, value) in self.0.iter().zip(values) {
            way.add(&mut arguments, value).map_err(|error| {
                Refusal::permanent(
                    "sql.invalid",
                    format!("a parameter cannot be sent: {error}"),
                )
            })?;
        }
        Ok(arguments)
    }
}

impl Way {
    fn cast(&self, placeholder: &str) -> String {
        match self {
            // PostgreSQL drops the offset of a text that becomes a `timestamp`; through an instant it
            // counts, and without one the session's zone, UTC, changes nothing.
            Self::Cast(TIMESTAMP, _) => {
                format!("cast(cast({placeholder} as timestamptz) as timestamp)")
            }
            Self::Cast(_, name) => format!("cast({placeholder} as {name})"),
            _ => placeholder.to_owned(),
        }
    }

    fn add(
        &self,
        arguments: &mut PgArguments,
        value: &Value,
    ) -> Result<(), sqlx::error::BoxDynError> {
        match (self, value) {
            (Self::Bool, Value::Boolean(value)) => arguments.add(*value),
            (Self::Bool, _) => arguments.add(None::<bool>),
            (Self::Int2, Value::Int64(value)) => arguments.add(i16::try_from(*value)?),
            (Self::Int2, _) => arguments.add(None::<i16>),
            (Self::Int4, Value::Int64(value)) => arguments.add(i32::try_from(*value)?),
            (Self::Int4, _) => arguments.add(None::<i32>),
            (Self::Int8, Value::Int64(value)) => arguments.add(*value),
            (Self::Int8, _) => arguments.add(None::<i64>),
            (Self::Float8, Value::Float64(value)) => arguments.add(*value),
            (Self::Float8, _) => arguments.add(None::<f64>),
            (Self::Bytea, Value::Blob(bytes)) => arguments.add(bytes.as_slice()),
            (Self::Bytea, _) => arguments.add(None::<Vec<u8>>),
            (Self::Text | Self::Cast(..), value) => arguments.add(written(value)),
        }
    }
}

type Fits = fn(&Value) -> bool;

/// The way of a type that has a value's own binary form, and whether a value has it.
fn natural(oid: u32) -> Option<(Way, Fits)> {
    Some(match oid {
        16 => (Way::Bool, |value| matches!(value, Value::Boolean(_))),
        21 => (
            Way::Int2,
            |value| matches!(value, Value::Int64(n) if i16::try_from(*n).is_ok()),
        ),
        23 => (
            Way::Int4,
            |value| matches!(value, Value::Int64(n) if i32::try_from(*n).is_ok()),
        ),
        20 => (Way::Int8, |value| matches!(value, Value::Int64(_))),
        701 => (Way::Float8, |value| matches!(value, Value::Float64(_))),
        25 | 1043 => (Way::Text, |value| !matches!(value, Value::Blob(_))),
        BYTEA => (Way::Bytea, |value| matches!(value, Value::Blob(_))),
        _ => return None,
    })
}

fn named(oid: u32) -> &'static str {
    NAMES
        .iter()
        .find(|(known, _)| *known == oid)
        .map_or("", |(_, name)| name)
}

fn shown(oid: u32) -> &'static str {
    match named(oid) {
        "" => "another kind",
        name => name,
    }
}

/// A value as PostgreSQL reads it.
fn written(value: &Value) -> Option<Cow<'_, str>> {
    Some(match value {
        Value::Null | Value::Blob(_) => return None,
        Value::Boolean(value) => value.to_string().into(),
        Value::Int64(value) => value.to_string().into(),
        Value::Float64(value) if value.is_nan() => "NaN".into(),
        Value::Float64(value) if value.is_infinite() => if *value > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        }
        .into(),
        // The shortest text that is this number and no other.
        Value::Float64(value) => format!("{value:?}").into(),
        Value::Text(text)
        | Value::Decimal(text)
        | Value::Timestamp(text)
        | Value::Json(text)
        | Value::Uuid(text)
        | Value::Other((_, text)) => text.as_str().into(),
    })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Boolean(_) => "boolean",
        Value::Int64(_) => "int64",
        Value::Float64(_) => "float64",
        Value::Text(_) => "text",
        Value::Blob(_) => "blob",
        Value::Decimal(_) => "decimal",
        Value::Timestamp(_) => "timestamp",
        Value::Json(_) => "json",
        Value::Uuid(_) => "uuid",
        Value::Other(_) => "other",
    }
}

/// Where a place of the parser's, line and column from 1, is in the text.
fn offset(
    statement: &str,
    lines: &[usize],
    place: sqlparser::tokenizer::Location,
) -> Option<usize> {
    let line = usize::try_from(place.line).ok()?.checked_sub(1)?;
    let column = usize::try_from(place.column).ok()?.checked_sub(1)?;
    let start = *lines.get(line)?;
    let within = statement.get(start..)?;
    let (at, _) = within.char_indices().nth(column)?;
    Some(start + at)
}
