//! The one function that dials, and the clients it dials with.
//!
//! Every address is checked at the moment of connecting: a name's answers in the resolver that the
//! client uses, a literal address (for which no resolver is asked) just before. If any answer for a
//! name is forbidden the whole name is: a resolver that lies must not win by the order of its
//! answers, and a service that is half private is not one a task should reach by name.
//!
//! There is a client for every host and port: the resolver is told a name but not the port, and
//! permissions are for pairs of both; and what a misbehaving server has touched can be forgotten
//! without touching anything else.

use std::collections::{BTreeMap, HashMap};
use std::error::Error as StdError;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Request, Response, redirect, retry};

use super::address::{AddressDenied, Network};
use super::policy::Target;
use crate::broker::error::Refusal;

/// A server that does not even accept a connection in this time is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Servers commonly close idle connections after a minute or more; staying below avoids the race.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle connections kept for one host and port.
const IDLE_PER_HOST: usize = 16;
/// A wildcard grant can reach any number of hosts; past this many the clients are made anew.
const CLIENTS_MAX: usize = 256;
/// Hyper's own default, stated: a server that sends more is not answering, it is attacking.
const RESPONSE_HEADERS_MAX: usize = 100;

/// Fixed answers for names, like a hosts file: `[network] hosts`. They are checked like any others.
pub type Hosts = BTreeMap<String, Vec<IpAddr>>;

/// A host and a port.
type Origin = (String, u16);

/// Dials; nothing else in the daemon does so on a task's behalf.
pub(super) struct Dialer {
    network: Arc<Network>,
    hosts: Arc<Hosts>,
    tls: rustls::ClientConfig,
    clients: Mutex<HashMap<Origin, Client>>,
}

impl Dialer {
    pub(super) fn new(network: Network, hosts: Hosts, tls: rustls::ClientConfig) -> Self {
        Self {
            network: Arc::new(network),
            hosts: Arc::new(hosts),
            tls,
            clients: Mutex::default(),
        }
    }

    /// Sends a request that was decided on. `request` has `target`'s URL.
    pub(super) async fn dial(
        &self,
        target: &Target,
        mut request: Request,
    ) -> Result<Response, Refusal> {
        if let Some(ip) = target.literal() {
            self.network.check(ip, target.port()).map_err(denied)?;
        }
        let client = self
            .client(target)
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
    pub(super) fn forget(&self, target: &Target) {
        self.lock().remove(&origin(target));
    }

    fn client(&self, target: &Target) -> Result<Client, reqwest::Error> {
        let mut clients = self.lock();
        if let Some(client) = clients.get(&origin(target)) {
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
        let client = build(guard, self.tls.clone())?;
        clients.insert(origin(target), client.clone());
        Ok(client)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Origin, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn origin(target: &Target) -> Origin {
    (target.host().to_owned(), target.port())
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
    hosts: Arc<Hosts>,
    port: u16,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (network, port) = (self.network.clone(), self.port);
        let fixed = self.hosts.get(name.as_str()).cloned();
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
pub(super) fn tls() -> Result<rustls::ClientConfig, rustls::Error> {
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
    let (mut tls, mut last) = (None, None);
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(cause) = next {
        if let Some(address) = cause.downcast_ref::<AddressDenied>() {
            return denied(address.clone());
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
        let wrapped = cause
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => cause.source(),
        };
    }
    let (host, cause) = (
        target.host(),
        last.unwrap_or_else(|| "no cause was given".to_owned()),
    );
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
