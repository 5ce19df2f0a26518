//! The terms by which texts are ranked: stems, and pieces of them. Weights are in `bm25`.

use crate::{is_hangul, stem, words};

/// Letters of a piece of a Hangul word. Two rank Korean text as well as morphological analysis does, without
/// its dictionary (Lee and Ahn, "Using n-Grams for Korean Text Retrieval", SIGIR 1996).
const HANGUL_PIECE: usize = 2;

/// Letters of a piece of any other word. Two latin letters say too little.
const OTHER_PIECE: usize = 3;

/// The terms of a text: the stem of every word, and every run of two syllables (three letters of other scripts)
/// in it, so that words inside a Korean compound, written without spaces, still meet (`이어폰` in `무선이어폰`).
pub fn terms(text: &str) -> Vec<String> {
    let mut terms = Vec::new();
    for word in words(text) {
        let stem = stem(&word);
        let letters: Vec<char> = stem.chars().collect();
        let piece = if letters.iter().copied().any(is_hangul) {
            HANGUL_PIECE
        } else {
            OTHER_PIECE
        };
        if letters.len() > piece {
            terms.extend(
                letters
                    .windows(piece)
                    .map(|piece| piece.iter().collect::<String>()),
            );
        }
        terms.push(stem.to_owned());
    }
    terms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_inside_a_compound_shares_terms_with_it() {
        let compound = terms("무선이어폰");
        assert_eq!(compound, ["무선", "선이", "이어", "어폰", "무선이어폰"]);
        assert!(
            terms("이어폰을")
                .iter()
                .filter(|term| compound.contains(term))
                .count()
                == 2
        );
    }

    #[test]
    fn a_short_word_is_its_own_only_term() {
        assert_eq!(terms("백팩 led"), ["백팩", "led"]);
    }
}
