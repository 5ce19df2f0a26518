//! Asks the world in process, at a fixed time, for the tests beside the sections.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Request};
use axum::response::Response;
use chrono::{DateTime, Utc};
use clap::Parser;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::world::{Credentials, Settings, Shared, World};

#[derive(Parser)]
struct Defaults {
    #[command(flatten)]
    credentials: Credentials,
}

/// The time in every test.
pub fn now() -> DateTime<Utc> {
    "2026-03-04T05:06:07Z".parse().unwrap()
}

/// A fresh world with default credentials.
pub fn world() -> Shared {
    let settings = Settings {
        base_url: "http://world.test".to_owned(),
        seed: 1,
        slow: Duration::ZERO,
        credentials: Defaults::parse_from(["test"]).credentials,
    };
    Arc::new(World::grow(settings, Box::new(now)))
}

/// A request to be sent.
pub struct Ask {
    builder: axum::http::request::Builder,
    body: Body,
}

/// What came back.
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub response: Response,
}

impl Ask {
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            builder: Request::builder()
                .method(method)
                .uri(path)
                .header("host", "world.test"),
            body: Body::empty(),
        }
    }

    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    pub fn post(path: &str) -> Self {
        Self::new("POST", path)
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.builder = self.builder.header(name, value);
        self
    }

    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Body::from(body.as_ref().to_vec());
        self
    }

    pub fn json(mut self, value: &Value) -> Self {
        self.builder = self.builder.header("content-type", "application/json");
        self.body = value.to_string().into();
        self
    }

    /// Sends to a fresh world.
    pub async fn send(self) -> Answer {
        self.send_to(&world()).await
    }

    pub async fn send_to(self, world: &Shared) -> Answer {
        let request = self.builder.body(self.body).unwrap();
        let response = crate::sections::router(world.clone())
            .oneshot(request)
            .await
            .unwrap();
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            response,
        }
    }
}

impl Answer {
    pub async fn bytes(self) -> Bytes {
        to_bytes(self.response.into_body(), usize::MAX)
            .await
            .unwrap()
    }

    pub async fn text(self) -> String {
        String::from_utf8(self.bytes().await.to_vec()).unwrap()
    }
}

/// Status and JSON body.
pub async fn json_of(answer: Answer) -> (u16, Value) {
    let status = answer.status;
    let text = answer.text().await;
    (
        status,
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")),
    )
}
