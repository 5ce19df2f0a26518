//! The demo world: one process that plays every outside service of the sample workflow, so that it can be run and
//! tested without the internet. It checks credentials, signatures and required fields as the real services do, and
//! can be told to fail. It is no part of the daemon and shares no code with it: a verifier must not be the signer.

mod answer;
mod blog;
mod catalog;
mod chance;
mod control;
mod fields;
mod guarded;
mod llm;
mod mall;
mod news;
mod observe;
mod picture;
mod s3;
mod sections;
#[cfg(test)]
mod testing;
mod translate;
mod trend;
mod vision;
mod world;

use std::convert::Infallible;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use chrono::Utc;
use clap::Parser;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;

use observe::Abort;
use world::{Credentials, Settings, World};

/// Plays the outside world of the sample workflow on one local address.
#[derive(Parser)]
#[command(
    name = "demo_world",
    after_help = "Open the root page of the running server for its sections and control routes."
)]
struct Arguments {
    /// Where to listen; port 0 picks a free one, which the first line of output tells.
    #[arg(long, default_value = "127.0.0.1:4810")]
    listen: SocketAddr,
    /// Grows products, keywords and pictures; the same seed gives the same world.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The address that links, articles and pictures carry, if it is not the listening one.
    #[arg(long)]
    public_url: Option<String>,
    /// How late the page of the slow product comes, in milliseconds.
    #[arg(long, default_value_t = 3000)]
    slow_ms: u64,
    #[command(flatten)]
    credentials: Credentials,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let listener = TcpListener::bind(arguments.listen).await?;
    let base_url = format!("http://{}", listener.local_addr()?);
    let world = World::grow(
        Settings {
            base_url: arguments
                .public_url
                .unwrap_or_else(|| base_url.clone())
                .trim_end_matches('/')
                .to_owned(),
            seed: arguments.seed,
            slow: Duration::from_millis(arguments.slow_ms),
            credentials: arguments.credentials,
        },
        Box::new(Utc::now),
    );
    let router = sections::router(Arc::new(world));
    // Whoever started this process reads the line to learn the port, so it must leave the buffer now.
    let mut stdout = io::stdout();
    writeln!(stdout, "demo world listening on {base_url}")?;
    stdout.flush()?;
    tokio::select! {
        result = serve(listener, router) => result,
        result = tokio::signal::ctrl_c() => result,
    }
}

async fn serve(listener: TcpListener, router: Router) -> io::Result<()> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(converse(stream, router.clone()));
            }
            // A client that left before it was greeted is no reason to stop.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Serves one connection. hyper is used directly because only an error of the service ends a connection without an
/// answer, which is what the `drop` fault must do.
async fn converse(stream: TcpStream, router: Router) {
    // Answers are small and many; without this, some would wait for the client's acknowledgement.
    let _undelayed: io::Result<()> = stream.set_nodelay(true);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let router = router.clone();
        async move {
            let answer: Result<Response, Infallible> =
                router.oneshot(request.map(axum::body::Body::new)).await;
            let Ok(answer) = answer;
            if answer.extensions().get::<Abort>().is_some() {
                return Err(io::Error::new(
                    io::ErrorKind::ConnectionAborted,
                    "dropped by a fault rule",
                ));
            }
            Ok(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    // A client that went away, or a fault that dropped it, is the ordinary end of a connection here.
    let _ended: Result<(), hyper::Error> = connection.await;
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use crate::testing::world;

    /// What a plain socket receives when the fault strikes.
    async fn received(kind: &str) -> String {
        let world = world();
        let fault = json!({ "section": "trend", "kind": kind });
        world
            .faults
            .lock()
            .add(serde_json::from_value(fault).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(super::serve(listener, crate::sections::router(world)));
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = "GET /trend/api/v1/snxbest/keyword/rank HTTP/1.1\r\nhost: world.test\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        // A connection cut off may end with a reset after the bytes that came.
        let _ended = stream.read_to_end(&mut bytes).await;
        server.abort();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[tokio::test]
    async fn a_dropped_request_gets_no_byte() {
        assert_eq!(received("drop").await, "");
    }

    #[tokio::test]
    async fn a_truncated_answer_is_shorter_than_it_says() {
        let text = received("truncate").await;
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .unwrap();
        let length: usize = length.parse().unwrap();
        assert!(
            !body.is_empty() && body.len() < length,
            "{} of {length}",
            body.len()
        );
    }
}
