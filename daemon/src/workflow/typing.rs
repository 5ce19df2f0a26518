//! What a path is known to be before anything runs, by JSON Schema: `type`, `properties`,
//! `items`, `enum`, `const`, `required`, local `$ref`, and null as an alternative. Everything else
//! is unknown, which fits everything and is validated just before the attempt.

use serde_json::Value;

use super::scan::Segment;

/// A place in a schema.
#[derive(Debug, Clone, Copy)]
pub(super) struct Typed<'a> {
    root: &'a Value,
    node: Node<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Node<'a> {
    Schema(&'a Value),
    /// An array of this: the outputs of a `for_each` task.
    ListOf(&'a Value),
}

/// A step that cannot be taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoStep {
    /// The object has no such field; these it has.
    NoField(Vec<String>),
    /// The value has no fields, or no items: it is this.
    NotA(String),
}

/// Links followed before a schema counts as unknown: a longer chain is a loop.
const LINKS_MAX: usize = 16;
/// How deep two types are compared: beyond, the run decides.
const COMPARE_DEPTH: usize = 6;

const KINDS: [(&str, &str, u8); 7] = [
    ("null", "null", 1),
    ("boolean", "a boolean", 2),
    ("integer", "a whole number", 4),
    // A number may be whole, so it shares the integer's bit.
    ("number", "a number", 4 | 8),
    ("string", "text", 16),
    ("array", "an array", 32),
    ("object", "an object", 64),
];
const ANY: u8 = 127;

impl<'a> Typed<'a> {
    /// What a schema describes.
    pub(super) fn of(schema: &'a Value) -> Self {
        Self {
            root: schema,
            node: Node::Schema(schema),
        }
    }

    /// An array of what a schema describes.
    pub(super) fn list_of(schema: &'a Value) -> Self {
        Self {
            root: schema,
            node: Node::ListOf(schema),
        }
    }

    fn at(self, node: &'a Value) -> Self {
        Self {
            root: self.root,
            node: Node::Schema(node),
        }
    }

    /// The schema behind links and behind "this or null"; none when it is not of the subset.
    fn schema(self) -> Option<&'a Value> {
        let Node::Schema(mut node) = self.node else {
            return None;
        };
        for _ in 0..LINKS_MAX {
            if let Some(link) = node.get("$ref") {
                let pointer = link.as_str()?.strip_prefix('#')?;
                node = self.root.pointer(pointer)?;
                continue;
            }
            let choices = ["anyOf", "oneOf", "allOf"]
                .iter()
                .find_map(|key| node.get(key).and_then(Value::as_array));
            match choices {
                Some(choices) => node = single(choices)?,
                None => return Some(node),
            }
        }
        None
    }

    /// Whether null is one of the alternatives on the way to [`Self::schema`].
    fn nullable(self) -> bool {
        let Node::Schema(mut node) = self.node else {
            return false;
        };
        for _ in 0..LINKS_MAX {
            if let Some(link) = node.get("$ref").and_then(Value::as_str) {
                let Some(next) = link.strip_prefix('#').and_then(|p| self.root.pointer(p)) else {
                    return true;
                };
                node = next;
                continue;
            }
            let Some(choices) = ["anyOf", "oneOf"]
                .iter()
                .find_map(|key| node.get(key).and_then(Value::as_array))
            else {
                return false;
            };
            if choices.iter().any(is_null) {
                return true;
            }
            let Some(next) = single(choices) else {
                return true;
            };
            node = next;
        }
        true
    }

    /// The JSON types it may have, as bits.
    fn kinds(self) -> u8 {
        if let Node::ListOf(_) = self.node {
            return 32;
        }
        let Some(schema) = self.schema() else {
            return ANY;
        };
        let null = u8::from(self.nullable());
        let named = |name: &Value| {
            let kind = KINDS.iter().find(|(kind, ..)| Some(*kind) == name.as_str());
            kind.map_or(ANY, |(_, _, bits)| *bits)
        };
        let of_value = |value: &Value| match value {
            Value::Null => 1,
            Value::Bool(_) => 2,
            Value::Number(number) if number.is_f64() => 8,
            Value::Number(_) => 4,
            Value::String(_) => 16,
            Value::Array(_) => 32,
            Value::Object(_) => 64,
        };
        let kinds = match (schema.get("type"), values(schema)) {
            (_, Some(values)) => values.iter().fold(0, |all, value| all | of_value(value)),
            (Some(Value::Array(names)), None) => names.iter().fold(0, |all, n| all | named(n)),
            (Some(name), None) => named(name),
            (None, None) if schema.get("properties").is_some() => 64,
            (None, None) => ANY,
        };
        kinds | null
    }

    /// Its types in words.
    pub(super) fn words(self) -> String {
        let kinds = self.kinds();
        if kinds == ANY {
            return "anything".to_owned();
        }
        let number = kinds & 8 != 0;
        let words: Vec<&str> = KINDS
            .iter()
            .filter(|(kind, _, bits)| kinds & bits == *bits && !(number && *kind == "integer"))
            .map(|(_, words, _)| *words)
            .collect();
        words.join(" or ")
    }

    /// One step down a path; none when what is there is unknown.
    pub(super) fn step(self, segment: &Segment) -> Result<Option<Self>, NoStep> {
        if let Node::ListOf(schema) = self.node {
            return match segment {
                Segment::Index(_) => Ok(Some(self.at(schema))),
                Segment::Field(_) => Err(NoStep::NotA(
                    "the array of the outputs of a `for_each` task".to_owned(),
                )),
            };
        }
        let Some(schema) = self.schema() else {
            return Ok(None);
        };
        let wanted = match segment {
            Segment::Field(_) => 64,
            Segment::Index(_) => 32,
        };
        if self.kinds() & wanted == 0 {
            return Err(NoStep::NotA(self.words()));
        }
        match segment {
            Segment::Index(_) => Ok(schema
                .get("items")
                .filter(|items| items.is_object())
                .map(|items| self.at(items))),
            Segment::Field(name) => {
                let Some(fields) = schema.get("properties").and_then(Value::as_object) else {
                    return Ok(None);
                };
                match fields.get(name) {
                    Some(field) => Ok(Some(self.at(field))),
                    None if is_open(schema) => Ok(None),
                    None => Err(NoStep::NoField(fields.keys().cloned().collect())),
                }
            }
        }
    }

    /// The type of an array's items, where known.
    pub(super) fn items(self) -> Option<Self> {
        self.step(&Segment::Index(0)).ok().flatten()
    }

    /// Whether an array is possible.
    pub(super) fn may_be_array(self) -> bool {
        self.kinds() & 32 != 0
    }

    /// Whether a boolean is possible.
    pub(super) fn may_be_boolean(self) -> bool {
        self.kinds() & 2 != 0
    }

    /// Why a value of this type can never be accepted as the other; none when it may be.
    pub(super) fn conflict(self, wanted: Self, depth: usize) -> Option<String> {
        if depth > COMPARE_DEPTH {
            return None;
        }
        if self.kinds() & wanted.kinds() == 0 {
            return Some(format!(
                "{}, but {} is wanted",
                self.words(),
                wanted.words()
            ));
        }
        if let (Some(have), Some(want)) = (
            self.schema().and_then(values),
            wanted.schema().and_then(values),
        ) && !have.iter().any(|value| want.contains(value))
        {
            let list = |values: &[Value]| {
                let shown: Vec<String> = values.iter().take(8).map(Value::to_string).collect();
                match shown.as_slice() {
                    [one] => one.clone(),
                    some => format!("one of {}", some.join(", ")),
                }
            };
            return Some(format!("{}, but {} is wanted", list(&have), list(&want)));
        }
        let only = self.kinds() & wanted.kinds();
        if only == 32
            && let (Some(have), Some(want)) = (self.items(), wanted.items())
        {
            return have
                .conflict(want, depth + 1)
                .map(|why| format!("an array whose items are {why}"));
        }
        if only != 64 {
            return None;
        }
        let (have, want) = (self.schema()?, wanted.schema()?);
        let have_fields = have.get("properties").and_then(Value::as_object)?;
        let want_fields = want.get("properties").and_then(Value::as_object);
        for (name, field) in want_fields.into_iter().flatten() {
            if let Some(theirs) = have_fields.get(name)
                && let Some(why) = self.at(theirs).conflict(wanted.at(field), depth + 1)
            {
                return Some(format!("an object whose `{name}` is {why}"));
            }
        }
        let missing = required(want)
            .into_iter()
            .find(|name| !have_fields.contains_key(*name) && !is_open(have));
        missing.map(|name| format!("an object without `{name}`, which is wanted"))
    }
}

/// The one alternative that is not null.
fn single(choices: &[Value]) -> Option<&Value> {
    let mut rest = choices.iter().filter(|choice| !is_null(choice));
    let first = rest.next()?;
    rest.next().is_none().then_some(first)
}

fn is_null(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("null")
}

/// Whether fields that are not listed are allowed: only when the schema says so.
pub(super) fn is_open(schema: &Value) -> bool {
    let said = |key| {
        schema
            .get(key)
            .is_some_and(|more| *more != Value::Bool(false))
    };
    said("additionalProperties") || said("patternProperties") || schema.get("properties").is_none()
}

/// The fields a schema requires.
pub(super) fn required(schema: &Value) -> Vec<&str> {
    let list = schema.get("required").and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

fn values(schema: &Value) -> Option<Vec<Value>> {
    if let Some(value) = schema.get("const") {
        return Some(vec![value.clone()]);
    }
    schema.get("enum").and_then(Value::as_array).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_optional_struct_behind_a_link_is_typed_and_may_be_null() {
        let schema = json!({
            "type": "object",
            "properties": { "p": { "anyOf": [{ "$ref": "#/$defs/P" }, { "type": "null" }] } },
            "$defs": { "P": { "type": "object", "properties": { "n": { "type": "integer" } } } }
        });
        let field = |name: &str| Segment::Field(name.to_owned());
        let p = Typed::of(&schema).step(&field("p")).unwrap().unwrap();
        assert_eq!(p.words(), "null or an object");
        assert_eq!(
            p.step(&field("n")).unwrap().unwrap().words(),
            "a whole number"
        );
        assert_eq!(
            p.step(&field("m")).unwrap_err(),
            NoStep::NoField(vec!["n".to_owned()])
        );
    }

    #[test]
    fn only_what_can_never_fit_is_a_conflict() {
        let conflict = |have: Value, want: Value| Typed::of(&have).conflict(Typed::of(&want), 0);
        let t = |name: &str| json!({ "type": name });
        assert!(conflict(t("string"), t("integer")).is_some());
        assert!(conflict(t("integer"), t("number")).is_none());
        assert!(conflict(t("number"), t("integer")).is_none());
        assert!(conflict(json!({ "type": ["string", "null"] }), t("string")).is_none());
        assert!(conflict(json!({}), t("integer")).is_none());
        assert!(conflict(json!({ "enum": ["a"] }), json!({ "enum": ["b"] })).is_some());
        let list = |items: Value| json!({ "type": "array", "items": items });
        assert!(conflict(list(t("string")), list(t("object"))).is_some());
        assert!(
            conflict(
                json!({ "type": "object", "properties": { "a": t("string") } }),
                json!({ "type": "object", "properties": {}, "required": ["b"] })
            )
            .is_some()
        );
    }

    #[test]
    fn a_schema_that_links_to_itself_is_unknown() {
        let schema = json!({ "$ref": "#" });
        assert_eq!(Typed::of(&schema).words(), "anything");
    }
}
