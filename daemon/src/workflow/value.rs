//! TOML values as JSON values.

use serde_json::{Map, Number, Value};
use toml::de::{DeInteger, DeValue};

use super::decode::Node;
use super::report::Report;

/// The JSON value of a TOML value. Dates become their RFC 3339 text. A number that JSON cannot
/// hold is reported and becomes null.
pub(super) fn to_json(node: Node<'_>, report: &mut Report) -> Value {
    match node.get_ref() {
        DeValue::String(text) => Value::String(text.as_ref().to_owned()),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(time) => Value::String(time.to_string()),
        DeValue::Integer(value) => integer(value).map_or_else(
            || {
                report.error(node.span(), "this whole number has more than 64 bits");
                Value::Null
            },
            Value::Number,
        ),
        DeValue::Float(value) => value
            .as_str()
            .parse()
            .ok()
            .and_then(Number::from_f64)
            .map_or_else(
                || {
                    report.error(
                        node.span(),
                        "JSON has no such number, so no task could read it",
                    );
                    Value::Null
                },
                Value::Number,
            ),
        DeValue::Array(items) => {
            Value::Array(items.iter().map(|item| to_json(item, report)).collect())
        }
        DeValue::Table(table) => {
            let mut map = Map::new();
            for (key, value) in table {
                map.insert(key.get_ref().as_ref().to_owned(), to_json(value, report));
            }
            Value::Object(map)
        }
    }
}

fn integer(value: &DeInteger<'_>) -> Option<Number> {
    i64::from_str_radix(value.as_str(), value.radix())
        .map(Number::from)
        .or_else(|_| u64::from_str_radix(value.as_str(), value.radix()).map(Number::from))
        .ok()
}
