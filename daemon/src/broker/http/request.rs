//! A request while a guest builds it: plain values. Whether it may be sent is decided when it is.

use std::time::Duration;

use super::head;
use crate::broker::error::Refusal;

/// As many as browsers and common clients follow; more is a loop or a trap.
pub const REDIRECTS_MAX: u32 = 10;

/// A request being built.
#[derive(Debug, Clone, Default)]
pub struct HttpRequest {
    /// An upper-case token.
    pub method: String,
    /// An absolute `http:` or `https:` URL.
    pub url: String,
    /// Names and values in order.
    pub headers: Vec<(String, String)>,
    /// The body, unless it is streamed.
    pub body: Vec<u8>,
    /// That the body is written after the request was started.
    pub streamed: Option<StreamedBody>,
    /// From sending to the last byte of the response's body.
    pub timeout: Option<Duration>,
    /// How many redirects are followed; none: [`REDIRECTS_MAX`], which is also the most.
    pub redirects: Option<u32>,
}

/// A body that is written while the request is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamedBody {
    /// How many bytes it will have, if that is known. Without it the body is sent in chunks.
    pub length: Option<u64>,
}

impl HttpRequest {
    /// A request without headers and body.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            url: url.into(),
            ..Self::default()
        }
    }

    /// Adds a header. Errors: `http.invalid`.
    pub fn append_header(&mut self, name: &str, value: &str) -> Result<(), Refusal> {
        head::header(name, value)?;
        self.headers.push((name.to_owned(), value.to_owned()));
        head::headers(&self.headers).map(drop).inspect_err(|_| {
            self.headers.pop();
        })
    }
}
