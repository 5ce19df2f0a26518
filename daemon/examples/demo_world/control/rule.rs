//! How a fault or a gate says which requests it means.

use axum::http::{Method, Uri};
use serde::{Deserialize, Serialize};

/// What is known of a request when rules are matched.
#[derive(Clone, Debug, Serialize)]
pub struct Call {
    /// First part of the path: `trend`, `mall`, …
    pub section: String,
    /// Upper-case method.
    pub method: String,
    /// Whole path, percent-decoded.
    pub path: String,
}

impl Call {
    /// Reads a request line.
    pub fn of(method: &Method, uri: &Uri) -> Self {
        let path = decoded(uri.path());
        let section = path.split('/').nth(1).unwrap_or_default().to_owned();
        Self {
            section,
            method: method.as_str().to_owned(),
            path,
        }
    }
}

/// Percent-decoded text; bytes that are no UTF-8 are replaced.
pub fn decoded(text: &str) -> String {
    String::from_utf8_lossy(&decoded_bytes(text)).into_owned()
}

/// Percent-decoded bytes; a `%` without two hex digits stays.
pub fn decoded_bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = (*first == b'%').then(|| after.get(..2)).flatten();
        let value = code
            .and_then(|code| std::str::from_utf8(code).ok())
            .and_then(|code| u8::from_str_radix(code, 16).ok());
        match value {
            Some(value) => {
                bytes.push(value);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

/// Which requests are meant; an absent member matches all.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Rule {
    /// Section name.
    pub section: Option<String>,
    /// Method, in any case.
    pub method: Option<String>,
    /// Path with or without the section in front; `*` stands for any text.
    pub path: Option<String>,
}

impl Rule {
    /// True if the request is meant.
    pub fn matches(&self, call: &Call) -> bool {
        let section = self
            .section
            .as_ref()
            .is_none_or(|section| *section == call.section);
        let method = self
            .method
            .as_ref()
            .is_none_or(|method| method.eq_ignore_ascii_case(&call.method));
        let inner = call
            .path
            .strip_prefix('/')
            .and_then(|path| path.strip_prefix(&call.section))
            .unwrap_or_default();
        let path = self
            .path
            .as_ref()
            .is_none_or(|pattern| glob(pattern, &call.path) || glob(pattern, inner));
        section && method && path
    }
}

/// True if the text fits the pattern, in which `*` stands for any text, also none.
pub fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut rest) = text.strip_prefix(head) else {
        return false;
    };
    let mut pieces: Vec<&str> = tail.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        match rest.find(piece).and_then(|at| rest.get(at + piece.len()..)) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::{Call, Rule, glob};
    use axum::http::Method;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, fits) in [
            ("/a", "/a", true),
            ("/a", "/ab", false),
            ("/a*", "/ab", true),
            ("*posts*", "/x/posts/1", true),
            ("/a*c", "/abc", true),
            ("/a*c", "/abd", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aYc", false),
        ] {
            assert_eq!(glob(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn a_rule_matches_the_path_with_and_without_its_section() {
        let call = Call::of(
            &Method::POST,
            &"/llm/v1/chat/completions?x=1".parse().unwrap(),
        );
        let rule = |path: &str| Rule {
            path: Some(path.to_owned()),
            ..Rule::default()
        };
        assert!(rule("/v1/chat/*").matches(&call));
        assert!(rule("/llm/v1/chat/completions").matches(&call));
        assert!(!rule("/v1/embeddings").matches(&call));
        assert!(
            !Rule {
                section: Some("mall".into()),
                ..Rule::default()
            }
            .matches(&call)
        );
    }
}
