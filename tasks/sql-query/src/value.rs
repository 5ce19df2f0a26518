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
            check_time(text)?;
            Ok(sql::Value::Timestamp(text.to_owned()))
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

/// Whether it has the form of a date, a time of day or both.
fn is_like_a_time(text: &str) -> bool {
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

/// A day of the calendar, a time of day or both, as RFC 3339 has them. SQLite would keep any text, and the others would
/// not say which parameter is wrong.
fn check_time(text: &str) -> Result<(), String> {
    if !is_like_a_time(text) {
        return Err(format!(
            "`{text}` is not a date, time or both, as RFC 3339 has them"
        ));
    }
    let number = |from: usize, to: usize| -> u32 {
        let digits = text.get(from..to).unwrap_or_default();
        digits.parse().unwrap_or(u32::MAX)
    };
    let has_date = text.get(4..5) == Some("-");
    if has_date {
        let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
        if !(1..=days(year, month)).contains(&day) {
            return Err(format!("`{text}`: the calendar has no such day"));
        }
    }
    let clock = if has_date { 11 } else { 0 };
    if text.len() <= clock {
        return Ok(());
    }
    let has_seconds = text.get(clock + 5..clock + 6) == Some(":");
    let second = if has_seconds {
        number(clock + 6, clock + 8)
    } else {
        0
    };
    if number(clock, clock + 2) > 23 || number(clock + 3, clock + 5) > 59 || second > 59 {
        return Err(format!("`{text}`: no day has such a time"));
    }
    let offset = text.rfind(['+', '-']).filter(|at| *at > clock);
    if offset.is_some_and(|at| number(at + 1, at + 3) > 23 || number(at + 4, at + 6) > 59) {
        return Err(format!("`{text}`: there is no such offset"));
    }
    Ok(())
}

/// How many days a month has; none if there is no such month.
fn days(year: u32, month: u32) -> u32 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => 0,
    }
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
