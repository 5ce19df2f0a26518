//! How values travel: JSON to parameters, and columns to JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flowweaver_task::sql;
use flowweaver_task::{Error, Result, Value};

/// The types that JSON does not have, by the key that names them.
const TYPES: &str = "`decimal`, `timestamp`, `uuid`, `json`, `blob_base64`";

/// A list of parameters. `place` is where it stands in the input.
///
/// # Errors
/// `input.invalid`, naming the parameter.
pub(crate) fn list(parameters: &[Value], place: &str) -> Result<Vec<sql::Value>> {
    let read = |(at, value): (usize, &Value)| {
        parameter(value)
            .map_err(|why| Error::permanent("input.invalid", format!("`{place}[{at}]`: {why}")))
    };
    parameters.iter().enumerate().map(read).collect()
}

/// The lists of a batch.
///
/// # Errors
/// `input.invalid`, naming the parameter.
pub(crate) fn lists(parameters: &[Value], place: &str) -> Result<Vec<Vec<sql::Value>>> {
    let read = |(at, value): (usize, &Value)| {
        let place = format!("{place}[{at}]");
        match value {
            Value::Array(parameters) => list(parameters, &place),
            _ => Err(Error::permanent(
                "input.invalid",
                format!("`{place}`: a batch has a list of parameters for each time it is run"),
            )),
        }
    };
    parameters.iter().enumerate().map(read).collect()
}

fn parameter(value: &Value) -> Result<sql::Value, String> {
    match value {
        Value::Null => Ok(sql::Value::Null),
        Value::Bool(truth) => Ok(sql::Value::Boolean(*truth)),
        Value::Number(number) => Ok(match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(whole), _, _) => sql::Value::Int64(whole),
            (None, Some(whole), _) => sql::Value::from(whole),
            (None, None, Some(float)) => sql::Value::Float64(float),
            (None, None, None) => sql::Value::Decimal(number.to_string()),
        }),
        Value::String(text) => Ok(sql::Value::Text(text.clone())),
        Value::Array(_) => Err("a list is no parameter; { json = [ … ] } is one".to_owned()),
        Value::Object(object) => match object.iter().next() {
            Some((kind, value)) if object.len() == 1 => typed(kind, value),
            _ => Err(format!(
                "an object must have one key that names its type: {TYPES}"
            )),
        },
    }
}

fn typed(kind: &str, value: &Value) -> Result<sql::Value, String> {
    let text = || {
        value
            .as_str()
            .map(str::trim)
            .ok_or_else(|| format!("{{ {kind} = … }} takes text"))
    };
    match kind {
        "decimal" => match value {
            Value::Number(number) if !number.is_f64() => {
                Ok(sql::Value::Decimal(number.to_string()))
            }
            _ => {
                let text = text()?;
                let wrong = || format!("`{text}` is not a decimal number like 1.20");
                is_decimal(text)
                    .then(|| sql::Value::Decimal(text.to_owned()))
                    .ok_or_else(wrong)
            }
        },
        "timestamp" => {
            let text = text()?;
            let wrong = || format!("`{text}` is not a date, time or both, as RFC 3339 has them");
            is_time(text)
                .then(|| sql::Value::Timestamp(text.to_owned()))
                .ok_or_else(wrong)
        }
        "uuid" => {
            let text = text()?.to_ascii_lowercase();
            let wrong = || format!("`{text}` is not a hyphenated UUID");
            is_uuid(&text)
                .then(|| sql::Value::Uuid(text.clone()))
                .ok_or_else(wrong)
        }
        "json" => Ok(sql::Value::Json(value.to_string())),
        "blob_base64" => STANDARD
            .decode(text()?)
            .map(sql::Value::Blob)
            .map_err(|error| format!("this is not base64: {error}")),
        _ => Err(format!("there is no type `{kind}`; there are {TYPES}")),
    }
}

fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    all(whole) && all(fraction)
}

/// Whether it looks like a date, a time of day or both. Whether the day exists is the database's to say.
fn is_time(text: &str) -> bool {
    let shape: String = text
        .chars()
        .map(|letter| if letter.is_ascii_digit() { '0' } else { letter })
        .collect();
    let (date, rest) = match shape.strip_prefix("0000-00-00") {
        Some("") => return true,
        Some(rest) => (true, rest.strip_prefix(['T', 't', ' ']).unwrap_or_default()),
        None => (false, shape.as_str()),
    };
    let Some(rest) = rest.strip_prefix("00:00") else {
        return false;
    };
    let rest = rest.strip_prefix(":00").unwrap_or(rest);
    let rest = rest
        .strip_prefix('.')
        .map_or(rest, |rest| rest.trim_start_matches('0'));
    matches!(rest, "") || (date && matches!(rest, "Z" | "z" | "+00:00" | "-00:00"))
}

fn is_uuid(text: &str) -> bool {
    let parts: Vec<usize> = text.split('-').map(str::len).collect();
    parts == [8, 4, 4, 4, 12]
        && text
            .bytes()
            .all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// A column's value as JSON: bytes as base64, and exact kinds that JSON has not as text.
pub(crate) fn json(value: &sql::Value) -> Value {
    match value {
        sql::Value::Blob(bytes) => Value::String(STANDARD.encode(bytes)),
        other => other.to_json(),
    }
}
