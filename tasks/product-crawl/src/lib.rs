//! Reads product pages: what goes in, what comes out, and the order of calls. What stands where on a page is in
//! `product`, how numbers are written in `number`.

mod number;
mod product;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::SystemTime;

use flowweaver_task::http::{self, Request, Response};
use flowweaver_task::{Context, Error, Result, log, task};
use task_page::{Page, Url, resolve};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use product::{Parts, ProductDetail, Selectors};

/// How many rounds of `concurrency` pages are sent off together: pages are parsed and let go after each, so that
/// a long list needs little memory, and a slow page rarely holds up the others.
const ROUNDS: usize = 4;

/// Which pages to read, and how.
#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// The addresses of the products' pages; relative ones are below `base_url`.
    product_urls: Vec<String>,
    /// Pages read at the same time.
    #[serde(default = "five")]
    concurrency: NonZeroU32,
    /// Where the mall is.
    #[serde(default = "base_url")]
    base_url: String,
    /// Fewer pages read than this are a failure of the task.
    #[serde(default)]
    min_success: u32,
    /// Where the parts of a product's page are.
    #[serde(default)]
    selectors: Selectors,
    /// More request headers, such as a user agent that the mall insists on.
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// What was read.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
struct Output {
    /// One entry for every address, in the order given.
    crawled_products: Vec<Crawled>,
    /// How many were read.
    success_count: u32,
    /// How many were not.
    fail_count: u32,
}

/// One product.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
struct Crawled {
    /// The address's place in the list given, from 1.
    index: u32,
    /// The absolute address, or what was given if no address can be made of it.
    url: String,
    /// What its page says; null if it could not be read.
    product_detail: Option<ProductDetail>,
    /// Whether it was read.
    status: Status,
    /// Why it was not read, as "code: message"; absent if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// When, as RFC 3339 in UTC.
    crawled_at: String,
}

/// Whether a product was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Status {
    /// Its page was read.
    Success,
    /// Its page could not be had, or is no product's page.
    Failed,
}

fn five() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(4)
}

fn base_url() -> String {
    "https://ssadagu.kr".to_owned()
}

/// Reads product pages: title, price, rating, options, materials and pictures.
#[task(requires("http"))]
fn run(input: Input, cx: &Context) -> Result<Output> {
    let parts = Parts::new(&input.selectors)?;
    let base = base(&input.base_url)?;
    let total = input.product_urls.len() as u64;
    let concurrency = input.concurrency.get() as usize;
    let mut tally = Tally::default();
    for urls in input
        .product_urls
        .chunks(concurrency.saturating_mul(ROUNDS))
    {
        let targets: Vec<Result<Url, String>> = urls
            .iter()
            .map(|url| resolve(&base, url).ok_or_else(|| url.clone()))
            .collect();
        let requests: Vec<Request> = targets
            .iter()
            .flatten()
            .map(|url| with_headers(http::get(url.as_str()), &input))
            .collect();
        let mut answers = http::send_all(requests, concurrency).into_iter();
        for target in targets {
            let (url, detail) = match target {
                Err(given) => {
                    let error =
                        Error::permanent("url.invalid", format!("`{given}` is not an address"));
                    (given, Err(error))
                }
                // Every request has its answer; were one missing, that would be this product's failure.
                Ok(url) => (
                    url.to_string(),
                    answers
                        .next()
                        .map_or_else(|| Err(unanswered()), |answer| read(answer?, &parts)),
                ),
            };
            tally.add(url, detail);
        }
        cx.progress(tally.products.len() as u64, Some(total), "");
    }
    tally.finish(input.min_success)
}

/// The mall's address with a `/` at its end, so that addresses below it can be joined to it.
fn base(given: &str) -> Result<Url> {
    let text = format!("{}/", given.trim().trim_end_matches('/'));
    Url::parse(&text).map_err(|error| {
        Error::permanent(
            "input.invalid",
            format!("`base_url`: `{given}` is not an address: {error}"),
        )
    })
}

fn with_headers(request: Request, input: &Input) -> Request {
    input
        .headers
        .iter()
        .fold(request, |request, (name, value)| {
            request.header(name, value)
        })
}

fn read(response: Response, parts: &Parts) -> Result<ProductDetail> {
    let response = response.error_for_status()?;
    let address = response.url().to_owned();
    parts.read(&Page::parse(&response.text()?, &address)?)
}

fn unanswered() -> Error {
    Error::retryable("http.protocol", "the request was not answered")
}

/// The entries so far.
#[derive(Default)]
struct Tally {
    products: Vec<Crawled>,
    success: u32,
    failed: u32,
    /// A failure that stands for all: one that may pass, if there is one.
    failure: Option<Error>,
}

impl Tally {
    fn add(&mut self, url: String, detail: Result<ProductDetail>) {
        let (status, product_detail, error) = match detail {
            Ok(detail) => {
                self.success += 1;
                (Status::Success, Some(detail), None)
            }
            Err(error) => {
                self.failed += 1;
                log::warn(
                    "a product's page cannot be read",
                    &[("url", &url), ("error", &error)],
                );
                let text = error.to_string();
                if self
                    .failure
                    .as_ref()
                    .is_none_or(|kept| !kept.retryable && error.retryable)
                {
                    self.failure = Some(error);
                }
                (Status::Failed, None, Some(text))
            }
        };
        let index = self.success + self.failed;
        self.products.push(Crawled {
            index,
            url,
            product_detail,
            status,
            error,
            crawled_at: now(),
        });
    }

    /// # Errors
    /// Too few pages were read: one of their failures, or `crawl.too-few` if there were too few addresses.
    fn finish(self, least: u32) -> Result<Output> {
        if self.success < least {
            let what = format!(
                "{} products were read, at least {least} are wanted",
                self.success
            );
            return Err(match self.failure {
                Some(failure) => failure.context(what),
                None => Error::permanent("crawl.too-few", what),
            });
        }
        Ok(Output {
            crawled_products: self.products,
            success_count: self.success,
            fail_count: self.failed,
        })
    }
}

fn now() -> String {
    let now = OffsetDateTime::from(SystemTime::now());
    // To the second: finer says nothing about a page. A clock beyond the year 9999 has no such text.
    let now = now.replace_nanosecond(0).unwrap_or(now);
    now.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests;
