//! Where things are put: the bucket's address, the folder of a product, the names in it. Everything that comes from
//! data is made safe here, so that no keyword can build a path.

use flowweaver_task::{Error, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};
use unicode_normalization::UnicodeNormalization;

/// Korea's offset from UTC, in hours: it has no summer time, so no table of time zones is needed.
const KOREA: i8 = 9;

/// The most letters of a keyword in a folder's name, as the contract has it.
const KEYWORD_LETTERS: usize = 20;

/// What stands for a keyword without a single usable letter.
const NO_KEYWORD: &str = "item";

/// What Signature Version 4 leaves as it is, and the slash between the parts of a key.
const KEY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/');

/// The address of a bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    put: String,
    read: String,
}

impl Bucket {
    /// Amazon's address of the bucket, or `{endpoint}/{bucket}` if there is an endpoint.
    pub(crate) fn new(
        name: &str,
        region: &str,
        endpoint: Option<&str>,
        public_url: Option<&str>,
    ) -> Result<Self> {
        let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        // The name becomes part of a host name or path; these are Amazon's own rules for it.
        let named = (3..=63).contains(&name.len())
            && name
                .split('.')
                .all(|part| !part.is_empty() && part.chars().all(label));
        if !named {
            return Err(invalid("bucket", name, "a bucket's name"));
        }
        if region.is_empty() || !region.chars().all(label) {
            return Err(invalid("region", region, "a region's name"));
        }
        let put = match endpoint {
            Some(endpoint) => format!("{}/{name}", address("endpoint", endpoint)?),
            // A certificate for *.s3 does not cover a name with a dot.
            None if name.contains('.') => format!("https://s3.{region}.amazonaws.com/{name}"),
            None => format!("https://{name}.s3.{region}.amazonaws.com"),
        };
        let read = match public_url {
            Some(url) => address("public_url", url)?.to_owned(),
            None => put.clone(),
        };
        Ok(Bucket { put, read })
    }

    /// Where the object with this key is put.
    pub(crate) fn put_url(&self, key: &str) -> String {
        format!("{}/{}", self.put, utf8_percent_encode(key, KEY))
    }

    /// Where the object with this key is read.
    pub(crate) fn read_url(&self, key: &str) -> String {
        format!("{}/{}", self.read, utf8_percent_encode(key, KEY))
    }
}

fn invalid(field: &str, given: &str, what: &str) -> Error {
    Error::permanent(
        "input.invalid",
        format!("`{field}`: `{given}` is not {what}"),
    )
}

fn address<'a>(field: &str, url: &'a str) -> Result<&'a str> {
    let url = url.trim().trim_end_matches('/');
    let plain = !url.contains(['?', '#', ' ']);
    if plain && (url.starts_with("https://") || url.starts_with("http://")) {
        Ok(url)
    } else {
        Err(invalid(field, url, "an address without query"))
    }
}

/// The base folder without slashes around it; parts that mean something else in a path are refused.
pub(crate) fn base(folder: &str) -> Result<String> {
    let folder = folder.trim().trim_matches('/');
    let fine = |c: char| is_safe(c) || c == '.';
    let part_fine =
        |part: &str| !part.is_empty() && !part.starts_with('.') && part.chars().all(fine);
    if folder.is_empty() || folder.split('/').all(part_fine) {
        Ok(folder.to_owned())
    } else {
        Err(invalid(
            "base_folder",
            folder,
            "a folder of letters, digits, `-`, `_` and `.`",
        ))
    }
}

/// The day as YYYYMMDD: the one given, else the day in Korea at the time the run was due.
pub(crate) fn day(given: Option<&str>, scheduled_at: &str) -> Result<String> {
    if let Some(day) = given {
        let digits = day.len() == 8 && day.bytes().all(|byte| byte.is_ascii_digit());
        return if digits {
            Ok(day.to_owned())
        } else {
            Err(invalid("date", day, "a day like 20260131"))
        };
    }
    let unreadable = |error: &dyn std::fmt::Display| {
        Error::permanent(
            "context.invalid",
            format!("`{scheduled_at}` is not the time at which a run is due: {error}"),
        )
    };
    let due = OffsetDateTime::parse(scheduled_at, &Rfc3339).map_err(|error| unreadable(&error))?;
    let korea = UtcOffset::from_hms(KOREA, 0, 0).map_err(|error| unreadable(&error))?;
    let day = due.to_offset(korea).date();
    Ok(format!(
        "{:04}{:02}{:02}",
        day.year(),
        u8::from(day.month()),
        day.day()
    ))
}

/// What a name may hold: latin letters and digits, Hangul, `-` and `_`.
fn is_safe(letter: char) -> bool {
    let hangul = ('가'..='힣').contains(&letter) || ('ㄱ'..='ㅣ').contains(&letter);
    letter.is_ascii_alphanumeric() || hangul || letter == '-' || letter == '_'
}

/// The keyword as part of a name: everything unsafe becomes one `_`, at most 20 letters remain.
fn safe(keyword: &str) -> String {
    let mut name = String::new();
    for letter in keyword.nfc() {
        if is_safe(letter) {
            name.push(letter);
        } else if !name.ends_with('_') {
            name.push('_');
        }
    }
    let name: String = name
        .trim_matches('_')
        .chars()
        .take(KEYWORD_LETTERS)
        .collect();
    let name = name.trim_end_matches('_');
    if name.is_empty() {
        NO_KEYWORD.to_owned()
    } else {
        name.to_owned()
    }
}

/// The folder of one product. The same product of the same run always has the same one, so a retry overwrites.
#[derive(Debug)]
pub(crate) struct Folder(String);

impl Folder {
    pub(crate) fn new(base: &str, day: &str, keyword: &str, index: u32) -> Self {
        let name = format!("{day}_{}_{index}", safe(keyword));
        Folder(if base.is_empty() {
            name
        } else {
            format!("{base}/{name}")
        })
    }

    /// The key of something in the folder.
    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyword_cannot_build_a_path() {
        for (keyword, expected) in [
            ("무선 이어폰", "무선_이어폰"),
            ("../../etc/passwd", "etc_passwd"),
            ("a/b\\c?d#e%2f\n", "a_b_c_d_e_2f"),
            ("..", "item"),
            ("", "item"),
            (
                "가나다라마바사아자차카타파하 가나다라마바사",
                "가나다라마바사아자차카타파하_가나다라마",
            ),
            ("\u{1112}\u{1161}\u{11ab}", "한"),
        ] {
            assert_eq!(safe(keyword), expected, "{keyword}");
            assert!(safe(keyword).chars().count() <= KEYWORD_LETTERS);
        }
    }

    #[test]
    fn the_day_is_koreas() {
        assert_eq!(day(None, "2026-01-02T23:00:00Z").unwrap(), "20260103");
        assert_eq!(day(None, "2026-01-02T14:59:59Z").unwrap(), "20260102");
        assert_eq!(day(Some("20251231"), "").unwrap(), "20251231");
        for wrong in ["2025-12-31", "../12345", ""] {
            assert_eq!(day(Some(wrong), "").unwrap_err().code, "input.invalid");
        }
    }

    #[test]
    fn the_address_follows_from_bucket_region_and_endpoint() {
        for (name, endpoint, expected) in [
            (
                "pictures",
                None,
                "https://pictures.s3.eu-west-1.amazonaws.com/a/%ED%95%9C.png",
            ),
            (
                "my.pictures",
                None,
                "https://s3.eu-west-1.amazonaws.com/my.pictures/a/%ED%95%9C.png",
            ),
            (
                "pictures",
                Some("http://store.test:9000/s3/"),
                "http://store.test:9000/s3/pictures/a/%ED%95%9C.png",
            ),
        ] {
            let bucket = Bucket::new(name, "eu-west-1", endpoint, None).unwrap();
            assert_eq!(bucket.put_url("a/한.png"), expected);
            assert_eq!(bucket.read_url("a/한.png"), expected);
        }
        let bucket = Bucket::new("pictures", "eu-west-1", None, Some("https://cdn.test/")).unwrap();
        assert_eq!(bucket.read_url("a/1.png"), "https://cdn.test/a/1.png");
    }

    #[test]
    fn names_that_would_change_the_address_are_refused() {
        for (name, region, endpoint) in [
            ("a/../b", "eu-west-1", None),
            ("evil.test/x?", "eu-west-1", None),
            ("Pictures", "eu-west-1", None),
            ("pictures", "eu.evil.test/", None),
            ("pictures", "", None),
            ("pictures", "eu-west-1", Some("store.test")),
            ("pictures", "eu-west-1", Some("https://store.test/?a=")),
        ] {
            let error = Bucket::new(name, region, endpoint, None).unwrap_err();
            assert_eq!(error.code, "input.invalid", "{name} {region} {endpoint:?}");
        }
        for folder in ["../up", "a//b", "a/./b", "a b"] {
            assert!(base(folder).is_err(), "{folder}");
        }
        assert_eq!(base("/shop/상품/").unwrap(), "shop/상품");
    }
}
