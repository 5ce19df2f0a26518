//! Asks a shopping-trend service for its ranked keywords and picks one: what goes in, what comes out, which service
//! is asked. Each service's own form is in `services`, the choice in `pick`.

mod category;
mod day;
mod pick;
mod services;

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use flowweaver_task::{Context, Error, Result, task};

/// Ranked keywords, by rank from 1.
type Ranking = BTreeMap<u32, String>;

/// Which service to ask for what, and which keyword to take.
#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// The service: "naver" (data lab), "naver_store" (best sellers) or "google_trends".
    #[schemars(extend("enum" = ["naver", "naver_store", "google_trends"]))]
    tag: String,
    /// A category's name in `categories`, or its id at Naver. Without it: `default_category`. Google Trends has none.
    category: Option<String>,
    /// The day asked about, as YYYY-MM-DD; only "naver" can be asked. Without it: the day before the run was due, in Korea.
    date: Option<String>,
    /// "random" takes any keyword, "top" the one ranked first.
    #[serde(default)]
    pick: pick::Pick,
    /// What "random" depends on: the same seed and ranking give the same keyword. Without it the run's idempotency key, so that a retry takes the same.
    seed: Option<u64>,
    /// Pages read from "naver", of `page_size` keywords each.
    #[serde(default = "two")]
    pages: NonZeroU32,
    /// Keywords on a page of "naver"; the service gives at most 20.
    #[serde(default = "twenty")]
    page_size: NonZeroU32,
    /// Category names, each with its id at Naver.
    #[serde(default = "category::table")]
    categories: BTreeMap<String, String>,
    /// The category (name or id) of "naver" when none is given; the best sellers are then those of all categories.
    #[serde(default = "category::usual")]
    default_category: String,
    /// Where Naver's data lab is.
    #[serde(default = "naver_url")]
    naver_url: String,
    /// The data lab's path.
    #[serde(default = "naver_path")]
    naver_path: String,
    /// The page that the data lab expects to be asked from, below `naver_url`.
    #[serde(default = "naver_referer_path")]
    naver_referer_path: String,
    /// Where Naver's best sellers are.
    #[serde(default = "naver_store_url")]
    naver_store_url: String,
    /// The best sellers' path.
    #[serde(default = "naver_store_path")]
    naver_store_path: String,
    /// The best sellers' query beside the category.
    #[serde(default = "naver_store_query")]
    naver_store_query: BTreeMap<String, String>,
    /// Where Google Trends is.
    #[serde(default = "google_trends_url")]
    google_trends_url: String,
    /// The path of Google Trends' feed.
    #[serde(default = "google_trends_path")]
    google_trends_path: String,
    /// The country whose trends are asked for, as ISO 3166 letters.
    #[serde(default = "country")]
    google_trends_country: String,
    /// More request headers, such as a user agent that the service insists on.
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// The keyword taken, and all it was taken from.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
struct Output {
    /// The keyword taken.
    keyword: String,
    /// Every ranked keyword, by rank.
    total_keyword: Ranking,
}

fn two() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(1)
}

fn twenty() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(19)
}

fn naver_url() -> String {
    "https://datalab.naver.com".to_owned()
}

fn naver_path() -> String {
    "/shoppingInsight/getCategoryKeywordRank.naver".to_owned()
}

fn naver_referer_path() -> String {
    "/shoppingInsight/sCategory.naver".to_owned()
}

fn naver_store_url() -> String {
    "https://snxbest.naver.com".to_owned()
}

fn naver_store_path() -> String {
    "/api/v1/snxbest/keyword/rank".to_owned()
}

fn naver_store_query() -> BTreeMap<String, String> {
    let pairs = [
        ("ageType", "ALL"),
        ("sortType", "KEYWORD_POPULAR"),
        ("periodType", "DAILY"),
    ];
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

fn google_trends_url() -> String {
    "https://trends.google.com".to_owned()
}

fn google_trends_path() -> String {
    "/trending/rss".to_owned()
}

fn country() -> String {
    "KR".to_owned()
}

/// Asks a shopping-trend service for its ranked keywords and picks one.
#[task(requires("http"))]
fn run(input: Input, cx: &Context) -> Result<Output> {
    let ranking = match input.tag.as_str() {
        "naver" => services::naver(&input, cx)?,
        "naver_store" => services::naver_store(&input)?,
        "google_trends" => services::google_trends(&input)?,
        unknown => {
            let message = format!(
                "`tag`: there is no trend service `{unknown}`; there are `naver`, `naver_store` and `google_trends`"
            );
            return Err(Error::permanent("input.unknown-tag", message));
        }
    };
    let seed = input
        .seed
        .unwrap_or_else(|| pick::seed_of(&cx.idempotency_key()));
    let keyword = pick::pick(&ranking, input.pick, seed).ok_or_else(|| {
        Error::permanent(
            "trend.empty",
            format!("`{}` ranks no keyword for what was asked", input.tag),
        )
    })?;
    Ok(Output {
        keyword,
        total_keyword: ranking,
    })
}

#[cfg(test)]
mod tests;
