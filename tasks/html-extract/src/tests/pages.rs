//! Fields and rows of pages.

use super::*;

const LIST: &str = r##"
<!doctype html><title>목록</title>
<ul>
  <li><h2> 등산&nbsp;스틱
     2개 </h2><a href="view.php?n=1#top">보기</a><b>12,000원</b><i>new</i><i>sale</i></li>
  <li class="ad"><h2>광고</h2><script>var a = "<b>";</script></li>
  <li><h2>배낭</h2><a href="//mall.test/view.php?n=2">보기</a><b></b><b>45,000원</b></li>
</ul>
<a id="mail" href="mailto:a@b.test">write</a><a id="top" href="#top">up</a><img src=" /a.png ">
"##;

fn extract(fields: Value, rows: Option<&str>) -> Result<Value, Error> {
    let mut input =
        json!({ "html": LIST, "base_url": "https://mall.test/list/", "fields": fields });
    if let Some(rows) = rows {
        input["rows"] = json!(rows);
    }
    ask(input)
}

#[test]
fn a_required_field_that_is_not_there_fails_by_its_name() {
    for (field, told) in [
        (
            json!({ "selector": ".price", "required": true }),
            "no `.price` has text",
        ),
        (
            json!({ "selector": "li.ad b", "required": true }),
            "no `li.ad b` has text",
        ),
        (
            json!({ "selector": "h2", "attr": "title", "required": true }),
            "no `h2` has a `title`",
        ),
        (
            json!({ "selector": ".none", "all": true, "required": true }),
            "no `.none` has text",
        ),
    ] {
        let error = extract(json!({ "won": field }), None).unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.retryable),
            ("field.missing", false)
        );
        assert!(
            error.message.contains("`won`") && error.message.contains(told),
            "{}",
            error.message
        );
    }
    let fields = json!({ "won": { "selector": ".price", "required": true } });
    let error = extract(fields, Some("li")).unwrap_err();
    assert_eq!(error.code, "field.missing");
    assert!(
        error.message.starts_with("none of 3 rows is complete"),
        "{}",
        error.message
    );
}

#[test]
fn a_row_without_a_required_field_is_left_out_and_counted() {
    let fields = json!({
        "title": { "selector": "h2" },
        "link": { "selector": "a", "attr": "href", "required": true },
        "won": { "selector": "b", "required": true },
        "tags": { "selector": "i", "all": true },
    });
    let output = extract(fields, Some("li")).unwrap();
    assert_eq!(
        output["rows"],
        json!([
            { "title": "등산 스틱 2개", "link": "https://mall.test/list/view.php?n=1#top", "won": "12,000원", "tags": ["new", "sale"] },
            { "title": "배낭", "link": "https://mall.test/view.php?n=2", "won": "45,000원", "tags": [] },
        ])
    );
    assert_eq!(
        (&output["skipped"], &output["truncated"]),
        (&json!(1), &json!(false))
    );
}

#[test]
fn fields_of_a_page_are_text_lists_and_addresses() {
    let fields = json!({
        "title": { "selector": "title" },
        "none": { "selector": ".none" },
        "all": { "selector": "h2", "all": true },
        "mail": { "selector": "#mail", "attr": "HREF" },
        "top": { "selector": "#top", "attr": "href" },
        "image": { "selector": "img", "attr": "src" },
        "raw": { "selector": "li h2", "trim": false },
        "ad": { "selector": "li.ad" },
    });
    let output = extract(fields, None).unwrap();
    assert_eq!(
        output["fields"],
        json!({
            "title": "목록", "none": null, "all": ["등산 스틱 2개", "광고", "배낭"], "mail": "mailto:a@b.test",
            "top": "https://mall.test/list/#top", "image": "https://mall.test/a.png",
            "raw": " 등산\u{a0}스틱\n     2개 ", "ad": "광고",
        })
    );
    assert_eq!(output["url"], Value::Null);
}

#[test]
fn links_follow_the_pages_base_and_stay_as_they_are_where_nothing_is_known() {
    let fields = json!({ "a": { "selector": "a", "attr": "href" } });
    let link =
        |html: &str| ask(json!({ "html": html, "fields": fields })).unwrap()["fields"]["a"].clone();
    assert_eq!(link("<a href='x?y=1'>"), "x?y=1");
    assert_eq!(
        link("<base href='https://b.test/d/'><a href='x'>"),
        "https://b.test/d/x"
    );
    assert_eq!(
        link("<a href='javascript:alert(1)'>"),
        "javascript:alert(1)"
    );
}

#[test]
fn the_row_itself_may_be_a_field_and_rows_end_at_the_limit() {
    let html = "<p>1</p>".repeat(5);
    let asked = json!({ "html": html, "rows": "p", "limit": 2, "fields": { "n": {} } });
    let output = ask(asked).unwrap();
    assert_eq!(output["rows"], json!([{ "n": "1" }, { "n": "1" }]));
    assert_eq!(output["truncated"], true);
    let none = ask(json!({ "html": html, "rows": "li", "fields": { "n": {} } })).unwrap();
    assert_eq!(
        (&none["rows"], &none["truncated"]),
        (&json!([]), &json!(false))
    );
}

#[test]
fn broken_pages_are_read_as_browsers_do() {
    let deep = "<div>".repeat(3000);
    for html in [
        "<h1>a",
        "<h1>a</h2><p",
        "<table><h1>a</h1>",
        &format!("{deep}<h1>a"),
    ] {
        let output = ask(json!({ "html": html, "fields": { "t": { "selector": "h1" } } })).unwrap();
        assert_eq!(output["fields"]["t"], "a");
    }
}
