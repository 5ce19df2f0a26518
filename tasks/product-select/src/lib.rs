//! Chooses the one product that an article is written about. It is pure: it reaches nothing and keeps nothing.

use flowweaver_task::serde_json::Value;
use flowweaver_task::{Context, Error, Result, task};

/// What to choose from, and by what.
#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// The products, as `product-crawl` gives them.
    crawled_products: Vec<CrawledProduct>,
    /// What was stored of them, as `asset-upload` gives it.
    upload_results: Vec<UploadResult>,
    /// By what to choose.
    #[serde(default)]
    criteria: Criteria,
}

/// By what a product is chosen.
#[derive(
    Clone, Copy, Debug, Default, serde::Deserialize, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
enum Criteria {
    /// The most stored pictures; the first of several.
    #[default]
    ImageCountPriority,
    /// The first product that was crawled, whatever its pictures.
    FirstSuccess,
}

/// A product as it was crawled.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
struct CrawledProduct {
    /// Its number among the products of this run.
    index: u32,
    /// The address of its page.
    #[serde(default)]
    url: String,
    /// Its title, price, rating, options, `material_info` and `product_images`; none if it could not be crawled.
    #[serde(default)]
    product_detail: Option<Value>,
    /// "failed" if it could not be crawled.
    #[serde(default)]
    status: String,
    /// Why it could not be crawled.
    #[serde(default)]
    error: Option<Value>,
    /// When its page was read.
    #[serde(default)]
    crawled_at: Option<String>,
}

impl CrawledProduct {
    fn is_success(&self) -> bool {
        self.status != "failed" && self.product_detail.as_ref().is_some_and(Value::is_object)
    }
}

/// What was stored of a product.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
struct UploadResult {
    /// The product's number.
    product_index: u32,
    /// "success" if its data and at least one picture (unless it has none) were stored.
    #[serde(default)]
    status: String,
    /// The pictures stored, in order.
    #[serde(default)]
    uploaded_images: Vec<UploadedImage>,
}

/// A picture that was stored.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
struct UploadedImage {
    /// Its number within the product, from 1.
    #[serde(default)]
    index: u32,
    /// Where it was found.
    #[serde(default)]
    original_url: String,
    /// Where it is now.
    s3_url: String,
    /// Its size in KiB.
    #[serde(default)]
    file_size_kb: f64,
    /// The last part of its key.
    #[serde(default)]
    file_name: String,
}

/// The choice.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
struct Output {
    /// The product chosen.
    selected_product: SelectedProduct,
    /// Why it was chosen, for a person.
    selection_reason: String,
    /// How many products there were to choose from.
    total_available_products: u32,
    /// The addresses of the chosen product's stored pictures, in order.
    image_urls: Vec<String>,
}

/// The product chosen: as it was crawled, with its stored pictures.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
struct SelectedProduct {
    /// Its number among the products of this run.
    index: u32,
    /// The address of its page.
    url: String,
    /// Its title, price, rating, options, `material_info` and `product_images`; null if it could not be crawled.
    product_detail: Option<Value>,
    /// What became of its crawl.
    status: String,
    /// Why it could not be crawled.
    error: Option<Value>,
    /// When its page was read.
    crawled_at: Option<String>,
    /// Its stored pictures, in order.
    uploaded_images: Vec<UploadedImage>,
}

/// Chooses the one product that an article is written about.
#[task]
fn run(input: Input, _cx: &Context) -> Result<Output> {
    let Some((product, selection_reason)) = choose(&input) else {
        return Err(Error::permanent(
            "product.none",
            "`crawled_products` is empty: there is no product to choose",
        ));
    };
    let uploaded_images: Vec<UploadedImage> = uploaded(&input, product)
        .map(|result| result.uploaded_images.clone())
        .unwrap_or_default();
    let product = product.clone();
    Ok(Output {
        image_urls: uploaded_images
            .iter()
            .map(|image| image.s3_url.clone())
            .collect(),
        selected_product: SelectedProduct {
            index: product.index,
            url: product.url,
            product_detail: product.product_detail,
            status: product.status,
            error: product.error,
            crawled_at: product.crawled_at,
            uploaded_images,
        },
        selection_reason,
        total_available_products: u32::try_from(input.crawled_products.len()).unwrap_or(u32::MAX),
    })
}

/// What was stored of a product, found by its number and never by its place in the list.
fn uploaded<'a>(input: &'a Input, product: &CrawledProduct) -> Option<&'a UploadResult> {
    input
        .upload_results
        .iter()
        .find(|result| result.product_index == product.index)
}

fn choose(input: &Input) -> Option<(&CrawledProduct, String)> {
    let successes = || {
        input
            .crawled_products
            .iter()
            .filter(|product| product.is_success())
    };
    let by_pictures = match input.criteria {
        Criteria::FirstSuccess => None,
        Criteria::ImageCountPriority => successes()
            .filter_map(|product| Some((product, stored(uploaded(input, product)?))))
            .filter(|(_, pictures)| *pictures > 0)
            // Of equals `max_by_key` takes the last, and the first is wanted.
            .rev()
            .max_by_key(|(_, pictures)| *pictures),
    };
    if let Some((product, pictures)) = by_pictures {
        let reason = format!(
            "product {} has the most stored pictures: {pictures}",
            product.index
        );
        return Some((product, reason));
    }
    if let Some(product) = successes().next() {
        let reason = match input.criteria {
            Criteria::FirstSuccess => {
                format!("product {} is the first that was crawled", product.index)
            }
            Criteria::ImageCountPriority => format!(
                "no product has stored pictures; product {} is the first that was crawled",
                product.index
            ),
        };
        return Some((product, reason));
    }
    let product = input.crawled_products.first()?;
    Some((
        product,
        format!(
            "no product was crawled; product {} is the first",
            product.index
        ),
    ))
}

fn stored(result: &UploadResult) -> usize {
    if result.status == "success" {
        result.uploaded_images.len()
    } else {
        0
    }
}

#[cfg(test)]
mod tests;
