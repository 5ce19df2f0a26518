//! What the module promises.

use flowweaver_task::testing::{self, World};
use flowweaver_task::{Error, Value, json};

use super::run;

fn matched(keyword: &str, titles: &[&str]) -> Result<Value, Error> {
    let results: Vec<Value> = titles
        .iter()
        .enumerate()
        .map(|(place, title)| json!({ "url": format!("https://m.test/{place}"), "title": title }))
        .collect();
    testing::run(
        run,
        json!({ "keyword": keyword, "search_results": results }),
    )
}

/// The type and score of the only title's match.
fn verdict(keyword: &str, title: &str) -> Option<(String, f64)> {
    let output = matched(keyword, &[title]).unwrap();
    let info = output["matched_products"].as_array().unwrap().first()?["match_info"].clone();
    Some((
        info["match_type"].as_str().unwrap().to_owned(),
        info["match_score"].as_f64().unwrap(),
    ))
}

fn hit(kind: &str, score: f64) -> Option<(String, f64)> {
    Some((kind.to_owned(), score))
}

#[test]
fn a_keyword_without_letters_or_a_share_above_one_is_refused() {
    let _world = World::new();
    assert_eq!(
        matched(" -! ", &["백팩"]).unwrap_err().code,
        "input.invalid"
    );
    let error = testing::run(
        run,
        json!({ "keyword": "백팩", "search_results": [], "simple_threshold": 1.5 }),
    )
    .unwrap_err();
    assert!(
        error.code == "input.invalid" && error.message.contains("`simple_threshold`"),
        "{error}"
    );
    let error = testing::run(
        run,
        json!({ "keyword": "백팩", "search_results": [{ "url": "https://m.test/" }] }),
    )
    .unwrap_err();
    assert!(
        error.code == "input.invalid" && error.message.contains("search_results[0]"),
        "{error}"
    );
}

#[test]
fn nothing_found_and_nothing_alike_are_success_with_an_empty_list() {
    assert_eq!(
        matched("백팩", &[]).unwrap(),
        json!({ "matched_products": [] })
    );
    assert_eq!(
        matched("제주도 항공권", &["[라온홈] 경량 백팩 15L", ""]).unwrap(),
        json!({ "matched_products": [] })
    );
}

#[test]
fn a_title_that_contains_the_keyword_matches_exactly_whatever_its_case_and_spaces() {
    assert_eq!(
        verdict("led 거울", "[하루결]  LED  거울 대형"),
        hit("exact", 1.0)
    );
    assert_eq!(
        verdict("무선이어폰", "노이즈캔슬링 무선이어폰을 담다"),
        hit("exact", 1.0)
    );
}

#[test]
fn shared_stems_match_from_two_fifths_of_the_keyword_on() {
    assert_eq!(
        verdict("보온 텀블러", "누수방지 텀블러를 위한 솔"),
        hit("morphological", 0.5)
    );
    assert_eq!(
        verdict("겨울 캠핑용 의자", "캠핑에서 쓰는 접이식 의자"),
        hit("morphological", 2.0 / 3.0)
    );
    assert_eq!(
        verdict("a b c d 텀블러 보온", "텀블러 보온"),
        hit("simple", 1.0)
    );
}

#[test]
fn compounds_meet_with_and_without_spaces() {
    assert_eq!(
        verdict("이어폰 파우치", "무선이어폰 케이스"),
        hit("morphological", 0.5)
    );
    assert_eq!(
        verdict("등산스틱 2개세트", "카본 등산 스틱"),
        hit("morphological", 0.5)
    );
    assert_eq!(verdict("컵 받침", "스컵 접시"), None);
}

#[test]
fn shared_words_match_from_three_tenths_on_when_stems_are_too_few() {
    assert_eq!(
        verdict("대형 접이식 매트", "[소담뜰] 대형 수건"),
        hit("simple", 1.0 / 3.0)
    );
    assert_eq!(
        verdict("대형 접이식 극세사 매트", "[소담뜰] 대형 수건"),
        None
    );
}

#[test]
fn the_best_match_comes_first_and_equals_keep_their_order_and_their_fields() {
    let output = testing::run(
        run,
        json!({ "keyword": "보온 텀블러", "search_results": [
            { "url": "a", "title": "텀블러 솔" },
            { "url": "b", "title": "보온 텀블러 500ml", "price": 12900 },
            { "url": "c", "title": "보온 도시락" },
            { "url": "d", "title": "보온 텀블러 350ml" },
        ] }),
    )
    .unwrap();
    let list = output["matched_products"].as_array().unwrap();
    let order: Vec<&str> = list
        .iter()
        .map(|product| product["url"].as_str().unwrap())
        .collect();
    assert_eq!(order, ["b", "d", "a", "c"]);
    assert_eq!(list[0]["price"], 12900);
    assert_eq!(
        list[2]["match_info"]["match_reason"],
        "1 of 2 word stems of the keyword are in the title: 텀블러"
    );
}
