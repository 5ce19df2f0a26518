//! The brokers that guests of the sandbox's tests and benchmarks meet: nothing is granted.

use std::sync::Arc;

use flowweaver::broker::Broker;

/// Brokers without databases, secrets or targets.
pub fn broker() -> Arc<Broker> {
    Arc::new(Broker::default())
}
