//! Shopping categories: names people write, ids Naver understands.

use std::collections::BTreeMap;

use flowweaver_task::{Error, Result};

/// Naver shopping's top categories.
const TABLE: [(&str, &str); 12] = [
    ("패션의류", "50000000"),
    ("패션잡화", "50000001"),
    ("화장품/미용", "50000002"),
    ("디지털/가전", "50000003"),
    ("가구/인테리어", "50000004"),
    ("출산/육아", "50000005"),
    ("식품", "50000006"),
    ("스포츠/레저", "50000007"),
    ("생활/건강", "50000008"),
    ("여가/생활편의", "50000009"),
    ("면세점", "50000010"),
    ("도서", "50005542"),
];

/// The names and ids that the input's `categories` starts from.
pub(crate) fn table() -> BTreeMap<String, String> {
    TABLE
        .map(|(name, id)| (name.to_owned(), id.to_owned()))
        .into()
}

/// The first category of Naver's own list.
pub(crate) fn usual() -> String {
    "패션의류".to_owned()
}

/// The id of a category given by name or id.
///
/// # Errors
/// `input.unknown-category` for a name that is not in the table.
pub(crate) fn id(wanted: &str, table: &BTreeMap<String, String>) -> Result<String> {
    let wanted = wanted.trim();
    if let Some(id) = table.get(wanted) {
        return Ok(id.clone());
    }
    if !wanted.is_empty() && wanted.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(wanted.to_owned());
    }
    let known: Vec<&str> = table.keys().map(String::as_str).collect();
    let message = format!(
        "`category`: `{wanted}` is neither an id nor a known name; known are {}",
        known.join(", ")
    );
    Err(Error::permanent("input.unknown-category", message))
}
