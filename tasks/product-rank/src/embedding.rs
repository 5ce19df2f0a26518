//! Similarity by embeddings: one request to an OpenAI-compatible service for the keyword and all titles. The service's
//! key is not here: the grant's headers carry it.

use flowweaver_task::{Error, Result, Value, http, json};

use crate::Input;

/// How much of a service's own words goes into an error.
const EXCERPT_CHARS: usize = 200;

/// The cosine of each title's embedding with the keyword's; below 0 counts as 0.
pub(crate) fn similarities(input: &Input, titles: &[&str]) -> Result<Vec<f64>> {
    let base = input.embeddings_url.trim().trim_end_matches('/');
    let texts: Vec<&str> = std::iter::once(input.keyword.as_str())
        .chain(titles.iter().copied())
        .map(sendable)
        .collect();
    let response = http::post(format!(
        "{base}/{}",
        input.embeddings_path.trim_start_matches('/')
    ))
    .json(&json!({ "model": input.embeddings_model, "input": texts, "encoding_format": "float" }))
    .send()?
    .error_for_status()?
    .text()?;
    let body: Value = flowweaver_task::serde_json::from_str(&response)
        .map_err(|error| invalid(&format!("is not JSON: {error}"), &response))?;
    let vectors = vectors(&body, texts.len()).map_err(|what| invalid(&what, &response))?;
    let (keyword, titles) = vectors
        .split_first()
        .ok_or_else(|| invalid("is empty", &response))?;
    titles
        .iter()
        .map(|title| cosine(keyword, title))
        .collect::<Option<_>>()
        .ok_or_else(|| {
            invalid(
                "has embeddings that cannot be compared: of different length, or all zero",
                &response,
            )
        })
}

/// The API refuses empty texts; a product without a title is like nothing, which a sign says as well.
fn sendable(text: &str) -> &str {
    if text.trim().is_empty() { "-" } else { text }
}

/// The embeddings in the order asked for, which the API states in `index` and not by position.
fn vectors(body: &Value, wanted: usize) -> Result<Vec<Vec<f64>>, String> {
    let data = body
        .get("data")
        .and_then(Value::as_array)
        .ok_or("has no list `data`")?;
    if data.len() != wanted {
        return Err(format!("has {} embeddings for {wanted} texts", data.len()));
    }
    let mut vectors = vec![None; wanted];
    for item in data {
        let place = item
            .get("index")
            .and_then(Value::as_u64)
            .and_then(|index| usize::try_from(index).ok());
        let place = place
            .and_then(|place| vectors.get_mut(place))
            .ok_or("has an embedding without a fitting `index`")?;
        let numbers = item
            .get("embedding")
            .and_then(Value::as_array)
            .ok_or("has an item without `embedding`")?;
        *place = numbers
            .iter()
            .map(Value::as_f64)
            .collect::<Option<Vec<f64>>>();
    }
    vectors
        .into_iter()
        .collect::<Option<_>>()
        .ok_or_else(|| "lacks an embedding for one of the texts".to_owned())
}

/// None for vectors that have no angle.
fn cosine(one: &[f64], other: &[f64]) -> Option<f64> {
    if one.len() != other.len() {
        return None;
    }
    let dot = |one: &[f64], other: &[f64]| one.iter().zip(other).map(|(a, b)| a * b).sum::<f64>();
    let lengths = (dot(one, one) * dot(other, other)).sqrt();
    (lengths > 0.0).then(|| (dot(one, other) / lengths).clamp(0.0, 1.0))
}

/// A service that answers so is more often in trouble than changed, so a later try may succeed.
fn invalid(what: &str, body: &str) -> Error {
    let said: String = body
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(EXCERPT_CHARS)
        .collect();
    Error::retryable(
        "embeddings.invalid",
        format!("the embeddings service's answer {what}; it said: {said}"),
    )
}
