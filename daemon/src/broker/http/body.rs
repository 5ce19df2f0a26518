//! The body of a response, in portions: counted, decoded, scrubbed, never held whole.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

use super::HttpShared;
use super::budget::Budget;
use super::dial;
use super::policy::Target;
use super::scrub::Scrubber;
use crate::broker::call::CallRecord;
use crate::broker::error::Refusal;

/// The most that one `read` answers, whatever the guest asks for: portions keep the host's memory
/// and the time between two looks at the guest's own limits small.
pub const PORTION_BYTES_MAX: usize = 1024 * 1024;
/// How much compressed input is decoded at a time: deflate expands at most 1032 times, so a step
/// makes at most a little over one portion.
const COMPRESSED_STEP: usize = 1024;
/// Text compresses 3 to 30 times; what expands more than this is a bomb or worthless.
const RATIO_MAX: u64 = 200;
/// Small bodies may expand as they like: a page of spaces is no attack.
const RATIO_FREE_BYTES: u64 = 4 * 1024 * 1024;

/// What a body needs beside the connection.
pub(super) struct Terms {
    pub(super) shared: Arc<HttpShared>,
    pub(super) target: Target,
    pub(super) scrubber: Arc<Scrubber>,
    pub(super) budget: Arc<Budget>,
    pub(super) cancel: CancellationToken,
    pub(super) ends_at: Instant,
    pub(super) record: CallRecord,
    pub(super) _place: OwnedSemaphorePermit,
}

/// A body being read.
pub(super) struct Body {
    state: State,
    terms: Option<Terms>,
    gzip: Option<MultiGzDecoder<Vec<u8>>>,
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
    pub(super) fn new(response: reqwest::Response, gzip: bool, terms: Terms) -> Self {
        Self {
            state: State::Open(response),
            terms: Some(terms),
            gzip: gzip.then(|| MultiGzDecoder::new(Vec::new())),
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
        if let Some(mut terms) = self.terms.take() {
            refusal.message = terms.scrubber.text(&refusal.message);
            terms.record.outcome(refusal.code.as_str());
            // Hyper closes a connection whose body was not read to its end, but a short one may
            // have been read whole before its fault was found.
            terms.shared.dialer.forget(&terms.target);
        }
        (self.raw, self.carry, self.gzip) = (Bytes::new(), Vec::new(), None);
        self.state = State::Failed(refusal);
    }

    async fn advance(&mut self) -> Result<(), Refusal> {
        let (State::Open(response), Some(terms)) = (&mut self.state, &mut self.terms) else {
            return Ok(());
        };
        if self.raw.is_empty() {
            let chunk = tokio::select! {
                biased;
                () = terms.cancel.cancelled() => return Err(Refusal::cancelled()),
                chunk = timeout_at(terms.ends_at.into(), response.chunk()) => chunk,
            };
            let chunk = chunk
                .map_err(|_| {
                    Refusal::retryable("http.timeout", "the response's body did not end in time")
                })?
                .map_err(|error| dial::failed(&terms.target, &error))?;
            match chunk {
                Some(bytes) => {
                    terms.record.received(bytes.len());
                    self.received += bytes.len() as u64;
                    self.raw = bytes;
                }
                None => return self.end(),
            }
        }
        self.decode_step()
    }

    fn decode_step(&mut self) -> Result<(), Refusal> {
        let decoded = match &mut self.gzip {
            None => Vec::from(std::mem::take(&mut self.raw)),
            Some(gzip) => {
                let step = self.raw.split_to(COMPRESSED_STEP.min(self.raw.len()));
                gzip.write_all(&step)
                    .and_then(|()| gzip.flush())
                    .map_err(bad_encoding)?;
                std::mem::take(gzip.get_mut())
            }
        };
        self.hand_over(&decoded)
    }

    fn hand_over(&mut self, decoded: &[u8]) -> Result<(), Refusal> {
        self.decoded += decoded.len() as u64;
        let Some(terms) = &self.terms else {
            return Ok(());
        };
        terms.budget.receive(self.decoded, decoded.len() as u64)?;
        if self.gzip.is_some()
            && self.decoded > RATIO_FREE_BYTES
            && self.decoded / RATIO_MAX > self.received
        {
            return Err(Refusal::permanent(
                "limit.http-body",
                format!("the response's body expands more than {RATIO_MAX} times"),
            ));
        }
        self.ready = terms.scrubber.portion(&mut self.carry, decoded).into();
        Ok(())
    }

    fn end(&mut self) -> Result<(), Refusal> {
        // A body without any byte is also right for HEAD, 204 and 304, whatever its encoding says.
        if let Some(gzip) = self.gzip.as_mut().filter(|_| self.received > 0) {
            gzip.try_finish().map_err(bad_encoding)?;
            let rest = std::mem::take(gzip.get_mut());
            self.hand_over(&rest)?;
        }
        let mut last = Vec::from(std::mem::take(&mut self.ready));
        last.append(&mut self.carry);
        self.ready = last.into();
        self.state = State::Ended;
        // The record is written and the place among the concurrent requests is free.
        self.terms = None;
        Ok(())
    }
}

fn bad_encoding(error: std::io::Error) -> Refusal {
    Refusal::retryable(
        "http.protocol",
        format!("the response's body is not valid gzip: {error}"),
    )
}
