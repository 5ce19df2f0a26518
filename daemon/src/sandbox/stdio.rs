//! A guest's standard output and error as journal lines.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

// A line longer than the journal takes is cut into several here, so that nothing of it is lost.
use crate::broker::journal::{Journal, LINE_BYTES_MAX, Line};
use crate::clock::{Clock as _, SystemClock};
use crate::run::status::Level;

/// What one stream of one attempt may write; an ordinary log is a hundredth of it.
const BYTES_MAX: usize = 1 << 20;
/// Two streams at their limit leave the journal (10,000 lines) room for the task's own lines.
const LINES_MAX: usize = 4_000;
/// What a guest may write in one call; larger writes come in pieces.
const PERMIT: usize = 64 << 10;

/// One stream; clones write to the same lines.
#[derive(Clone)]
pub(super) struct LineStream(Arc<Mutex<Lines>>);

struct Lines {
    journal: Arc<Journal>,
    level: Level,
    partial: Vec<u8>,
    bytes: usize,
    lines: usize,
    full: bool,
}

impl LineStream {
    /// A stream whose lines have this level.
    pub(super) fn new(journal: Arc<Journal>, level: Level) -> Self {
        Self(Arc::new(Mutex::new(Lines {
            journal,
            level,
            partial: Vec::new(),
            bytes: 0,
            lines: 0,
            full: false,
        })))
    }

    fn take(&self, bytes: &[u8]) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(bytes);
    }
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.full {
                return;
            }
            let room = BYTES_MAX - self.bytes;
            let (piece, ended) = match piece.strip_suffix(b"\n") {
                Some(line) => (line, true),
                None => (piece, false),
            };
            for part in piece
                .get(..room.min(piece.len()))
                .unwrap_or_default()
                .chunks(LINE_BYTES_MAX)
            {
                if self.partial.len() + part.len() > LINE_BYTES_MAX {
                    self.emit();
                }
                self.partial.extend_from_slice(part);
            }
            self.bytes += piece.len().min(room);
            if ended {
                self.emit();
            }
            if self.bytes >= BYTES_MAX || self.lines >= LINES_MAX {
                self.overflow();
            }
        }
    }

    fn emit(&mut self) {
        let line = std::mem::take(&mut self.partial);
        let text = String::from_utf8_lossy(&line);
        self.write(text.strip_suffix('\r').unwrap_or(&text).to_owned());
        self.lines += 1;
    }

    fn overflow(&mut self) {
        if !self.partial.is_empty() {
            self.emit();
        }
        self.full = true;
        self.write(format!(
            "[output past {LINES_MAX} lines or {BYTES_MAX} bytes is not kept]"
        ));
    }

    fn write(&self, message: String) {
        self.journal.line(Line {
            at: SystemClock.now(),
            level: self.level,
            message,
            fields: Vec::new(),
        });
    }
}

/// A last line without its end is still a line.
impl Drop for Lines {
    fn drop(&mut self) {
        if !self.partial.is_empty() && !self.full {
            self.emit();
        }
    }
}

impl IsTerminal for LineStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LineStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for LineStream {
    async fn ready(&mut self) {}
}

impl OutputStream for LineStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT)
    }
}

impl AsyncWrite for LineStream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
