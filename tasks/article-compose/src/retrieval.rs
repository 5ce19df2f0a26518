//! Which pieces the model is shown. Fitting counts, and so does saying something that the others do not: two hundred
//! reviews that all say the same would otherwise crowd out the one fact that matters.
//!
//! The choice is by maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998). Relevance is BM25 to the keyword
//! and to the product's own words, each as a share of what the query itself would score, or the cosine of embeddings.

use std::collections::HashSet;

use flowweaver_task::Result;
use task_words::{Bm25, terms};

use crate::chunk::{Chunk, Kind};
use crate::model::Model;

/// How much fitting counts against being new; the rest is novelty. Values around 0.7 are customary.
const RELEVANCE: f64 = 0.7;

/// The part of all places that each kind has for itself, if it has that many pieces: neither the many lines on pictures
/// nor the many rows of a database shall push out the other.
const OWN_PLACES: usize = 3;

/// What is looked for.
pub(crate) struct Query<'a> {
    pub(crate) keyword: &'a str,
    pub(crate) subject: String,
}

/// How alike two pieces are, from 0 to 1.
enum Space {
    Terms(Vec<HashSet<String>>),
    Vectors(Vec<Vec<f32>>),
}

/// The best pieces by shared terms.
pub(crate) fn by_terms(query: &Query<'_>, pieces: Vec<Chunk>, most: usize) -> Vec<Chunk> {
    let documents: Vec<Vec<String>> = pieces.iter().map(|piece| terms(&piece.text)).collect();
    let ranking = Bm25::new(&documents);
    let keyword = ranking.similarities(&terms(query.keyword));
    let subject = ranking.similarities(&terms(&query.subject));
    let relevance = keyword
        .iter()
        .zip(&subject)
        .map(|(keyword, subject)| keyword + subject)
        .collect();
    let space = Space::Terms(
        documents
            .into_iter()
            .map(|terms| terms.into_iter().collect())
            .collect(),
    );
    choose(pieces, relevance, &space, most)
}

/// The best pieces by the nearness of their embeddings.
///
/// # Errors
/// What the service answers.
pub(crate) fn by_embedding(
    query: &Query<'_>,
    pieces: Vec<Chunk>,
    most: usize,
    model: &Model<'_>,
) -> Result<Vec<Chunk>> {
    if pieces.is_empty() {
        return Ok(pieces);
    }
    let mut texts = vec![format!("{} {}", query.keyword, query.subject)];
    texts.extend(pieces.iter().map(|piece| piece.text.clone()));
    let mut vectors = model.embed(&texts)?;
    let asked = vectors.remove(0);
    let relevance = vectors
        .iter()
        .map(|vector| cosine(&asked, vector).max(0.0))
        .collect();
    Ok(choose(pieces, relevance, &Space::Vectors(vectors), most))
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let product = |a: &[f32], b: &[f32]| {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum::<f64>()
    };
    let lengths = (product(a, a) * product(b, b)).sqrt();
    if lengths > 0.0 {
        product(a, b) / lengths
    } else {
        0.0
    }
}

impl Space {
    fn likeness(&self, a: usize, b: usize) -> f64 {
        match self {
            Space::Terms(sets) => match (sets.get(a), sets.get(b)) {
                (Some(a), Some(b)) => jaccard(a, b),
                _ => 0.0,
            },
            Space::Vectors(vectors) => match (vectors.get(a), vectors.get(b)) {
                (Some(a), Some(b)) => cosine(a, b).max(0.0),
                _ => 0.0,
            },
        }
    }
}

fn jaccard(a: &HashSet<String>, b: &HashSet<String>) -> f64 {
    let shared = a.intersection(b).count();
    let all = a.len() + b.len() - shared;
    if all == 0 {
        0.0
    } else {
        shared as f64 / all as f64
    }
}

fn choose(pieces: Vec<Chunk>, mut relevance: Vec<f64>, space: &Space, most: usize) -> Vec<Chunk> {
    let best = relevance.iter().copied().fold(0.0, f64::max);
    if best > 0.0 {
        relevance
            .iter_mut()
            .for_each(|relevance| *relevance /= best);
    }
    // Text on the product's own pictures is about the product whatever its words; a row of a database is not.
    let of_kind = |kind: Kind| -> Vec<usize> {
        let fits = |(at, piece): &(usize, &Chunk)| {
            piece.kind == kind
                && (kind == Kind::Ocr || relevance.get(*at).is_some_and(|value| *value > 0.0))
        };
        pieces
            .iter()
            .enumerate()
            .filter(fits)
            .map(|(at, _)| at)
            .collect()
    };
    let own = most.div_ceil(OWN_PLACES);
    let mut chosen = Vec::new();
    let mut others = Vec::new();
    for kind in [Kind::Ocr, Kind::Knowledge] {
        let mut ranked = marginal(of_kind(kind), &relevance, space, most);
        let rest = ranked.split_off(ranked.len().min(own));
        chosen.extend(ranked);
        others.extend(rest);
    }
    let value = |at: usize| relevance.get(at).copied().unwrap_or_default();
    // Stable: equals stay in the order in which they were ranked.
    others.sort_by(|a, b| value(*b).total_cmp(&value(*a)));
    chosen.truncate(most);
    others.truncate(most - chosen.len());
    chosen.extend(others);
    chosen.sort_by(|a, b| value(*b).total_cmp(&value(*a)));
    chosen
        .into_iter()
        .filter_map(|at| pieces.get(at).cloned())
        .collect()
}

/// At most `most` of the candidates, each the best of those left when what is already taken counts against it.
fn marginal(
    mut candidates: Vec<usize>,
    relevance: &[f64],
    space: &Space,
    most: usize,
) -> Vec<usize> {
    let mut known = vec![0.0_f64; relevance.len()];
    let mut taken = Vec::new();
    while taken.len() < most {
        let worth = |at: &usize| {
            let fitting = relevance.get(*at).copied().unwrap_or_default();
            let repeated = known.get(*at).copied().unwrap_or_default();
            RELEVANCE * fitting - (1.0 - RELEVANCE) * repeated
        };
        // Of equals the first: `max_by` takes the last.
        let best = candidates
            .iter()
            .enumerate()
            .rev()
            .max_by(|(_, a), (_, b)| worth(a).total_cmp(&worth(b)));
        let Some(place) = best.map(|(place, _)| place) else {
            break;
        };
        let next = candidates.remove(place);
        for at in &candidates {
            if let Some(known) = known.get_mut(*at) {
                *known = known.max(space.likeness(*at, next));
            }
        }
        taken.push(next);
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(kind: Kind, text: &str) -> Chunk {
        Chunk {
            kind,
            origin: String::new(),
            text: text.to_owned(),
        }
    }

    fn chosen(pieces: Vec<Chunk>, most: usize) -> Vec<String> {
        let query = Query {
            keyword: "백팩",
            subject: "[라온홈] 경량 나일론 백팩 20L 가방".to_owned(),
        };
        by_terms(&query, pieces, most)
            .into_iter()
            .map(|piece| piece.text)
            .collect()
    }

    fn others(kind: Kind) -> Vec<Chunk> {
        (0..200)
            .map(|number| {
                piece(
                    kind,
                    &format!("백팩 후기 {number}: 배송이 빠르고 포장이 꼼꼼해요"),
                )
            })
            .collect()
    }

    #[test]
    fn a_row_that_shares_rare_words_is_found_among_two_hundred_that_share_the_common_one() {
        let mut pieces = others(Kind::Knowledge);
        pieces.insert(
            137,
            piece(
                Kind::Knowledge,
                "라온홈 나일론 원단은 4만 회 마모 시험을 통과했다",
            ),
        );
        assert!(chosen(pieces, 8).iter().any(|text| text.contains("4만 회")));
    }

    #[test]
    fn a_row_that_says_something_else_is_found_among_two_hundred_that_say_the_same() {
        let mut pieces = others(Kind::Knowledge);
        pieces.insert(
            11,
            piece(
                Kind::Knowledge,
                "백팩 등판 안쪽에 여권이 들어가는 비밀 주머니가 있다",
            ),
        );
        assert!(
            chosen(pieces, 8)
                .iter()
                .any(|text| text.contains("비밀 주머니"))
        );
    }

    #[test]
    fn pictures_and_rows_do_not_push_each_other_out() {
        let mut pieces = others(Kind::Knowledge);
        pieces.push(piece(Kind::Ocr, "세탁은 30도 이하에서"));
        assert!(chosen(pieces, 6).contains(&"세탁은 30도 이하에서".to_owned()));
        let mut pieces = others(Kind::Ocr);
        pieces.push(piece(Kind::Knowledge, "라온홈은 2009년에 시작했다"));
        assert!(chosen(pieces, 6).contains(&"라온홈은 2009년에 시작했다".to_owned()));
    }

    #[test]
    fn a_row_about_something_else_is_never_shown_and_no_more_than_asked_are() {
        let pieces = vec![
            piece(Kind::Knowledge, "스테인리스 프라이팬 손질법"),
            piece(Kind::Knowledge, "백팩 고르는 법"),
            piece(Kind::Ocr, "첫째"),
            piece(Kind::Ocr, "둘째"),
        ];
        assert_eq!(chosen(pieces.clone(), 9).len(), 3);
        assert_eq!(chosen(pieces, 1).len(), 1);
        assert!(chosen(Vec::new(), 5).is_empty());
    }
}
