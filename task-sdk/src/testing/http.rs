//! Scripted HTTP: which request gets which answer, and what was sent.

use std::{fmt, rc::Rc, time::Duration};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    Shared,
    pattern::{Turns, matches},
};
use crate::{Error, Result};

/// A request that the task sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The method.
    pub method: String,
    /// The whole address.
    pub url: String,
    /// The headers, as the task wrote them.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// The time limit, if the task set one.
    pub timeout: Option<Duration>,
    /// Whether the body was written while the request was under way.
    pub streamed: bool,
}

impl Sent {
    /// The first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The body as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// `json.invalid` when it is not JSON for `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// The first value of that name in the address's query, decoded.
    pub fn query(&self, name: &str) -> Option<String> {
        let (_, query) = self.url.split('#').next()?.split_once('?')?;
        find_pair(query.as_bytes(), name)
    }

    /// The first value of that name in a form body, decoded.
    pub fn form(&self, name: &str) -> Option<String> {
        find_pair(&self.body, name)
    }
}

fn find_pair(encoded: &[u8], name: &str) -> Option<String> {
    form_urlencoded::parse(encoded)
        .find(|(each, _)| each == name)
        .map(|(_, value)| value.into_owned())
}

/// A scripted answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub(super) outcome: Result<Head>,
    pub(super) body: Vec<u8>,
    pub(super) early: bool,
}

/// The part of an answer before its body.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
}

impl Reply {
    /// Bytes, without a `content-type`.
    pub fn bytes(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Reply {
            outcome: Ok(Head {
                status,
                headers: Vec::new(),
            }),
            body: body.into(),
            early: false,
        }
    }

    /// Plain text.
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Reply::bytes(status, body.into()).header("content-type", "text/plain; charset=utf-8")
    }

    /// JSON.
    pub fn json(status: u16, body: Value) -> Self {
        Reply::bytes(status, body.to_string()).header("content-type", "application/json")
    }

    /// No response at all: what the host answers instead.
    pub fn error(error: Error) -> Self {
        Reply {
            outcome: Err(error),
            body: Vec::new(),
            early: false,
        }
    }

    /// Makes it come before a streamed body has ended: as soon as its first bytes are there.
    pub fn early(mut self) -> Self {
        self.early = true;
        self
    }

    /// Sets a header, in place of one of that name. It has no meaning for an error.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Ok(head) = &mut self.outcome {
            let name = name.to_ascii_lowercase();
            head.headers.retain(|(each, _)| *each != name);
            head.headers.push((name, value.to_owned()));
        }
        self
    }
}

/// How a rule answers.
#[derive(Clone)]
enum Answer {
    Reply(Reply),
    Function(Rc<dyn Fn(&Sent) -> Reply>),
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Reply(reply) => reply.fmt(f),
            Answer::Function(_) => f.write_str("a function"),
        }
    }
}

/// The rules, and what came of them.
#[derive(Debug, Default)]
pub(super) struct Script {
    rules: Vec<Rule>,
    pub(super) requests: Vec<Sent>,
    pub(super) in_flight: usize,
    pub(super) most_in_flight: usize,
}

#[derive(Debug)]
struct Rule {
    method: String,
    url: String,
    answers: Turns<Answer>,
}

impl Rule {
    fn covers(&self, sent: &Sent) -> bool {
        let url = match self.url.contains('?') {
            true => sent.url.as_str(),
            false => sent.url.split(['?', '#']).next().unwrap_or_default(),
        };
        (self.method == "*" || self.method == sent.method) && matches(&self.url, url)
    }
}

/// A rule being written: how requests that match are answered.
#[derive(Clone)]
pub struct HttpRule {
    state: Shared,
    at: usize,
}

impl fmt::Debug for HttpRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HttpRule")
            .field(&self.state.borrow().http.rules.get(self.at))
            .finish()
    }
}

impl HttpRule {
    pub(super) fn add(state: &Shared, method: &str, url: &str) -> Self {
        let rules = &mut state.borrow_mut().http.rules;
        rules.push(Rule {
            method: method.to_owned(),
            url: url.to_owned(),
            answers: Turns::default(),
        });
        HttpRule {
            state: Rc::clone(state),
            at: rules.len() - 1,
        }
    }

    /// Answers the next request with this; the last reply of a rule answers all that follow.
    pub fn reply(self, reply: Reply) -> Self {
        self.push(Answer::Reply(reply))
    }

    /// Answers the next request with what the function makes of it.
    pub fn answer(self, answer: impl Fn(&Sent) -> Reply + 'static) -> Self {
        self.push(Answer::Function(Rc::new(answer)))
    }

    fn push(self, answer: Answer) -> Self {
        if let Some(rule) = self.state.borrow_mut().http.rules.get_mut(self.at) {
            rule.answers.push(answer);
        }
        self
    }
}

/// What the next request of this kind would be answered with, if it is answered early.
pub(super) fn is_early(state: &Shared, sent: &Sent) -> bool {
    let script = &state.borrow().http;
    let rule = script.rules.iter().rev().find(|rule| rule.covers(sent));
    matches!(rule.and_then(|rule| rule.answers.peek()), Some(Answer::Reply(reply)) if reply.early)
}

/// Whether a rule covers a request at all; what is not covered is recorded and denied.
pub(super) fn admit(state: &Shared, sent: &Sent) -> Result<()> {
    check_form(sent)?;
    let covered = state
        .borrow()
        .http
        .rules
        .iter()
        .any(|rule| rule.covers(sent));
    match covered {
        true => Ok(()),
        false => reply_to(state, sent.clone()).map(drop),
    }
}

/// As many as the host follows.
const REDIRECTS_MAX: u32 = 10;

/// Answers a request as the host does: through its redirects. Answers the last address as well.
pub(super) fn follow(
    state: &Shared,
    mut sent: Sent,
    redirects: Option<u32>,
) -> Result<(Reply, String)> {
    let mut left = redirects.unwrap_or(REDIRECTS_MAX).min(REDIRECTS_MAX);
    let is_answer = left == 0;
    let refuse = |why: &str| {
        Err(Error::permanent(
            "http.redirect",
            format!("the redirect {why}"),
        ))
    };
    loop {
        let reply = reply_to(state, sent.clone())?;
        let Some((status, to)) = reply.redirect(&sent.url).filter(|_| !is_answer) else {
            return Ok((reply, sent.url));
        };
        if left == 0 {
            return refuse("is one too many");
        }
        left -= 1;
        if sent.url.starts_with("https:") && to.starts_with("http:") {
            return refuse("leads from https to plain http");
        }
        if (status == 303 && sent.method != "HEAD")
            || (matches!(status, 301 | 302) && sent.method == "POST")
        {
            "GET".clone_into(&mut sent.method);
            sent.body = Vec::new();
            let of_the_body = |name: &str| name.to_ascii_lowercase().starts_with("content-");
            sent.headers.retain(|(name, _)| !of_the_body(name));
        } else if sent.streamed {
            return refuse("asks for a streamed body a second time");
        }
        if origin(&sent.url) != origin(&to) {
            let own = ["authorization", "cookie"];
            let stays = |name: &str| !own.iter().any(|each| name.eq_ignore_ascii_case(each));
            sent.headers.retain(|(name, _)| stays(name));
        }
        (sent.url, sent.streamed) = (to, false);
    }
}

/// Scheme, host and port.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url
        .get(host..)
        .and_then(|rest| rest.find(['/', '?', '#']))
        .map_or(url.len(), |at| host + at);
    url.get(..end).unwrap_or(url)
}

impl Reply {
    /// The status and the address of a redirect.
    fn redirect(&self, from: &str) -> Option<(u16, String)> {
        let head = self.outcome.as_ref().ok()?;
        if !matches!(head.status, 301 | 302 | 303 | 307 | 308) {
            return None;
        }
        let (_, to) = head.headers.iter().find(|(name, _)| name == "location")?;
        let path = from.split(['?', '#']).next().unwrap_or(from);
        let joined = if to.contains("://") {
            to.clone()
        } else if let Some(rest) = to.strip_prefix("//") {
            format!("{}//{rest}", from.split("//").next().unwrap_or_default())
        } else if to.starts_with('/') {
            format!("{}{to}", origin(from))
        } else {
            let folder = path.rfind('/').filter(|at| *at >= origin(from).len());
            let folder = folder.and_then(|at| path.get(..at)).unwrap_or(path);
            format!("{folder}/{to}")
        };
        Some((head.status, joined))
    }
}

/// Records a request and finds its answer.
pub(super) fn reply_to(state: &Shared, sent: Sent) -> Result<Reply> {
    let answer = {
        let script = &mut state.borrow_mut().http;
        script.requests.push(sent.clone());
        check_form(&sent)?;
        script
            .rules
            .iter_mut()
            .rev()
            .find(|rule| rule.covers(&sent))
            .and_then(|rule| rule.answers.take())
    };
    match answer {
        Some(Answer::Reply(reply)) => Ok(reply),
        // The state is free here, so the function may look at the world.
        Some(Answer::Function(answer)) => Ok(answer(&sent)),
        None => Err(Error::permanent(
            "http.denied",
            format!("no rule of this test answers {} {}", sent.method, sent.url),
        )),
    }
}

/// Headers that the host writes itself (RFC 9110 §7.6.1, and those that frame or route a message).
const HOST_HEADERS: [&str; 10] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What the real broker refuses of any request, whatever is granted.
fn check_form(sent: &Sent) -> Result<()> {
    let refuse = |what: String| Err(Error::permanent("http.invalid", what));
    if sent.method.is_empty()
        || !sent
            .method
            .chars()
            .all(|c| c.is_ascii_uppercase() || c == '-')
    {
        return refuse(format!("`{}` is not a method", sent.method));
    }
    if !sent.url.starts_with("http://") && !sent.url.starts_with("https://") {
        return refuse(format!(
            "`{}` is not an absolute http or https URL",
            sent.url
        ));
    }
    for (name, value) in &sent.headers {
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty()
            || !name.chars().all(token)
            || value.chars().any(|c| c.is_control() && c != '\t')
        {
            return refuse(format!(
                "the header `{}` is not valid",
                name.escape_default()
            ));
        }
        if HOST_HEADERS
            .iter()
            .any(|each| name.eq_ignore_ascii_case(each))
        {
            return refuse(format!("the header `{name}` belongs to the host"));
        }
    }
    Ok(())
}
