//! The REST interface: one handler = parse, authorize, call one verb, view.
//!
//! What the verbs do is the business of `engine`, `reload` and `store`. Until users exist, the only
//! door is the socket in the state folder, whose file mode lets its owner in and nobody else.

mod authorize;
mod events;
mod kv;
mod local;
mod problem;
mod routes;
mod runs;
mod schedules;
mod secrets;
mod socket;
mod tasks;
mod views;
mod workflows;

pub use axum::Router;
pub use local::{BodyError, LocalApi, ReplyBody};
pub use routes::{RouteEntry, router, table};
pub use runs::PAGE_MAX;
pub use socket::{SOCKET_NAME, serve_socket};

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::broker::kv::KvQuota;
use crate::broker::secret::Secrets;
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::engine::EngineHandle;
use crate::reload::Versions;
use crate::schedule::Schedules;
use crate::store::Store;

/// What the handlers work on.
#[derive(Clone)]
pub struct ApiState {
    /// What can be run.
    pub catalog: Arc<ArcSwap<Catalog>>,
    /// What runs.
    pub engine: EngineHandle,
    /// What is recorded.
    pub store: Arc<dyn Store>,
    /// What recorded runs were compiled from.
    pub versions: Arc<Versions>,
    /// When what is live starts by itself.
    pub schedules: Schedules,
    /// What is secret, of which only names are shown.
    pub secrets: Arc<Secrets>,
    /// What the key-value state of a workflow may take.
    pub kv_quota: KvQuota,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Cancelled when the daemon stops: what never ends by itself ends then.
    pub stop: CancellationToken,
}
