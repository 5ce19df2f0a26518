//! The REST interface: one handler = parse, authorize, call one verb, view.
//!
//! What the verbs do is the business of `engine`, `reload`, `access` and `store`.

mod audit;
mod auth;
mod authorize;
mod dead_letters;
mod edge;
mod events;
mod family;
mod json;
mod kv;
mod local;
mod page;
mod places;
mod problem;
mod roles;
mod routes;
mod runs;
mod schedules;
mod secrets;
mod socket;
mod tasks;
mod tcp;
mod tokens;
mod users;
mod views;
mod workflows;

pub use authorize::{Door, ORGANIZATION};
pub use axum::Router;
pub use edge::Edge;
pub use local::{BodyError, LocalApi, ReplyBody};
pub use routes::{RouteEntry, owners, router, table};
pub use runs::PAGE_MAX;
pub use socket::{SOCKET_NAME, serve_socket};
pub use tcp::serve_tcp;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::access::Access;
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
    /// Who may do what.
    pub access: Arc<Access>,
    /// How the daemon looks from where browsers are.
    pub edge: Arc<Edge>,
    /// Where workflow files are: each organization's in a folder of its name.
    pub flows: PathBuf,
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
