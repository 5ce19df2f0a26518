//! What the module promises, against a scripted mall.

use flowweaver_task::testing::{self, Reply, World};
use flowweaver_task::{Error, Value, json};

use super::run;

const SEARCH: &str = "https://ssadagu.kr/shop/search.php";

fn search(input: Value) -> Result<Value, Error> {
    testing::run(run, input)
}

fn html(body: &str) -> Reply {
    Reply::bytes(200, body).header("content-type", "text/html; charset=utf-8")
}

fn item(id: u32, title: &str) -> String {
    format!("<a href=\"view.php?platform=1688&amp;num_iid={id}\">{title}</a>")
}

fn page(id: u32) -> String {
    format!("https://ssadagu.kr/shop/view.php?platform=1688&num_iid={id}")
}

#[test]
fn a_denied_mall_is_the_tasks_failure() {
    let _world = World::new();
    assert_eq!(
        search(json!({ "keyword": "텀블러" })).unwrap_err().code,
        "http.denied"
    );
}

#[test]
fn an_empty_keyword_or_a_bad_selector_asks_nobody() {
    let world = World::new();
    for input in [
        json!({ "keyword": " " }),
        json!({ "keyword": "텀블러", "limit": 0 }),
        json!({ "keyword": "텀블러", "title_selector": "h1[" }),
        json!({ "keyword": "텀블러", "max": 3 }),
    ] {
        assert_eq!(search(input).unwrap_err().code, "input.invalid");
    }
    assert!(world.requests().is_empty());
}

#[test]
fn a_bad_status_of_the_search_page_is_a_failure_not_an_empty_list() {
    let world = World::new();
    for (status, retryable) in [(500, true), (404, false)] {
        world.when("GET", SEARCH).reply(Reply::text(status, "오류"));
        let error = search(json!({ "keyword": "텀블러" })).unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.retryable),
            ("http.status", retryable)
        );
    }
}

#[test]
fn nothing_found_is_success_with_an_empty_list() {
    let world = World::new();
    for body in [
        "<p class='empty_list'>검색된 자료가 하나도 없습니다.</p>",
        "",
        "{\"not\": \"html\"}",
    ] {
        world.when("GET", SEARCH).reply(html(body));
        let output = search(json!({ "keyword": "제주도 항공권" })).unwrap();
        assert_eq!(output, json!({ "search_results": [], "skipped": [] }));
    }
    assert_eq!(
        world.requests()[0].query("ss_tx").as_deref(),
        Some("제주도 항공권")
    );
}

#[test]
fn products_come_in_page_order_with_absolute_addresses_up_to_the_limit() {
    let world = World::new();
    let body: String = (1..=9).map(|id| item(id, &format!("상품 {id}"))).collect();
    world
        .when("GET", "http://127.0.0.1:9/mall/shop/search.php")
        .reply(html(&body));
    let output =
        search(json!({ "keyword": "상품", "limit": 3, "base_url": "http://127.0.0.1:9/mall/" }))
            .unwrap();
    let expected: Vec<Value> = (1..=3)
        .map(|id| {
            let url = format!("http://127.0.0.1:9/mall/shop/view.php?platform=1688&num_iid={id}");
            json!({ "url": url, "title": format!("상품 {id}") })
        })
        .collect();
    assert_eq!(output["search_results"], Value::Array(expected));
}

#[test]
fn titles_that_no_link_tells_are_read_from_their_pages_a_few_at_a_time() {
    let world = World::new();
    let body: String = (1..=8)
        .map(|id| item(id, if id == 2 { "적힌 제목" } else { "" }))
        .collect();
    world.when("GET", SEARCH).reply(html(&body));
    world
        .when("GET", "https://ssadagu.kr/shop/view.php")
        .answer(|sent| {
            let id = sent.query("num_iid").unwrap_or_default();
            html(&format!("<h1 id=\"kakaotitle\"> 읽은\n제목 {id} </h1>"))
        });
    let output = search(json!({ "keyword": "상품", "concurrency": 3 })).unwrap();
    let titles: Vec<&str> = output["search_results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|product| product["title"].as_str().unwrap())
        .collect();
    assert_eq!(titles[..3], ["읽은 제목 1", "적힌 제목", "읽은 제목 3"]);
    assert_eq!(titles.len(), 8);
    assert_eq!(world.requests().len(), 1 + 7);
    assert_eq!(world.most_in_flight(), 3);
}

#[test]
fn a_title_that_cannot_be_read_costs_that_product_only_and_is_told() {
    let world = World::new();
    world
        .when("GET", SEARCH)
        .reply(html(&(item(1, "") + &item(2, "") + &item(3, "셋"))));
    world.when("GET", &page(1)).reply(Reply::text(404, ""));
    world
        .when("GET", &page(2))
        .reply(html("<h1>다른 제목</h1>"));
    let output = search(json!({ "keyword": "상품" })).unwrap();
    assert_eq!(
        output["search_results"],
        json!([{ "url": page(3), "title": "셋" }])
    );
    assert_eq!(output["skipped"][0]["url"], page(1));
    assert!(
        output["skipped"][0]["error"]
            .as_str()
            .unwrap()
            .starts_with("http.status: ")
    );
    assert!(
        output["skipped"][1]["error"]
            .as_str()
            .unwrap()
            .starts_with("title.missing: ")
    );
    assert_eq!(world.logs().len(), 2);
}

#[test]
fn a_mall_that_answers_no_title_at_all_is_a_failure_that_may_pass() {
    let world = World::new();
    world
        .when("GET", SEARCH)
        .reply(html(&(item(1, "") + &item(2, ""))));
    world
        .when("GET", &page(1))
        .reply(html("<h1>다른 제목</h1>"));
    world.when("GET", &page(2)).reply(Reply::text(503, ""));
    let error = search(json!({ "keyword": "상품" })).unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.retryable),
        ("http.status", true)
    );
}

#[test]
fn another_mall_is_a_matter_of_input() {
    let world = World::new();
    world.when("GET", "https://shop.test/find").reply(html(
        "<a href='/p/7?x=1' title='컵'></a><a href='/q/8'>접시</a>",
    ));
    let output = search(json!({
        "keyword": "컵", "base_url": "https://shop.test", "search_path": "find", "keyword_parameter": "q",
        "product_page": "/p/", "product_marks": [], "headers": { "user-agent": "x" },
    }))
    .unwrap();
    assert_eq!(
        output["search_results"],
        json!([{ "url": "https://shop.test/p/7?x=1", "title": "컵" }])
    );
    assert_eq!(world.requests()[0].header("user-agent"), Some("x"));
}
