//! Calls to the outside that go wrong: each makes the run fail with the code and the words of what happened, is
//! tried again where that helps, and is recorded.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::{Value, json};

use super::rig::{Rig, failure, output, task, tasks};
use super::world::{SECRETS, World, product_blog};

/// A workflow of one request, with a grant for one address.
fn asking(world: &World, granted: &str, request: &str, retry: &str) -> String {
    let base = world.base();
    format!(
        "flowweaver = 1\nname = \"ask\"\n\n[[job]]\nname = \"only\"\n\n[[job.task]]\nname = \"ask\"\nuses = \"http-request\"\n\
         retry = {retry}\nwith = {{ url = \"{base}{request}\" }}\n\n[[job.task.http]]\nurl = \"{granted}\"\n"
    )
}

/// A rig whose workflow `ask` searches the mall, granted one section of the world; and the file's text.
fn mall_asker(granted: &str, retry: &str) -> Option<(Rig, World, String)> {
    let (rig, world) = product_blog()?;
    let granted = format!("{}/{granted}/*", world.base());
    let flow = asking(&world, &granted, "/mall/shop/search.php?ss_tx=x", retry);
    rig.write("flows/ask.toml", &flow);
    Some((rig, world, flow))
}

/// Stands between the daemon and the world, and changes the last byte of each picture that is stored.
fn start_forger(world: &World) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let world = world.address().to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let world = world.clone();
            // A connection that breaks off is its client's to notice.
            std::thread::spawn(move || forge(stream, &world).ok());
        }
    });
    address
}

fn forge(mut client: TcpStream, world: &str) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut portion = [0; 16 * 1024];
    let (head_end, length) = loop {
        let count = client.read(&mut portion)?;
        if count == 0 {
            return Ok(());
        }
        request.extend_from_slice(&portion[..count]);
        let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"))
                .map_or(0, |text| text.trim().parse::<usize>().unwrap());
            break (head.len(), length);
        }
    };
    while request.len() < head_end + 4 + length {
        let count = client.read(&mut portion)?;
        request.extend_from_slice(&portion[..count]);
    }
    if request.starts_with(b"PUT ") {
        *request.last_mut().unwrap() ^= 1;
    }
    // One request a connection, so that the end of the answer is the end of the stream.
    request.splice(head_end..head_end, *b"\r\nconnection: close");
    let mut server = TcpStream::connect(world)?;
    server.write_all(&request)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    client.write_all(&answer)
}

#[test]
fn a_wrong_signing_key_fails_the_run_with_the_buckets_own_refusal() {
    let Some((mut rig, _world)) = product_blog() else {
        return;
    };
    rig.environment("FLOWWEAVER_SECRET_S3_SECRET_KEY", "not/the+key");
    rig.start();
    let run = rig.run("product-blog", &["pick=top"]);
    assert_eq!(run["status"], "failed");
    let failure = failure(&run, "upload");
    assert_eq!(failure["code"], "http.status", "{failure:#}");
    assert_eq!(failure["details"]["status"], 403, "{failure:#}");
    assert!(
        failure.to_string().contains("SignatureDoesNotMatch"),
        "{failure:#}"
    );
    assert_eq!(
        task(&run, "upload")["attempts"].as_array().unwrap().len(),
        1,
        "no other try would be let in"
    );
    assert_eq!(task(&run, "publish")["status"], "skipped");
}

#[test]
fn a_byte_changed_under_way_is_refused_by_the_bucket_and_fails_the_run() {
    let Some((mut rig, world)) = product_blog() else {
        return;
    };
    let forger = start_forger(&world);
    rig.edit_settings(|settings| {
        settings
            .replace(
                &format!("{}/s3", world.base()),
                &format!("http://{forger}/s3"),
            )
            .replace("allow = [", &format!("allow = [\"{forger}\", "))
    });
    rig.start();
    let run = rig.run("product-blog", &["pick=top"]);
    assert_eq!(run["status"], "failed", "{run:#}");
    let failure = failure(&run, "upload");
    assert_eq!(failure["details"]["status"], 400, "{failure:#}");
    assert!(
        failure.to_string().contains("XAmzContentSHA256Mismatch"),
        "{failure:#}"
    );
    let stored = world.control("GET", "objects", &Value::Null);
    assert_eq!(stored["count"], 0, "{stored:#}");
}

#[test]
fn a_wrong_token_of_the_model_fails_the_run_once_and_nothing_is_published() {
    let Some((mut rig, world)) = product_blog() else {
        return;
    };
    rig.environment("FLOWWEAVER_SECRET_OPENAI_API_KEY", "not-the-token");
    rig.start();
    let run = rig.run("product-blog", &["pick=top"]);
    assert_eq!(run["status"], "failed");
    let failure = failure(&run, "compose");
    assert_eq!(failure["code"], "http.status", "{failure:#}");
    assert_eq!(failure["details"]["status"], 401, "{failure:#}");
    assert!(
        failure["message"].as_str().unwrap().contains("401"),
        "{failure:#}"
    );
    assert_eq!(
        world.requests("llm").len(),
        1,
        "a refused key is not tried again"
    );
    assert!(world.posts().is_empty());
}

#[test]
fn a_missing_form_field_fails_the_run_with_the_services_words() {
    let Some((mut rig, world)) = product_blog() else {
        return;
    };
    let path = "/trend/shoppingInsight/getCategoryKeywordRank.naver";
    let flow = asking(&world, &format!("{}/trend/*", world.base()), path, "{ attempts = 3, delay = \"10ms\" }")
        .replace(
            &format!("{path}\" }}"),
            &format!("{path}\", method = \"POST\", headers = {{ content-type = \"application/x-www-form-urlencoded\" }}, body = \"cid=50000001&timeUnit=date\" }}"),
        );
    rig.write("flows/ask.toml", flow + "methods = [\"POST\"]\n");
    rig.start();
    let run = rig.run("ask", &[]);
    assert_eq!(run["status"], "failed");
    let failure = failure(&run, "ask");
    assert_eq!(failure["code"], "http.status", "{failure:#}");
    assert_eq!(failure["details"]["status"], 400);
    assert!(failure.to_string().contains("startDate"), "{failure:#}");
    assert_eq!(world.requests("trend").len(), 1);
}

#[test]
fn a_denied_address_says_the_lines_that_allow_it_and_with_them_the_next_run_passes() {
    let retry = "{ attempts = 3, delay = \"10ms\" }";
    let Some((mut rig, world, flow)) = mall_asker("blog", retry) else {
        return;
    };
    rig.start();
    let denied = rig.run("ask", &[]);
    assert_eq!(denied["status"], "failed");
    let failure = failure(&denied, "ask");
    assert_eq!(failure["code"], "http.denied", "{failure:#}");
    let message = failure["message"].as_str().unwrap();
    assert!(
        message.contains("flows/ask.toml") && message.contains("task `ask`"),
        "{message}"
    );
    assert!(world.requests("mall").is_empty(), "nothing was sent");
    let attempts = task(&denied, "ask")["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 1, "a denial is not tried again");
    assert_eq!(attempts[0]["hostCalls"][0]["outcome"], "http.denied");

    let (_, lines) = message.split_once(":\n").unwrap();
    assert!(lines.starts_with("[[job.task.http]]\n"), "{message}");
    for words in [["run", "show"].as_slice(), &["logs"]] {
        let printed = rig.cli(&[words, &[denied["id"].as_str().unwrap()]].concat());
        let printed = String::from_utf8(printed.stdout).unwrap();
        let pasted: Vec<&str> = printed.lines().map(str::trim_start).collect();
        let wanted: Vec<&str> = lines.lines().collect();
        let times = pasted.windows(wanted.len()).filter(|some| *some == wanted);
        assert_eq!(times.count(), 1, "{words:?}: {printed}");
    }
    rig.write("flows/ask.toml", format!("{flow}\n{lines}\n"));
    rig.newer_is_live("ask", &denied["version"]);
    let allowed = rig.rerun(denied["id"].as_str().unwrap(), &["--newest"]);
    assert_eq!(allowed["status"], "succeeded", "{allowed:#}");
    assert_eq!(world.requests("mall").len(), 1);
}

#[test]
fn a_service_that_is_busy_is_asked_again_as_late_as_it_wishes_and_every_attempt_is_recorded() {
    let retry = "{ attempts = 3, delay = \"1ms\", jitter = false }";
    let Some((mut rig, world, _)) = mall_asker("mall", retry) else {
        return;
    };
    world.fault(&json!({ "section": "mall", "kind": "status", "status": 503, "retry_after": 1, "count": 1 }));
    world.fault(&json!({ "section": "mall", "kind": "status", "status": 500, "count": 1 }));
    rig.start();
    let run = rig.run("ask", &[]);
    assert_eq!(run["status"], "succeeded", "{run:#}");
    let attempts = task(&run, "ask")["attempts"].as_array().unwrap();
    let seen: Vec<_> = attempts
        .iter()
        .map(|attempt| (&attempt["number"], &attempt["failure"]["details"]["status"]))
        .collect();
    assert_eq!(
        json!(seen),
        json!([[1, 503], [2, 500], [3, null]]),
        "{run:#}"
    );
    assert_eq!(attempts[0]["failure"]["retry_after_ms"], 1000, "{run:#}");
    let waited = |from: &Value, to: &Value| {
        let at =
            |value: &Value| chrono::DateTime::parse_from_rfc3339(value.as_str().unwrap()).unwrap();
        (at(to) - at(from)).num_milliseconds()
    };
    let asked_for = waited(&attempts[0]["finishedAt"], &attempts[1]["startedAt"]);
    assert!(asked_for >= 1000, "{asked_for} ms: {run:#}");
}

#[test]
fn a_connection_that_drops_after_the_post_was_made_does_not_publish_it_twice() {
    let Some((mut rig, world)) = product_blog() else {
        return;
    };
    world.fault(&json!({ "section": "blog", "method": "POST", "path": "/wp-json/wp/v2/posts", "kind": "drop",
        "when": "after", "count": 1 }));
    rig.start();
    let run = rig.run("product-blog", &["pick=top"]);
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_eq!(
        task(&run, "publish")["attempts"].as_array().unwrap().len(),
        2,
        "the answer was lost, so it was asked again: {run:#}"
    );
    let posts = world.posts();
    assert_eq!(posts.len(), 1, "{posts:#?}");
    assert_eq!(
        output(&run, "publish")["post_id"],
        posts[0]["id"].to_string().trim_matches('"')
    );
}

#[test]
fn every_call_is_recorded_in_its_order_with_its_outcome_and_without_a_secret() {
    let Some((mut rig, world)) = product_blog() else {
        return;
    };
    rig.start();
    let run = rig.run("product-blog", &["pick=top"]);
    assert_eq!(run["status"], "succeeded", "{run:#}");
    let mut calls = 0;
    for task in tasks(&run) {
        for attempt in task["attempts"].as_array().unwrap() {
            let made = attempt["hostCalls"].as_array().unwrap();
            let times: Vec<_> = made
                .iter()
                .map(|call| call["startedAt"].as_str().unwrap())
                .collect();
            assert!(times.is_sorted(), "{made:#?}");
            for call in made.iter().filter(|call| call["kind"] == "http") {
                calls += 1;
                assert!(
                    ["200", "201"].contains(&call["outcome"].as_str().unwrap()),
                    "{call:#}"
                );
                assert!(call["target"].as_str().unwrap().starts_with(&world.base()));
            }
        }
    }
    let seen: usize = ["trend", "mall", "s3", "vision", "translate", "llm", "blog"]
        .iter()
        .map(|section| world.requests(section).len())
        .sum();
    assert_eq!(calls, seen, "the record and the world agree");
    let kinds: Vec<_> = task(&run, "compose")["attempts"][0]["hostCalls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|call| (&call["kind"], &call["outcome"]))
        .collect();
    assert_eq!(
        json!(kinds),
        json!([["sql", "ok"], ["sql", "ok"], ["http", "200"]])
    );
    for (_, secret) in SECRETS {
        assert!(!run.to_string().contains(secret));
    }
}

#[test]
fn a_denied_table_says_the_grant_that_allows_it_and_with_it_the_next_run_passes() {
    let Some((mut rig, _world)) = product_blog() else {
        return;
    };
    rig.edit_settings(|settings| settings.replace("tables = [\"product_review\"]\n", ""));
    let path = rig.path("flows/product-blog.toml");
    let flow = std::fs::read_to_string(&path).unwrap();
    let granted =
        "[[job.task.sql]]\ndatabase = \"blog\"\nmode = \"read\"\ntables = [\"product_review\"]\n";
    let other = granted.replace("product_review", "another_table");
    assert!(flow.contains(granted));
    rig.write("flows/product-blog.toml", flow.replace(granted, &other));
    rig.start();
    let denied = rig.run("product-blog", &["pick=top"]);
    assert_eq!(denied["status"], "failed", "{denied:#}");
    let failure = failure(&denied, "compose");
    assert_eq!(failure["code"], "sql.denied", "{failure:#}");
    let message = failure["message"].as_str().unwrap();
    assert!(
        message.contains("`product_review` is not granted"),
        "{message}"
    );
    assert!(message.contains("flows/product-blog.toml:"), "{message}");
    let attempts = task(&denied, "compose")["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 1, "a denial is not tried again");
    let calls = attempts[0]["hostCalls"].as_array().unwrap();
    assert!(
        calls.iter().any(|call| call["outcome"] == "sql.denied"),
        "{calls:#?}"
    );

    let (_, lines) = message.split_once(":\n").unwrap();
    rig.write(
        "flows/product-blog.toml",
        flow.replace(granted, &format!("{lines}\n")),
    );
    rig.newer_is_live("product-blog", &denied["version"]);
    let allowed = rig.rerun(denied["id"].as_str().unwrap(), &["--newest"]);
    assert_eq!(allowed["status"], "succeeded", "{allowed:#}");
}

#[test]
fn a_denied_database_says_the_grant_that_allows_it_and_with_it_the_next_run_passes() {
    let Some((mut rig, _world)) = product_blog() else {
        return;
    };
    let path = rig.path("flows/product-blog.toml");
    let flow = std::fs::read_to_string(&path).unwrap();
    let granted =
        "[[job.task.sql]]\ndatabase = \"blog\"\nmode = \"read\"\ntables = [\"product_review\"]\n";
    assert!(flow.contains(granted));
    rig.write("flows/product-blog.toml", flow.replace(granted, ""));
    rig.start();
    let denied = rig.run("product-blog", &["pick=top"]);
    assert_eq!(denied["status"], "failed", "{denied:#}");
    let failure = failure(&denied, "compose");
    assert_eq!(failure["code"], "sql.denied", "{failure:#}");
    let message = failure["message"].as_str().unwrap();
    assert!(message.contains("task `compose`"), "{message}");
    let (_, lines) = message.split_once(":\n").unwrap();
    rig.write(
        "flows/product-blog.toml",
        flow.replace(granted, &format!("{lines}\n")),
    );
    rig.newer_is_live("product-blog", &denied["version"]);
    let allowed = rig.rerun(denied["id"].as_str().unwrap(), &["--newest"]);
    assert_eq!(allowed["status"], "succeeded", "{allowed:#}");
}
