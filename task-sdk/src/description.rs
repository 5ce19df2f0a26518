//! What a module says about itself: the JSON object that `entry.describe` returns. Nothing here depends
//! on time, chance or the host.

use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde::Serialize;
use serde_json::{Map, Value};

/// The object, in the order that a person reads it.
#[derive(Serialize)]
struct Description<'a> {
    name: &'a str,
    version: &'a str,
    summary: &'a str,
    requires: &'a [&'a str],
    input: Schema,
    output: Schema,
    defaults: Map<String, Value>,
}

/// Describes a task as JSON text.
pub fn describe<I: JsonSchema, O: JsonSchema>(
    name: &str,
    version: &str,
    summary: &str,
    requires: &[&str],
) -> String {
    let input = settings()
        .for_deserialize()
        .into_generator()
        .into_root_schema_for::<I>();
    let output = settings()
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<O>();
    let defaults = defaults(&input);
    let description = Description {
        name,
        version,
        summary,
        requires,
        input,
        output,
        defaults,
    };
    // Every part is text, a list or a JSON value with text keys, which always has a JSON form.
    serde_json::to_string(&description).unwrap_or_default()
}

/// Draft 2020-12, and written out in place: only recursive types keep a `$ref` into `$defs`.
fn settings() -> SchemaSettings {
    SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true)
}

/// The default of each input field that states one.
///
/// Schemars evaluates the very function that serde calls for an absent field, so what stands here is
/// what the task would use. A default whose type cannot be serialised is left out, and serde fills it in.
fn defaults(input: &Schema) -> Map<String, Value> {
    let properties = input.get("properties").and_then(Value::as_object);
    properties
        .into_iter()
        .flatten()
        .filter_map(|(name, schema)| Some((name.clone(), schema.get("default")?.clone())))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn limit() -> u32 {
        40
    }

    #[derive(serde::Deserialize, JsonSchema)]
    #[allow(dead_code)]
    struct Input {
        keyword: String,
        #[serde(default = "limit")]
        limit: u32,
        page: Option<Page>,
    }

    #[derive(serde::Serialize, serde::Deserialize, JsonSchema)]
    struct Page {
        number: u32,
    }

    #[derive(Serialize, JsonSchema)]
    struct Tree {
        page: Page,
        children: Vec<Tree>,
    }

    fn described() -> Value {
        serde_json::from_str(&describe::<Input, Tree>("n", "1.0.0", "s", &["http"])).unwrap()
    }

    #[test]
    fn a_description_holds_every_promised_part() {
        let described = described();
        assert_eq!(described["name"], "n");
        assert_eq!(described["version"], "1.0.0");
        assert_eq!(described["summary"], "s");
        assert_eq!(described["requires"], json!(["http"]));
        assert_eq!(
            described["input"]["$schema"],
            "https://json-schema.org/draft/2020-12/schema"
        );
        assert_eq!(described["input"]["required"], json!(["keyword"]));
        assert_eq!(described["defaults"], json!({ "limit": 40 }));
    }

    #[test]
    fn a_schema_stands_alone_and_only_recursion_is_a_reference() {
        let described = described();
        assert!(
            !described["input"].to_string().contains("$ref"),
            "{}",
            described["input"]
        );
        let output = described["output"].to_string();
        assert!(
            output.contains("$ref") && !output.contains("\"#/$defs/Page\""),
            "{output}"
        );
    }
}
