//! A daemon in this process with its port, users of every role, and a client that sends what it is told.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use flowweaver::config::{Listen, Settings};
use flowweaver::daemon::{Daemon, Extent};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// A password that is accepted.
pub const PASSWORD: &str = "correct horse battery";
/// Nothing here takes this long unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub struct World {
    pub daemon: Daemon,
    pub address: SocketAddr,
    _folder: TempDir,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Value,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// The cookie that came, as it is sent back.
    pub fn cookie(&self) -> String {
        let cookie = self.header("set-cookie").unwrap();
        cookie.split(';').next().unwrap().to_owned()
    }

    #[track_caller]
    pub fn data(mut self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.body["data"].take()
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With other settings.
    pub async fn with(edit: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.paths.flows = folder.path().join("flows");
        settings.paths.tasks = folder.path().join("tasks");
        settings.paths.state = folder.path().join("state");
        settings.server.listen = Listen(Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))));
        std::fs::create_dir(&settings.paths.flows).unwrap();
        std::fs::create_dir(&settings.paths.tasks).unwrap();
        edit(&mut settings);
        let lock = Daemon::lock(&settings, Duration::ZERO).await.unwrap();
        let daemon = Daemon::start(settings, BTreeMap::new(), lock, Extent::Service)
            .await
            .unwrap();
        daemon.settled().await;
        let address = daemon.address().unwrap();
        tokio::spawn(daemon.serve());
        Self {
            daemon,
            address,
            _folder: folder,
        }
    }

    /// As the owner of the state folder.
    pub async fn owner(&self, method: &str, path: &str, body: Value) -> Answer {
        self.owner_in(None, method, path, body).await
    }

    /// The same, in an organization.
    pub async fn owner_in(
        &self,
        organization: Option<&str>,
        method: &str,
        path: &str,
        body: Value,
    ) -> Answer {
        let mut request = http::Request::builder().method(method).uri(path);
        if let Some(organization) = organization {
            request = request.header("x-organization", organization);
        }
        let bytes = match body {
            Value::Null => Bytes::new(),
            body => {
                request = request.header("content-type", "application/json");
                Bytes::from(body.to_string())
            }
        };
        let request = request.body(Full::new(bytes)).unwrap();
        let reply = self.daemon.api().call(request).await;
        let status = reply.status().as_u16();
        let bytes = reply.into_body().collect().await.unwrap().to_bytes();
        Answer {
            status,
            head: String::new(),
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        }
    }

    /// A user of the root organization with this role; gives their address.
    pub async fn user(&self, name: &str, role: &str) -> String {
        let email = format!("{name}@example.com");
        let body = json!({ "email": email, "password": PASSWORD, "roles": [role] });
        self.owner("POST", "/v0/users", body).await.data();
        email
    }

    /// A token of all that a user holds.
    pub async fn token(&self, email: &str, permissions: Option<&[&str]>) -> String {
        let mut body = json!({ "name": "test", "expiresIn": "1h", "user": email });
        if let Some(permissions) = permissions {
            body["permissions"] = json!(permissions);
        }
        let made = self.owner("POST", "/v0/tokens", body).await.data();
        made["token"].as_str().unwrap().to_owned()
    }

    /// The cookie of somebody who logs in.
    pub async fn login(&self, email: &str) -> String {
        let body = json!({ "email": email, "password": PASSWORD });
        let answer = self.call("POST", "/v0/auth/login", &[], body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.cookie()
    }

    /// Sends a request over TCP; a body goes as JSON unless the headers say otherwise.
    pub async fn call(&self, method: &str, path: &str, headers: &[&str], body: Value) -> Answer {
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let typed = headers
            .iter()
            .any(|line| line.to_lowercase().starts_with("content-type"));
        let kind = match body.is_empty() || typed {
            true => "",
            false => "content-type: application/json\r\n",
        };
        let more: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{kind}{more}content-length: {}\r\n\r\n{body}",
            self.address,
            body.len(),
        );
        self.raw(None, request.as_bytes()).await
    }

    /// With a token.
    pub async fn with_token(&self, token: &str, method: &str, path: &str, body: Value) -> Answer {
        let header = format!("authorization: Bearer {token}");
        self.call(method, path, &[&header], body).await
    }

    /// With a cookie.
    pub async fn with_cookie(&self, cookie: &str, method: &str, path: &str, body: Value) -> Answer {
        let header = format!("cookie: {cookie}");
        self.call(
            method,
            path,
            &[&header, "content-type: application/json"],
            body,
        )
        .await
    }

    pub async fn connect(&self, from: Option<IpAddr>) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(from) = from {
            socket.bind(SocketAddr::new(from, 0)).unwrap();
        }
        socket.connect(self.address).await.unwrap()
    }

    /// Sends bytes and reads the answer to its end, or a stream's head.
    pub async fn raw(&self, from: Option<IpAddr>, request: &[u8]) -> Answer {
        let mut stream = self.connect(from).await;
        stream.write_all(request).await.unwrap();
        read(&mut stream).await
    }
}

/// Reads an answer to its end; of an event stream the head.
pub async fn read(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut part))
            .await
            .unwrap();
        match read {
            Ok(0) | Err(_) => break,
            Ok(count) => bytes.extend_from_slice(&part[..count]),
        }
        let text = String::from_utf8_lossy(&bytes);
        if text.contains("\r\n\r\n") && text.contains("text/event-stream") {
            break;
        }
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    Answer {
        status: head
            .split(' ')
            .nth(1)
            .and_then(|word| word.parse().ok())
            .unwrap_or(0),
        head: head.to_owned(),
        body: serde_json::from_str(body).unwrap_or(Value::Null),
    }
}
