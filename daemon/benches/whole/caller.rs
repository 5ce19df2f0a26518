//! A caller of the API: one connection that stays open, or none in the daemon's own process; one run after the other.

use std::path::Path;

use bytes::Bytes;
use flowweaver::api::LocalApi;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// A way to the daemon.
pub enum Caller {
    /// An open connection.
    Socket(SendRequest<Full<Bytes>>),
    /// The daemon is in this process.
    Within(LocalApi),
}

impl Caller {
    /// Connects to the daemon's socket.
    pub async fn connect(socket: &Path) -> std::io::Result<Self> {
        let stream = UnixStream::connect(socket).await?;
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(std::io::Error::other)?;
        // It ends with the daemon; a request that it breaks off says so itself.
        tokio::spawn(connection);
        Ok(Self::Socket(sender))
    }

    /// Starts a run and waits for its end; says what was answered if that is anything but success.
    pub async fn run(&mut self, flow: &str) -> Result<(), String> {
        let request = Request::post(format!("/v0/workflows/{flow}/run?wait=30s"))
            .header("host", "localhost")
            .body(Full::default())
            .unwrap();
        let (status, body) = match self {
            Self::Socket(sender) => {
                sender.ready().await.map_err(|error| error.to_string())?;
                let response = sender.send_request(request).await;
                let response = response.map_err(|error| error.to_string())?;
                let status = response.status();
                let body = response.into_body().collect().await;
                (status, body.map_err(|error| error.to_string())?.to_bytes())
            }
            Self::Within(api) => {
                let response = api.call(request).await;
                let status = response.status();
                let body = response.into_body().collect().await;
                (status, body.map_err(|error| error.to_string())?.to_bytes())
            }
        };
        let text = String::from_utf8_lossy(&body);
        if status == StatusCode::OK && text.contains("\"succeeded\"") {
            return Ok(());
        }
        Err(format!("{status}: {text}"))
    }
}
