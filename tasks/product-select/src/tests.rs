//! What the module promises.

use flowweaver_task::{
    Error, Value, json,
    testing::{self, World},
};

use super::run;

fn product(index: u32) -> Value {
    json!({
        "index": index,
        "url": format!("https://mall.test/view.php?num_iid={index}"),
        "status": "success",
        "crawled_at": "2026-01-03T00:00:00Z",
        "product_detail": { "title": format!("백팩 {index}"), "price": 23900, "options": [{ "name": "블랙" }] },
    })
}

fn failed(index: u32) -> Value {
    json!({ "index": index, "url": "https://mall.test/x", "status": "failed", "product_detail": null, "error": "http.status: 404" })
}

fn stored(index: u32, status: &str, pictures: u32) -> Value {
    let images: Vec<Value> = (1..=pictures)
        .map(|number| json!({
            "index": number, "original_url": "https://mall.test/a.png", "s3_url": format!("https://s3.test/{index}/{number}.png"),
            "file_size_kb": 1.5, "file_name": format!("image_{number:03}.png"),
        }))
        .collect();
    json!({
        "product_index": index, "product_title": "백팩", "status": status, "uploaded_images": images,
        "success_count": pictures, "fail_count": 0,
    })
}

fn select(products: Value, results: Value) -> Result<Value, Error> {
    let _world = World::new();
    testing::run(
        run,
        json!({ "crawled_products": products, "upload_results": results }),
    )
}

#[test]
fn nothing_to_choose_from_is_a_permanent_failure() {
    let error = select(json!([]), json!([])).unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.retryable),
        ("product.none", false)
    );
}

#[test]
fn the_most_stored_pictures_win_and_the_whole_product_is_handed_on() {
    let output = select(
        json!([product(1), product(2), product(3)]),
        json!([
            stored(3, "success", 2),
            stored(1, "success", 1),
            stored(2, "success", 4)
        ]),
    )
    .unwrap();
    let selected = &output["selected_product"];
    assert_eq!(selected["index"], 2);
    assert_eq!(selected["product_detail"], product(2)["product_detail"]);
    assert_eq!(selected["uploaded_images"].as_array().unwrap().len(), 4);
    assert_eq!(selected["uploaded_images"][0]["file_name"], "image_001.png");
    assert_eq!(output["image_urls"][3], "https://s3.test/2/4.png");
    assert_eq!(output["total_available_products"], 3);
    assert!(output["selection_reason"].as_str().unwrap().contains('4'));
}

#[test]
fn of_equals_the_first_is_taken() {
    let output = select(
        json!([product(1), product(2)]),
        json!([stored(2, "success", 2), stored(1, "success", 2)]),
    );
    assert_eq!(output.unwrap()["selected_product"]["index"], 1);
}

#[test]
fn a_failed_product_is_passed_over_whatever_was_stored() {
    let output = select(
        json!([failed(1), product(2), product(3)]),
        json!([
            stored(1, "success", 9),
            stored(2, "failed", 5),
            stored(3, "success", 1)
        ]),
    );
    assert_eq!(output.unwrap()["selected_product"]["index"], 3);
}

#[test]
fn without_pictures_the_first_success_is_taken_else_the_first() {
    let output = select(
        json!([failed(1), product(2)]),
        json!([stored(2, "success", 0)]),
    )
    .unwrap();
    assert_eq!(output["selected_product"]["index"], 2);
    assert_eq!(output["image_urls"], json!([]));
    let output = select(json!([failed(7), failed(8)]), json!([])).unwrap();
    assert_eq!(output["selected_product"]["index"], 7);
    assert_eq!(output["selected_product"]["product_detail"], Value::Null);
}

#[test]
fn an_unknown_criterion_is_refused() {
    let _world = World::new();
    let input =
        json!({ "crawled_products": [product(1)], "upload_results": [], "criteria": "price" });
    assert_eq!(testing::run(run, input).unwrap_err().code, "input.invalid");
}

#[test]
fn the_description_names_the_default() {
    let described: Value = flowweaver_task::serde_json::from_str(&run::describe()).unwrap();
    assert_eq!(
        described["defaults"],
        json!({ "criteria": "image_count_priority" })
    );
    assert_eq!(described["requires"], json!([]));
}
