//! What the module promises: documents and their character sets here, pages and feeds beside.

mod feeds;
mod pages;

use flowweaver_task::log::Level;
use flowweaver_task::testing::{self, Reply, World};
use flowweaver_task::{Error, Value, json};

use super::run;

const URL: &str = "https://mall.test/list/index.html";

fn ask(input: Value) -> Result<Value, Error> {
    testing::run(run, input)
}

/// The title of a page that is answered so.
fn title(reply: Reply, more: Value) -> Result<Value, Error> {
    let world = World::new();
    world.when("GET", URL).reply(reply);
    let mut input = json!({ "url": URL, "fields": { "title": { "selector": "h1" } } });
    for (key, value) in more.as_object().unwrap() {
        input[key] = value.clone();
    }
    Ok(ask(input)?["fields"]["title"].clone())
}

/// 등산 in EUC-KR.
const HIKE: &[u8] = &[0xb5, 0xee, 0xbb, 0xea];

fn page(head: &str, word: &[u8]) -> Vec<u8> {
    [head.as_bytes(), b"<h1>", word, b"</h1>"].concat()
}

#[test]
fn a_denied_address_is_the_tasks_failure() {
    let _world = World::new();
    let error = ask(json!({ "url": URL, "fields": { "t": { "selector": "h1" } } })).unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.retryable),
        ("http.denied", false)
    );
}

#[test]
fn input_out_of_shape_is_refused_before_anything_is_sent() {
    let world = World::new();
    let fields = json!({ "t": { "selector": "h1" } });
    for (input, told) in [
        (json!({ "fields": fields }), "only one of them"),
        (
            json!({ "url": URL, "html": "<p>", "fields": fields }),
            "only one of them",
        ),
        (json!({ "url": URL }), "it is empty"),
        (
            json!({ "url": URL, "fields": { "t": {} } }),
            "`fields.t.selector` is missing",
        ),
        (
            json!({ "url": URL, "fields": { "t": { "selector": "h1[" } } }),
            "`fields.t.selector`",
        ),
        (
            json!({ "url": URL, "rows": "li >", "fields": fields }),
            "`rows`",
        ),
        (
            json!({ "url": URL, "mode": "feed", "fields": fields }),
            "of pages",
        ),
        (
            json!({ "url": URL, "mode": "feed", "rows": "li" }),
            "of pages",
        ),
        (
            json!({ "html": "", "base_url": "/x", "fields": fields }),
            "`base_url`",
        ),
        (
            json!({ "url": URL, "fields": { "t": { "selector": "p", "regex": "x" } } }),
            "regex",
        ),
        (json!({ "url": URL, "limit": 0, "mode": "feed" }), "limit"),
    ] {
        let error = ask(input.clone()).unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.retryable),
            ("input.invalid", false),
            "{input}"
        );
        assert!(error.message.contains(told), "{input}: {}", error.message);
    }
    assert!(world.requests().is_empty());
}

#[test]
fn what_is_no_text_or_no_success_is_named() {
    let named = |reply: Reply| {
        let error = title(reply, json!({})).unwrap_err();
        (error.code, error.retryable)
    };
    let is = |code: &str, retryable: bool| (code.to_owned(), retryable);
    let typed = |media: &str| Reply::bytes(200, "x").header("content-type", media);
    assert_eq!(named(typed("image/png")), is("document.not-text", false));
    assert_eq!(
        named(typed("application/pdf")),
        is("document.not-text", false)
    );
    assert_eq!(
        named(typed("text/html; charset=klingon")),
        is("charset.unknown", false)
    );
    assert_eq!(
        named(Reply::bytes(200, "<meta charset=klingon>")),
        is("charset.unknown", false)
    );
    assert_eq!(named(Reply::text(404, "gone")), is("http.status", false));
    assert_eq!(named(Reply::text(503, "busy")), is("http.status", true));
    // Redirects are the host's work; this one leads to an address that was not granted.
    let moved = Reply::bytes(301, "").header("location", "https://new.test/");
    assert_eq!(named(moved), is("http.denied", false));
    assert_eq!(named(Reply::bytes(304, "")), is("http.status", false));
    let error = title(Reply::bytes(200, ""), json!({ "charset": "klingon" })).unwrap_err();
    assert_eq!(error.code, "charset.unknown");
}

#[test]
fn every_way_to_name_a_character_set_is_understood() {
    let typed =
        |bytes: Vec<u8>, media: &str| Reply::bytes(200, bytes).header("content-type", media);
    for (reply, more) in [
        (
            typed(page("", HIKE), "text/html; charset=EUC-KR"),
            json!({}),
        ),
        (
            typed(page("", HIKE), "text/html;charset=\"euc-kr\""),
            json!({}),
        ),
        (
            typed(page("<html><head><meta charset=euc-kr>", HIKE), "text/html"),
            json!({}),
        ),
        (
            typed(
                page(
                    "<META http-equiv='Content-Type' content='text/html; charset=ks_c_5601-1987'>",
                    HIKE,
                ),
                "text/html",
            ),
            json!({}),
        ),
        (
            typed(
                page("<?xml version='1.0' encoding='EUC-KR'?>", HIKE),
                "application/xhtml+xml",
            ),
            json!({}),
        ),
        // The page is wrong about itself, and whoever asks knows better.
        (
            typed(page("<meta charset=utf-8>", HIKE), "text/html"),
            json!({ "charset": "euc-kr" }),
        ),
        (typed(page("", "등산".as_bytes()), "text/html"), json!({})),
        (
            typed(
                page("\u{feff}<meta charset=euc-kr>", "등산".as_bytes()),
                "text/html; charset=euc-kr",
            ),
            json!({}),
        ),
    ] {
        assert_eq!(title(reply, more), Ok(json!("등산")));
    }
}

#[test]
fn bytes_that_the_character_set_has_not_are_shown_as_such_and_logged() {
    let world = World::new();
    world
        .when("GET", URL)
        .reply(Reply::bytes(200, page("", b"a\xffb")));
    let output = ask(json!({ "url": URL, "fields": { "t": { "selector": "h1" } } })).unwrap();
    assert_eq!(output["fields"]["t"], "a\u{fffd}b");
    let line = world.logs().remove(0);
    assert_eq!(line.level, Level::Warn);
    assert!(
        line.fields
            .contains(&("charset".to_owned(), "UTF-8".to_owned())),
        "{line:?}"
    );
}

#[test]
fn headers_of_the_input_are_sent() {
    let world = World::new();
    world.when("GET", URL).reply(Reply::text(200, "<h1>a</h1>"));
    let fields = json!({ "t": { "selector": "h1" } });
    ask(json!({ "url": URL, "headers": { "Accept": "text/plain", "x-a": "b" }, "fields": fields }))
        .unwrap();
    let sent = world.requests().remove(0);
    assert_eq!(
        (sent.header("accept"), sent.header("x-a")),
        (Some("text/plain"), Some("b"))
    );
}

#[test]
fn the_description_names_modes_and_defaults() {
    let described: Value = flowweaver_task::serde_json::from_str(&run::describe()).unwrap();
    assert_eq!(described["requires"], json!([]));
    assert_eq!(described["defaults"]["mode"], "page");
    assert_eq!(described["defaults"]["limit"], 1000);
}

#[test]
fn links_of_a_page_that_moved_are_read_from_where_it_is() {
    let world = World::new();
    let moved = Reply::bytes(301, "").header("location", "https://new.test/shop/");
    world.when("GET", URL).reply(moved);
    let page = r#"<a href="bag.html">x</a>"#;
    world
        .when("GET", "https://new.test/shop/")
        .reply(Reply::text(200, page));
    let fields = json!({ "link": { "selector": "a", "attr": "href" } });
    let output = ask(json!({ "url": URL, "fields": fields })).unwrap();
    assert_eq!(output["fields"]["link"], "https://new.test/shop/bag.html");
}
