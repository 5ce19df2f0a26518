//! A request being built. Mistakes made on the way (a value without a JSON form, a URL that cannot take
//! a query) are kept and answered when it is sent, so that building stays one chain.

use std::time::Duration;

use serde::Serialize;

use super::{Exchange, Response, Upload};
use crate::{Error, Result, host};

/// What leaves the task.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outgoing {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) redirects: Option<u32>,
    pub(crate) streamed: Option<Streamed>,
}

/// A body that is written while the request is under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streamed {
    pub(crate) length: Option<u64>,
}

/// A request being built.
#[derive(Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    outgoing: Outgoing,
    mistake: Option<Error>,
}

impl Request {
    pub(super) fn new(method: String, url: String) -> Self {
        Request {
            outgoing: Outgoing {
                method,
                url,
                ..Outgoing::default()
            },
            mistake: None,
        }
    }

    /// Adds `name=value` to the URL's query, percent-encoded.
    pub fn query(mut self, name: &str, value: impl AsRef<str>) -> Self {
        let pair = form_urlencoded::Serializer::new(String::new())
            .append_pair(name, value.as_ref())
            .finish();
        let url = &mut self.outgoing.url;
        let fragment = url
            .find('#')
            .map(|at| url.split_off(at))
            .unwrap_or_default();
        match url.find('?') {
            None => url.push('?'),
            Some(_) if url.ends_with(['?', '&']) => {}
            Some(_) => url.push('&'),
        }
        url.push_str(&pair);
        url.push_str(&fragment);
        self
    }

    /// Adds a header. Hop-by-hop and framing headers belong to the host.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.outgoing.headers.push((name.into(), value.into()));
        self
    }

    /// Makes the body JSON, and says so unless a `content-type` was given.
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => self.typed("application/json", body),
            Err(error) => {
                self.mistake
                    .get_or_insert(Error::from(error).context("writing the request's body"));
                self
            }
        }
    }

    /// Makes the body a form, and says so unless a `content-type` was given.
    pub fn form<N: AsRef<str>, V: AsRef<str>>(self, fields: &[(N, V)]) -> Self {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        self.typed("application/x-www-form-urlencoded", body.into_bytes())
    }

    /// Sets the body; its `content-type` is the caller's to state.
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.outgoing.body = bytes.into();
        self
    }

    /// Limits the time from sending to the last byte of the answer. The task's own limits apply as well.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.outgoing.timeout = Some(timeout);
        self
    }

    /// How many redirects the host follows: 10 unless set, which is also the most. With 0 a redirect is
    /// the answer.
    ///
    /// ```no_run
    /// # fn main() -> flowweaver_task::Result<()> {
    /// let short = flowweaver_task::http::get("https://short.test/x").redirects(0).send()?;
    /// let behind = short.header("location");
    /// # Ok(())
    /// # }
    /// ```
    pub fn redirects(mut self, max: u32) -> Self {
        self.outgoing.redirects = Some(max);
        self
    }

    /// Starts the request; its body is written then, of this length if it is known. Nothing larger than
    /// one piece is ever in memory.
    ///
    /// ```no_run
    /// # fn main() -> flowweaver_task::Result<()> {
    /// # fn lines() -> Vec<String> { Vec::new() }
    /// let mut upload = flowweaver_task::http::post("https://collect.test/lines").stream(None)?;
    /// for line in lines() {
    ///     upload.write(line)?;
    /// }
    /// let stored = upload.finish()?.error_for_status()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`send`](Request::send); `http.invalid` when there is a body already, or the grant signs.
    pub fn stream(mut self, length: Option<u64>) -> Result<Upload> {
        self.outgoing.streamed = Some(Streamed { length });
        host::http::start(self.finish()?).map(Upload)
    }

    /// Sends the request and waits for the response's head.
    ///
    /// # Errors
    /// What the host answers; `json.invalid` when the body has no JSON form.
    pub fn send(self) -> Result<Response> {
        host::http::send(self.finish()?).map(Response::of)
    }

    /// Starts the request without waiting for its response.
    ///
    /// # Errors
    /// As [`send`](Request::send).
    pub fn start(self) -> Result<Exchange> {
        host::http::start(self.finish()?).map(Exchange)
    }

    fn finish(self) -> Result<Outgoing> {
        match self.mistake {
            Some(mistake) => Err(mistake),
            None => Ok(self.outgoing),
        }
    }

    fn typed(mut self, content_type: &str, body: Vec<u8>) -> Self {
        let headers = &mut self.outgoing.headers;
        if !headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        {
            headers.push(("content-type".to_owned(), content_type.to_owned()));
        }
        self.outgoing.body = body;
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    #[test]
    fn a_body_without_a_json_form_is_the_senders_error() {
        let error = crate::http::post("https://mall.test/")
            .json(&HashMap::from([((1, 2), 3)]))
            .send()
            .unwrap_err();
        assert_eq!(error.code, "json.invalid");
    }

    #[test]
    fn a_query_is_encoded_and_joined_and_stays_before_the_fragment() {
        for (url, expected) in [
            (
                "https://mall.test/s",
                "https://mall.test/s?q=%EA%B0%80+b%26c",
            ),
            (
                "https://mall.test/s?a=1",
                "https://mall.test/s?a=1&q=%EA%B0%80+b%26c",
            ),
            (
                "https://mall.test/s?",
                "https://mall.test/s?q=%EA%B0%80+b%26c",
            ),
            (
                "https://mall.test/s#top",
                "https://mall.test/s?q=%EA%B0%80+b%26c#top",
            ),
        ] {
            assert_eq!(
                crate::http::get(url).query("q", "가 b&c").outgoing.url,
                expected
            );
        }
    }

    #[test]
    fn a_given_content_type_is_kept() {
        let request = crate::http::post("https://mall.test/")
            .header("Content-Type", "application/ld+json")
            .json(&1);
        assert_eq!(
            request.outgoing.headers,
            [("Content-Type".to_owned(), "application/ld+json".to_owned())]
        );
        let request = crate::http::post("https://mall.test/").form(&[("a", "1 2")]);
        assert_eq!(request.outgoing.body, b"a=1+2");
        assert_eq!(
            request.outgoing.headers[0].1,
            "application/x-www-form-urlencoded"
        );
    }
}
