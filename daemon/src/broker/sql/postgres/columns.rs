//! PostgreSQL's rows as a guest's values.
//!
//! sqlx asks for the binary form, which is exact; a type whose binary form is not known here is made
//! text by the server. A row is refused by its size before it is sent: the protocol sends rows whole,
//! and nothing on this side could stop one of a gigabyte.

use std::fmt::Write as _;

use sqlx::postgres::{PgRow, PgTypeInfo};
use sqlx::{Row as _, TypeInfo as _, ValueRef as _};

use super::{numeric, time};
use crate::broker::error::Refusal;
use crate::broker::sql::Value;

/// Bytes of the texts and blobs of one row: the most that SQLite and MariaDB take for a value by default,
/// and then some.
const ROW_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Before a query whose rows are fetched a few at a time.
const DECLARE: &str = "declare flowweaver_rows no scroll cursor without hold for ";

/// What stands around a guest's statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame {
    /// A cursor over it.
    Cursor,
    /// A query of what it returns.
    Change,
    /// Nothing: it changes rows in a `with` of its own, which must be the outermost.
    Bare,
}

/// How a column travels and what it becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    Numeric,
    Text,
    Bytea,
    Timestamp,
    TimestampTz,
    Date,
    Time,
    Uuid,
    Json,
    /// JSON with a leading version.
    Jsonb,
    /// As text, under this name.
    Other(String),
}

impl Kind {
    fn of(known: &PgTypeInfo) -> Self {
        match known.oid().map_or(0, |oid| oid.0) {
            16 => Self::Bool,
            17 => Self::Bytea,
            20 => Self::Int8,
            21 => Self::Int2,
            23 => Self::Int4,
            26 => Self::Oid,
            // text, name, bpchar, varchar
            25 | 19 | 1042 | 1043 => Self::Text,
            114 => Self::Json,
            700 => Self::Float4,
            701 => Self::Float8,
            1082 => Self::Date,
            1083 => Self::Time,
            1114 => Self::Timestamp,
            1184 => Self::TimestampTz,
            1700 => Self::Numeric,
            2950 => Self::Uuid,
            3802 => Self::Jsonb,
            _ => Self::Other(known.name().to_lowercase()),
        }
    }

    /// Whether the server makes text of it.
    fn is_cast(&self) -> bool {
        matches!(self, Self::Json | Self::Jsonb | Self::Other(_))
    }

    /// Whether one value can be large.
    fn is_long(&self) -> bool {
        self.is_cast() || matches!(self, Self::Text | Self::Bytea)
    }
}

/// The columns of one result.
#[derive(Debug)]
pub(super) struct Shape {
    kinds: Vec<Kind>,
    /// Whether a column with the row's size follows.
    sized: bool,
    row_bytes: u64,
    framed: bool,
}

impl Shape {
    /// Errors: a statement without columns, or one with columns that it cannot answer.
    pub(super) fn new(
        columns: &[(String, PgTypeInfo)],
        frame: Frame,
        bytes_max: u64,
    ) -> Result<Self, Refusal> {
        if columns.is_empty() {
            let message = "the statement answers no columns";
            return Err(Refusal::permanent("sql.invalid", message));
        }
        let kinds: Vec<Kind> = columns.iter().map(|(_, known)| Kind::of(known)).collect();
        let framed = frame != Frame::Bare;
        for (kind, (name, _)) in kinds.iter().zip(columns) {
            if let (Kind::Other(known), false) = (kind, framed) {
                let message = format!(
                    "the column `{name}` is of type {known}, which a change inside of WITH cannot return; \
                     write cast(… as text)"
                );
                return Err(Refusal::permanent("sql.invalid", message));
            }
        }
        Ok(Self {
            sized: framed && kinds.iter().any(Kind::is_long),
            kinds,
            row_bytes: ROW_BYTES_MAX.min(bytes_max),
            framed,
        })
    }

    /// The statement within its frame. `offset 0` keeps what is inside from being computed twice.
    pub(super) fn wrapped(&self, text: &str, frame: Frame) -> String {
        match frame {
            Frame::Bare => return text.to_owned(),
            // Nothing in it can be large.
            Frame::Change if !self.sized => return text.to_owned(),
            Frame::Cursor if !self.sized => return format!("{DECLARE}{text}"),
            Frame::Cursor | Frame::Change => {}
        }
        let names: Vec<String> = (1..=self.kinds.len()).map(|n| format!("c{n}")).collect();
        let (mut inner, mut outer, mut size) = (String::new(), String::new(), String::from("0"));
        for (kind, name) in self.kinds.iter().zip(&names) {
            let comma = if inner.is_empty() { "" } else { ", " };
            let _ = match kind.is_cast() {
                true => write!(inner, "{comma}cast(x.{name} as text) as {name}"),
                false => write!(inner, "{comma}x.{name}"),
            };
            let _ = match kind.is_long() {
                true => write!(
                    outer,
                    "{comma}case when s.size <= {} then s.{name} end as {name}",
                    self.row_bytes
                ),
                false => write!(outer, "{comma}s.{name}"),
            };
            if kind.is_long() {
                let _ = write!(size, " + coalesce(octet_length(r.{name})::int8, 0)");
            }
        }
        let names = names.join(", ");
        let (source, before) = match frame {
            Frame::Cursor => (format!("({text}) as x({names})"), DECLARE.to_owned()),
            _ => ("x".to_owned(), format!("with x({names}) as ({text}) ")),
        };
        format!(
            "{before}select {outer}, s.size from (select r.*, {size} as size \
             from (select {inner} from {source} offset 0) as r offset 0) as s"
        )
    }

    /// A row's values. Errors: a row that is too large, or that is not what the server said it would be.
    pub(super) fn values(&self, row: &PgRow) -> Result<Vec<Value>, Refusal> {
        if self.sized {
            let size: i64 = row.try_get(self.kinds.len()).map_err(|_| unreadable())?;
            if u64::try_from(size).map_or(true, |size| size > self.row_bytes) {
                return Err(Refusal::permanent(
                    "limit.sql-bytes",
                    format!(
                        "a row has at most {} bytes, and this one has {size}",
                        self.row_bytes
                    ),
                ));
            }
        }
        let mut values = Vec::with_capacity(self.kinds.len());
        for (position, kind) in self.kinds.iter().enumerate() {
            let raw = row.try_get_raw(position).map_err(|_| unreadable())?;
            let value = if raw.is_null() {
                Some(Value::Null)
            } else {
                raw.as_bytes()
                    .ok()
                    .and_then(|bytes| self.value(kind, bytes))
            };
            values.push(value.ok_or_else(unreadable)?);
        }
        Ok(values)
    }

    fn value(&self, kind: &Kind, bytes: &[u8]) -> Option<Value> {
        let text = || String::from_utf8(bytes.to_vec()).ok();
        let int8 = || Some(i64::from_be_bytes(bytes.try_into().ok()?));
        let int4 = || Some(i32::from_be_bytes(bytes.try_into().ok()?));
        Some(match kind {
            Kind::Bool => Value::Boolean(bytes != [0]),
            Kind::Int2 => Value::Int64(i16::from_be_bytes(bytes.try_into().ok()?).into()),
            Kind::Int4 => Value::Int64(int4()?.into()),
            Kind::Int8 => Value::Int64(int8()?),
            Kind::Oid => Value::Int64(u32::from_be_bytes(bytes.try_into().ok()?).into()),
            Kind::Float4 => Value::Float64(f32::from_be_bytes(bytes.try_into().ok()?).into()),
            Kind::Float8 => Value::Float64(f64::from_be_bytes(bytes.try_into().ok()?)),
            Kind::Numeric => Value::Decimal(numeric::text(bytes)?),
            Kind::Text => Value::Text(text()?),
            Kind::Bytea => Value::Blob(bytes.to_vec()),
            Kind::Timestamp => time::timestamp(int8()?, false),
            Kind::TimestampTz => time::timestamp(int8()?, true),
            Kind::Date => time::date(int4()?),
            Kind::Time => time::time(int8()?),
            Kind::Uuid => Value::Uuid(uuid(bytes)?),
            Kind::Json => Value::Json(text()?),
            Kind::Jsonb if self.framed => Value::Json(text()?),
            Kind::Jsonb => Value::Json(String::from_utf8(bytes.get(1..)?.to_vec()).ok()?),
            Kind::Other(name) => Value::Other((name.clone(), text()?)),
        })
    }
}

fn uuid(bytes: &[u8]) -> Option<String> {
    let digits = hex::encode(<[u8; 16]>::try_from(bytes).ok()?);
    let part = |from: usize, to: usize| digits.get(from..to);
    Some(format!(
        "{}-{}-{}-{}-{}",
        part(0, 8)?,
        part(8, 12)?,
        part(12, 16)?,
        part(16, 20)?,
        part(20, 32)?
    ))
}

fn unreadable() -> Refusal {
    Refusal::permanent(
        "sql.invalid",
        "the server answered a value in a form that is not known here",
    )
}
