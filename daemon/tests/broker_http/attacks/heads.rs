//! Methods and headers that would split, frame or route a message, and what a guest must not claim.

use super::*;
use flowweaver::workflow::grant::*;

/// Attack: Host, Content-Length, Transfer-Encoding, Connection, Proxy-*, Expect and their kin. refused, and
/// nothing is sent.
#[tokio::test]
async fn headers_that_belong_to_the_host_are_refused() {
    let server = server(|_| ok("never")).await;
    let attempt = attempt(server.reachable(), &[], vec![grant(&server.url("/*"))]);
    for name in [
        "Host",
        "host",
        "Content-Length",
        "CONTENT-length",
        "Transfer-Encoding",
        "Connection",
        "Keep-Alive",
        "Proxy-Authorization",
        "Proxy-Connection",
        "proxy-anything",
        "Expect",
        "Upgrade",
        "HTTP2-Settings",
        "TE",
        "Trailer",
        "Via",
        ":authority",
        ":path",
    ] {
        let refusal = get("x").append_header(name, "x").unwrap_err();
        assert_eq!(refusal.code, "http.invalid", "{name}");
        let mut smuggled = get(server.url("/"));
        smuggled.headers.push((name.to_owned(), "x".to_owned()));
        assert_eq!(code_of(&attempt, smuggled).await, "http.invalid", "{name}");
        attempt.recorded("http.invalid");
    }
    assert_eq!(server.connections(), 0);
}

/// Attack: CR, LF and NUL in a header's name or value. refused, and nothing is sent.
#[tokio::test]
async fn control_characters_in_a_header_are_refused() {
    let server = server(|_| ok("never")).await;
    let attempt = attempt(server.reachable(), &[], vec![grant(&server.url("/*"))]);
    for (name, value) in [
        ("x-a", "1\r\nHost: evil"),
        ("x-a", "1\nb"),
        ("x-a", "1\rb"),
        ("x-a", "1\0b"),
        ("x-a", "\u{7f}"),
        ("x-a\r\nHost", "evil"),
        ("x-a: y\r\nx-b", "z"),
        ("x a", "b"),
        ("x\0a", "b"),
        ("", "b"),
        ("é", "b"),
    ] {
        let mut split = get(server.url("/"));
        split.headers.push((name.to_owned(), value.to_owned()));
        assert_eq!(
            code_of(&attempt, split).await,
            "http.invalid",
            "{name:?} {value:?}"
        );
        attempt.recorded("http.invalid");
    }
    assert_eq!(server.connections(), 0);
}

/// Attack: CR, LF and NUL in the method, CONNECT, TRACE. refused, and nothing is sent.
#[tokio::test]
async fn methods_that_are_no_methods_are_refused() {
    let server = server(|_| ok("never")).await;
    let attempt = attempt(server.reachable(), &[], vec![grant(&server.url("/*"))]);
    for method in [
        "GET\r\nX: y",
        "GET / HTTP/1.1\r\n\r\nGET",
        "G\0T",
        "get",
        "CONNECT",
        "TRACE",
        "G T",
        "",
        &"A".repeat(10_000),
    ] {
        let request = HttpRequest::new(method, server.url("/"));
        assert_eq!(
            code_of(&attempt, request).await,
            "http.invalid",
            "{method:?}"
        );
        let call = attempt.recorded("http.invalid");
        assert!(call.verb.len() <= 32 && !call.verb.contains(['\r', '\n', '\0']));
    }
    assert_eq!(server.connections(), 0);
}

/// Attack: 10,000 headers, and one of a megabyte. refused, and nothing is sent.
#[tokio::test]
async fn too_many_headers_of_a_guest_are_refused() {
    let server = server(|_| ok("never")).await;
    let attempt = attempt(server.reachable(), &[], vec![grant(&server.url("/*"))]);
    let mut many = get(server.url("/"));
    many.headers = vec![("x-a".to_owned(), "b".to_owned()); 10_000];
    assert_eq!(code_of(&attempt, many).await, "http.invalid");
    let mut large = get(server.url("/"));
    large.headers.push(("x-a".to_owned(), "b".repeat(1 << 20)));
    assert_eq!(code_of(&attempt, large).await, "http.invalid");
    assert_eq!(server.connections(), 0);
}

/// Attack: a forged `traceparent`, `tracestate`, and an `idempotency-key` where the host sets it. replaced.
#[tokio::test]
async fn a_trace_and_a_key_cannot_be_forged() {
    let server = server(|_| ok("a")).await;
    let keyed = HttpGrant {
        idempotency_key: true,
        ..redirects::grant_for(&server.url("/*"), &["POST"])
    };
    let broker = broker(server.reachable(), &[]);
    let ask = async |number: u32, body: &str| {
        let who = flowweaver::broker::identity::AttemptIdentity {
            attempt: number,
            ..identity()
        };
        let grants = Grants {
            http: vec![keyed.clone()],
            ..Grants::default()
        };
        let attempt = attempt_of(&broker, who, grants);
        let mut request = HttpRequest::new("POST", server.url("/orders"));
        for (name, value) in [
            (
                "traceparent",
                "00-11111111111111111111111111111111-2222222222222222-01",
            ),
            ("tracestate", "forged=1"),
            ("Idempotency-Key", "forged"),
        ] {
            request.append_header(name, value).unwrap();
        }
        let http = &attempt.ctx.http;
        http.append_body(&mut request, body.as_bytes()).unwrap();
        assert_eq!(code_of(&attempt, request).await, "200");
        let sent = server.requests().pop().unwrap();
        assert!(
            !sent.contains("forged") && !sent.contains("11111111"),
            "{sent}"
        );
        let header = |name: &str| {
            let found: Vec<_> = sent
                .lines()
                .filter_map(|line| line.strip_prefix(name))
                .collect();
            assert_eq!(found.len(), 1, "{sent}");
            found[0].trim().to_owned()
        };
        let trace = header("traceparent:");
        let parts: Vec<_> = trace.split('-').collect();
        assert_eq!(parts[..2], ["00", "0af7651916cd43dd8448eb211c80319c"]);
        assert!(parts[2].len() == 16 && parts[3] == "01", "{trace}");
        (header("idempotency-key:"), trace)
    };
    let (first, trace) = ask(1, "{\"item\":1}").await;
    let (again, another) = ask(2, "{\"item\":1}").await;
    assert_eq!(
        first, again,
        "the next attempt's same request has the same key"
    );
    assert_ne!(trace, another, "each request is a span of its own");
    assert_ne!(first, ask(2, "{\"item\":2}").await.0);
}

/// Attack: a guest asks for encodings that nobody here decodes, or for what the host would decode wrongly.
/// replaced, unless it wants none.
#[tokio::test]
async fn what_a_server_may_encode_with_is_the_hosts_word() {
    let server = server(|_| ok("a")).await;
    let attempt = attempt(server.reachable(), &[], vec![grant(&server.url("/*"))]);
    for (name, value, sent) in [
        ("accept-encoding", "zstd, compress", "gzip, deflate, br"),
        ("accept-encoding", "identity", "identity"),
        ("range", "bytes=0-9", "identity"),
    ] {
        let mut request = get(server.url("/"));
        request.append_header(name, value).unwrap();
        assert_eq!(code_of(&attempt, request).await, "200");
        let head = server.requests().pop().unwrap();
        assert!(
            head.contains(&format!("accept-encoding: {sent}\r\n")),
            "{head}"
        );
    }
}
