//! `flowweaver:kv`: durable state of a workflow. Nothing is granted here yet: every call is denied.

use super::BrokerView;
use super::error::{CallError, Refusal};
use crate::bindings::kv::store::{Entry, Host};

fn denied() -> CallError {
    Refusal::permanent("kv.denied", "the task has no key-value grant").into()
}

impl Host for BrokerView<'_> {
    async fn get(&mut self, _: String) -> Result<Option<Entry>, CallError> {
        Err(denied())
    }
    async fn set(&mut self, _: String, _: Vec<u8>, _: Option<u64>) -> Result<u64, CallError> {
        Err(denied())
    }
    async fn compare_and_set(
        &mut self,
        _: String,
        _: Option<u64>,
        _: Vec<u8>,
        _: Option<u64>,
    ) -> Result<Option<u64>, CallError> {
        Err(denied())
    }
    async fn delete(&mut self, _: String) -> Result<bool, CallError> {
        Err(denied())
    }
    async fn keys(
        &mut self,
        _: String,
        _: Option<String>,
        _: u32,
    ) -> Result<Vec<String>, CallError> {
        Err(denied())
    }
}
