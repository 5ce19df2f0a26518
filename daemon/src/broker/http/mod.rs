//! `flowweaver:http`: requests on a task's behalf, each checked against its grants.
//!
//! `policy` decides, `dial` dials, and nothing else does either, for a guest's request and for each
//! hop of its redirects alike; `head` and `body` keep what passes within bounds.

pub mod address;
mod body;
mod budget;
mod decode;
mod dial;
mod exchange;
mod follow;
mod head;
mod host;
pub mod policy;
mod redirect;
mod request;
mod scrub;
mod sign;
mod ticket;
mod turns;
mod upload;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use http::header::HeaderMap;
use secrecy::SecretString;
use tokio::runtime::Handle;

pub use body::PORTION_BYTES_MAX;
pub use budget::HttpLimits;
pub use dial::Hosts;
pub use dial::tls;
pub use exchange::{HttpExchange, HttpResponse};
pub use request::{HttpRequest, REDIRECTS_MAX, StreamedBody};
pub use turns::{HostLimit, Rate};

use super::AttemptScope;
use super::call::CallRecord;
use super::error::Refusal;
use super::secret::{Known, Secrets};
use crate::clock::Clock;
use crate::workflow::grant::{HttpGrant, SecretText, Signing};
use address::Network;
use budget::Budget;
use dial::{Dialer, Holder};
use follow::Trip;
use policy::Target;
use redirect::{Asked, Payload};
use scrub::Scrubber;
use sign::Signed;
use ticket::Ticket;
use turns::Turns;

/// What all attempts share.
pub(super) struct HttpShared {
    dialer: Dialer,
    turns: Turns,
    secrets: Arc<Secrets>,
    clock: Arc<dyn Clock>,
    limits: HttpLimits,
    runtime: Handle,
}

impl HttpShared {
    pub(super) fn new(
        (network, hosts): (Network, Hosts),
        (host_limits, limits): (Vec<HostLimit>, HttpLimits),
        secrets: Arc<Secrets>,
        clock: Arc<dyn Clock>,
        runtime: Handle,
    ) -> Result<Self, rustls::Error> {
        Ok(Self {
            dialer: Dialer::new(network, hosts, dial::tls()?),
            turns: Turns::new(host_limits),
            secrets,
            clock,
            limits,
            runtime,
        })
    }
}

/// HTTP as one attempt sees it.
pub struct HttpCtx {
    desk: Arc<Desk>,
}

impl HttpCtx {
    pub(super) fn new(shared: Arc<HttpShared>, scope: AttemptScope) -> Self {
        let budget = Budget::new(shared.limits.clone());
        Self {
            desk: Arc::new(Desk {
                secrets: shared.secrets.current(),
                shared,
                scope,
                budget,
                scrubber: Mutex::default(),
            }),
        }
    }

    /// Adds to a request's body. Errors: `limit.http-body`.
    pub fn append_body(&self, request: &mut HttpRequest, bytes: &[u8]) -> Result<(), Refusal> {
        let length = request.body.len() as u64;
        self.desk.budget.send(length, bytes.len() as u64)?;
        request.body.extend_from_slice(bytes);
        Ok(())
    }

    /// Sends a request and waits for the response's head.
    pub async fn send(&self, request: HttpRequest) -> Result<HttpResponse, Refusal> {
        self.begin(request, true)?.response().await
    }

    /// Decides on a request and, if it is granted, sends it without waiting for the response.
    /// Whatever becomes of it is recorded.
    pub fn start(&self, request: HttpRequest) -> Result<HttpExchange, Refusal> {
        self.begin(request, false)
    }

    fn begin(&self, request: HttpRequest, whole: bool) -> Result<HttpExchange, Refusal> {
        let desk = &self.desk;
        let parsed = Target::parse(&request.url);
        let recorded = parsed
            .as_ref()
            .map_or_else(|_| policy::recorded_refusal(&request.url), Target::recorded);
        let mut record = desk.record(recorded, &request.method)?;
        record.sent(request.body.len());
        let streamed = request.streamed;
        let redirects = request.redirects.unwrap_or(REDIRECTS_MAX);
        let timeout = request.timeout;
        let asked = asked(request, whole);
        let admitted = desk.budget.call().and(parsed).and_then(|target| {
            let asked = asked?;
            let decided = desk.decide(&asked, &target)?;
            Ok((asked, target, decided, desk.budget.place()?))
        });
        let (asked, target, decided, place) =
            admitted.inspect_err(|refusal| record.outcome(refusal.code.as_str()))?;
        let limits = desk.budget.limits();
        let timeout = timeout.unwrap_or(limits.timeout).min(limits.timeout_max);
        let ends_at = (Instant::now() + timeout).min(desk.scope.deadline);
        let ticket = Ticket::new(record, place);
        let (upload, body) = match streamed {
            None => (None, None),
            Some(streamed) => {
                let (upload, body, end) = upload::pair(streamed);
                (Some(upload), Some((body, end)))
            }
        };
        let trip = Trip {
            desk: desk.clone(),
            target,
            asked,
            upload: body,
            redirects: (redirects > 0).then(|| redirects.min(REDIRECTS_MAX)),
            ends_at,
            ticket: ticket.clone(),
        };
        Ok(HttpExchange {
            task: Some(desk.shared.runtime.spawn(trip.run(decided))),
            ticket,
            upload,
            desk: desk.clone(),
            ends_at,
        })
    }
}

fn asked(request: HttpRequest, whole: bool) -> Result<Asked, Refusal> {
    let invalid = |why: &str| Refusal::permanent("http.invalid", why);
    let body = match request.streamed {
        None => Payload::Held(request.body.into()),
        Some(_) if whole => {
            return Err(invalid(
                "a streamed body is written after `start`; `send` cannot wait for it",
            ));
        }
        Some(_) if !request.body.is_empty() => {
            return Err(invalid("a body is either appended or streamed, not both"));
        }
        Some(_) => Payload::Streamed,
    };
    Ok(Asked {
        method: request.method,
        headers: request.headers,
        body,
    })
}

/// Where one attempt's requests are decided on, the guest's and those that redirects ask for.
struct Desk {
    shared: Arc<HttpShared>,
    scope: AttemptScope,
    budget: Budget,
    /// What the attempt began with.
    secrets: Arc<Known>,
    /// Made for what was known at the last request.
    scrubber: Mutex<Option<(Arc<Known>, Arc<Scrubber>)>>,
}

/// A request that was decided on; without its body, if that is streamed.
struct Decided {
    request: reqwest::Request,
    holder: Holder,
    signed: bool,
}

impl Desk {
    fn record(&self, target: String, method: &str) -> Result<CallRecord, Refusal> {
        CallRecord::begin(
            self.scope.journal.clone(),
            self.shared.clock.clone(),
            "http",
            target,
            method
                .chars()
                .filter(|c| !c.is_control())
                .take(32)
                .collect(),
        )
    }

    fn decide(&self, asked: &Asked, target: &Target) -> Result<Decided, Refusal> {
        let (who, grants) = (&self.scope.identity, &self.scope.grants.http);
        let method = head::method(&asked.method)?;
        let grant = policy::decide(grants, method.as_str(), target)
            .ok_or_else(|| policy::denial(grants, method.as_str(), target, who))?;
        let body: &[u8] = match &asked.body {
            Payload::Held(bytes) => bytes,
            Payload::Streamed => &[],
        };
        let mut headers = head::headers(&asked.headers)?;
        head::add_own(&mut headers, who);
        for (name, value) in &grant.headers {
            head::inject(&mut headers, name, &self.fill(grant, value)?)?;
        }
        if grant.idempotency_key {
            let url = target.url().as_str();
            head::add_idempotency_key(&mut headers, who, &method, url, body)?;
        }
        if let Some(signing) = &grant.sign {
            if matches!(asked.body, Payload::Streamed) {
                let message = "a signed request's body is hashed before it is sent, so it cannot \
                               be streamed";
                return Err(Refusal::permanent("http.invalid", message));
            }
            self.sign(grant, signing, target, method.as_str(), &mut headers, body)?;
        }
        let mut request = reqwest::Request::new(method, target.url().clone());
        *request.headers_mut() = headers;
        // A request without a body must not claim one: GET with `Content-Length: 0` is refused by some.
        if let Payload::Held(bytes) = &asked.body
            && !bytes.is_empty()
        {
            *request.body_mut() = Some(bytes.clone().into());
        }
        Ok(Decided {
            request,
            holder: Holder {
                organization: who.organization,
                workflow: who.workflow.clone(),
                grant: grant.place.line,
            },
            signed: grant.sign.is_some(),
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
        let signed = Signed {
            method,
            url: target.url(),
            body,
            now: self.shared.clock.now(),
            task_key: &self.scope.identity.idempotency_key,
        };
        sign::sign(signing, &signed, headers, |text| self.fill(grant, text))
    }

    fn fill(&self, grant: &HttpGrant, text: &SecretText) -> Result<SecretString, Refusal> {
        let organization = self.scope.identity.organization;
        self.secrets.fill(text, organization).map_err(|unfilled| {
            let message = format!(
                "the grant at {}:{} needs the secret {unfilled}",
                grant.place.file, grant.place.line
            );
            Refusal::permanent("http.denied", message)
        })
    }

    /// Knows every secret of every grant, not only the request's own: a server may have kept one
    /// from the request before. Knows also the values that replaced, meanwhile, those that the attempt began with.
    fn scrubber(&self) -> Arc<Scrubber> {
        let now = self.shared.secrets.current();
        let mut made = self.scrubber.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, scrubber)) = &*made
            && Arc::ptr_eq(known, &now)
        {
            return Arc::clone(scrubber);
        }
        let mut secrets: Vec<SecretString> = Vec::new();
        for grant in &self.scope.grants.http {
            let signing = grant.sign.iter().flat_map(Signing::secret_texts);
            for text in grant.headers.iter().map(|(_, text)| text).chain(signing) {
                secrets.extend(self.secrets.heard(text));
                secrets.extend(now.heard(text));
            }
        }
        let scrubber = Arc::new(Scrubber::new(secrets));
        *made = Some((now, Arc::clone(&scrubber)));
        scrubber
    }
}
