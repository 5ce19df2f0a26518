//! Sends one HTTP request, built from the input, and returns the answer. Reading several pages, looping
//! and retrying are the workflow's; what is sent where is decided by its grants.

use std::{collections::BTreeMap, time::Duration};

use flowweaver_task::{Context, Error, Value, http, task};

/// What to send, and what to make of the answer.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// The method, in any case.
    #[serde(default = "get")]
    method: String,
    /// The absolute address.
    url: String,
    /// Added to the address's query, percent-encoded.
    #[serde(default)]
    query: BTreeMap<String, String>,
    /// The request's headers.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The body: text is sent as it is, everything else as JSON.
    #[serde(default)]
    body: Option<Value>,
    /// The longest wait for the whole answer, in seconds; the task's own limit applies as well.
    #[serde(default)]
    timeout_seconds: Option<u32>,
    /// Whether redirects are followed; each address on the way needs a grant.
    #[serde(default = "yes")]
    follow_redirects: bool,
    /// Whether a status of 400 or more fails the task.
    #[serde(default = "yes")]
    fail_on_status: bool,
}

/// The answer.
#[derive(serde::Serialize, schemars::JsonSchema)]
struct Output {
    /// The status code.
    status: u16,
    /// The address that answered in the end.
    url: String,
    /// The headers, names in lower case; several of one name are joined by ", ".
    headers: BTreeMap<String, String>,
    /// The body: JSON if its `content-type` says so, else text.
    body: Value,
}

fn get() -> String {
    "GET".to_owned()
}

fn yes() -> bool {
    true
}

/// Sends one HTTP request and returns the answer.
#[task(requires("http"))]
fn run(input: Input, _cx: &Context) -> Result<Output, Error> {
    let mut request = http::request(input.method.to_ascii_uppercase(), &input.url);
    for (name, value) in &input.query {
        request = request.query(name, value);
    }
    for (name, value) in &input.headers {
        request = request.header(name, value);
    }
    if let Some(seconds) = input.timeout_seconds {
        request = request.timeout(Duration::from_secs(seconds.into()));
    }
    if !input.follow_redirects {
        request = request.redirects(0);
    }
    request = match &input.body {
        None => request,
        Some(Value::String(text)) => request.body(text.as_str()),
        Some(json) => request.json(json),
    };
    let mut response = request.send()?;
    if input.fail_on_status {
        response = response.error_for_status()?;
    }
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in response.headers() {
        headers
            .entry(name.clone())
            .and_modify(|all| {
                all.push_str(", ");
                all.push_str(value);
            })
            .or_insert_with(|| value.clone());
    }
    let (status, url) = (response.status(), response.url().to_owned());
    let body = if response.header("content-type").is_some_and(is_json) {
        read_json(response)?
    } else {
        Value::String(response.text()?)
    };
    Ok(Output {
        status,
        url,
        headers,
        body,
    })
}

/// Whether a `content-type` is JSON: `application/json`, `application/problem+json` and the like.
fn is_json(content_type: &str) -> bool {
    let essence = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
}

/// The body as JSON. An empty one is null: answers to HEAD and 204 state a type without having a body.
fn read_json(response: http::Response) -> Result<Value, Error> {
    let url = response.url().to_owned();
    let text = response.text()?;
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    flowweaver_task::serde_json::from_str(&text).map_err(|error| {
        Error::from(error).context(format!(
            "the answer of {url} is not the JSON it claims to be"
        ))
    })
}

#[cfg(test)]
mod tests;
