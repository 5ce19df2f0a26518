//! What the module promises, against scripted malls and buckets.

use flowweaver_task::{
    Error, Value, json,
    testing::{self, Reply, World},
};

use super::run;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n0123456789";
const MALL: &str = "https://mall.test/img/*";
const BUCKET: &str = "https://store.test/pictures/*";

fn product(index: u32, images: &[&str]) -> Value {
    let images: Vec<Value> = images
        .iter()
        .map(|name| json!({ "original_url": format!("https://mall.test/img/{name}") }))
        .collect();
    json!({
        "index": index,
        "url": format!("https://mall.test/view.php?num_iid={index}"),
        "status": "success",
        "crawled_at": "2026-01-03T00:00:00Z",
        "product_detail": { "title": format!("백팩 {index}"), "price": 23900, "product_images": images },
    })
}

fn input(products: Vec<Value>) -> Value {
    json!({
        "keyword": "여행/백팩",
        "crawled_products": products,
        "bucket": "pictures",
        "region": "us-east-1",
        "endpoint": "https://store.test",
    })
}

fn upload(products: Vec<Value>) -> Result<Value, Error> {
    testing::run(run, input(products))
}

fn world() -> World {
    let world = World::new();
    world
        .when("GET", MALL)
        .reply(Reply::bytes(200, PNG).header("content-type", "image/jpeg"));
    world.when("PUT", BUCKET).reply(Reply::bytes(200, ""));
    world
}

fn puts(world: &World) -> Vec<String> {
    let requests = world.requests().into_iter();
    requests
        .filter(|sent| sent.method == "PUT")
        .map(|sent| sent.url)
        .collect()
}

#[test]
fn a_bucket_that_is_not_granted_fails_the_task_and_is_not_counted_as_a_bad_picture() {
    let world = World::new();
    world.when("GET", MALL).reply(Reply::bytes(200, PNG));
    let error = upload(vec![product(1, &["a.png"])]).unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.retryable),
        ("http.denied", false)
    );
    assert!(
        error.message.starts_with("storing a picture"),
        "{}",
        error.message
    );
}

#[test]
fn pictures_and_data_are_put_under_the_contracts_keys() {
    let world = world();
    let output = upload(vec![product(3, &["a.jpg", "b.jpg"])]).unwrap();
    let folder =
        "https://store.test/pictures/product/20260103_%EC%97%AC%ED%96%89_%EB%B0%B1%ED%8C%A9_3";
    assert_eq!(
        puts(&world),
        [
            format!("{folder}/image_001.png"),
            format!("{folder}/image_002.png"),
            format!("{folder}/product_data.json")
        ]
    );
    let result = &output["upload_results"][0];
    assert_eq!(result["product_index"], 3);
    assert_eq!(result["product_title"], "백팩 3");
    assert_eq!(result["status"], "success");
    assert_eq!(
        (&result["success_count"], &result["fail_count"]),
        (&json!(2), &json!(0))
    );
    assert_eq!(
        result["uploaded_images"][1],
        json!({
            "index": 2,
            "original_url": "https://mall.test/img/b.jpg",
            "s3_url": format!("{folder}/image_002.png"),
            "file_size_kb": 0.02,
            "file_name": "image_002.png",
        })
    );
    assert_eq!(
        output["summary"],
        json!({
            "total_products": 1, "success_products": 1, "failed_products": 0, "skipped_products": 0,
            "success_count": 2, "fail_count": 0,
        })
    );
}

#[test]
fn the_bytes_arrive_untouched_with_the_type_that_they_have_and_no_credentials() {
    let world = world();
    upload(vec![product(1, &["a.jpg"])]).unwrap();
    let sent = world.requests();
    assert_eq!(sent[1].body, PNG);
    assert_eq!(sent[1].header("content-type"), Some("image/png"));
    assert_eq!(sent[1].header("authorization"), None);
    let data: Value = sent[2].json().unwrap();
    assert_eq!(data["product_detail"]["price"], 23900);
    assert_eq!(data["uploaded_images"][0]["file_name"], "image_001.png");
}

#[test]
fn a_retry_writes_the_same_objects_again() {
    let first = world();
    upload(vec![product(1, &["a.jpg"])]).unwrap();
    let once = puts(&first);
    let second = world();
    second.context(|facts| facts.attempt = 2);
    upload(vec![product(1, &["a.jpg"])]).unwrap();
    assert_eq!(puts(&second), once);
}

#[test]
fn a_bad_picture_is_counted_and_the_others_keep_their_numbers() {
    let world = world();
    world
        .when("GET", "https://mall.test/img/gone.jpg")
        .reply(Reply::text(404, "no such file"));
    world
        .when("GET", "https://mall.test/img/page.jpg")
        .reply(Reply::text(200, "<html>").header("content-type", "text/html"));
    let output = upload(vec![product(1, &["gone.jpg", "page.jpg", "a.jpg"])]).unwrap();
    let result = &output["upload_results"][0];
    assert_eq!(
        (&result["success_count"], &result["fail_count"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(result["uploaded_images"][0]["file_name"], "image_003.png");
    let error = |at: usize| {
        result["failed_images"][at]["error"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert!(
        error(0).starts_with("http.status") && error(0).contains("404"),
        "{}",
        error(0)
    );
    assert!(error(1).starts_with("image.invalid"), "{}", error(1));
    assert_eq!(output["summary"]["fail_count"], 2);
}

#[test]
fn a_product_whose_pictures_are_all_gone_is_failed_and_the_task_is_not() {
    let world = world();
    world.when("GET", MALL).reply(Reply::text(404, ""));
    let output = upload(vec![product(1, &["a.jpg"])]).unwrap();
    assert_eq!(output["upload_results"][0]["status"], "failed");
    assert!(output["upload_results"][0]["data_url"].is_string());
}

#[test]
fn when_no_picture_at_all_could_be_read_for_now_the_task_is_to_be_retried() {
    let world = world();
    world.when("GET", MALL).reply(Reply::text(503, "busy"));
    let error = upload(vec![product(1, &["a.jpg"]), product(2, &["b.jpg"])]).unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.retryable),
        ("http.status", true)
    );
}

#[test]
fn a_store_that_fails_or_refuses_the_key_fails_the_task() {
    for (status, retryable) in [(503, true), (403, false), (404, false)] {
        let world = world();
        world
            .when("PUT", BUCKET)
            .reply(Reply::text(status, "<Error><Code>X</Code></Error>"));
        let error = upload(vec![product(1, &["a.jpg", "b.jpg"])]).unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.retryable),
            ("http.status", retryable),
            "{status}"
        );
    }
}

#[test]
fn a_store_that_refuses_one_object_costs_that_picture() {
    let world = world();
    world
        .when("PUT", "*image_001.png")
        .reply(Reply::text(413, "EntityTooLarge"));
    let output = upload(vec![product(1, &["a.jpg", "b.jpg"])]).unwrap();
    assert_eq!(output["summary"]["success_count"], 1);
    assert_eq!(output["summary"]["fail_count"], 1);
}

#[test]
fn a_product_that_was_not_crawled_is_skipped_and_says_why() {
    let world = world();
    let failed = json!({ "index": 2, "url": "https://mall.test/x", "product_detail": null, "status": "failed", "error": "http.status: 404" });
    let output = upload(vec![failed, product(3, &["a.jpg"])]).unwrap();
    let skipped = &output["upload_results"][0];
    assert_eq!(skipped["status"], "skipped");
    assert!(skipped["reason"].as_str().unwrap().contains("404"));
    assert_eq!(output["upload_results"][1]["status"], "success");
    assert!(puts(&world).iter().all(|url| !url.contains("_2/")));
}

#[test]
fn a_picture_larger_than_the_limit_is_left_out() {
    let world = world();
    world
        .when("GET", "https://mall.test/img/big.png")
        .reply(Reply::bytes(200, [PNG, &[0; 64]].concat()));
    let mut input = input(vec![product(1, &["big.png", "a.png"])]);
    input["max_image_bytes"] = json!(32);
    let output = testing::run(run, input).unwrap();
    let failed = &output["upload_results"][0]["failed_images"][0];
    assert!(
        failed["error"]
            .as_str()
            .unwrap()
            .starts_with("limit.http-body"),
        "{failed}"
    );
}

#[test]
fn no_more_pictures_are_under_way_than_asked() {
    let world = world();
    let mut input = input(vec![product(1, &["1", "2", "3", "4", "5"])]);
    input["concurrency"] = json!(2);
    testing::run(run, input).unwrap();
    assert_eq!(world.most_in_flight(), 2);
}

#[test]
fn no_products_are_no_accident_and_a_bad_bucket_is() {
    let world = world();
    assert_eq!(upload(Vec::new()).unwrap()["summary"]["total_products"], 0);
    let mut input = input(Vec::new());
    input["bucket"] = json!("../other");
    assert_eq!(testing::run(run, input).unwrap_err().code, "input.invalid");
    assert!(world.requests().is_empty());
}

#[test]
fn the_description_names_the_defaults() {
    let described: Value = flowweaver_task::serde_json::from_str(&run::describe()).unwrap();
    assert_eq!(described["requires"], json!(["http"]));
    assert_eq!(
        described["input"]["required"],
        json!(["keyword", "crawled_products", "bucket"])
    );
    assert_eq!(described["defaults"]["base_folder"], "product");
    assert_eq!(described["defaults"]["max_image_bytes"], 8 << 20);
}
