//! A response: its head, and its body read in portions or whole. What its status means is in `status`.

use serde::de::DeserializeOwned;

use super::status;
use crate::{Error, Result, host};

/// The most that `bytes`, `text` and `json` read. A task has little memory (64 MiB is common) and needs
/// the body and what it makes of it at once; `bytes_up_to` takes another limit, `chunk` has none.
const BODY_CAP: usize = 16 << 20;

/// How much is asked for at a time: large enough to make calls rare, small enough for any memory limit.
const CHUNK: u32 = 64 << 10;

/// A response whose head has arrived.
#[derive(Debug)]
pub struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    url: String,
    body: Body,
}

/// Where the rest of the body is.
#[derive(Debug)]
enum Body {
    /// Still with the host.
    Arriving(host::http::Response),
    /// Already here.
    Read(Vec<u8>),
}

impl Response {
    pub(super) fn of(response: host::http::Response) -> Self {
        Response {
            status: response.status(),
            headers: response.headers(),
            url: response.url(),
            body: Body::Arriving(response),
        }
    }

    /// The status code, 100 to 599.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether the status is 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The headers in the order received, names in lower case.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The address that answered in the end, without credentials.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The next bytes of the body, decompressed, at most `max`; none at its end.
    ///
    /// # Errors
    /// What the host answers: `http.timeout`, `http.protocol`, `limit.http-body`.
    pub fn chunk(&mut self, max: u32) -> Result<Option<Vec<u8>>> {
        match &mut self.body {
            Body::Arriving(response) => response.read(max),
            Body::Read(bytes) if bytes.is_empty() => Ok(None),
            Body::Read(bytes) => {
                let rest =
                    bytes.split_off(bytes.len().min(usize::try_from(max).unwrap_or(usize::MAX)));
                Ok(Some(std::mem::replace(bytes, rest)))
            }
        }
    }

    /// The whole body, up to 16 MiB.
    ///
    /// # Errors
    /// As [`bytes_up_to`](Response::bytes_up_to).
    pub fn bytes(self) -> Result<Vec<u8>> {
        self.bytes_up_to(BODY_CAP)
    }

    /// The whole body, if it has at most `max` bytes.
    ///
    /// # Errors
    /// `limit.http-body` when it is longer; else what the host answers.
    pub fn bytes_up_to(mut self, max: usize) -> Result<Vec<u8>> {
        self.take_body(max)
    }

    /// What the body is still encoded with: the host decodes what it asks for, and hands on what a server sends unasked.
    pub fn encoding(&self) -> Option<&str> {
        self.header("content-encoding")
            .filter(|coding| !coding.eq_ignore_ascii_case("identity"))
    }

    /// Refuses a body that nobody has decoded: as text it would be gibberish.
    fn decoded(self) -> Result<Self> {
        let Some(coding) = self.encoding() else {
            return Ok(self);
        };
        let message = format!(
            "{} answered in the encoding `{coding}`, which it was not asked for and the host does not decode",
            self.url
        );
        Err(Error::permanent("http.encoding", message))
    }

    /// The whole body as text, up to 16 MiB. Bytes that are not UTF-8 are replaced: pages often hold a
    /// few, and one of them should not cost the page. A leading byte order mark is dropped.
    ///
    /// # Errors
    /// As [`bytes`](Response::bytes); `http.encoding` when it has an [encoding](Response::encoding).
    pub fn text(self) -> Result<String> {
        let bytes = self.decoded()?.bytes()?;
        let text = String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        Ok(text
            .strip_prefix('\u{feff}')
            .map(str::to_owned)
            .unwrap_or(text))
    }

    /// The whole body as JSON, up to 16 MiB.
    ///
    /// # Errors
    /// As [`text`](Response::text); `json.invalid` when it is not JSON for `T`, with the address and
    /// the path of the field in the message.
    pub fn json<T: DeserializeOwned>(self) -> Result<T> {
        let url = self.url.clone();
        let bytes = self.decoded()?.bytes()?;
        let mut reader = serde_json::Deserializer::from_slice(&bytes);
        let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            Error::permanent(
                "json.invalid",
                format!("the answer of {url} does not fit: {error}"),
            )
        })?;
        reader.end().map_err(|error| {
            Error::from(error).context(format!("the answer of {url} does not fit"))
        })?;
        Ok(value)
    }

    /// The response itself if its status is below 400, else `http.status`.
    ///
    /// # Errors
    /// `http.status` with `details` `{"status", "url", "body"}`, the body shortened. It may be retried
    /// for 408, 425, 429 and every 5xx but 501 and 505; a `retry-after` header is honoured.
    pub fn error_for_status(mut self) -> Result<Response> {
        if self.status < 400 {
            return Ok(self);
        }
        // A body that cannot be read must not hide the status.
        let excerpt = match self.encoding() {
            Some(_) => None,
            None => self.chunk(status::EXCERPT_BYTES).ok().flatten(),
        };
        let excerpt = excerpt.unwrap_or_default();
        Err(status::error(&self, &excerpt))
    }

    /// The same response with its body read into memory.
    pub(super) fn read_whole(mut self) -> Result<Response> {
        let bytes = self.take_body(BODY_CAP)?;
        self.body = Body::Read(bytes);
        Ok(self)
    }

    fn take_body(&mut self, max: usize) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(CHUNK)? {
            if body.len() + chunk.len() > max {
                let message = format!(
                    "the answer of {} has more than the {max} bytes that the task takes",
                    self.url
                );
                return Err(Error::permanent("limit.http-body", message));
            }
            body.extend(chunk);
        }
        Ok(body)
    }
}
