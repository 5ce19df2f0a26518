//! The HTTP broker against hostile guests: the denial before the permission,
//! and every call recorded.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a panic in a test is the report"
)]

mod broker_world;

use std::net::IpAddr;
use std::sync::Arc;

use broker_world::*;
use flowweaver::broker::error::Refusal;
use flowweaver::broker::http::{HttpRequest, HttpResponse};
use flowweaver::broker::settings::BrokerSettings;
use flowweaver::workflow::grant::*;

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
async fn a_method_port_scheme_or_path_beside_the_grant_is_denied() {
    let server = server(|_| ok("never")).await;
    let attempt = attempt(
        server.reachable(),
        &[],
        vec![grant(&server.url("/shop/*")), grant(&server.url("/exact"))],
    );
    for (method, url) in [
        ("POST", server.url("/shop/a")),
        ("GET", server.url("/shop")),
        ("GET", server.url("/shopping/a")),
        ("GET", server.url("/exact/")),
        ("GET", server.url("/shop/../admin")),
        ("GET", server.url("/shop/%2e%2e/admin")),
        ("GET", server.url("/shop/..%2fadmin")),
        ("GET", server.url("/shop/..%5Cadmin")),
        ("GET", server.url("/shop/%252e%252e%252fadmin")),
        ("GET", server.url("/shop/..;/admin")),
        ("GET", server.url("/shop/a%00")),
        ("GET", server.url("/shop/a").replace("http:", "https:")),
        ("GET", "http://127.0.0.1:1/shop/a".to_owned()),
        ("GET", "http://127.0.0.1/shop/a".to_owned()),
    ] {
        assert_eq!(
            code_of(&attempt, HttpRequest::new(method, &url)).await,
            "http.denied",
            "{method} {url}"
        );
        attempt.recorded("http.denied");
    }
    let refusal = attempt
        .ctx
        .http
        .send(HttpRequest::new("POST", server.url("/shop/a")))
        .await
        .err()
        .unwrap();
    assert!(
        refusal.message.contains("flows/product-blog.toml:40"),
        "{}",
        refusal.message
    );
    assert!(
        refusal
            .message
            .contains(r#"methods = ["GET", "HEAD", "POST"]"#),
        "{}",
        refusal.message
    );
    assert_eq!(server.connections(), 0);
    assert_eq!(
        code_of(&attempt, get(server.url("/shop/a%2Fb"))).await,
        "200"
    );
    assert_eq!(code_of(&attempt, get(server.url("/exact"))).await, "200");
}

#[tokio::test]
async fn urls_that_parsers_disagree_about_are_denied_before_anything_is_dialled() {
    let grants = vec![
        grant("https://allowed.com/*"),
        grant("https://*.example.com/*"),
    ];
    let attempt = attempt(BrokerSettings::default(), &[], grants);
    for url in [
        "https://allowed.com@evil.com/",
        "https://user:pw@allowed.com/",
        "https://@allowed.com/",
        "https://allowed.com\\@evil.com/",
        "https:\\\\allowed.com/",
        "https://allowed.com\t/",
        "https://allowed.com./",
        "https://allowed..com/",
        "https://аllowed.com/",
        "https://evil-example.com/",
        "https://example.com.evil.net/",
        "https://example.com/",
        "https://.example.com/",
        "https://a..example.com/",
        "https://a.example.com./",
        "file:///etc/passwd",
        "ftp://allowed.com/",
        "unix:/var/run/docker.sock",
        "data:text/plain,hello",
    ] {
        let code = code_of(&attempt, get(url)).await;
        // An empty label is no host to some parsers, and one that nobody granted to the others.
        let empty_label = url.contains("..") || url.contains("//.");
        let refused = code == "http.denied" || (empty_label && code == "http.invalid");
        assert!(refused, "{url}: {code}");
        attempt.recorded(&code);
    }
    for url in [
        "",
        "/path",
        "allowed.com",
        "https://",
        "https:///allowed.com",
        "https:allowed.com/",
        "https://allowed.com/\r\nHost: evil",
        "https://allowed.com/\0",
        "https://allowed.com /",
        "https://allowed.com:0/",
    ] {
        assert_eq!(code_of(&attempt, get(url)).await, "http.invalid", "{url:?}");
        attempt.recorded("http.invalid");
    }
}

/// A task that was granted the address itself still cannot dial it.
#[tokio::test]
async fn addresses_that_are_not_public_are_denied_in_every_spelling() {
    let listed = "127.0.0.1 0.0.0.0 [::1] [::] 10.0.0.1 172.16.0.1 192.168.1.1 100.64.0.1 \
             169.254.169.254 224.0.0.1 240.0.0.1 255.255.255.255 2130706433 0x7f.1 0177.0.0.1 \
             127.1 [::ffff:127.0.0.1] [::ffff:7f00:1] [::127.0.0.1] [64:ff9b::127.0.0.1] \
             [64:ff9b:1::1] [2002:7f00:1::] [2001:0:7f00:1::] [fd00:ec2::254] [fe80::1] [ff02::1] \
             [2600::5efe:7f00:1]";
    for host in listed.split_whitespace() {
        let url = format!("http://{host}/");
        let attempt = attempt(BrokerSettings::default(), &[], vec![grant(&url)]);
        let refusal = attempt.ctx.http.send(get(&url)).await.err().unwrap();
        assert_eq!(refusal.code, "http.denied", "{url}: {refusal}");
        assert!(refusal.message.contains("[network] allow"), "{refusal}");
        attempt.recorded("http.denied");
    }
}

#[tokio::test]
async fn a_name_with_one_private_address_is_denied_whatever_the_order() {
    let server = server(|_| ok("inside")).await;
    let url = format!("http://shop.test:{}/", server.address.port());
    let (private, public): (IpAddr, IpAddr) = (
        "127.0.0.1".parse().unwrap(),
        "93.184.216.34".parse().unwrap(),
    );
    for answers in [vec![private], vec![private, public], vec![public, private]] {
        let mut settings = BrokerSettings::default();
        settings.hosts.insert("shop.test".to_owned(), answers);
        let attempt = attempt(settings, &[], vec![grant(&url)]);
        assert_eq!(code_of(&attempt, get(&url)).await, "http.denied");
        attempt.recorded("http.denied");
    }
    assert_eq!(server.connections(), 0);
    let mut settings = server.reachable();
    settings.hosts.insert("shop.test".to_owned(), vec![private]);
    let attempt = attempt(settings, &[], vec![grant(&url)]);
    assert_eq!(code_of(&attempt, get(&url)).await, "200");
}

#[tokio::test]
async fn the_operators_permission_is_for_one_port_and_never_for_the_daemons_own() {
    let (server, other) = (server(|_| ok("a")).await, server(|_| ok("b")).await);
    let grants = || vec![grant(&server.url("/")), grant(&other.url("/"))];
    let closed = attempt(other.reachable(), &[], grants());
    assert_eq!(code_of(&closed, get(server.url("/"))).await, "http.denied");
    assert_eq!(code_of(&closed, get(other.url("/"))).await, "200");
    let mut own = server.reachable();
    own.network.own_ports = vec![server.address.port()];
    let attempt = attempt(own, &[], grants());
    assert_eq!(code_of(&attempt, get(server.url("/"))).await, "http.denied");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_nothing_is_followed() {
    let inside = server(|_| ok("inside")).await;
    let target = inside.url("/");
    let server = server(move |_| {
        text(&format!(
            "HTTP/1.1 302 Found\nLocation: {target}\nContent-Length: 0\n\n"
        ))
    })
    .await;
    let attempt = attempt(server.reachable(), &[], vec![grant(&server.url("/*"))]);
    let response = attempt.ctx.http.send(get(server.url("/"))).await.unwrap();
    assert_eq!(response.status(), 302);
    assert!(
        response
            .headers()
            .contains(&("location".to_owned(), inside.url("/")))
    );
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn headers_and_methods_that_belong_to_the_host_are_refused_and_nothing_is_sent() {
    let server = server(|_| ok("never")).await;
    let attempt = attempt(server.reachable(), &[], vec![grant(&server.url("/*"))]);
    for name in [
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "Proxy-Authorization",
        "Expect",
        "Upgrade",
    ] {
        assert_eq!(
            get("x").append_header(name, "x").unwrap_err().code,
            "http.invalid",
            "{name}"
        );
        let mut smuggled = get(server.url("/"));
        smuggled.headers.push((name.to_owned(), "x".to_owned()));
        assert_eq!(code_of(&attempt, smuggled).await, "http.invalid", "{name}");
        attempt.recorded("http.invalid");
    }
    for method in ["GET\r\nX: y", "get", "CONNECT", "G T", ""] {
        assert_eq!(
            code_of(&attempt, HttpRequest::new(method, server.url("/"))).await,
            "http.invalid"
        );
        attempt.recorded("http.invalid");
    }
    let mut split = get(server.url("/"));
    split
        .headers
        .push(("x-a".to_owned(), "1\r\nHost: evil".to_owned()));
    assert_eq!(code_of(&attempt, split).await, "http.invalid");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn the_grants_secret_overrides_the_guests_header_and_never_comes_back() {
    let server = server(|request| {
        let key = request
            .lines()
            .find_map(|line| line.strip_prefix("authorization: "))
            .unwrap()
            .to_owned();
        text(&format!(
            "HTTP/1.1 200 OK\nX-Echo: {key}\nContent-Length: {}\n\nyou sent {key}",
            9 + key.len()
        ))
    })
    .await;
    let mut granted = grant(&server.url("/*"));
    let mut bearer = secret("API_KEY");
    bearer.0.insert(0, SecretPiece::Text("Bearer ".to_owned()));
    granted.headers = vec![("Authorization".to_owned(), bearer)];
    let attempt = attempt(
        server.reachable(),
        &[("API_KEY", "sk-geheim-42")],
        vec![granted],
    );
    let mut request = get(server.url("/"));
    request
        .append_header("authorization", "Bearer mine")
        .unwrap();
    let mut response = attempt.ctx.http.send(request).await.unwrap();
    assert!(server.requests()[0].contains("authorization: Bearer sk-geheim-42\r\n"));
    assert!(!server.requests()[0].contains("mine"));
    assert!(
        response
            .headers()
            .contains(&("x-echo".to_owned(), "Bearer ***".to_owned()))
    );
    assert_eq!(body(&mut response).await.unwrap(), b"you sent Bearer ***");
    assert!(!format!("{:?}", attempt.calls()).contains("geheim"));
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
    attempt.journal.written().await;
    while attempt
        .journal
        .drain()
        .calls
        .iter()
        .all(|call| call.outcome != "abandoned")
    {
        attempt.journal.written().await;
    }
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

#[test]
fn a_proxy_in_the_environment_is_ignored() {
    // The environment is the process's, so the test runs itself with one.
    let child = "FLOWWEAVER_TEST_WITH_PROXY";
    if std::env::var_os(child).is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_proxy_in_the_environment_is_ignored"])
            .env(child, "1")
            .envs(
                ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"]
                    .map(|name| (name, "http://127.0.0.1:9")),
            )
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let server = server(|_| ok("direct")).await;
        let attempt = attempt(server.reachable(), &[], vec![grant(&server.url("/*"))]);
        assert_eq!(code_of(&attempt, get(server.url("/"))).await, "200");
    });
}
