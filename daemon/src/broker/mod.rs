//! The host side of what a task may import: check the grant, spend the budget, then the effect.
//!
//! One folder or file a capability. How a guest runs is `sandbox`'s business.

use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use wasmtime::component::{HasData, Linker, ResourceTable};

use crate::bindings;
use crate::clock::Timestamp;
use crate::workflow::grant::Grants;
use identity::AttemptIdentity;
use journal::Journal;

pub mod context;
pub mod error;
pub mod http;
pub mod identity;
pub mod journal;
pub mod kv;
pub mod log;
pub mod sql;

/// What one attempt owns of the brokers; lives in the wasmtime Store's data.
#[derive(Debug)]
pub struct BrokerCtx {
    /// Who and where.
    pub identity: Arc<AttemptIdentity>,
    /// What it may reach.
    pub grants: Arc<Grants>,
    /// Where lines and calls go.
    pub journal: Arc<Journal>,
    /// Whether it was cancelled.
    pub cancel: CancellationToken,
    /// When the attempt ends, for host calls that wait.
    pub deadline: Instant,
    /// The same instant, as the guest's `context` shows it.
    pub deadline_at: Timestamp,
}

/// The brokers as a host function sees them.
pub struct BrokerView<'a> {
    /// What the attempt owns.
    pub ctx: &'a mut BrokerCtx,
    /// The resources behind the guest's handles.
    pub table: &'a mut ResourceTable,
}

/// Store data that holds a [`BrokerCtx`].
pub trait BrokerHost: Send {
    /// A view of it.
    fn broker(&mut self) -> BrokerView<'_>;
}

/// Names the view to the linker.
struct HasBroker;

impl HasData for HasBroker {
    type Data<'a> = BrokerView<'a>;
}

/// Adds every `flowweaver:*` import. What an attempt may do with them is decided at each call.
///
/// # Errors
/// When an import was added before.
pub fn add_to_linker<T: BrokerHost + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    bindings::types::types::add_to_linker::<T, HasBroker>(linker, T::broker)?;
    bindings::context::context::add_to_linker::<T, HasBroker>(linker, T::broker)?;
    bindings::log::log::add_to_linker::<T, HasBroker>(linker, T::broker)?;
    bindings::http::client::add_to_linker::<T, HasBroker>(linker, T::broker)?;
    bindings::sql::client::add_to_linker::<T, HasBroker>(linker, T::broker)?;
    bindings::kv::store::add_to_linker::<T, HasBroker>(linker, T::broker)
}

/// What all attempts share of the brokers.
#[derive(Debug, Default)]
pub struct Broker {}

/// What the brokers must know of one attempt.
#[derive(Debug, Clone)]
pub struct AttemptScope {
    /// Who and where.
    pub identity: Arc<AttemptIdentity>,
    /// What it may reach.
    pub grants: Arc<Grants>,
    /// Where lines and calls go.
    pub journal: Arc<Journal>,
    /// Cancelled when the attempt is to stop.
    pub cancel: CancellationToken,
    /// When the attempt ends, for host calls that wait.
    pub deadline: Instant,
    /// The same instant, as the guest's `context` shows it.
    pub deadline_at: Timestamp,
}

impl Broker {
    /// The brokers' part of a new attempt.
    pub fn attempt(self: &Arc<Self>, scope: AttemptScope) -> BrokerCtx {
        let AttemptScope {
            identity,
            grants,
            journal,
            cancel,
            deadline,
            deadline_at,
        } = scope;
        BrokerCtx {
            identity,
            grants,
            journal,
            cancel,
            deadline,
            deadline_at,
        }
    }
}
