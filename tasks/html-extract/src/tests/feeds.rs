//! Feeds of every format, and what is none.

use super::*;

fn feed(text: &str) -> Result<Value, Error> {
    ask(json!({ "mode": "feed", "html": text, "base_url": "https://blog.test/feed/" }))
}

#[test]
fn what_is_no_feed_is_named_with_its_place() {
    for (text, told) in [
        ("", "neither XML nor JSON"),
        ("hello", "neither XML nor JSON"),
        (
            "<!doctype html><html><head></head></html>",
            "it is an HTML page",
        ),
        ("<opml><body/></opml>", "its root is `opml`"),
        ("<!-- nothing -->", "it has no element"),
        ("<rss><channel>\n<item></title>", "line 2"),
        (
            "<rss version='2.0'><channel><item><title>a",
            "elements open",
        ),
        ("{\"items\": []}", "version"),
        (
            "{\"version\": \"https://jsonfeed.org/version/2\"}",
            "not JSON Feed 1",
        ),
        ("{\"version\": ", "EOF"),
        ("[1]", "neither"),
    ] {
        let error = feed(text).unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.retryable),
            ("feed.invalid", false),
            "{text}"
        );
        assert!(error.message.contains(told), "{text}: {}", error.message);
    }
}

#[test]
fn a_feed_cannot_grow_or_nest_without_end() {
    let bomb = "<!DOCTYPE rss [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;\">]>\
        <rss version='2.0'><channel><item><title>&b;</title></item></channel></rss>";
    let output = feed(bomb).unwrap();
    assert_eq!(output["entries"][0]["title"], "&b;");
    for open in [
        "<a>".repeat(100_000),
        format!("<channel><item><title>{}", "<b>".repeat(100_000)),
    ] {
        let error = feed(&format!("<rss version='2.0'>{open}")).unwrap_err();
        assert!(
            error.message.contains("deeper than 500"),
            "{}",
            error.message
        );
    }
}

#[test]
fn rss_is_read_with_its_modules_and_its_habits() {
    let output = feed(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0" xmlns:atom="http://www.w3.org/2005/Atom" xmlns:dc="http://purl.org/dc/elements/1.1/"
  xmlns:content="http://purl.org/rss/1.0/modules/content/" xmlns:media="http://search.yahoo.com/mrss/">
<channel>
  <title>데모 &amp; 블로그</title>
  <atom:link href="https://blog.test/feed/" rel="self"/>
  <link>https://blog.test/</link>
  <image><title>logo</title><link>https://logo.test/</link></image>
  <item>
    <title><![CDATA[백팩 <b>추천</b>]]></title>
    <link> /2026/pack/ </link>
    <guid isPermaLink="false">post-1</guid>
    <author>a@b.kr（홍길동）</author>
    <pubDate>Sun, 22 Nov 2026 10:02:03 +0900</pubDate>
    <description>&lt;p&gt;첫&nbsp;줄&lt;/p&gt;&lt;p&gt;둘째&lt;/p&gt;</description>
    <content:encoded><![CDATA[<p>본문</p>]]></content:encoded>
    <media:title>picture</media:title>
  </item>
  <item>
    <guid>https://blog.test/2/</guid>
    <dc:date>2026-11-22</dc:date>
    <content:encoded><![CDATA[only <script>x()</script>content]]></content:encoded>
  </item>
  <item><title>no more than a title</title><pubDate>someday</pubDate></item>
  <item><description>nothing names it</description></item>
</channel></rss>"#,
    )
    .unwrap();
    assert_eq!(
        output["feed"],
        json!({ "title": "데모 & 블로그", "link": "https://blog.test/" })
    );
    assert_eq!(
        output["entries"],
        json!([
            { "id": "post-1", "title": "백팩 추천", "link": "https://blog.test/2026/pack/",
              "published": "2026-11-22T01:02:03Z", "summary": "첫 줄 둘째" },
            { "id": "https://blog.test/2/", "title": null, "link": "https://blog.test/2/",
              "published": "2026-11-22T00:00:00Z", "summary": "only content" },
            { "id": "no more than a title", "title": "no more than a title", "link": null, "published": null, "summary": null },
        ])
    );
    assert_eq!(output["skipped"], 1);
}

#[test]
fn rss_1_has_its_items_beside_the_channel() {
    let output = feed(
        r#"<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/">
        <channel><title>old</title><link>https://o.test/</link></channel>
        <item><title>one</title><link>https://o.test/1</link></item></rdf:RDF>"#,
    )
    .unwrap();
    assert_eq!(output["feed"]["title"], "old");
    assert_eq!(output["entries"][0]["id"], "https://o.test/1");
}

#[test]
fn atom_is_read_with_its_kinds_of_text_links_and_bases() {
    let output = feed(
        r#"<feed xmlns="http://www.w3.org/2005/Atom" xml:base="https://a.test/x/">
  <title type="html">A &amp;amp; B</title>
  <link rel="self" href="feed.xml"/><link href="/"/>
  <entry>
    <id>tag:a.test,2026:1</id>
    <title>1 &lt; 2</title>
    <link rel="enclosure" href="a.mp3"/>
    <link rel="alternate" href="one?a=1&amp;b=2"/>
    <updated>2026-11-22T10:00:00Z</updated>
    <published>2026-11-20T10:00:00+09:00</published>
    <summary type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>a &lt; b</p><p>c<i>d</i></p></div></summary>
    <source><title>elsewhere</title><id>other</id></source>
  </entry>
  <entry xml:base="https://b.test/">
    <id>2</id><link href="two"/><updated>2026-11-22T10:00:00Z</updated><content type="html">&lt;b&gt;bold&lt;/b&gt;</content>
  </entry>
</feed>"#,
    )
    .unwrap();
    assert_eq!(
        output["feed"],
        json!({ "title": "A & B", "link": "https://a.test/" })
    );
    assert_eq!(
        output["entries"],
        json!([
            { "id": "tag:a.test,2026:1", "title": "1 < 2", "link": "https://a.test/x/one?a=1&b=2",
              "published": "2026-11-20T01:00:00Z", "summary": "a < b cd" },
            { "id": "2", "title": null, "link": "https://b.test/two", "published": "2026-11-22T10:00:00Z", "summary": "bold" },
        ])
    );
}

#[test]
fn a_json_feed_is_read_and_its_html_becomes_text() {
    let output = feed(
        &json!({
            "version": "https://jsonfeed.org/version/1.1", "title": "J", "home_page_url": "https://j.test/",
            "items": [
                { "id": 7, "url": "/7", "content_html": "<p>a</p><p>b</p>", "date_published": "2026-11-22T10:00:00+09:00" },
                { "id": "8", "url": "https://j.test/8", "title": " t ", "summary": "s", "content_text": "c" },
                { "content_text": "nothing names it" },
            ],
        })
        .to_string(),
    )
    .unwrap();
    assert_eq!(
        output["entries"],
        json!([
            { "id": "7", "title": null, "link": "https://blog.test/7", "published": "2026-11-22T01:00:00Z", "summary": "a b" },
            { "id": "8", "title": "t", "link": "https://j.test/8", "published": null, "summary": "s" },
        ])
    );
    assert_eq!(output["skipped"], 1);
}

#[test]
fn a_feed_ends_at_the_limit_and_a_summary_at_its_length() {
    let items = "<item><title>a</title><description>가나</description></item>".repeat(3)
        + &format!(
            "<item><title>b</title><description>{}</description></item>",
            "가".repeat(5000)
        );
    let text = format!("\u{feff}\n<rss version='2.0'><channel>{items}</channel></rss>");
    let output = ask(json!({ "mode": "feed", "html": text, "limit": 3 })).unwrap();
    assert_eq!(output["entries"].as_array().unwrap().len(), 3);
    assert_eq!(output["truncated"], true);
    let output = feed(&text).unwrap();
    assert_eq!(output["truncated"], false);
    let summary = output["entries"][3]["summary"].as_str().unwrap();
    assert_eq!(
        (summary.chars().count(), summary.ends_with('…')),
        (4001, true)
    );
}

#[test]
fn a_feed_in_another_character_set_is_read() {
    let world = World::new();
    let bytes = [
        b"<?xml version='1.0' encoding='euc-kr'?><rss version='2.0'><channel><item><title>"
            .as_slice(),
        HIKE,
        b"</title></item></channel></rss>",
    ]
    .concat();
    world
        .when("GET", URL)
        .reply(Reply::bytes(200, bytes).header("content-type", "application/rss+xml"));
    let output = ask(json!({ "mode": "feed", "url": URL })).unwrap();
    assert_eq!(output["entries"][0]["title"], "등산");
    assert_eq!(output["url"], URL);
}
