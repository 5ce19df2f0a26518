//! The few shapes of answers that the sections share.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

/// JSON with a status.
pub fn json(status: StatusCode, value: &Value) -> Response {
    typed(status, "application/json; charset=UTF-8", value.to_string())
}

/// An HTML page.
pub fn html(status: StatusCode, page: String) -> Response {
    typed(status, "text/html; charset=UTF-8", page)
}

/// Any body with its content type.
pub fn typed(status: StatusCode, content_type: &str, body: impl Into<Body>) -> Response {
    (status, [(CONTENT_TYPE, content_type)], body.into()).into_response()
}

/// Text made safe inside HTML and XML, attributes included.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}
