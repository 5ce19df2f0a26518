//! The host side of what a task may import: check the grant, spend the budget, then the effect.
//!
//! One folder or file a capability. How a guest runs is `sandbox`'s business.

use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use wasmtime::component::{HasData, Linker, ResourceTable};

use crate::bindings;
use crate::clock::{Clock, Timestamp};
use crate::store::Store;
use crate::workflow::grant::Grants;
use identity::AttemptIdentity;
use journal::Journal;

mod call;
pub mod context;
pub mod error;
pub mod http;
pub mod identity;
pub mod journal;
pub mod kv;
pub mod log;
pub mod secret;
pub mod settings;
pub mod sql;

use secret::Secrets;
use settings::{BrokerError, BrokerSettings};

/// What all attempts share of the brokers: connections, secrets, databases, the key-value store.
pub struct Broker {
    http: Arc<http::HttpShared>,
    sql: Arc<sql::SqlShared>,
    kv: Arc<kv::KvShared>,
    secrets: Arc<Secrets>,
}

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
    /// The brokers of a process. Effects run on the tokio runtime that this is called on.
    ///
    /// # Errors
    /// When a setting is wrong, TLS cannot be set up, or there is no runtime.
    pub fn new(
        settings: BrokerSettings,
        secrets: impl Into<Arc<Secrets>>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, BrokerError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| BrokerError::NoRuntime)?;
        let secrets = secrets.into();
        let dialling = (settings.network, settings.hosts);
        let limits = (settings.host_limits, settings.http);
        let http = http::HttpShared::new(
            dialling,
            limits,
            secrets.clone(),
            clock.clone(),
            runtime.clone(),
        )?;
        let sql = sql::SqlShared::new(
            settings.databases,
            settings.own,
            settings.sql,
            clock.clone(),
            runtime,
        )?;
        Ok(Arc::new(Self {
            http: Arc::new(http),
            sql: Arc::new(sql),
            kv: Arc::new(kv::KvShared {
                store,
                clock,
                quota: settings.kv,
            }),
            secrets,
        }))
    }

    /// Notices new values of the secrets that an attempt is granted. To be called before it begins.
    pub async fn freshen(&self, grants: &Grants) {
        self.secrets.freshen(grants).await;
    }

    /// Asks the configured database servers whether one of them is the daemon's own store. Those that
    /// do not answer within seconds are asked again before their first statement.
    ///
    /// # Errors
    /// When one is.
    pub async fn check(&self) -> Result<(), BrokerError> {
        Ok(self.sql.are_strange().await?)
    }

    /// The brokers' part of a new attempt.
    pub fn attempt(self: &Arc<Self>, scope: AttemptScope) -> BrokerCtx {
        BrokerCtx {
            http: http::HttpCtx::new(self.http.clone(), scope.clone()),
            sql: sql::SqlCtx::new(self.sql.clone(), scope.clone()),
            kv: kv::KvCtx::new(self.kv.clone(), scope.clone()),
            identity: scope.identity,
            grants: scope.grants,
            journal: scope.journal,
            cancel: scope.cancel,
            deadline: scope.deadline,
            deadline_at: scope.deadline_at,
        }
    }
}

/// What one attempt owns of the brokers; lives in the wasmtime Store's data. Whatever is under way
/// when it is dropped is given up.
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
    /// HTTP, without wasm.
    pub http: http::HttpCtx,
    /// Databases, without wasm.
    pub sql: sql::SqlCtx,
    /// Key-value state, without wasm.
    pub kv: kv::KvCtx,
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
