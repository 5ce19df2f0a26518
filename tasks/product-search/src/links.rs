//! Which links on a search page are products. Titles that no link tells are not here.

use std::collections::HashMap;

use flowweaver_task::Result;
use task_page::{Page, Url, identity, selector, squeezed, text};

/// How a product's address is recognised.
pub(crate) struct Rules<'a> {
    /// What every product's address contains.
    pub(crate) page: &'a str,
    /// Of these, it contains at least one; an empty list asks for none.
    pub(crate) marks: &'a [String],
}

impl Rules<'_> {
    fn cover(&self, href: &str) -> bool {
        href.contains(self.page)
            && (self.marks.is_empty() || self.marks.iter().any(|mark| href.contains(mark.as_str())))
    }
}

/// A product's address, and its title if one of its links tells it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) url: Url,
    /// Empty when no link tells it.
    pub(crate) title: String,
}

/// The products that a page links to, each once, in the order of their first links. Of several links to one product
/// (its picture, its name) the first that has a title tells it.
pub(crate) fn products(page: &Page, rules: &Rules<'_>) -> Result<Vec<Link>> {
    let anchors = selector("a", "a[href]")?;
    let mut found: Vec<Link> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for anchor in page.select(&anchors) {
        let Some(href) = anchor.attr("href").filter(|href| rules.cover(href)) else {
            continue;
        };
        let Some(url) = page.address(href) else {
            continue;
        };
        let attribute = squeezed(anchor.attr("title").unwrap_or_default());
        let title = if attribute.is_empty() {
            text(anchor)
        } else {
            attribute
        };
        let place = *places.entry(identity(&url)).or_insert(found.len());
        match found.get_mut(place) {
            None => found.push(Link { url, title }),
            Some(known) if known.title.is_empty() => known.title = title,
            Some(_) => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(html: &str) -> Vec<(String, String)> {
        let marks = ["platform=1688".to_owned(), "num_iid".to_owned()];
        let rules = Rules {
            page: "view.php",
            marks: &marks,
        };
        let page = Page::parse(html, "https://mall.test/shop/search.php?ss_tx=x").unwrap();
        let links = products(&page, &rules).unwrap();
        links
            .into_iter()
            .map(|link| (link.url.into(), link.title))
            .collect()
    }

    #[test]
    fn advertisements_other_pages_and_scripts_are_no_products() {
        let links = found(
            "<a href='https://ads.test/?to=view.php'>a</a><a href='view.php?platform=taobao&amp;item=1'>b</a>\
             <a href='list.php?num_iid=1'>c</a><a href='javascript:open(\"view.php?num_iid=1\")'>d</a><a href='#view.php?num_iid'>e</a>",
        );
        assert_eq!(links, []);
    }

    #[test]
    fn a_product_with_several_links_is_listed_once_with_the_first_title_told() {
        let links = found(
            "<a href='view.php?platform=1688&amp;num_iid=1'><img src='a.png'></a>\
             <a href='/shop/view.php?platform=1688&num_iid=1' title=' 등산\u{a0}스틱 '>등산…</a>\
             <a href='https://mall.test/shop/view.php?num_iid=1&platform=1688#reviews'>후기</a>\
             <a href='./view.php?num_iid=2'>\n <strong>텀블러</strong>\n</a>",
        );
        let expected = [
            (
                "https://mall.test/shop/view.php?platform=1688&num_iid=1",
                "등산 스틱",
            ),
            ("https://mall.test/shop/view.php?num_iid=2", "텀블러"),
        ];
        assert_eq!(
            links,
            expected.map(|(url, title)| (url.to_owned(), title.to_owned()))
        );
    }

    #[test]
    fn a_product_whose_links_are_all_silent_has_no_title_yet() {
        assert_eq!(
            found(
                "<a href='view.php?num_iid=1'><span class='blind'></span></a><a href='view.php?num_iid=1' title=' '></a>"
            ),
            [(
                "https://mall.test/shop/view.php?num_iid=1".to_owned(),
                String::new()
            )]
        );
    }
}
