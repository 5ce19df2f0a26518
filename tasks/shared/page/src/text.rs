//! The text that a reader of an element would see.

use scraper::ElementRef;

/// Elements whose text is for programs.
const UNSEEN: [&str; 4] = ["script", "style", "template", "noscript"];

/// The element's text, white space as one space, scripts and styles left out.
pub fn text(element: ElementRef<'_>) -> String {
    let mut all = String::new();
    for node in element.descendants() {
        let seen = || {
            !node
                .ancestors()
                .filter_map(ElementRef::wrap)
                .any(|above| UNSEEN.contains(&above.value().name()))
        };
        if let Some(piece) = node.value().as_text().filter(|_| seen()) {
            all.push_str(piece);
        }
    }
    squeezed(&all)
}

/// Text with its white space, no-break spaces included, as single spaces.
pub fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use crate::{Page, selector};

    #[test]
    fn text_is_what_a_reader_sees() {
        let page = Page::parse(
            "<p> 등산&nbsp;스틱\n <b>2개</b><script>var a = 1 < 2;</script><style>b {}</style></p>",
            "https://mall.test/",
        )
        .unwrap();
        assert_eq!(
            page.first_text(&selector("", "p").unwrap()).unwrap(),
            "등산 스틱 2개"
        );
    }
}
