//! Bodies that a guest writes while the request is under way.

use std::sync::Arc;
use std::time::Duration;

use super::redirects::{grant_for, redirect};
use super::*;
use flowweaver::broker::http::StreamedBody;
use flowweaver::workflow::grant::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Mutex, mpsc};

fn put(url: String, length: Option<u64>) -> HttpRequest {
    let mut request = HttpRequest::new("PUT", url);
    request.streamed = Some(StreamedBody { length });
    request
}

fn granted(server: &Server) -> Attempt {
    let grants = vec![grant_for(&server.url("/*"), &["PUT", "GET"])];
    attempt(server.reachable(), &[], grants)
}

/// A server that gives away everything it receives, and closes when it is told nothing more.
async fn listening() -> (Server, mpsc::UnboundedReceiver<Option<Vec<u8>>>) {
    let (tell, heard) = mpsc::unbounded_channel();
    let server = raw(move |mut stream| {
        let tell = tell.clone();
        async move {
            let mut buffer = vec![0; 64 * 1024];
            loop {
                match stream.read(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(n) => tell.send(Some(buffer[..n].to_vec())).unwrap(),
                }
            }
            tell.send(None).unwrap();
        }
    })
    .await;
    (server, heard)
}

/// Waits until the server has received this.
async fn heard_text(heard: &mut mpsc::UnboundedReceiver<Option<Vec<u8>>>, text: &str) {
    let mut all = String::new();
    while !all.contains(text) {
        let bytes = heard.recv().await.unwrap().unwrap();
        all.push_str(std::str::from_utf8(&bytes).unwrap());
    }
}

async fn heard_until_close(heard: &mut mpsc::UnboundedReceiver<Option<Vec<u8>>>) -> String {
    let mut all = Vec::new();
    while let Some(bytes) = heard.recv().await.unwrap() {
        all.extend(bytes);
    }
    String::from_utf8(all).unwrap()
}

#[tokio::test]
async fn what_cannot_be_streamed_is_refused_before_anything_is_sent() {
    let server = server(|_| ok("never")).await;
    let attempt = granted(&server);
    let http = &attempt.ctx.http;
    let send = http.send(put(server.url("/"), None)).await.err().unwrap();
    assert_eq!(send.code, "http.invalid");
    let mut both = put(server.url("/"), None);
    http.append_body(&mut both, b"x").unwrap();
    assert_eq!(http.start(both).err().unwrap().code, "http.invalid");
    let mut signed = grant_for(&server.url("/*"), &["PUT"]);
    signed.sign = Some(Signing::AwsSigV4 {
        service: "s3".to_owned(),
        region: "eu-west-1".to_owned(),
        access_key: secret("AK"),
        secret_key: secret("SK"),
    });
    let secrets = [("AK", "AKIDEXAMPLE"), ("SK", "geheimer-schluessel")];
    let other = broker_world::attempt(server.reachable(), &secrets, vec![signed]);
    let refusal = other
        .ctx
        .http
        .start(put(server.url("/"), None))
        .err()
        .unwrap();
    assert_eq!(refusal.code, "http.invalid");
    other.recorded("http.invalid");
    assert_eq!(outcomes(&attempt), ["http.invalid", "http.invalid"]);
    let mut plain = http.start(get(server.url("/"))).unwrap();
    let written = plain.write_body(b"x".to_vec()).await.unwrap_err();
    assert_eq!(written.code, "http.invalid");
    assert_eq!(plain.end_body().unwrap_err().code, "http.invalid");
    assert_eq!(plain.response().await.unwrap().status(), 200);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_body_is_sent_as_it_is_written_with_its_length_or_in_chunks() {
    let server = server(|_| ok("stored")).await;
    let attempt = granted(&server);
    for length in [Some(7), None] {
        let mut exchange = attempt
            .ctx
            .http
            .start(put(server.url("/a"), length))
            .unwrap();
        exchange.write_body(b"one".to_vec()).await.unwrap();
        exchange.write_body(Vec::new()).await.unwrap();
        exchange.write_body(b" two".to_vec()).await.unwrap();
        exchange.end_body().unwrap();
        let again = exchange.write_body(b"x".to_vec()).await.unwrap_err();
        assert_eq!(again.code, "http.invalid");
        let mut response = exchange.response().await.unwrap();
        drop(exchange);
        assert_eq!(body(&mut response).await.unwrap(), b"stored");
        let call = attempt.recorded("200");
        assert_eq!((call.sent_bytes, call.received_bytes), (7, 6));
        let sent = server.requests().pop().unwrap();
        let framed = match length {
            Some(_) => sent.contains("content-length: 7\r\n") && sent.ends_with("\r\n\r\none two"),
            None => sent.contains("transfer-encoding: chunked\r\n") && sent.ends_with("0\r\n\r\n"),
        };
        assert!(framed, "{sent}");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_body_that_does_not_fit_its_length_is_given_up_and_never_looks_complete() {
    for (written, ends) in [(&b"123456"[..], false), (b"1234", true)] {
        let (server, mut heard) = listening().await;
        let attempt = granted(&server);
        let mut exchange = attempt
            .ctx
            .http
            .start(put(server.url("/a"), Some(5)))
            .unwrap();
        heard_text(&mut heard, "\r\n\r\n").await;
        let wrote = exchange.write_body(written.to_vec()).await;
        let refused = if ends { exchange.end_body() } else { wrote };
        assert_eq!(refused.unwrap_err().code, "http.invalid");
        let after = exchange.write_body(b"5".to_vec()).await.unwrap_err();
        assert_eq!(after.code, "http.invalid");
        assert_eq!(
            exchange.response().await.err().unwrap().code,
            "http.invalid"
        );
        attempt.recorded("http.invalid");
        let sent = heard_until_close(&mut heard).await;
        assert!(sent.len() < 5, "{sent}");
    }
}

#[tokio::test]
async fn a_guest_that_writes_faster_than_the_network_waits_within_its_time() {
    // Reads the head and nothing more.
    let stuck = Arc::new(Mutex::new(Vec::new()));
    let keep = stuck.clone();
    let server = raw(move |mut stream| {
        let keep = keep.clone();
        async move {
            read_until(&mut stream, b"\r\n\r\n").await;
            keep.lock().await.push(stream);
        }
    })
    .await;
    let attempt = granted(&server);
    let mut request = put(server.url("/a"), None);
    request.timeout = Some(Duration::from_millis(500));
    let mut exchange = attempt.ctx.http.start(request).unwrap();
    let mut taken = 0_usize;
    let refusal = loop {
        match exchange.write_body(vec![b'x'; 64 * 1024]).await {
            Ok(()) => taken += 64 * 1024,
            Err(refusal) => break refusal,
        }
    };
    // Both sides' socket buffers and ours, which are a few MiB; not the 256 MiB of the budget.
    assert!(taken < 64 << 20, "{taken}");
    assert!(
        ["http.timeout", "http.ended"].contains(&refusal.code.as_str()),
        "{refusal}"
    );
    assert_eq!(
        exchange.response().await.err().unwrap().code,
        "http.timeout"
    );
    attempt.recorded("http.timeout");
}

#[tokio::test]
async fn the_bytes_of_an_attempts_streams_have_a_limit_of_their_own() {
    let (server, mut heard) = listening().await;
    let mut settings = server.reachable();
    settings.http.upload_bytes = 10;
    let grants = vec![grant_for(&server.url("/*"), &["PUT"])];
    let attempt = attempt(settings, &[], grants);
    let mut exchange = attempt.ctx.http.start(put(server.url("/a"), None)).unwrap();
    exchange.write_body(b"12345678".to_vec()).await.unwrap();
    heard_text(&mut heard, "12345678").await;
    let refusal = exchange.write_body(b"901".to_vec()).await.unwrap_err();
    assert_eq!(refusal.code, "limit.http-body");
    assert_eq!(
        exchange.response().await.err().unwrap().code,
        "limit.http-body"
    );
    attempt.recorded("limit.http-body");
    let all = heard_until_close(&mut heard).await;
    assert!(!all.contains("0\r\n\r\n"), "{all}");
}

#[tokio::test]
async fn dropping_an_upload_closes_the_connection_and_is_recorded_at_once() {
    let (server, mut heard) = listening().await;
    let attempt = granted(&server);
    let mut exchange = attempt.ctx.http.start(put(server.url("/a"), None)).unwrap();
    exchange.write_body(b"half".to_vec()).await.unwrap();
    heard_text(&mut heard, "half").await;
    drop(exchange);
    let call = attempt.recorded("abandoned");
    assert_eq!(call.sent_bytes, 4);
    let all = heard_until_close(&mut heard).await;
    assert!(!all.contains("0\r\n\r\n"), "{all}");
}

#[tokio::test]
async fn a_server_that_refuses_early_is_heard_and_writing_ends() {
    let answer = "HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nlarge";
    let server = raw(move |mut stream| async move {
        read_until(&mut stream, b"\r\n\r\n").await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        // The rest is not read, and the connection stays open.
        std::future::pending::<()>().await;
    })
    .await;
    let attempt = granted(&server);
    let mut exchange = attempt.ctx.http.start(put(server.url("/a"), None)).unwrap();
    let refusal = loop {
        if let Err(refusal) = exchange.write_body(vec![b'x'; 64 * 1024]).await {
            break refusal;
        }
    };
    assert_eq!(refusal.code, "http.ended", "{refusal}");
    let mut response = exchange.response().await.unwrap();
    drop(exchange);
    assert_eq!(response.status(), 413);
    assert_eq!(body(&mut response).await.unwrap(), b"large");
    attempt.recorded("413");
}

#[tokio::test]
async fn a_response_may_be_taken_while_the_body_is_still_written() {
    let server = raw(|mut stream| async move {
        read_until(&mut stream, b"\r\n\r\n").await;
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head).await.unwrap();
        read_until(&mut stream, b"0\r\n\r\n").await;
        stream.write_all(b"3\r\nend\r\n0\r\n\r\n").await.unwrap();
    })
    .await;
    let attempt = granted(&server);
    let mut exchange = attempt.ctx.http.start(put(server.url("/a"), None)).unwrap();
    exchange.write_body(b"begin".to_vec()).await.unwrap();
    let mut response = exchange.response().await.unwrap();
    exchange.write_body(b"more".to_vec()).await.unwrap();
    exchange.end_body().unwrap();
    assert_eq!(body(&mut response).await.unwrap(), b"end");
    let call = attempt.recorded("200");
    assert_eq!(call.sent_bytes, 9);
}

#[tokio::test]
async fn a_redirect_that_needs_a_streamed_body_again_is_refused_and_one_that_does_not_is_followed()
{
    let server = server(|request| match request.split(' ').nth(1).unwrap() {
        "/307" => redirect(307, "/end"),
        "/303" => redirect(303, "/end"),
        _ => ok("end"),
    })
    .await;
    let attempt = granted(&server);
    let ask = async |path: &str| {
        let mut exchange = attempt
            .ctx
            .http
            .start(put(server.url(path), Some(4)))
            .unwrap();
        exchange.write_body(b"body".to_vec()).await.unwrap();
        exchange.end_body().unwrap();
        match exchange.response().await {
            Ok(response) => response.status().to_string(),
            Err(refusal) => refusal.code,
        }
    };
    assert_eq!(ask("/307").await, "http.redirect");
    assert_eq!(outcomes(&attempt), ["http.redirect"]);
    assert_eq!(ask("/303").await, "200");
    assert_eq!(outcomes(&attempt), ["303", "200"]);
    assert!(server.requests().pop().unwrap().starts_with("GET /end "));
}
