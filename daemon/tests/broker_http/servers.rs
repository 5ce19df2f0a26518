//! Servers: connections that are kept or given up, encodings, and what has a code of its own.

use super::*;
use flowweaver::broker::identity::AttemptIdentity;
use flowweaver::broker::settings::BrokerSettings;
use flowweaver::workflow::grant::*;

#[tokio::test]
async fn a_good_connection_is_used_again() {
    let server = server(|_| ok("again")).await;
    let attempt = attempt(server.reachable(), &[], vec![grant(&server.url("/*"))]);
    for _ in 0..3 {
        let mut response = attempt.ctx.http.send(get(server.url("/"))).await.unwrap();
        body(&mut response).await.unwrap();
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_refused_connection_and_an_unknown_name_have_codes_of_their_own() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut settings = BrokerSettings::default();
    settings.network.allow = vec![address.to_string().parse().unwrap()];
    settings.hosts = hosts(&[("nobody.test", &[])]);
    let closed = format!("http://{address}/");
    let attempt = attempt(
        settings,
        &[],
        vec![grant(&closed), grant("http://nobody.test/")],
    );
    let refusal = attempt.ctx.http.send(get(&closed)).await.err().unwrap();
    assert_eq!(
        (refusal.code.as_str(), refusal.retryable),
        ("http.connect", true)
    );
    let said = format!("no connection to {address}: connection refused");
    assert!(refusal.message.starts_with(&said), "{}", refusal.message);
    // One record is one try: whether there is another is the task's retry policy.
    attempt.recorded("http.connect");
    let unknown = attempt
        .ctx
        .http
        .send(get("http://nobody.test/"))
        .await
        .err()
        .unwrap();
    assert_eq!(
        (unknown.code.as_str(), unknown.retryable),
        ("http.dns", true)
    );
}

#[tokio::test]
async fn encoded_bodies_are_decoded_and_an_unknown_encoding_is_handed_on_with_its_name() {
    use std::io::Write as _;
    let text = "가나다 and more ".repeat(1000);
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    zlib.write_all(text.as_bytes()).unwrap();
    let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    raw.write_all(text.as_bytes()).unwrap();
    let members = [gzip(&text[..text.len() / 2]), gzip(&text[text.len() / 2..])].concat();
    let bodies = [
        ("/gzip", "gzip", gzip(&text)),
        ("/members", "X-GZIP", members),
        ("/zlib", "deflate", zlib.finish().unwrap()),
        ("/raw", "deflate", raw.finish().unwrap()),
        ("/br", "br", include_bytes!("../fixtures/text.br").to_vec()),
        ("/identity", "identity", text.clone().into_bytes()),
        ("/unknown", "zstd", b"\x28\xb5\x2f\xfd".to_vec()),
    ];
    let server = server(move |request| {
        let path = request.split(' ').nth(1).unwrap();
        let (_, encoding, body) = bodies.iter().find(|(known, ..)| *known == path).unwrap();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        Reply::Bytes([head.into_bytes(), body.clone()].concat())
    })
    .await;
    let attempt = attempt(server.reachable(), &[], vec![grant(&server.url("/*"))]);
    for path in ["/gzip", "/members", "/zlib", "/raw", "/br"] {
        let mut response = attempt.ctx.http.send(get(server.url(path))).await.unwrap();
        let described = |name: &String| name == "content-encoding" || name == "content-length";
        assert!(
            !response.headers().iter().any(|(name, _)| described(name)),
            "{path}"
        );
        assert_eq!(
            body(&mut response).await.unwrap(),
            text.as_bytes(),
            "{path}"
        );
    }
    assert_eq!(
        fetch(&attempt, server.url("/identity")).await.unwrap(),
        text.as_bytes()
    );
    let mut unknown = attempt
        .ctx
        .http
        .send(get(server.url("/unknown")))
        .await
        .unwrap();
    let named = ("content-encoding".to_owned(), "zstd".to_owned());
    assert!(unknown.headers().contains(&named));
    assert_eq!(body(&mut unknown).await.unwrap(), b"\x28\xb5\x2f\xfd");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_attempt_and_never_shared_with_another_grant_or_organization()
 {
    let server = server(|_| ok("again")).await;
    let broker = broker(server.reachable(), &[]);
    let ask = async |who: AttemptIdentity, line: usize| {
        let mut granted = grant(&server.url("/*"));
        granted.place.line = line;
        let grants = Grants {
            http: vec![granted],
            ..Grants::default()
        };
        let attempt = attempt_of(&broker, who, grants);
        assert_eq!(fetch(&attempt, server.url("/")).await.unwrap(), b"again");
        server.connections()
    };
    assert_eq!(ask(identity(), 40).await, 1);
    let second = AttemptIdentity {
        attempt: 2,
        ..identity()
    };
    assert_eq!(
        ask(second, 40).await,
        1,
        "another attempt under the same grant"
    );
    assert_eq!(ask(identity(), 44).await, 2, "another grant");
    let workflow = AttemptIdentity {
        workflow: "another".parse().unwrap(),
        ..identity()
    };
    assert_eq!(ask(workflow, 40).await, 3, "another workflow");
    let organization = AttemptIdentity {
        organization: flowweaver::id::OrganizationId::generate(),
        ..identity()
    };
    assert_eq!(ask(organization, 40).await, 4, "another organization");
    assert_eq!(ask(identity(), 40).await, 4);
}
