//! What people without the right try: no credentials, tokens in wrong places, others' things, guessing.

use std::net::IpAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::{PASSWORD, PATIENCE, World, read};

/// Attack: Every route without credentials. 401, but for the exact list `/ping`, `/healthz`, `POST /v0/auth/login`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_without_credentials_is_401_but_for_an_exact_list() {
    crate::matrix::without_credentials(&World::new().await).await;
}

/// Attack: Paths that a prefix or a filter could misread: `..%2f`, `//`, `;a=b`, other case, `%00`, invalid UTF-8. 404 or 400, never what they look like.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tricks_with_paths_lead_nowhere() {
    let world = World::new().await;
    let email = world.user("root", "SUPER_ADMIN").await;
    let token = world.token(&email, None).await;
    assert_eq!(
        world
            .with_token(&token, "GET", "/v0/users", Value::Null)
            .await
            .status,
        200
    );
    for path in [
        "/v0/users/..%2froles",
        "/v0/workflows/..%2f..%2fetc%2fpasswd/detail",
        "/v0//users",
        "//v0/users",
        "/v0/users/",
        "/v0/users;a=b",
        "/v0/users;/me",
        "/V0/USERS",
        "/v0/Users",
        "/v0/users%00",
        "/v0/users/%00",
        "/v0/users/%ff%fe",
        "/v0/users%2fme",
        "/v0/./users",
        "/v0/roles/../users",
        "/ping/../v0/users",
        "/v0/users/me%20",
        "/v0/users/%2e%2e/users",
    ] {
        let answer = world.with_token(&token, "GET", path, Value::Null).await;
        assert!(matches!(answer.status, 400 | 404), "{path}: {answer:?}");
        let nobody = world.call("GET", path, &[], Value::Null).await;
        assert!(
            matches!(nobody.status, 400 | 401 | 404),
            "{path}: {nobody:?}"
        );
    }
}

/// Attack: A token in the query string, in another scheme, twice, or with a letter changed. 401, and the token is no way in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_counts_in_its_header_alone_and_whole() {
    let world = World::new().await;
    let email = world.user("minji", "USER").await;
    let token = world.token(&email, None).await;
    let path = format!("/v0/workflows?access_token={token}&token={token}");
    assert_eq!(world.call("GET", &path, &[], Value::Null).await.status, 401);
    let bearer = format!("authorization: Bearer {token}");
    for headers in [
        vec![format!("authorization: Basic {token}")],
        vec![format!("authorization: {token}")],
        vec![format!("x-api-key: {token}")],
        vec![format!("cookie: flowweaver={token}")],
        vec![bearer.clone(), bearer.clone()],
        vec![format!(
            "authorization: Bearer {}x",
            &token[..token.len() - 1]
        )],
        vec![format!("authorization: Bearer {}", &token[..20])],
        vec!["authorization: Bearer ".to_owned()],
    ] {
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let answer = world
            .call("GET", "/v0/workflows", &headers, Value::Null)
            .await;
        assert_eq!(answer.status, 401, "{headers:?}: {answer:?}");
    }
    let answer = world
        .call("GET", "/v0/workflows", &[&bearer], Value::Null)
        .await;
    assert_eq!(answer.status, 200);
}

/// Attack: A token used for what is out of its scope: other routes, lists, the event stream. 403, naming the permission.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_refused_out_of_its_scope_also_on_lists_and_streams() {
    let world = World::new().await;
    let email = world.user("root", "SUPER_ADMIN").await;
    let token = world.token(&email, Some(&["workflows.read"])).await;
    for (method, path, permission) in [
        ("GET", "/v0/users", "users.read"),
        ("GET", "/v0/events", "runs.logs.read"),
        ("GET", "/v0/secrets", "secrets.read"),
        ("GET", "/v0/audit-log", "audit.read"),
        ("POST", "/v0/tokens", "tokens.create"),
        ("POST", "/v0/workflows/any/run", "workflows.execute"),
    ] {
        let answer = world.with_token(&token, method, path, Value::Null).await;
        assert_eq!(answer.status, 403, "{path}: {answer:?}");
        assert!(
            answer.body["message"]
                .as_str()
                .unwrap()
                .contains(permission),
            "{answer:?}"
        );
    }
    assert_eq!(
        world
            .with_token(&token, "GET", "/v0/workflows", Value::Null)
            .await
            .status,
        200
    );
    // Its own list has its user's tokens and nobody else's.
    let other = world.user("minji", "USER").await;
    world.token(&other, None).await;
    let mine = world
        .with_token(&token, "GET", "/v0/tokens", Value::Null)
        .await
        .data();
    assert_eq!(mine["total"], 1);
    let text = mine.to_string();
    assert!(!text.contains(&token) && !text.contains("tokenHash"));
    // A token changes no password.
    let body = json!({ "oldPassword": PASSWORD, "newPassword": "another long password" });
    let answer = world
        .with_token(&token, "POST", "/v0/users/me/password", body)
        .await;
    assert_eq!(answer.status, 403);
}

/// Attack: An event stream that stays open when its token is revoked. It ends within some seconds, without a request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_stream_ends_when_its_token_is_revoked() {
    let world = World::new().await;
    let email = world.user("minji", "USER").await;
    let token = world.token(&email, None).await;
    let listed = world
        .with_token(&token, "GET", "/v0/tokens", Value::Null)
        .await
        .data();
    let id = listed["data"][0]["id"].as_str().unwrap();
    let mut stream = world.connect(None).await;
    let request =
        format!("GET /v0/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read(&mut stream).await;
    assert_eq!(head.status, 200, "{head:?}");
    let path = format!("/v0/tokens/{id}");
    world
        .with_token(&token, "DELETE", &path, Value::Null)
        .await
        .data();
    let mut rest = Vec::new();
    // The last chunk ends the stream; the connection itself stays for its next request.
    while !rest.ends_with(b"0\r\n\r\n") {
        let mut part = [0; 1024];
        let count = tokio::time::timeout(PATIENCE, stream.read(&mut part))
            .await
            .unwrap()
            .unwrap();
        assert!(count > 0 || rest.is_empty(), "closed");
        rest.extend_from_slice(&part[..count]);
        if count == 0 {
            break;
        }
    }
    let after = world
        .with_token(&token, "GET", "/v0/events", Value::Null)
        .await;
    assert_eq!((after.status, after.code()), (401, "auth.token-revoked"));
}

/// Attack: Users, roles, departments, tokens and the log of another organization, by their ids. 404 with the same body as for an unknown id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_organizations_people_are_as_absent_as_unknown_ones() {
    let world = World::new().await;
    world
        .owner("POST", "/v0/organizations", json!({ "name": "acme" }))
        .await
        .data();
    let chief = world.user("chief", "ORG_ADMIN").await;
    let token = world.token(&chief, None).await;
    let there = |method: &'static str, path: &'static str, body: Value| {
        world.owner_in(Some("acme"), method, path, body)
    };
    let body = json!({ "email": "them@acme.com", "password": PASSWORD });
    let user = there("POST", "/v0/users", body).await.data();
    let body = json!({ "name": "theirs", "permissions": ["workflows.read"] });
    let role = there("POST", "/v0/roles", body).await.data();
    let department = there("POST", "/v0/departments", json!({ "name": "sales" }))
        .await
        .data();
    let body = json!({ "name": "t", "expiresIn": "1h", "user": "them@acme.com" });
    let made = there("POST", "/v0/tokens", body).await.data();
    let id = |row: &Value| row["id"].as_str().unwrap().to_owned();
    for (method, path, id, body) in [
        ("GET", "/v0/users/{}", id(&user), Value::Null),
        (
            "GET",
            "/v0/users/{}",
            "them@acme.com".to_owned(),
            Value::Null,
        ),
        ("PATCH", "/v0/users/{}", id(&user), json!({ "name": "x" })),
        ("DELETE", "/v0/users/{}", id(&user), Value::Null),
        ("POST", "/v0/users/{}/disable", id(&user), Value::Null),
        ("POST", "/v0/users/{}/password", id(&user), Value::Null),
        (
            "PUT",
            "/v0/users/{}/roles",
            id(&user),
            json!({ "roles": [] }),
        ),
        ("GET", "/v0/users/{}/sessions", id(&user), Value::Null),
        ("DELETE", "/v0/members/{}", id(&user), Value::Null),
        ("GET", "/v0/roles/{}", id(&role), Value::Null),
        (
            "PUT",
            "/v0/roles/{}",
            id(&role),
            json!({ "name": "x", "permissions": [] }),
        ),
        ("DELETE", "/v0/roles/{}", id(&role), Value::Null),
        (
            "PATCH",
            "/v0/departments/{}",
            id(&department),
            json!({ "name": "x" }),
        ),
        ("DELETE", "/v0/departments/{}", id(&department), Value::Null),
        ("DELETE", "/v0/tokens/{}", id(&made), Value::Null),
        (
            "GET",
            "/v0/organizations/{}/options",
            "acme".to_owned(),
            Value::Null,
        ),
    ] {
        let theirs = world
            .with_token(&token, method, &path.replace("{}", &id), body.clone())
            .await;
        let unknown = path.replace("{}", "01ARZ3NDEKTSV4RRFFQ69G5FAV");
        let unknown = world.with_token(&token, method, &unknown, body).await;
        assert_eq!(theirs.status, 404, "{method} {path}: {theirs:?}");
        assert_eq!(theirs.body, unknown.body, "{method} {path}");
    }
    let header = format!("authorization: Bearer {token}");
    for organization in ["acme", "nowhere"] {
        let named = format!("x-organization: {organization}");
        let answer = world
            .call("GET", "/v0/users", &[&header, &named], Value::Null)
            .await;
        assert_eq!(answer.status, 404, "{answer:?}");
        assert_eq!(answer.body["message"], "there is no such organization");
    }
    // Their names are in no list, and a role of theirs cannot be given.
    for path in [
        "/v0/users",
        "/v0/roles",
        "/v0/departments",
        "/v0/tokens",
        "/v0/audit-log",
        "/v0/organizations",
    ] {
        let list = world
            .with_token(&token, "GET", path, Value::Null)
            .await
            .data()
            .to_string();
        for theirs in ["them@acme.com", "theirs", "sales", &id(&made)] {
            assert!(!list.contains(theirs), "{path} shows {theirs}: {list}");
        }
        // That there is an organization was written in the log of the one that made it.
        assert!(
            path == "/v0/audit-log" || !list.contains("acme"),
            "{path}: {list}"
        );
    }
    let body = json!({ "email": "x@example.com", "roles": [id(&role)] });
    let answer = world.with_token(&token, "POST", "/v0/users", body).await;
    assert_eq!(answer.status, 422, "{answer:?}");
}

/// Attack: Passwords guessed over and over. After five mistakes 429 with `Retry-After`, and the user still logs in from elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessing_passwords_slows_down_and_locks_nobody_out() {
    let world = World::new().await;
    let email = world.user("minji", "USER").await;
    let guess = |from: IpAddr, email: &str, password: &str| {
        let body = json!({ "email": email, "password": password }).to_string();
        let request = format!(
            "POST /v0/auth/login HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            world.address,
            body.len(),
        );
        let world = &world;
        async move { world.raw(Some(from), request.as_bytes()).await }
    };
    let evil: IpAddr = [127, 0, 0, 2].into();
    let mut unknown = Vec::new();
    for attempt in 0..5 {
        let wrong = guess(evil, &email, &format!("wrong password {attempt}")).await;
        assert_eq!(
            (wrong.status, wrong.code()),
            (401, "auth.wrong"),
            "{wrong:?}"
        );
        unknown.push(guess(evil, "nobody@example.com", "wrong password").await);
    }
    // Whether there is such a user is not told.
    assert!(unknown.iter().all(|answer| answer.status == 401));
    assert_eq!(
        unknown[0].body["message"],
        "the address or the password is wrong"
    );
    for email in [email.as_str(), "nobody@example.com"] {
        // The wait doubles, so that it soon is longer than a guess takes on any machine.
        let mut slowed = guess(evil, email, "wrong password").await;
        for _ in 0..8 {
            if slowed.status == 429 {
                break;
            }
            slowed = guess(evil, email, "wrong password").await;
        }
        assert_eq!(slowed.code(), "auth.throttled", "{slowed:?}");
        assert!(slowed.header("retry-after").is_some());
    }
    let home: IpAddr = [127, 0, 0, 3].into();
    let right = guess(home, &email, PASSWORD).await;
    assert_eq!(right.status, 200, "{right:?}");
}
