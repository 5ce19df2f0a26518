//! What the broker tests share: an attempt with grants, a store that only keeps keys, and a server
//! that answers with whatever bytes a test wants, right or wrong.

#![allow(dead_code, reason = "each test binary uses its part")]

mod schedules;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use flowweaver::broker::http::Hosts;
use flowweaver::broker::identity::AttemptIdentity;
use flowweaver::broker::journal::{HostCall, Journal};
use flowweaver::broker::secret::{SecretSources, Secrets};
use flowweaver::broker::settings::{BrokerError, BrokerSettings};
use flowweaver::broker::{AttemptScope, Broker, BrokerCtx};
use flowweaver::clock::{Clock, SystemClock, Timestamp};
use flowweaver::id::{
    DaemonId, DeadLetterId, Digest, OrganizationId, RunId, SecretName, WorkflowId, WorkflowName,
};
use flowweaver::store::control::{ControlStore, DeadLetterRow, LetterFilter};
use flowweaver::store::lineage::{DeliveryRow, LineageStore};
use flowweaver::store::rows::*;
use flowweaver::store::{
    CommitOutcome, Duty, Expect, KvSpace, KvUsage, KvWrite, KvWritten, StateStore, Store,
    StoreError,
};
use flowweaver::workflow::grant::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// One attempt, and what it left behind.
pub struct Attempt {
    pub ctx: BrokerCtx,
    pub journal: Arc<Journal>,
    pub cancel: CancellationToken,
}

impl Attempt {
    /// The calls recorded since the last look.
    pub fn calls(&self) -> Vec<HostCall> {
        self.journal.drain().calls
    }

    /// Exactly one call was recorded, and this became of it.
    #[track_caller]
    pub fn recorded(&self, outcome: &str) -> HostCall {
        let calls = self.calls();
        assert_eq!(calls.len(), 1, "{calls:?}");
        assert_eq!(calls[0].outcome, outcome, "{calls:?}");
        calls[0].clone()
    }
}

pub fn identity() -> AttemptIdentity {
    AttemptIdentity {
        organization: OrganizationId::ROOT,
        run_id: RunId::generate(),
        workflow: "product-blog".parse().unwrap(),
        job: "analyse".parse().unwrap(),
        task: "search".parse().unwrap(),
        item_index: None,
        attempt: 1,
        trace_id: "0af7651916cd43dd8448eb211c80319c".to_owned(),
        idempotency_key: "a".repeat(64),
        scheduled_at: Timestamp::from_micros(0),
    }
}

pub fn broker(settings: BrokerSettings, secrets: &[(&str, &str)]) -> Arc<Broker> {
    let environment = secrets
        .iter()
        .map(|(name, value)| (format!("FLOWWEAVER_SECRET_{name}").into(), (*value).into()))
        .collect();
    let sources = SecretSources {
        environment,
        ..SecretSources::default()
    };
    let secrets = Secrets::load(sources).unwrap();
    start(settings, secrets).unwrap()
}

/// A broker without secrets, or why its settings cannot be used.
pub fn try_broker(settings: BrokerSettings) -> Result<Arc<Broker>, BrokerError> {
    let secrets = Secrets::load(SecretSources::default()).unwrap();
    start(settings, secrets)
}

fn start(settings: BrokerSettings, secrets: Secrets) -> Result<Arc<Broker>, BrokerError> {
    let (keys, clock) = (Arc::new(Keys::default()), Arc::new(SystemClock));
    Broker::new(settings, secrets, keys, clock)
}

pub fn attempt_of(broker: &Arc<Broker>, identity: AttemptIdentity, grants: Grants) -> Attempt {
    let (journal, cancel) = (Arc::new(Journal::default()), CancellationToken::new());
    let wall = Duration::from_secs(60);
    let scope = AttemptScope {
        identity: Arc::new(identity),
        grants: Arc::new(grants),
        journal: journal.clone(),
        cancel: cancel.clone(),
        deadline: Instant::now() + wall,
        deadline_at: SystemClock.now().after(wall),
    };
    Attempt {
        ctx: broker.attempt(scope),
        journal,
        cancel,
    }
}

pub fn attempt(
    settings: BrokerSettings,
    secrets: &[(&str, &str)],
    grants: Vec<HttpGrant>,
) -> Attempt {
    let grants = Grants {
        http: grants,
        ..Grants::default()
    };
    attempt_of(&broker(settings, secrets), identity(), grants)
}

/// A grant as the compiler would make it of `url`, for GET and HEAD.
pub fn grant(url: &str) -> HttpGrant {
    let (wild, plain) = match url.split_once("://*.") {
        Some((scheme, rest)) => (true, format!("{scheme}://{rest}")),
        None => (false, url.to_owned()),
    };
    let parsed = url::Url::parse(plain.trim_end_matches('*')).unwrap();
    let host = parsed.host_str().unwrap().to_owned();
    HttpGrant {
        place: Place {
            file: "flows/product-blog.toml".into(),
            line: 40,
        },
        url: url.to_owned(),
        scheme: if parsed.scheme() == "https" {
            Scheme::Https
        } else {
            Scheme::Http
        },
        host: if wild {
            HostPattern::Suffix(format!(".{host}"))
        } else {
            HostPattern::Exact(host)
        },
        port: parsed.port_or_known_default().unwrap(),
        path: if plain.ends_with('*') {
            PathPattern::Prefix(parsed.path().to_owned())
        } else {
            PathPattern::Exact(parsed.path().to_owned())
        },
        methods: vec!["GET".to_owned(), "HEAD".to_owned()],
        headers: Vec::new(),
        idempotency_key: false,
        sign: None,
    }
}

/// A resolver that knows these names and no other.
pub fn hosts(names: &[(&str, &[&str])]) -> Hosts {
    let names: BTreeMap<String, Vec<IpAddr>> = names
        .iter()
        .map(|(name, ips)| {
            let ips = ips.iter().map(|ip| ip.parse().unwrap()).collect();
            ((*name).to_owned(), ips)
        })
        .collect();
    Hosts::new(move |name| Some(names.get(name).cloned().unwrap_or_default()))
}

pub fn secret(name: &str) -> SecretText {
    SecretText(vec![SecretPiece::Secret(name.parse().unwrap())])
}

/// What the server does with a request.
pub enum Reply {
    /// Sends these bytes and waits for the next request on the connection.
    Bytes(Vec<u8>),
    /// Sends these bytes and closes.
    Close(Vec<u8>),
    /// Sends the first bytes, then the second again and again with this pause, until it cannot.
    Endless(Vec<u8>, Vec<u8>, Duration),
    /// Sends these bytes once this many requests have arrived.
    Meet(Arc<tokio::sync::Barrier>, Vec<u8>),
    /// Sends these bytes and nothing more, without closing.
    Stall(Vec<u8>),
}

pub fn text(reply: &str) -> Reply {
    Reply::Bytes(reply.replace('\n', "\r\n").into_bytes())
}

pub fn ok(body: &str) -> Reply {
    Reply::Bytes(
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes(),
    )
}

/// A server on 127.0.0.1 that keeps what it was sent.
pub struct Server {
    pub address: SocketAddr,
    pub requests: Arc<Mutex<Vec<String>>>,
    pub connections: Arc<AtomicUsize>,
}

impl Server {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Settings under which a task may reach this server.
    pub fn reachable(&self) -> BrokerSettings {
        let mut settings = BrokerSettings::default();
        settings.network.allow = vec![self.address.to_string().parse().unwrap()];
        settings
    }

    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

pub async fn server(answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server {
        address: listener.local_addr().unwrap(),
        requests: Arc::default(),
        connections: Arc::default(),
    };
    let (requests, connections) = (server.requests.clone(), server.connections.clone());
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            connections.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(serve(stream, requests.clone(), answer.clone()));
        }
    });
    server
}

async fn serve(
    mut stream: TcpStream,
    requests: Arc<Mutex<Vec<String>>>,
    answer: Arc<impl Fn(&str) -> Reply>,
) {
    let mut received = Vec::new();
    while let Some(request) = next_request(&mut stream, &mut received).await {
        let reply = answer(&request);
        requests.lock().unwrap().push(request);
        match reply {
            Reply::Bytes(bytes) => {
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Reply::Meet(barrier, bytes) => {
                barrier.wait().await;
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Reply::Close(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Reply::Stall(bytes) => {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.read(&mut [0; 1]).await;
                return;
            }
            Reply::Endless(head, portion, pause) => {
                let mut sent = stream.write_all(&head).await;
                while sent.is_ok() {
                    tokio::time::sleep(pause).await;
                    sent = stream.write_all(&portion).await;
                }
                return;
            }
        }
    }
}

/// A server that lets a test have each connection as it is, and counts them.
pub async fn raw<T>(handle: impl Fn(TcpStream) -> T + Send + 'static) -> Server
where
    T: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server {
        address: listener.local_addr().unwrap(),
        requests: Arc::default(),
        connections: Arc::default(),
    };
    let connections = server.connections.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            connections.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(handle(stream));
        }
    });
    server
}

/// Reads until `end` was seen, or the connection ended; answers all that came.
pub async fn read_until(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let (mut seen, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        if seen.windows(end.len()).any(|part| part == end) {
            return seen;
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return seen,
            Ok(n) => seen.extend_from_slice(&buffer[..n]),
        }
    }
}

async fn next_request(stream: &mut TcpStream, received: &mut Vec<u8>) -> Option<String> {
    loop {
        let seen = String::from_utf8_lossy(received).into_owned();
        if let Some(end) = seen.find("\r\n\r\n") {
            let length = seen
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase()
                        .strip_prefix("content-length: ")
                        .map(str::to_owned)
                })
                .map_or(0, |length| length.trim().parse::<usize>().unwrap());
            let chunked = seen[..end].contains("transfer-encoding: chunked");
            let length = match seen[end..].find("\r\n0\r\n\r\n") {
                Some(last) if chunked => last + 3,
                None if chunked => usize::MAX,
                _ => length,
            };
            if received.len() >= (end + 4).saturating_add(length) {
                received.drain(..end + 4 + length);
                return Some(seen);
            }
        }
        let mut buffer = vec![0; 64 * 1024];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => received.extend_from_slice(&buffer[..n]),
        }
    }
}

/// A store that keeps keys in memory and knows nothing else.
#[derive(Default)]
pub struct Keys(Mutex<BTreeMap<Key, Kept>>);

type Key = ((OrganizationId, WorkflowName), String);
type Kept = (Vec<u8>, u64, Option<Timestamp>);

fn of(space: &KvSpace, key: &str) -> Key {
    ((space.organization, space.workflow.clone()), key.to_owned())
}

#[async_trait]
impl Store for Keys {
    async fn commit(&self, _: Arc<[Transition]>) -> Result<Vec<CommitOutcome>, StoreError> {
        absent()
    }
    async fn claim(&self, _: DaemonId, _: u32) -> Result<Vec<ClaimedRun>, StoreError> {
        absent()
    }
    async fn release(&self, _: &[(RunId, i64)]) -> Result<(), StoreError> {
        absent()
    }
    async fn heartbeat(&self, _: DaemonId, _: &str) -> Result<(), StoreError> {
        absent()
    }
    async fn farewell(&self, _: DaemonId) -> Result<(), StoreError> {
        absent()
    }
    async fn take_duty(&self, _: DaemonId, _: Duty) -> Result<bool, StoreError> {
        absent()
    }
    async fn catalog_revision(&self) -> Result<i64, StoreError> {
        absent()
    }
    async fn load_run(&self, _: RunId) -> Result<Option<RunImage>, StoreError> {
        absent()
    }
    async fn order(&self, _: &CommandRow) -> Result<(), StoreError> {
        absent()
    }
    async fn orders(&self, _: DaemonId) -> Result<Vec<CommandRow>, StoreError> {
        absent()
    }
    async fn publish(&self, _: &VersionRow) -> Result<WorkflowId, StoreError> {
        absent()
    }
    async fn retire(&self, _: OrganizationId, _: &WorkflowName) -> Result<(), StoreError> {
        absent()
    }
    async fn workflows(&self) -> Result<Vec<WorkflowRow>, StoreError> {
        absent()
    }
    async fn version(&self, _: &Digest) -> Result<Option<VersionRow>, StoreError> {
        absent()
    }
    async fn versions(&self, _: WorkflowId) -> Result<Vec<VersionRow>, StoreError> {
        absent()
    }
    async fn put_module(&self, _: &ModuleRow, _: &[u8]) -> Result<(), StoreError> {
        absent()
    }
    async fn module(&self, _: &Digest) -> Result<Option<ModuleRow>, StoreError> {
        absent()
    }
    async fn module_bytes(&self, _: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        absent()
    }
    async fn runs(&self, _: &RunFilter) -> Result<Vec<RunRow>, StoreError> {
        absent()
    }
    async fn logs(&self, _: Option<RunId>, _: i64, _: u32) -> Result<Vec<LogRow>, StoreError> {
        absent()
    }
    async fn io(&self, _: RunId) -> Result<Vec<IoRow>, StoreError> {
        absent()
    }
    async fn host_calls(&self, _: RunId) -> Result<Vec<HostCallRow>, StoreError> {
        absent()
    }
}

#[async_trait]
impl StateStore for Keys {
    async fn kv_get(
        &self,
        space: &KvSpace,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<KvEntry>, StoreError> {
        let keys = self.0.lock().unwrap();
        let found = keys
            .get(&of(space, key))
            .filter(|(_, _, end)| end.is_none_or(|end| end > now));
        Ok(found.map(|(value, revision, expires_at)| KvEntry {
            value: value.clone(),
            revision: *revision,
            expires_at: *expires_at,
        }))
    }
    async fn kv_set(
        &self,
        space: &KvSpace,
        key: &str,
        expect: Expect,
        entry: &KvWrite,
        _: Timestamp,
    ) -> Result<KvWritten, StoreError> {
        let mut keys = self.0.lock().unwrap();
        let revision = keys.get(&of(space, key)).map(|(_, revision, _)| *revision);
        let holds = match expect {
            Expect::Any => true,
            Expect::Absent => revision.is_none(),
            Expect::Revision(wanted) => revision == Some(wanted),
        };
        let next = revision.unwrap_or(0) + 1;
        if !holds {
            return Ok(KvWritten::Unexpected);
        }
        keys.insert(
            of(space, key),
            (entry.value.clone(), next, entry.expires_at),
        );
        Ok(KvWritten::At(next))
    }
    async fn kv_delete(
        &self,
        space: &KvSpace,
        key: &str,
        _: Timestamp,
    ) -> Result<bool, StoreError> {
        Ok(self.0.lock().unwrap().remove(&of(space, key)).is_some())
    }
    async fn kv_keys(
        &self,
        space: &KvSpace,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
        _: Timestamp,
    ) -> Result<Vec<String>, StoreError> {
        let (owner, _) = of(space, "");
        let keys = self.0.lock().unwrap();
        let mine = keys.keys().filter(|(space, key)| {
            *space == owner
                && key.starts_with(prefix)
                && after.is_none_or(|after| key.as_str() > after)
        });
        Ok(mine
            .take(limit as usize)
            .map(|(_, key)| key.clone())
            .collect())
    }
    async fn kv_list(
        &self,
        _: &KvSpace,
        _: &str,
        _: Option<&str>,
        _: u32,
        _: Timestamp,
    ) -> Result<Vec<KvListed>, StoreError> {
        absent()
    }
    async fn kv_usage(&self, _: &KvSpace, _: Timestamp) -> Result<KvUsage, StoreError> {
        absent()
    }
    async fn secrets(&self) -> Result<(u64, Vec<SecretRow>), StoreError> {
        absent()
    }
    async fn secret_changes(&self) -> Result<u64, StoreError> {
        absent()
    }
    async fn secret_put(&self, _: &SecretRow, _: Option<&SecretRow>) -> Result<bool, StoreError> {
        absent()
    }
    async fn secret_delete(&self, _: OrganizationId, _: &SecretName) -> Result<bool, StoreError> {
        absent()
    }
}

#[async_trait]
impl LineageStore for Keys {
    async fn run(&self, _: RunId) -> Result<Option<RunRow>, StoreError> {
        absent()
    }
    async fn run_of_key(&self, _: OrganizationId, _: &str) -> Result<Option<RunRow>, StoreError> {
        absent()
    }
    async fn deliveries_due(&self, _: Timestamp, _: u32) -> Result<Vec<DeliveryRow>, StoreError> {
        absent()
    }
    async fn deliveries_of(&self, _: RunId) -> Result<Vec<DeliveryRow>, StoreError> {
        absent()
    }
    async fn settle_delivery(&self, _: &DeliveryRow) -> Result<(), StoreError> {
        absent()
    }
}

#[async_trait]
impl ControlStore for Keys {
    async fn dead_letters(&self, _: &LetterFilter) -> Result<Vec<DeadLetterRow>, StoreError> {
        absent()
    }
    async fn dead_letters_named(
        &self,
        _: OrganizationId,
        _: &[DeadLetterId],
    ) -> Result<Vec<DeadLetterRow>, StoreError> {
        absent()
    }
    async fn dismiss(
        &self,
        _: OrganizationId,
        _: &[DeadLetterId],
        _: &str,
        _: &str,
        _: Timestamp,
    ) -> Result<Vec<DeadLetterId>, StoreError> {
        absent()
    }
    async fn waiting(&self, _: u32) -> Result<u32, StoreError> {
        absent()
    }
}

fn absent<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable(
        "this store keeps keys only".to_owned(),
    ))
}
