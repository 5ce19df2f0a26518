//! How a host function does not succeed: with an answer for the guest, or with the end of the attempt.

use wasmtime::component::ResourceTableError;

use super::BrokerView;
use crate::bindings::types::types::{self, Error};

/// Why a call to a broker did not succeed.
#[derive(Debug)]
pub enum CallError {
    /// The guest gets this record as its answer and goes on.
    Answer(Error),
    /// The attempt ends: the guest broke the contract, or the host could not keep it.
    Trap(wasmtime::Error),
}

impl CallError {
    /// An answer that the same call will get again.
    pub fn permanent(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Answer(Error {
            code: code.into(),
            message: message.into(),
            retryable: false,
            retry_after_ms: None,
            details: None,
        })
    }

    /// An answer after which the same call may succeed later.
    pub fn retryable(code: impl Into<String>, message: impl Into<String>) -> Self {
        match Self::permanent(code, message) {
            Self::Answer(error) => Self::Answer(Error {
                retryable: true,
                ..error
            }),
            trap @ Self::Trap(_) => trap,
        }
    }
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
            CallError::Answer(error) => Ok(error),
            CallError::Trap(error) => Err(error),
        }
    }
}
