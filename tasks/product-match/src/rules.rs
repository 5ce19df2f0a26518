//! The three rules by which a title matches a keyword. The first that hits decides.
//!
//! 1. **exact**: the normalised title contains the normalised keyword. Score 1.
//! 2. **morphological**: the share of the keyword's word stems that the title has, at least 0.4 unless the input says
//!    otherwise. Korean writes compounds with and without spaces, so a keyword's stem is also had by a title in which it
//!    begins or ends a longer word (`이어폰` in `무선이어폰`; from two syllables on), or is two neighbouring words
//!    (`등산스틱` in `등산 스틱`).
//! 3. **simple**: the share of the keyword's words of two letters or more that the title has word for word, at least 0.3.
//!
//! Stems are those of the crate `task-words`, without a dictionary. The rules and both thresholds are the sample
//! workflow's contract; the compounds are ours, in place of its predecessor's dictionary.

use std::collections::BTreeSet;

use task_words::{is_hangul, normalised, stem, words};

/// Letters that a word needs for the third rule: single ones are counters and sizes.
const LEAST_WORD: usize = 2;

/// Syllables that a stem needs to be sought inside longer words: single ones are in every other word.
const LEAST_PART: usize = 2;

/// Which rule hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MatchType {
    /// The title contains the keyword.
    Exact,
    /// Enough word stems are shared.
    Morphological,
    /// Enough whole words are shared.
    Simple,
}

/// Why a title matches.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub(crate) struct MatchInfo {
    /// The rule that hit.
    match_type: MatchType,
    /// 1 for an exact match, else the share of the keyword that the title has; above 0, at most 1.
    pub(crate) match_score: f64,
    /// The rule in words.
    match_reason: String,
}

/// The least shares.
#[derive(Clone, Copy)]
pub(crate) struct Thresholds {
    pub(crate) morphological: f64,
    pub(crate) simple: f64,
}

/// A keyword, taken apart once.
pub(crate) struct Keyword {
    text: String,
    stems: BTreeSet<String>,
    words: BTreeSet<String>,
}

impl Keyword {
    /// None for a text without a word.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let all = words(text);
        let keyword = Keyword {
            text: normalised(text),
            stems: all.iter().map(|word| stem(word).to_owned()).collect(),
            words: all
                .into_iter()
                .filter(|word| word.chars().count() >= LEAST_WORD)
                .collect(),
        };
        (!keyword.stems.is_empty()).then_some(keyword)
    }

    /// Why the title matches; None when it does not.
    pub(crate) fn matches(&self, title: &str, thresholds: Thresholds) -> Option<MatchInfo> {
        let text = normalised(title);
        if text.contains(&self.text) {
            let match_reason = "the title contains the keyword".to_owned();
            return Some(MatchInfo {
                match_type: MatchType::Exact,
                match_score: 1.0,
                match_reason,
            });
        }
        let title = Title::new(&text);
        let stems = self.stems.iter().filter(|stem| title.has_stem(stem));
        let words = self.words.iter().filter(|word| title.words.contains(*word));
        found(
            MatchType::Morphological,
            "word stems",
            stems.collect(),
            self.stems.len(),
            thresholds.morphological,
        )
        .or_else(|| {
            found(
                MatchType::Simple,
                "words",
                words.collect(),
                self.words.len(),
                thresholds.simple,
            )
        })
    }
}

fn found(
    match_type: MatchType,
    what: &str,
    shared: Vec<&String>,
    all: usize,
    least: f64,
) -> Option<MatchInfo> {
    if shared.is_empty() {
        return None;
    }
    let match_score = shared.len() as f64 / all as f64;
    let names: Vec<&str> = shared.iter().map(|name| name.as_str()).collect();
    let match_reason = format!(
        "{} of {all} {what} of the keyword are in the title: {}",
        names.len(),
        names.join(", ")
    );
    (match_score >= least).then_some(MatchInfo {
        match_type,
        match_score,
        match_reason,
    })
}

/// A title, taken apart.
struct Title {
    words: BTreeSet<String>,
    /// Stems, and neighbouring words written as one.
    stems: BTreeSet<String>,
}

impl Title {
    fn new(text: &str) -> Self {
        let words = words(text);
        let mut stems: BTreeSet<String> = words.iter().map(|word| stem(word).to_owned()).collect();
        stems.extend(words.windows(2).map(|pair| stem(&pair.concat()).to_owned()));
        Title {
            words: words.into_iter().collect(),
            stems,
        }
    }

    fn has_stem(&self, wanted: &str) -> bool {
        let sought_inside = wanted.chars().all(is_hangul) && wanted.chars().count() >= LEAST_PART;
        let inside = |word: &String| word.starts_with(wanted) || word.ends_with(wanted);
        self.stems.contains(wanted) || (sought_inside && self.stems.iter().any(inside))
    }
}
