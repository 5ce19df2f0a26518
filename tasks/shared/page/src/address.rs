//! Addresses on pages: made absolute, and compared. Which of them matter is the module's.

use url::Url;

/// The absolute address that `reference` names on a page at `base`, without a fragment. None for what is not a web
/// address: nothing, `#…`, `javascript:`, `data:`, `mailto:`, or text that no address can be made of.
pub fn resolve(base: &Url, reference: &str) -> Option<Url> {
    let reference = reference.trim();
    if reference.is_empty() || reference.starts_with('#') {
        return None;
    }
    let mut url = base.join(reference).ok()?;
    url.set_fragment(None);
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

/// What two addresses of one page have in common: everything but the fragment and the order of the query.
pub fn identity(url: &Url) -> String {
    let mut pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    pairs.sort();
    let mut url = url.clone();
    url.set_fragment(None);
    url.set_query(None);
    if !pairs.is_empty() {
        url.query_pairs_mut().extend_pairs(&pairs);
    }
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Url {
        Url::parse("https://Mall.test:443/shop/search.php?ss_tx=a").unwrap()
    }

    #[test]
    fn every_way_to_write_an_address_becomes_the_absolute_one() {
        for reference in [
            "view.php?n=1",
            " ./view.php?n=1 ",
            "/shop/view.php?n=1",
            "//mall.test/shop/view.php?n=1#reviews",
            "../shop/view.php?n=1",
        ] {
            assert_eq!(
                resolve(&base(), reference).unwrap().as_str(),
                "https://mall.test/shop/view.php?n=1"
            );
        }
    }

    #[test]
    fn what_is_not_a_web_address_is_none() {
        for reference in [
            "",
            "#top",
            "javascript:void(0)",
            "data:image/gif;base64,R0lGOD",
            "mailto:a@b.test",
            "http://",
        ] {
            assert_eq!(resolve(&base(), reference), None, "{reference}");
        }
    }

    #[test]
    fn addresses_that_differ_in_query_order_or_fragment_only_are_the_same_page() {
        let same = |a: &str, b: &str| {
            identity(&Url::parse(a).unwrap()) == identity(&Url::parse(b).unwrap())
        };
        assert!(same(
            "https://m.test/v?a=1&b=%ED%95%9C#x",
            "https://M.test/v?b=한&a=1"
        ));
        assert!(!same("https://m.test/v?a=1", "https://m.test/v?a=2"));
        assert!(!same("https://m.test/v?a=1", "https://m.test/w?a=1"));
    }
}
