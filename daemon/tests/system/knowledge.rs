//! What is known reaches the article, and what is secret reaches nobody.

use rusqlite::Connection;
use serde_json::{Value, json};

use super::canary_search::{Search, everything};
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

#[test]
fn no_secret_is_found_in_any_file_log_answer_input_or_output_whatever_went_wrong() {
    let Some((mut rig, world)) = product_blog() else {
        return;
    };
    let mut secrets: Vec<String> = SECRETS
        .iter()
        .map(|(_, value)| (*value).to_owned())
        .collect();
    let mut all = Vec::new();

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
    all.extend(everything(&rig));
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
        all.extend(everything(&rig));
        rig.environment(&format!("FLOWWEAVER_SECRET_{name}"), right);
        assert!(rig.stop().success());
    }
    all.extend(rig.files());
    Search::new(&secrets).finds_nothing(&all);
}
