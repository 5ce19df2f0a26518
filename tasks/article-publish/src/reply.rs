//! Reading answers strictly: a success that does not hold what it must is a failure.

use flowweaver_task::http::Response;
use flowweaver_task::serde_json::Value;
use flowweaver_task::{Error, Result};

/// The JSON of a success.
///
/// # Errors
/// `http.status` for a status of 400 or more; `publish.invalid` for any other that is no success; `json.invalid`.
pub(crate) fn json(response: Response) -> Result<Value> {
    let response = response.error_for_status()?;
    if !response.is_success() {
        let message = format!(
            "{} answered {}, which is no success",
            response.url(),
            response.status()
        );
        return Err(Error::permanent("publish.invalid", message));
    }
    response.json()
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
        let excerpt: String = value.to_string().chars().take(200).collect();
        Error::retryable(
            "publish.invalid",
            format!("the service's answer has no `{field}`: {excerpt}"),
        )
    })
}

/// The status of an `http.status`.
pub(crate) fn status(error: &Error) -> Option<u64> {
    error.details.as_ref()?.get("status")?.as_u64()
}
