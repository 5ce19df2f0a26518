//! What the module promises, against scripted services.

use flowweaver_task::{
    Error, Value, json,
    testing::{self, Reply, World},
};

use super::run;

const VISION: &str = "https://vision.googleapis.com/v1/images:annotate";
const TRANSLATE: &str = "https://translation.googleapis.com/language/translate/v2";
const PICTURES: &str = "https://s3.test/*";

fn seen(text: &str) -> Reply {
    let answer = match text {
        "" => json!({}),
        text => {
            json!({ "textAnnotations": [{ "locale": "zh", "description": text }], "fullTextAnnotation": { "text": text } })
        }
    };
    Reply::json(200, json!({ "responses": [answer] }))
}

fn refused(code: i32) -> Reply {
    Reply::json(
        200,
        json!({ "responses": [{ "error": { "code": code, "message": "Bad image data." } }] }),
    )
}

/// A world in which pictures can be fetched and every line is translated to "한(line)".
fn world() -> World {
    let world = World::new();
    world
        .when("GET", PICTURES)
        .reply(Reply::bytes(200, "picture"));
    world.when("POST", TRANSLATE).answer(|sent| {
        let asked: Value = sent.json().unwrap();
        let lines = asked["q"].as_array().unwrap().iter();
        let answers: Vec<Value> = lines
            .map(|line| json!({ "translatedText": format!("한({})", line.as_str().unwrap()) }))
            .collect();
        Reply::json(200, json!({ "data": { "translations": answers } }))
    });
    world
}

fn ocr(count: usize) -> Result<Value, Error> {
    let images: Vec<String> = (1..=count)
        .map(|number| format!("https://s3.test/{number}.png"))
        .collect();
    testing::run(run, json!({ "images": images }))
}

fn calls(world: &World, url: &str) -> usize {
    world
        .requests()
        .iter()
        .filter(|sent| sent.url == url)
        .count()
}

#[test]
fn a_denied_service_is_the_tasks_failure() {
    let world = World::new();
    world
        .when("GET", PICTURES)
        .reply(Reply::bytes(200, "picture"));
    let error = ocr(1).unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.retryable),
        ("http.denied", false)
    );
}

#[test]
fn no_pictures_are_success_with_empty_text_and_without_a_call() {
    let world = World::new();
    let output = ocr(0).unwrap();
    assert_eq!(
        output,
        json!({
            "extraction_language": "und", "extracted_text": "", "translation_language": "", "skipped": 0, "skipped_images": [],
        })
    );
    assert!(world.requests().is_empty());
}

#[test]
fn pictures_are_fetched_read_and_translated() {
    let world = world();
    world
        .when("POST", VISION)
        .reply(seen("品质保证\n现货速发"))
        .reply(seen("品质保证\nUSB-C"));
    let output = ocr(2).unwrap();
    assert_eq!(output["extraction_language"], "zh-CN");
    assert_eq!(output["extracted_text"], "品质保证\n现货速发\nUSB-C");
    assert_eq!(
        output["translation_language"],
        "한(品质保证)\n한(现货速发)\nUSB-C"
    );
    let asked: Value = world.requests()[2].json().unwrap();
    assert_eq!(
        asked["requests"][0]["image"],
        json!({ "content": "cGljdHVyZQ==" })
    );
    assert_eq!(
        asked["requests"][0]["features"],
        json!([{ "type": "TEXT_DETECTION" }])
    );
    let translation: Value = world.requests()[4].json().unwrap();
    assert_eq!(
        (&translation["target"], &translation["format"]),
        (&json!("ko"), &json!("text"))
    );
}

#[test]
fn with_inline_off_the_service_fetches_by_address_and_entries_of_uploaded_images_are_taken() {
    let world = world();
    world.when("POST", VISION).reply(seen("한글 문구"));
    let images = json!([{ "index": 1, "s3_url": "https://s3.test/1.png" }]);
    let output = testing::run(run, json!({ "images": images, "inline": false })).unwrap();
    assert_eq!(output["translation_language"], "한글 문구");
    let asked: Value = world.requests()[0].json().unwrap();
    assert_eq!(
        asked["requests"][0]["image"]["source"]["imageUri"],
        "https://s3.test/1.png"
    );
    assert_eq!(world.requests().len(), 1);
}

#[test]
fn a_text_in_the_wanted_language_is_not_translated() {
    let world = world();
    world.when("POST", VISION).reply(seen("생활 방수 백팩"));
    let output = ocr(1).unwrap();
    assert_eq!(output["translation_language"], "생활 방수 백팩");
    assert_eq!(calls(&world, TRANSLATE), 0);
}

#[test]
fn one_bad_picture_is_skipped_and_counted_whatever_is_wrong_with_it() {
    for (fetch, read) in [
        (Reply::text(404, "gone"), None),
        (Reply::text(503, "busy"), None),
        (Reply::bytes(200, "text"), Some(refused(3))),
        (Reply::bytes(200, "text"), Some(Reply::text(503, "busy"))),
    ] {
        let world = world();
        world.when("GET", "https://s3.test/1.png").reply(fetch);
        let vision = world.when("POST", VISION);
        match read {
            Some(bad) => vision.reply(bad).reply(seen("품질 보증")),
            None => vision.reply(seen("품질 보증")),
        };
        let output = ocr(2).unwrap();
        assert_eq!(output["skipped"], 1);
        assert_eq!(output["skipped_images"][0]["url"], "https://s3.test/1.png");
        assert_eq!(output["extracted_text"], "품질 보증");
    }
}

#[test]
fn when_every_picture_fails_for_now_the_task_is_to_be_retried() {
    let world = world();
    world
        .when("POST", VISION)
        .reply(refused(3))
        .reply(Reply::text(503, "busy").header("retry-after", "9"));
    let error = ocr(3).unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.retryable),
        ("http.status", true)
    );
    assert_eq!(error.retry_after.unwrap().as_secs(), 9);
    let unavailable = self::world();
    unavailable.when("POST", VISION).reply(refused(14));
    assert!(ocr(1).unwrap_err().retryable);
}

#[test]
fn a_refused_key_fails_the_task_for_good() {
    let world = world();
    world.when("POST", VISION).reply(Reply::json(
        403,
        json!({ "error": { "message": "API key not valid." } }),
    ));
    let error = ocr(2).unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.retryable),
        ("http.status", false)
    );
    assert!(
        error.message.contains("API key not valid"),
        "{}",
        error.message
    );
}

#[test]
fn pictures_that_are_all_bad_themselves_are_success_with_empty_text() {
    let world = world();
    world.when("POST", VISION).reply(refused(3));
    let output = ocr(2).unwrap();
    assert_eq!(
        (&output["skipped"], &output["extracted_text"]),
        (&json!(2), &json!(""))
    );
}

#[test]
fn a_success_that_holds_no_answer_is_a_failure() {
    let world = world();
    world
        .when("POST", VISION)
        .reply(Reply::json(200, json!({ "success": false })));
    assert_eq!(ocr(1).unwrap_err().code, "vision.invalid");
    let world = self::world();
    world.when("POST", VISION).reply(seen("品质保证"));
    world
        .when("POST", TRANSLATE)
        .reply(Reply::json(200, json!({ "data": { "translations": [] } })));
    assert_eq!(ocr(1).unwrap_err().code, "translation.invalid");
}

#[test]
fn a_failed_translation_is_a_failure_and_keeps_its_detail() {
    let world = world();
    world.when("POST", VISION).reply(seen("品质保证"));
    world
        .when("POST", TRANSLATE)
        .reply(Reply::text(429, "slow down"));
    let error = ocr(1).unwrap_err();
    assert!(
        error.retryable && error.message.contains("slow down"),
        "{error}"
    );
}

#[test]
fn no_more_pictures_are_under_way_than_asked() {
    let world = world();
    world.when("POST", VISION).reply(seen(""));
    ocr(9).unwrap();
    assert_eq!(world.most_in_flight(), 4);
}

#[test]
fn the_description_names_the_defaults() {
    let described: Value = flowweaver_task::serde_json::from_str(&run::describe()).unwrap();
    assert_eq!(described["requires"], json!(["http"]));
    assert_eq!(described["input"]["required"], json!(["images"]));
    assert_eq!(described["defaults"]["target_language"], "ko");
    assert_eq!(described["defaults"]["inline"], true);
}
