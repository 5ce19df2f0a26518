//! The HTTP broker against hostile servers: whatever they send, the guest gets an answer, the call is
//! recorded, and the connection is not used again.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a panic in a test is the report"
)]

mod broker_world;

use std::sync::Arc;
use std::time::Duration;

use broker_world::*;
use flowweaver::broker::error::Refusal;
use flowweaver::broker::http::{HttpRequest, HttpResponse};
use flowweaver::broker::settings::BrokerSettings;

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

async fn code_of(attempt: &Attempt, request: HttpRequest) -> String {
    match attempt.ctx.http.send(request).await {
        Ok(response) => response.status().to_string(),
        Err(refusal) => refusal.code,
    }
}

#[tokio::test]
async fn endless_and_dripping_bodies_end_at_a_limit_and_their_connection_is_closed() {
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let flood = format!("10000\r\n{}\r\n", "x".repeat(0x10000)).into_bytes();
    let server = server(move |request| {
        if request.contains("/flood") {
            Reply::Endless(chunked.clone(), flood.clone(), Duration::ZERO)
        } else {
            Reply::Endless(
                chunked.clone(),
                b"1\r\nx\r\n".to_vec(),
                Duration::from_millis(20),
            )
        }
    })
    .await;
    let mut settings = server.reachable();
    settings.http.response_bytes = 1024 * 1024;
    let attempt = attempt(settings, &[], vec![grant(&server.url("/*"))]);
    let mut response = attempt
        .ctx
        .http
        .send(get(server.url("/flood")))
        .await
        .unwrap();
    assert_eq!(
        body(&mut response).await.unwrap_err().code,
        "limit.http-body"
    );
    attempt.recorded("limit.http-body");
    let mut drip = get(server.url("/drip"));
    drip.timeout = Some(Duration::from_millis(300));
    let mut response = attempt.ctx.http.send(drip).await.unwrap();
    assert_eq!(body(&mut response).await.unwrap_err().code, "http.timeout");
    attempt.recorded("http.timeout");
}

#[tokio::test]
async fn compressed_bodies_are_decoded_and_bombs_and_unasked_encodings_are_refused() {
    use std::io::Write as _;
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let (small, bomb) = (
        gzip("가나다".repeat(1000).as_bytes()),
        gzip(&vec![0; 64 * 1024 * 1024]),
    );
    let server = server(move |request| {
        let (encoding, body) = match request.split(' ').nth(1).unwrap() {
            "/small" => ("gzip", small.clone()),
            "/bomb" => ("gzip", bomb.clone()),
            "/cut" => ("gzip", small[..small.len() - 9].to_vec()),
            "/broken" => ("gzip", b"not gzip at all".to_vec()),
            "/nested" => ("gzip, gzip", small.clone()),
            _ => ("br", small.clone()),
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        Reply::Close([head.into_bytes(), body].concat())
    })
    .await;
    let attempt = attempt(server.reachable(), &[], vec![grant(&server.url("/*"))]);
    let fetch = async |path: &str| {
        let mut response = attempt.ctx.http.send(get(server.url(path))).await?;
        assert!(
            response
                .headers()
                .iter()
                .all(|(name, _)| name != "content-encoding")
        );
        body(&mut response).await
    };
    assert_eq!(
        fetch("/small").await.unwrap(),
        "가나다".repeat(1000).as_bytes()
    );
    assert_eq!(fetch("/bomb").await.unwrap_err().code, "limit.http-body");
    for path in ["/cut", "/broken", "/nested", "/brotli"] {
        assert_eq!(
            fetch(path).await.unwrap_err().code,
            "http.protocol",
            "{path}"
        );
    }
}

#[tokio::test]
async fn answers_that_can_be_read_in_two_ways_are_errors_and_their_connection_is_not_reused() {
    let head = |lines: &str| format!("HTTP/1.1 200 OK\n{lines}\n\n").replace('\n', "\r\n");
    let many: String = (0..100_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let cases = vec![
        (
            "/short",
            Reply::Close(format!("{}abc", head("Content-Length: 10")).into_bytes()),
        ),
        (
            "/both",
            Reply::Bytes(
                format!(
                    "{}3\r\nabc\r\n0\r\n\r\n",
                    head("Content-Length: 3\nTransfer-Encoding: chunked")
                )
                .into_bytes(),
            ),
        ),
        (
            "/two",
            Reply::Bytes(
                format!("{}abc", head("Content-Length: 3\nContent-Length: 4")).into_bytes(),
            ),
        ),
        (
            "/many",
            Reply::Close(format!("HTTP/1.1 200 OK\r\n{many}\r\n").into_bytes()),
        ),
        ("/garbage", Reply::Close(b"\x16\x03\x01 not http".to_vec())),
        ("/nothing", Reply::Close(Vec::new())),
    ];
    for (path, reply) in cases {
        let bytes = match reply {
            Reply::Bytes(bytes) => (bytes, false),
            Reply::Close(bytes) => (bytes, true),
            _ => unreachable!(),
        };
        let server = server(move |request| match (request.contains("/good"), &bytes) {
            (true, _) => ok("good"),
            (false, (bytes, true)) => Reply::Close(bytes.clone()),
            (false, (bytes, false)) => Reply::Bytes(bytes.clone()),
        })
        .await;
        let attempt = attempt(server.reachable(), &[], vec![grant(&server.url("/*"))]);
        let result = async {
            let mut response = attempt.ctx.http.send(get(server.url(path))).await?;
            body(&mut response).await
        };
        assert_eq!(result.await.unwrap_err().code, "http.protocol", "{path}");
        attempt.recorded("http.protocol");
        let mut good = attempt
            .ctx
            .http
            .send(get(server.url("/good")))
            .await
            .unwrap();
        assert_eq!(body(&mut good).await.unwrap(), b"good");
        assert_eq!(server.connections(), 2, "{path}");
    }
}

#[tokio::test]
async fn a_good_connection_is_used_again() {
    let server = server(|_| ok("again")).await;
    let attempt = attempt(server.reachable(), &[], vec![grant(&server.url("/*"))]);
    for _ in 0..3 {
        let mut response = attempt.ctx.http.send(get(server.url("/"))).await.unwrap();
        body(&mut response).await.unwrap();
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn an_untrusted_certificate_is_an_error_and_nothing_is_sent() {
    use tokio::io::AsyncReadExt as _;
    let certificate = include_bytes!("fixtures/untrusted-certificate.der")
        .to_vec()
        .into();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(
        include_bytes!("fixtures/untrusted-key.der").to_vec(),
    );
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(vec![certificate], key.into())
    .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        if let Ok(mut stream) = tokio_rustls::TlsAcceptor::from(Arc::new(config))
            .accept(stream)
            .await
        {
            let _ = stream.read_to_end(&mut bytes).await;
        }
        bytes
    });
    let mut settings = BrokerSettings::default();
    settings.network.allow = vec![address.to_string().parse().unwrap()];
    settings
        .hosts
        .insert("untrusted.test".to_owned(), vec![address.ip()]);
    let url = format!("https://untrusted.test:{}/", address.port());
    let attempt = attempt(settings, &[], vec![grant(&url)]);
    assert_eq!(code_of(&attempt, get(&url)).await, "http.tls");
    attempt.recorded("http.tls");
    assert_eq!(seen.await.unwrap(), b"");
}

#[tokio::test]
async fn a_refused_connection_and_an_unknown_name_have_codes_of_their_own() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut settings = BrokerSettings::default();
    settings.network.allow = vec![address.to_string().parse().unwrap()];
    settings.hosts.insert("nobody.test".to_owned(), Vec::new());
    let closed = format!("http://{address}/");
    let attempt = attempt(
        settings,
        &[],
        vec![grant(&closed), grant("http://nobody.test/")],
    );
    let refusal = attempt.ctx.http.send(get(&closed)).await.err().unwrap();
    assert_eq!(
        (refusal.code.as_str(), refusal.retryable),
        ("http.connect", true)
    );
    attempt.recorded("http.connect");
    let unknown = attempt
        .ctx
        .http
        .send(get("http://nobody.test/"))
        .await
        .err()
        .unwrap();
    assert_eq!(
        (unknown.code.as_str(), unknown.retryable),
        ("http.dns", true)
    );
}
