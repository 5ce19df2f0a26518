//! A value in a row or a parameter, and the plain Rust types it is made from and read as.

use serde_json::Value as Json;

/// A value in a row or a parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// True or false.
    Boolean(bool),
    /// A 64-bit signed integer.
    Int64(i64),
    /// A 64-bit float.
    Float64(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
    /// An exact decimal number as text: `-12.340`.
    Decimal(String),
    /// A time as RFC 3339: with an offset for an instant, without for a local time; a date or a time of
    /// day stands alone.
    Timestamp(String),
    /// JSON text.
    Json(String),
    /// A UUID in its hyphenated, lower-case form.
    Uuid(String),
    /// Any other type.
    Other {
        /// The type's name in the database.
        type_name: String,
        /// The value's text form.
        text: String,
    },
}

impl Value {
    /// What the value is, with an article: for messages. It never shows the value itself.
    pub(super) fn kind(&self) -> String {
        let kind = match self {
            Value::Null => "NULL",
            Value::Boolean(_) => "a boolean",
            Value::Int64(_) => "an integer",
            Value::Float64(_) => "a float",
            Value::Text(_) => "text",
            Value::Blob(_) => "bytes",
            Value::Decimal(_) => "a decimal",
            Value::Timestamp(_) => "a time",
            Value::Json(_) => "JSON",
            Value::Uuid(_) => "a UUID",
            Value::Other { type_name, .. } => return format!("a value of type {type_name}"),
        };
        kind.to_owned()
    }

    /// The text of every kind that has one.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text)
            | Value::Decimal(text)
            | Value::Timestamp(text)
            | Value::Json(text)
            | Value::Uuid(text)
            | Value::Other { text, .. } => Some(text),
            Value::Null
            | Value::Boolean(_)
            | Value::Int64(_)
            | Value::Float64(_)
            | Value::Blob(_) => None,
        }
    }

    /// The value as JSON: exact kinds without a JSON form (decimals, times) become text, bytes a list of
    /// numbers, a float that is not finite null.
    pub fn to_json(&self) -> Json {
        match self {
            Value::Null => Json::Null,
            Value::Boolean(value) => Json::from(*value),
            Value::Int64(value) => Json::from(*value),
            Value::Float64(value) => Json::from(*value),
            Value::Blob(bytes) => Json::from(bytes.as_slice()),
            Value::Json(text) => {
                serde_json::from_str(text).unwrap_or_else(|_| Json::from(text.as_str()))
            }
            Value::Text(text)
            | Value::Decimal(text)
            | Value::Timestamp(text)
            | Value::Uuid(text) => Json::from(text.as_str()),
            Value::Other { text, .. } => Json::from(text.as_str()),
        }
    }
}

/// Each line: a Rust type, and the value it becomes.
macro_rules! from {
    ($($rust:ty => |$value:ident| $made:expr;)*) => {
        $(impl From<$rust> for Value {
            fn from($value: $rust) -> Self {
                $made
            }
        })*
    };
}

/// Integers beyond 64 signed bits are exact decimals, so that no parameter changes its value.
fn whole(value: impl TryInto<i64> + Copy + ToString) -> Value {
    value
        .try_into()
        .map(Value::Int64)
        .unwrap_or_else(|_| Value::Decimal(value.to_string()))
}

from! {
    bool => |value| Value::Boolean(value);
    i8 => |value| Value::Int64(value.into());
    i16 => |value| Value::Int64(value.into());
    i32 => |value| Value::Int64(value.into());
    i64 => |value| Value::Int64(value);
    u8 => |value| Value::Int64(value.into());
    u16 => |value| Value::Int64(value.into());
    u32 => |value| Value::Int64(value.into());
    u64 => |value| whole(value);
    usize => |value| whole(value);
    f32 => |value| Value::Float64(value.into());
    f64 => |value| Value::Float64(value);
    &str => |value| Value::Text(value.to_owned());
    &String => |value| Value::Text(value.clone());
    String => |value| Value::Text(value);
    &[u8] => |value| Value::Blob(value.to_vec());
    Vec<u8> => |value| Value::Blob(value);
    Json => |value| Value::Json(value.to_string());
    &Json => |value| Value::Json(value.to_string());
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

/// A Rust type that a column can be read as. Conversions are exact or refused, with two allowances for
/// databases without the type: 0 and 1 are booleans, and a decimal is read as the nearest float.
pub trait FromValue: Sized {
    /// What the type wants, for messages: "an integer of 32 bits".
    const WANTED: &'static str;

    /// The value as this type; none when it is not one.
    fn from_value(value: &Value) -> Option<Self>;
}

/// Each line: a type, what it wants, and how it is read.
macro_rules! read {
    ($($rust:ty, $wanted:literal, |$value:ident| $read:expr;)*) => {
        $(impl FromValue for $rust {
            const WANTED: &'static str = $wanted;

            fn from_value($value: &Value) -> Option<Self> {
                $read
            }
        })*
    };
}

/// A whole number from every kind that can hold one.
fn integer<T: TryFrom<i64> + std::str::FromStr>(value: &Value) -> Option<T> {
    match value {
        Value::Int64(number) => T::try_from(*number).ok(),
        Value::Decimal(text) => text.parse().ok(),
        _ => None,
    }
}

read! {
    Value, "a value", |value| Some(value.clone());
    bool, "a boolean", |value| match value {
        Value::Boolean(truth) => Some(*truth),
        Value::Int64(0) => Some(false),
        Value::Int64(1) => Some(true),
        _ => None,
    };
    i32, "an integer of 32 bits", |value| integer(value);
    i64, "an integer of 64 bits", |value| integer(value);
    u32, "an unsigned integer of 32 bits", |value| integer(value);
    u64, "an unsigned integer of 64 bits", |value| integer(value);
    usize, "an unsigned integer", |value| integer(value);
    f64, "a number", |value| match value {
        Value::Float64(number) => Some(*number),
        // Exact up to 2^53; a larger integer is refused rather than rounded.
        Value::Int64(number) => i32::try_from(*number).map(f64::from).ok().or_else(|| exact_float(*number)),
        Value::Decimal(text) => text.parse().ok(),
        _ => None,
    };
    String, "text", |value| value.as_text().map(str::to_owned);
    Vec<u8>, "bytes", |value| match value {
        Value::Blob(bytes) => Some(bytes.clone()),
        _ => None,
    };
    Json, "JSON", |value| Some(value.to_json());
}

impl<T: FromValue> FromValue for Option<T> {
    const WANTED: &'static str = T::WANTED;

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}

/// The float with the same value, if there is one.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
fn exact_float(number: i64) -> Option<f64> {
    let float = number as f64;
    // Through i128, because a float of 2^63 would saturate to the largest i64 and look equal to it.
    (float as i128 == i128::from(number)).then_some(float)
}
