//! What the module promises, against scripted services.

use flowweaver_task::testing::{self, Reply, World};
use flowweaver_task::{Error, Value, json};

use super::run;

const NAVER: &str = "https://datalab.naver.com/shoppingInsight/getCategoryKeywordRank.naver";
const STORE: &str = "https://snxbest.naver.com/api/v1/snxbest/keyword/rank";
const TRENDS: &str = "https://trends.google.com/trending/rss";

fn search(input: Value) -> Result<Value, Error> {
    testing::run(run, input)
}

fn ranks(from: u32, to: u32) -> Value {
    let list: Vec<Value> = (from..=to)
        .map(|rank| json!({ "rank": rank, "keyword": format!("키워드{rank}") }))
        .collect();
    json!({ "statusCode": 200, "returnCode": 0, "message": null, "ranks": list })
}

fn fate(error: &Error) -> (&str, bool) {
    (error.code.as_str(), error.retryable)
}

#[test]
fn an_unknown_tag_is_permanent_and_asks_nobody() {
    let world = World::new();
    let error = search(json!({ "tag": "yahoo" })).unwrap_err();
    assert_eq!(fate(&error), ("input.unknown-tag", false));
    assert!(
        error.message.contains("`yahoo`") && error.message.contains("`naver_store`"),
        "{}",
        error.message
    );
    assert!(world.requests().is_empty());
}

#[test]
fn a_denied_service_is_the_tasks_failure() {
    let _world = World::new();
    for tag in ["naver", "naver_store", "google_trends"] {
        assert_eq!(
            search(json!({ "tag": tag })).unwrap_err().code,
            "http.denied",
            "{tag}"
        );
    }
}

#[test]
fn a_field_that_does_not_exist_is_refused() {
    let _world = World::new();
    assert_eq!(
        search(json!({ "tag": "naver", "categroy": "식품" }))
            .unwrap_err()
            .code,
        "input.invalid"
    );
    assert_eq!(
        search(json!({ "tag": "naver", "pages": 0 }))
            .unwrap_err()
            .code,
        "input.invalid"
    );
}

#[test]
fn a_bad_status_is_a_failure_and_only_a_passing_one_is_retried() {
    let world = World::new();
    for (status, retryable) in [
        (500, true),
        (503, true),
        (429, true),
        (404, false),
        (403, false),
    ] {
        world
            .when("*", "https://*")
            .reply(Reply::text(status, "오류"));
        for tag in ["naver", "naver_store", "google_trends"] {
            let error = search(json!({ "tag": tag })).unwrap_err();
            assert_eq!(fate(&error), ("http.status", retryable), "{tag} {status}");
        }
    }
}

#[test]
fn a_success_whose_body_says_failure_is_a_failure() {
    let world = World::new();
    for body in [
        json!({ "success": false, "message": "점검 중입니다", "ranks": [{ "rank": 1, "keyword": "원피스" }] }),
        json!({ "statusCode": 400, "message": "점검 중입니다", "ranks": [] }),
        json!({ "returnCode": -1, "message": "점검 중입니다", "ranks": [] }),
        json!({ "returnCode": 0, "message": "점검 중입니다" }),
        json!({ "returnCode": 0, "message": "점검 중입니다", "ranks": null }),
        json!({ "message": "점검 중입니다", "ranks": [{ "rank": 1 }] }),
    ] {
        world.when("*", "https://*").reply(Reply::json(200, body));
        for tag in ["naver", "naver_store"] {
            let error = search(json!({ "tag": tag })).unwrap_err();
            assert_eq!(fate(&error), ("trend.invalid", true), "{tag}");
            assert!(error.message.contains("점검 중입니다"), "{}", error.message);
        }
    }
}

#[test]
fn a_success_without_json_or_without_a_feed_is_a_failure() {
    let world = World::new();
    world
        .when("*", "https://*")
        .reply(Reply::text(200, "<html><body>점검 중입니다</body></html>"));
    for tag in ["naver", "naver_store", "google_trends"] {
        assert_eq!(
            fate(&search(json!({ "tag": tag })).unwrap_err()),
            ("trend.invalid", true),
            "{tag}"
        );
    }
    world
        .when("GET", TRENDS)
        .reply(Reply::text(200, "<rss><channel><item>"));
    assert_eq!(
        search(json!({ "tag": "google_trends" })).unwrap_err().code,
        "trend.invalid"
    );
}

#[test]
fn a_ranking_without_keywords_is_permanent() {
    let world = World::new();
    world
        .when("POST", NAVER)
        .reply(Reply::json(200, ranks(1, 0)));
    world.when("GET", STORE).reply(Reply::json(200, json!([])));
    world.when("GET", TRENDS).reply(Reply::text(
        200,
        "<rss version='2.0'><channel></channel></rss>",
    ));
    for tag in ["naver", "naver_store", "google_trends"] {
        assert_eq!(
            fate(&search(json!({ "tag": tag })).unwrap_err()),
            ("trend.empty", false),
            "{tag}"
        );
    }
}

#[test]
fn a_failing_second_page_fails_the_task_instead_of_halving_the_ranking() {
    let world = World::new();
    world
        .when("POST", NAVER)
        .reply(Reply::json(200, ranks(1, 20)))
        .reply(Reply::text(500, ""));
    assert_eq!(
        search(json!({ "tag": "naver" })).unwrap_err().code,
        "http.status"
    );
}

#[test]
fn the_data_lab_is_asked_for_yesterday_in_korea_page_by_page() {
    let world = World::new();
    world.context(|facts| facts.scheduled_at = "2026-11-22T23:00:00Z".to_owned());
    world
        .when("POST", NAVER)
        .reply(Reply::json(200, ranks(1, 20)))
        .reply(Reply::json(200, ranks(21, 40)));
    let output =
        search(json!({ "tag": "naver", "category": "스포츠/레저", "pick": "top" })).unwrap();
    assert_eq!(output["keyword"], "키워드1");
    assert_eq!(output["total_keyword"].as_object().unwrap().len(), 40);
    assert_eq!(output["total_keyword"]["40"], "키워드40");
    let sent = world.requests();
    assert_eq!(sent.len(), 2);
    for (request, page) in sent.iter().zip(["1", "2"]) {
        for (name, value) in [
            ("cid", "50000007"),
            ("timeUnit", "date"),
            ("startDate", "2026-11-22"),
            ("endDate", "2026-11-22"),
            ("page", page),
            ("count", "20"),
        ] {
            assert_eq!(request.form(name).as_deref(), Some(value), "{name}");
        }
        assert_eq!(
            request.header("referer"),
            Some("https://datalab.naver.com/shoppingInsight/sCategory.naver")
        );
    }
}

#[test]
fn a_page_that_is_not_full_is_the_last_one_asked_for() {
    let world = World::new();
    world
        .when("POST", NAVER)
        .reply(Reply::json(200, ranks(1, 7)));
    let output = search(json!({ "tag": "naver", "pages": 5 })).unwrap();
    assert_eq!(output["total_keyword"].as_object().unwrap().len(), 7);
    assert_eq!(world.requests().len(), 1);
}

#[test]
fn a_category_is_a_name_or_an_id_and_an_unknown_name_is_permanent() {
    let world = World::new();
    world
        .when("POST", NAVER)
        .reply(Reply::json(200, ranks(1, 3)));
    search(json!({ "tag": "naver", "category": "50005542" })).unwrap();
    search(json!({ "tag": "naver", "category": "캠핑", "categories": { "캠핑": "50000234" } }))
        .unwrap();
    search(json!({ "tag": "naver" })).unwrap();
    let asked: Vec<_> = world
        .requests()
        .iter()
        .filter_map(|sent| sent.form("cid"))
        .collect();
    assert_eq!(asked, ["50005542", "50000234", "50000000"]);
    let error = search(json!({ "tag": "naver", "category": "캠핑" })).unwrap_err();
    assert_eq!(fate(&error), ("input.unknown-category", false));
}

#[test]
fn a_retry_takes_the_same_random_keyword_and_a_seed_decides_it() {
    let world = World::new();
    world
        .when("POST", NAVER)
        .reply(Reply::json(200, ranks(1, 7)));
    let taken = |attempt: u32, key: &str| {
        world.context(|facts| {
            facts.attempt = attempt;
            facts.idempotency_key = key.to_owned();
        });
        search(json!({ "tag": "naver" })).unwrap()["keyword"].clone()
    };
    assert_eq!(taken(1, "a1"), taken(2, "a1"));
    assert!((0..50).any(|run| taken(1, &format!("b{run}")) != taken(1, "a1")));
    let seeded =
        |seed: u64| search(json!({ "tag": "naver", "seed": seed })).unwrap()["keyword"].clone();
    assert_eq!(seeded(3), seeded(3));
    assert!((0..50).any(|seed| seeded(seed) != seeded(3)));
}

#[test]
fn best_sellers_are_read_from_another_address_and_with_ranks_as_text() {
    let world = World::new();
    world.when("GET", "http://127.0.0.1:9/trend/api/v1/snxbest/keyword/rank").reply(Reply::json(
        200,
        json!([{ "rank": "2", "title": " 등산\u{a0}스틱 " }, { "rank": 1, "title": "텀블러", "status": "STABLE" }]),
    ));
    let output =
        search(json!({ "tag": "naver_store", "naver_store_url": "http://127.0.0.1:9/trend/", "pick": "top" })).unwrap();
    assert_eq!(
        output,
        json!({ "keyword": "텀블러", "total_keyword": { "1": "텀블러", "2": "등산 스틱" } })
    );
    assert_eq!(
        world.requests()[0].query("categoryId").as_deref(),
        Some("A")
    );
}

#[test]
fn google_trends_are_ranked_as_listed_whatever_xml_they_are_written_in() {
    let world = World::new();
    let feed = "<?xml version=\"1.0\"?><rss version=\"2.0\" xmlns:ht=\"https://trends.google.com/trending/rss\"><channel>\
        <title>Daily Search Trends</title><item><title>아이유 &amp; 콘서트</title><ht:news_item><ht:news_item_title>뉴스\
        </ht:news_item_title></ht:news_item></item><item><title><![CDATA[야구 <결승>]]></title></item><item><title/></item></channel></rss>";
    world.when("GET", TRENDS).reply(Reply::text(200, feed));
    let output = search(json!({ "tag": "google_trends", "pick": "top" })).unwrap();
    assert_eq!(
        output,
        json!({ "keyword": "아이유 & 콘서트", "total_keyword": { "1": "아이유 & 콘서트", "2": "야구 <결승>" } })
    );
    assert_eq!(world.requests()[0].query("geo").as_deref(), Some("KR"));
}

#[test]
fn the_description_tells_the_choices_and_the_defaults() {
    let described: Value = flowweaver_task::serde_json::from_str(&run::describe()).unwrap();
    assert_eq!(described["name"], "keyword-search");
    assert_eq!(described["requires"], json!(["http"]));
    assert_eq!(
        described["input"]["properties"]["tag"]["enum"],
        json!(["naver", "naver_store", "google_trends"])
    );
    assert_eq!(described["defaults"]["pick"], "random");
    assert_eq!(
        described["defaults"]["naver_url"],
        "https://datalab.naver.com"
    );
}
