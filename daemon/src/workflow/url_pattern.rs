//! The URL pattern of a grant, parsed by the very parser that requests go through.
//!
//! Everything two parsers could read in two ways is refused: user names, fragments, queries,
//! backslashes, dot segments, encoded slashes, control characters.

use url::{Host, Url};

use super::grant::{HostPattern, PathPattern, Scheme};

/// A parsed pattern.
#[derive(Debug)]
pub(super) struct UrlPattern {
    pub(super) scheme: Scheme,
    pub(super) host: HostPattern,
    pub(super) port: u16,
    pub(super) path: PathPattern,
    /// How it reads, normalised.
    pub(super) text: String,
    /// No path was written at all.
    pub(super) bare: bool,
}

/// Why a text is no pattern.
#[derive(Debug)]
pub(super) struct WrongPattern {
    pub(super) message: String,
    pub(super) help: Option<String>,
}

fn wrong<T>(message: impl Into<String>, help: &str) -> Result<T, WrongPattern> {
    Err(WrongPattern {
        message: message.into(),
        help: (!help.is_empty()).then(|| help.to_owned()),
    })
}

/// Stands in for `*` while the host is parsed.
const LABEL: &str = "any";

/// Parses a pattern whose placeholders are filled in.
pub(super) fn parse(text: &str) -> Result<UrlPattern, WrongPattern> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return wrong(
            "a grant's url begins with https:// or http://",
            "e.g. https://api.example.com/v1/*",
        );
    };
    let scheme = match scheme {
        "https" => Scheme::Https,
        "http" => Scheme::Http,
        other => {
            let message = format!("tasks speak http and https, not `{other}`");
            return wrong(message, "e.g. https://api.example.com/v1/*");
        }
    };
    refuse_ambiguity(rest)?;
    let cut = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(cut);
    let (wild, authority) = match authority.strip_prefix("*.") {
        Some(tail) => (true, format!("{LABEL}.{tail}")),
        None => (false, authority.to_owned()),
    };
    if authority.is_empty() {
        return wrong("this url names no host", "");
    }
    if authority.contains('*') {
        return wrong(
            "`*` in a host may only be its first label",
            "write *.example.com, and one grant for each other host",
        );
    }
    let (path, prefix) = match path.strip_suffix('*') {
        Some(stem) if stem.ends_with('/') => (stem, true),
        _ => (path, false),
    };
    if path.contains('*') {
        return wrong(
            "`*` in a path may only be its end, after a slash",
            "write /shop/*",
        );
    }
    let name = match scheme {
        Scheme::Https => "https",
        Scheme::Http => "http",
    };
    let url = match Url::parse(&format!("{name}://{authority}{path}")) {
        Ok(url) => url,
        Err(error) => return wrong(format!("this is no url: {error}"), ""),
    };
    let host = host(&url, wild)?;
    let port = url.port_or_known_default().unwrap_or_default();
    let shown_host = match &host {
        HostPattern::Exact(host) => host.clone(),
        HostPattern::Suffix(suffix) => format!("*{suffix}"),
    };
    let shown_port = url
        .port()
        .map_or_else(String::new, |port| format!(":{port}"));
    let star = if prefix { "*" } else { "" };
    Ok(UrlPattern {
        text: format!("{name}://{shown_host}{shown_port}{}{star}", url.path()),
        path: if prefix {
            PathPattern::Prefix(url.path().to_owned())
        } else {
            PathPattern::Exact(url.path().to_owned())
        },
        bare: path.is_empty(),
        scheme,
        host,
        port,
    })
}

/// Refuses what parsers are known to disagree about.
fn refuse_ambiguity(rest: &str) -> Result<(), WrongPattern> {
    if rest.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return wrong(
            "a grant's url cannot hold spaces or control characters",
            "write %20 for a space",
        );
    }
    for (mark, what, help) in [
        ('\\', "backslashes", "write / instead"),
        (
            '@',
            "a user name",
            "write credentials as a header with {{ secret.NAME }}",
        ),
        ('#', "a fragment", "it never reaches a server: remove it"),
        (
            '?',
            "a query",
            "a grant covers a path with any query: remove it",
        ),
    ] {
        if rest.contains(mark) {
            return wrong(format!("a grant's url cannot hold {what}"), help);
        }
    }
    let lower = rest.to_lowercase();
    if lower.contains("%2f") || lower.contains("%5c") {
        return wrong(
            "an encoded slash means different paths to different servers",
            "",
        );
    }
    let dots = lower.replace("%2e", ".");
    if dots
        .split('/')
        .skip(1)
        .any(|part| part == "." || part == "..")
    {
        return wrong(
            "a grant's path cannot hold `.` or `..` segments",
            "write the path it leads to",
        );
    }
    Ok(())
}

fn host(url: &Url, wild: bool) -> Result<HostPattern, WrongPattern> {
    let Some(host) = url.host() else {
        return wrong("this url names no host", "");
    };
    let text = host.to_string();
    if text.ends_with('.') {
        return wrong("a host does not end in a dot", "remove it");
    }
    if !wild {
        return Ok(HostPattern::Exact(text));
    }
    let suffix = text.strip_prefix(LABEL).unwrap_or(&text).to_owned();
    let labels = suffix.split('.').filter(|label| !label.is_empty()).count();
    if !matches!(host, Host::Domain(_)) || labels < 2 {
        return wrong(
            "`*.` needs at least two labels after it",
            "write *.example.com: a whole top-level domain cannot be granted",
        );
    }
    Ok(HostPattern::Suffix(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_parsers_could_read_in_two_ways_is_refused() {
        for bad in [
            "example.com/a",
            "ftp://example.com/",
            "HTTPS://example.com/",
            "file:///etc/passwd",
            "https://allowed.com@evil.com/",
            "https://example.com\\@evil.com/",
            "https://example.com/a\tb",
            "https://example.com/a/../b",
            "https://example.com/a/%2e%2E/b",
            "https://example.com/a%2fb",
            "https://example.com/a%5cb",
            "https://example.com/?a=*",
            "https://example.com/#a",
            "https://example.com./",
            "https://*/",
            "https://*.com/",
            "https://*.*.com/",
            "https://a.*.com/",
            "https://ex*mple.com/",
            "https://*.0.0.1/",
            "https://example.com/*/a",
            "https://example.com/a*",
            "https://example.com:99999/",
            "https:///a",
            "https://",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pattern_is_normalised_as_a_request_would_be() {
        let read = |text: &str| parse(text).unwrap();
        let shop = read("https://SSadagu.kr/shop/*");
        assert_eq!(shop.text, "https://ssadagu.kr/shop/*");
        assert_eq!(shop.path, PathPattern::Prefix("/shop/".to_owned()));
        assert_eq!(shop.port, 443);
        let wild = read("http://*.Example.com:8080/*");
        assert_eq!(wild.host, HostPattern::Suffix(".example.com".to_owned()));
        assert_eq!(
            (wild.port, wild.text.as_str()),
            (8080, "http://*.example.com:8080/*")
        );
        assert_eq!(
            read("http://0x7f.1/").host,
            HostPattern::Exact("127.0.0.1".to_owned())
        );
        assert_eq!(
            read("https://한국.kr/가").text,
            "https://xn--3e0b707e.kr/%EA%B0%80"
        );
        assert!(read("https://example.com").bare);
        assert_eq!(
            read("https://example.com:443/a").text,
            "https://example.com/a"
        );
    }
}
