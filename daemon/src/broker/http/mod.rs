//! `flowweaver:http`: requests on a task's behalf, each checked against its grants.
//!
//! `policy` decides, `dial` dials, and nothing else does either; `head` and `body` keep what passes
//! within bounds. Redirects are answers: a guest that follows one makes a request that is decided on
//! like any other.

pub mod address;
mod body;
mod budget;
mod dial;
mod exchange;
mod head;
mod host;
pub mod policy;
mod scrub;
mod sign;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::header::HeaderMap;
use secrecy::SecretString;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

pub use body::PORTION_BYTES_MAX;
pub use budget::HttpLimits;
pub use dial::Hosts;

use super::AttemptScope;
use super::call::CallRecord;
use super::error::Refusal;
use super::secret::{Filled, Secrets};
use crate::clock::Clock;
use crate::workflow::grant::{HttpGrant, SecretText, Signing};
use address::Network;
use body::{Body, Terms};
use budget::Budget;
use dial::Dialer;
use policy::Target;
use scrub::Scrubber;
use sign::Key;

/// What all attempts share.
pub(super) struct HttpShared {
    dialer: Dialer,
    secrets: Arc<Secrets>,
    clock: Arc<dyn Clock>,
    limits: HttpLimits,
    runtime: Handle,
}

impl HttpShared {
    pub(super) fn new(
        (network, hosts, limits): (Network, Hosts, HttpLimits),
        secrets: Arc<Secrets>,
        clock: Arc<dyn Clock>,
        runtime: Handle,
    ) -> Result<Self, rustls::Error> {
        Ok(Self {
            dialer: Dialer::new(network, hosts, dial::tls()?),
            secrets,
            clock,
            limits,
            runtime,
        })
    }
}

/// A request being built.
#[derive(Debug, Clone, Default)]
pub struct HttpRequest {
    /// An upper-case token.
    pub method: String,
    /// An absolute `http:` or `https:` URL.
    pub url: String,
    /// Names and values in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// From sending to the last byte of the response's body.
    pub timeout: Option<Duration>,
}

impl HttpRequest {
    /// A request without headers and body.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            url: url.into(),
            ..Self::default()
        }
    }

    /// Adds a header. Errors: `http.invalid`.
    pub fn append_header(&mut self, name: &str, value: &str) -> Result<(), Refusal> {
        head::header(name, value)?;
        self.headers.push((name.to_owned(), value.to_owned()));
        head::headers(&self.headers).map(drop).inspect_err(|_| {
            self.headers.pop();
        })
    }
}

/// A request on its way, driven by the host. Dropping it gives the request up.
pub struct HttpExchange {
    task: Option<JoinHandle<Result<HttpResponse, Refusal>>>,
}

impl HttpExchange {
    /// Waits for the response's head. A second call answers `http.invalid`.
    pub async fn response(&mut self) -> Result<HttpResponse, Refusal> {
        let Some(task) = &mut self.task else {
            return Err(Refusal::permanent(
                "http.invalid",
                "the response was taken already",
            ));
        };
        let result = task.await;
        self.task = None;
        result.unwrap_or_else(|_| {
            Err(Refusal::retryable(
                "http.protocol",
                "the request ended in a host error",
            ))
        })
    }
}

impl Drop for HttpExchange {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// A response whose head has arrived. Dropping it closes the connection unless the body was read.
pub struct HttpResponse {
    status: u16,
    headers: Vec<(String, String)>,
    url: String,
    body: Body,
}

impl HttpResponse {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The headers in order, without injected secrets.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The address that answered.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The next bytes of the body, decoded, at most `max` and [`PORTION_BYTES_MAX`]; none at its end.
    pub async fn read(&mut self, max: u32) -> Result<Option<Vec<u8>>, Refusal> {
        self.body.read(max as usize).await
    }
}

/// HTTP as one attempt sees it.
pub struct HttpCtx {
    shared: Arc<HttpShared>,
    scope: AttemptScope,
    budget: Arc<Budget>,
    scrubber: OnceLock<Arc<Scrubber>>,
}

/// A request that was decided on.
struct Decided {
    target: Target,
    request: reqwest::Request,
    ends_at: Instant,
}

impl HttpCtx {
    pub(super) fn new(shared: Arc<HttpShared>, scope: AttemptScope) -> Self {
        let budget = Arc::new(Budget::new(shared.limits.clone()));
        Self {
            shared,
            scope,
            budget,
            scrubber: OnceLock::new(),
        }
    }

    /// Adds to a request's body. Errors: `limit.http-body`.
    pub fn append_body(&self, request: &mut HttpRequest, bytes: &[u8]) -> Result<(), Refusal> {
        self.budget
            .send(request.body.len() as u64, bytes.len() as u64)?;
        request.body.extend_from_slice(bytes);
        Ok(())
    }

    /// Sends a request and waits for the response's head.
    pub async fn send(&self, request: HttpRequest) -> Result<HttpResponse, Refusal> {
        self.start(request)?.response().await
    }

    /// Decides on a request and, if it is granted, sends it without waiting for the response.
    /// Whatever becomes of it is recorded.
    pub fn start(&self, request: HttpRequest) -> Result<HttpExchange, Refusal> {
        let parsed = Target::parse(&request.url);
        let mut record = CallRecord::begin(
            self.scope.journal.clone(),
            self.shared.clock.clone(),
            "http",
            parsed
                .as_ref()
                .map_or_else(|_| policy::recorded_refusal(&request.url), Target::recorded),
            request
                .method
                .chars()
                .filter(|c| !c.is_control())
                .take(32)
                .collect(),
        );
        record.sent(request.body.len());
        let decided = self
            .budget
            .call()
            .and(parsed)
            .and_then(|target| self.decide(request, target))
            .and_then(|decided| Ok((decided, self.budget.place()?)));
        let (decided, place) =
            decided.inspect_err(|refusal| record.outcome(refusal.code.as_str()))?;
        let terms = Terms {
            shared: self.shared.clone(),
            target: decided.target.clone(),
            scrubber: self.scrubber().clone(),
            budget: self.budget.clone(),
            cancel: self.scope.cancel.clone(),
            ends_at: decided.ends_at,
            record,
            _place: place,
        };
        let task = self
            .shared
            .runtime
            .spawn(exchange::exchange(decided, terms));
        Ok(HttpExchange { task: Some(task) })
    }

    fn decide(&self, request: HttpRequest, target: Target) -> Result<Decided, Refusal> {
        let method = head::method(&request.method)?;
        let grants = &self.scope.grants.http;
        let grant = policy::decide(grants, method.as_str(), &target).ok_or_else(|| {
            policy::denial(grants, method.as_str(), &target, &self.scope.identity)
        })?;
        let mut headers = head::headers(&request.headers)?;
        head::add_own(&mut headers, &self.scope.identity)?;
        for (name, value) in &grant.headers {
            head::inject(&mut headers, name, &self.fill(grant, value)?.whole)?;
        }
        if let Some(signing) = &grant.sign {
            self.sign(
                grant,
                signing,
                &target,
                method.as_str(),
                &mut headers,
                &request.body,
            )?;
        }
        let limits = self.budget.limits();
        let timeout = request
            .timeout
            .unwrap_or(limits.timeout)
            .min(limits.timeout_max);
        let ends_at = (Instant::now() + timeout).min(self.scope.deadline);
        let mut sent = reqwest::Request::new(method, target.url().clone());
        *sent.headers_mut() = headers;
        // A request without a body must not claim one: GET with `Content-Length: 0` is refused by some.
        if !request.body.is_empty() {
            *sent.body_mut() = Some(request.body.into());
        }
        Ok(Decided {
            target,
            request: sent,
            ends_at,
        })
    }

    fn sign(
        &self,
        grant: &HttpGrant,
        signing: &Signing,
        target: &Target,
        method: &str,
        headers: &mut HeaderMap,
        body: &[u8],
    ) -> Result<(), Refusal> {
        let Signing::AwsSigV4 {
            service,
            region,
            access_key,
            secret_key,
        } = signing;
        head::drop_guest_signature(headers);
        let (access_key, secret_key) =
            (self.fill(grant, access_key)?, self.fill(grant, secret_key)?);
        let key = Key {
            service,
            region,
            access_key: &access_key.whole,
            secret_key: &secret_key.whole,
        };
        sign::sign_aws_v4(
            &key,
            method,
            target.url(),
            headers,
            body,
            self.shared.clock.now(),
        )
    }

    fn fill(&self, grant: &HttpGrant, text: &SecretText) -> Result<Filled, Refusal> {
        let organization = self.scope.identity.organization;
        self.shared
            .secrets
            .fill(text, organization)
            .map_err(|name| {
                let message = format!(
                    "the grant at {}:{} needs the secret `{name}`, which does not exist",
                    grant.place.file, grant.place.line
                );
                Refusal::permanent("http.denied", message)
            })
    }

    /// Knows every secret of every grant, not only the request's own: a server may have kept one
    /// from the request before.
    fn scrubber(&self) -> &Arc<Scrubber> {
        self.scrubber.get_or_init(|| {
            let mut secrets: Vec<SecretString> = Vec::new();
            for grant in &self.scope.grants.http {
                let signing = grant.sign.iter().flat_map(
                    |Signing::AwsSigV4 {
                         access_key,
                         secret_key,
                         ..
                     }| [access_key, secret_key],
                );
                for text in grant.headers.iter().map(|(_, text)| text).chain(signing) {
                    // A missing one is reported by the request that needs it.
                    if let Ok(filled) = self.fill(grant, text) {
                        secrets.extend(filled.parts);
                    }
                }
            }
            Arc::new(Scrubber::new(secrets))
        })
    }
}
