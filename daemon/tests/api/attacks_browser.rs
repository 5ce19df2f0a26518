//! What pages of other sites try through a browser that is logged in, and what is left of a session.

use serde_json::{Value, json};

use crate::world::World;

/// Attack: A POST that a page of another site makes a browser send with its cookie. 403, by `Sec-Fetch-Site` or by `Origin`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_of_another_sites_page_is_refused() {
    let world = World::new().await;
    let email = world.user("minji", "ORG_ADMIN").await;
    let cookie = format!("cookie: {}", world.login(&email).await);
    let own = format!("origin: http://{}", world.address);
    let body = || json!({ "name": "sales" });
    for foreign in [
        "sec-fetch-site: cross-site",
        "sec-fetch-site: same-site",
        "sec-fetch-site: nonsense",
        "origin: https://evil.example",
        "origin: null",
        "origin: http://127.0.0.1:1",
        "origin: file://",
    ] {
        let answer = world
            .call("POST", "/v0/departments", &[&cookie, foreign], body())
            .await;
        assert_eq!(
            (answer.status, answer.code()),
            (403, "auth.cross-site"),
            "{foreign}"
        );
        let login = json!({ "email": "x@example.com", "password": "x" });
        let answer = world
            .call("POST", "/v0/auth/login", &[foreign], login)
            .await;
        assert_eq!(
            answer.status, 403,
            "{foreign}: nobody is logged in as somebody else"
        );
    }
    // What the browser says stands above what a header of the same name could be made to say.
    let both = [cookie.as_str(), "sec-fetch-site: cross-site", own.as_str()];
    assert_eq!(
        world
            .call("POST", "/v0/departments", &both, body())
            .await
            .status,
        403
    );
    assert_eq!(
        world
            .owner("GET", "/v0/departments", Value::Null)
            .await
            .data()["total"],
        0
    );
    for ours in ["sec-fetch-site: same-origin", own.as_str()] {
        let name = json!({ "name": ours });
        let answer = world
            .call("POST", "/v0/departments", &[&cookie, ours], name)
            .await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    // Reading is open to it, and the answer is not: nothing says that another origin may see it.
    let read = [
        "sec-fetch-site: cross-site",
        cookie.as_str(),
        "origin: https://evil.example",
    ];
    let answer = world
        .call("GET", "/v0/departments", &read, Value::Null)
        .await;
    assert!(answer.header("access-control-allow-origin").is_none());
    let preflight = [
        "origin: https://evil.example",
        "access-control-request-method: POST",
    ];
    let answer = world
        .call("OPTIONS", "/v0/departments", &preflight, Value::Null)
        .await;
    assert_eq!(answer.status, 405);
}

/// Attack: JSON as `text/plain`, as a form of another site can send it, with a cookie. 403; with a token 415.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_that_does_not_say_so_is_refused() {
    let world = World::new().await;
    let email = world.user("minji", "ORG_ADMIN").await;
    let cookie = format!("cookie: {}", world.login(&email).await);
    let token = format!("authorization: Bearer {}", world.token(&email, None).await);
    for kind in [
        "content-type: text/plain",
        "content-type: text/plain; x=application/json",
        "content-type: application/x-www-form-urlencoded",
        "content-type: multipart/form-data",
        "content-type: application/jsonx",
        "content-type:",
    ] {
        let body = || json!({ "name": "sales" });
        let answer = world
            .call("POST", "/v0/departments", &[&cookie, kind], body())
            .await;
        assert_eq!(answer.status, 403, "{kind}: {answer:?}");
        let answer = world
            .call("POST", "/v0/departments", &[&token, kind], body())
            .await;
        assert_eq!(answer.status, 415, "{kind}: {answer:?}");
    }
    let kind = "content-type: application/json; charset=utf-8";
    let answer = world
        .call(
            "POST",
            "/v0/departments",
            &[&cookie, kind],
            json!({ "name": "a" }),
        )
        .await;
    assert_eq!(answer.status, 201, "{answer:?}");
}

/// Attack: A cookie that is read by a script, sent without TLS, or sent after the logout. It is `HttpOnly`, `SameSite`, behind TLS `Secure` and `__Host-`, and worth nothing after the logout.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cookie_is_the_browsers_alone_and_ends_with_the_logout() {
    let world = World::new().await;
    let email = world.user("minji", "USER").await;
    let body = json!({ "email": email, "password": crate::world::PASSWORD });
    let answer = world
        .call("POST", "/v0/auth/login", &[], body.clone())
        .await;
    let set = answer.header("set-cookie").unwrap();
    for word in ["HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(set.contains(word), "{set}");
    }
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let cookie = answer.cookie();
    // An identifier that a stranger chose is never taken over.
    let fixed = "cookie: flowweaver=0123456789012345678901234567890123456789";
    let again = world.call("POST", "/v0/auth/login", &[fixed], body).await;
    assert_ne!(
        again.cookie(),
        "flowweaver=0123456789012345678901234567890123456789"
    );
    assert_ne!(again.cookie(), cookie);
    let session = |cookie: String| {
        let world = &world;
        async move {
            world
                .with_cookie(&cookie, "GET", "/v0/auth/check-session", Value::Null)
                .await
        }
    };
    assert_eq!(session(cookie.clone()).await.status, 200);
    let out = world
        .with_cookie(&cookie, "POST", "/v0/auth/logout", Value::Null)
        .await;
    assert_eq!(out.status, 200, "{out:?}");
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    let after = session(cookie).await;
    assert_eq!((after.status, after.code()), (401, "auth.session-ended"));
    assert_eq!(
        session(again.cookie()).await.status,
        200,
        "the other browser stays"
    );
    let disabled = format!("/v0/users/{email}/disable");
    world.owner("POST", &disabled, Value::Null).await.data();
    assert_eq!(session(again.cookie()).await.status, 401);
}

/// Attack: A page that frames the API, guesses types, or looks into it with a script. The headers forbid it, on errors too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_tells_browsers_what_they_may_not() {
    let world = World::new().await;
    for path in ["/ping", "/v0/users", "/nowhere", "/v0/users/%ff"] {
        let answer = world.call("GET", path, &[], Value::Null).await;
        assert_eq!(
            answer.header("x-content-type-options"),
            Some("nosniff"),
            "{path}"
        );
        assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'"), "{path}");
        assert!(answer.header("x-request-id").is_some(), "{path}");
    }
    let chosen = world
        .call("GET", "/ping", &["x-request-id: my-id.1"], Value::Null)
        .await;
    assert_eq!(chosen.header("x-request-id"), Some("my-id.1"));
    let forged = world
        .call("GET", "/ping", &["x-request-id: <script>"], Value::Null)
        .await;
    assert_ne!(forged.header("x-request-id"), Some("<script>"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_tls_the_cookie_is_secure_and_the_proxys_word_counts() {
    let world = World::with(|settings| {
        settings.server.public_url =
            Some("https://flow.example.com".to_owned().try_into().unwrap());
        settings.server.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    })
    .await;
    let email = world.user("minji", "USER").await;
    let body = json!({ "email": email, "password": crate::world::PASSWORD });
    let headers = [
        "origin: https://flow.example.com",
        "x-forwarded-for: 198.51.100.1, 203.0.113.9",
    ];
    let answer = world
        .call("POST", "/v0/auth/login", &headers, body.clone())
        .await;
    let set = answer.header("set-cookie").unwrap();
    assert!(
        set.starts_with("__Host-flowweaver=") && set.contains("; Secure"),
        "{set}"
    );
    let own = format!("origin: http://{}", world.address);
    let refused = world.call("POST", "/v0/auth/login", &[&own], body).await;
    assert_eq!(refused.status, 403, "browsers come through the proxy");
    let log = world
        .owner("GET", "/v0/audit-log?action=login", Value::Null)
        .await
        .data();
    assert_eq!(log["data"][0]["address"], "203.0.113.9");
}
