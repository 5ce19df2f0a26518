//! Puts the pictures and facts of crawled products into an S3-compatible bucket: what goes in, what comes out, and
//! what is a failure of the whole task. Names of folders and objects are in `place`, moving bytes is in `transfer`.
//! Signing is not here: the grant makes the host sign every request to the bucket.

mod format;
mod place;
mod transfer;

use std::num::NonZeroU32;

use flowweaver_task::serde_json::Value;
use flowweaver_task::{Context, Error, Result, json, log, task};

use place::{Bucket, Folder};
use transfer::{Limits, Outcome, Picture};

/// What to store, and where.
#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// What the products were searched for; part of every folder's name.
    keyword: String,
    /// The products, as `product-crawl` gives them.
    crawled_products: Vec<CrawledProduct>,
    /// The bucket's name.
    bucket: String,
    /// The bucket's region.
    #[serde(default = "region")]
    region: String,
    /// The address of an S3-compatible service, used path-style; none for Amazon's own.
    #[serde(default)]
    endpoint: Option<String>,
    /// The folder that holds the folders of all products.
    #[serde(default = "base_folder")]
    base_folder: String,
    /// Where readers find the objects, if not at the address they are put to: a content delivery network.
    #[serde(default)]
    public_url: Option<String>,
    /// The day in the folders' names as YYYYMMDD; none for the day in Korea on which the run was due.
    #[serde(default)]
    date: Option<String>,
    /// Pictures moved at the same time.
    #[serde(default = "four")]
    concurrency: NonZeroU32,
    /// The most pictures stored of one product; the rest is left out.
    #[serde(default = "thirty")]
    max_images: NonZeroU32,
    /// The largest picture taken, in bytes.
    #[serde(default = "eight_mib")]
    max_image_bytes: NonZeroU32,
}

/// A product as it was crawled. What it holds beside these fields is stored with it and otherwise ignored.
#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
struct CrawledProduct {
    /// Its number among the products of this run.
    index: u32,
    /// The address of its page.
    #[serde(default)]
    url: String,
    /// Its title, price, options and `product_images`; none if it could not be crawled.
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

/// What was stored.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
struct Output {
    /// One entry for each product, in the order given.
    upload_results: Vec<UploadResult>,
    /// The counts over all products.
    summary: Summary,
}

/// What was stored of one product.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
struct UploadResult {
    /// The product's number.
    product_index: u32,
    /// The product's title; empty if it was not crawled.
    product_title: String,
    /// What became of the product.
    status: Status,
    /// The pictures stored, in order.
    uploaded_images: Vec<UploadedImage>,
    /// How many pictures were stored.
    success_count: u32,
    /// How many pictures could not be stored.
    fail_count: u32,
    /// The pictures that could not be stored, and why.
    failed_images: Vec<FailedImage>,
    /// The address of the stored `product_data.json`; none if the product was skipped.
    data_url: Option<String>,
    /// Why the product was skipped; none if it was not.
    reason: Option<String>,
}

/// What became of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// Its data is stored, and at least one picture, unless it has none.
    Success,
    /// Its data is stored, but it has pictures and none could be stored.
    Failed,
    /// It was not crawled, so there is nothing to store.
    Skipped,
}

/// A picture that was stored.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
struct UploadedImage {
    /// Its number within the product, from 1; the NNN of its name.
    index: u32,
    /// Where it was found.
    original_url: String,
    /// Where it is now.
    s3_url: String,
    /// Its size in KiB, to two decimals.
    file_size_kb: f64,
    /// The last part of its key.
    file_name: String,
}

/// A picture that could not be stored.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
struct FailedImage {
    /// Its number within the product, from 1.
    index: u32,
    /// Where it was looked for.
    original_url: String,
    /// Why, as "code: message".
    error: String,
}

/// The counts over all products.
#[derive(Debug, Default, serde::Serialize, schemars::JsonSchema)]
struct Summary {
    /// Products given.
    total_products: u32,
    /// Products with status "success".
    success_products: u32,
    /// Products with status "failed".
    failed_products: u32,
    /// Products with status "skipped".
    skipped_products: u32,
    /// Pictures stored.
    success_count: u32,
    /// Pictures that could not be stored.
    fail_count: u32,
}

fn region() -> String {
    "ap-northeast-2".to_owned()
}

fn base_folder() -> String {
    "product".to_owned()
}

fn four() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(3)
}

fn thirty() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(29)
}

fn eight_mib() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add((8 << 20) - 1)
}

/// Puts the pictures and facts of crawled products into an S3-compatible bucket.
#[task(requires("http"))]
fn run(input: Input, cx: &Context) -> Result<Output> {
    let bucket = Bucket::new(
        &input.bucket,
        &input.region,
        input.endpoint.as_deref(),
        input.public_url.as_deref(),
    )?;
    let day = place::day(input.date.as_deref(), &cx.scheduled_at())?;
    let base = place::base(&input.base_folder)?;
    let limits = Limits {
        concurrency: size(input.concurrency),
        bytes: size(input.max_image_bytes),
    };
    let total = input.crawled_products.len() as u64;
    let mut upload_results = Vec::new();
    let mut failures = Vec::new();
    for (done, product) in (0_u64..).zip(&input.crawled_products) {
        cx.progress(done, Some(total), title(product));
        let Some(detail) = detail(product) else {
            upload_results.push(skipped(product));
            continue;
        };
        let folder = Folder::new(&base, &day, &input.keyword, product.index);
        let pictures = pictures(detail, size(input.max_images));
        let outcomes = transfer::pictures(&pictures, &bucket, &folder, &limits)?;
        upload_results.push(store(
            product,
            &input,
            &bucket,
            &folder,
            outcomes,
            &mut failures,
        )?);
    }
    cx.progress(total, Some(total), "");
    finish(upload_results, failures)
}

fn size(number: NonZeroU32) -> usize {
    number.get() as usize
}

fn title(product: &CrawledProduct) -> &str {
    let title = product
        .product_detail
        .as_ref()
        .and_then(|detail| detail.get("title"));
    title.and_then(Value::as_str).unwrap_or_default()
}

/// The facts of a product that was crawled.
fn detail(product: &CrawledProduct) -> Option<&Value> {
    let detail = product.product_detail.as_ref()?;
    (product.status != "failed" && detail.is_object()).then_some(detail)
}

fn skipped(product: &CrawledProduct) -> UploadResult {
    let why = match &product.error {
        Some(Value::String(error)) => error.clone(),
        Some(error) if !error.is_null() => error.to_string(),
        _ => "there is no product_detail".to_owned(),
    };
    UploadResult {
        product_index: product.index,
        product_title: title(product).to_owned(),
        status: Status::Skipped,
        uploaded_images: Vec::new(),
        success_count: 0,
        fail_count: 0,
        failed_images: Vec::new(),
        data_url: None,
        reason: Some(format!("the product was not crawled: {why}")),
    }
}

/// The addresses of a product's pictures, each once, numbered from 1 in their order.
fn pictures(detail: &Value, most: usize) -> Vec<Picture> {
    let listed = detail.get("product_images").and_then(Value::as_array);
    let mut addresses: Vec<&str> = Vec::new();
    for image in listed.into_iter().flatten() {
        let address = image
            .get("original_url")
            .unwrap_or(image)
            .as_str()
            .map(str::trim);
        if let Some(address) = address
            && !address.is_empty()
            && !addresses.contains(&address)
        {
            addresses.push(address);
        }
    }
    if addresses.len() > most {
        log::warn(
            "pictures past `max_images` are left out",
            &[("pictures", &addresses.len()), ("max_images", &most)],
        );
    }
    let numbered = (1..).zip(addresses).take(most);
    numbered
        .map(|(index, address)| Picture {
            index,
            address: address.to_owned(),
        })
        .collect()
}

/// Sorts the outcomes of one product's pictures, and puts its data beside them.
fn store(
    product: &CrawledProduct,
    input: &Input,
    bucket: &Bucket,
    folder: &Folder,
    outcomes: Vec<Outcome>,
    failures: &mut Vec<Error>,
) -> Result<UploadResult> {
    let (mut uploaded_images, mut failed_images) = (Vec::new(), Vec::new());
    for Outcome { picture, result } in outcomes {
        match result {
            Ok(stored) => uploaded_images.push(UploadedImage {
                index: picture.index,
                original_url: picture.address,
                s3_url: stored.url,
                file_size_kb: kib(stored.bytes),
                file_name: stored.name,
            }),
            Err(error) => {
                log::warn(
                    "a picture is left out",
                    &[("url", &picture.address), ("error", &error)],
                );
                failed_images.push(FailedImage {
                    index: picture.index,
                    original_url: picture.address,
                    error: error.to_string(),
                });
                failures.push(error);
            }
        }
    }
    let data = json!({
        "keyword": input.keyword,
        "index": product.index,
        "url": product.url,
        "crawled_at": product.crawled_at,
        "product_detail": product.product_detail,
        "uploaded_images": uploaded_images,
    });
    let data_url = transfer::document(&data, bucket, folder)?;
    let none_stored = uploaded_images.is_empty() && !failed_images.is_empty();
    Ok(UploadResult {
        product_index: product.index,
        product_title: title(product).to_owned(),
        status: if none_stored {
            Status::Failed
        } else {
            Status::Success
        },
        success_count: count(uploaded_images.len()),
        fail_count: count(failed_images.len()),
        uploaded_images,
        failed_images,
        data_url: Some(data_url),
        reason: None,
    })
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn kib(bytes: usize) -> f64 {
    (bytes as f64 / 1024.0 * 100.0).round() / 100.0
}

/// Counts. A picture that is gone costs that picture; if not a single one could be stored, and a retry or another
/// grant could change that, the task has failed.
fn finish(upload_results: Vec<UploadResult>, failures: Vec<Error>) -> Result<Output> {
    let mut summary = Summary {
        total_products: count(upload_results.len()),
        ..Summary::default()
    };
    for result in &upload_results {
        summary.success_count += result.success_count;
        summary.fail_count += result.fail_count;
        match result.status {
            Status::Success => summary.success_products += 1,
            Status::Failed => summary.failed_products += 1,
            Status::Skipped => summary.skipped_products += 1,
        }
    }
    let curable = |error: &&Error| error.retryable || error.code == "http.denied";
    if summary.success_count == 0
        && let Some(error) = failures.iter().find(curable)
    {
        return Err(error
            .clone()
            .context("not a single picture could be stored"));
    }
    Ok(Output {
        upload_results,
        summary,
    })
}

#[cfg(test)]
mod tests;
