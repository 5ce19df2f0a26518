//! Named text fields of a query string, a form or a JSON object: parsed once, asked by name.

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use url::form_urlencoded;

/// Fields in the order they came; a name may repeat.
#[derive(Clone, Debug, Default)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// Parses `a=1&b=2`; also the body of an HTML form.
    pub fn from_query(query: &str) -> Self {
        Self(
            form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
        )
    }

    /// The text members of a JSON object; an array member repeats its name. `None` if it is no object.
    pub fn from_json(body: &[u8]) -> Option<Self> {
        let Ok(Value::Object(members)) = serde_json::from_slice(body) else {
            return None;
        };
        let mut fields = Vec::new();
        for (name, value) in members {
            match value {
                Value::Array(items) => {
                    fields.extend(items.iter().map(|item| (name.clone(), plain(item))))
                }
                other => fields.push((name, plain(&other))),
            }
        }
        Some(Self(fields))
    }

    /// Query and body together: a form or JSON body, by its content type. `None` if the body is not what it says.
    pub fn from_request(query: Option<&str>, headers: &HeaderMap, body: &[u8]) -> Option<Self> {
        let mut fields = Self::from_query(query.unwrap_or_default());
        let kind = header(headers, CONTENT_TYPE.as_str());
        if kind.starts_with("application/json") {
            fields.0.extend(Self::from_json(body)?.0);
        } else {
            fields
                .0
                .extend(Self::from_query(std::str::from_utf8(body).ok()?).0);
        }
        Some(fields)
    }

    /// The first value of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Every value of that name, comma lists taken apart.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.values(name)
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|value| !value.is_empty())
    }

    /// Every value of that name, untouched.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The value as a number, or `default` when it is absent or no number.
    pub fn number(&self, name: &str, default: usize) -> usize {
        self.get(name)
            .and_then(|value| value.parse().ok())
            .unwrap_or(default)
    }

    /// True for `1`, `true` and a bare name.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| matches!(value, "" | "1" | "true"))
    }

    /// All fields.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// A header as text; empty when absent or not text.
pub fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// The token of `Authorization: Bearer …`.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = header(headers, AUTHORIZATION.as_str());
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// User and password of `Authorization: Basic …`.
pub fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = header(headers, AUTHORIZATION.as_str());
    let (scheme, coded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(coded.trim()).ok()?).ok()?;
    let (user, password) = pair.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}
