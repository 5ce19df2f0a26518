//! Keeps the products whose titles match a keyword, best first: what goes in, what comes out, the order. The rules are
//! in `rules`.

mod rules;

use flowweaver_task::serde_json::{Map, Value};
use flowweaver_task::{Context, Error, Result, task};

use rules::{MatchInfo, Thresholds};

/// What to match, and how strictly.
#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// The keyword that titles are compared with.
    keyword: String,
    /// The products, as `product-search` lists them. More fields than these stay as they are.
    search_results: Vec<Product>,
    /// The least share of the keyword's word stems that a title must have, 0 to 1.
    #[serde(default = "morphological")]
    morphological_threshold: f64,
    /// The least share of the keyword's words that a title must have, 0 to 1; asked when too few stems are shared.
    #[serde(default = "simple")]
    simple_threshold: f64,
}

/// A product that was found.
#[derive(Debug, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
struct Product {
    /// The address of its page.
    url: String,
    /// Its title.
    title: String,
    /// Whatever else is known of it.
    #[serde(flatten)]
    more: Map<String, Value>,
}

/// The products that match.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
struct Output {
    /// The products that match, highest score first; among equal scores in the order given. Empty when none does.
    matched_products: Vec<Matched>,
}

/// A product that matches.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
struct Matched {
    /// The product as it was given.
    #[serde(flatten)]
    product: Product,
    /// Why it matches.
    match_info: MatchInfo,
}

fn morphological() -> f64 {
    0.4
}

fn simple() -> f64 {
    0.3
}

/// Keeps the products whose titles match a keyword, best first.
#[task]
fn run(input: Input, _cx: &Context) -> Result<Output> {
    let thresholds = Thresholds {
        morphological: share("morphological_threshold", input.morphological_threshold)?,
        simple: share("simple_threshold", input.simple_threshold)?,
    };
    let keyword = rules::Keyword::new(&input.keyword).ok_or_else(|| {
        Error::permanent(
            "input.invalid",
            "`keyword`: it has no letter or digit to match",
        )
    })?;
    let matched = |product: Product| {
        let match_info = keyword.matches(&product.title, thresholds)?;
        Some(Matched {
            product,
            match_info,
        })
    };
    let mut matched_products: Vec<Matched> = input
        .search_results
        .into_iter()
        .filter_map(matched)
        .collect();
    // The sort is stable, so that the mall's own order decides among equals.
    matched_products.sort_by(|one, other| {
        other
            .match_info
            .match_score
            .total_cmp(&one.match_info.match_score)
    });
    Ok(Output { matched_products })
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
