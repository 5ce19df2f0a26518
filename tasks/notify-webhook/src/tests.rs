//! What the module promises, receiver by receiver.

use std::time::Duration;

use flowweaver_task::testing::{self, Reply, World};
use flowweaver_task::{Error, Value, json};

use super::run;
use crate::cut::length;

const HOOK: &str = "https://hooks.test/services/T0/B0/x";

fn ask(input: Value) -> Result<Value, Error> {
    let mut input = input;
    input["url"] = json!(HOOK);
    testing::run(run, input)
}

/// What the receiver gets, and whether something was cut.
fn posted(input: Value) -> (Value, bool) {
    let world = World::new();
    world.when("POST", HOOK).reply(Reply::text(200, "ok"));
    let output = ask(input).unwrap();
    let sent = world.requests().remove(0);
    (sent.json().unwrap(), output["truncated"] == true)
}

#[test]
fn a_webhook_that_is_not_granted_hears_nothing() {
    let _world = World::new();
    let error = ask(json!({ "text": "hi" })).unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.retryable),
        ("http.denied", false)
    );
}

#[test]
fn a_notice_without_words_is_refused_before_anything_is_sent() {
    let world = World::new();
    for input in [
        json!({}),
        json!({ "title": " ", "text": "\n" }),
        json!({ "text": "a", "fields": [{ "name": " ", "value": 1 }] }),
        json!({ "text": "a", "fields": [{ "name": "a" }] }),
        json!({ "text": "a", "style": "teams" }),
        json!({ "text": "a", "level": "fatal" }),
        json!({ "text": "a", "channel": "#all" }),
    ] {
        assert_eq!(
            ask(input.clone()).unwrap_err().code,
            "input.invalid",
            "{input}"
        );
    }
    assert!(world.requests().is_empty());
}

#[test]
fn what_may_pass_is_retried_after_the_receivers_wait_and_what_will_not_is_not() {
    for (reply, code, retryable, wait) in [
        (Reply::text(404, "no_service"), "http.status", false, None),
        (
            Reply::text(400, "invalid_payload"),
            "http.status",
            false,
            None,
        ),
        (
            Reply::text(403, "action_prohibited"),
            "http.status",
            false,
            None,
        ),
        (Reply::bytes(302, ""), "notify.refused", false, None),
        (
            Reply::text(429, "slow down").header("retry-after", "7"),
            "http.status",
            true,
            Some(7),
        ),
        (Reply::text(500, "oops"), "http.status", true, None),
        (
            Reply::text(503, "busy").header("retry-after", "30"),
            "http.status",
            true,
            Some(30),
        ),
    ] {
        let world = World::new();
        world.when("POST", HOOK).reply(reply);
        let error = ask(json!({ "text": "hi" })).unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.retryable),
            (code, retryable),
            "{error}"
        );
        assert_eq!(error.retry_after, wait.map(Duration::from_secs), "{error}");
    }
}

#[test]
fn attempts_of_a_task_post_the_same_bytes_under_the_same_key() {
    let world = World::new();
    world
        .when("POST", HOOK)
        .reply(Reply::text(503, "busy"))
        .reply(Reply::bytes(204, ""));
    let input =
        json!({ "title": "done", "text": "all of it", "fields": [{ "name": "rows", "value": 3 }] });
    assert!(ask(input.clone()).unwrap_err().retryable);
    let output = ask(input).unwrap();
    assert_eq!(output["status"], 204);
    assert!(
        output["delivered_at"].as_str().unwrap().ends_with('Z'),
        "{output}"
    );
    let sent = world.requests();
    assert_eq!(sent[0].body, sent[1].body);
    assert_eq!(
        sent[0].header("idempotency-key"),
        Some("5e".repeat(32).as_str())
    );
    assert_eq!(
        sent[1].json::<Value>().unwrap(),
        json!({
            "title": "done", "text": "all of it", "level": "info", "fields": [{ "name": "rows", "value": 3 }],
            "workflow": "test-workflow", "run": "01jcz0000000000000000000rn", "task": "test-task",
        })
    );
}

#[test]
fn slack_gets_blocks_and_nobody_is_called_by_text() {
    let (body, cut) = posted(json!({
        "style": "slack", "level": "warning", "title": "Stock <low>", "text": "<!channel> a & b > c @here",
        "fields": [{ "name": "item", "value": "<@U123>" }, { "name": "left", "value": 2 }],
    }));
    assert!(!cut);
    assert_eq!(
        body["blocks"],
        json!([
            { "type": "header", "text": { "type": "plain_text", "text": "⚠️ Stock <low>" } },
            { "type": "section", "text": { "type": "mrkdwn", "verbatim": true, "text": "&lt;!channel&gt; a &amp; b &gt; c @here" } },
            { "type": "section", "fields": [
                { "type": "mrkdwn", "verbatim": true, "text": "*item*\n&lt;@U123&gt;" },
                { "type": "mrkdwn", "verbatim": true, "text": "*left*\n2" },
            ] },
        ])
    );
    assert_eq!(body["text"], "⚠️ Stock &lt;low&gt;");
    assert!(!body.to_string().contains("<!"));
}

#[test]
fn slack_never_gets_more_than_it_takes() {
    let fields: Vec<Value> = (0..130)
        .map(
            |at| json!({ "name": format!("{at}{}", "&".repeat(300)), "value": "가&".repeat(2000) }),
        )
        .collect();
    let (body, cut) = posted(json!({
        "style": "slack", "title": "😀".repeat(200), "text": "한 줄 <&>\n".repeat(5000), "fields": fields,
    }));
    assert!(cut);
    let blocks = body["blocks"].as_array().unwrap();
    assert_eq!(blocks.len(), 1 + 4 + 10);
    let text = |value: &Value| value["text"].as_str().unwrap().to_owned();
    assert!(length(&text(&blocks[0]["text"])) <= 150);
    assert!(length(body["text"].as_str().unwrap()) <= 3000);
    for block in &blocks[1..5] {
        let text = text(&block["text"]);
        assert!((2900..=3000).contains(&length(&text)), "{}", length(&text));
        assert!(text.ends_with("&gt;") || text.ends_with('…'), "{text}");
    }
    for block in &blocks[5..] {
        let fields = block["fields"].as_array().unwrap();
        assert_eq!(fields.len(), 10);
        for field in fields {
            let text = text(field);
            assert!(
                length(&text) <= 2000 && text.ends_with('…'),
                "{}",
                length(&text)
            );
            // No escape was cut in two.
            assert!(!text.replace("&amp;", "").contains('&'), "{text}");
        }
    }
}

#[test]
fn discord_gets_an_embed_and_nobody_is_mentioned() {
    let (body, cut) = posted(json!({
        "style": "discord", "level": "error", "title": "Failed", "text": "@everyone <@&1> look",
        "fields": [{ "name": "where", "value": "" }, { "name": "list", "value": [1, 2] }],
    }));
    assert!(!cut);
    assert_eq!(
        body,
        json!({
            "allowed_mentions": { "parse": [] },
            "embeds": [{
                "title": "🛑 Failed", "description": "@everyone <@&1> look", "color": 0x00e7_4c3c,
                "fields": [
                    { "name": "where", "value": "\u{200b}", "inline": true },
                    { "name": "list", "value": "[1,2]", "inline": true },
                ],
            }],
        })
    );
}

#[test]
fn discord_never_gets_more_than_it_takes() {
    let fields: Vec<Value> = (0..30)
        .map(|at| json!({ "name": format!("{at}"), "value": "나".repeat(at * 10) }))
        .collect();
    let long = "😀".repeat(5000);
    for (input, most) in [
        (json!({ "title": long, "text": long, "fields": fields }), 25),
        (json!({ "text": "a", "fields": fields }), 25),
        (
            json!({ "text": "a", "fields": [{ "name": long, "value": long }] }),
            1,
        ),
    ] {
        let mut input = input;
        input["style"] = json!("discord");
        let (body, cut) = posted(input);
        assert!(cut);
        let embed = &body["embeds"][0];
        let size = |value: &Value| length(value.as_str().unwrap_or_default());
        assert!(size(&embed["title"]) <= 256 && size(&embed["description"]) <= 4096);
        let fields = embed["fields"].as_array().unwrap();
        assert!(fields.len() <= most);
        let inside: usize = fields
            .iter()
            .map(|field| size(&field["name"]) + size(&field["value"]))
            .sum();
        assert!(size(&embed["title"]) + size(&embed["description"]) + inside <= 6000);
        assert!(
            fields
                .iter()
                .all(|field| size(&field["name"]) <= 256 && size(&field["value"]) <= 1024)
        );
    }
}

#[test]
fn the_description_names_the_need_and_the_defaults() {
    let described: Value = flowweaver_task::serde_json::from_str(&run::describe()).unwrap();
    assert_eq!(described["requires"], json!(["http"]));
    assert_eq!(described["defaults"]["style"], "plain");
    assert_eq!(described["input"]["required"], json!(["url"]));
}
