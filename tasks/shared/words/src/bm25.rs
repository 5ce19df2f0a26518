//! BM25: how well each of a few texts answers a query, by the terms they share. Which terms a text has is the
//! caller's; [`terms`](crate::terms) suits titles.
//!
//! Formula and names: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009);
//! the inverse document frequency is the always positive variant `ln(1 + (N − n + ½) / (n + ½))` that Lucene uses.

use std::collections::{HashMap, HashSet};

/// How soon a term's repetition stops counting; 1.2 is the customary value.
const K1: f64 = 1.2;

/// How much a long text's terms count less. The customary 0.75 is for documents of very different length; of a
/// title, length says nothing about what it is about, so most of that is left out.
const B: f64 = 0.2;

/// The texts to rank.
#[derive(Clone, Debug)]
pub struct Bm25 {
    documents: Vec<Document>,
    holders: HashMap<String, usize>,
    mean_length: f64,
}

#[derive(Clone, Debug)]
struct Document {
    counts: HashMap<String, usize>,
    length: usize,
}

impl Document {
    fn new<S: AsRef<str>>(terms: &[S]) -> Self {
        let mut counts: HashMap<String, usize> = HashMap::new();
        for term in terms {
            *counts.entry(term.as_ref().to_owned()).or_default() += 1;
        }
        Document {
            counts,
            length: terms.len(),
        }
    }
}

impl Bm25 {
    /// Takes the texts, each as its terms.
    pub fn new<S: AsRef<str>>(documents: &[Vec<S>]) -> Self {
        let documents: Vec<Document> = documents.iter().map(|terms| Document::new(terms)).collect();
        let mut holders: HashMap<String, usize> = HashMap::new();
        for document in &documents {
            for term in document.counts.keys() {
                *holders.entry(term.clone()).or_default() += 1;
            }
        }
        let total: usize = documents.iter().map(|document| document.length).sum();
        let mean_length = (total as f64 / documents.len().max(1) as f64).max(1.0);
        Bm25 {
            documents,
            holders,
            mean_length,
        }
    }

    /// The score of each text for the query, in the order given; 0 for a text that shares no term.
    pub fn scores<S: AsRef<str>>(&self, query: &[S]) -> Vec<f64> {
        let query = distinct(query);
        self.documents
            .iter()
            .map(|document| self.score(&query, document))
            .collect()
    }

    /// The scores as shares of the score that the query itself would have as a text: 0 for nothing in common, 1
    /// for a text that answers as well as the query's own words do.
    pub fn similarities<S: AsRef<str>>(&self, query: &[S]) -> Vec<f64> {
        let own = self.score(&distinct(query), &Document::new(query));
        let share = |score: f64| {
            if own > 0.0 {
                (score / own).clamp(0.0, 1.0)
            } else {
                0.0
            }
        };
        self.scores(query).into_iter().map(share).collect()
    }

    fn score(&self, query: &[&str], document: &Document) -> f64 {
        let length = document.length as f64 / self.mean_length;
        let weight = |term: &&str| {
            let count = *document.counts.get(*term)? as f64;
            Some(self.rarity(term) * count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * length)))
        };
        query.iter().filter_map(weight).sum()
    }

    fn rarity(&self, term: &str) -> f64 {
        let holders = self.holders.get(term).copied().unwrap_or_default() as f64;
        let all = self.documents.len() as f64;
        (1.0 + (all - holders + 0.5) / (holders + 0.5)).ln()
    }
}

/// A query's terms once each, in order, so that sums do not depend on a hash's order.
fn distinct<S: AsRef<str>>(query: &[S]) -> Vec<&str> {
    let mut seen = HashSet::new();
    query
        .iter()
        .map(AsRef::as_ref)
        .filter(|term| seen.insert(*term))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms;

    fn similarities(query: &str, texts: &[&str]) -> Vec<f64> {
        let documents: Vec<Vec<String>> = texts.iter().map(|text| terms(text)).collect();
        Bm25::new(&documents).similarities(&terms(query))
    }

    #[test]
    fn a_text_without_a_shared_term_scores_nothing_and_the_query_itself_everything() {
        let scores = similarities("무선 이어폰", &["욕실매트 특대형", "무선 이어폰"]);
        assert_eq!(scores, [0.0, 1.0]);
    }

    #[test]
    fn a_rare_shared_term_outweighs_a_common_one() {
        let scores = similarities(
            "대형 텀블러",
            &["대형 매트", "대형 수건", "대형 의자", "보온 텀블러"],
        );
        assert!(scores[3] > scores[0], "{scores:?}");
    }

    #[test]
    fn scores_stay_between_zero_and_one_and_a_longer_title_loses_little() {
        let scores = similarities(
            "백팩",
            &["[라온홈] 경량 나일론 백팩 15L", "백팩 백팩 백팩", "가방"],
        );
        assert!(scores[0] > 0.7 && scores[0] <= 1.0, "{scores:?}");
        assert_eq!(scores[1..], [1.0, 0.0]);
    }

    #[test]
    fn no_texts_and_no_terms_are_no_accident() {
        assert!(similarities("백팩", &[]).is_empty());
        assert_eq!(similarities("", &["백팩"]), [0.0]);
    }
}
