//! How much HTTP one attempt may do. Every limit has a name, a default with a reason, and an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::broker::error::Refusal;

/// What one attempt may use of HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpLimits {
    /// Requests in all. Default 1,000: more is a loop of tasks, and each is recorded.
    pub calls: u32,
    /// Requests at one time. Default 16: more than polite clients open to one server.
    pub concurrent: u32,
    /// Bytes sent in bodies that are held, in all. Default 64 MiB.
    pub sent_bytes: u64,
    /// Bytes of one request's body, which is held in memory while it is built and signed. Default 16 MiB.
    pub request_bytes: u64,
    /// Bytes of streamed request bodies, in all. Default 256 MiB: they go through in portions, so this
    /// bounds traffic and not memory.
    pub upload_bytes: u64,
    /// Bytes received in bodies, decoded, in all. Default 256 MiB.
    pub received_bytes: u64,
    /// Bytes of one response's body, decoded. Default 64 MiB: it is read in portions, so this bounds
    /// traffic and not memory.
    pub response_bytes: u64,
    /// From sending to the last byte, where the request says nothing. Default 30 s.
    pub timeout: Duration,
    /// The most that a request can ask for. Default 10 min: language models think long.
    pub timeout_max: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Self {
            calls: 1_000,
            concurrent: 16,
            sent_bytes: 64 * MIB,
            request_bytes: 16 * MIB,
            upload_bytes: 256 * MIB,
            received_bytes: 256 * MIB,
            response_bytes: 64 * MIB,
            timeout: Duration::from_secs(30),
            timeout_max: Duration::from_secs(600),
        }
    }
}

/// What is left of the limits.
pub(super) struct Budget {
    limits: HttpLimits,
    calls: AtomicU32,
    sent: AtomicU64,
    uploaded: AtomicU64,
    received: AtomicU64,
    places: Arc<Semaphore>,
}

impl Budget {
    pub(super) fn new(limits: HttpLimits) -> Self {
        let places = Arc::new(Semaphore::new(limits.concurrent as usize));
        Self {
            limits,
            calls: AtomicU32::new(0),
            sent: AtomicU64::new(0),
            uploaded: AtomicU64::new(0),
            received: AtomicU64::new(0),
            places,
        }
    }

    pub(super) fn limits(&self) -> &HttpLimits {
        &self.limits
    }

    /// Counts a request, denied ones included: asking is not free either.
    pub(super) fn call(&self) -> Result<(), Refusal> {
        if self.calls.fetch_add(1, Ordering::Relaxed) < self.limits.calls {
            return Ok(());
        }
        self.calls.fetch_sub(1, Ordering::Relaxed);
        let message = format!("an attempt makes at most {} requests", self.limits.calls);
        Err(Refusal::permanent("limit.http-calls", message))
    }

    /// A place among the requests under way.
    pub(super) fn place(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        self.places.clone().try_acquire_owned().map_err(|_| {
            let message = format!(
                "{} requests are under way; read one to its end or drop it first",
                self.limits.concurrent
            );
            Refusal::permanent("limit.http-calls", message)
        })
    }

    /// Counts bytes that a guest adds to a body of `length` bytes so far.
    pub(super) fn send(&self, length: u64, more: u64) -> Result<(), Refusal> {
        let whole = length.saturating_add(more);
        if whole > self.limits.request_bytes {
            return Err(too_much("a request's body", self.limits.request_bytes));
        }
        take(&self.sent, more, self.limits.sent_bytes)
            .ok_or_else(|| too_much("an attempt's request bodies", self.limits.sent_bytes))
    }

    /// Counts bytes that a guest writes to a streamed body.
    pub(super) fn upload(&self, more: u64) -> Result<(), Refusal> {
        take(&self.uploaded, more, self.limits.upload_bytes)
            .ok_or_else(|| too_much("an attempt's streamed bodies", self.limits.upload_bytes))
    }

    /// Counts `more` decoded bytes of a response that has `whole` with them.
    pub(super) fn receive(&self, whole: u64, more: u64) -> Result<(), Refusal> {
        if whole > self.limits.response_bytes {
            return Err(too_much("a response's body", self.limits.response_bytes));
        }
        take(&self.received, more, self.limits.received_bytes)
            .ok_or_else(|| too_much("an attempt's response bodies", self.limits.received_bytes))
    }
}

fn take(used: &AtomicU64, more: u64, max: u64) -> Option<()> {
    used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
        now.checked_add(more).filter(|sum| *sum <= max)
    })
    .ok()
    .map(|_| ())
}

fn too_much(what: &str, max: u64) -> Refusal {
    Refusal::permanent(
        "limit.http-body",
        format!("{what} may have at most {max} bytes"),
    )
}
