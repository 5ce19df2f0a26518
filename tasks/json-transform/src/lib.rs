//! Reshapes JSON with a jq filter. What a filter means is the `jaq` crates'; what it may use is in `program`, and
//! what leaves it in `result`.

mod program;
mod result;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use flowweaver_task::{Context, Error, Value, task};

use program::Program;
use result::Room;

/// What to do with which JSON.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// A filter in the language of jq: `[.items[] | {name, price}]`.
    filter: String,
    /// What the filter reads as `.`; any JSON.
    #[serde(default)]
    input: Value,
    /// Values that the filter reads as `$name`.
    #[serde(default)]
    arguments: BTreeMap<String, Value>,
    /// Whether the filter's first result is wanted, or the list of all.
    #[serde(default)]
    mode: Mode,
}

/// How many results are wanted.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// The first; the filter goes no further.
    #[default]
    First,
    /// All, in order.
    All,
}

/// What the filter made of it.
#[derive(serde::Serialize, schemars::JsonSchema)]
struct Output {
    /// The first result; only with `mode = "first"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    /// All results; only with `mode = "all"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<Vec<Value>>,
}

/// Reshapes JSON with a jq filter.
#[task]
fn run(input: Input, _cx: &Context) -> Result<Output, Error> {
    let program = Program::compile(&input.filter, input.arguments)?;
    let mut results = program.run(input.input)?;
    let mut room = Room::default();
    match input.mode {
        Mode::First => {
            let Some(first) = results.next() else {
                return Err(Error::permanent(
                    "filter.empty",
                    "the filter ended without a result; mode = \"all\" takes none for an answer",
                ));
            };
            let value = room.json(&first?)?;
            Ok(Output {
                value: Some(value),
                values: None,
            })
        }
        Mode::All => {
            let values = results
                .map(|result| room.json(&result?))
                .collect::<Result<_, Error>>()?;
            Ok(Output {
                value: None,
                values: Some(values),
            })
        }
    }
}
