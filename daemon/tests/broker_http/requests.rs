//! Ordinary requests: granted and denied, recorded, limited, under way at once.

use std::sync::Arc;

use super::*;
use flowweaver::workflow::grant::*;

#[tokio::test]
async fn a_denied_host_is_an_answer_that_says_which_lines_would_allow_it_and_is_recorded() {
    let server = server(|_| ok("never")).await;
    let attempt = attempt(
        server.reachable(),
        &[],
        vec![grant("https://api.example.com/v1/*")],
    );
    let refusal = attempt
        .ctx
        .http
        .send(get(server.url("/shop/?token=geheim")))
        .await
        .err()
        .unwrap();
    assert_eq!(
        (refusal.code.as_str(), refusal.retryable),
        ("http.denied", false)
    );
    let lines = format!(
        "[[job.task.http]]\nurl = \"{}\"\nmethods = [\"GET\"]",
        server.url("/shop/")
    );
    assert!(refusal.message.contains(&lines), "{}", refusal.message);
    assert!(
        refusal.message.contains("task `search`")
            && refusal.message.contains("flows/product-blog.toml")
    );
    let call = attempt.recorded("http.denied");
    assert_eq!(
        (call.kind, call.verb.as_str(), call.target),
        ("http", "GET", server.url("/shop/"))
    );
    assert!(!refusal.message.contains("geheim"));
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_granted_request_is_answered_and_recorded_with_its_sizes() {
    let server = server(|_| ok("hello")).await;
    let attempt = attempt(server.reachable(), &[], vec![grant(&server.url("/shop/*"))]);
    let mut response = attempt
        .ctx
        .http
        .send(get(server.url("/shop/a?q=1")))
        .await
        .unwrap();
    assert_eq!(
        (response.status(), response.url()),
        (200, server.url("/shop/a?q=1").as_str())
    );
    assert_eq!(response.read(2).await.unwrap(), Some(b"he".to_vec()));
    assert_eq!(body(&mut response).await.unwrap(), b"llo");
    let call = attempt.recorded("200");
    assert_eq!(
        (call.target, call.received_bytes),
        (server.url("/shop/a"), 5)
    );
    let request = server.requests().remove(0).to_lowercase();
    assert!(
        request.starts_with("get /shop/a?q=1 http/1.1\r\n"),
        "{request}"
    );
    assert!(
        request.contains("traceparent: 00-0af7651916cd43dd8448eb211c80319c-"),
        "{request}"
    );
    assert!(
        request.contains(&format!("host: {}\r\n", server.address)),
        "{request}"
    );
}

#[tokio::test]
async fn a_secret_that_another_organization_owns_looks_like_a_missing_one() {
    let server = server(|_| ok("never")).await;
    let mut granted = grant(&server.url("/*"));
    granted.headers = vec![("Authorization".to_owned(), secret("API_KEY"))];
    let ask = async |secrets: &[(&str, &str)], organization| {
        let who = flowweaver::broker::identity::AttemptIdentity {
            organization,
            ..identity()
        };
        let grants = Grants {
            http: vec![granted.clone()],
            ..Grants::default()
        };
        let attempt = attempt_of(&broker(server.reachable(), secrets), who, grants);
        attempt
            .ctx
            .http
            .send(get(server.url("/")))
            .await
            .err()
            .unwrap()
    };
    let other = flowweaver::id::OrganizationId::generate();
    let foreign = ask(&[("API_KEY", "value-of-root")], other).await;
    assert_eq!(foreign, ask(&[], other).await);
    assert_eq!(foreign.code, "http.denied");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_signed_request_carries_the_hosts_signature_and_not_the_guests() {
    let server = server(|_| ok("stored")).await;
    let mut granted = grant(&server.url("/bucket/*"));
    granted.methods = vec!["PUT".to_owned()];
    granted.sign = Some(Signing::AwsSigV4 {
        service: "s3".to_owned(),
        region: "ap-northeast-2".to_owned(),
        access_key: secret("AK"),
        secret_key: secret("SK"),
    });
    let attempt = attempt(
        server.reachable(),
        &[("AK", "AKIDEXAMPLE"), ("SK", "geheimer-schluessel")],
        vec![granted],
    );
    let mut request = HttpRequest::new("PUT", server.url("/bucket/a.json"));
    request
        .append_header("authorization", "AWS4-HMAC-SHA256 mine")
        .unwrap();
    request
        .append_header("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
        .unwrap();
    attempt.ctx.http.append_body(&mut request, b"{}").unwrap();
    assert_eq!(code_of(&attempt, request).await, "200");
    let sent = server.requests().remove(0);
    assert!(
        sent.contains("authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"),
        "{sent}"
    );
    assert!(sent.contains(
        "x-amz-content-sha256: 44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    ));
    assert!(!sent.contains("mine") && !sent.contains("UNSIGNED") && !sent.contains("geheimer"));
}

#[tokio::test]
async fn two_requests_are_under_way_at_once_and_a_dropped_one_is_given_up() {
    let arrived = Arc::new(tokio::sync::Notify::new());
    let (notify, barrier) = (arrived.clone(), Arc::new(tokio::sync::Barrier::new(2)));
    let server = server(move |request| {
        if request.contains("/stall") {
            notify.notify_one();
            return Reply::Stall(Vec::new());
        }
        Reply::Meet(
            barrier.clone(),
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec(),
        )
    })
    .await;
    let attempt = attempt(server.reachable(), &[], vec![grant(&server.url("/*"))]);
    let mut first = attempt.ctx.http.start(get(server.url("/a"))).unwrap();
    let mut second = attempt.ctx.http.start(get(server.url("/b"))).unwrap();
    assert_eq!(second.response().await.unwrap().status(), 200);
    assert_eq!(first.response().await.unwrap().status(), 200);
    assert_eq!(first.response().await.err().unwrap().code, "http.invalid");
    attempt.calls();
    let stalled = attempt.ctx.http.start(get(server.url("/stall"))).unwrap();
    arrived.notified().await;
    drop(stalled);
    // At once, not when the host's task notices: the attempt's journal may be read for the last time now.
    attempt.recorded("abandoned");
}

#[tokio::test]
async fn cancelling_the_attempt_ends_a_request_that_waits() {
    let server = server(|_| Reply::Stall(Vec::new())).await;
    let attempt = attempt(server.reachable(), &[], vec![grant(&server.url("/*"))]);
    let mut exchange = attempt.ctx.http.start(get(server.url("/"))).unwrap();
    attempt.cancel.cancel();
    assert_eq!(exchange.response().await.err().unwrap().code, "cancelled");
    attempt.recorded("cancelled");
}

#[tokio::test]
async fn calls_requests_at_once_and_bodies_have_limits_with_an_answer() {
    let server = server(|_| ok("0123456789")).await;
    let mut settings = server.reachable();
    settings.http.calls = 4;
    settings.http.concurrent = 1;
    settings.http.request_bytes = 8;
    settings.http.response_bytes = 9;
    let attempt = attempt(settings, &[], vec![grant(&server.url("/*"))]);
    let mut request = get(server.url("/"));
    attempt
        .ctx
        .http
        .append_body(&mut request, b"12345678")
        .unwrap();
    assert_eq!(
        attempt
            .ctx
            .http
            .append_body(&mut request, b"9")
            .unwrap_err()
            .code,
        "limit.http-body"
    );
    let mut held = attempt.ctx.http.send(get(server.url("/"))).await.unwrap();
    assert_eq!(
        code_of(&attempt, get(server.url("/"))).await,
        "limit.http-calls"
    );
    assert_eq!(body(&mut held).await.unwrap_err().code, "limit.http-body");
    assert_eq!(held.read(1).await.unwrap_err().code, "limit.http-body");
    assert_eq!(code_of(&attempt, get(server.url("/"))).await, "200");
    assert_eq!(code_of(&attempt, get("file:///")).await, "http.denied");
    assert_eq!(
        code_of(&attempt, get(server.url("/"))).await,
        "limit.http-calls"
    );
    // The connection of the oversized answer was not used again.
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn what_an_attempt_leaves_under_way_is_recorded_before_the_attempt_is_gone() {
    let server =
        server(|_| Reply::Stall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n".to_vec())).await;
    let attempt = attempt(server.reachable(), &[], vec![grant(&server.url("/*"))]);
    let unanswered = attempt
        .ctx
        .http
        .start(get(server.url("/never-taken")))
        .unwrap();
    let unread = attempt
        .ctx
        .http
        .send(get(server.url("/never-read")))
        .await
        .unwrap();
    // The guest's handles go with its Store, in no order that matters.
    let Attempt { ctx, journal, .. } = attempt;
    drop((unanswered, unread, ctx));
    let calls = journal.drain().calls;
    let mut paths: Vec<_> = calls
        .iter()
        .map(|call| call.target.rsplit('/').next().unwrap())
        .collect();
    paths.sort_unstable();
    assert_eq!(paths, ["never-read", "never-taken"]);
}
