//! The way to a daemon on another machine: its API over HTTP with a token.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response};
use secrecy::{ExposeSecret as _, SecretString};
use url::{Host, Url};

use super::exit::{CliError, Exit};
use crate::api::ReplyBody;
use crate::broker::http::tls;

/// A machine that answers at all does so in this time.
const CONNECT: Duration = Duration::from_secs(10);

/// A daemon elsewhere.
pub struct Remote {
    client: reqwest::Client,
    base: Url,
    token: Option<SecretString>,
}

impl Remote {
    /// The daemon at this URL. Without TLS a token goes to this machine only, unless `insecure` says otherwise.
    pub fn new(
        server: &str,
        token: Option<SecretString>,
        insecure: bool,
    ) -> Result<Self, CliError> {
        let wrong = |why: String| CliError::new(Exit::Usage, format!("--server {server}: {why}"));
        let base = Url::parse(server)
            .map_err(|error| wrong(format!("{error}; write it like https://flow.example.com")))?;
        let local = match base.host() {
            Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
            Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        };
        match base.scheme() {
            "https" => {}
            "http" if local || insecure || token.is_none() => {}
            "http" => {
                return Err(wrong(
                    "without TLS everybody on the way can read the token; use https, or --insecure-http".to_owned(),
                ));
            }
            _ => return Err(wrong("it must begin with https:// or http://".to_owned())),
        }
        let failed = |error: &dyn std::fmt::Display| CliError::new(Exit::Unreachable, error);
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls().map_err(|error| failed(&error))?)
            // A token goes nowhere but where it was meant to.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .build()
            .map_err(|error| failed(&error))?;
        Ok(Self {
            client,
            base,
            token,
        })
    }

    /// Whether it was told who asks.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Sends a request.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<ReplyBody>, CliError> {
        let lost = |error: reqwest::Error| {
            let mut why = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(next) = cause {
                why = next.to_string();
                cause = next.source();
            }
            CliError::new(
                Exit::Unreachable,
                format!("{} does not answer: {why}", self.base),
            )
        };
        let (parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let url = self
            .base
            .join(path)
            .map_err(|error| CliError::new(Exit::Usage, error))?;
        let mut headers = parts.headers;
        headers.remove(hyper::header::HOST);
        // A body in memory is there at once, and cannot fail.
        let body = body
            .collect()
            .await
            .map(|body| body.to_bytes())
            .unwrap_or_default();
        let mut request = self
            .client
            .request(parts.method, url)
            .headers(headers)
            .body(body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        let response: Response<reqwest::Body> = request.send().await.map_err(lost)?.into();
        Ok(response.map(|body| ReplyBody::new(body.map_err(Into::into))))
    }
}
