//! One call of a task: JSON text in, the author's function, JSON text out. The sandbox and the native
//! tests both come through here, so what passes in one passes in the other.

use serde::{Serialize, de::DeserializeOwned};

use crate::{Context, Error, Result};

/// Runs a task on JSON text.
///
/// # Errors
/// `input.invalid` when the text does not fit `I`; `output.invalid` when `O` has no JSON form; else
/// what the task returned. The first two are permanent.
pub fn call<I, O, F>(task: F, input: &str) -> Result<String>
where
    I: DeserializeOwned,
    O: Serialize,
    F: Fn(I, &Context) -> Result<O>,
{
    let output = task(decode(input)?, &Context::current())?;
    serde_json::to_string(&output).map_err(|error| {
        Error::permanent(
            "output.invalid",
            format!("the output has no JSON form: {error}"),
        )
    })
}

/// Reads the input, naming the field that does not fit.
fn decode<I: DeserializeOwned>(text: &str) -> Result<I> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let input = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let cause = error.into_inner();
        // The path of a mistake at the top is ".", which tells a person nothing.
        invalid(if path == "." {
            cause.to_string()
        } else {
            format!("`{path}`: {cause}")
        })
    })?;
    reader.end().map_err(|error| invalid(error.to_string()))?;
    Ok(input)
}

fn invalid(message: String) -> Error {
    Error::permanent("input.invalid", message)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[derive(serde::Deserialize)]
    struct Input {
        items: Vec<Item>,
    }

    #[derive(serde::Deserialize)]
    struct Item {
        price: u32,
    }

    fn sum(input: Input, _cx: &Context) -> Result<u32> {
        Ok(input.items.iter().map(|item| item.price).sum())
    }

    #[test]
    fn an_input_that_does_not_fit_is_permanent_and_names_the_field() {
        let error = call(sum, r#"{"items":[{"price":1},{"price":"two"}]}"#).unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.retryable),
            ("input.invalid", false)
        );
        assert!(
            error
                .message
                .starts_with("`items[1].price`: invalid type: string"),
            "{}",
            error.message
        );
    }

    #[test]
    fn a_missing_field_and_text_after_the_object_are_refused() {
        let error = call(sum, "{}").unwrap_err();
        assert!(
            error.message.starts_with("missing field `items`"),
            "{}",
            error.message
        );
        let error = call(sum, r#"{"items":[]} {}"#).unwrap_err();
        assert_eq!(error.code, "input.invalid");
    }

    #[test]
    fn an_output_without_a_json_form_is_permanent() {
        let task = |_: Input, _: &Context| Ok(HashMap::from([((1, 2), 3)]));
        let error = call(task, r#"{"items":[]}"#).unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.retryable),
            ("output.invalid", false)
        );
    }

    #[test]
    fn a_fitting_input_becomes_the_output() {
        assert_eq!(
            call(sum, r#"{"items":[{"price":1},{"price":2}]}"#).unwrap(),
            "3"
        );
    }
}
