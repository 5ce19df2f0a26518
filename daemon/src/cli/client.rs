//! The way to the API: a daemon's socket, the same router in this process, or a daemon elsewhere.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
pub use hyper::Method;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use secrecy::SecretString;
use serde_json::Value;
use tokio::net::UnixStream;

use super::exit::{CliError, Exit};
use super::remote::Remote;
use crate::api::{LocalApi, ORGANIZATION, ReplyBody, SOCKET_NAME};
use crate::config::{Listen, Settings};
use crate::daemon::{Daemon, Extent, StartError};

/// A command that looks at something is done in this time; who has the state folder longer is a daemon.
const PATIENCE: Duration = Duration::from_secs(5);

/// The variable that holds the token: an argument could be seen by every user of the machine.
const TOKEN: &str = "FLOWWEAVER_TOKEN";

/// A connection to the API.
pub struct Client {
    way: Way,
    /// Whose things are meant, where that is said.
    organization: Option<String>,
}

enum Way {
    Socket(PathBuf),
    Process(Box<Daemon>, LocalApi),
    Remote(Remote),
}

/// Which daemon, and whose things.
#[derive(Debug, Default)]
pub struct Target {
    /// The URL of one elsewhere.
    pub server: Option<String>,
    /// Whether a token may go there without TLS.
    pub insecure_http: bool,
    /// The organization.
    pub organization: Option<String>,
}

/// A response whose body is still coming.
pub type Reply = Response<ReplyBody>;

impl Client {
    /// Speaks to the server that is named; else to the socket if somebody listens there; else starts here what is
    /// needed of a daemon.
    pub async fn connect(
        target: Target,
        settings: Settings,
        environment: BTreeMap<String, String>,
        extent: Extent,
    ) -> Result<Self, CliError> {
        let organization = target.organization;
        if let Some(server) = &target.server {
            let token = environment.get(TOKEN).filter(|token| !token.is_empty());
            let token = token.map(|token| SecretString::from(token.trim()));
            let way = Way::Remote(Remote::new(server, token, target.insecure_http)?);
            return Ok(Self { way, organization });
        }
        if let Some(running) = Self::running(&settings).await {
            return Ok(Self {
                organization,
                ..running
            });
        }
        let failed = |error: StartError| CliError::new(Exit::from(&error), error);
        let lock = match Daemon::lock(&settings, PATIENCE).await {
            Ok(lock) => lock,
            Err(error @ StartError::Locked { .. }) => {
                // Whoever has it may have begun to listen meanwhile.
                if let Some(running) = Self::running(&settings).await {
                    return Ok(Self {
                        organization,
                        ..running
                    });
                }
                let socket = settings.paths.state.join(SOCKET_NAME);
                return Err(CliError::new(
                    Exit::Unreachable,
                    format!(
                        "{error}, and it does not answer on {}; it may be starting or stopping",
                        socket.display()
                    ),
                ));
            }
            Err(other) => return Err(failed(other)),
        };
        // What ends with the command is nobody's server.
        let mut settings = settings;
        settings.server.listen = Listen(None);
        let daemon = Daemon::start(settings, environment, lock, extent)
            .await
            .map_err(failed)?;
        daemon.settled().await;
        let api = daemon.api();
        let way = Way::Process(Box::new(daemon), api);
        Ok(Self { way, organization })
    }

    /// Speaks to the socket if somebody listens there.
    pub async fn running(settings: &Settings) -> Option<Self> {
        let socket = settings.paths.state.join(SOCKET_NAME);
        UnixStream::connect(&socket).await.ok()?;
        Some(Self {
            way: Way::Socket(socket),
            organization: None,
        })
    }

    /// Whether a daemon answers, which goes on when this command has ended.
    pub fn is_daemon(&self) -> bool {
        !matches!(self.way, Way::Process(..))
    }

    /// Ends what was started here.
    pub async fn close(self) {
        if let Way::Process(daemon, _) = self.way {
            daemon.stop().await;
        }
    }

    /// Sends one request and hands back the response as it comes.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Reply, CliError> {
        let lost = |error: &dyn std::fmt::Display| {
            CliError::new(
                Exit::Unreachable,
                format!("the daemon did not answer: {error}"),
            )
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(organization) = &self.organization {
            request = request.header(ORGANIZATION, organization);
        }
        let bytes = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Bytes::from(body.to_string())
            }
            None => Bytes::new(),
        };
        let request = request
            .body(Full::new(bytes))
            .map_err(|error| CliError::new(Exit::Usage, error))?;
        match &self.way {
            Way::Process(_, api) => Ok(api.call(request).await),
            Way::Remote(remote) => remote.send(request).await,
            Way::Socket(path) => {
                let stream = UnixStream::connect(path)
                    .await
                    .map_err(|error| lost(&error))?;
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(TokioIo::new(stream))
                        .await
                        .map_err(|error| lost(&error))?;
                // It ends with the response's body; its error shows there.
                tokio::spawn(connection);
                let response = sender
                    .send_request(request)
                    .await
                    .map_err(|error| lost(&error))?;
                Ok(response.map(|body| ReplyBody::new(body.map_err(Into::into))))
            }
        }
    }

    /// Sends a request and gives the `data` of its answer; a refusal becomes an error with the API's text.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Value, CliError> {
        let reply = self.send(method, path, headers, body).await?;
        self.read(reply).await
    }

    /// The `data` of an answer; a refusal becomes an error with the API's text.
    pub async fn read(&self, reply: Reply) -> Result<Value, CliError> {
        let status = reply.status();
        let bytes = reply
            .into_body()
            .collect()
            .await
            .map_err(|error| {
                CliError::new(Exit::Unreachable, format!("the answer broke off: {error}"))
            })?
            .to_bytes();
        let mut answer: Value = serde_json::from_slice(&bytes).map_err(|_| {
            CliError::new(
                Exit::Unreachable,
                format!("{status} with a body that is not JSON"),
            )
        })?;
        if status.is_success() {
            return Ok(answer.get_mut("data").map(Value::take).unwrap_or_default());
        }
        let message = answer
            .get("message")
            .and_then(Value::as_str)
            .unwrap_or("refused");
        let exit = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Exit::Denied,
            StatusCode::BAD_REQUEST => Exit::Usage,
            status if status.is_server_error() => Exit::Unreachable,
            _ => Exit::Refused,
        };
        let tokenless = matches!(&self.way, Way::Remote(remote) if !remote.has_token());
        let error = match status {
            StatusCode::UNAUTHORIZED if tokenless => CliError::new(
                exit,
                format!("{message}: set the variable {TOKEN} (a token: flowweaver token create)"),
            ),
            _ => CliError::new(exit, message),
        };
        Err(CliError {
            problem: answer,
            ..error
        })
    }

    /// `GET` a path's data.
    pub async fn get(&self, path: &str) -> Result<Value, CliError> {
        self.call(Method::GET, path, &[], None).await
    }
}
