//! The brokers that guests of the sandbox's tests and benchmarks meet: nothing is granted.

use std::sync::Arc;

use flowweaver::broker::Broker;

#[path = "../broker_world/mod.rs"]
mod broker_world;

/// Brokers without databases, secrets or targets. To be called on a runtime.
pub fn broker() -> Arc<Broker> {
    broker_world::broker(Default::default(), &[])
}
