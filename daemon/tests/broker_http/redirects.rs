//! Redirects: each hop is decided on, dialled and recorded like a request of its own.

use super::*;
use flowweaver::broker::identity::AttemptIdentity;
use flowweaver::broker::settings::BrokerSettings;
use flowweaver::workflow::environment::Environment;
use flowweaver::workflow::grant::*;
use flowweaver::workflow::{WorkflowSource, compile};

pub fn redirect(status: u16, to: &str) -> Reply {
    text(&format!(
        "HTTP/1.1 {status} Moved\nLocation: {to}\nContent-Length: 0\n\n"
    ))
}

/// Settings under which a task may reach all of these.
pub fn reachable(servers: &[&Server]) -> BrokerSettings {
    let mut settings = BrokerSettings::default();
    for server in servers {
        let address = server.address.to_string();
        settings.network.allow.push(address.parse().unwrap());
    }
    settings
}

/// A grant for these methods.
pub fn grant_for(url: &str, methods: &[&str]) -> HttpGrant {
    let methods = methods.iter().map(|method| (*method).to_owned()).collect();
    HttpGrant {
        methods,
        ..grant(url)
    }
}

/// A grant that injects a secret as `authorization`.
pub fn grant_with(url: &str, secret_name: &str) -> HttpGrant {
    HttpGrant {
        headers: vec![("Authorization".to_owned(), secret(secret_name))],
        ..grant(url)
    }
}

#[tokio::test]
async fn a_hop_that_is_not_granted_is_denied_with_the_lines_that_would_allow_it() {
    let inside = server(|_| ok("inside")).await;
    let to = inside.url("/private/page?token=geheim");
    let front = server(move |_| redirect(302, &to)).await;
    let settings = reachable(&[&front, &inside]);
    let attempt = attempt(settings, &[], vec![grant(&front.url("/*"))]);
    let refusal = refusal_of(&attempt, get(front.url("/start"))).await;
    assert_eq!(refusal.code, "http.denied");
    let lines = format!(
        "[[job.task.http]]\nurl = \"{}\"\nmethods = [\"GET\"]",
        inside.url("/private/page")
    );
    assert!(refusal.message.contains(&lines), "{}", refusal.message);
    assert!(!refusal.message.contains("geheim"));
    let calls = attempt.calls();
    let told: Vec<_> = calls
        .iter()
        .map(|call| (call.target.clone(), call.outcome.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (front.url("/start"), "302"),
            (inside.url("/private/page"), "http.denied")
        ]
    );
    assert_eq!(inside.connections(), 0);
}

/// The denial's lines, pasted into the workflow file that lacked them, allow exactly what was denied.
#[tokio::test]
async fn the_lines_of_a_denial_can_be_pasted_into_the_file_for_each_hop() {
    let second = server(|_| ok("arrived")).await;
    let to = second.url("/a%20b/@%ED%95%9C/x%2Fy?q=1#top");
    let first = server(move |_| redirect(307, &to)).await;
    let head = "flowweaver = 1\nname = \"paste\"\n\n[[job]]\nname = \"one\"\n\n[[job.task]]\nname = \"ask\"\n\
                uses = \"asker\"\n";
    let module = serde_json::json!({
        "digest": flowweaver::id::Digest::of(b"asker"), "description": { "name": "asker" },
        "imports": ["flowweaver:http/client@0.1.0"],
    });
    let modules = [(
        "asker".parse().unwrap(),
        serde_json::from_value(module).unwrap(),
    )];
    let environment = Environment {
        modules: modules.into_iter().collect(),
        ..Environment::default()
    };
    let (mut file, mut denials) = (head.to_owned(), 0);
    let response = loop {
        let source = WorkflowSource::from_bytes("flows/paste.toml", file.as_bytes()).unwrap();
        let compiled = compile(&source, &environment);
        let workflow = compiled.workflow.unwrap_or_else(|| {
            panic!(
                "{file}{}",
                flowweaver::diagnostic::render(&compiled.diagnostics)
            )
        });
        let who = AttemptIdentity {
            workflow: workflow.name.clone(),
            task: workflow.tasks[0].name.clone(),
            ..identity()
        };
        let broker = broker(reachable(&[&first, &second]), &[]);
        let attempt = attempt_of(&broker, who, (*workflow.tasks[0].grants).clone());
        let mut request = HttpRequest::new("POST", first.url("/start"));
        attempt.ctx.http.append_body(&mut request, b"{}").unwrap();
        match attempt.ctx.http.send(request).await {
            Ok(response) => break response,
            Err(refusal) => {
                assert_eq!(refusal.code, "http.denied", "{refusal}");
                denials += 1;
                assert!(denials <= 2, "{file}\n{refusal}");
                let lines = refusal.message.find("[[job.task.http]]").unwrap();
                file.push('\n');
                file.push_str(&refusal.message[lines..]);
                file.push('\n');
            }
        }
    };
    assert_eq!(denials, 2);
    assert_eq!(response.url(), second.url("/a%20b/@%ED%95%9C/x%2Fy?q=1"));
    assert!(second.requests()[0].ends_with("\r\n\r\n{}"));
}

#[tokio::test]
async fn a_chain_is_followed_to_its_end_and_every_hop_is_recorded_and_counted() {
    let server = server(|request| match request.split(' ').nth(1).unwrap() {
        "/a" => redirect(301, "b?x=1"),
        "/b?x=1" => redirect(308, "/c#part"),
        _ => ok("end"),
    })
    .await;
    let mut settings = server.reachable();
    settings.http.calls = 4;
    let attempt = attempt(settings, &[], vec![grant(&server.url("/*"))]);
    let mut response = attempt.ctx.http.send(get(server.url("/a"))).await.unwrap();
    assert_eq!(
        (response.status(), response.url()),
        (200, server.url("/c").as_str())
    );
    assert_eq!(body(&mut response).await.unwrap(), b"end");
    let calls = attempt.calls();
    let told: Vec<_> = calls
        .iter()
        .map(|call| (call.target.clone(), call.outcome.as_str()))
        .collect();
    let url = |path| server.url(path);
    assert_eq!(
        told,
        [(url("/a"), "301"), (url("/b"), "308"), (url("/c"), "200")]
    );
    assert_eq!(
        server.connections(),
        1,
        "a redirect's connection is used again"
    );
    // The attempt's fourth call is the first hop of the next chain, its fifth one too many.
    assert_eq!(
        code_of(&attempt, get(server.url("/a"))).await,
        "limit.http-calls"
    );
    assert_eq!(outcomes(&attempt), ["301", "limit.http-calls"]);
}

#[tokio::test]
async fn more_than_ten_hops_are_not_followed_and_a_task_may_allow_fewer_or_none() {
    let server = server(|request| {
        let path = request.split(' ').nth(1).unwrap();
        let hop: u32 = path.trim_start_matches('/').parse().unwrap();
        match hop {
            0 => ok("end"),
            _ => redirect(302, &format!("/{}", hop - 1)),
        }
    })
    .await;
    let attempt = attempt(server.reachable(), &[], vec![grant(&server.url("/*"))]);
    let ask = async |hops: u32, max: Option<u32>| {
        let mut request = get(server.url(&format!("/{hops}")));
        request.redirects = max;
        let code = code_of(&attempt, request).await;
        (code, outcomes(&attempt).len())
    };
    assert_eq!(ask(11, None).await, ("http.redirect".to_owned(), 11));
    assert_eq!(ask(11, Some(1_000)).await, ("http.redirect".to_owned(), 11));
    assert_eq!(ask(10, None).await, ("200".to_owned(), 11));
    assert_eq!(ask(2, Some(1)).await, ("http.redirect".to_owned(), 2));
    assert_eq!(ask(1, Some(1)).await, ("200".to_owned(), 2));
    assert_eq!(ask(3, Some(0)).await, ("302".to_owned(), 1));
}

#[tokio::test]
async fn a_posts_body_is_dropped_or_sent_again_as_the_status_says() {
    let server = server(|request| match request.split(' ').nth(1).unwrap() {
        "/303" => redirect(303, "/end"),
        "/302" => redirect(302, "/end"),
        "/307" => redirect(307, "/end"),
        _ => ok("end"),
    })
    .await;
    let grants = || vec![grant_for(&server.url("/*"), &["GET", "POST", "PUT"])];
    let attempt = attempt(server.reachable(), &[], grants());
    let ask = async |method: &str, path: &str| {
        let mut request = HttpRequest::new(method, server.url(path));
        request.append_header("content-type", "text/x").unwrap();
        attempt.ctx.http.append_body(&mut request, b"body").unwrap();
        assert_eq!(code_of(&attempt, request).await, "200");
        server.requests().pop().unwrap()
    };
    for path in ["/302", "/303"] {
        let sent = ask("POST", path).await;
        assert!(
            sent.starts_with("GET /end ") && sent.ends_with("\r\n\r\n"),
            "{sent}"
        );
        assert!(
            !sent.contains("content-type") && !sent.contains("content-length"),
            "{sent}"
        );
    }
    for (method, path) in [("POST", "/307"), ("PUT", "/302")] {
        let sent = ask(method, path).await;
        assert!(sent.starts_with(&format!("{method} /end ")), "{sent}");
        assert!(
            sent.ends_with("\r\n\r\nbody") && sent.contains("content-type: text/x"),
            "{sent}"
        );
    }
}

#[tokio::test]
async fn each_hop_gets_its_own_grants_headers_and_no_others() {
    let second = server(|_| ok("end")).await;
    let to = second.url("/b");
    let first = server(move |_| redirect(302, &to)).await;
    let grants = vec![
        grant_with(&first.url("/*"), "FIRST"),
        grant_with(&second.url("/*"), "SECOND"),
    ];
    let secrets = [("FIRST", "first-secret"), ("SECOND", "second-secret")];
    let attempt = attempt(reachable(&[&first, &second]), &secrets, grants);
    assert_eq!(code_of(&attempt, get(first.url("/a"))).await, "200");
    assert!(first.requests()[0].contains("authorization: first-secret\r\n"));
    assert!(second.requests()[0].contains("authorization: second-secret\r\n"));
    assert!(!second.requests()[0].contains("first-secret"));
}

#[tokio::test]
async fn a_redirect_without_an_address_is_the_answer() {
    let server = server(|_| text("HTTP/1.1 301 Moved\nContent-Length: 0\n\n")).await;
    let attempt = attempt(server.reachable(), &[], vec![grant(&server.url("/*"))]);
    assert_eq!(code_of(&attempt, get(server.url("/"))).await, "301");
    attempt.recorded("301");
}
