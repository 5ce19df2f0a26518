//! Which products are kept, in which order, and why. How similarity is measured is not here.

use flowweaver_task::Result;

use crate::{Output, Product, Ranked};

/// How a product came to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SelectionType {
    /// It matches, and no more products match than are kept.
    AllMatches,
    /// It matches, and is among the best by match and similarity.
    MatchAndSimilarity,
    /// Nothing matches, and it is similar enough.
    Similarity,
}

/// Why a product was kept.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub(crate) struct SelectionInfo {
    /// How it came to be kept.
    selection_type: SelectionType,
    /// The same in words.
    selection_reason: String,
}

/// The rules of selection.
pub(crate) struct Selector {
    pub(crate) top: usize,
    pub(crate) match_weight: f64,
    pub(crate) min_similarity: f64,
}

impl Selector {
    /// Keeps all matches in their order if they are few; the best by match and similarity if they are many; the most
    /// similar of all results if nothing matches. `similarities` is asked only where it counts.
    pub(crate) fn select(
        &self,
        matched: &[Product],
        found: &[Product],
        similarities: impl Fn(&[Product]) -> Result<Vec<f64>>,
    ) -> Result<Output> {
        if matched.is_empty() {
            return self.most_similar(found, similarities);
        }
        if matched.len() <= self.top {
            let reason = format!(
                "{} of at most {} products match: all are kept in their order",
                matched.len(),
                self.top
            );
            let all = matched
                .iter()
                .map(|product| (product, None, match_score(product)))
                .collect();
            return Ok(self.ranked(all, SelectionType::AllMatches, &reason));
        }
        let weight = self.match_weight;
        let scored = matched
            .iter()
            .zip(similarities(matched)?)
            .map(|(product, similarity)| {
                (
                    product,
                    Some(similarity),
                    weight * match_score(product) + (1.0 - weight) * similarity,
                )
            });
        let reason = format!(
            "{} products match: the best {} by match and similarity are kept",
            matched.len(),
            self.top
        );
        Ok(self.ranked(
            best_first(scored.collect()),
            SelectionType::MatchAndSimilarity,
            &reason,
        ))
    }

    fn most_similar(
        &self,
        found: &[Product],
        similarities: impl Fn(&[Product]) -> Result<Vec<f64>>,
    ) -> Result<Output> {
        let none = |reason: String| Output {
            top_products: Vec::new(),
            reason: Some(reason),
        };
        if found.is_empty() {
            return Ok(none(
                "no product matches, and there are no search results to fall back on".to_owned(),
            ));
        }
        let similar: Vec<Scored<'_>> = found
            .iter()
            .zip(similarities(found)?)
            .filter(|(_, similarity)| *similarity >= self.min_similarity)
            .map(|(product, similarity)| (product, Some(similarity), similarity))
            .collect();
        let least = self.min_similarity;
        if similar.is_empty() {
            let all = found.len();
            return Ok(none(format!(
                "no product matches, and none of {all} search results has a similarity of {least} or more"
            )));
        }
        let reason = format!(
            "no product matches; {} of {} have a similarity of {least} or more",
            similar.len(),
            found.len()
        );
        Ok(self.ranked(best_first(similar), SelectionType::Similarity, &reason))
    }

    fn ranked(
        &self,
        products: Vec<Scored<'_>>,
        selection_type: SelectionType,
        reason: &str,
    ) -> Output {
        let kept =
            (1..)
                .zip(products)
                .take(self.top)
                .map(|(rank, (product, similarity, final_score))| Ranked {
                    product: product.clone(),
                    rank,
                    selection_info: SelectionInfo {
                        selection_type,
                        selection_reason: reason.to_owned(),
                    },
                    similarity,
                    final_score,
                });
        Output {
            top_products: kept.collect(),
            reason: None,
        }
    }
}

/// A product, its similarity, and what it is ranked by.
type Scored<'a> = (&'a Product, Option<f64>, f64);

/// A stable sort, so that the order given decides among equals.
fn best_first(mut scored: Vec<Scored<'_>>) -> Vec<Scored<'_>> {
    scored.sort_by(|(_, _, one), (_, _, other)| other.total_cmp(one));
    scored
}

/// A product listed as matching without a score counts as one that barely does.
fn match_score(product: &Product) -> f64 {
    product
        .match_info
        .as_ref()
        .map(|info| info.match_score)
        .unwrap_or_default()
}
