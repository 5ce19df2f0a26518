//! What the module promises, against scripted answers.

use std::time::Duration;

use flowweaver_task::{
    Error, Value, json,
    testing::{self, Reply, World},
};

use super::run;

const URL: &str = "https://api.test/items";

fn ask(input: Value) -> Result<Value, Error> {
    testing::run(run, input)
}

#[test]
fn a_denied_address_is_the_tasks_failure() {
    let _world = World::new();
    let error = ask(json!({ "url": URL })).unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.retryable),
        ("http.denied", false)
    );
}

#[test]
fn a_bad_status_fails_with_the_services_own_words_and_its_wait() {
    let world = World::new();
    world
        .when("GET", URL)
        .reply(Reply::text(503, "maintenance").header("retry-after", "7"));
    let error = ask(json!({ "url": URL })).unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.retryable),
        ("http.status", true)
    );
    assert!(
        error.message.contains("503") && error.message.contains("maintenance"),
        "{}",
        error.message
    );
    assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
    assert_eq!(error.details.unwrap()["status"], 503);
}

#[test]
fn a_bad_status_is_an_answer_when_the_input_says_so() {
    let world = World::new();
    world
        .when("GET", URL)
        .reply(Reply::json(404, json!({ "error": "gone" })));
    let output = ask(json!({ "url": URL, "fail_on_status": false })).unwrap();
    assert_eq!(output["status"], 404);
    assert_eq!(output["body"], json!({ "error": "gone" }));
}

#[test]
fn method_query_headers_body_and_timeout_arrive_as_written() {
    let world = World::new();
    world.when("POST", URL).reply(Reply::bytes(201, ""));
    let output = ask(json!({
        "method": "post",
        "url": URL,
        "query": { "q": "a b" },
        "headers": { "x-team": "content" },
        "body": { "name": "lamp" },
        "timeout_seconds": 3,
    }));
    assert_eq!(output.unwrap()["body"], "");
    let sent = world.requests().remove(0);
    assert_eq!(sent.query("q").as_deref(), Some("a b"));
    assert_eq!(sent.header("x-team"), Some("content"));
    assert_eq!(sent.header("content-type"), Some("application/json"));
    assert_eq!(sent.json::<Value>().unwrap(), json!({ "name": "lamp" }));
    assert_eq!(sent.timeout, Some(Duration::from_secs(3)));
}

#[test]
fn a_text_body_is_sent_untouched() {
    let world = World::new();
    world.when("PUT", URL).reply(Reply::text(200, "ok"));
    ask(json!({ "method": "PUT", "url": URL, "body": "a,b\n1,2" })).unwrap();
    let sent = world.requests().remove(0);
    assert_eq!(
        (sent.text().as_str(), sent.header("content-type")),
        ("a,b\n1,2", None)
    );
}

#[test]
fn json_by_its_type_is_parsed_and_broken_json_fails() {
    let world = World::new();
    let typed = |body: &str| {
        Reply::bytes(200, body).header("content-type", "application/hal+json; charset=utf-8")
    };
    world
        .when("GET", URL)
        .reply(typed("[1]"))
        .reply(typed(""))
        .reply(typed("[1"));
    assert_eq!(ask(json!({ "url": URL })).unwrap()["body"], json!([1]));
    assert_eq!(ask(json!({ "url": URL })).unwrap()["body"], Value::Null);
    let error = ask(json!({ "url": URL })).unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.retryable),
        ("json.invalid", false)
    );
}

#[test]
fn a_redirect_is_followed_unless_it_is_to_be_the_answer() {
    let world = World::new();
    let moved = Reply::text(302, "over there").header("location", "/elsewhere");
    world.when("GET", URL).reply(moved);
    let denied = ask(json!({ "url": URL })).unwrap_err();
    assert_eq!(denied.code, "http.denied");
    let answer = ask(json!({ "url": URL, "follow_redirects": false })).unwrap();
    assert_eq!(
        (&answer["status"], &answer["url"]),
        (&json!(302), &json!(URL))
    );
    assert_eq!(answer["headers"]["location"], "/elsewhere");
}

#[test]
fn an_unknown_field_is_refused_before_anything_is_sent() {
    let world = World::new();
    let error = ask(json!({ "url": URL, "methods": "GET" })).unwrap_err();
    assert_eq!(error.code, "input.invalid");
    assert!(world.requests().is_empty());
}

#[test]
fn the_description_names_the_need_and_the_defaults() {
    let described: Value = flowweaver_task::serde_json::from_str(&run::describe()).unwrap();
    assert_eq!(described["name"], "http-request");
    assert_eq!(
        described["summary"],
        "Sends one HTTP request and returns the answer."
    );
    assert_eq!(described["requires"], json!(["http"]));
    assert_eq!(described["defaults"]["method"], "GET");
    assert_eq!(described["defaults"]["fail_on_status"], true);
    assert_eq!(described["input"]["required"], json!(["url"]));
}
