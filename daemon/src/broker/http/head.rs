//! The head of a request: which methods and headers a guest may send, and which ones the host adds.
//!
//! Headers that frame or route a message are the host's alone: two readers of one message must never
//! disagree about where it ends or whom it is for.

use http::Method;
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, RANGE, USER_AGENT,
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::broker::error::Refusal;
use crate::broker::identity::AttemptIdentity;
use crate::id::Digest;

/// As many as servers commonly accept.
const HEADERS_MAX: usize = 100;
/// Names and values together; servers commonly refuse more than half of this.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Framing, hop-by-hop and routing headers (RFC 9110 §7.6.1, RFC 9112), and what has ever been
/// treated as one. Beside these, everything that begins with `proxy-`, and HTTP/2's `:` names,
/// which are no header names at all.
const HOST_OWNED: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
    "via",
];
/// What we are called unless the guest says otherwise.
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("flowweaver/", env!("CARGO_PKG_VERSION")));
/// The encodings that we decode. What the guest asks for is replaced, as it is promised decoded
/// bytes, unless it wants none.
const ENCODINGS: HeaderValue = HeaderValue::from_static("gzip, deflate, br");
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");
/// W3C Trace Context: where a request belongs is the host's word alone.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// draft-ietf-httpapi-idempotency-key-header: set by the host where the grant says so.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

fn invalid(message: String) -> Refusal {
    Refusal::permanent("http.invalid", message)
}

/// Parses a guest's method. `CONNECT` and `TRACE` are no requests for a resource and do not exist here.
pub(super) fn method(text: &str) -> Result<Method, Refusal> {
    let shown = || text.escape_debug().take(40).collect::<String>();
    if text.is_empty()
        || text.len() > 32
        || !text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-')
    {
        return Err(invalid(format!(
            "`{}` is not a method: upper-case letters are",
            shown()
        )));
    }
    match Method::from_bytes(text.as_bytes()) {
        Ok(Method::CONNECT | Method::TRACE) | Err(_) => Err(invalid(format!(
            "`{}` is not a method that a task can send",
            shown()
        ))),
        Ok(method) => Ok(method),
    }
}

/// Parses one of a guest's headers.
pub(super) fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Refusal> {
    let shown = || name.escape_debug().take(80).collect::<String>();
    let parsed = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| invalid(format!("`{}` is not a header name", shown())))?;
    if HOST_OWNED.contains(&parsed.as_str()) || parsed.as_str().starts_with("proxy-") {
        return Err(invalid(format!(
            "the header `{}` is set by the host",
            shown()
        )));
    }
    let value = HeaderValue::from_str(value)
        .or_else(|_| HeaderValue::from_bytes(value.as_bytes()))
        .map_err(|_| {
            invalid(format!(
                "the value of `{}` holds control characters",
                shown()
            ))
        })?;
    Ok((parsed, value))
}

/// The guest's headers as a map, within the limits.
pub(super) fn headers(guest: &[(String, String)]) -> Result<HeaderMap, Refusal> {
    let bytes: usize = guest
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if guest.len() > HEADERS_MAX || bytes > HEADER_BYTES_MAX {
        return Err(invalid(format!(
            "a request has at most {HEADERS_MAX} headers and {HEADER_BYTES_MAX} bytes of them"
        )));
    }
    let mut map = HeaderMap::with_capacity(guest.len());
    for (name, value) in guest {
        let (name, value) = header(name, value)?;
        map.append(name, value);
    }
    Ok(map)
}

/// Adds what the host sends with every request: its name, the trace, the encodings it decodes. What
/// the guest wrote in their place is replaced, but for its own name.
pub(super) fn add_own(map: &mut HeaderMap, who: &AttemptIdentity) {
    // A part of an encoded body could not be decoded.
    let plain = map.contains_key(RANGE) || map.get(ACCEPT_ENCODING) == Some(&IDENTITY);
    map.insert(ACCEPT_ENCODING, if plain { IDENTITY } else { ENCODINGS });
    map.entry(USER_AGENT).or_insert(AGENT);
    map.remove(TRACESTATE);
    match traceparent(&who.trace_id, rand::random()) {
        Some(value) => map.insert(TRACEPARENT, value),
        None => map.remove(TRACEPARENT),
    };
}

/// `00-TRACE-SPAN-01` (W3C Trace Context §3.2): version, the run's trace, this request, sampled.
/// None when the trace is not 32 lower-case hex digits that are not all zero.
fn traceparent(trace_id: &str, span: u64) -> Option<HeaderValue> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_trace = trace_id.len() == 32
        && trace_id.bytes().all(is_digit)
        && trace_id.bytes().any(|byte| byte != b'0');
    // A span of zeros is invalid.
    let text = format!("00-{trace_id}-{:016x}-01", span.max(1));
    is_trace
        .then(|| HeaderValue::from_str(&text).ok())
        .flatten()
}

/// Sets the key by which a server knows a request that it has seen before: the same for the same
/// method, address and body (as far as it is known before sending) in every attempt of a task run,
/// and another for everything else.
pub(super) fn add_idempotency_key(
    map: &mut HeaderMap,
    who: &AttemptIdentity,
    method: &Method,
    url: &str,
    body: &[u8],
) -> Result<(), Refusal> {
    let of = format!(
        "{}\n{method}\n{url}\n{}",
        who.idempotency_key,
        Digest::of(body).hex()
    );
    let value = HeaderValue::from_str(&Digest::of(of.as_bytes()).hex())
        .map_err(|_| invalid("the request's key is no header value".to_owned()))?;
    map.insert(IDEMPOTENCY_KEY, value);
    Ok(())
}

/// Sets a header from the grant, with its secrets, over whatever the guest wrote.
pub(super) fn inject(map: &mut HeaderMap, name: &str, value: &SecretString) -> Result<(), Refusal> {
    // The value's own text must not appear in the error.
    let wrong = || {
        invalid(format!(
            "the grant's header `{name}` is not valid with its secrets filled in"
        ))
    };
    let (name, _) = header(name, "").map_err(|_| wrong())?;
    let mut value = HeaderValue::from_str(value.expose_secret()).map_err(|_| wrong())?;
    value.set_sensitive(true);
    map.insert(name, value);
    Ok(())
}

/// Removes what a guest must not decide about in a signed request.
pub(super) fn drop_guest_signature(map: &mut HeaderMap) {
    map.remove(AUTHORIZATION);
    let amazon: Vec<HeaderName> = map
        .keys()
        .filter(|name| {
            matches!(
                name.as_str(),
                "x-amz-date"
                    | "x-amz-security-token"
                    | "x-amz-content-sha256"
                    | "x-amz-decoded-content-length"
            )
        })
        .cloned()
        .collect();
    for name in amazon {
        map.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_frame_or_route_a_message_are_refused_in_any_case() {
        for name in [
            "Host",
            "content-LENGTH",
            "Transfer-Encoding",
            "Connection",
            "Keep-Alive",
            "Proxy-Authorization",
            "proxy-anything",
            "Expect",
            "Upgrade",
            "TE",
            "Trailer",
            ":authority",
            "a b",
            "",
            "a\r\nb",
            "é",
        ] {
            assert_eq!(
                header(name, "x").unwrap_err().code,
                "http.invalid",
                "{name:?}"
            );
        }
        assert!(header("X-Anything", "가나다").is_ok());
    }

    #[test]
    fn a_trace_is_sent_in_the_standards_form_or_not_at_all() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let sent = traceparent(trace, 0xb7ad).unwrap();
        assert_eq!(sent, format!("00-{trace}-000000000000b7ad-01").as_str());
        let zero = traceparent(trace, 0).unwrap();
        assert_eq!(zero, format!("00-{trace}-0000000000000001-01").as_str());
        for wrong in [
            "",
            &"0".repeat(32),
            &trace.to_uppercase(),
            &trace[1..],
            "0af7651916cd43dd8448eb211c80319\n",
        ] {
            assert_eq!(traceparent(wrong, 1), None, "{wrong:?}");
        }
    }

    #[test]
    fn control_characters_in_a_value_or_method_are_refused() {
        for value in ["a\r\nHost: evil", "a\nb", "a\rb", "a\0b", "\u{7f}"] {
            assert_eq!(
                header("x-a", value).unwrap_err().code,
                "http.invalid",
                "{value:?}"
            );
        }
        for text in [
            "",
            "get",
            "GET\r\n",
            "GET /",
            "G\0T",
            "CONNECT",
            "TRACE",
            &"A".repeat(33),
        ] {
            assert_eq!(method(text).unwrap_err().code, "http.invalid", "{text:?}");
        }
        assert!(method("PROPFIND").is_ok());
    }
}
