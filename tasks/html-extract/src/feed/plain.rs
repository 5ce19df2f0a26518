//! Plain text out of the HTML that feeds carry. Unlike the text of one element on a page, it is several paragraphs.

use task_page::{ElementRef, Page, selector};

pub(super) use task_page::squeezed;

/// Elements that stand apart from what is before and after them.
const APART: [&str; 20] = [
    "article",
    "blockquote",
    "br",
    "dd",
    "div",
    "dt",
    "figcaption",
    "figure",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "li",
    "p",
    "pre",
    "td",
    "tr",
];

/// Elements whose text is for programs.
const UNSEEN: [&str; 4] = ["script", "style", "template", "noscript"];

/// The text of a piece of HTML on one line, with a space between paragraphs.
pub(super) fn of_html(html: &str) -> String {
    // Neither can fail: the address is one, and so is the selector.
    let (Ok(page), Ok(body)) = (Page::parse(html, "about:blank"), selector("", "body")) else {
        return squeezed(html);
    };
    let mut all = String::new();
    for node in page.select(&body).flat_map(|body| body.descendants()) {
        let apart = |name: &str| APART.contains(&name);
        if node
            .value()
            .as_element()
            .is_some_and(|element| apart(element.name()))
            || node
                .prev_sibling()
                .and_then(ElementRef::wrap)
                .is_some_and(|before| apart(before.value().name()))
        {
            all.push(' ');
        }
        let seen = || {
            let mut above = node.ancestors().filter_map(ElementRef::wrap);
            !above.any(|above| UNSEEN.contains(&above.value().name()))
        };
        if let Some(piece) = node.value().as_text().filter(|_| seen()) {
            all.push_str(piece);
        }
    }
    squeezed(&all)
}

#[cfg(test)]
mod tests {
    use super::of_html;

    #[test]
    fn paragraphs_stay_apart_and_words_stay_whole() {
        for (html, text) in [
            ("<p>한 줄</p><p>두&nbsp;줄</p>셋", "한 줄 두 줄 셋"),
            ("foo<b>bar</b>", "foobar"),
            ("a<br>b<script>c()</script>", "a b"),
            ("AT&T <3 tags", "AT&T <3 tags"),
            ("<img src=x onerror=alert(1)>safe", "safe"),
            ("", ""),
        ] {
            assert_eq!(of_html(html), text, "{html}");
        }
    }
}
