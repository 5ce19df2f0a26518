//! Reading answers strictly: a success that does not hold what it must is a failure.

use flowweaver_task::http::Response;
use flowweaver_task::serde_json::{self, Value};
use flowweaver_task::{Error, Result};

/// How much of a service's words an error repeats.
const EXCERPT_CHARS: usize = 300;
/// How much of an answer is read for them.
const EXCERPT_BYTES: u32 = 2048;

/// The response, if it is a success.
///
/// # Errors
/// `http.status` for a status of 400 or more, `publish.invalid` for any other that is no success, both with the
/// service's own words.
pub(crate) fn success(mut response: Response) -> Result<Response> {
    if response.status() >= 400 {
        return response.error_for_status().map_err(|mut error| {
            let details = error.details.as_ref().unwrap_or(&Value::Null);
            let field = |name: &str| {
                details
                    .get(name)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
            };
            let (url, said) = (field("url"), words(field("body")));
            if let (Some(status), false) = (status(&error), said.is_empty()) {
                error.message = format!("{url} answered {status}: {said}");
            }
            error
        });
    }
    if !response.is_success() {
        // A body that cannot be read must not hide the status.
        let said = response
            .chunk(EXCERPT_BYTES)
            .ok()
            .flatten()
            .unwrap_or_default();
        let url = response.url().split(['?', '#']).next().unwrap_or_default();
        let message = format!(
            "{url} answered {}, which is no success: {}",
            response.status(),
            words(&String::from_utf8_lossy(&said))
        );
        return Err(Error::permanent("publish.invalid", message));
    }
    Ok(response)
}

/// The JSON of a success.
///
/// # Errors
/// As [`success`]; `json.invalid`.
pub(crate) fn json(response: Response) -> Result<Value> {
    success(response)?.json()
}

/// What a service says went wrong: code and message of its JSON, as WordPress, Google and problem details (RFC 9457)
/// have them, or else the text itself.
fn words(body: &str) -> String {
    let json: Value = serde_json::from_str(body).unwrap_or_default();
    let inner = json
        .get("error")
        .filter(|error| error.is_object())
        .unwrap_or(&json);
    let first = |fields: &[&str]| fields.iter().find_map(|field| text(inner, field));
    let message = first(&["message", "error_description", "detail", "error", "title"]);
    match (
        first(&["status", "code"]).filter(|code| code.parse::<u64>().is_err()),
        message,
    ) {
        (Some(code), Some(message)) => excerpt(&format!("{code}: {message}")),
        (None, Some(message)) => excerpt(&message),
        _ => excerpt(body),
    }
}

/// Somebody else's text as one line of bounded length.
pub(crate) fn excerpt(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let line = words
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    line.chars().take(EXCERPT_CHARS).collect()
}

/// The text or number at a field, as text.
pub(crate) fn text(value: &Value, field: &str) -> Option<String> {
    let text = match value.get(field)? {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// The same where it must be there. What a service answers once it may answer right the next time, and by then the
/// post is found by its mark.
///
/// # Errors
/// `publish.invalid`.
pub(crate) fn required(value: &Value, field: &str) -> Result<String> {
    text(value, field).ok_or_else(|| {
        let said = excerpt(&value.to_string());
        Error::retryable(
            "publish.invalid",
            format!("the service's answer has no `{field}`: {said}"),
        )
    })
}

/// The status of an `http.status`.
pub(crate) fn status(error: &Error) -> Option<u64> {
    error.details.as_ref()?.get("status")?.as_u64()
}
