//! The guest's handles: a request on its way, and a response whose head has arrived.
//!
//! The request itself is driven by `follow` on the host's runtime.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinHandle;

use super::Desk;
use super::body::Body;
use super::ticket::Ticket;
use super::upload::Upload;
use crate::broker::error::Refusal;

/// A request on its way. Dropping it gives the request up, unless its response was taken.
pub struct HttpExchange {
    pub(super) task: Option<JoinHandle<Result<HttpResponse, Refusal>>>,
    pub(super) ticket: Ticket,
    pub(super) upload: Option<Upload>,
    pub(super) desk: Arc<Desk>,
    pub(super) ends_at: Instant,
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

    /// Adds bytes to a streamed body, waiting for room.
    pub async fn write_body(&mut self, bytes: Vec<u8>) -> Result<(), Refusal> {
        let upload = self.upload.as_mut().ok_or_else(not_streamed)?;
        let length = bytes.len();
        let (budget, cancel) = (&self.desk.budget, &self.desk.scope.cancel);
        upload.write(bytes, budget, cancel, self.ends_at).await?;
        self.ticket.sent(length);
        Ok(())
    }

    /// Ends a streamed body.
    pub fn end_body(&mut self) -> Result<(), Refusal> {
        self.upload.as_mut().ok_or_else(not_streamed)?.end()
    }
}

fn not_streamed() -> Refusal {
    Refusal::permanent("http.invalid", "the request's body is not streamed")
}

impl Drop for HttpExchange {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
            // The task notices later than the attempt's journal is read for the last time.
            self.ticket.close();
        }
    }
}

/// A response whose head has arrived. Dropping it closes the connection unless the body was read.
pub struct HttpResponse {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) url: String,
    pub(super) body: Body,
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

    /// The next bytes of the body, decoded, at most `max` and
    /// [`PORTION_BYTES_MAX`](super::PORTION_BYTES_MAX); none at its end.
    pub async fn read(&mut self, max: u32) -> Result<Option<Vec<u8>>, Refusal> {
        self.body.read(max as usize).await
    }
}
