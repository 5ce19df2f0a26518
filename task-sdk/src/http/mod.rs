//! HTTP requests, made by the host on the task's behalf and checked against its grants. Secrets are not
//! here: the host adds them on the way out.
//!
//! Errors have the codes in `wit/deps/http`: `http.denied`, `http.invalid`, `http.timeout`, `http.dns`,
//! `http.connect`, `http.tls`, `http.protocol`, `http.encoding`, `http.redirect`, `http.rate-limited`, `http.ended`,
//! `limit.http-body`, `limit.http-calls`. A status is an answer; [`Response::error_for_status`] turns a bad
//! one into `http.status`. Redirects are followed by the host, each hop under its own grant.
//!
//! ```no_run
//! # fn main() -> flowweaver_task::Result<()> {
//! use flowweaver_task::{Value, http};
//!
//! let ranking: Value = http::get("https://mall.test/api/rank")
//!     .query("page", "2")
//!     .send()?
//!     .error_for_status()?
//!     .json()?;
//! # Ok(())
//! # }
//! ```

mod request;
mod response;
mod status;
mod upload;

use std::collections::VecDeque;

pub(crate) use request::Outgoing;
pub use request::Request;
pub use response::Response;
pub use upload::Upload;

use crate::{Result, host};

/// A GET request. The URL is absolute; it is checked when the request is sent.
pub fn get(url: impl Into<String>) -> Request {
    request("GET", url)
}

/// A HEAD request.
pub fn head(url: impl Into<String>) -> Request {
    request("HEAD", url)
}

/// A POST request.
pub fn post(url: impl Into<String>) -> Request {
    request("POST", url)
}

/// A PUT request.
pub fn put(url: impl Into<String>) -> Request {
    request("PUT", url)
}

/// A PATCH request.
pub fn patch(url: impl Into<String>) -> Request {
    request("PATCH", url)
}

/// A DELETE request.
pub fn delete(url: impl Into<String>) -> Request {
    request("DELETE", url)
}

/// A request with any method, an upper-case token.
pub fn request(method: impl Into<String>, url: impl Into<String>) -> Request {
    Request::new(method.into(), url.into())
}

/// A request on its way. Several can be under way at once. Dropping it gives the request up.
#[derive(Debug)]
#[must_use = "dropping an exchange gives its request up"]
pub struct Exchange(host::http::Exchange);

impl Exchange {
    /// Waits for the response's head.
    ///
    /// # Errors
    /// What the host answers; see the module's page.
    pub fn response(self) -> Result<Response> {
        self.0.response().map(Response::of)
    }
}

/// Sends many requests, at most `max_in_flight` (at least 1) at once, and answers in the order given.
///
/// Each response's body is read before the next request starts, so no more than that number is ever
/// open; a body that cannot be read is that request's error. One failure does not stop the others.
pub fn send_all(
    requests: impl IntoIterator<Item = Request>,
    max_in_flight: usize,
) -> Vec<Result<Response>> {
    let mut results = Vec::new();
    let mut under_way: VecDeque<Result<Exchange>> = VecDeque::new();
    let finish = |exchange: Result<Exchange>| exchange?.response()?.read_whole();
    for request in requests {
        if under_way.len() >= max_in_flight.max(1) {
            results.extend(under_way.pop_front().map(finish));
        }
        under_way.push_back(request.start());
    }
    results.extend(under_way.into_iter().map(finish));
    results
}
