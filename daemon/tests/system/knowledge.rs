//! What is known reaches the article, and what is secret reaches nobody.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use rusqlite::Connection;
use serde_json::{Value, json};

use super::rig::{Rig, output, task};
use super::world::{SECRETS, World, product_blog};

/// So many other rows share the article's keyword with the one that matters.
const DISTRACTORS: u32 = 200;

/// The product that the sample workflow chooses: the same in every run with `pick=top`.
fn selected(run: &Value) -> u64 {
    let product = output(run, "select")["selected_product"].to_string();
    let (_, id) = product.split_once("num_iid=").unwrap();
    id.chars()
        .take_while(char::is_ascii_digit)
        .collect::<String>()
        .parse()
        .unwrap()
}

/// The last prompt that the model was sent, as the world received it.
fn prompt(world: &World) -> String {
    let asked = world.requests("llm");
    let body = asked.last().unwrap()["body"].as_str().unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    body["messages"].to_string()
}

fn sources(run: &Value) -> String {
    output(run, "compose")["sources"].to_string()
}

#[test]
fn events_are_those_of_the_callers_organization() {
    let mut rig = Rig::with_add_field();
    rig.write("flows/hello.toml", super::basics::HELLO);
    rig.start();
    let theirs = rig.run("hello", &[]);
    let store = rusqlite::Connection::open(rig.path("state/flowweaver.db")).unwrap();
    let moved = store.execute(
        "update execution_log set organization_id = '01ARZ3NDEKTSV4RRFFQ69G5FAV' where workflow_run_id = ?1",
        [theirs["id"].as_str().unwrap()],
    );
    assert!(moved.unwrap() > 0);
    let mine = rig.run("hello", &[]);
    let seen: Vec<_> = rig
        .events()
        .take_while(|event| event["runId"] != mine["id"] || event["kind"] != "run.finished")
        .collect();
    assert!(!seen.is_empty());
    assert!(
        seen.iter().all(|event| event["runId"] == mine["id"]),
        "{seen:#?}"
    );
}

#[test]
fn a_fact_in_one_of_two_hundred_rows_and_one_on_a_picture_reach_the_prompt_and_the_sources() {
    let Some((mut rig, world)) = product_blog() else {
        return;
    };
    rig.start();
    let first = rig.run("product-blog", &["pick=top"]);
    assert_eq!(first["status"], "succeeded", "{first:#}");
    let product = selected(&first);
    let keyword = output(&first, "keyword")["keyword"].as_str().unwrap();

    let knowledge = Connection::open(rig.path("blog.db")).unwrap();
    let insert = "insert into product_review (title, body) values (?, ?)";
    for number in 0..DISTRACTORS {
        let row = (
            format!("{keyword} 후기 {number}"),
            "배송이 빠르고 포장이 꼼꼼해요",
        );
        knowledge.execute(insert, row).unwrap();
        if number == DISTRACTORS / 2 {
            let row = (
                format!("{keyword} 시험 기록"),
                "마찰 시험 88417회를 통과한 원단이다",
            );
            knowledge.execute(insert, row).unwrap();
        }
    }
    let shown = world.control("GET", &format!("products?id={product}"), &Value::Null);
    let picture = shown["products"][0]["pictures"][1]["name"].clone();
    let plant = |text: &str| {
        let path = format!("products/{product}/image-text");
        world.control("POST", &path, &json!({ "image": picture, "text": text }));
    };
    plant("세탁 시험 55309회 통과");

    let told = rig.run("product-blog", &["pick=top"]);
    assert_eq!(told["status"], "succeeded", "{told:#}");
    assert_eq!(selected(&told), product);
    for fact in ["88417", "55309"] {
        assert!(prompt(&world).contains(fact), "{fact}: {}", prompt(&world));
        assert!(sources(&told).contains(fact), "{fact}: {}", sources(&told));
        assert!(!sources(&first).contains(fact));
    }
    let named = output(&told, "compose")["sources"]
        .as_array()
        .unwrap()
        .iter()
        .find(|source| source["text"].as_str().unwrap().contains("88417"))
        .unwrap();
    let row = DISTRACTORS / 2 + 2;
    assert_eq!(named["kind"], "knowledge");
    assert_eq!(named["origin"], format!("blog.product_review, row {row}"));

    knowledge
        .execute("delete from product_review where body like '%88417%'", [])
        .unwrap();
    plant("소재 표시");
    let untold = rig.run("product-blog", &["pick=top"]);
    assert_eq!(untold["status"], "succeeded", "{untold:#}");
    for fact in ["88417", "55309"] {
        assert!(!prompt(&world).contains(fact), "{fact}");
        assert!(!sources(&untold).contains(fact), "{fact}");
    }
}

/// A secret as it may be found again: as it is, and in the ways that it is written on its way.
pub fn disguises(secret: &str) -> Vec<String> {
    let hexed = hex::encode(secret);
    let mut percent = String::new();
    for byte in secret.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            percent.push(char::from(byte));
        } else {
            write!(percent, "%{byte:02X}").unwrap();
        }
    }
    vec![
        secret.to_owned(),
        STANDARD.encode(secret),
        STANDARD_NO_PAD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
        percent.to_ascii_lowercase(),
        percent,
        hexed.to_ascii_uppercase(),
        hexed,
    ]
}

/// Where the text stands first, if anywhere. The files are large, so only places with its first byte are compared.
pub fn find(haystack: &[u8], needle: &str) -> Option<usize> {
    let needle = needle.as_bytes();
    let mut from = 0;
    while let Some(step) = haystack[from..].iter().position(|byte| *byte == needle[0]) {
        let at = from + step;
        if haystack[at..].starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// Every list and view that the daemon serves about the runs there are.
fn everything_shown(rig: &Rig) -> String {
    let mut paths = vec![
        "/v0/workflows".to_owned(),
        "/v0/workflows/product-blog/detail".to_owned(),
        "/v0/problems".to_owned(),
        "/v0/workflow-runs".to_owned(),
        "/v0/tasks".to_owned(),
    ];
    let runs = rig.json(&["runs"]);
    for run in runs["data"].as_array().unwrap() {
        let id = run["id"].as_str().unwrap();
        for view in ["", "/logs", "/io"] {
            paths.push(format!("/v0/workflow-runs/{id}{view}"));
        }
    }
    let mut shown = String::new();
    for path in paths {
        let (status, body) = rig.call("GET", &path, &Value::Null);
        assert_eq!(status, 200, "{path}: {body}");
        shown.push_str(&body.to_string());
    }
    for run in runs["data"].as_array().unwrap() {
        let id = run["id"].as_str().unwrap();
        for words in [
            &["run", "show", id][..],
            &["logs", id],
            &["--json", "logs", "-f", id],
        ] {
            let said = rig.cli(words);
            shown.push_str(&String::from_utf8_lossy(&said.stdout));
            shown.push_str(&String::from_utf8_lossy(&said.stderr));
        }
        shown.push_str(&rig.json(&["run", "show", id]).to_string());
    }
    shown
}

#[test]
fn no_secret_is_found_in_any_file_log_answer_input_or_output_whatever_went_wrong() {
    let Some((mut rig, world)) = product_blog() else {
        return;
    };
    let mut secrets: Vec<String> = SECRETS
        .iter()
        .map(|(_, value)| (*value).to_owned())
        .collect();
    let mut written = Vec::new();
    let mut logs = String::new();

    rig.start();
    let good = rig.run("product-blog", &["pick=top"]);
    assert_eq!(good["status"], "succeeded", "{good:#}");
    // Services do this: the refusal quotes the key that it refuses.
    world.fault(
        &json!({ "section": "llm", "kind": "status", "status": 401, "count": 1,
        "body": "Incorrect API key provided: demo-llm-key" }),
    );
    let quoted = rig.run("product-blog", &["pick=top"]);
    assert_eq!(quoted["status"], "failed");
    assert!(
        quoted.to_string().contains("Incorrect API key provided"),
        "the refusal is told"
    );
    logs.push_str(&rig.log().text());
    assert!(rig.stop().success());

    for (name, wrong, failing) in [
        ("OPENAI_API_KEY", "wrong/llm+key=never.shown", "compose"),
        ("S3_SECRET_KEY", "wrong/secret+key=never.shown", "upload"),
    ] {
        let right = SECRETS.iter().find(|(known, _)| *known == name).unwrap().1;
        rig.environment(&format!("FLOWWEAVER_SECRET_{name}"), wrong);
        secrets.push(wrong.to_owned());
        rig.start();
        let run = rig.run("product-blog", &["pick=top"]);
        assert_eq!(task(&run, failing)["status"], "failed", "{run:#}");
        written.extend(everything_shown(&rig).into_bytes());
        written.extend(rig.everything_written());
        logs.push_str(&rig.log().text());
        rig.environment(&format!("FLOWWEAVER_SECRET_{name}"), right);
        assert!(rig.stop().success());
    }
    written.extend(rig.everything_written());
    written.extend(logs.into_bytes());

    for secret in &secrets {
        for disguise in disguises(secret) {
            if let Some(at) = find(&written, &disguise) {
                let around = &written[at.saturating_sub(200)..(at + 200).min(written.len())];
                panic!("{disguise} in: {}", String::from_utf8_lossy(around));
            }
        }
    }
}
