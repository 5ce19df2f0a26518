//! What happens around every request of the outside services: it is written down, held back if a gate says so,
//! made to fail if a rule says so. The control routes are not observed.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use crate::answer;
use crate::control::faults::{Fault, Kind, When};
use crate::control::rule::Call;
use crate::world::Shared;

/// Largest request body taken: above the 16 MiB that a signed upload may have, so that its own limit is met first.
const LARGEST_BODY: usize = 20 * 1024 * 1024;

/// Marks an answer that must not be sent: the connection is closed instead.
#[derive(Clone, Copy)]
pub struct Abort;

/// The layer around all sections.
pub async fn observe(State(world): State<Shared>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let call = Call::of(&parts.method, &parts.uri);
    if call.section.is_empty() || call.section == "control" {
        return next.run(Request::from_parts(parts, body)).await;
    }
    let Ok(body) = to_bytes(body, LARGEST_BODY).await else {
        return answer::typed(
            StatusCode::PAYLOAD_TOO_LARGE,
            "text/plain",
            "request body too large or cut off",
        );
    };
    let number = world
        .log
        .arrived(&call, &parts.uri, &parts.headers, &body, world.now());
    world.gate.pass(number, &call).await;
    let fault = world.faults.lock().strike(&call, &body);
    let kind = fault.as_ref().map(|fault| fault.kind);
    let request = Request::from_parts(parts, Body::from(body));
    let response = match fault {
        None => next.run(request).await,
        Some(fault) => fail(&fault, request, next).await,
    };
    let aborted = response.extensions().get::<Abort>().is_some();
    world
        .log
        .answered(number, (!aborted).then(|| response.status().as_u16()), kind);
    response
}

async fn fail(fault: &Fault, request: Request, next: Next) -> Response {
    if fault.delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(fault.delay_ms)).await;
    }
    match (fault.kind, fault.when) {
        (Kind::Delay, _) => next.run(request).await,
        (Kind::Malformed, _) => malformed(next.run(request).await).await,
        (Kind::Truncate, _) => truncated(next.run(request).await).await,
        (Kind::Status, When::Before) => refusal(fault),
        (Kind::Drop, When::Before) => abort(),
        // The effect happens, the answer is lost: what a retry must survive.
        (Kind::Status, When::After) => {
            next.run(request).await;
            refusal(fault)
        }
        (Kind::Drop, When::After) => {
            next.run(request).await;
            abort()
        }
    }
}

fn abort() -> Response {
    let mut response = StatusCode::BAD_GATEWAY.into_response();
    response.extensions_mut().insert(Abort);
    response
}

fn refusal(fault: &Fault) -> Response {
    let status = StatusCode::from_u16(fault.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let default = serde_json::json!({ "error": { "code": fault.status, "message": "planned failure of the demo world" } });
    let body = fault.body.clone().unwrap_or_else(|| default.to_string());
    let mut response = answer::typed(status, "application/json; charset=UTF-8", body);
    if let Some(seconds) = &fault.retry_after
        && let Ok(value) = HeaderValue::from_str(&seconds.to_string())
    {
        response.headers_mut().insert(RETRY_AFTER, value);
    }
    response
}

async fn whole(response: Response) -> (axum::http::response::Parts, Bytes) {
    let (mut parts, body) = response.into_parts();
    // Our own bodies are in memory, so reading them cannot fail.
    let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts.headers.remove(CONTENT_LENGTH);
    (parts, bytes)
}

/// Same status and type, but the body is no longer what it says.
async fn malformed(response: Response) -> Response {
    let (mut parts, bytes) = whole(response).await;
    let mut body = bytes.slice(..bytes.len() / 2).to_vec();
    body.extend_from_slice(b"\x00<{\"unfinished");
    parts
        .headers
        .entry(CONTENT_TYPE)
        .or_insert(HeaderValue::from_static("application/json"));
    Response::from_parts(parts, Body::from(body))
}

/// The full length is announced, half is sent, then the connection ends.
async fn truncated(response: Response) -> Response {
    let (mut parts, bytes) = whole(response).await;
    parts
        .headers
        .insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    let half = bytes.slice(..bytes.len() / 2);
    let body = Body::from_stream(stream::unfold(0_u8, move |step| {
        let half = half.clone();
        async move {
            match step {
                0 => Some((Ok::<Bytes, std::io::Error>(half), 1)),
                1 => {
                    // One pause lets hyper flush what it has before it learns of the end.
                    tokio::task::yield_now().await;
                    Some((Err(std::io::Error::other("cut off by a fault rule")), 2))
                }
                _ => None,
            }
        }
    }));
    Response::from_parts(parts, body)
}
