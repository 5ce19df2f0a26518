//! What stands before every route: doors, request ids, headers for browsers, time limits, one form of error.

use std::any::Any;
use std::net::IpAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use super::problem::{ApiError, PROBLEM};

/// The framework's refusals are a sentence.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
/// The store answers in milliseconds; who waits this long waits for something that is broken.
const ANSWER: Duration = Duration::from_secs(60);
/// The same of a request that asked to wait, whose own limit is five minutes.
const PATIENT_ANSWER: Duration = Duration::from_secs(330);
/// Letters of a request id that a caller may choose.
const REQUEST_ID_MAX: usize = 64;

/// Names a request in the answer and in the log.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How the daemon looks from where browsers are.
#[derive(Debug, Clone, Default)]
pub struct Edge {
    /// Scheme, host and port under which browsers reach it, where that is not what it listens on.
    pub public_origin: Option<String>,
    /// Proxies whose word for a caller's address is taken.
    pub trusted_proxies: Vec<IpAddr>,
    /// How long a browser keeps a cookie.
    pub session_life: Duration,
}

impl Edge {
    fn secure(&self) -> bool {
        let origin = self.public_origin.as_deref();
        origin.is_some_and(|origin| origin.starts_with("https://"))
    }

    /// The cookie's name. Browsers take `__Host-` from this very host over TLS alone.
    pub fn cookie_name(&self) -> &'static str {
        match self.secure() {
            true => "__Host-flowweaver",
            false => "flowweaver",
        }
    }

    /// The cookie with this text; none takes it away.
    pub fn cookie(&self, text: Option<&str>) -> String {
        let name = self.cookie_name();
        let secure = if self.secure() { "; Secure" } else { "" };
        let life = text.map_or(0, |_| self.session_life.as_secs());
        let text = text.unwrap_or_default();
        format!("{name}={text}; Path=/; HttpOnly; SameSite=Lax; Max-Age={life}{secure}")
    }

    /// The session's text among a request's cookies.
    pub fn session<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        let name = self.cookie_name();
        let lines = headers.get_all(header::COOKIE).iter();
        lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(found, _)| *found == name)
            .map(|(_, text)| text)
    }

    /// Who is behind a connection: the last address that a trusted proxy names and that is none itself.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.trusted_proxies.contains(&peer) {
            return peer;
        }
        let named = headers.get_all("x-forwarded-for").iter();
        let named: Vec<IpAddr> = named
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(','))
            .map_while(|text| text.trim().parse::<IpAddr>().ok())
            .map(|address| address.to_canonical())
            .collect();
        let mut from_us = named.into_iter().rev();
        from_us
            .find(|address| !self.trusted_proxies.contains(address))
            .unwrap_or(peer)
    }

    /// Refuses what a page of another site made a browser send.
    ///
    /// # Errors
    /// 403.
    pub fn same_site(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let own = match (text("sec-fetch-site"), text("origin")) {
            // What browsers say of themselves cannot be set by a page.
            (Some(site), _) => matches!(site, "same-origin" | "none"),
            (None, Some(origin)) => self.is_own(origin, text("host")),
            (None, None) => true,
        };
        match own {
            true => Ok(()),
            false => Err(ApiError::denied(
                "auth.cross-site",
                "a request of another site's page is not taken with a cookie; programs use a token",
            )),
        }
    }

    fn is_own(&self, origin: &str, host: Option<&str>) -> bool {
        if let Some(public) = &self.public_origin {
            return origin == public;
        }
        let plain = origin.strip_prefix("http://");
        plain.is_some() && plain == host
    }
}

/// Puts the layers that every door has around a router.
pub fn layered(router: Router) -> Router {
    let plain = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
        // Pages say what they need themselves; data needs nothing.
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ];
    let router = router
        .layer(axum::middleware::from_fn(every_refusal_is_a_problem))
        .layer(axum::middleware::from_fn(in_time))
        .layer(CatchPanicLayer::custom(panicked));
    let router = plain.into_iter().fold(router, |router, (name, value)| {
        let value = HeaderValue::from_static(value);
        router.layer(SetResponseHeaderLayer::if_not_present(name, value))
    });
    router.layer(axum::middleware::from_fn(named))
}

/// A handler that panics fails its request, and nothing else.
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    ApiError::internal(text.unwrap_or("a handler panicked")).into_response()
}

/// Gives each request a name; a caller's own is kept if it is harmless.
async fn named(mut request: Request, next: Next) -> Response {
    let given = request.headers().get(&REQUEST_ID).cloned();
    let harmless = |value: &HeaderValue| {
        let bytes = value.as_bytes();
        (1..=REQUEST_ID_MAX).contains(&bytes.len())
            && bytes
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
    };
    let id = given.filter(harmless);
    let made = || HeaderValue::from_str(&ulid::Ulid::generate().to_string()).ok();
    let Some(id) = id.or_else(made) else {
        return next.run(request).await;
    };
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let mut response = next.run(request).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Ends what takes too long to begin its answer. A stream has begun, and goes on.
async fn in_time(request: Request, next: Next) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let patient = query.split('&').any(|pair| pair.starts_with("wait="));
    let limit = if patient { PATIENT_ANSWER } else { ANSWER };
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            ApiError::unavailable("the answer took too long; what was begun may have happened")
                .into_response()
        }
    }
}

/// The framework's own refusals are plain text; callers get one form of error.
async fn every_refusal_is_a_problem(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let is_problem = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == PROBLEM);
    if is_problem || !response.status().is_client_error() {
        return response;
    }
    let (parts, body) = response.into_parts();
    // A text that cannot be had leaves the status, which says the most of it.
    let text = axum::body::to_bytes(body, REFUSAL_BYTES_MAX)
        .await
        .unwrap_or_default();
    let problem = ApiError::refused(parts.status, &String::from_utf8_lossy(&text));
    let mut response = problem.into_response();
    if let Some(allowed) = parts.headers.get(header::ALLOW) {
        response
            .headers_mut()
            .insert(header::ALLOW, allowed.clone());
    }
    response
}
