//! Servers that send an injected secret back, and guests that try to see one.

use base64::Engine as _;

use super::*;
use flowweaver::workflow::grant::*;

/// Holds what escapes differ in.
const SECRET: &str = "sk-geheim/42+\"x&y\"=Z";

/// What a server may make of it, and a part that would give it away.
fn echoes() -> Vec<(&'static str, String)> {
    let standard = base64::engine::general_purpose::STANDARD;
    let url_safe = base64::engine::general_purpose::URL_SAFE;
    let percent = |upper: bool| -> String {
        let byte = |byte: u8| match upper {
            true => format!("%{byte:02X}"),
            false => format!("%{byte:02x}"),
        };
        SECRET.bytes().map(byte).collect()
    };
    let form: String = url::form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
    let json = serde_json::to_string(SECRET).unwrap();
    let units: String = SECRET
        .encode_utf16()
        .map(|unit| format!("\\u{unit:04x}"))
        .collect();
    let mut echoes = vec![
        ("as it is", SECRET.to_owned()),
        ("percent, lower", percent(false)),
        ("percent, upper", percent(true)),
        ("form", form),
        ("JSON", json[1..json.len() - 1].to_owned()),
        (
            "JSON with slashes",
            SECRET.replace('"', "\\\"").replace('/', "\\/"),
        ),
        ("JSON in numbers", units),
        ("hex, lower", hex::encode(SECRET)),
        ("hex, upper", hex::encode_upper(SECRET)),
    ];
    for before in ["", "a", "ab"] {
        echoes.push(("base64", standard.encode(format!("{before}{SECRET}after"))));
        echoes.push((
            "base64url",
            url_safe.encode(format!("{before}{SECRET}after")),
        ));
    }
    echoes
}

/// Whether a text holds the secret, read by someone who knows all these forms.
fn gives_away(text: &str, echo: &str) -> bool {
    // The middle of base64, which depends on nothing but the secret.
    let middle = echo.get(6..echo.len() - 10).unwrap_or(echo);
    text.contains(SECRET) || text.contains(middle)
}

fn keyed(server: &Server) -> Attempt {
    let granted = redirects::grant_with(&server.url("/*"), "KEY");
    attempt(server.reachable(), &[("KEY", SECRET)], vec![granted])
}

/// Attack: a server echoes the injected secret in a header and in a body, in every encoding, cut anywhere.
/// scrubbed before the guest and the record.
#[tokio::test]
async fn an_echoed_secret_is_scrubbed_in_every_encoding() {
    for (how, echo) in echoes() {
        let in_chunks = echo.clone();
        let server = server(move |request| {
            assert!(
                request.contains(&format!("authorization: {SECRET}\r\n")),
                "{request}"
            );
            let chunks: String = format!("[{in_chunks}]")
                .as_bytes()
                .chunks(5)
                .map(|chunk| {
                    format!(
                        "{:x}\r\n{}\r\n",
                        chunk.len(),
                        String::from_utf8_lossy(chunk)
                    )
                })
                .collect();
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n";
            Reply::Bytes(
                format!("{head}X-Echo: <{in_chunks}>\r\n\r\n{chunks}0\r\n\r\n").into_bytes(),
            )
        })
        .await;
        let attempt = keyed(&server);
        let mut response = attempt.ctx.http.send(get(server.url("/"))).await.unwrap();
        let headers = format!("{:?}", response.headers());
        let heard = String::from_utf8(body(&mut response).await.unwrap()).unwrap();
        assert!(
            headers.contains("***") && heard.contains("***"),
            "{how}: {headers} {heard}"
        );
        assert!(
            !gives_away(&headers, &echo) && !gives_away(&heard, &echo),
            "{how}: {headers} {heard}"
        );
        assert!(
            heard.starts_with('[') && heard.ends_with(']'),
            "{how}: {heard}"
        );
        assert!(
            !gives_away(&format!("{:?}", attempt.calls()), &echo),
            "{how}"
        );
    }
}

/// Attack: a server echoes a secret with letters beyond ASCII as Latin-1, or takes it for Latin-1 and answers in UTF-8.
/// scrubbed.
#[tokio::test]
async fn an_echoed_secret_beyond_ascii_is_scrubbed_in_latin_1_too() {
    let secret = "sk-pässwörd-ÿé";
    let latin: Vec<u8> = secret.chars().map(|c| u8::try_from(c).unwrap()).collect();
    let mistaken: String = secret.bytes().map(char::from).collect();
    for echo in [latin, mistaken.into_bytes(), secret.as_bytes().to_vec()] {
        let sent = echo.clone();
        let server = server(move |request| {
            assert!(
                request.contains(&format!("authorization: {secret}\r\n")),
                "{request}"
            );
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nX-Echo: ",
                sent.len()
            );
            Reply::Bytes([head.as_bytes(), &sent, b"\r\n\r\n", &sent].concat())
        })
        .await;
        let granted = redirects::grant_with(&server.url("/*"), "KEY");
        let attempt = attempt(server.reachable(), &[("KEY", secret)], vec![granted]);
        let mut response = attempt.ctx.http.send(get(server.url("/"))).await.unwrap();
        let echoed = response.headers().iter().find(|(name, _)| name == "x-echo");
        assert_eq!(echoed.unwrap().1, "***");
        assert_eq!(body(&mut response).await.unwrap(), b"***");
    }
}

/// Attack: a server echoes the secret in a compressed body. scrubbed after it is decoded.
#[tokio::test]
async fn an_echoed_secret_in_a_compressed_body_is_scrubbed() {
    use std::io::Write as _;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(format!("you sent {SECRET}").as_bytes())
        .unwrap();
    let body = gzip.finish().unwrap();
    let server = server(move |_| {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        Reply::Bytes([head.into_bytes(), body.clone()].concat())
    })
    .await;
    let attempt = keyed(&server);
    assert_eq!(
        fetch(&attempt, server.url("/")).await.unwrap(),
        b"you sent ***"
    );
}

/// Attack: a server echoes the secret as the name of a header. scrubbed, although names lose their case.
#[tokio::test]
async fn a_secret_in_a_headers_name_is_scrubbed() {
    let server = server(|_| text("HTTP/1.1 200 OK\nX-Geheim-4711: a\nContent-Length: 0\n\n")).await;
    let granted = redirects::grant_with(&server.url("/*"), "KEY");
    let secrets = [("KEY", "Geheim-4711")];
    let attempt = attempt(server.reachable(), &secrets, vec![granted]);
    let response = attempt.ctx.http.send(get(server.url("/"))).await.unwrap();
    let headers = format!("{:?}", response.headers()).to_lowercase();
    assert!(
        headers.contains("***") && !headers.contains("geheim"),
        "{headers}"
    );
}

/// Attack: a server breaks the protocol with the secret in its answer. the error's text is scrubbed.
#[tokio::test]
async fn a_secret_in_an_errors_text_is_scrubbed() {
    for answer in [
        format!("HTTP/1.1 200 OK\r\nContent-Length: {SECRET}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\nContent-Encoding: {SECRET}, gzip\r\n\r\n"),
        format!("{SECRET}\r\n\r\n"),
        format!("HTTP/1.1 302 Found\r\nLocation: http://{SECRET}.test/\r\n\r\n"),
        format!("HTTP/1.1 302 Found\r\nLocation: /{SECRET}:x\r\n\r\n"),
        format!("HTTP/1.1 302 Found\r\nLocation: //evil.test/{SECRET}\r\n\r\n"),
    ] {
        let reply = answer.clone();
        let server = server(move |_| Reply::Close(reply.clone().into_bytes())).await;
        let attempt = keyed(&server);
        let refusal = refusal_of(&attempt, get(server.url("/"))).await;
        let all = format!("{refusal:?} {:?}", attempt.calls());
        assert!(!all.contains("geheim"), "{answer}: {all}");
    }
}

/// Attack: a guest sets the header that its grant sets. overridden, and it never learns the value.
#[tokio::test]
async fn the_grants_header_overrides_the_guests() {
    let server = server(|_| ok("a")).await;
    let mut granted = grant(&server.url("/*"));
    let mut bearer = secret("API_KEY");
    let before = SecretPiece::Text("Bearer ".to_owned());
    bearer.0.insert(0, before);
    granted.headers = vec![("Authorization".to_owned(), bearer)];
    let secrets = [("API_KEY", "sk-geheim-42")];
    let attempt = attempt(server.reachable(), &secrets, vec![granted]);
    let mut request = get(server.url("/"));
    request
        .append_header("authorization", "Bearer mine")
        .unwrap();
    request
        .append_header("AUTHORIZATION", "Bearer mine too")
        .unwrap();
    assert_eq!(code_of(&attempt, request).await, "200");
    let sent = server.requests().remove(0);
    assert!(
        sent.contains("authorization: Bearer sk-geheim-42\r\n"),
        "{sent}"
    );
    assert!(!sent.contains("mine"), "{sent}");
    assert!(!format!("{:?}", attempt.calls()).contains("geheim"));
}

/// Attack: a secret too short to be told from ordinary text. not injected at all.
#[tokio::test]
async fn a_secret_that_could_not_be_scrubbed_is_not_sent() {
    let server = server(|_| ok("never")).await;
    for short in ["a", "ab", "abc"] {
        let granted = redirects::grant_with(&server.url("/*"), "KEY");
        let attempt = attempt(server.reachable(), &[("KEY", short)], vec![granted]);
        let refusal = refusal_of(&attempt, get(server.url("/"))).await;
        assert_eq!(refusal.code, "http.denied");
        assert!(refusal.message.contains("fewer than 4 bytes"), "{refusal}");
        attempt.recorded("http.denied");
    }
    assert_eq!(server.connections(), 0);
}

/// Attack: a server that got one grant's secret echoes it on another grant's request. scrubbed as well.
#[tokio::test]
async fn a_secret_of_another_grant_is_scrubbed_too() {
    let server = server(|_| ok("I kept geheim-4711 from before")).await;
    let grants = vec![
        grant(&server.url("/open")),
        redirects::grant_with(&server.url("/closed"), "KEY"),
    ];
    let attempt = attempt(server.reachable(), &[("KEY", "geheim-4711")], grants);
    let heard = fetch(&attempt, server.url("/open")).await.unwrap();
    assert_eq!(heard, b"I kept *** from before");
}
