//! Webhooks: receivers that answer in many ways.

use flowweaver_task::testing::Reply;

use super::*;

const HOOK: &str = "https://hook.test/in";

#[test]
fn a_receiver_that_fails_or_says_in_a_success_that_it_did_not_take_it_is_a_failure() {
    for (reply, code, retryable) in [
        (Reply::text(503, "busy"), "http.status", true),
        (
            Reply::json(401, json!({ "error": "no signature" })),
            "http.status",
            false,
        ),
        (
            Reply::json(200, json!({ "success": false, "message": "blocked" })),
            "publish.refused",
            false,
        ),
        (
            Reply::json(200, json!({ "error": "blocked" })),
            "publish.refused",
            false,
        ),
        (Reply::bytes(304, ""), "publish.invalid", false),
    ] {
        let world = World::new();
        world.when("POST", HOOK).reply(reply);
        let error = publish("webhook").unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.retryable),
            (code, retryable),
            "{error}"
        );
    }
}

#[test]
fn a_delivery_is_the_article_with_its_key() {
    let world = World::new();
    world.when("POST", HOOK).reply(Reply::json(
        200,
        json!({ "id": "9", "url": "https://x.test/9", "status": "accepted" }),
    ));
    let output = publish("webhook").unwrap();
    assert_eq!(
        (&output["post_id"], &output["post_url"], &output["tag"]),
        (&json!("9"), &json!("https://x.test/9"), &json!("webhook"))
    );
    assert!(
        output["published_at"].as_str().unwrap().ends_with('Z'),
        "{output}"
    );
    let sent = world.requests().remove(0);
    let key = "5e".repeat(32);
    assert_eq!(
        sent.json::<Value>().unwrap(),
        json!({ "title": "백팩 추천", "content": "<p>글</p>", "tags": ["백팩", "여행"], "idempotency_key": key, "status": "publish" })
    );
    assert_eq!(
        (sent.header("idempotency-key"), sent.header("webhook-id")),
        (Some(key.as_str()), Some(key.as_str()))
    );
    assert!(
        sent.header("webhook-timestamp")
            .unwrap()
            .parse::<u64>()
            .unwrap()
            > 1_700_000_000
    );
}

#[test]
fn a_receiver_that_says_nothing_has_taken_it_and_is_not_asked_again() {
    let world = World::new();
    world.when("POST", HOOK).reply(Reply::bytes(204, ""));
    let first = publish("webhook").unwrap();
    assert_eq!(
        (&first["post_id"], &first["post_url"]),
        (&json!(MARK), &Value::Null)
    );
    let second = publish("webhook").unwrap();
    assert_eq!(
        (&second["already_published"], &second["published_at"]),
        (&json!(true), &first["published_at"])
    );
    assert_eq!(world.requests().len(), 1);
}

#[test]
fn a_delivery_whose_answer_was_lost_is_repeated_under_the_same_key() {
    let world = World::new();
    world
        .when("POST", HOOK)
        .reply(Reply::error(timeout()))
        .reply(Reply::json(200, json!({ "id": 9, "status": "duplicate" })));
    assert!(publish("webhook").unwrap_err().retryable);
    assert_eq!(publish("webhook").unwrap()["post_id"], "9");
    let keys: Vec<_> = world
        .requests()
        .iter()
        .map(|sent| sent.header("webhook-id").unwrap().to_owned())
        .collect();
    assert_eq!(keys[0], keys[1]);
}
