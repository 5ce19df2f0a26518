//! Blogger: a blog that keeps posts.

use flowweaver_task::testing::{Reply, Sent};

use super::*;

const API: &str = "https://www.googleapis.com/blogger/v3/blogs/8810001/posts";

fn view(id: usize, body: &Value, status: &str) -> Value {
    json!({
        "kind": "blogger#post", "id": id.to_string(), "status": status, "url": format!("https://x.blogspot.com/{id}.html"),
        "published": "2026-01-03T08:01:00+09:00", "title": body["title"], "labels": body["labels"],
    })
}

/// A blog on which everything works; its list shows posts only if `listed`.
fn blog(world: &World, listed: bool) -> Posts {
    let posts = Posts::default();
    let kept = Rc::clone(&posts);
    world.when("GET", API).answer(move |sent| {
        let label = json!(sent.query("labels").unwrap());
        let statuses = ["live", "draft"]
            .iter()
            .all(|status| sent.url.contains(&format!("status={status}")));
        let shown = |post: &&Value| {
            listed && statuses && post["labels"].as_array().unwrap().contains(&label)
        };
        let found: Vec<Value> = kept.borrow().iter().rev().filter(shown).cloned().collect();
        let mut reply = json!({ "kind": "blogger#postList" });
        if !found.is_empty() {
            reply["items"] = json!(found);
        }
        Reply::json(200, reply)
    });
    let kept = Rc::clone(&posts);
    world.when("GET", &format!("{API}/*")).answer(move |sent| {
        let path = sent.url.split('?').next().unwrap();
        let id: usize = path.rsplit('/').next().unwrap().parse().unwrap();
        kept.borrow()
            .get(id - 1)
            .map_or(Reply::text(404, ""), |post| Reply::json(200, post.clone()))
    });
    let kept = Rc::clone(&posts);
    world
        .when("POST", API)
        .answer(move |sent| create(sent, &kept));
    let kept = Rc::clone(&posts);
    world
        .when("POST", &format!("{API}/*/publish"))
        .answer(move |sent| {
            let id: usize = sent.url.rsplit('/').nth(1).unwrap().parse().unwrap();
            kept.borrow_mut()[id - 1]["status"] = json!("LIVE");
            Reply::json(200, kept.borrow()[id - 1].clone())
        });
    posts
}

fn create(sent: &Sent, posts: &Posts) -> Reply {
    assert_eq!(sent.query("isDraft").as_deref(), Some("true"));
    let post = view(posts.borrow().len() + 1, &sent.json().unwrap(), "DRAFT");
    posts.borrow_mut().push(post.clone());
    Reply::json(200, post)
}

fn live(posts: &Posts) -> usize {
    posts
        .borrow()
        .iter()
        .filter(|post| post["status"] == "LIVE")
        .count()
}

#[test]
fn a_refused_token_is_a_failure() {
    let world = World::new();
    world
        .when("*", "https://www.googleapis.com/*")
        .reply(Reply::json(
            401,
            json!({ "error": { "status": "UNAUTHENTICATED" } }),
        ));
    let error = publish("blogger").unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.retryable),
        ("http.status", false)
    );
}

#[test]
fn an_article_is_published_with_its_label() {
    let world = World::new();
    let posts = blog(&world, true);
    let output = publish("blogger").unwrap();
    assert_eq!(
        output,
        json!({
            "post_url": "https://x.blogspot.com/1.html", "post_id": "1", "published_at": "2026-01-03T08:01:00+09:00",
            "tag": "blogger", "already_published": false,
        })
    );
    assert_eq!(posts.borrow()[0]["labels"], json!([MARK, "백팩", "여행"]));
    assert_eq!(live(&posts), 1);
}

#[test]
fn what_an_earlier_attempt_left_is_found_by_its_label() {
    for status in ["DRAFT", "LIVE"] {
        let world = World::new();
        let posts = blog(&world, true);
        posts
            .borrow_mut()
            .push(view(1, &json!({ "labels": [MARK] }), status));
        let output = publish("blogger").unwrap();
        assert_eq!(
            (&output["post_id"], live(&posts), posts.borrow().len()),
            (&json!("1"), 1, 1)
        );
        assert_eq!(output["already_published"], status == "LIVE");
    }
}

#[test]
fn a_list_that_lags_behind_does_no_harm_as_the_draft_is_remembered() {
    let world = World::new();
    let posts = blog(&world, false);
    world
        .when("POST", &format!("{API}/*/publish"))
        .reply(Reply::text(503, "busy"));
    assert!(publish("blogger").unwrap_err().retryable);
    let kept = Rc::clone(&posts);
    world
        .when("POST", &format!("{API}/1/publish"))
        .answer(move |_| {
            kept.borrow_mut()[0]["status"] = json!("LIVE");
            Reply::error(timeout())
        });
    assert!(publish("blogger").is_err());
    let output = publish("blogger").unwrap();
    assert_eq!(
        (&output["post_id"], &output["already_published"]),
        (&json!("1"), &json!(true))
    );
    assert_eq!((live(&posts), posts.borrow().len()), (1, 1));
}

#[test]
fn a_lost_answer_to_the_draft_does_not_make_a_second_one() {
    let world = World::new();
    let posts = blog(&world, true);
    let kept = Rc::clone(&posts);
    world.when("POST", API).answer(move |sent| {
        create(sent, &kept);
        Reply::error(timeout())
    });
    assert!(publish("blogger").unwrap_err().retryable);
    assert_eq!(publish("blogger").unwrap()["post_id"], "1");
    assert_eq!((live(&posts), posts.borrow().len()), (1, 1));
}

#[test]
fn labels_stay_within_the_services_limits() {
    let world = World::new();
    let posts = blog(&world, true);
    let tags: Vec<String> = (0..30)
        .map(|number| format!("{number}-{}", "가".repeat(20)))
        .collect();
    testing::run(run, article("blogger", json!({ "post_tags": tags }))).unwrap();
    let labels: Vec<String> = posts.borrow()[0]["labels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|label| label.as_str().unwrap().to_owned())
        .collect();
    assert!(
        labels.len() <= 20 && labels.join(",").chars().count() <= 200,
        "{labels:?}"
    );
    assert_eq!(labels[0], MARK);
}

#[test]
fn a_success_that_is_none_is_a_failure() {
    let world = World::new();
    blog(&world, true);
    world.when("GET", API).reply(Reply::json(200, json!({})));
    assert_eq!(publish("blogger").unwrap_err().code, "publish.invalid");
    let world = World::new();
    blog(&world, true);
    world
        .when("POST", &format!("{API}/*/publish"))
        .reply(Reply::json(200, json!({ "id": "1", "status": "LIVE" })));
    assert_eq!(publish("blogger").unwrap_err().code, "publish.invalid");
}
