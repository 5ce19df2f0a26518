//! An HTML page as task modules read it: elements by CSS selector, their visible text, and the addresses they
//! name. Fetching is the SDK's, and what a site's elements mean is each module's.

mod address;
mod text;

pub use address::{identity, resolve};
pub use scraper::{ElementRef, Selector};
pub use text::{squeezed, text};
pub use url::Url;

use flowweaver_task::{Error, Result};
use scraper::Html;

/// A parsed page. Broken HTML is repaired as browsers do it, so parsing cannot fail.
#[derive(Debug)]
pub struct Page {
    html: Html,
    url: Url,
    base: Url,
}

impl Page {
    /// Parses the page that `address` answered with. Relative addresses on it are relative to its `<base href>`, if
    /// there is one, else to `address`.
    ///
    /// # Errors
    /// `url.invalid` when `address` is not an absolute address.
    pub fn parse(html: &str, address: &str) -> Result<Self> {
        let url = Url::parse(address).map_err(|error| {
            Error::permanent(
                "url.invalid",
                format!("`{address}` is not an absolute address: {error}"),
            )
        })?;
        let html = Html::parse_document(html);
        let base = declared_base(&html, &url)?.unwrap_or_else(|| url.clone());
        Ok(Page { html, url, base })
    }

    /// The address that answered with the page.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// What relative addresses on the page are relative to.
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// The elements that match, in document order.
    pub fn select<'a, 'b>(
        &'a self,
        selector: &'b Selector,
    ) -> impl Iterator<Item = ElementRef<'a>> + use<'a, 'b> {
        self.html.select(selector)
    }

    /// The text of the first matching element that has any.
    pub fn first_text(&self, selector: &Selector) -> Option<String> {
        self.select(selector)
            .map(text)
            .find(|text| !text.is_empty())
    }

    /// The absolute address that an `href` or `src` on this page names; see [`resolve`].
    pub fn address(&self, reference: &str) -> Option<Url> {
        resolve(&self.base, reference)
    }
}

fn declared_base(html: &Html, address: &Url) -> Result<Option<Url>> {
    let selector = selector("base", "base[href]")?;
    let first = html.select(&selector).find_map(|base| base.attr("href"));
    Ok(first.and_then(|href| resolve(address, href)))
}

/// Compiles a selector that stood in the input field `field`.
///
/// # Errors
/// `input.invalid`, naming the field, when it is not a CSS selector.
pub fn selector(field: &str, css: &str) -> Result<Selector> {
    Selector::parse(css).map_err(|error| {
        Error::permanent(
            "input.invalid",
            format!("`{field}`: `{css}` is not a CSS selector: {error}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_that_is_none_names_its_field() {
        let error = selector("title_selector", "h1[").unwrap_err();
        assert_eq!(error.code, "input.invalid");
        assert!(
            error.message.starts_with("`title_selector`: `h1[`"),
            "{}",
            error.message
        );
    }

    #[test]
    fn addresses_follow_a_declared_base() {
        let page = Page::parse(
            "<base href='/mall/'><a href='view.php'>x</a>",
            "https://mall.test/shop/search.php",
        )
        .unwrap();
        assert_eq!(
            page.address("view.php").unwrap().as_str(),
            "https://mall.test/mall/view.php"
        );
        let page = Page::parse("", "https://mall.test/shop/search.php").unwrap();
        assert_eq!(
            page.address("view.php").unwrap().as_str(),
            "https://mall.test/shop/view.php"
        );
    }

    #[test]
    fn a_page_without_an_absolute_address_is_refused() {
        assert_eq!(Page::parse("", "shop/").unwrap_err().code, "url.invalid");
    }

    #[test]
    fn the_first_text_passes_over_empty_elements() {
        let page = Page::parse("<h1> </h1><h1>둘째</h1>", "https://mall.test/").unwrap();
        assert_eq!(
            page.first_text(&selector("", "h1").unwrap()).as_deref(),
            Some("둘째")
        );
    }
}
