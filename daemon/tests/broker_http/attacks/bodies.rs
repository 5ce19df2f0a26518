//! Answers without end, answers that expand without end, and answers that two readers read in two ways.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use flowweaver::broker::settings::BrokerSettings;

fn head(lines: &str) -> String {
    format!("HTTP/1.1 200 OK\n{lines}\n\n").replace('\n', "\r\n")
}

/// Attack: a body without end. ends at its limit, and the connection is closed.
#[tokio::test]
async fn an_endless_body_ends_at_a_limit() {
    let flood = format!("10000\r\n{}\r\n", "x".repeat(0x10000)).into_bytes();
    let chunked = head("Transfer-Encoding: chunked").into_bytes();
    let server =
        server(move |_| Reply::Endless(chunked.clone(), flood.clone(), Duration::ZERO)).await;
    let mut settings = server.reachable();
    settings.http.response_bytes = 1024 * 1024;
    let attempt = attempt(settings, &[], vec![grant(&server.url("/*"))]);
    let refusal = fetch(&attempt, server.url("/")).await.unwrap_err();
    assert_eq!(refusal.code, "limit.http-body");
    let call = attempt.recorded("limit.http-body");
    assert!(call.received_bytes < 4 << 20, "{call:?}");
}

/// Attack: a body of one byte now and then. ends at the request's time.
#[tokio::test]
async fn a_dripping_body_ends_with_its_time() {
    let chunked = head("Transfer-Encoding: chunked").into_bytes();
    let server = server(move |_| {
        Reply::Endless(
            chunked.clone(),
            b"1\r\nx\r\n".to_vec(),
            Duration::from_millis(20),
        )
    })
    .await;
    let attempt = attempt(server.reachable(), &[], vec![grant(&server.url("/*"))]);
    let mut drip = get(server.url("/"));
    drip.timeout = Some(Duration::from_millis(300));
    let mut response = attempt.ctx.http.send(drip).await.unwrap();
    assert_eq!(body(&mut response).await.unwrap_err().code, "http.timeout");
    attempt.recorded("http.timeout");
}

/// Attack: a head that never ends, one byte at a time. ends at the request's time.
#[tokio::test]
async fn a_dripping_head_ends_with_its_time() {
    let server = server(move |_| {
        Reply::Endless(
            b"HTTP/1.1 200 OK\r\nx-a: ".to_vec(),
            b"y".to_vec(),
            Duration::from_millis(20),
        )
    })
    .await;
    let attempt = attempt(server.reachable(), &[], vec![grant(&server.url("/*"))]);
    let mut drip = get(server.url("/"));
    drip.timeout = Some(Duration::from_millis(300));
    assert_eq!(refusal_of(&attempt, drip).await.code, "http.timeout");
    attempt.recorded("http.timeout");
}

/// A server that answers every request with this body in this encoding.
async fn encoded(encoding: &'static str, body: Vec<u8>) -> Server {
    server(move |_| {
        let lines = format!(
            "Content-Encoding: {encoding}\nContent-Length: {}",
            body.len()
        );
        Reply::Bytes([head(&lines).into_bytes(), body.clone()].concat())
    })
    .await
}

/// Zeros, written in pieces so that the test itself stays small.
fn zeros(mib: usize, mut encoder: impl std::io::Write) {
    for _ in 0..mib {
        encoder.write_all(&[0; 1 << 20]).unwrap();
    }
}

/// Attack: 10 GiB of zeros as gzip in gzip members of 10 MiB. ends at the ratio, having decoded megabytes.
#[tokio::test]
async fn a_gzip_bomb_ends_at_its_ratio() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    zeros(10, &mut gzip);
    let member = gzip.finish().unwrap();
    let server = encoded("gzip", member.repeat(1024)).await;
    let mut settings = server.reachable();
    // Not the size is what ends it.
    settings.http.response_bytes = u64::MAX;
    settings.http.received_bytes = u64::MAX;
    let attempt = attempt(settings, &[], vec![grant(&server.url("/*"))]);
    let mut response = attempt.ctx.http.send(get(server.url("/"))).await.unwrap();
    let mut decoded = 0;
    let refusal = loop {
        match response.read(u32::MAX).await {
            Ok(portion) => decoded += portion.unwrap().len(),
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(refusal.code, "limit.http-body");
    assert!(refusal.message.contains("expands"), "{refusal}");
    assert!(decoded < 64 << 20, "{decoded}");
    attempt.recorded("limit.http-body");
}

/// Attack: the same as deflate, zlib and raw. ends at the ratio.
#[tokio::test]
async fn a_deflate_bomb_ends_at_its_ratio() {
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    zeros(64, &mut zlib);
    let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    zeros(64, &mut raw);
    for bomb in [zlib.finish().unwrap(), raw.finish().unwrap()] {
        let server = encoded("deflate", bomb).await;
        let mut settings = server.reachable();
        settings.http.response_bytes = u64::MAX;
        let attempt = attempt(settings, &[], vec![grant(&server.url("/*"))]);
        let refusal = fetch(&attempt, server.url("/")).await.unwrap_err();
        assert_eq!(refusal.code, "limit.http-body");
        attempt.recorded("limit.http-body");
    }
}

/// Attack: 64 MiB of zeros in less than a hundred bytes of brotli. ends at the ratio.
#[tokio::test]
async fn a_brotli_bomb_ends_at_its_ratio() {
    let bomb = include_bytes!("../../fixtures/zeros-64-mib.br").to_vec();
    assert!(bomb.len() < 200);
    let server = encoded("br", bomb).await;
    let attempt = attempt(server.reachable(), &[], vec![grant(&server.url("/*"))]);
    let refusal = fetch(&attempt, server.url("/")).await.unwrap_err();
    assert_eq!(refusal.code, "limit.http-body");
    assert!(refusal.message.contains("expands"), "{refusal}");
    attempt.recorded("limit.http-body");
}

/// Attack: gzip in gzip, also by two headers, and gzip in something unknown. an error before any byte is read.
#[tokio::test]
async fn nested_encodings_are_refused() {
    for encodings in [
        "Content-Encoding: gzip, gzip",
        "Content-Encoding: gzip\nContent-Encoding: br",
        "Content-Encoding: unheard-of, gzip",
        "Content-Encoding: gzip, identity, deflate",
    ] {
        let reply = format!("{}x", head(&format!("{encodings}\nContent-Length: 1")));
        let server = server(move |_| Reply::Bytes(reply.clone().into_bytes())).await;
        let attempt = attempt(server.reachable(), &[], vec![grant(&server.url("/*"))]);
        assert_eq!(
            code_of(&attempt, get(server.url("/"))).await,
            "http.protocol"
        );
        attempt.recorded("http.protocol");
    }
}

/// Attack: bodies that are cut, damaged, lengthened or not encoded as they say. an error, connection closed.
#[tokio::test]
async fn a_body_that_is_not_encoded_as_it_says_is_an_error() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&b"words and words".repeat(100)).unwrap();
    let gzip = gzip.finish().unwrap();
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    zlib.write_all(&b"words and words".repeat(100)).unwrap();
    let zlib = zlib.finish().unwrap();
    let mut flipped = gzip.clone();
    let checksum = flipped.len() - 6;
    flipped[checksum] ^= 1;
    for (encoding, body) in [
        ("gzip", gzip[..gzip.len() - 9].to_vec()),
        ("gzip", flipped),
        ("gzip", b"not gzip at all".to_vec()),
        ("gzip", [&gzip[..], b"trailing"].concat()),
        ("deflate", zlib[..zlib.len() - 1].to_vec()),
        ("deflate", b"\xff\xff not deflate".to_vec()),
        ("br", b"\xff\xff not brotli".to_vec()),
        ("br", gzip.clone()),
    ] {
        let server = encoded(encoding, body).await;
        let attempt = attempt(server.reachable(), &[], vec![grant(&server.url("/*"))]);
        for asked in 1..=2 {
            let refusal = fetch(&attempt, server.url("/")).await.unwrap_err();
            assert_eq!(refusal.code, "http.protocol", "{encoding}: {refusal}");
            attempt.recorded("http.protocol");
            assert_eq!(server.connections(), asked, "{encoding}");
        }
    }
}

/// The answer is an error, is recorded, and the next request has another connection and its own answer.
async fn refused_and_not_reused(path: &str, answer: Vec<u8>, close: bool) {
    let server = server(move |request| match (request.contains("/good"), close) {
        (true, _) => ok("good"),
        (false, true) => Reply::Close(answer.clone()),
        (false, false) => Reply::Bytes(answer.clone()),
    })
    .await;
    let attempt = attempt(server.reachable(), &[], vec![grant(&server.url("/*"))]);
    let refusal = fetch(&attempt, server.url(path)).await.unwrap_err();
    assert_eq!(refusal.code, "http.protocol", "{path}: {refusal}");
    attempt.recorded("http.protocol");
    assert_eq!(fetch(&attempt, server.url("/good")).await.unwrap(), b"good");
    assert_eq!(server.connections(), 2, "{path}");
}

/// Attack: fewer bytes than the Content-Length says. an error, connection not reused.
#[tokio::test]
async fn a_body_shorter_than_its_length_is_an_error() {
    let answer = format!("{}abc", head("Content-Length: 10"));
    refused_and_not_reused("/short", answer.into_bytes(), true).await;
}

/// Attack: two Content-Lengths, a negative, signed, listed or enormous one. an error, connection not reused.
#[tokio::test]
async fn a_length_that_is_none_is_an_error() {
    for lengths in [
        "Content-Length: 3\nContent-Length: 4",
        "Content-Length: -3",
        "Content-Length: +3",
        "Content-Length: 3, 4",
        "Content-Length: 0x3",
        "Content-Length: 99999999999999999999999",
    ] {
        let answer = format!("{}abc", head(lengths));
        refused_and_not_reused("/length", answer.into_bytes(), true).await;
    }
}

/// Attack: Content-Length and Transfer-Encoding together. an error, connection not reused.
#[tokio::test]
async fn a_length_and_chunks_together_are_an_error() {
    for lines in [
        "Content-Length: 3\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\nContent-Length: 3",
    ] {
        let answer = format!("{}3\r\nabc\r\n0\r\n\r\n", head(lines));
        refused_and_not_reused("/both", answer.into_bytes(), false).await;
    }
}

/// Attack: broken chunk sizes. an error, connection not reused.
#[tokio::test]
async fn broken_chunks_are_an_error() {
    for chunks in [
        "zz\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n",
        "3\r\nabcX\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nabc",
    ] {
        let answer = format!("{}{chunks}", head("Transfer-Encoding: chunked"));
        refused_and_not_reused("/chunks", answer.into_bytes(), true).await;
    }
}

/// Attack: 100,000 headers, and one of a megabyte. an error, connection not reused.
#[tokio::test]
async fn too_many_headers_of_a_server_are_an_error() {
    let many: String = (0..100_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let large = format!("x-a: {}\r\n", "y".repeat(1 << 20));
    for lines in [many, large] {
        let answer = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
        refused_and_not_reused("/many", answer.into_bytes(), true).await;
    }
}

/// Attack: an answer that is not HTTP, or none. an error, connection not reused.
#[tokio::test]
async fn what_is_not_http_is_an_error() {
    for answer in [
        &b"\x16\x03\x01 not http"[..],
        b"",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx-a: b\0c\r\n\r\n",
    ] {
        refused_and_not_reused("/garbage", answer.to_vec(), true).await;
    }
}

/// Attack: a second answer behind the first one's length. never read, and the connection not reused.
#[tokio::test]
async fn an_answer_behind_the_answer_is_not_the_next_requests() {
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let server = server(move |request| match request.contains("/good") {
        true => ok("good"),
        false => Reply::Bytes(format!("{}abc{evil}", head("Content-Length: 3")).into_bytes()),
    })
    .await;
    let attempt = attempt(server.reachable(), &[], vec![grant(&server.url("/*"))]);
    assert_eq!(fetch(&attempt, server.url("/first")).await.unwrap(), b"abc");
    assert_eq!(fetch(&attempt, server.url("/good")).await.unwrap(), b"good");
    assert_eq!(server.connections(), 2);
    assert_eq!(outcomes(&attempt), ["200", "200"]);
}

/// Attack: a body that the guest does not read to its end. given up with its connection.
#[tokio::test]
async fn a_connection_whose_body_was_not_read_is_not_used_again() {
    let large = format!("{}{}", head("Content-Length: 8000000"), "x".repeat(100_000));
    let server = server(move |request| match request.contains("/good") {
        true => ok("good"),
        false => Reply::Bytes(large.clone().into_bytes()),
    })
    .await;
    let attempt = attempt(server.reachable(), &[], vec![grant(&server.url("/*"))]);
    let mut response = attempt
        .ctx
        .http
        .send(get(server.url("/large")))
        .await
        .unwrap();
    response.read(10).await.unwrap();
    drop(response);
    assert_eq!(fetch(&attempt, server.url("/good")).await.unwrap(), b"good");
    assert_eq!(server.connections(), 2);
}

/// Attack: a certificate that nobody vouches for. an error, and nothing is sent.
#[tokio::test]
async fn an_untrusted_certificate_is_an_error_and_nothing_is_sent() {
    use tokio::io::AsyncReadExt as _;
    let certificate = include_bytes!("../../fixtures/untrusted-certificate.der")
        .to_vec()
        .into();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(
        include_bytes!("../../fixtures/untrusted-key.der").to_vec(),
    );
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
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
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        if let Ok(mut stream) = acceptor.accept(stream).await {
            let _ = stream.read_to_end(&mut bytes).await;
        }
        bytes
    });
    let mut settings = BrokerSettings {
        hosts: hosts(&[("untrusted.test", &["127.0.0.1"])]),
        ..BrokerSettings::default()
    };
    settings.network.allow = vec![address.to_string().parse().unwrap()];
    let url = format!("https://untrusted.test:{}/", address.port());
    let attempt = attempt(settings, &[], vec![grant(&url)]);
    assert_eq!(code_of(&attempt, get(&url)).await, "http.tls");
    attempt.recorded("http.tls");
    assert_eq!(seen.await.unwrap(), b"");
}
