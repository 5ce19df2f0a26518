//! Which grant, if any, covers a request. Pure: no name is resolved and nothing is sent here.
//!
//! The URL is parsed once, by the parser that also dials it, so that nobody can read it twice in
//! two ways. Whether the address behind the name may be dialled is `address`'s question.

use url::{Host, Url};

use crate::broker::error::Refusal;
use crate::broker::identity::AttemptIdentity;
use crate::workflow::grant::{HTTP_METHODS, HostPattern, HttpGrant, PathPattern, Scheme};

/// Longer URLs are refused by common servers; nothing legitimate needs more.
const URL_BYTES_MAX: usize = 16 * 1024;
/// How often a path is percent-decoded while looking for hidden dot segments: one more than any
/// chain of servers is known to decode.
const DECODE_ROUNDS: usize = 3;

/// A request's address after parsing: what is decided on is what is dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    url: Url,
    scheme: Scheme,
    host: String,
    port: u16,
}

impl Target {
    /// Parses a guest's URL.
    ///
    /// Errors: `http.invalid` when it is no absolute URL or holds CR, LF, NUL or a space;
    /// `http.denied` when its scheme is not `http(s)` or when it is written in one of the ways that
    /// parsers disagree about (user names, backslashes, tabs, hidden dot segments, empty labels).
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let invalid = |why: &str| Refusal::permanent("http.invalid", format!("the URL {why}"));
        let denied = |why: &str| Refusal::permanent("http.denied", format!("the URL {why}"));
        if text.len() > URL_BYTES_MAX {
            return Err(invalid("is longer than 16 KiB"));
        }
        if text.contains(['\t', '\\']) {
            return Err(denied("holds a tab or a backslash"));
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(invalid("holds a control character or a space"));
        }
        let mut url =
            Url::parse(text).map_err(|error| invalid(&format!("is not valid: {error}")))?;
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => {
                return Err(denied(&format!(
                    "has the scheme `{}`; only http and https can be granted",
                    other.chars().take(20).collect::<String>()
                )));
            }
        };
        // `https:host` and `https:///host` are repaired by the parser; other parsers read them otherwise.
        let authority = text
            .get(url.scheme().len()..)
            .and_then(|rest| rest.strip_prefix("://"));
        if authority.is_none_or(|rest| rest.starts_with('/')) {
            return Err(invalid(
                "does not begin with `http://` or `https://` and a host",
            ));
        }
        let authority = authority.and_then(|rest| rest.split(['/', '?', '#']).next());
        if authority.is_some_and(|a| a.contains('@'))
            || !url.username().is_empty()
            || url.password().is_some()
        {
            return Err(denied(
                "names a user; credentials belong to the grant's `headers`",
            ));
        }
        let Some(host) = url.host_str().map(str::to_owned) else {
            return Err(invalid("has no host"));
        };
        if matches!(url.host(), Some(Host::Domain(name)) if has_empty_label(name)) {
            return Err(denied("has an empty label in its host"));
        }
        if hides_a_dot_segment(url.path()) {
            return Err(denied("hides a dot segment or a NUL in its path"));
        }
        let Some(port) = url.port_or_known_default().filter(|port| *port != 0) else {
            return Err(invalid("has no usable port"));
        };
        url.set_fragment(None);
        Ok(Self {
            url,
            scheme,
            host,
            port,
        })
    }

    /// The parsed URL, without fragment and credentials.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whether scheme, host and port are the same.
    pub fn same_origin(&self, other: &Self) -> bool {
        (self.scheme, &self.host, self.port) == (other.scheme, &other.host, other.port)
    }

    /// Whether the host is one of these.
    pub fn is_at(&self, pattern: &HostPattern) -> bool {
        covers_host(pattern, self)
    }

    /// The port, also when it is the scheme's own.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The host as a literal address, if it is one.
    pub fn literal(&self) -> Option<std::net::IpAddr> {
        match self.url.host()? {
            Host::Ipv4(ip) => Some(ip.into()),
            Host::Ipv6(ip) => Some(ip.into()),
            Host::Domain(_) => None,
        }
    }

    /// The host, for messages.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Scheme, host, port and path: what is recorded. Never the query.
    pub fn recorded(&self) -> String {
        format!("{}{}", self.origin(), self.url.path())
    }

    fn origin(&self) -> String {
        let port = self
            .url
            .port()
            .map(|port| format!(":{port}"))
            .unwrap_or_default();
        format!("{}://{}{port}", self.url.scheme(), self.host)
    }
}

/// What a URL that was refused is recorded as: its scheme and host if they can be read, nothing else.
pub fn recorded_refusal(text: &str) -> String {
    Url::parse(
        text.get(..URL_BYTES_MAX.min(text.len()))
            .unwrap_or_default(),
    )
    .ok()
    .map(|url| format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default()))
    .unwrap_or_else(|| "(no valid URL)".to_owned())
    .chars()
    .take(300)
    .collect()
}

/// The one decision: the first grant that covers this method and target, or none.
pub fn decide<'g>(grants: &'g [HttpGrant], method: &str, target: &Target) -> Option<&'g HttpGrant> {
    grants.iter().find(|grant| {
        covers_place(grant, target) && grant.methods.iter().any(|granted| granted == method)
    })
}

fn covers_place(grant: &HttpGrant, target: &Target) -> bool {
    covers_origin(grant, target)
        && match &grant.path {
            PathPattern::Exact(path) => target.url.path() == path,
            PathPattern::Prefix(prefix) => {
                prefix.ends_with('/') && target.url.path().starts_with(prefix.as_str())
            }
        }
}

fn covers_origin(grant: &HttpGrant, target: &Target) -> bool {
    grant.scheme == target.scheme && grant.port == target.port && covers_host(&grant.host, target)
}

fn covers_host(pattern: &HostPattern, target: &Target) -> bool {
    match pattern {
        HostPattern::Exact(host) => *host == target.host,
        HostPattern::Suffix(suffix) => {
            suffix.starts_with('.')
                && suffix.len() > 1
                && target.literal().is_none()
                && target.host.len() > suffix.len()
                && target.host.ends_with(suffix.as_str())
        }
    }
}

/// The answer to a request that no grant covers: what was refused, and the lines that would allow it.
pub fn denial(
    grants: &[HttpGrant],
    method: &str,
    target: &Target,
    who: &AttemptIdentity,
) -> Refusal {
    let refused = format!("{method} {}", target.recorded());
    let message = if !HTTP_METHODS.contains(&method) {
        format!(
            "{refused} is not granted, and {method} cannot be: there is {}",
            HTTP_METHODS.join(", ")
        )
    } else if let Some(grant) = grants.iter().find(|grant| covers_place(grant, target)) {
        let mut methods = grant.methods.clone();
        methods.push(method.to_owned());
        format!(
            "{refused} is not granted: the grant at {}:{} covers the address but not the method. To allow it, \
             write there: methods = {methods:?}",
            grant.place.file, grant.place.line
        )
    } else {
        let place = grants
            .first()
            .map(|grant| format!("{}, ", grant.place.file))
            .unwrap_or_default();
        let near = grants
            .iter()
            .find(|grant| covers_host(&grant.host, target))
            .map(|grant| {
                format!(
                    " (the grant at {}:{} covers only {})",
                    grant.place.file, grant.place.line, grant.url
                )
            })
            .unwrap_or_default();
        format!(
            "{refused} is not granted{near}. To allow it, add to {place}workflow `{}`, task `{}`:\n\
             [[job.task.http]]\nurl = \"{}\"\nmethods = [\"{method}\"]",
            who.workflow,
            who.task,
            grantable(target),
        )
    };
    Refusal::permanent("http.denied", message)
}

/// The narrowest pattern that a grant can be written with and that covers this target. What cannot
/// stand in a pattern's path is covered by its folder.
fn grantable(target: &Target) -> String {
    let path = target.url.path();
    let lower = path.to_ascii_lowercase();
    let first = ["*", "@", "%2f", "%5c"]
        .iter()
        .filter_map(|mark| lower.find(mark))
        .min();
    let folder = first
        .and_then(|at| path.get(..at))
        .and_then(|before| path.get(..=before.rfind('/')?));
    match folder {
        Some(folder) => format!("{}{folder}*", target.origin()),
        None => target.recorded(),
    }
}

/// One dot at the end makes a name absolute and is left to the grants; any other empty label is a trick.
fn has_empty_label(name: &str) -> bool {
    name.strip_suffix('.')
        .unwrap_or(name)
        .split('.')
        .any(str::is_empty)
}

/// Whether a server that decodes this path more eagerly than the URL parser could climb out of a
/// granted prefix: `..%2f`, `%252e%252e/`, `..;/`, `..%5c`.
fn hides_a_dot_segment(path: &str) -> bool {
    let mut bytes = path.as_bytes().to_vec();
    for _ in 0..DECODE_ROUNDS {
        let climbs = bytes.split(|b| matches!(b, b'/' | b'\\')).any(|segment| {
            let name = segment.split(|b| *b == b';').next().unwrap_or_default();
            matches!(name.trim_ascii(), b"." | b"..")
        });
        if climbs || bytes.contains(&0) {
            return true;
        }
        let decoded = percent_decoded(&bytes);
        if decoded == bytes {
            return false;
        }
        bytes = decoded;
    }
    // Still encoded after that many rounds: nobody writes this in good faith if it also has dots.
    bytes.windows(2).any(|pair| pair == b"..")
}

fn percent_decoded(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        let mut byte = [0];
        match tail.get(..2) {
            Some(digits) if *first == b'%' && hex::decode_to_slice(digits, &mut byte).is_ok() => {
                out.extend(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workflow::grant::Place;
    use proptest::prelude::*;

    fn grant(scheme: Scheme, host: HostPattern, port: u16, path: PathPattern) -> HttpGrant {
        HttpGrant {
            place: Place {
                file: "flows/a.toml".into(),
                line: 1,
            },
            url: String::new(),
            scheme,
            host,
            port,
            path,
            methods: vec!["GET".to_owned()],
            headers: Vec::new(),
            idempotency_key: false,
            sign: None,
        }
    }

    fn hosts() -> impl Strategy<Value = String> {
        prop::sample::select(vec![
            "example.com",
            "www.example.com",
            "a.b.example.com",
            "evil-example.com",
            "example.com.evil.net",
            "example.com.",
            "evil.net",
            "xn--exmple-cua.com",
            "127.0.0.1",
            "[::1]",
            "EXAMPLE.com",
            "com",
        ])
        .prop_map(str::to_owned)
    }

    fn paths() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "/",
            "shop",
            "admin",
            "..",
            ".",
            "%2e",
            "%2f",
            "%5c",
            "%25",
            ";",
            "a",
            "?q=/shop/",
            "#/shop/",
            "@",
            "%00",
        ]);
        prop::collection::vec(piece, 0..8).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    /// What a careless server may make of a path: everything decoded, then dots resolved.
    fn careless(path: &str) -> Vec<String> {
        let mut text = path.as_bytes().to_vec();
        for _ in 0..4 {
            text = percent_decoded(&text);
        }
        let text = String::from_utf8_lossy(&text).replace('\\', "/");
        let mut stack = Vec::new();
        for segment in text.split('/') {
            match segment.split(';').next().unwrap_or_default() {
                "" | "." => {}
                ".." => drop(stack.pop()),
                name => stack.push(name.to_owned()),
            }
        }
        stack
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn nothing_outside_a_grant_is_ever_allowed(
            scheme in prop::sample::select(vec!["http", "https", "ftp"]), host in hosts(),
            port in prop::sample::select(vec!["", ":443", ":8443", ":80"]), path in paths(),
            method in prop::sample::select(vec!["GET", "POST"]),
        ) {
            let grants = [
                grant(Scheme::Https, HostPattern::Exact("example.com".to_owned()), 443, PathPattern::Prefix("/shop/".to_owned())),
                grant(Scheme::Https, HostPattern::Suffix(".example.com".to_owned()), 8443, PathPattern::Exact("/a".to_owned())),
            ];
            let text = format!("{scheme}://{host}{port}{path}");
            let Ok(target) = Target::parse(&text) else { return Ok(()) };
            let host = host.to_ascii_lowercase();
            // The naive reading of the same grants, written without the code under test.
            let first = scheme == "https" && host == "example.com" && matches!(port, "" | ":443")
                && target.url().path().starts_with("/shop/");
            let second = scheme == "https" && host.split('.').count() > 2 && host.ends_with(".example.com")
                && port == ":8443" && target.url().path() == "/a";
            let allowed = decide(&grants, method, &target);
            prop_assert_eq!(allowed.is_some(), method == "GET" && (first || second), "{}", text);
            if allowed.is_some() && first {
                let read = careless(target.url().path());
                prop_assert_eq!(read.first().map_or("shop", String::as_str), "shop", "{}", text);
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic_or_keeps_credentials(text in "\\PC{0,80}", start in "(https?://)?[a-z@:/\\\\.]{0,20}") {
            if let Ok(target) = Target::parse(&format!("{start}{text}")) {
                prop_assert!(target.url().username().is_empty() && target.url().password().is_none());
                prop_assert!(target.url().fragment().is_none());
                // What was decided on reads the same the second time.
                prop_assert_eq!(Target::parse(target.url().as_str()), Ok(target));
            }
        }
    }

    #[test]
    fn a_denial_suggests_only_what_can_be_granted() {
        let who = AttemptIdentity {
            organization: crate::id::OrganizationId::ROOT,
            run_id: crate::id::RunId::generate(),
            workflow: "w".parse().unwrap(),
            job: "j".parse().unwrap(),
            task: "t".parse().unwrap(),
            item_index: None,
            attempt: 1,
            trace_id: String::new(),
            idempotency_key: String::new(),
            scheduled_at: crate::clock::Timestamp::from_micros(0),
        };
        let denied = |method: &str, path: &str| {
            let target = Target::parse(&format!("https://a.test:8443{path}")).unwrap();
            denial(&[], method, &target, &who).message
        };
        for (path, suggested) in [
            ("/a/b", "https://a.test:8443/a/b"),
            ("/a/*", "https://a.test:8443/a/*"),
            ("/a/x*y/z", "https://a.test:8443/a/*"),
            ("/@me", "https://a.test:8443/*"),
            ("/a/b%2Fc/@d", "https://a.test:8443/a/*"),
        ] {
            let message = denied("GET", path);
            assert!(
                message.contains(&format!("url = \"{suggested}\"\n")),
                "{message}"
            );
        }
        let message = denied("PROPFIND", "/");
        assert!(
            message.contains("cannot be") && !message.contains("[["),
            "{message}"
        );
    }

    #[test]
    fn a_wildcard_covers_names_below_it_and_no_address() {
        let covers = |pattern: &str, url: &str| {
            covers_host(
                &HostPattern::Suffix(pattern.to_owned()),
                &Target::parse(url).unwrap(),
            )
        };
        assert!(covers(".example.com", "https://a.b.example.com/"));
        for url in [
            "https://example.com/",
            "https://aexample.com/",
            "https://example.com.evil.net/",
        ] {
            assert!(!covers(".example.com", url), "{url}");
        }
        assert!(!covers(".1", "https://127.0.0.1/"));
        assert!(!covers(".", "https://a./"));
    }
}
