//! The body of a response, in portions: counted, decoded, scrubbed, never held whole.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::time::timeout_at;
use tokio_util::sync::DropGuard;

use super::Desk;
use super::decode::{Coding, Decoder};
use super::dial::{self, Holder};
use super::policy::Target;
use super::ticket::Ticket;
use crate::broker::error::Refusal;

/// The most that one `read` answers, whatever the guest asks for: portions keep the host's memory
/// and the time between two looks at the guest's own limits small.
pub const PORTION_BYTES_MAX: usize = 1024 * 1024;
/// Text compresses 3 to 30 times; what expands more than this is a bomb or worthless.
const RATIO_MAX: u64 = 200;
/// Small bodies may expand as they like: a page of spaces is no attack.
const RATIO_FREE_BYTES: u64 = 4 * 1024 * 1024;

/// What a body needs beside the connection.
pub(super) struct Terms {
    pub(super) desk: Arc<Desk>,
    pub(super) target: Target,
    pub(super) holder: Holder,
    pub(super) ends_at: Instant,
    pub(super) ticket: Ticket,
    /// Ends a request's body that is still being written.
    pub(super) _over: Option<DropGuard>,
}

impl Drop for Terms {
    fn drop(&mut self) {
        self.ticket.close();
    }
}

/// A body being read.
pub(super) struct Body {
    state: State,
    terms: Option<Terms>,
    decoder: Option<Decoder>,
    /// Received and not yet decoded.
    raw: Bytes,
    /// Decoded, perhaps the beginning of a secret.
    carry: Vec<u8>,
    /// For the guest.
    ready: Bytes,
    received: u64,
    decoded: u64,
}

enum State {
    Open(reqwest::Response),
    Ended,
    Failed(Refusal),
}

impl Body {
    pub(super) fn new(response: reqwest::Response, coding: Option<Coding>, terms: Terms) -> Self {
        Self {
            state: State::Open(response),
            terms: Some(terms),
            decoder: coding.map(Decoder::new),
            raw: Bytes::new(),
            carry: Vec::new(),
            ready: Bytes::new(),
            received: 0,
            decoded: 0,
        }
    }

    /// The next bytes, at most `max`; none at the end. After an error every call answers it again.
    pub(super) async fn read(&mut self, max: usize) -> Result<Option<Vec<u8>>, Refusal> {
        if max == 0 {
            return Err(Refusal::permanent(
                "http.invalid",
                "a read asks for at least one byte",
            ));
        }
        loop {
            if !self.ready.is_empty() {
                let portion = self
                    .ready
                    .split_to(max.min(PORTION_BYTES_MAX).min(self.ready.len()));
                return Ok(Some(portion.into()));
            }
            match &self.state {
                State::Ended => return Ok(None),
                State::Failed(refusal) => return Err(refusal.clone()),
                State::Open(_) => {}
            }
            if let Err(refusal) = self.advance().await {
                self.fail(refusal);
            }
        }
    }

    fn fail(&mut self, mut refusal: Refusal) {
        if let Some(terms) = self.terms.take() {
            refusal.message = terms.desk.scrubber().text(&refusal.message);
            terms.ticket.outcome(refusal.code.as_str());
            // Hyper closes a connection whose body was not read to its end, but a short one may
            // have been read whole before its fault was found.
            let dialer = &terms.desk.shared.dialer;
            dialer.forget(&terms.holder, &terms.target);
        }
        (self.raw, self.carry, self.decoder) = (Bytes::new(), Vec::new(), None);
        self.state = State::Failed(refusal);
    }

    async fn advance(&mut self) -> Result<(), Refusal> {
        let (State::Open(response), Some(terms)) = (&mut self.state, &self.terms) else {
            return Ok(());
        };
        let has_more = self.decoder.as_ref().is_some_and(Decoder::has_more);
        if self.raw.is_empty() && !has_more {
            let chunk = tokio::select! {
                biased;
                () = terms.desk.scope.cancel.cancelled() => return Err(Refusal::cancelled()),
                chunk = timeout_at(terms.ends_at.into(), response.chunk()) => chunk,
            };
            let chunk = chunk
                .map_err(|_| {
                    Refusal::retryable("http.timeout", "the response's body did not end in time")
                })?
                .map_err(|error| dial::failed(&terms.target, &error))?;
            match chunk {
                Some(bytes) => {
                    terms.ticket.received(bytes.len());
                    self.received += bytes.len() as u64;
                    self.raw = bytes;
                }
                None => return self.end(),
            }
        }
        self.decode_step()
    }

    fn decode_step(&mut self) -> Result<(), Refusal> {
        let decoded = match &mut self.decoder {
            None => Vec::from(std::mem::take(&mut self.raw)),
            Some(decoder) => decoder.step(&mut self.raw).map_err(bad_encoding)?,
        };
        self.hand_over(&decoded)
    }

    fn hand_over(&mut self, decoded: &[u8]) -> Result<(), Refusal> {
        self.decoded += decoded.len() as u64;
        let Some(terms) = &self.terms else {
            return Ok(());
        };
        let budget = &terms.desk.budget;
        budget.receive(self.decoded, decoded.len() as u64)?;
        if self.decoder.is_some()
            && self.decoded > RATIO_FREE_BYTES
            && self.decoded / RATIO_MAX > self.received
        {
            return Err(Refusal::permanent(
                "limit.http-body",
                format!("the response's body expands more than {RATIO_MAX} times"),
            ));
        }
        let scrubber = terms.desk.scrubber();
        self.ready = scrubber.portion(&mut self.carry, decoded).into();
        Ok(())
    }

    fn end(&mut self) -> Result<(), Refusal> {
        // A body without any byte is also right for HEAD, 204 and 304, whatever its encoding says.
        if let Some(decoder) = self.decoder.as_mut().filter(|_| self.received > 0) {
            let rest = decoder.finish().map_err(bad_encoding)?;
            self.hand_over(&rest)?;
        }
        if let Some(terms) = &self.terms {
            let mut last = Vec::from(std::mem::take(&mut self.ready));
            last.append(&mut terms.desk.scrubber().last(&mut self.carry));
            self.ready = last.into();
        }
        self.state = State::Ended;
        // The record is written and the places are free.
        self.terms = None;
        Ok(())
    }
}

fn bad_encoding(error: std::io::Error) -> Refusal {
    Refusal::retryable(
        "http.protocol",
        format!("the response's body is not encoded as it says: {error}"),
    )
}
