//! Ranks products by how well they match and how similar they are to the keyword: what goes in, what comes out. How the
//! best are selected is in `select`, the similarities are in `embedding` and in the crate `task-words`.

mod embedding;
mod select;

use std::num::NonZeroU32;

use flowweaver_task::serde_json::{Map, Value};
use flowweaver_task::{Context, Error, Result, task};

use select::{SelectionInfo, Selector};

/// What to rank, and how.
#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// The keyword that titles are compared with.
    keyword: String,
    /// The products that match, best first, as `product-match` gives them.
    matched_products: Vec<Product>,
    /// All products found; ranked by similarity alone when none matches.
    #[serde(default)]
    search_results: Vec<Product>,
    /// The most products kept.
    #[serde(default = "ten")]
    top: NonZeroU32,
    /// How similarity is measured: "lexical" inside the module, "embedding" by an OpenAI-compatible service.
    #[serde(default)]
    method: Method,
    /// How much the match counts, 0 to 1; similarity has the rest.
    #[serde(default = "match_weight")]
    match_weight: f64,
    /// The least similarity of a product that does not match, 0 to 1.
    #[serde(default = "min_similarity")]
    min_similarity: f64,
    /// Where the embeddings service is; its key is the grant's to add.
    #[serde(default = "embeddings_url")]
    embeddings_url: String,
    /// The service's path.
    #[serde(default = "embeddings_path")]
    embeddings_path: String,
    /// The model that makes the embeddings.
    #[serde(default = "embeddings_model")]
    embeddings_model: String,
}

/// How similarity is measured.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    serde::Deserialize,
    serde::Serialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
enum Method {
    /// BM25 over word stems and letter pairs, inside the module.
    #[default]
    Lexical,
    /// The cosine of embeddings.
    Embedding,
}

/// A product. More fields than these stay as they are.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
struct Product {
    /// The address of its page.
    url: String,
    /// Its title.
    title: String,
    /// Why it matches; absent if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    match_info: Option<MatchInfo>,
    /// Whatever else is known of it.
    #[serde(flatten)]
    more: Map<String, Value>,
}

/// Why a product matches.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
struct MatchInfo {
    /// How well it matches, 0 to 1.
    match_score: f64,
    /// Whatever else is known of the match.
    #[serde(flatten)]
    more: Map<String, Value>,
}

/// The best products.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
struct Output {
    /// The best products, best first.
    top_products: Vec<Ranked>,
    /// Why there are none; absent if there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// A product that was kept.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
struct Ranked {
    /// The product as it was given.
    #[serde(flatten)]
    product: Product,
    /// Its place, from 1.
    rank: u32,
    /// Why it was kept.
    selection_info: SelectionInfo,
    /// How similar its title is to the keyword, 0 to 1; null when the order did not depend on it.
    similarity: Option<f64>,
    /// What it was ranked by, 0 to 1.
    final_score: f64,
}

fn ten() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(9)
}

fn match_weight() -> f64 {
    0.4
}

fn min_similarity() -> f64 {
    0.3
}

fn embeddings_url() -> String {
    "https://api.openai.com".to_owned()
}

fn embeddings_path() -> String {
    "/v1/embeddings".to_owned()
}

fn embeddings_model() -> String {
    "text-embedding-3-small".to_owned()
}

/// Ranks products by match and similarity to the keyword, and keeps the best.
#[task]
fn run(input: Input, _cx: &Context) -> Result<Output> {
    if input.keyword.trim().is_empty() {
        return Err(Error::permanent(
            "input.invalid",
            "`keyword`: there is nothing to compare with",
        ));
    }
    let selector = Selector {
        top: input.top.get() as usize,
        match_weight: share("match_weight", input.match_weight)?,
        min_similarity: share("min_similarity", input.min_similarity)?,
    };
    let similarities = |products: &[Product]| {
        let titles: Vec<&str> = products
            .iter()
            .map(|product| product.title.as_str())
            .collect();
        match input.method {
            Method::Lexical => Ok(lexical(&input.keyword, &titles)),
            Method::Embedding => embedding::similarities(&input, &titles),
        }
    };
    selector.select(&input.matched_products, &input.search_results, similarities)
}

fn lexical(keyword: &str, titles: &[&str]) -> Vec<f64> {
    let documents: Vec<Vec<String>> = titles
        .iter()
        .map(|title| task_words::terms(title))
        .collect();
    task_words::Bm25::new(&documents).similarities(&task_words::terms(keyword))
}

fn share(field: &str, value: f64) -> Result<f64> {
    if (0.0..=1.0).contains(&value) {
        Ok(value)
    } else {
        Err(Error::permanent(
            "input.invalid",
            format!("`{field}`: {value} is not between 0 and 1"),
        ))
    }
}

#[cfg(test)]
mod tests;
