//! The HTTP broker against hostile guests and hostile servers: the denial before the permission, every
//! call recorded, and nothing outside that was not granted.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a panic in a test is the report"
)]

#[path = "../broker_world/mod.rs"]
mod broker_world;

mod attacks;
mod redirects;
mod requests;
mod servers;
mod turns;
mod uploads;

use broker_world::*;
use flowweaver::broker::error::Refusal;
use flowweaver::broker::http::{HttpRequest, HttpResponse};

fn get(url: impl Into<String>) -> HttpRequest {
    HttpRequest::new("GET", url)
}

async fn body(response: &mut HttpResponse) -> Result<Vec<u8>, Refusal> {
    let mut whole = Vec::new();
    while let Some(portion) = response.read(64 * 1024).await? {
        whole.extend(portion);
    }
    Ok(whole)
}

/// The status of the answer, or the code of the refusal.
async fn code_of(attempt: &Attempt, request: HttpRequest) -> String {
    match attempt.ctx.http.send(request).await {
        Ok(response) => response.status().to_string(),
        Err(refusal) => refusal.code,
    }
}

/// The whole answer to GET.
async fn fetch(attempt: &Attempt, url: String) -> Result<Vec<u8>, Refusal> {
    let mut response = attempt.ctx.http.send(get(url)).await?;
    body(&mut response).await
}

/// The refusal of a request.
async fn refusal_of(attempt: &Attempt, request: HttpRequest) -> Refusal {
    attempt.ctx.http.send(request).await.err().unwrap()
}

/// What became of the calls since the last look.
fn outcomes(attempt: &Attempt) -> Vec<String> {
    let calls = attempt.calls().into_iter();
    calls.map(|call| call.outcome).collect()
}
