//! What the module promises, against a scripted embeddings service.

use flowweaver_task::testing::{self, Reply, Sent, World};
use flowweaver_task::{Error, Value, json};

use super::run;

const EMBEDDINGS: &str = "https://api.openai.com/v1/embeddings";

fn rank(input: Value) -> Result<Value, Error> {
    testing::run(run, input)
}

fn found(title: &str) -> Value {
    json!({ "url": format!("https://m.test/{title}"), "title": title, "price": 1 })
}

fn matched(title: &str, score: f64) -> Value {
    let mut product = found(title);
    product["match_info"] =
        json!({ "match_type": "exact", "match_score": score, "match_reason": "" });
    product
}

fn twelve() -> Vec<Value> {
    (1..=12)
        .map(|number| matched(&format!("백팩 {number}"), 1.0))
        .collect()
}

fn titles(output: &Value) -> Vec<&str> {
    let products = output["top_products"].as_array().unwrap();
    products
        .iter()
        .map(|product| product["title"].as_str().unwrap())
        .collect()
}

/// A service whose embedding of a text is made by `of`, and whose items come in reverse order.
fn embedder(of: impl Fn(&str) -> Vec<f64> + 'static) -> impl Fn(&Sent) -> Reply {
    move |sent| {
        let body: Value = sent.json().unwrap();
        let texts = body["input"].as_array().unwrap().iter().enumerate();
        let items = texts.map(
            |(index, text)| json!({ "index": index, "embedding": of(text.as_str().unwrap()) }),
        );
        Reply::json(200, json!({ "data": items.rev().collect::<Vec<_>>() }))
    }
}

#[test]
fn inputs_that_make_no_sense_are_refused() {
    let _world = World::new();
    for input in [
        json!({ "keyword": " ", "matched_products": [] }),
        json!({ "keyword": "백팩", "matched_products": [], "top": 0 }),
        json!({ "keyword": "백팩", "matched_products": [], "method": "guess" }),
        json!({ "keyword": "백팩", "matched_products": [], "match_weight": 1.1 }),
        json!({ "keyword": "백팩", "matched_products": [], "min_similarity": -0.1 }),
        json!({ "keyword": "백팩", "matched_products": [], "tops": 3 }),
    ] {
        assert_eq!(rank(input).unwrap_err().code, "input.invalid");
    }
}

#[test]
fn nothing_to_rank_is_success_with_a_reason() {
    let output = rank(json!({ "keyword": "백팩", "matched_products": [] })).unwrap();
    assert_eq!(output["top_products"], json!([]));
    assert!(
        output["reason"]
            .as_str()
            .unwrap()
            .contains("no search results"),
        "{output}"
    );
}

#[test]
fn nothing_similar_is_success_with_a_reason() {
    let output = rank(json!({
        "keyword": "제주도 항공권", "matched_products": [], "search_results": [found("경량 백팩"), found("호텔수건")],
    }))
    .unwrap();
    assert_eq!(output["top_products"], json!([]));
    assert!(
        output["reason"]
            .as_str()
            .unwrap()
            .contains("none of 2 search results"),
        "{output}"
    );
}

#[test]
fn few_matches_are_all_kept_in_their_order_and_nobody_is_asked() {
    let world = World::new();
    let output = rank(json!({
        "keyword": "백팩", "method": "embedding", "matched_products": [matched("둘", 0.5), matched("하나", 1.0)],
    }))
    .unwrap();
    assert_eq!(titles(&output), ["둘", "하나"]);
    let first = &output["top_products"][0];
    assert_eq!(
        (&first["rank"], &first["final_score"], &first["similarity"]),
        (&json!(1), &json!(0.5), &Value::Null)
    );
    assert_eq!(first["selection_info"]["selection_type"], "all_matches");
    assert_eq!(
        (&first["price"], &first["match_info"]["match_type"]),
        (&json!(1), &json!("exact"))
    );
    assert!(output.get("reason").is_none());
    assert!(world.requests().is_empty());
}

#[test]
fn many_matches_are_ranked_by_four_tenths_match_and_six_tenths_similarity() {
    let mut products = twelve();
    products[11] = matched("백팩", 0.5);
    products[10] = matched("전혀 다른 물건", 1.0);
    let output = rank(json!({ "keyword": "백팩", "matched_products": products })).unwrap();
    assert_eq!(titles(&output).len(), 10);
    assert!(!titles(&output).contains(&"전혀 다른 물건"));
    for product in output["top_products"].as_array().unwrap() {
        let similarity = product["similarity"].as_f64().unwrap();
        let expected =
            0.4 * product["match_info"]["match_score"].as_f64().unwrap() + 0.6 * similarity;
        assert!((product["final_score"].as_f64().unwrap() - expected).abs() < 1e-9);
        assert_eq!(
            product["selection_info"]["selection_type"],
            "match_and_similarity"
        );
    }
    let ranks: Vec<u64> = output["top_products"]
        .as_array()
        .unwrap()
        .iter()
        .map(|product| product["rank"].as_u64().unwrap())
        .collect();
    assert_eq!(ranks, (1..=10).collect::<Vec<_>>());
}

#[test]
fn without_a_match_similar_search_results_are_kept_most_similar_first() {
    let output = rank(json!({
        "keyword": "이어폰 케이스", "matched_products": [],
        "search_results": [found("호텔수건"), found("무선이어폰 파우치"), found("무선이어폰 케이스"), found("등산스틱")],
    }))
    .unwrap();
    assert_eq!(titles(&output).first(), Some(&"무선이어폰 케이스"));
    assert!(!titles(&output).contains(&"호텔수건") && !titles(&output).contains(&"등산스틱"));
    for product in output["top_products"].as_array().unwrap() {
        assert!(product["similarity"].as_f64().unwrap() >= 0.3);
        assert_eq!(product["final_score"], product["similarity"]);
        assert_eq!(product["selection_info"]["selection_type"], "similarity");
        assert!(product.get("match_info").is_none());
    }
}

#[test]
fn a_denied_embeddings_service_is_the_tasks_failure() {
    let _world = World::new();
    let error =
        rank(json!({ "keyword": "백팩", "method": "embedding", "matched_products": twelve() }))
            .unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.retryable),
        ("http.denied", false)
    );
}

#[test]
fn a_bad_status_or_answer_of_the_embeddings_service_never_becomes_a_ranking() {
    let world = World::new();
    let ask = || {
        rank(json!({ "keyword": "백팩", "method": "embedding", "matched_products": twelve() }))
            .unwrap_err()
    };
    for (status, retryable) in [(500, true), (429, true), (401, false), (404, false)] {
        world
            .when("POST", EMBEDDINGS)
            .reply(Reply::text(status, "no"));
        let error = ask();
        assert_eq!(
            (error.code.as_str(), error.retryable),
            ("http.status", retryable),
            "{status}"
        );
    }
    for body in [
        "<html>",
        "{\"error\": {\"message\": \"overloaded\"}}",
        "{\"data\": [{\"index\": 0, \"embedding\": [1.0]}]}",
    ] {
        world.when("POST", EMBEDDINGS).reply(Reply::text(200, body));
        let error = ask();
        assert_eq!(
            (error.code.as_str(), error.retryable),
            ("embeddings.invalid", true),
            "{body}"
        );
        assert!(error.message.contains(body), "{}", error.message);
    }
    world.when("POST", EMBEDDINGS).answer(embedder(|text| {
        if text == "백팩" {
            vec![0.0]
        } else {
            vec![1.0]
        }
    }));
    assert_eq!(ask().code, "embeddings.invalid");
    world
        .when("POST", EMBEDDINGS)
        .answer(embedder(|text| vec![1.0; text.len()]));
    assert_eq!(ask().code, "embeddings.invalid");
}

#[test]
fn embeddings_are_asked_for_once_and_matched_by_their_index() {
    let world = World::new();
    // Only the seventh product points the keyword's way; the eighth points away from it.
    world
        .when("POST", "http://127.0.0.1:9/llm/v1/embeddings")
        .answer(embedder(|text| match text {
            "백팩" | "백팩 7" => vec![3.0, 0.0],
            "백팩 8" => vec![-1.0, 0.0],
            _ => vec![1.0, 1.0],
        }));
    let output = rank(json!({
        "keyword": "백팩", "method": "embedding", "matched_products": twelve(), "top": 11,
        "embeddings_url": "http://127.0.0.1:9/llm", "embeddings_model": "small",
    }))
    .unwrap();
    assert_eq!(titles(&output)[0], "백팩 7");
    assert!(!titles(&output).contains(&"백팩 8"));
    assert_eq!(output["top_products"][0]["final_score"], 1.0);
    let sent = world.requests();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].header("authorization"), None);
    let body: Value = sent[0].json().unwrap();
    assert_eq!(
        (
            &body["model"],
            &body["input"][0],
            body["input"].as_array().unwrap().len()
        ),
        (&json!("small"), &json!("백팩"), 13)
    );
}
