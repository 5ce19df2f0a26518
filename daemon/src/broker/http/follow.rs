//! One request on its way, through its redirects, to a head that a guest may see.
//!
//! Every hop is decided on by the same function and dialled by the same function as a request of its
//! own; what a hop may say is in `redirect`, and the body is read by `body`.

use std::sync::Arc;
use std::time::Instant;

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use tokio::time::timeout_at;
use tokio_util::sync::DropGuard;

use super::body::{Body, Terms};
use super::decode::Coding;
use super::exchange::HttpResponse;
use super::policy::Target;
use super::redirect::{self, Asked};
use super::ticket::Ticket;
use super::upload::{UploadBody, UploadEnd};
use super::{Decided, Desk};
use crate::broker::error::Refusal;

/// Header bytes of a response that a guest can be made to hold.
const HEADER_BYTES_MAX: usize = 256 * 1024;
/// From here on a status says that the request's body is no longer wanted.
const REFUSING_STATUS: u16 = 300;

/// A request under way.
pub(super) struct Trip {
    pub(super) desk: Arc<Desk>,
    pub(super) target: Target,
    pub(super) asked: Asked,
    pub(super) upload: Option<(UploadBody, UploadEnd)>,
    /// How many redirects may still be followed; none: a redirect is the answer.
    pub(super) redirects: Option<u32>,
    pub(super) ends_at: Instant,
    pub(super) ticket: Ticket,
}

/// A response that one reader and another read in the same way.
struct Answer {
    response: reqwest::Response,
    coding: Option<Coding>,
}

impl Trip {
    /// Runs on the host's runtime until the head is here; the guest may do something else meanwhile.
    pub(super) async fn run(mut self, decided: Decided) -> Result<HttpResponse, Refusal> {
        let (body, end) = self.upload.take().unzip();
        let over = end.as_ref().map(|end| end.over.clone().drop_guard());
        // Also when this task is stopped: a guest that writes must not wait for nobody.
        let unwanted = end.map(|end| end.unwanted.drop_guard());
        let (ticket, desk) = (self.ticket.clone(), self.desk.clone());
        let arrived = self.travel(decided, body, over).await;
        match arrived {
            Ok(response) => {
                if let Some(unwanted) = unwanted.filter(|_| response.status < REFUSING_STATUS) {
                    drop(unwanted.disarm());
                }
                Ok(response)
            }
            Err(mut refusal) => {
                refusal.message = desk.scrubber().text(&refusal.message);
                ticket.outcome(refusal.code.as_str());
                ticket.close();
                Err(refusal)
            }
        }
    }

    async fn travel(
        mut self,
        mut decided: Decided,
        mut upload: Option<UploadBody>,
        over: Option<DropGuard>,
    ) -> Result<HttpResponse, Refusal> {
        loop {
            let (signed, holder) = (decided.signed, decided.holder.clone());
            let answer = self.ask(decided, upload.take()).await?;
            let status = answer.response.status();
            self.ticket.outcome(status.as_u16().to_string());
            let next = match self.redirects {
                None => None,
                Some(_) => redirect::location(status, answer.response.headers(), &self.target)?,
            };
            let Some(to) = next else {
                let terms = Terms {
                    desk: self.desk.clone(),
                    target: self.target.clone(),
                    holder,
                    ends_at: self.ends_at,
                    ticket: self.ticket.clone(),
                    _over: over,
                };
                return Ok(arrived(answer, terms));
            };
            // The rest of a redirect's body is of no use; its connection closes unless it is here.
            drop(answer);
            decided = self.turn_to(to, status, signed)?;
        }
    }

    /// Waits for the host's turn, sends the request of this hop, and takes its head.
    async fn ask(
        &mut self,
        mut decided: Decided,
        upload: Option<UploadBody>,
    ) -> Result<Answer, Refusal> {
        let (shared, cancel) = (&self.desk.shared, &self.desk.scope.cancel);
        if let Some(turn) = shared
            .turns
            .take(&self.target, self.ends_at, cancel)
            .await?
        {
            self.ticket.keep(turn);
        }
        if let Some(upload) = upload {
            *decided.request.body_mut() = Some(reqwest::Body::wrap(upload));
        }
        let holder = decided.holder.clone();
        let dialled = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Refusal::cancelled()),
            head = timeout_at(self.ends_at.into(), shared.dialer.dial(&holder, &self.target, decided.request)) => {
                head.unwrap_or_else(|_| {
                    let message = format!("no answer in time from {}", self.target.host());
                    Err(Refusal::retryable("http.timeout", message))
                })
            }
        };
        dialled
            .and_then(|response| checked(response, &self.target))
            .inspect_err(|_| shared.dialer.forget(&holder, &self.target))
    }

    /// Decides on the next hop, whose record begins here.
    fn turn_to(
        &mut self,
        to: Target,
        status: http::StatusCode,
        signed: bool,
    ) -> Result<Decided, Refusal> {
        if signed {
            return Err(redirect::refused(
                &self.target,
                "is not followed, because the request was signed for one address",
            ));
        }
        let Some(left) = self.redirects.and_then(|left| left.checked_sub(1)) else {
            return Err(redirect::refused(&self.target, "is one too many"));
        };
        self.redirects = Some(left);
        redirect::next(&mut self.asked, status, &self.target, &to)?;
        let recorded = self.desk.scrubber().text(&to.recorded());
        let record = self.desk.record(recorded, &self.asked.method)?;
        self.ticket.next(record);
        let from = std::mem::replace(&mut self.target, to);
        let decided = self
            .desk
            .budget
            .call()
            .and_then(|()| self.desk.decide(&self.asked, &self.target))
            .map_err(|refusal| {
                let message = format!("redirected by {}: {}", from.host(), refusal.message);
                Refusal { message, ..refusal }
            })?;
        if decided.signed {
            return Err(redirect::refused(
                &from,
                "leads to an address whose requests are signed",
            ));
        }
        if let redirect::Payload::Held(body) = &self.asked.body {
            self.ticket.sent(body.len());
        }
        Ok(decided)
    }
}

/// Refuses a response that two readers could read in two ways.
fn checked(response: reqwest::Response, target: &Target) -> Result<Answer, Refusal> {
    let refuse = |why: &str| {
        let message = format!("the response of {} {why}", target.host());
        Err(Refusal::retryable("http.protocol", message))
    };
    let map = response.headers();
    if map.contains_key(CONTENT_LENGTH) && map.contains_key(TRANSFER_ENCODING) {
        return refuse("has both a length and a transfer encoding");
    }
    let bytes: usize = map
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if bytes > HEADER_BYTES_MAX {
        return refuse("has more than 256 KiB of headers");
    }
    let coding = match encodings(map).as_slice() {
        [] => None,
        // One that is not known here is the guest's to decode.
        [one] => Coding::named(one),
        _ => return refuse("is encoded more than once"),
    };
    Ok(Answer { response, coding })
}

fn encodings(map: &HeaderMap) -> Vec<String> {
    let mut names = Vec::new();
    for value in map.get_all(CONTENT_ENCODING) {
        for name in String::from_utf8_lossy(value.as_bytes()).split(',') {
            let name = name.trim().to_ascii_lowercase();
            if !name.is_empty() && name != "identity" {
                names.push(name);
            }
        }
    }
    names
}

/// Makes the headers and the address the guest's.
fn arrived(answer: Answer, terms: Terms) -> HttpResponse {
    let scrubber = terms.desk.scrubber();
    let decoded = answer.coding.is_some();
    let headers = answer
        .response
        .headers()
        .iter()
        // What described the encoded body would be wrong about the decoded one.
        .filter(|(name, _)| !decoded || (**name != CONTENT_ENCODING && **name != CONTENT_LENGTH))
        .map(|(name, value)| {
            (
                scrubber.name(name.as_str()),
                scrubber.bytes(value.as_bytes()),
            )
        })
        .collect();
    HttpResponse {
        status: answer.response.status().as_u16(),
        headers,
        url: scrubber.text(terms.target.url().as_str()),
        body: Body::new(answer.response, answer.coding, terms),
    }
}
