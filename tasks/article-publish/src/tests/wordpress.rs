//! WordPress: a site that keeps posts and tags.

use flowweaver_task::testing::{Reply, Sent};

use super::*;

const API: &str = "https://blog.test/wp-json/wp/v2";

fn view(id: usize, body: &Value, status: &str) -> Value {
    json!({
        "id": id, "slug": body["slug"], "status": status, "link": format!("https://blog.test/{id}/"), "title": body["title"],
        "content": body["content"], "tags": body["tags"], "date_gmt": "2026-01-02T23:01:00",
    })
}

/// A site on which everything works; posts get the ids 1, 2, …
fn site(world: &World) -> Posts {
    let posts = Posts::default();
    let kept = Rc::clone(&posts);
    world
        .when("GET", &format!("{API}/posts"))
        .answer(move |sent| {
            let slug = sent.query("slug").unwrap();
            let status = sent.query("status").unwrap();
            let found: Vec<Value> = kept
                .borrow()
                .iter()
                .rev()
                .filter(|post| {
                    post["slug"] == *slug && status.split(',').any(|one| post["status"] == one)
                })
                .cloned()
                .collect();
            Reply::json(200, json!(found))
        });
    let kept = Rc::clone(&posts);
    world
        .when("GET", &format!("{API}/posts/*"))
        .answer(move |sent| match numbered(sent, &kept.borrow()) {
            Some(post) => Reply::json(200, post),
            None => Reply::json(404, json!({ "code": "rest_post_invalid_id" })),
        });
    let kept = Rc::clone(&posts);
    world
        .when("POST", &format!("{API}/posts"))
        .answer(move |sent| create(sent, &kept));
    let kept = Rc::clone(&posts);
    world
        .when("POST", &format!("{API}/posts/*"))
        .answer(move |sent| change(sent, &kept));
    world.when("GET", &format!("{API}/tags")).answer(|sent| {
        match sent.query("search").as_deref() {
            Some("여행") => Reply::json(
                200,
                json!([{ "id": 8, "name": "여행 가방" }, { "id": 9, "name": "여행" }]),
            ),
            _ => Reply::json(200, json!([])),
        }
    });
    world
        .when("POST", &format!("{API}/tags"))
        .reply(Reply::json(201, json!({ "id": 7, "name": "백팩" })));
    posts
}

fn numbered(sent: &Sent, posts: &[Value]) -> Option<Value> {
    let path = sent.url.split('?').next()?;
    let id: usize = path.rsplit('/').next()?.parse().ok()?;
    posts.get(id - 1).cloned()
}

fn create(sent: &Sent, posts: &Posts) -> Reply {
    let body: Value = sent.json().unwrap();
    let post = view(
        posts.borrow().len() + 1,
        &body,
        body["status"].as_str().unwrap(),
    );
    posts.borrow_mut().push(post.clone());
    Reply::json(201, post)
}

fn change(sent: &Sent, posts: &Posts) -> Reply {
    let Some(mut post) = numbered(sent, &posts.borrow()) else {
        return Reply::json(404, json!({ "code": "rest_post_invalid_id" }));
    };
    post["status"] = sent.json::<Value>().unwrap()["status"].clone();
    let id = post["id"].as_u64().unwrap() as usize;
    posts.borrow_mut()[id - 1] = post.clone();
    Reply::json(200, post)
}

fn published(posts: &Posts) -> usize {
    posts
        .borrow()
        .iter()
        .filter(|post| post["status"] == "publish")
        .count()
}

#[test]
fn a_refused_password_is_a_failure_and_nothing_is_claimed_for_good() {
    let world = World::new();
    world
        .when("*", "https://blog.test/*")
        .reply(Reply::json(401, json!({ "code": "incorrect_password" })));
    let error = publish("wordpress").unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.retryable),
        ("http.status", false)
    );
    assert!(
        error.message.contains("incorrect_password"),
        "{}",
        error.message
    );
    let posts = site(&world);
    assert_eq!(publish("wordpress").unwrap()["already_published"], false);
    assert_eq!(published(&posts), 1);
}

#[test]
fn what_the_service_says_is_in_the_error_in_one_line_and_cut() {
    let told = |status: u16, body: Value| {
        let world = World::new();
        world
            .when("*", "https://blog.test/*")
            .reply(Reply::json(status, body));
        publish("wordpress").unwrap_err()
    };
    let refused = told(
        403,
        json!({ "code": "rest_cannot_create", "message": "죄송합니다.\n이 사용자로\u{1b}[2J 글을 만들 수 없습니다.", "data": { "status": 403 } }),
    );
    assert!(
        refused.message.ends_with(
            "answered 403: rest_cannot_create: 죄송합니다. 이 사용자로 [2J 글을 만들 수 없습니다."
        ),
        "{}",
        refused.message
    );
    assert_eq!(refused.details.unwrap()["status"], 403);
    let long = told(400, json!({ "message": "긴 말 ".repeat(200) }));
    let (_, words) = long.message.split_once("answered 400: ").unwrap();
    assert_eq!(words.chars().count(), 300);
    let moved = told(302, json!({ "message": "gone elsewhere" }));
    assert_eq!(moved.code, "publish.invalid");
    assert!(
        moved.message.contains("302") && moved.message.ends_with("gone elsewhere"),
        "{}",
        moved.message
    );
    let no_list = told(200, json!({ "notice": "maintenance" }));
    assert!(
        no_list.message.contains("maintenance"),
        "{}",
        no_list.message
    );
}

#[test]
fn an_article_is_published_with_slug_and_tags() {
    let world = World::new();
    let posts = site(&world);
    let output = publish("wordpress").unwrap();
    assert_eq!(
        output,
        json!({
            "post_url": "https://blog.test/1/", "post_id": "1", "published_at": "2026-01-02T23:01:00Z", "tag": "wordpress",
            "already_published": false,
        })
    );
    let post = posts.borrow()[0].clone();
    assert_eq!(
        (&post["slug"], &post["status"], &post["tags"]),
        (&json!(MARK), &json!("publish"), &json!([7, 9]))
    );
    assert_eq!(
        (&post["title"], &post["content"]),
        (&json!("백팩 추천"), &json!("<p>글</p>"))
    );
    assert!(
        world
            .requests()
            .iter()
            .all(|sent| sent.header("authorization").is_none())
    );
}

#[test]
fn a_second_attempt_answers_what_was_published_without_asking() {
    let world = World::new();
    let posts = site(&world);
    let first = publish("wordpress").unwrap();
    let asked = world.requests().len();
    world.context(|facts| facts.attempt = 2);
    let second = publish("wordpress").unwrap();
    assert_eq!(
        (&second["post_id"], &second["already_published"]),
        (&first["post_id"], &json!(true))
    );
    assert_eq!((world.requests().len(), posts.borrow().len()), (asked, 1));
}

#[test]
fn a_crash_at_any_call_never_publishes_twice() {
    // The calls of a first attempt are cut off one after another: the service does its part, the answer is lost.
    for lost in 0..8 {
        let world = World::new();
        let posts = site(&world);
        let calls = Rc::new(RefCell::new(0));
        for (path, act) in [
            ("posts", create as fn(&Sent, &Posts) -> Reply),
            ("posts/*", change),
        ] {
            let (kept, calls) = (Rc::clone(&posts), Rc::clone(&calls));
            world
                .when("POST", &format!("{API}/{path}"))
                .answer(move |sent| {
                    let reply = act(sent, &kept);
                    let call = calls.replace_with(|calls| *calls + 1);
                    if call == lost {
                        Reply::error(timeout())
                    } else {
                        reply
                    }
                });
        }
        let results: Vec<_> = (0..3).map(|_| publish("wordpress")).collect();
        assert_eq!((published(&posts), posts.borrow().len()), (1, 1), "{lost}");
        assert!(
            results[1].is_ok() && results[2].as_ref().unwrap()["already_published"] == true,
            "{lost}"
        );
        assert_eq!(results[0].is_err(), lost < 2, "{lost}");
    }
}

#[test]
fn what_an_earlier_attempt_left_is_found_without_any_record() {
    for status in ["draft", "publish", "private"] {
        let world = World::new();
        let posts = site(&world);
        posts.borrow_mut().push(view(
            1,
            &json!({ "slug": MARK, "title": "백팩 추천" }),
            status,
        ));
        let output = publish("wordpress").unwrap();
        assert_eq!(
            (&output["post_id"], posts.borrow().len()),
            (&json!("1"), 1),
            "{status}"
        );
        assert_eq!(output["already_published"], status != "draft");
    }
}

#[test]
fn of_two_drafts_of_two_attempts_one_is_published_whoever_does_it() {
    let world = World::new();
    let posts = site(&world);
    let kept = Rc::clone(&posts);
    // An attempt that was given up is still at work: its draft arrives just before ours.
    world
        .when("POST", &format!("{API}/posts"))
        .answer(move |sent| {
            create(sent, &kept);
            create(sent, &kept)
        });
    let output = publish("wordpress").unwrap();
    assert_eq!((&output["post_id"], published(&posts)), (&json!("1"), 1));
}

#[test]
fn a_draft_that_an_editor_threw_away_is_made_again() {
    let world = World::new();
    let posts = site(&world);
    world.kv_set(
        &format!("published/{}", "5e".repeat(32)),
        r#"{"post_id":"77"}"#,
    );
    assert_eq!(publish("wordpress").unwrap()["post_id"], "1");
    assert_eq!(published(&posts), 1);
}

#[test]
fn another_articles_key_makes_another_post() {
    let world = World::new();
    let posts = site(&world);
    publish("wordpress").unwrap();
    world.context(|facts| facts.idempotency_key = "7a".repeat(32));
    assert_eq!(publish("wordpress").unwrap()["already_published"], false);
    assert_eq!(published(&posts), 2);
}

#[test]
fn a_draft_is_left_a_draft_when_one_is_asked_for() {
    let world = World::new();
    let posts = site(&world);
    let output =
        testing::run(run, article("wordpress", json!({ "post_status": "draft" }))).unwrap();
    assert_eq!(
        (&output["post_id"], published(&posts), posts.borrow().len()),
        (&json!("1"), 0, 1)
    );
    assert_eq!(output["already_published"], false);
}

#[test]
fn a_success_without_id_or_link_is_a_failure() {
    for body in [
        json!({}),
        json!({ "id": 3, "status": "publish", "date_gmt": "2026-01-02T23:01:00" }),
    ] {
        let world = World::new();
        site(&world);
        world
            .when("POST", &format!("{API}/posts/*"))
            .reply(Reply::json(200, body.clone()));
        world
            .when("POST", &format!("{API}/posts"))
            .reply(Reply::json(201, body));
        assert_eq!(publish("wordpress").unwrap_err().code, "publish.invalid");
    }
}

#[test]
fn a_user_who_may_not_publish_is_told_so() {
    let world = World::new();
    site(&world);
    world
        .when("POST", &format!("{API}/posts/*"))
        .reply(Reply::json(200, json!({ "id": 1, "status": "pending" })));
    let error = publish("wordpress").unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.retryable),
        ("publish.refused", false)
    );
}

#[test]
fn a_tag_made_meanwhile_is_taken_and_a_refused_one_is_a_failure() {
    let world = World::new();
    let posts = site(&world);
    world
        .when("POST", &format!("{API}/tags"))
        .reply(Reply::json(400, json!({ "code": "term_exists", "message": "…", "data": { "status": 400, "term_id": 5 } })));
    publish("wordpress").unwrap();
    assert_eq!(posts.borrow()[0]["tags"], json!([5, 9]));
    let world = World::new();
    site(&world);
    world
        .when("POST", &format!("{API}/tags"))
        .reply(Reply::json(403, json!({ "code": "rest_cannot_create" })));
    let error = publish("wordpress").unwrap_err();
    assert!(
        error.code == "http.status" && error.message.contains("making the tag `백팩`"),
        "{error}"
    );
}

#[test]
fn two_attempts_at_the_same_moment_do_not_both_go_on() {
    let world = World::new();
    let posts = site(&world);
    let key = format!("published/{}", "5e".repeat(32));
    // While this attempt looks the post up, another takes the claim.
    let kept = Rc::clone(&posts);
    let other = Rc::new(world);
    let weak = Rc::downgrade(&other);
    other
        .when("POST", &format!("{API}/posts"))
        .answer(move |sent| {
            if let Some(world) = weak.upgrade() {
                world.kv_set(&key, "{}");
            }
            create(sent, &kept)
        });
    let error = publish("wordpress").unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.retryable),
        ("publish.claimed", true)
    );
    assert_eq!(published(&posts), 0);
}
