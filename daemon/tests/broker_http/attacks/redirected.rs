//! Redirects into places that a guest may not go, or with what it may not carry.

use super::redirects::{grant_for, grant_with, reachable, redirect};
use super::*;
use flowweaver::workflow::grant::*;

/// Attack: a redirect to another host, also one that differs by a dot, port, scheme or path. denied.
#[tokio::test]
async fn a_redirect_to_what_is_not_granted_is_denied() {
    for to in [
        "https://evil.test/",
        "http://evil.test/",
        "http://127.0.0.1:1/shop/a",
        "//evil.test/shop/a",
        "/admin",
        "../admin",
        "/shop/..%2fadmin",
        "/shop/%2e%2e/admin",
    ] {
        let server = server(move |_| redirect(302, to)).await;
        let grants = vec![grant(&server.url("/shop/*"))];
        let attempt = attempt(server.reachable(), &[], grants);
        let code = code_of(&attempt, get(server.url("/shop/a"))).await;
        assert_eq!(code, "http.denied", "{to}");
        let outcomes = outcomes(&attempt);
        let last = outcomes.last().map(String::as_str);
        assert_eq!(
            (last, server.requests().len()),
            (Some("http.denied"), 1),
            "{to}"
        );
    }
}

/// Attack: a redirect to private and metadata addresses, granted by a wildcard or by name. denied at connect.
#[tokio::test]
async fn a_redirect_to_a_private_address_is_denied_although_its_name_is_granted() {
    let inside = server(|_| ok("inside")).await;
    let port = inside.address.port();
    for (to, granted) in [
        (inside.url("/"), inside.url("/*")),
        (
            format!("http://a.inner.test:{port}/"),
            format!("http://*.inner.test:{port}/*"),
        ),
        (format!("http://2130706433:{port}/"), inside.url("/*")),
        (
            format!("http://[::ffff:127.0.0.1]:{port}/"),
            format!("http://[::ffff:7f00:1]:{port}/*"),
        ),
        (
            "http://169.254.169.254/".to_owned(),
            "http://169.254.169.254/*".to_owned(),
        ),
    ] {
        let front = server(move |_| redirect(307, &to)).await;
        let mut settings = front.reachable();
        settings.hosts = hosts(&[("a.inner.test", &["127.0.0.1"])]);
        let grants = vec![grant(&front.url("/*")), grant(&granted)];
        let attempt = attempt(settings, &[], grants);
        let code = code_of(&attempt, get(front.url("/"))).await;
        assert_eq!(code, "http.denied", "{granted}");
        assert_eq!(outcomes(&attempt), ["307", "http.denied"], "{granted}");
    }
    assert_eq!(inside.connections(), 0);
}

/// Attack: a redirect to `file:`, `ftp:`, `javascript:`, `data:`. denied.
#[tokio::test]
async fn a_redirect_to_another_scheme_is_denied() {
    for to in [
        "file:///etc/passwd",
        "ftp://a.test/",
        "javascript:alert(1)",
        "data:,x",
    ] {
        let server = server(move |_| redirect(302, to)).await;
        let attempt = attempt(server.reachable(), &[], vec![grant(&server.url("/*"))]);
        assert_eq!(
            code_of(&attempt, get(server.url("/"))).await,
            "http.denied",
            "{to}"
        );
        attempt.recorded("http.denied");
    }
}

/// Attack: a redirect whose address parsers read in two ways: user name, backslash, tab, three slashes, two
/// `Location` headers. not followed.
#[tokio::test]
async fn a_redirect_that_can_be_read_in_two_ways_is_not_followed() {
    let twice = "HTTP/1.1 302 Found\nLocation: /a\nLocation: /b\nContent-Length: 0\n\n";
    for to in [
        "http://HOST@evil.test/",
        "http://evil.test@HOST/",
        "http://HOST\\@evil.test/",
        "/\\evil.test/",
        "/\t/evil.test/",
        "///evil.test/",
        "http:evil.test/",
        "http:///evil.test/",
        "http://HOST/a b",
        "twice",
    ] {
        let server = raw(move |mut stream| async move {
            let host = stream.local_addr().unwrap().to_string();
            read_until(&mut stream, b"\r\n\r\n").await;
            let to = to.replace("HOST", &host);
            let Reply::Bytes(head) = (if to == "twice" {
                text(twice)
            } else {
                redirect(302, &to)
            }) else {
                return;
            };
            tokio::io::AsyncWriteExt::write_all(&mut stream, &head)
                .await
                .unwrap();
            assert_eq!(
                read_until(&mut stream, b"\r\n\r\n").await,
                b"",
                "{to} was followed"
            );
        })
        .await;
        let attempt = attempt(server.reachable(), &[], vec![grant(&server.url("/*"))]);
        let code = code_of(&attempt, get(server.url("/"))).await;
        assert!(
            ["http.denied", "http.redirect"].contains(&code.as_str()),
            "{to}: {code}"
        );
        attempt.recorded(&code);
        assert_eq!(server.connections(), 1, "{to}");
    }
}

/// Attack: a redirect loop, and a chain without end. ends after ten hops.
#[tokio::test]
async fn a_redirect_loop_ends() {
    let server = server(|_| redirect(302, "/again")).await;
    let attempt = attempt(server.reachable(), &[], vec![grant(&server.url("/*"))]);
    assert_eq!(
        code_of(&attempt, get(server.url("/"))).await,
        "http.redirect"
    );
    assert_eq!(server.requests().len(), 11);
}

/// Attack: redirects that lead a task's own and its grant's credentials to another granted host, port and
/// back. dropped, and not even given back to the first.
#[tokio::test]
async fn credentials_do_not_travel_to_another_origin() {
    let second = server(|_| ok("end")).await;
    let to = second.url("/b");
    let first = server(move |_| redirect(307, &to)).await;
    let grants = vec![
        grant_with(&first.url("/*"), "KEY"),
        grant(&second.url("/*")),
    ];
    let attempt = attempt(
        reachable(&[&first, &second]),
        &[("KEY", "geheim-eins")],
        grants,
    );
    let mut request = get(first.url("/a"));
    for (name, value) in [
        ("authorization", "Bearer mine"),
        ("Cookie", "session=1"),
        ("x-other", "kept"),
    ] {
        request.append_header(name, value).unwrap();
    }
    assert_eq!(code_of(&attempt, request).await, "200");
    assert!(first.requests()[0].contains("authorization: geheim-eins\r\n"));
    let arrived = second.requests()[0].to_lowercase();
    for gone in ["authorization", "cookie", "geheim", "mine"] {
        assert!(!arrived.contains(gone), "{arrived}");
    }
    assert!(arrived.contains("x-other: kept\r\n"), "{arrived}");
    assert_eq!(outcomes(&attempt), ["307", "200"]);
}

fn signed(url: &str) -> HttpGrant {
    HttpGrant {
        sign: Some(Signing::AwsSigV4 {
            service: "s3".to_owned(),
            region: "eu-west-1".to_owned(),
            access_key: secret("AK"),
            secret_key: secret("SK"),
        }),
        ..grant_for(url, &["GET", "PUT"])
    }
}

/// Attack: a redirect of a signed request, and one that leads to a place whose requests are signed. refused,
/// and the second is not asked.
#[tokio::test]
async fn a_redirect_of_or_to_a_signed_request_is_refused() {
    let second = server(|_| ok("never")).await;
    let to = second.url("/b");
    let first = server(move |_| redirect(307, &to)).await;
    let secrets = [("AK", "AKIDEXAMPLE"), ("SK", "geheimer-schluessel")];
    let (one, two) = (first.url("/*"), second.url("/*"));
    for grants in [
        vec![signed(&one), grant(&two)],
        vec![signed(&one), signed(&two)],
        vec![grant(&one), signed(&two)],
    ] {
        let attempt = attempt(reachable(&[&first, &second]), &secrets, grants);
        assert_eq!(
            code_of(&attempt, get(first.url("/a"))).await,
            "http.redirect"
        );
        assert_eq!(outcomes(&attempt).last().unwrap(), "http.redirect");
    }
    assert_eq!(second.connections(), 0);
    let attempt = attempt(reachable(&[&first]), &secrets, vec![signed(&one)]);
    let mut own = get(first.url("/a"));
    own.redirects = Some(0);
    assert_eq!(
        code_of(&attempt, own).await,
        "307",
        "unless it is the answer"
    );
}

/// Attack: a redirect whose address holds an injected secret. scrubbed from the answer, the error and the
/// record.
#[tokio::test]
async fn a_secret_in_a_redirects_address_is_scrubbed() {
    let server = server(|request| match request.contains("/start") {
        true => redirect(302, "/echo/geheim-4711?k=geheim-4711"),
        false => ok("end"),
    })
    .await;
    let secrets = [("KEY", "geheim-4711")];
    let open = vec![grant_with(&server.url("/*"), "KEY")];
    let attempt = broker_world::attempt(server.reachable(), &secrets, open);
    let response = attempt
        .ctx
        .http
        .send(get(server.url("/start")))
        .await
        .unwrap();
    assert_eq!(response.url(), server.url("/echo/***?k=***"));
    drop(response);
    assert!(!format!("{:?}", attempt.calls()).contains("geheim"));
    let narrow = vec![grant_with(&server.url("/start"), "KEY")];
    let attempt = broker_world::attempt(server.reachable(), &secrets, narrow);
    let refusal = refusal_of(&attempt, get(server.url("/start"))).await;
    assert!(
        refusal.code == "http.denied" && !refusal.message.contains("geheim"),
        "{refusal}"
    );
    assert!(!format!("{:?}", attempt.calls()).contains("geheim"));
}
