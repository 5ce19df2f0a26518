//! URLs that two parsers read in two ways, and what lies beside a grant.

use super::*;
use flowweaver::broker::settings::BrokerSettings;

/// Every URL is denied before anything is dialled, and recorded.
async fn all_denied(granted: &[&str], urls: &[&str]) {
    let grants = granted.iter().map(|url| grant(url)).collect();
    let attempt = attempt(BrokerSettings::default(), &[], grants);
    for url in urls {
        assert_eq!(code_of(&attempt, get(*url)).await, "http.denied", "{url}");
        attempt.recorded("http.denied");
    }
}

/// Every URL is no request at all, and recorded.
async fn all_invalid(urls: &[&str]) {
    let grants = vec![grant("https://allowed.com/*")];
    let attempt = attempt(BrokerSettings::default(), &[], grants);
    for url in urls {
        assert_eq!(
            code_of(&attempt, get(*url)).await,
            "http.invalid",
            "{url:?}"
        );
        attempt.recorded("http.invalid");
    }
}

/// Attack: a user name that looks like the granted host. denied.
#[tokio::test]
async fn a_user_name_is_denied() {
    let urls = [
        "https://allowed.com@evil.com/",
        "https://allowed.com:443@evil.com/",
        "https://user:pw@allowed.com/",
        "https://@allowed.com/",
        "https://:@allowed.com/",
        "https://evil.com%40allowed.com@allowed.com/",
    ];
    all_denied(&["https://allowed.com/*"], &urls).await;
}

/// Attack: backslashes and tabs in the place of slashes or inside the host. denied.
#[tokio::test]
async fn backslashes_and_tabs_are_denied() {
    let urls = [
        "https://allowed.com\\@evil.com/",
        "https://evil.com\\.allowed.com/",
        "https:\\\\allowed.com/",
        "https://allowed.com\t/",
        "ht\ttps://allowed.com/",
        "https://allo\twed.com/",
    ];
    all_denied(&["https://allowed.com/*"], &urls).await;
}

/// Attack: CR, LF, NUL and spaces in the URL. refused as no request.
#[tokio::test]
async fn control_characters_in_the_url_are_refused() {
    all_invalid(&[
        "https://allowed.com/\r\nHost: evil",
        "https://allowed.com/a\nb",
        "https://allowed.com/a\rb",
        "https://allowed.com/\0",
        "https://allowed.com\0.evil.com/",
        "https://allowed.com /",
        " https://allowed.com/",
        "https://allowed.com/a b",
        "https://allowed.com/\u{85}",
        "https://allowed.com/\u{2028}",
    ])
    .await;
}

/// Attack: text that is no absolute URL with a host. refused as no request.
#[tokio::test]
async fn what_is_no_url_with_a_host_is_refused() {
    let long = format!("https://allowed.com/{}", "a".repeat(20_000));
    all_invalid(&[
        "",
        "/path",
        "//allowed.com/",
        "allowed.com",
        "https://",
        "https:///allowed.com",
        "https:allowed.com/",
        "https:/allowed.com/",
        "https://allowed.com:0/",
        "https://allowed.com:99999/",
        "https://[::1/",
        "https://a%00b.com/",
        &long,
    ])
    .await;
}

/// Attack: a trailing dot, empty labels. denied.
#[tokio::test]
async fn a_dot_more_is_another_host() {
    let granted = ["https://allowed.com/*", "https://*.example.com/*"];
    let urls = [
        "https://allowed.com./",
        "https://a.example.com./",
        "https://allowed.com%2e/",
    ];
    all_denied(&granted, &urls).await;
    let attempt = attempt(
        BrokerSettings::default(),
        &[],
        vec![grant("https://*.example.com/*")],
    );
    // An empty label is no host to some parsers, and one that nobody granted to the others.
    for url in [
        "https://.example.com/",
        "https://a..example.com/",
        "https://..example.com/",
    ] {
        let code = code_of(&attempt, get(url)).await;
        assert!(
            ["http.denied", "http.invalid"].contains(&code.as_str()),
            "{url}"
        );
        attempt.recorded(&code);
    }
}

/// Attack: letters of other scripts that look like the granted ones, and their punycode. denied.
#[tokio::test]
async fn a_punycode_twin_is_another_host() {
    let urls = [
        "https://аllowed.com/",
        "https://xn--llowed-2fg.com/",
        "https://allоwed.com/",
        "https://allowed.сom/",
        "https://allowed\u{200b}x.com/",
    ];
    all_denied(&["https://allowed.com/*"], &urls).await;
}

/// Attack: names that a wildcard's text occurs in but that are not below its domain. denied.
#[tokio::test]
async fn a_look_alike_of_a_wildcard_is_another_host() {
    let urls = [
        "https://evil-example.com/",
        "https://evilexample.com/",
        "https://example.com.evil.net/",
        "https://a.example.com.evil.net/",
        "https://example.com/",
        "https://evil.net/a.example.com/",
        "https://evil.net/?a.example.com",
        "https://evil.net/#.example.com",
    ];
    all_denied(&["https://*.example.com/*"], &urls).await;
}

/// Attack: `file:`, `ftp:`, `unix:`, `data:` and other schemes. denied.
#[tokio::test]
async fn other_schemes_are_denied() {
    let urls = [
        "file:///etc/passwd",
        "file://allowed.com/etc/passwd",
        "ftp://allowed.com/",
        "unix:/var/run/docker.sock",
        "data:text/plain,hello",
        "gopher://allowed.com/",
        "ws://allowed.com/",
        "wss://allowed.com/",
        "javascript:alert(1)",
        "view-source:https://allowed.com/",
        "blob:https://allowed.com/1",
    ];
    all_denied(&["https://allowed.com/*"], &urls).await;
}

/// Attack: a port, scheme or method that was not granted. denied, and the method's line is named.
#[tokio::test]
async fn a_port_a_scheme_or_a_method_beside_the_grant_is_denied() {
    let server = server(|_| ok("never")).await;
    let attempt = attempt(server.reachable(), &[], vec![grant(&server.url("/shop/*"))]);
    for (method, url) in [
        ("POST", server.url("/shop/a")),
        ("DELETE", server.url("/shop/a")),
        ("OPTIONS", server.url("/shop/a")),
        ("GET", server.url("/shop/a").replace("http:", "https:")),
        ("GET", "http://127.0.0.1:1/shop/a".to_owned()),
        ("GET", "http://127.0.0.1/shop/a".to_owned()),
    ] {
        let request = HttpRequest::new(method, &url);
        assert_eq!(
            code_of(&attempt, request).await,
            "http.denied",
            "{method} {url}"
        );
        attempt.recorded("http.denied");
    }
    let post = HttpRequest::new("POST", server.url("/shop/a"));
    let message = refusal_of(&attempt, post).await.message;
    assert!(message.contains("flows/product-blog.toml:40"), "{message}");
    assert!(
        message.contains(r#"methods = ["GET", "HEAD", "POST"]"#),
        "{message}"
    );
    assert_eq!(server.connections(), 0);
}

/// Attack: paths that climb out of the granted one, plainly, encoded once or more, by `;` or a backslash.
/// denied.
#[tokio::test]
async fn a_path_that_climbs_out_of_its_grant_is_denied() {
    let server = server(|_| ok("never")).await;
    let grants = vec![grant(&server.url("/shop/*")), grant(&server.url("/exact"))];
    let attempt = attempt(server.reachable(), &[], grants);
    for path in [
        "/shop",
        "/shopping/a",
        "/SHOP/a",
        "/exact/",
        "/shop/../admin",
        "/shop/./../admin",
        "/shop/%2e%2e/admin",
        "/shop/%2E./admin",
        "/shop/..%2fadmin",
        "/shop/..%5Cadmin",
        "/shop/%252e%252e%252fadmin",
        "/shop/%25252e%25252e/admin",
        "/shop/..;/admin",
        "/shop/..;a=b/admin",
        "/shop/a%00",
    ] {
        let code = code_of(&attempt, get(server.url(path))).await;
        assert_eq!(code, "http.denied", "{path}");
        attempt.recorded("http.denied");
    }
    assert_eq!(server.connections(), 0);
    assert_eq!(
        code_of(&attempt, get(server.url("/shop/a%2Fb"))).await,
        "200"
    );
    assert_eq!(code_of(&attempt, get(server.url("/exact"))).await, "200");
}
