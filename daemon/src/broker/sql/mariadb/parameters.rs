//! A guest's values as MariaDB's parameters, each in its own binary form; the server converts.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use sqlx::Arguments as _;
use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::mysql::{MySql, MySqlArguments, MySqlTypeInfo};
use sqlx::types::{BigDecimal, Type};

use crate::broker::error::Refusal;
use crate::broker::sql::Value;

/// A decimal that travels as one: compared as text it would be compared as a float.
struct Exact<'a>(&'a str);

impl Type<MySql> for Exact<'_> {
    fn type_info() -> MySqlTypeInfo {
        <BigDecimal as Type<MySql>>::type_info()
    }
}

impl<'q> Encode<'q, MySql> for Exact<'_> {
    fn encode_by_ref(&self, buffer: &mut Vec<u8>) -> Result<IsNull, BoxDynError> {
        <&str as Encode<'q, MySql>>::encode_by_ref(&self.0, buffer)
    }
}

/// One list of values, encoded. Errors: a value that MariaDB has no form for.
pub(super) fn arguments(values: &[Value]) -> Result<MySqlArguments, Refusal> {
    let mut arguments = MySqlArguments::default();
    for (position, value) in values.iter().enumerate() {
        let none = |what: &str| {
            Refusal::permanent(
                "sql.22003",
                format!(
                    "parameter {} is {what}, which MariaDB does not have",
                    position + 1
                ),
            )
        };
        let added = match value {
            Value::Null => arguments.add(None::<&str>),
            Value::Boolean(value) => arguments.add(*value),
            Value::Int64(value) => arguments.add(*value),
            Value::Float64(value) if value.is_finite() => arguments.add(*value),
            Value::Float64(_) => return Err(none("not a finite number")),
            Value::Decimal(text) if is_decimal(text) => arguments.add(Exact(text)),
            Value::Decimal(_) => return Err(none("not a decimal number")),
            Value::Timestamp(text) => arguments.add(&*local(text)),
            Value::Blob(bytes) => arguments.add(bytes.as_slice()),
            Value::Text(text) | Value::Json(text) | Value::Uuid(text) | Value::Other((_, text)) => {
                arguments.add(text.as_str())
            }
        };
        added.map_err(|error| {
            Refusal::permanent(
                "sql.invalid",
                format!("a parameter cannot be sent: {error}"),
            )
        })?;
    }
    Ok(arguments)
}

/// Digits with an optional sign and point: the server reads what it can of anything else, and goes on.
fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    !(whole.is_empty() && fraction.is_empty()) && all(whole) && all(fraction)
}

/// MariaDB knows no offset: an instant becomes that of the session's zone, UTC.
fn local(text: &str) -> Cow<'_, str> {
    match DateTime::parse_from_rfc3339(text) {
        Ok(instant) => {
            let instant = instant.with_timezone(&Utc);
            instant.format("%Y-%m-%d %H:%M:%S%.6f").to_string().into()
        }
        Err(_) => text.into(),
    }
}
