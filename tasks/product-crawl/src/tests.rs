//! What the module promises, against a scripted mall.

use flowweaver_task::testing::{self, Reply, World};
use flowweaver_task::{Error, Value, json};

use super::run;

fn crawl(input: Value) -> Result<Value, Error> {
    testing::run(run, input)
}

fn html(body: &str) -> Reply {
    Reply::bytes(200, body).header("content-type", "text/html; charset=utf-8")
}

fn url(id: u32) -> String {
    format!("https://ssadagu.kr/shop/view.php?platform=1688&num_iid={id}")
}

fn titled(title: &str) -> Reply {
    html(&format!("<h1 id=kakaotitle>{title}</h1>"))
}

/// Reads one page with this body.
fn detail(body: &str) -> Value {
    let world = World::new();
    world
        .when("GET", &url(1))
        .reply(html(&format!("<h1 id='kakaotitle'>제목</h1>{body}")));
    let output = crawl(json!({ "product_urls": [url(1)] })).unwrap();
    output["crawled_products"][0]["product_detail"].clone()
}

fn images(detail: &Value) -> Vec<&str> {
    let images = detail["product_images"].as_array().unwrap();
    images
        .iter()
        .map(|image| image["original_url"].as_str().unwrap())
        .collect()
}

#[test]
fn a_denied_product_is_an_entry_not_a_failed_task() {
    let world = World::new();
    let output = crawl(json!({ "product_urls": [url(1)] })).unwrap();
    let entry = &output["crawled_products"][0];
    assert_eq!(
        (&entry["status"], &entry["product_detail"], &entry["url"]),
        (&json!("failed"), &Value::Null, &json!(url(1)))
    );
    assert!(
        entry["error"]
            .as_str()
            .unwrap()
            .starts_with("http.denied: "),
        "{entry}"
    );
    assert_eq!(
        (&output["success_count"], &output["fail_count"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(world.logs().len(), 1);
}

#[test]
fn every_kind_of_failure_is_its_products_own_and_the_others_are_read() {
    let world = World::new();
    world.when("GET", &url(1)).reply(Reply::text(500, ""));
    world.when("GET", &url(2)).reply(titled("둘째"));
    world.when("GET", &url(3)).reply(Reply::text(404, ""));
    world.when("GET", &url(4)).reply(html("<h1>제목 없음</h1>"));
    world
        .when("GET", &url(5))
        .reply(Reply::bytes(200, vec![0xff, 0xd8, 0x00]));
    world
        .when("GET", &url(6))
        .reply(Reply::error(Error::retryable("http.timeout", "no answer")));
    world
        .when("GET", &url(7))
        .reply(Reply::json(200, json!({ "success": false })));
    let mut urls: Vec<String> = (1..=7).map(url).collect();
    urls.push("javascript:void(0)".to_owned());
    let output = crawl(json!({ "product_urls": urls })).unwrap();
    let entries = output["crawled_products"].as_array().unwrap();
    let codes: Vec<&str> = entries
        .iter()
        .map(|entry| {
            entry["error"]
                .as_str()
                .unwrap_or("-")
                .split(':')
                .next()
                .unwrap()
        })
        .collect();
    let expected = [
        "http.status",
        "-",
        "http.status",
        "title.missing",
        "title.missing",
        "http.timeout",
        "title.missing",
        "url.invalid",
    ];
    assert_eq!(codes, expected);
    let places: Vec<u64> = entries
        .iter()
        .map(|entry| entry["index"].as_u64().unwrap())
        .collect();
    assert_eq!(places, (1..=8).collect::<Vec<_>>());
    assert_eq!(entries[1]["product_detail"]["title"], "둘째");
    assert_eq!(
        (&output["success_count"], &output["fail_count"]),
        (&json!(1), &json!(7))
    );
}

#[test]
fn no_products_are_success_with_nothing() {
    let output = crawl(json!({ "product_urls": [] })).unwrap();
    assert_eq!(
        output,
        json!({ "crawled_products": [], "success_count": 0, "fail_count": 0 })
    );
}

#[test]
fn too_few_products_fail_the_task_if_it_is_told_so_and_may_pass_if_one_of_them_may() {
    let world = World::new();
    world.when("GET", &url(1)).reply(Reply::text(404, ""));
    world.when("GET", &url(2)).reply(Reply::text(503, ""));
    let fate = |urls: Value| {
        let error = crawl(json!({ "product_urls": urls, "min_success": 1 })).unwrap_err();
        (error.code, error.retryable)
    };
    assert_eq!(
        fate(json!([url(1), url(2)])),
        ("http.status".to_owned(), true)
    );
    assert_eq!(fate(json!([url(1)])), ("http.status".to_owned(), false));
    assert_eq!(fate(json!([])), ("crawl.too-few".to_owned(), false));
}

#[test]
fn inputs_that_make_no_sense_ask_nobody() {
    let world = World::new();
    for input in [
        json!({ "product_urls": [url(1)], "concurrency": 0 }),
        json!({ "product_urls": [url(1)], "selectors": { "title": "h1[" } }),
        json!({ "product_urls": [url(1)], "selectors": { "titel": "h1" } }),
        json!({ "product_urls": [url(1)], "base_url": "ssadagu" }),
        json!({ "product_urls": url(1) }),
    ] {
        assert_eq!(crawl(input).unwrap_err().code, "input.invalid");
    }
    assert!(world.requests().is_empty());
}

#[test]
fn a_product_page_is_read_whole() {
    let detail = detail(
        "<div class='pdt_price'><span class='price gsItemPriceKWR'>12,900원</span></div>\
         <a class='start' href='#reviews_wrap'><img src='/theme/icon_star.svg'> <span class='rating'>4.5</span></a>\
         <ul id='skubox'>\
           <li class='imgWrapper'><a href='javascript:;' title='블랙 2XL'><img src='/img/o0.jpg'><span class='name'>블랙</span></a>\
             <span class='stock'>재고 : 1,034</span></li>\
           <li><span class='name'>화이트</span></li>\
         </ul>\
         <table><tr class='pro-info-item'><th class='pro-info-title'>소재 :</th><td class='pro-info-info'> 나일론\u{a0}100% </td></tr>\
           <tr class='pro-info-item'><th class='pro-info-title'>무게</th><td class='pro-info-info'></td></tr></table>\
         <img id='img_translate_0' src='//cdn.test/0.jpg'>",
    );
    assert_eq!(
        detail,
        json!({
            "url": url(1),
            "title": "제목",
            "price": 12900,
            "rating": 4.5,
            "options": [
                { "name": "블랙 2XL", "stock": 1034, "image_url": "https://ssadagu.kr/img/o0.jpg" },
                { "name": "화이트", "stock": null, "image_url": null },
            ],
            "material_info": { "소재": "나일론 100%" },
            "product_images": [{ "original_url": "https://cdn.test/0.jpg" }, { "original_url": "https://ssadagu.kr/img/o0.jpg" }],
        })
    );
}

#[test]
fn a_page_with_a_title_only_is_a_product_without_the_rest() {
    let detail = detail("<span class='price gsItemPriceKWR'>가격 문의</span>");
    assert_eq!(
        (&detail["price"], &detail["rating"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(
        (
            &detail["options"],
            &detail["material_info"],
            &detail["product_images"]
        ),
        (&json!([]), &json!({}), &json!([]))
    );
}

#[test]
fn stars_are_counted_when_no_number_tells_the_rating() {
    let star = "<img src='/theme/icon_star.svg'>";
    let detail = detail(&format!(
        "<a class='start'>{star}{star}{star}<img src='/theme/icon_star_half.svg'></a>"
    ));
    assert_eq!(detail["rating"], 3.5);
}

#[test]
fn pictures_come_by_their_number_then_the_options_each_once() {
    let detail = detail(
        "<ul id='skubox'><li><a title='a'><img src='/img/o1.jpg'></a></li><li><a title='b'><img src='/img/2.jpg#x'></a></li></ul>\
         <img id='img_translate_10' src='/img/10.jpg'><img id='img_translate_2' src='blank.gif' data-original='/img/2.jpg'>\
         <img id='img_translate_1' src='../img/1.jpg?v=2'><img id='img_translate_3' src='data:image/gif;base64,R0lGOD'>\
         <img id='img_translate_4' src='https://ssadagu.kr/img/10.jpg'><img id='img_translate_x' src='/img/x.jpg'><img src='/img/notice.png'>",
    );
    let expected = ["img/1.jpg?v=2", "img/2.jpg", "img/10.jpg", "img/o1.jpg"]
        .map(|path| format!("https://ssadagu.kr/{path}"));
    assert_eq!(images(&detail), expected);
}

#[test]
fn many_pages_are_read_a_few_at_a_time_and_told_in_order() {
    let world = World::new();
    world
        .when("GET", "https://ssadagu.kr/*")
        .answer(|sent| titled(&sent.query("num_iid").unwrap_or_default()));
    let urls: Vec<String> = (1..=23)
        .map(|id| format!("shop/view.php?num_iid={id}"))
        .collect();
    let output = crawl(json!({ "product_urls": urls, "concurrency": 2 })).unwrap();
    for (place, entry) in output["crawled_products"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
    {
        assert_eq!(entry["index"], place + 1);
        assert_eq!(entry["product_detail"]["title"], (place + 1).to_string());
        assert_eq!(entry["status"], "success");
        assert!(entry.get("error").is_none());
        let at = entry["crawled_at"].as_str().unwrap();
        assert!(
            at.len() == 20 && at.ends_with('Z') && at.as_bytes()[10] == b'T',
            "{at}"
        );
    }
    assert_eq!(world.most_in_flight(), 2);
    let last = world.progress().pop().unwrap();
    assert_eq!((last.done, last.total), (23, Some(23)));
}

#[test]
fn another_mall_is_a_matter_of_input() {
    let world = World::new();
    world.when("GET", "https://shop.test/p/7").reply(html(
        "<h2>컵</h2><b>￥12.90 ~ 15</b><img id='pic-1' src='1.png'>",
    ));
    let output = crawl(json!({
        "product_urls": ["p/7"], "base_url": "https://shop.test/", "headers": { "user-agent": "x" },
        "selectors": { "title": "h2", "price": "b", "image_id": "pic-" },
    }))
    .unwrap();
    let detail = &output["crawled_products"][0]["product_detail"];
    assert_eq!(
        (&detail["title"], &detail["price"]),
        (&json!("컵"), &json!(12.9))
    );
    assert_eq!(images(detail), ["https://shop.test/p/1.png"]);
    assert_eq!(world.requests()[0].header("user-agent"), Some("x"));
}
