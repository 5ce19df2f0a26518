//! Searches a mall for a keyword and lists the products found: what goes in, what comes out, and the order of calls.
//! Which links are products is in `links`.

mod links;

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use flowweaver_task::http::{self, Request, Response};
use flowweaver_task::{Context, Error, Result, log, task};
use task_page::{Page, Url, selector};

use links::Link;

/// What to search for, and where.
#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// What to search for.
    keyword: String,
    /// The most products listed.
    #[serde(default = "forty")]
    limit: NonZeroU32,
    /// Where the mall is.
    #[serde(default = "base_url")]
    base_url: String,
    /// The path of its search page, below `base_url`.
    #[serde(default = "search_path")]
    search_path: String,
    /// The query parameter that takes the keyword.
    #[serde(default = "keyword_parameter")]
    keyword_parameter: String,
    /// What the address of every product's page contains.
    #[serde(default = "product_page")]
    product_page: String,
    /// Of these, a product's address contains at least one beside it.
    #[serde(default = "product_marks")]
    product_marks: Vec<String>,
    /// Where a product's page has its title, as a CSS selector; read for products whose links have none.
    #[serde(default = "title_selector")]
    title_selector: String,
    /// Product pages read at the same time for their titles.
    #[serde(default = "five")]
    concurrency: NonZeroU32,
    /// More request headers, such as a user agent that the mall insists on.
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// The products found.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
struct Output {
    /// The products in the order of the search page, each once; empty when nothing was found.
    search_results: Vec<Product>,
    /// Products left out because nothing told their title.
    skipped: Vec<Skipped>,
}

/// A product that was found.
#[derive(Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
struct Product {
    /// The absolute address of its page.
    url: String,
    /// Its title.
    title: String,
}

/// A product that was left out.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
struct Skipped {
    /// The absolute address of its page.
    url: String,
    /// Why its title could not be read, as "code: message".
    error: String,
}

fn forty() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(39)
}

fn five() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(4)
}

fn base_url() -> String {
    "https://ssadagu.kr".to_owned()
}

fn search_path() -> String {
    "/shop/search.php".to_owned()
}

fn keyword_parameter() -> String {
    "ss_tx".to_owned()
}

fn product_page() -> String {
    "view.php".to_owned()
}

fn product_marks() -> Vec<String> {
    ["platform=1688", "num_iid"].map(str::to_owned).into()
}

fn title_selector() -> String {
    "h1#kakaotitle".to_owned()
}

/// Searches the mall for a keyword and lists the products found.
#[task(requires("http"))]
fn run(input: Input, cx: &Context) -> Result<Output> {
    let keyword = input.keyword.trim();
    if keyword.is_empty() {
        return Err(Error::permanent(
            "input.invalid",
            "`keyword`: there is nothing to search for",
        ));
    }
    // Checked before anything is sent, so that a bad selector fails the same way whatever the mall answers.
    let title = selector("title_selector", &input.title_selector)?;
    let base = input.base_url.trim().trim_end_matches('/');
    let search = http::get(format!(
        "{base}/{}",
        input.search_path.trim_start_matches('/')
    ));
    let response = with_headers(search.query(&input.keyword_parameter, keyword), &input)
        .send()?
        .error_for_status()?;
    let rules = links::Rules {
        page: &input.product_page,
        marks: &input.product_marks,
    };
    let mut links = links::products(&page_of(response)?, &rules)?;
    links.truncate(input.limit.get() as usize);

    let untitled: Vec<Url> = links
        .iter()
        .filter(|link| link.title.is_empty())
        .map(|link| link.url.clone())
        .collect();
    cx.progress(0, Some(untitled.len() as u64), "reading titles");
    let requests: Vec<Request> = untitled
        .iter()
        .map(|url| with_headers(http::get(url.as_str()), &input))
        .collect();
    let answers = http::send_all(requests, input.concurrency.get() as usize);
    let titles = answers
        .into_iter()
        .map(|answer| title_on(&page_of(answer?.error_for_status()?)?, &title));
    finish(links, titles)
}

fn with_headers(request: Request, input: &Input) -> Request {
    input
        .headers
        .iter()
        .fold(request, |request, (name, value)| {
            request.header(name, value)
        })
}

fn page_of(response: Response) -> Result<Page> {
    let address = response.url().to_owned();
    Page::parse(&response.text()?, &address)
}

fn title_on(page: &Page, selector: &task_page::Selector) -> Result<String> {
    page.first_text(selector)
        .ok_or_else(|| Error::permanent("title.missing", "the product's page has no title"))
}

/// Puts the titles read into the links that had none, in their order. One that could not be read costs that
/// product only, unless no product is left.
fn finish(links: Vec<Link>, mut titles: impl Iterator<Item = Result<String>>) -> Result<Output> {
    let mut output = Output {
        search_results: Vec::new(),
        skipped: Vec::new(),
    };
    let mut failure = None;
    for link in links {
        let url = String::from(link.url);
        let title = if link.title.is_empty() {
            titles.next().unwrap_or_else(|| Ok(String::new()))
        } else {
            Ok(link.title)
        };
        match title {
            Ok(title) => output.search_results.push(Product { url, title }),
            Err(error) => {
                log::warn(
                    "a product is left out: its title cannot be read",
                    &[("url", &url), ("error", &error)],
                );
                output.skipped.push(Skipped {
                    url,
                    error: error.to_string(),
                });
                // The one that may pass decides whether the task is tried again.
                if failure
                    .as_ref()
                    .is_none_or(|kept: &Error| !kept.retryable && error.retryable)
                {
                    failure = Some(error);
                }
            }
        }
    }
    match failure {
        Some(error) if output.search_results.is_empty() => {
            Err(error.context("no product's title can be read"))
        }
        _ => Ok(output),
    }
}

#[cfg(test)]
mod tests;
