//! What a redirect asks for, and which ones are not followed. Pure: whether the next request is
//! granted is decided like any other, by `policy`.

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderMap, LOCATION};
use url::Url;

use super::policy::Target;
use crate::broker::error::Refusal;
use crate::workflow::grant::Scheme;

/// What stays behind when a redirect leads to another scheme, host or port: it was meant for the
/// first one only.
const FOR_ONE_ORIGIN: &[&str] = &["authorization", "cookie", "proxy-authorization"];
/// What describes a body, and goes with it.
const OF_THE_BODY: &[&str] = &[
    "content-encoding",
    "content-language",
    "content-location",
    "content-type",
];

/// What a guest asked for, of which each hop is made anew.
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Payload,
}

/// The body of a request.
pub(super) enum Payload {
    /// Held, perhaps empty: it can be sent again.
    Held(Bytes),
    /// Written while it is sent: it cannot.
    Streamed,
}

/// The address that a response redirects to, if it does.
pub(super) fn location(
    status: StatusCode,
    headers: &HeaderMap,
    from: &Target,
) -> Result<Option<Target>, Refusal> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let mut all = headers.get_all(LOCATION).iter();
    let Some(first) = all.next() else {
        return Ok(None);
    };
    if all.any(|other| other != first) {
        return Err(refused(from, "names two addresses"));
    }
    let text = std::str::from_utf8(first.as_bytes())
        .map_err(|_| refused(from, "names an address that is not text"))?;
    let to = resolve(text, from).map_err(|refusal| match refusal.code.as_str() {
        // It is the server that wrote it, so the guest's request is not what is invalid.
        "http.invalid" => refused(from, &format!("is not followed: {}", refusal.message)),
        _ => refusal,
    })?;
    if from.scheme() == Scheme::Https && to.scheme() == Scheme::Http {
        return Err(refused(from, "leads from https to plain http"));
    }
    Ok(Some(to))
}

/// Reads an address in the light of the one that named it. An absolute one is parsed as a guest's
/// is, so that none of the ways in which parsers disagree is lost in the joining.
fn resolve(text: &str, from: &Target) -> Result<Target, Refusal> {
    let is_absolute = Url::parse(text).is_ok();
    if is_absolute || text.contains(['\t', '\\']) || text.chars().any(char::is_control) {
        return Target::parse(text);
    }
    if text.starts_with("//") {
        return Target::parse(&format!("{}:{text}", from.url().scheme()));
    }
    let joined = from.url().join(text).map_err(|error| {
        Refusal::permanent("http.invalid", format!("the URL is not valid: {error}"))
    })?;
    Target::parse(joined.as_str())
}

/// Makes of what was asked what is asked next (RFC 9110 §15.4, and what browsers do).
pub(super) fn next(
    asked: &mut Asked,
    status: StatusCode,
    from: &Target,
    to: &Target,
) -> Result<(), Refusal> {
    let becomes_get = match status.as_u16() {
        301 | 302 => asked.method == "POST",
        303 => asked.method != "HEAD",
        _ => false,
    };
    if becomes_get {
        if asked.method != "GET" {
            "GET".clone_into(&mut asked.method);
        }
        asked.body = Payload::Held(Bytes::new());
        drop_headers(&mut asked.headers, OF_THE_BODY);
    } else if matches!(asked.body, Payload::Streamed) {
        return Err(refused(from, "asks for a streamed body a second time"));
    }
    if !from.same_origin(to) {
        drop_headers(&mut asked.headers, FOR_ONE_ORIGIN);
    }
    Ok(())
}

fn drop_headers(headers: &mut Vec<(String, String)>, names: &[&str]) {
    headers.retain(|(name, _)| !names.iter().any(|each| name.eq_ignore_ascii_case(each)));
}

/// A redirect that is not followed.
pub(super) fn refused(from: &Target, why: &str) -> Refusal {
    let message = format!("the redirect of {} {why}", from.recorded());
    Refusal::permanent("http.redirect", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn target(url: &str) -> Target {
        Target::parse(url).unwrap()
    }

    fn to(from: &str, location: &str) -> Result<String, String> {
        let mut headers = HeaderMap::new();
        headers.insert(
            LOCATION,
            HeaderValue::from_bytes(location.as_bytes()).unwrap(),
        );
        match super::location(StatusCode::FOUND, &headers, &target(from)) {
            Ok(to) => Ok(to.unwrap().url().to_string()),
            Err(refusal) => Err(refusal.code),
        }
    }

    mod attacks {
        /// Attack: a redirect from https to plain http. refused, whatever is granted.
        #[test]
        fn a_redirect_from_https_to_plain_http_is_refused() {
            for to in ["http://a.test/", "http://b.test/", "http://a.test:443/x"] {
                let refused = Err("http.redirect".to_owned());
                assert_eq!(super::to("https://a.test/x", to), refused, "{to}");
            }
            assert!(super::to("http://a.test/x", "https://a.test/").is_ok());
        }
    }

    #[test]
    fn addresses_that_parsers_read_in_two_ways_are_not_followed() {
        let from = "https://a.test/x/y?q";
        for (location, code) in [
            ("//a.test@evil.test/", "http.denied"),
            ("https://a.test@evil.test/", "http.denied"),
            ("https:evil.test/", "http.redirect"),
            ("https:///evil.test/", "http.redirect"),
            ("///evil.test/", "http.redirect"),
            ("/\\evil.test/", "http.denied"),
            ("\\\\evil.test/", "http.denied"),
            ("/\t/evil.test/", "http.denied"),
            ("/..%2f..%2fadmin", "http.denied"),
            ("https://a.test/a b", "http.redirect"),
            ("file:///etc/passwd", "http.denied"),
            ("ftp://a.test/", "http.denied"),
            ("javascript:alert(1)", "http.denied"),
            ("https://[::1", "http.redirect"),
            ("https://a.test:0/", "http.redirect"),
        ] {
            assert_eq!(to(from, location), Err(code.to_owned()), "{location}");
        }
        for (location, address) in [
            ("", "https://a.test/x/y?q"),
            ("z", "https://a.test/x/z"),
            ("/a b", "https://a.test/a%20b"),
            ("?r", "https://a.test/x/y?r"),
            ("../z", "https://a.test/z"),
            ("/z#part", "https://a.test/z"),
            ("//b.test/z", "https://b.test/z"),
            ("https://b.test/가", "https://b.test/%EA%B0%80"),
        ] {
            assert_eq!(to(from, location), Ok(address.to_owned()), "{location}");
        }
    }

    #[test]
    fn two_addresses_are_none_and_a_redirect_without_one_is_an_answer() {
        let mut headers = HeaderMap::new();
        let from = target("https://a.test/");
        let found = |status, headers: &HeaderMap| location(status, headers, &from);
        assert_eq!(found(StatusCode::FOUND, &headers), Ok(None));
        headers.append(LOCATION, HeaderValue::from_static("/a"));
        assert_eq!(found(StatusCode::NOT_MODIFIED, &headers), Ok(None));
        assert_eq!(found(StatusCode::OK, &headers), Ok(None));
        assert!(found(StatusCode::FOUND, &headers).unwrap().is_some());
        headers.append(LOCATION, HeaderValue::from_static("/b"));
        assert_eq!(
            found(StatusCode::FOUND, &headers).unwrap_err().code,
            "http.redirect"
        );
    }

    fn asked(method: &str, body: Payload) -> Asked {
        let header = |name: &str| (name.to_owned(), "x".to_owned());
        Asked {
            method: method.to_owned(),
            headers: ["Authorization", "COOKIE", "Content-Type", "x-mine"]
                .map(header)
                .to_vec(),
            body,
        }
    }

    #[test]
    fn methods_and_bodies_change_as_in_browsers() {
        let (a, b) = (target("https://a.test/"), target("https://a.test/b"));
        for (status, method, after, keeps) in [
            (301, "POST", "GET", false),
            (302, "POST", "GET", false),
            (303, "POST", "GET", false),
            (303, "PUT", "GET", false),
            (303, "HEAD", "HEAD", true),
            (301, "PUT", "PUT", true),
            (302, "DELETE", "DELETE", true),
            (307, "POST", "POST", true),
            (308, "POST", "POST", true),
            (302, "GET", "GET", true),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let mut held = asked(method, Payload::Held(Bytes::from_static(b"{}")));
            next(&mut held, status, &a, &b).unwrap();
            assert_eq!(held.method, after, "{status} {method}");
            let kept = matches!(&held.body, Payload::Held(bytes) if !bytes.is_empty());
            let described = held.headers.iter().any(|(name, _)| name == "Content-Type");
            assert_eq!((kept, described), (keeps, keeps), "{status} {method}");
            let mut streamed = asked(method, Payload::Streamed);
            let result = next(&mut streamed, status, &a, &b);
            assert_eq!(result.is_err(), keeps, "{status} {method}");
        }
    }

    proptest! {
        #[test]
        fn a_tasks_own_credentials_never_reach_another_origin(
            hops in prop::collection::vec(0usize..4, 1..6), status in prop::sample::select(vec![301u16, 302, 303, 307, 308]),
        ) {
            let places = ["https://a.test/", "https://a.test:8443/", "https://b.test/", "http://a.test/"];
            let status = StatusCode::from_u16(status).unwrap();
            let mut asked = asked("GET", Payload::Held(Bytes::new()));
            let (mut from, mut left) = (target(places[0]), false);
            for hop in hops {
                let to = target(places[hop]);
                left |= hop != 0;
                next(&mut asked, status, &from, &to).unwrap();
                let names: Vec<_> = asked.headers.iter().map(|(name, _)| name.as_str()).collect();
                // Not even back at the first: what was left behind stays behind.
                prop_assert_eq!(names.contains(&"Authorization") || names.contains(&"COOKIE"), !left);
                prop_assert!(names.contains(&"x-mine"));
                from = to;
            }
        }
    }
}
