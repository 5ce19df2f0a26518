//! The facts of a product, read at the level where they are: below `product_detail`. How they are told is in `prompt`.

use flowweaver_task::serde_json::Value;
use flowweaver_task::{Error, Result};

use crate::chunk::{Chunk, Kind, split};

/// A product's facts, as text.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) title: String,
    pub(crate) url: String,
    pub(crate) price: Option<String>,
    pub(crate) rating: Option<String>,
    pub(crate) category: Option<String>,
    pub(crate) options: Vec<String>,
    pub(crate) materials: Vec<(String, String)>,
    /// Addresses of its stored pictures.
    pub(crate) pictures: Vec<String>,
}

impl Facts {
    /// Reads `product_detail`, or the product itself if it is the detail.
    ///
    /// # Errors
    /// `input.invalid` if there is no title: an article would be about nothing.
    pub(crate) fn read(product: &Value, currency: &str) -> Result<Self> {
        let detail = product
            .get("product_detail")
            .filter(|detail| detail.is_object())
            .unwrap_or(product);
        let Some(title) = text(detail.get("title")) else {
            return Err(Error::permanent(
                "input.invalid",
                "`product.product_detail.title`: there is none",
            ));
        };
        let list =
            |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
        let options = list(detail.get("options"));
        let materials = detail.get("material_info").and_then(Value::as_object);
        Ok(Facts {
            title,
            url: text(product.get("url").or(detail.get("url"))).unwrap_or_default(),
            price: price(detail.get("price"), currency),
            rating: text(detail.get("rating")),
            category: text(detail.get("category").or(product.get("category"))),
            options: options
                .iter()
                .filter_map(|option| text(Some(option.get("name").unwrap_or(option))))
                .collect(),
            materials: materials
                .into_iter()
                .flatten()
                .filter_map(|(name, value)| Some((name.clone(), text(Some(value))?)))
                .collect(),
            pictures: addresses(&list(product.get("uploaded_images"))),
        })
    }

    /// What the product is, in the words by which facts about it are found.
    pub(crate) fn subject(&self) -> String {
        let category = self.category.as_deref().unwrap_or_default();
        format!("{} {category}", self.title).trim().to_owned()
    }

    /// The facts as labelled lines, each once; long lists are several.
    pub(crate) fn chunks(&self, letters: usize) -> Vec<Chunk> {
        let materials: Vec<String> = self
            .materials
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        let lists = [
            ("옵션", "options", &self.options),
            ("상품 정보", "material_info", &materials),
        ];
        let single = [
            ("상품명", "title", Some(&self.title)),
            ("가격", "price", self.price.as_ref()),
            ("평점", "rating", self.rating.as_ref()),
            ("분류", "category", self.category.as_ref()),
        ];
        let mut chunks = Vec::new();
        for (label, field, value) in single {
            chunks.extend(value.map(|value| fact(label, field, value)));
        }
        for (label, field, values) in lists {
            // One value a line, so that a list is cut between its values.
            let lines = values
                .iter()
                .map(|value| format!("{value},\n"))
                .collect::<String>();
            let pieces = split(&lines, letters);
            chunks.extend(
                pieces
                    .iter()
                    .map(|piece| fact(label, field, piece.trim_end_matches(','))),
            );
        }
        chunks
    }
}

fn fact(label: &str, field: &str, value: &str) -> Chunk {
    Chunk {
        kind: Kind::Product,
        origin: format!("product_detail.{field}"),
        text: format!("{label}: {value}"),
    }
}

/// Text or a number, as text; nothing if it is blank or anything else.
fn text(value: Option<&Value>) -> Option<String> {
    let text = match value? {
        Value::String(text) => text.split_whitespace().collect::<Vec<_>>().join(" "),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// A price that is a bare number gets separators and its currency; any other stays as it is written.
fn price(value: Option<&Value>, currency: &str) -> Option<String> {
    let written = text(value)?;
    let (whole, fraction) = written.split_once('.').unwrap_or((&written, ""));
    if whole.is_empty()
        || !format!("{whole}{fraction}")
            .bytes()
            .all(|byte| byte.is_ascii_digit())
    {
        return Some(written);
    }
    let mut price = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            price.push(',');
        }
        price.push(digit);
    }
    if !fraction.bytes().all(|byte| byte == b'0') {
        price.push('.');
        price.push_str(fraction);
    }
    Some(price + currency)
}

/// The addresses in a list of addresses or of entries with `s3_url`, each once. What no browser should load, such as
/// `javascript:`, is left out.
pub(crate) fn addresses(images: &[Value]) -> Vec<String> {
    let mut addresses: Vec<String> = Vec::new();
    for image in images {
        let address = image
            .get("s3_url")
            .unwrap_or(image)
            .as_str()
            .unwrap_or_default()
            .trim();
        let loadable = address.starts_with("https://") || address.starts_with("http://");
        if loadable && !addresses.iter().any(|known| known == address) {
            addresses.push(address.to_owned());
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use flowweaver_task::json;

    use super::{Facts, price};

    #[test]
    fn facts_are_read_below_product_detail() {
        let product = json!({
            "index": 2, "url": "https://mall.test/2", "title": "wrong level",
            "product_detail": {
                "title": " 경량  백팩 ", "price": 1023900, "rating": 4.5, "options": [{ "name": "블랙" }, { "name": "네이비" }],
                "material_info": { "재질": "나일론" }, "product_images": [],
            },
            "uploaded_images": [{ "s3_url": "https://s3.test/1.png" }, { "s3_url": "javascript:alert(1)" }],
        });
        let facts = Facts::read(&product, "원").unwrap();
        let texts: Vec<String> = facts
            .chunks(300)
            .into_iter()
            .map(|chunk| chunk.text)
            .collect();
        assert_eq!(
            texts,
            [
                "상품명: 경량 백팩",
                "가격: 1,023,900원",
                "평점: 4.5",
                "옵션: 블랙, 네이비",
                "상품 정보: 재질 나일론"
            ]
        );
        assert_eq!(facts.pictures, ["https://s3.test/1.png"]);
    }

    #[test]
    fn a_product_without_a_title_is_refused() {
        let failed = json!({ "index": 1, "url": "https://mall.test/1", "product_detail": null, "status": "failed" });
        assert_eq!(
            Facts::read(&failed, "원").unwrap_err().code,
            "input.invalid"
        );
    }

    #[test]
    fn a_price_that_is_written_out_stays_as_it_is() {
        for (given, expected) in [
            (json!("23900"), Some("23,900원")),
            (json!(999), Some("999원")),
            (json!(12.50), Some("12.5원")),
            (json!("23,900원"), Some("23,900원")),
            (json!("문의"), Some("문의")),
            (json!(null), None),
        ] {
            assert_eq!(price(Some(&given), "원").as_deref(), expected, "{given}");
        }
    }
}
