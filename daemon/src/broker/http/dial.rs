//! The one function that dials, and the clients it dials with.
//!
//! Every address is checked at the moment of connecting: a name's answers in the resolver that the
//! client uses, a literal address (for which no resolver is asked) just before. If any answer for a
//! name is forbidden the whole name is: a resolver that lies must not win by the order of its
//! answers, and a service that is half private is not one a task should reach by name.
//!
//! There is a client for every host, port and grant. For every host and port, because the resolver is
//! told a name but not the port, and permissions are for pairs of both, and because what a misbehaving
//! server has touched can be forgotten without touching anything else. For every grant, because some
//! servers let a connection keep what one request on it has proved (NTLM does), and some can be made
//! to leave an answer behind for the next: no connection is ever shared by two grants, two workflows or
//! two organizations. Attempts under one grant do share them.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Request, Response, redirect, retry};

use super::address::{AddressDenied, Network};
use super::policy::Target;
use super::upload::UploadError;
use crate::broker::error::Refusal;
use crate::id::{OrganizationId, WorkflowName};

/// A server that does not even accept a connection in this time is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Servers commonly close idle connections after a minute or more; staying below avoids the race.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle connections kept for one host and port.
const IDLE_PER_HOST: usize = 16;
/// A wildcard grant can reach any number of hosts; past this many the clients are made anew.
const CLIENTS_MAX: usize = 512;
/// Hyper's own default, stated: a server that sends more is not answering, it is attacking.
const RESPONSE_HEADERS_MAX: usize = 100;

/// Answers for names in place of the machine's resolver; none: the machine is asked. They are
/// checked like any others.
#[derive(Clone, Default)]
pub struct Hosts(Option<Arc<Answers>>);

type Answers = dyn Fn(&str) -> Option<Vec<IpAddr>> + Send + Sync;

impl Hosts {
    /// Names that `answers` knows; it is asked anew for every connection.
    pub fn new(answers: impl Fn(&str) -> Option<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(answers)))
    }

    fn of(&self, name: &str) -> Option<Vec<IpAddr>> {
        self.0.as_ref().and_then(|answers| answers(name))
    }
}

impl fmt::Debug for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hosts").field(&self.0.is_some()).finish()
    }
}

/// Who a connection belongs to: requests of another holder never use it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Holder {
    pub(super) organization: OrganizationId,
    pub(super) workflow: WorkflowName,
    /// The line of the grant in the workflow's file.
    pub(super) grant: usize,
}

/// What a client is made for.
type Key = (Holder, String, u16);

/// Dials; nothing else in the daemon does so on a task's behalf.
pub(super) struct Dialer {
    network: Arc<Network>,
    hosts: Hosts,
    tls: rustls::ClientConfig,
    clients: Mutex<HashMap<Key, Client>>,
}

impl Dialer {
    pub(super) fn new(network: Network, hosts: Hosts, tls: rustls::ClientConfig) -> Self {
        Self {
            network: Arc::new(network),
            hosts,
            tls,
            clients: Mutex::default(),
        }
    }

    /// Sends a request that was decided on. `request` has `target`'s URL.
    pub(super) async fn dial(
        &self,
        holder: &Holder,
        target: &Target,
        mut request: Request,
    ) -> Result<Response, Refusal> {
        if let Some(ip) = target.literal() {
            self.network.check(ip, target.port()).map_err(denied)?;
        }
        let client = self
            .client(holder, target)
            .map_err(|error| failed(target, &error))?;
        // Nobody can have changed it on the way here, and this line makes that true of every caller.
        request.url_mut().clone_from(target.url());
        client
            .execute(request)
            .await
            .map_err(|error| failed(target, &error))
    }

    /// Gives up the connections to a server after an answer that broke a rule: whatever follows on
    /// them could belong to that answer.
    pub(super) fn forget(&self, holder: &Holder, target: &Target) {
        self.lock().remove(&key(holder, target));
    }

    fn client(&self, holder: &Holder, target: &Target) -> Result<Client, reqwest::Error> {
        let key = key(holder, target);
        let mut clients = self.lock();
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        if clients.len() >= CLIENTS_MAX {
            clients.clear();
        }
        let guard = Guard {
            network: self.network.clone(),
            hosts: self.hosts.clone(),
            port: target.port(),
        };
        let mut tls = self.tls.clone();
        // A clone would share the sessions that can be resumed.
        tls.resumption = rustls::client::Resumption::default();
        let client = build(guard, tls)?;
        clients.insert(key, client.clone());
        Ok(client)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(holder: &Holder, target: &Target) -> Key {
    (holder.clone(), target.host().to_owned(), target.port())
}

fn build(guard: Guard, tls: rustls::ClientConfig) -> Result<Client, reqwest::Error> {
    Client::builder()
        .dns_resolver(Arc::new(guard))
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        // One framing to defend, and every service speaks it.
        .http1_only()
        .http1_max_headers(RESPONSE_HEADERS_MAX)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_PER_HOST)
        .build()
}

/// The resolver that a client uses.
struct Guard {
    network: Arc<Network>,
    hosts: Hosts,
    port: u16,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (network, port) = (self.network.clone(), self.port);
        let fixed = self.hosts.of(name.as_str());
        Box::pin(async move {
            let addresses: Vec<SocketAddr> = match fixed {
                Some(ips) => ips.into_iter().map(|ip| (ip, port).into()).collect(),
                None => tokio::net::lookup_host((name.as_str(), port))
                    .await?
                    .collect(),
            };
            if addresses.is_empty() {
                return Err("the name has no address".into());
            }
            for address in &addresses {
                network.check(address.ip(), port)?;
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// TLS as we speak it: certificates are always verified, against the machine's store, or Mozilla's
/// list where the machine has none.
pub fn tls() -> Result<rustls::ClientConfig, rustls::Error> {
    let mut roots = rustls::RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "a certificate store of this machine could not be read");
    }
    roots.add_parsable_certificates(native.certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn denied(error: AddressDenied) -> Refusal {
    Refusal::permanent("http.denied", error.to_string())
}

/// Gives a transport's error one of our codes. The text is a cause's own, never a URL.
pub(super) fn failed(target: &Target, error: &reqwest::Error) -> Refusal {
    let (mut tls, mut last, mut refused) = (None, None, false);
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(cause) = next {
        if let Some(address) = cause.downcast_ref::<AddressDenied>() {
            return denied(address.clone());
        }
        if let Some(UploadError(refusal)) = cause.downcast_ref::<UploadError>() {
            return refusal.clone();
        }
        tls = tls.or_else(|| {
            cause
                .downcast_ref::<rustls::Error>()
                .map(ToString::to_string)
        });
        if cause.downcast_ref::<reqwest::Error>().is_none() {
            last = Some(cause.to_string());
        }
        // An `io::Error` hides what it wraps from `source`.
        let io = cause.downcast_ref::<std::io::Error>();
        refused |= io.is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused);
        let wrapped = io.and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => cause.source(),
        };
    }
    let host = format!("{}:{}", target.host(), target.port());
    let cause = match refused {
        true => "connection refused; nothing listens there".to_owned(),
        false => last.unwrap_or_else(|| "no cause was given".to_owned()),
    };
    if let Some(cause) = tls {
        return Refusal::permanent(
            "http.tls",
            format!("no trusted TLS connection to {host}: {cause}"),
        );
    }
    let (code, what) = if error.is_timeout() {
        ("http.timeout", "no connection in time to")
    } else if error.is_dns() {
        ("http.dns", "no address for")
    } else if error.is_connect() {
        ("http.connect", "no connection to")
    } else {
        ("http.protocol", "no usable answer from")
    };
    Refusal::retryable(code, format!("{what} {host}: {cause}"))
}
