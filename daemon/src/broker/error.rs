//! How a host function does not succeed: with an answer for the guest, or with the end of the attempt.
//!
//! What a code means is said in `wit/`; which code applies is decided by each capability.

use wasmtime::component::ResourceTableError;

use super::BrokerView;
use crate::bindings::types::types::{self, Error};

/// An answer that refuses or could not do what the guest asked: the WIT error record, without wasm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// A dotted, stable name: `http.denied`.
    pub code: String,
    /// One sentence for a person; never a secret.
    pub message: String,
    /// Whether the same call may succeed later without anything being changed.
    pub retryable: bool,
    /// The shortest sensible wait, in milliseconds, where the other side said so.
    pub retry_after_ms: Option<u64>,
    /// Anything more, as JSON text.
    pub details: Option<String>,
}

impl Refusal {
    /// An answer that the same call would get again.
    pub fn permanent(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            retryable: false,
            retry_after_ms: None,
            details: None,
        }
    }

    /// An answer that the same call may not get again.
    pub fn retryable(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            retryable: true,
            ..Self::permanent(code, message)
        }
    }

    /// The attempt was cancelled while the call was under way.
    pub fn cancelled() -> Self {
        Self::permanent("cancelled", "the attempt was cancelled")
    }
}

/// Why a call to a broker did not succeed.
#[derive(Debug)]
pub enum CallError {
    /// The guest gets this as its answer and goes on.
    Answer(Refusal),
    /// The attempt ends: the guest broke the contract, or the host could not keep it.
    Trap(wasmtime::Error),
}

/// The host could not do its part, and no answer to the guest would be true. Ends the attempt with
/// `host.broker`, which may be retried; any other trap is taken for the guest's fault.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct HostFault(pub String);

impl From<HostFault> for CallError {
    fn from(fault: HostFault) -> Self {
        Self::Trap(fault.into())
    }
}

impl From<Refusal> for CallError {
    fn from(refusal: Refusal) -> Self {
        Self::Answer(refusal)
    }
}

impl From<wasmtime::Error> for CallError {
    fn from(error: wasmtime::Error) -> Self {
        Self::Trap(error)
    }
}

/// The table is full, or the guest used a handle in a way that its type does not allow.
impl From<ResourceTableError> for CallError {
    fn from(error: ResourceTableError) -> Self {
        Self::Trap(error.into())
    }
}

impl types::Host for BrokerView<'_> {
    fn convert_error(&mut self, error: CallError) -> wasmtime::Result<Error> {
        match error {
            CallError::Answer(refusal) => Ok(Error {
                code: refusal.code,
                message: refusal.message,
                retryable: refusal.retryable,
                retry_after_ms: refusal.retry_after_ms,
                details: refusal.details,
            }),
            CallError::Trap(error) => Err(error),
        }
    }
}
