//! HTML that is safe to show: cleaned to an allow-list of tags, and the pictures placed in it. Pictures and links of
//! the model's own choice are not kept: what it read came from outside and may have told it where to lead readers.

use std::collections::{HashMap, HashSet};

use ammonia::{Builder, Url, UrlRelative};

/// What an article needs. No pictures: they are placed afterwards. No `h1`: that is the title.
const TAGS: [&str; 24] = [
    "h2",
    "h3",
    "h4",
    "p",
    "br",
    "hr",
    "ul",
    "ol",
    "li",
    "strong",
    "b",
    "em",
    "i",
    "u",
    "blockquote",
    "code",
    "pre",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "a",
];

/// Tags whose content is not text for readers, and goes with them.
const WITH_CONTENT: [&str; 10] = [
    "script", "style", "iframe", "object", "svg", "math", "template", "noscript", "textarea",
    "title",
];

/// Elements after which a picture may stand, if they are not inside another.
const BLOCKS: [&str; 6] = ["p", "ul", "ol", "blockquote", "table", "pre"];

/// Tags of the allow-list that never have an end.
const VOID: [&str; 2] = ["br", "hr"];

/// The hosts that links may lead to.
pub(crate) fn link_hosts(product: &str, more: &[String]) -> HashSet<String> {
    let own = Url::parse(product)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned));
    more.iter()
        .map(|host| host.to_ascii_lowercase())
        .chain(own)
        .collect()
}

/// The HTML with none but allowed tags and attributes; links to other hosts lose their address. Plain text becomes
/// paragraphs.
pub(crate) fn clean(html: &str, hosts: &HashSet<String>) -> String {
    let hosts = hosts.clone();
    let cleaned = Builder::default()
        .tags(TAGS.into())
        .clean_content_tags(WITH_CONTENT.into())
        .tag_attributes(HashMap::from([("a", HashSet::from(["href"]))]))
        .generic_attributes(HashSet::new())
        .url_schemes(HashSet::from(["https", "http"]))
        .url_relative(UrlRelative::Deny)
        .link_rel(Some("noopener noreferrer nofollow"))
        .attribute_filter(move |_, attribute, value| {
            if attribute != "href" {
                return Some(value.into());
            }
            let host = Url::parse(value)
                .ok()
                .and_then(|url| url.host_str().map(str::to_owned));
            host.filter(|host| hosts.contains(host))
                .map(|_| value.into())
        })
        .clean(html)
        .to_string();
    let cleaned = cleaned.trim();
    if cleaned.contains('<') {
        return cleaned.to_owned();
    }
    let paragraphs = cleaned
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    paragraphs
        .map(|line| format!("<p>{line}</p>"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The text of some HTML, without any markup, as a reader sees it.
pub(crate) fn text(html: &str) -> String {
    let escaped = Builder::empty()
        .clean_content_tags(WITH_CONTENT.into())
        .clean(html)
        .to_string();
    // All that the cleaner escapes in text (HTML standard, "serializing HTML fragments"); the ampersand is last.
    escaped
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&nbsp;", " ")
        .replace("&amp;", "&")
}

/// Text that stands in HTML, also in a quoted attribute.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

/// Places pictures between the blocks of cleaned HTML, spread over it.
pub(crate) fn place(html: &str, pictures: &[String], alt: &str) -> String {
    let ends = block_ends(html);
    let mut placed = String::new();
    let mut from = 0;
    for (number, picture) in (1..).zip(pictures) {
        // The n-th of m pictures stands after that share of the blocks; without blocks all stand at the end.
        let at = (number * ends.len()).div_ceil(pictures.len() + 1).max(1);
        let end = ends.get(at - 1).copied().unwrap_or(html.len()).max(from);
        placed.push_str(html.get(from..end).unwrap_or_default());
        let (src, alt) = (escape(picture), escape(alt));
        placed.push_str(&format!(
            "\n<figure><img src=\"{src}\" alt=\"{alt} {number}\" loading=\"lazy\"></figure>\n"
        ));
        from = end;
    }
    placed.push_str(html.get(from..).unwrap_or_default());
    placed.trim().to_owned()
}

/// Where the outermost blocks end, as byte offsets. Cleaned HTML is well formed, and `<` begins a tag wherever it stands.
fn block_ends(html: &str) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut depth = 0_usize;
    for (start, _) in html.match_indices('<') {
        let Some((tag, _)) = html.get(start + 1..).and_then(|rest| rest.split_once('>')) else {
            break;
        };
        let end = start + tag.len() + 2;
        let name = tag
            .trim_start_matches('/')
            .split_whitespace()
            .next()
            .unwrap_or_default();
        if VOID.contains(&name) {
            continue;
        }
        if tag.starts_with('/') {
            depth = depth.saturating_sub(1);
            if depth == 0 && BLOCKS.contains(&name) {
                ends.push(end);
            }
        } else {
            depth += 1;
        }
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(html: &str) -> String {
        clean(
            html,
            &link_hosts("https://mall.test/view.php?id=1", &["blog.test".to_owned()]),
        )
    }

    #[test]
    fn nothing_that_runs_or_loads_survives() {
        for (html, expected) in [
            (
                "<p onclick=\"x()\" style=\"a\" class=\"b\" id=\"c\">글</p><script>x()</script>",
                "<p>글</p>",
            ),
            ("<p>글<img src=x onerror=x()></p>", "<p>글</p>"),
            (
                "<p>글</p><iframe src=\"https://evil.test\">안</iframe><svg><script>x()</script></svg>",
                "<p>글</p>",
            ),
            ("<h1>제목</h1><p>글</p><!-- x -->", "제목<p>글</p>"),
            ("<form action=x><p>글</p><input></form>", "<p>글</p>"),
            (
                "<p>글<style>p{}</style></p><object data=x></object>",
                "<p>글</p>",
            ),
            ("<p>1 < 2 &amp; 3</p>", "<p>1 &lt; 2 &amp; 3</p>"),
        ] {
            assert_eq!(cleaned(html), expected, "{html}");
        }
    }

    #[test]
    fn links_lead_to_the_product_and_to_hosts_that_were_named() {
        let rel = "rel=\"noopener noreferrer nofollow\"";
        for (href, kept) in [
            ("https://mall.test/view.php?id=1", true),
            ("https://blog.test/", true),
            ("https://evil.test/", false),
            ("https://mall.test@evil.test/", false),
            ("javascript:x()", false),
            ("//evil.test/", false),
            ("data:text/html,x", false),
        ] {
            let expected = if kept {
                format!("<a href=\"{href}\" {rel}>글</a>")
            } else {
                format!("<a {rel}>글</a>")
            };
            assert_eq!(
                cleaned(&format!("<a href=\"{href}\" target=\"_blank\">글</a>")),
                expected
            );
        }
    }

    #[test]
    fn plain_text_becomes_paragraphs() {
        assert_eq!(
            cleaned("첫 줄\n\n둘째 & 줄"),
            "<p>첫 줄</p>\n<p>둘째 &amp; 줄</p>"
        );
        assert_eq!(
            text("<b>a</b> &amp; &lt;b&gt;<script>x</script>"),
            "a & <b>"
        );
    }

    #[test]
    fn pictures_are_spread_between_the_outermost_blocks() {
        let pictures: Vec<String> = ["a", "b"]
            .map(|name| format!("https://s3.test/{name}.png?x=1&y=\"2\""))
            .into();
        let html = "<h2>제목</h2><p>하나<br>더</p><ul><li><p>안</p></li></ul><p>둘</p><p>셋</p>";
        let placed = place(html, &pictures, "가방 <20L>");
        let parts: Vec<&str> = placed.split("\n<figure>").collect();
        assert_eq!(parts.len(), 3);
        assert!(parts[0].ends_with("</ul>"), "{placed}");
        assert!(parts[1].starts_with(
            "<img src=\"https://s3.test/a.png?x=1&amp;y=&quot;2&quot;\" alt=\"가방 &lt;20L&gt; 1\""
        ));
        assert!(parts[1].ends_with("<p>둘</p>"), "{placed}");
        assert!(parts[2].ends_with("<p>셋</p>"));
    }

    #[test]
    fn more_pictures_than_blocks_and_no_blocks_at_all_lose_none() {
        let pictures: Vec<String> = (0..4)
            .map(|number| format!("https://s3.test/{number}.png"))
            .collect();
        for html in ["<p>하나</p>", "<h2>제목</h2>", ""] {
            let placed = place(html, &pictures, "가방");
            assert_eq!(placed.matches("<img ").count(), 4, "{placed}");
            assert!(
                placed.starts_with(html)
                    && (0..3).all(|at| {
                        placed.find(&format!("{at}.png")) < placed.find(&format!("{}.png", at + 1))
                    })
            );
        }
        assert_eq!(place("<p>하나</p>", &[], "가방"), "<p>하나</p>");
    }
}
