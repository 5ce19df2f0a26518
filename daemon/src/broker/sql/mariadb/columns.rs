//! MariaDB's rows as a guest's values, from the binary form.
//!
//! The protocol sends a row whole, and sqlx takes it whole; no value is longer than the server's
//! `max_allowed_packet` (16 MiB unless it was changed). So a result may have only so many columns that
//! can be that long, and that bounds a row in memory.

use sqlx::decode::Decode;
use sqlx::mysql::{MySql, MySqlRow, MySqlTypeInfo, MySqlValueRef};
use sqlx::types::Type;
use sqlx::{Row as _, TypeInfo as _};

use crate::broker::error::Refusal;
use crate::broker::sql::Value;

/// Bytes that the long columns of one row may come to: eight at the server's default.
const ROW_BYTES_MAX: u64 = 128 * 1024 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Boolean,
    Signed,
    Unsigned,
    Bit,
    Float,
    Double,
    Decimal,
    Date,
    Time,
    Datetime,
    /// An instant: the session's zone is UTC.
    Timestamp,
    Text,
    Blob,
}

/// The columns of one result.
#[derive(Debug)]
pub(super) struct Shape(Vec<Kind>);

impl Shape {
    /// Errors: no columns, or too many that can be long.
    pub(super) fn new(columns: &[(String, MySqlTypeInfo)], packet: u64) -> Result<Self, Refusal> {
        if columns.is_empty() {
            let message = "the statement answers no columns";
            return Err(Refusal::permanent("sql.invalid", message));
        }
        let long = columns.iter().filter(|(_, known)| is_long(known)).count();
        let most = (ROW_BYTES_MAX / packet.max(1)).max(1);
        if long as u64 > most {
            let message = format!(
                "the result has {long} columns that can be long (mediumtext, longtext, json and the like), and \
                 the server may send at most {most} of them in a row; name the columns that are needed"
            );
            return Err(Refusal::permanent("limit.sql-bytes", message));
        }
        Ok(Self(columns.iter().map(|(_, known)| kind(known)).collect()))
    }

    /// A row's values. Errors: a row that is not what the server said it would be.
    pub(super) fn values(&self, row: &MySqlRow) -> Result<Vec<Value>, Refusal> {
        let one = |(position, kind): (usize, &Kind)| {
            let raw = row.try_get_raw(position).ok()?;
            value(*kind, raw)
        };
        let values: Option<Vec<Value>> = self.0.iter().enumerate().map(one).collect();
        values.ok_or_else(|| {
            Refusal::permanent(
                "sql.invalid",
                "the server answered a value in a form that is not known here",
            )
        })
    }
}

/// The type's name, lower case. sqlx tells text from bytes by a mark that texts of a binary collation
/// (JSON is one) have too.
pub(super) fn shown(known: &MySqlTypeInfo) -> String {
    let name = known.name();
    if !is_text(known) {
        return name.to_lowercase();
    }
    match name {
        "BINARY" => "char".to_owned(),
        "VARBINARY" => "varchar".to_owned(),
        _ => name.to_lowercase().replace("blob", "text"),
    }
}

fn is_text(known: &MySqlTypeInfo) -> bool {
    <str as Type<MySql>>::compatible(known)
}

fn is_long(known: &MySqlTypeInfo) -> bool {
    matches!(
        known.name(),
        "MEDIUMBLOB" | "MEDIUMTEXT" | "LONGBLOB" | "LONGTEXT" | "GEOMETRY" | "JSON"
    )
}

fn kind(known: &MySqlTypeInfo) -> Kind {
    match known.name() {
        "BOOLEAN" => Kind::Boolean,
        "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" => Kind::Signed,
        "TINYINT UNSIGNED" | "SMALLINT UNSIGNED" | "MEDIUMINT UNSIGNED" | "INT UNSIGNED"
        | "BIGINT UNSIGNED" | "YEAR" => Kind::Unsigned,
        "BIT" => Kind::Bit,
        "FLOAT" => Kind::Float,
        "DOUBLE" => Kind::Double,
        "DECIMAL" => Kind::Decimal,
        "DATE" => Kind::Date,
        "TIME" => Kind::Time,
        "DATETIME" => Kind::Datetime,
        "TIMESTAMP" => Kind::Timestamp,
        "ENUM" | "SET" | "NULL" => Kind::Text,
        _ if is_text(known) => Kind::Text,
        _ => Kind::Blob,
    }
}

/// None: not the form of this kind.
fn value(kind: Kind, raw: MySqlValueRef<'_>) -> Option<Value> {
    // The only error is that there is none; a zero date, which sqlx calls null, is here.
    let Ok(bytes) = <&[u8] as Decode<MySql>>::decode(raw) else {
        return Some(Value::Null);
    };
    Some(match kind {
        Kind::Boolean => match bytes {
            [0] => Value::Boolean(false),
            [1] => Value::Boolean(true),
            // A `tinyint(1)` is a number that is shown in one place.
            [other] => Value::Int64(i64::from(other.cast_signed())),
            _ => return None,
        },
        Kind::Signed => Value::Int64(signed(bytes)?),
        Kind::Unsigned => large(unsigned(bytes.iter().rev())?),
        Kind::Bit => large(unsigned(bytes.iter())?),
        Kind::Float => Value::Float64(f32::from_le_bytes(bytes.try_into().ok()?).into()),
        Kind::Double => Value::Float64(f64::from_le_bytes(bytes.try_into().ok()?)),
        Kind::Decimal => Value::Decimal(text(bytes)?),
        Kind::Date => date(bytes)?,
        Kind::Datetime => datetime(bytes, "datetime", "")?,
        Kind::Timestamp => datetime(bytes, "timestamp", "Z")?,
        Kind::Time => time(bytes)?,
        Kind::Text => Value::Text(text(bytes)?),
        Kind::Blob => Value::Blob(bytes.to_vec()),
    })
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

fn signed(bytes: &[u8]) -> Option<i64> {
    let negative = bytes.last()? & 0x80 != 0;
    let mut whole = [if negative { 0xFF } else { 0 }; 8];
    whole.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i64::from_le_bytes(whole))
}

/// Most significant byte first.
fn unsigned<'a>(bytes: impl ExactSizeIterator<Item = &'a u8>) -> Option<u64> {
    (bytes.len() <= 8).then(|| bytes.fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// What does not fit a signed number is an exact decimal.
fn large(number: u64) -> Value {
    i64::try_from(number).map_or_else(|_| Value::Decimal(number.to_string()), Value::Int64)
}

/// Year, month and day; a length, then what is not zero.
fn day(bytes: &[u8]) -> Option<(u16, u8, u8)> {
    Some(match bytes {
        [0] => (0, 0, 0),
        [_, low, high, month, day, ..] => (u16::from_le_bytes([*low, *high]), *month, *day),
        _ => return None,
    })
}

fn date(bytes: &[u8]) -> Option<Value> {
    let (year, month, day) = day(bytes)?;
    let text = format!("{year:04}-{month:02}-{day:02}");
    Some(real(text, (year, month, day), "date"))
}

fn datetime(bytes: &[u8], name: &str, zone: &str) -> Option<Value> {
    let (year, month, day) = day(bytes)?;
    let (hour, minute, second) = match bytes {
        [_, _, _, _, _, hour, minute, second, ..] => (*hour, *minute, *second),
        _ => (0, 0, 0),
    };
    let fraction = fraction(bytes.get(8..).unwrap_or_default())?;
    let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}");
    Some(match real(text, (year, month, day), name) {
        Value::Timestamp(text) => Value::Timestamp(format!("{text}{zone}")),
        other => other,
    })
}

/// A zero date, or one with a zero in it, is no time: it stays what MariaDB writes.
fn real(text: String, (year, month, day): (u16, u8, u8), name: &str) -> Value {
    if year == 0 || month == 0 || day == 0 {
        Value::Other((name.to_owned(), text.replace('T', " ")))
    } else {
        Value::Timestamp(text)
    }
}

/// A sign, days, hours, minutes, seconds: a length of time. Within a day it is a time of day too.
fn time(bytes: &[u8]) -> Option<Value> {
    let (negative, days, hour, minute, second) = match bytes {
        [0] => (false, 0, 0, 0, 0),
        [_, sign, a, b, c, d, hour, minute, second, ..] => (
            *sign != 0,
            u32::from_le_bytes([*a, *b, *c, *d]),
            *hour,
            *minute,
            *second,
        ),
        _ => return None,
    };
    let fraction = fraction(bytes.get(9..).unwrap_or_default())?;
    let hours = u64::from(days) * 24 + u64::from(hour);
    let text = format!("{hours:02}:{minute:02}:{second:02}{fraction}");
    Some(match (negative, days) {
        (false, 0) => Value::Timestamp(text),
        (true, _) => Value::Other(("time".to_owned(), format!("-{text}"))),
        (false, _) => Value::Other(("time".to_owned(), text)),
    })
}

fn fraction(bytes: &[u8]) -> Option<String> {
    if bytes.is_empty() {
        return Some(String::new());
    }
    let micros = u32::from_le_bytes(bytes.try_into().ok()?);
    if micros == 0 {
        return Some(String::new());
    }
    let digits = format!("{micros:06}");
    Some(format!(".{}", digits.trim_end_matches('0')))
}
