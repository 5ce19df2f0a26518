//! Errors at the edge: a public text for the caller, a private cause for the log.
//!
//! Bodies are problem details (RFC 9457) with the `success` and `message` that front ends read.

use std::fmt;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::access::{AccessError, Permission};
use crate::store::StoreError;

/// The content type of every error.
pub const PROBLEM: &str = "application/problem+json";

/// An answer that is not a success.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    errors: Vec<String>,
    retry_after_s: Option<u32>,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            errors: Vec::new(),
            retry_after_s: None,
        }
    }

    /// 400: the request itself is wrong.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "request.invalid", message)
    }

    /// What the framework refused before a handler saw it (a path, a query, a method, a size), in its
    /// words.
    pub fn refused(status: StatusCode, text: &str) -> Self {
        let text = match text.trim() {
            "" => status.canonical_reason().unwrap_or("refused"),
            text => text,
        };
        Self::new(status, "request.invalid", text)
    }

    /// 401: nobody known is asking.
    pub fn unauthenticated() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "auth.required",
            "log in or send a token",
        )
    }

    /// 401: who is asking cannot be let in, and why.
    pub fn not_let_in(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, message)
    }

    /// 403: somebody known, who may not.
    pub fn forbidden(demanded: Permission) -> Self {
        Self::denied(
            "auth.forbidden",
            format!("this needs the permission {demanded}, which you do not have here"),
        )
    }

    /// 403 for another reason.
    pub fn denied(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    /// 404, the same for what is absent and for what belongs to others.
    pub fn not_found(what: &'static str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not-found",
            format!("there is no such {what}"),
        )
    }

    /// 409: it cannot be done in this state.
    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// 412: it is not what the caller saw.
    pub fn precondition_failed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "changed", message)
    }

    /// 422: well-formed, and not acceptable; every mistake is listed.
    pub fn unacceptable(
        code: &'static str,
        message: impl Into<String>,
        errors: Vec<String>,
    ) -> Self {
        Self {
            errors,
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
        }
    }

    /// 429: later.
    pub fn busy(message: impl Into<String>) -> Self {
        Self {
            retry_after_s: Some(1),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "queue.full", message)
        }
    }

    /// 503: not now; nothing was acknowledged.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self {
            retry_after_s: Some(1),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
        }
    }

    /// 500, with the cause in the log only.
    pub fn internal(cause: impl fmt::Display) -> Self {
        tracing::error!(%cause, "a request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "something went wrong; the daemon's log says what",
        )
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(cause) => {
                tracing::warn!(%cause, "the store is unavailable");
                Self::unavailable("the store is unavailable; nothing was changed by this request")
            }
            StoreError::Full(cause) => {
                tracing::error!(%cause, "the store is full");
                Self::new(
                    StatusCode::INSUFFICIENT_STORAGE,
                    "store.full",
                    "the store is full",
                )
            }
            other => Self::internal(other),
        }
    }
}

impl From<AccessError> for ApiError {
    fn from(error: AccessError) -> Self {
        let text = error.to_string();
        match error {
            AccessError::Store(error) => error.into(),
            AccessError::Busy => Self::unavailable(text),
            AccessError::Throttled(wait) => Self {
                retry_after_s: Some(u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).max(1)),
                ..Self::new(StatusCode::TOO_MANY_REQUESTS, "auth.throttled", text)
            },
            AccessError::WrongLogin => Self::not_let_in("auth.wrong", text),
            AccessError::NotFound(what) => Self::not_found(what),
            AccessError::Taken(_) => Self::conflict("taken", text),
            AccessError::Changed => Self::conflict("changed", text),
            AccessError::Forbidden(_) => Self::denied("auth.forbidden", text),
            AccessError::Invalid(_) => Self::unacceptable("input.invalid", text, Vec::new()),
            AccessError::TooMany(_) => Self::unacceptable("limit.count", text, Vec::new()),
            AccessError::Internal(_) => Self::internal(text),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.message,
            "success": false,
            "message": self.message,
            "data": Value::Null,
        });
        if let (false, Some(body)) = (self.errors.is_empty(), body.as_object_mut()) {
            body.insert("errors".to_owned(), self.errors.into());
        }
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}
