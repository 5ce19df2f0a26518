//! What the module promises, against blogs that keep what they are given.

mod blogger;
mod webhook;
mod wordpress;

use std::{cell::RefCell, rc::Rc};

use flowweaver_task::{
    Error, Value, json,
    testing::{self, World},
};

use super::run;

/// The default idempotency key's first digits.
const MARK: &str = "fw-5e5e5e5e5e5e5e5e";

/// The posts of a blog.
type Posts = Rc<RefCell<Vec<Value>>>;

fn article(tag: &str, change: Value) -> Value {
    let mut input = json!({
        "tag": tag, "post_title": "백팩 추천", "post_content": "<p>글</p>", "post_tags": ["백팩", " 여행 ", "백팩"],
        "wordpress_url": "https://blog.test/", "blog_id": "8810001", "webhook_url": "https://hook.test/in",
    });
    input
        .as_object_mut()
        .unwrap()
        .extend(change.as_object().unwrap().clone());
    input
}

fn publish(tag: &str) -> Result<Value, Error> {
    testing::run(run, article(tag, json!({})))
}

/// What a host answers whose request got no response in time.
fn timeout() -> Error {
    Error::retryable("http.timeout", "no answer within 30 s")
}

#[test]
fn an_article_without_title_or_content_or_place_is_refused_before_anything_is_sent() {
    let world = World::new();
    for (tag, change) in [
        ("wordpress", json!({ "post_title": " " })),
        ("wordpress", json!({ "post_content": "" })),
        ("wordpress", json!({ "wordpress_url": null })),
        ("webhook", json!({ "webhook_url": "hook.test" })),
        ("blogger", json!({ "blog_id": null })),
        ("blogger", json!({ "blog_id": "1/../2" })),
        ("tistory", json!({})),
        ("wordpress", json!({ "password": "x" })),
    ] {
        let error = testing::run(run, article(tag, change.clone())).unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.retryable),
            ("input.invalid", false),
            "{tag} {change}"
        );
    }
    assert!(world.requests().is_empty());
    assert_eq!(
        world.kv_get(&format!("published/{}", "5e".repeat(32))),
        None
    );
}

#[test]
fn the_description_names_the_needs_and_the_defaults() {
    let described: Value = flowweaver_task::serde_json::from_str(&run::describe()).unwrap();
    assert_eq!(described["requires"], json!(["http", "kv"]));
    assert_eq!(
        described["input"]["required"],
        json!(["tag", "post_title", "post_content"])
    );
    assert_eq!(described["defaults"]["post_status"], "publish");
    assert_eq!(
        described["defaults"]["blogger_url"],
        "https://www.googleapis.com"
    );
}
