//! The one way in which JSON comes in: bounded, read within its time, strict, and told where it is wrong.
//!
//! What two readers could read differently is refused: a key that stands twice, a number that no double
//! holds, half a surrogate pair, nesting without end.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor,
};

use super::ApiState;
use super::authorize::Door;
use super::problem::ApiError;

/// Inputs are small; bulk data is fetched by tasks.
pub(super) const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A slow line sends a body of this size limit's kind in seconds; who needs longer keeps a connection.
const BODY_TIME: Duration = Duration::from_secs(30);

/// Configurations nest a few levels; `serde_json` itself stops at 128.
const DEPTH_MAX: u32 = 64;

/// A JSON body.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<ApiState> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, ApiError> {
        let bytes = read(request, state).await?;
        if bytes.is_empty() {
            return Err(ApiError::bad_request("the body is missing; send JSON"));
        }
        object(&bytes).map(Self)
    }
}

/// A JSON body; none is the default.
pub struct OptionalBody<T>(pub T);

impl<T: DeserializeOwned + Default> FromRequest<ApiState> for OptionalBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, ApiError> {
        let bytes = read(request, state).await?;
        match bytes.is_empty() {
            true => Ok(Self(T::default())),
            false => object(&bytes).map(Self),
        }
    }
}

/// A JSON body whose reader must not have its words repeated in a message, because it may hold a secret.
pub struct SilentBody(pub Option<serde_json::Value>);

impl FromRequest<ApiState> for SilentBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, ApiError> {
        let bytes = read(request, state).await?;
        Ok(Self(object(&bytes).ok()))
    }
}

/// The bytes of a body that is JSON by what it says of itself.
async fn read(request: Request, state: &ApiState) -> Result<Bytes, ApiError> {
    let owner = request.extensions().get::<Door>() == Some(&Door::Owner);
    let kind = is_json(request.headers());
    let said = request.headers().get(header::CONTENT_LENGTH);
    let said = said.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if said.is_some_and(|bytes| bytes > BODY_BYTES_MAX as u64) {
        // Nobody waits for what is not taken.
        return Err(ApiError::refused(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body has more than 4 MiB",
        ));
    }
    let coming = Bytes::from_request(request, state);
    let bytes = match tokio::time::timeout(BODY_TIME, coming).await {
        Ok(bytes) => {
            bytes.map_err(|refused| ApiError::refused(refused.status(), &refused.body_text()))?
        }
        Err(_) => {
            return Err(ApiError::refused(
                StatusCode::REQUEST_TIMEOUT,
                "the body did not come within 30 s",
            ));
        }
    };
    // Whoever opens the socket is no browser that a page could talk into it.
    match kind {
        Some(false) if !bytes.is_empty() => Err(not_json()),
        None if !bytes.is_empty() && !owner => Err(not_json()),
        _ => Ok(bytes),
    }
}

fn not_json() -> ApiError {
    ApiError::refused(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "the body must be JSON, with the header Content-Type: application/json",
    )
}

/// Whether a request says that its body is JSON; none when it says nothing.
pub(super) fn is_json(headers: &HeaderMap) -> Option<bool> {
    let kind = headers.get(header::CONTENT_TYPE)?;
    let kind = kind.to_str().unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    Some(kind.eq_ignore_ascii_case("application/json"))
}

/// A body as a value of this type: an object, because fields by position would be fields without names.
fn object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    match bytes.trim_ascii_start().first() {
        Some(b'{') => parse(bytes),
        _ => Err(ApiError::bad_request("the body: a JSON object is expected")),
    }
}

/// JSON text as a value of this type.
///
/// # Errors
/// 400 with line and column.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let wrong = |error: serde_json::Error| ApiError::bad_request(format!("the body: {error}"));
    let mut strict = serde_json::Deserializer::from_slice(bytes);
    Strict { depth: 0 }
        .deserialize(&mut strict)
        .and_then(|()| strict.end())
        .map_err(wrong)?;
    serde_json::from_slice(bytes).map_err(wrong)
}

/// Walks over JSON and keeps nothing of it.
#[derive(Clone, Copy)]
struct Strict {
    depth: u32,
}

impl Strict {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        match self.depth {
            DEPTH_MAX => Err(E::custom(format_args!(
                "nested more than {DEPTH_MAX} levels deep"
            ))),
            depth => Ok(Self { depth: depth + 1 }),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while items.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let mut seen = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            if seen.contains(&key) {
                return Err(A::Error::custom(format_args!(
                    "the key {key:?} stands twice"
                )));
            }
            seen.insert(key);
            entries.next_value_seed(inner)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod attacks {
    use serde::Deserialize;
    use serde_json::Value;

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    #[allow(dead_code, reason = "only whether it can be read is asked")]
    struct Named {
        name: String,
        more: Option<Value>,
    }

    fn refused(text: &str) -> String {
        match parse::<Named>(text.as_bytes()) {
            Ok(read) => panic!("{text:.80} was read as {read:?}"),
            Err(error) => format!("{error:?}"),
        }
    }

    /// Attack: JSON with a key that stands twice, at any depth, also spelled with an escape. Refused with 400, with its place.
    #[test]
    fn a_key_that_stands_twice_is_refused_at_any_depth() {
        for text in [
            r#"{"name":"a","name":"b"}"#,
            r#"{"more":{"a":1,"b":{"c":1,"c":2}}}"#,
            r#"{"more":[{"a":1,"\u0061":2}]}"#,
        ] {
            assert!(refused(text).contains("stands twice"), "{text}");
        }
        assert!(parse::<Named>(br#"{"name":"a","more":{"name":"b"}}"#).is_ok());
    }

    /// Attack: JSON nested 10,000 levels deep. Refused with 400; nothing recurses over it.
    #[test]
    fn json_without_a_bottom_is_refused() {
        let deep = format!(r#"{{"more":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        assert!(refused(&deep).contains("nested more than"));
        let open = "[".repeat(1_000_000);
        assert!(refused(&open).contains("nested more than"));
    }

    /// Attack: A number that no double holds, like `1e400`. Refused with 400.
    #[test]
    fn a_number_out_of_range_is_refused() {
        for text in [
            r#"{"more":1e400}"#,
            r#"{"more":[-1e999]}"#,
            r#"{"more":NaN}"#,
        ] {
            refused(text);
        }
    }

    /// Attack: Half a surrogate pair in a text or a key, or bytes that are not UTF-8. Refused with 400.
    #[test]
    fn text_that_is_no_unicode_is_refused() {
        for text in [
            r#"{"name":"\ud800"}"#,
            r#"{"more":{"\udc00":1}}"#,
            r#"{"more":"\ud800\u0041"}"#,
        ] {
            refused(text);
        }
        assert!(parse::<Named>(b"{\"name\":\"\xff\"}").is_err());
        assert!(parse::<Named>(br#"{"name":"\ud83d\ude00"}"#).is_ok());
    }

    /// Attack: A field that the route does not know, like `role` or `isAdmin`; something after the JSON. Refused with 400.
    #[test]
    fn what_nobody_asked_for_is_refused() {
        assert!(refused(r#"{"name":"a","isAdmin":true}"#).contains("unknown field"));
        refused(r#"{"name":"a"} {"name":"b"}"#);
        refused("");
    }
}
