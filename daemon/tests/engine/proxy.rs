//! A way to a server that is cut at one message: before the server has it, or after, with the answer lost. Every
//! statement of every call is a message, so each boundary between two statements can be hit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Which side of the server's work the cut is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The server never hears the message.
    Before,
    /// The server does as asked, and nobody hears the answer.
    After,
}

/// The proxy.
pub struct Proxy {
    /// The server's URL, by this way.
    pub url: String,
    plan: Arc<Plan>,
}

struct Plan {
    side: Side,
    /// Messages that still pass; below zero: no cut any more. Nothing is counted before it is armed.
    left: AtomicI64,
    armed: AtomicBool,
    hit: watch::Sender<bool>,
}

impl Proxy {
    /// Opens a way to the server of this URL that will be cut at message `at`.
    pub async fn open(url: &str, at: usize, side: Side) -> Self {
        let mut url: url::Url = url.parse().unwrap();
        let usual = if url.scheme().starts_with("postgres") {
            5432
        } else {
            3306
        };
        let server = format!(
            "{}:{}",
            url.host_str().unwrap(),
            url.port().unwrap_or(usual)
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port()))
            .unwrap();
        let plan = Arc::new(Plan {
            side,
            left: AtomicI64::new(i64::try_from(at).unwrap()),
            armed: AtomicBool::new(false),
            hit: watch::Sender::new(false),
        });
        let shared = Arc::clone(&plan);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.unwrap();
                pass(client, server, Arc::clone(&shared));
            }
        });
        Self {
            url: url.into(),
            plan,
        }
    }

    /// From now on messages count.
    pub fn arm(&self) {
        self.plan.armed.store(true, Ordering::SeqCst);
    }

    /// Whether the cut has been made.
    pub fn hit(&self) -> watch::Receiver<bool> {
        self.plan.hit.subscribe()
    }
}

/// Carries one connection until it is cut or ends.
fn pass(client: TcpStream, server: TcpStream, plan: Arc<Plan>) {
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let cut = CancellationToken::new();
    let swallow = Arc::new(AtomicBool::new(false));
    let (gone, swallowing) = (cut.clone(), Arc::clone(&swallow));
    let up = Arc::clone(&plan);
    tokio::spawn(async move {
        tokio::select! {
            () = gone.cancelled() => {}
            () = ask(from_client, to_server, &up, &swallowing) => {}
        }
        gone.cancel();
    });
    tokio::spawn(async move {
        tokio::select! {
            () = cut.cancelled() => {}
            () = answer(from_server, to_client, &plan, &swallow) => {}
        }
        cut.cancel();
    });
}

async fn ask(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, plan: &Plan, swallow: &AtomicBool) {
    let mut chunk = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        let counts = plan.armed.load(Ordering::SeqCst);
        if counts && plan.left.fetch_sub(1, Ordering::SeqCst) == 0 {
            match plan.side {
                Side::Before => {
                    plan.hit.send_replace(true);
                    return;
                }
                Side::After => swallow.store(true, Ordering::SeqCst),
            }
        }
        if to.write_all(&chunk[..length]).await.is_err() {
            return;
        }
    }
}

async fn answer(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    plan: &Plan,
    swallow: &AtomicBool,
) {
    let mut chunk = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        if swallow.load(Ordering::SeqCst) {
            plan.hit.send_replace(true);
            return;
        }
        if to.write_all(&chunk[..length]).await.is_err() {
            return;
        }
    }
}
