//! The door for everybody else: TCP, where nobody is trusted and nothing is unlimited.
//!
//! TLS ends before it, at a proxy: `[server] public_url` says what browsers see.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::authorize::Door;

/// A request's head comes in one or two packets. It is also how long a connection may be idle between two.
const HEAD_TIME: Duration = Duration::from_secs(15);
/// Cookies, a token and a long filter; hyper refuses more with 431.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Browsers send some twenty.
const HEADERS_MAX: usize = 64;
/// Who reads nothing for this long does not want it: the kernel closes the connection, in milliseconds.
const UNREAD_MS: u32 = 60_000;
/// After an accept that failed, for want of descriptors: some are free again soon.
const BREATH: Duration = Duration::from_millis(100);

/// Serves the router to whoever connects, at most `connections` at a time (others wait in the kernel's line),
/// until `stop`; requests under way are finished.
pub async fn serve_tcp(
    listener: TcpListener,
    router: Router,
    connections: usize,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(connections));
    let open = TaskTracker::new();
    loop {
        let place = tokio::select! {
            // The semaphore is never closed.
            place = Arc::clone(&places).acquire_owned() => match place {
                Ok(place) => place,
                Err(_) => break,
            },
            () = stop.cancelled() => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (router, stop) = (router.clone(), stop.clone());
                open.spawn(async move {
                    serve(stream, peer, router, stop).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                let _ = tokio::time::timeout(BREATH, stop.cancelled()).await;
            }
        }
    }
    drop(listener);
    open.close();
    open.wait().await;
}

async fn serve(stream: TcpStream, peer: SocketAddr, router: Router, stop: CancellationToken) {
    // Answers are written whole; waiting for more would only delay their end.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, %peer, "nodelay");
    }
    if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(&stream, UNREAD_MS) {
        tracing::debug!(%error, %peer, "user timeout");
    }
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Door::Network(peer));
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "a connection ended badly");
    }
}
