//! The JSON Schema of the file format, for editors: made from the very table of keys that the
//! decoder reads by.

use serde_json::{Map, Value, json};

use super::keys::{self, Section, Shape};

/// The JSON Schema of a workflow file.
pub fn json_schema() -> Value {
    let mut schema = section(&keys::FILE);
    if let Value::Object(schema) = &mut schema {
        schema.insert(
            "$schema".to_owned(),
            "https://json-schema.org/draft/2020-12/schema".into(),
        );
        schema.insert("title".to_owned(), "FlowWeaver workflow".into());
    }
    schema
}

fn section(section: &Section) -> Value {
    let mut properties = Map::new();
    for key in section.keys {
        let mut value = shape(key.shape);
        if let Value::Object(value) = &mut value {
            value.insert("description".to_owned(), key.doc.into());
        }
        properties.insert(key.name.to_owned(), value);
    }
    let required: Vec<&str> = section
        .keys
        .iter()
        .filter(|key| key.required)
        .map(|key| key.name)
        .collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// As in `id`: the rule of labels, and that of variables.
const NAME: &str = "^[a-z][a-z0-9_-]{0,62}$";
const VARIABLE: &str = "^[A-Za-z_][A-Za-z0-9_]{0,62}$";
/// As in `units`.
const DURATION: &str = r"^\s*([0-9]+\s*(ms|s|m|h|d)\s*)+$";
const SIZE: &str = r"^\s*[0-9]+\s*(B|KiB|MiB|GiB|kB|MB|GB)\s*$";
const EXPRESSION: &str = r"^\{\{[\s\S]*\}\}$";

fn shape(shape: Shape) -> Value {
    let by_variable = |value: Value| {
        json!({
            "type": "object",
            "patternProperties": { VARIABLE: value },
            "additionalProperties": false,
        })
    };
    match shape {
        Shape::FormatVersion => json!({ "const": 1 }),
        Shape::Text => json!({ "type": "string" }),
        Shape::Name => json!({ "type": "string", "pattern": NAME }),
        Shape::Duration => {
            json!({ "type": "string", "pattern": DURATION, "examples": ["500ms", "30s", "1m30s"] })
        }
        Shape::Size => json!({ "type": "string", "pattern": SIZE, "examples": ["64 MiB"] }),
        Shape::Bool => json!({ "type": "boolean" }),
        Shape::Integer { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Shape::Number { min } if min.is_finite() => json!({ "type": "number", "minimum": min }),
        Shape::Number { .. } => json!({ "type": "number" }),
        Shape::Choice(words) => json!({ "enum": words }),
        Shape::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Shape::TextMap => {
            json!({ "type": "object", "additionalProperties": { "type": "string" } })
        }
        Shape::Values => by_variable(json!({})),
        Shape::ValuesByTask => {
            json!({ "type": "object", "additionalProperties": { "type": "object" } })
        }
        Shape::Template | Shape::Any => json!({}),
        Shape::Condition => json!({ "type": "string", "pattern": EXPRESSION }),
        Shape::Items => json!({
            "anyOf": [{ "type": "array" }, { "type": "string", "pattern": EXPRESSION }]
        }),
        Shape::AnyList => json!({ "type": "array", "minItems": 1 }),
        Shape::Table(inner) => section(inner),
        Shape::ByKind(kinds) => {
            let kind = |(kind, inner): &(&str, &Section)| {
                let mut table = section(inner);
                if let Some(of_kind) = table.pointer_mut("/properties/kind") {
                    *of_kind = json!({ "const": kind });
                }
                table
            };
            json!({ "oneOf": kinds.iter().map(kind).collect::<Vec<_>>() })
        }
        Shape::Tables(inner) => json!({ "type": "array", "items": section(inner) }),
        Shape::Named(inner) => by_variable(section(inner)),
    }
}
