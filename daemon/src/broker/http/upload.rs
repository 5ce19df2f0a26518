//! A request's body that a guest writes while the request is under way.
//!
//! A few portions lie between the guest and the connection; when they are full the guest waits. Ends
//! and lengths are kept here, so that a request whose body is incomplete never looks complete to its
//! server: the connection is closed instead.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::timeout_at;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::budget::Budget;
use super::request::StreamedBody;
use crate::broker::error::Refusal;

/// One write is cut into portions of this size, so that the room is a matter of bytes.
const PORTION_BYTES: usize = 64 * 1024;
/// With the portion's size 256 KiB: enough for the network to stay busy while the guest makes more.
const PORTIONS: usize = 4;

/// How a body's writing ended; not set while it goes on.
type Ended = Arc<OnceLock<Result<(), Refusal>>>;

/// The guest's end.
pub(super) struct Upload {
    portions: Option<mpsc::Sender<Bytes>>,
    ended: Ended,
    length: Option<u64>,
    written: u64,
    unwanted: CancellationToken,
}

/// The host's side of it: tells when the body is no longer wanted, and when the exchange is over.
#[derive(Clone)]
pub(super) struct UploadEnd {
    /// Cancelled when the server has refused the request, or there will be no response.
    pub(super) unwanted: CancellationToken,
    /// Cancelled when nobody waits for the response or its body any more.
    pub(super) over: CancellationToken,
}

/// The connection's end.
pub(super) struct UploadBody {
    portions: mpsc::Receiver<Bytes>,
    ended: Ended,
    left: Option<u64>,
    over: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// Why a body did not end as it should. Found again in the transport's error.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(super) struct UploadError(pub(super) Refusal);

/// A streamed body: for the guest, for the connection, and for the task between them.
pub(super) fn pair(body: StreamedBody) -> (Upload, UploadBody, UploadEnd) {
    let (sender, receiver) = mpsc::channel(PORTIONS);
    let ended = Ended::default();
    let end = UploadEnd {
        unwanted: CancellationToken::new(),
        over: CancellationToken::new(),
    };
    let upload = Upload {
        portions: Some(sender),
        ended: ended.clone(),
        length: body.length,
        written: 0,
        unwanted: end.unwanted.clone(),
    };
    let body = UploadBody {
        portions: receiver,
        ended,
        left: body.length,
        over: Box::pin(end.over.clone().cancelled_owned()),
    };
    (upload, body, end)
}

impl Upload {
    /// Hands bytes over, waiting for room.
    pub(super) async fn write(
        &mut self,
        bytes: Vec<u8>,
        budget: &Budget,
        cancel: &CancellationToken,
        ends_at: Instant,
    ) -> Result<(), Refusal> {
        let portions = self.portions()?;
        let written = self.written.saturating_add(bytes.len() as u64);
        if let Some(length) = self.length.filter(|length| written > *length) {
            return Err(self.fail(invalid(format!(
                "the body was said to have {length} bytes and has more"
            ))));
        }
        if let Err(refusal) = budget.upload(bytes.len() as u64) {
            return Err(self.fail(refusal));
        }
        self.written = written;
        let mut bytes = Bytes::from(bytes);
        while !bytes.is_empty() {
            let portion = bytes.split_to(PORTION_BYTES.min(bytes.len()));
            let room = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(Refusal::cancelled()),
                () = self.unwanted.cancelled() => return Err(ended()),
                room = timeout_at(ends_at.into(), portions.reserve()) => room,
            };
            let room = room.map_err(|_| {
                Refusal::retryable("http.timeout", "the request's body was not taken in time")
            })?;
            room.map_err(|_| ended())?.send(portion);
        }
        Ok(())
    }

    /// Ends the body.
    pub(super) fn end(&mut self) -> Result<(), Refusal> {
        self.portions()?;
        if let Some(length) = self.length.filter(|length| self.written < *length) {
            let written = self.written;
            return Err(self.fail(invalid(format!(
                "the body was said to have {length} bytes and has {written}"
            ))));
        }
        self.settle(Ok(()));
        Ok(())
    }

    fn portions(&self) -> Result<mpsc::Sender<Bytes>, Refusal> {
        if let Some(Err(refusal)) = self.ended.get() {
            return Err(refusal.clone());
        }
        self.portions
            .clone()
            .ok_or_else(|| invalid("the body was ended already".to_owned()))
    }

    fn fail(&mut self, refusal: Refusal) -> Refusal {
        self.settle(Err(refusal.clone()));
        refusal
    }

    fn settle(&mut self, how: Result<(), Refusal>) {
        // It is settled once: afterwards there are no portions, and this is not reached again.
        let _ = self.ended.set(how);
        self.portions = None;
    }
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        if let Poll::Ready(next) = self.portions.poll_recv(cx) {
            if let Some(portion) = next {
                if let Some(left) = &mut self.left {
                    *left = left.saturating_sub(portion.len() as u64);
                }
                return Poll::Ready(Some(Ok(Frame::data(portion))));
            }
            match self.ended.get() {
                Some(Ok(())) => return Poll::Ready(None),
                Some(Err(refusal)) => return Poll::Ready(Some(Err(UploadError(refusal.clone())))),
                // Dropped by a guest that has the response: the connection is needed until that
                // is read, so the request stays incomplete for so long.
                None => {}
            }
        }
        ready!(self.over.as_mut().poll(cx));
        let message = "the request was given up before its body ended".to_owned();
        Poll::Ready(Some(Err(UploadError(invalid(message)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

fn ended() -> Refusal {
    Refusal::permanent(
        "http.ended",
        "the request's body is no longer wanted; its response says why",
    )
}

fn invalid(message: String) -> Refusal {
    Refusal::permanent("http.invalid", message)
}
