//! What is tried below the routes: too much, too slow, and what is no HTTP.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::{PATIENCE, World, read};

/// Attack: A body of 1 GiB, said or unsaid. 413, before it is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_over_the_limit_is_refused() {
    let world = World::new().await;
    let email = world.user("minji", "ORG_ADMIN").await;
    let token = world.token(&email, None).await;
    let head = format!(
        "POST /v0/departments HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\nauthorization: Bearer {token}\r\n"
    );
    let said = format!("{head}content-length: 1073741824\r\n\r\n{{");
    let answer = world.raw(None, said.as_bytes()).await;
    assert_eq!(answer.status, 413, "{answer:?}");
    let mut stream = world.connect(None).await;
    let unsaid = format!("{head}transfer-encoding: chunked\r\n\r\n");
    stream.write_all(unsaid.as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    for _ in 0..80 {
        // The daemon may hang up as soon as it has had enough.
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    let answer = read(&mut stream).await;
    assert_eq!(answer.status, 413, "{answer:?}");
}

/// Attack: A head that comes byte by byte and a connection that says nothing. They are closed after 15 s, and others are served meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_head_and_an_idle_connection_are_closed() {
    let world = World::with(|settings| {
        settings.server.connections = std::num::NonZeroU32::new(3).unwrap();
    })
    .await;
    let mut idle = world.connect(None).await;
    let mut slow = world.connect(None).await;
    slow.write_all(b"GET /ping HTTP/1.1\r\nhost: x\r\nx-slow: ")
        .await
        .unwrap();
    let mut used = world.connect(None).await;
    used.write_all(b"GET /ping HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut first = [0; 12];
    used.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    // Every place is taken: the next one waits, and is served when they are closed.
    let fourth = world.call("GET", "/ping", &[], Value::Null);
    let fourth = tokio::time::timeout(PATIENCE, fourth).await.unwrap();
    assert_eq!(fourth.status, 200);
    for stream in [&mut idle, &mut slow, &mut used] {
        let mut rest = Vec::new();
        let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest))
            .await
            .unwrap();
        assert!(end.is_ok() || end.is_err(), "closed one way or the other");
    }
}

/// Attack: A body that comes byte by byte. 408 after 30 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_body_is_408() {
    let world = World::new().await;
    let email = world.user("minji", "ORG_ADMIN").await;
    let token = world.token(&email, None).await;
    let mut stream = world.connect(None).await;
    let head = format!(
        "POST /v0/departments HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nauthorization: Bearer {token}\r\ncontent-length: 100\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = tokio::time::timeout(PATIENCE, read(&mut stream))
        .await
        .unwrap();
    assert_eq!(answer.status, 408, "{answer:?}");
}

/// Attack: A head of a megabyte, a thousand headers, two lengths, a length and chunks, a bare line feed, TLS or noise on the port. Refused or closed; the daemon answers the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_http_is_refused_and_the_next_request_answered() {
    let world = World::new().await;
    let many: String = (0..1_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let requests = [
        format!("GET /ping HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "a".repeat(1 << 20)),
        format!("GET /ping HTTP/1.1\r\nhost: x\r\n{many}\r\n"),
        format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(100_000)),
        "POST /v0/auth/login HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}".to_owned(),
        "GET /ping HTTP/1.1\r\nhost: x\r\nx: a\u{0}b\r\n\r\n".to_owned(),
        "GET /ping HTTP/9.9\r\nhost: x\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3}\r\n\r\n".to_owned(),
        "\r\n\r\n\r\nhello\r\n\r\n".to_owned(),
    ];
    for request in requests {
        let mut stream = world.connect(None).await;
        // It may be refused before all of it was sent.
        let _ = stream.write_all(request.as_bytes()).await;
        let answer = read(&mut stream).await;
        assert!(
            matches!(answer.status, 0 | 400 | 408 | 414 | 431 | 505),
            "{request:.60}: {answer:?}"
        );
        assert_eq!(
            world.call("GET", "/ping", &[], Value::Null).await.status,
            200
        );
    }
    let both = "POST /v0/auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\nconnection: close\r\n\r\n0\r\n\r\nGET /v0/users HTTP/1.1\r\nhost: x\r\n\r\n";
    let answer = world.raw(None, both.as_bytes()).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(answer.head.matches("HTTP/1.1").count(), 1);
}

/// Attack: A field that no route knows (`isAdmin`, `organizationId`), a key twice, 10,000 levels, `1e400`, half a surrogate pair, in a real route. 400 with the place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_that_can_be_read_two_ways_is_refused_by_real_routes() {
    let world = World::new().await;
    let email = world.user("minji", "ORG_ADMIN").await;
    let token = world.token(&email, None).await;
    let deep = format!("{{\"name\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
    for body in [
        r#"{"name":"a","isAdmin":true}"#,
        r#"{"name":"a","organizationId":"01ARZ3NDEKTSV4RRFFQ69G5FAV"}"#,
        r#"{"name":"a","name":"b"}"#,
        r#"{"name":1e400}"#,
        r#"{"name":"\ud800"}"#,
        r#"{"name":"a"}}"#,
        r#"["a"]"#,
        "null",
        deep.as_str(),
    ] {
        let request = format!(
            "POST /v0/departments HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len(),
        );
        let answer = world.raw(None, request.as_bytes()).await;
        assert_eq!(answer.status, 400, "{body:.60}: {answer:?}");
    }
    for path in [
        "/v0/users?pageSize=1000000000",
        "/v0/users?cursor=forged",
        "/v0/users?current=0",
        "/v0/users?nonsense=1",
        "/v0/users?current=1&current=2",
        "/v0/audit-log?cursor=forged",
        "/v0/audit-log?limit=0",
        "/v0/workflow-runs?limit=4000000000",
    ] {
        let answer = world.with_token(&token, "GET", path, Value::Null).await;
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
    }
    let made = world
        .with_token(&token, "POST", "/v0/departments", json!({ "name": "a" }))
        .await;
    assert_eq!(made.status, 201, "{made:?}");
}
