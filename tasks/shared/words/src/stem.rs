//! Stems: a word without the endings that only say how it stands in its sentence.
//!
//! Korean nouns carry particles (josa). Which form a particle takes depends on whether the noun ends in a
//! consonant, and a composed syllable's code says that: (code − 0xAC00) mod 28 is the final consonant, 0 for
//! none (Unicode Standard, section 3.12). An ending is taken off only if its form fits the letter before it and
//! at least two syllables remain. The one-syllable particles 이, 가, 과, 도, 의, 로, 나 and 만 stay: far more
//! product nouns end in them (고양이, 요가, 사과, 온도, 상의, 난로) than product titles use them.

use crate::is_hangul;

/// What must stand before an ending for it to be a particle.
#[derive(Clone, Copy)]
enum Before {
    Any,
    Consonant,
    Vowel,
}

/// Particles, longer ones before those that they end with, and 용 ("for"), which titles put behind what a thing
/// is for (캠핑용).
const ENDINGS: &[(&str, Before)] = &[
    ("에서는", Before::Any),
    ("에서도", Before::Any),
    ("에게서", Before::Any),
    ("으로는", Before::Consonant),
    ("으로도", Before::Consonant),
    ("으로써", Before::Consonant),
    ("으로서", Before::Consonant),
    ("이라는", Before::Consonant),
    ("이랑", Before::Consonant),
    ("라는", Before::Vowel),
    ("에서", Before::Any),
    ("에게", Before::Any),
    ("에는", Before::Any),
    ("에도", Before::Any),
    ("까지", Before::Any),
    ("부터", Before::Any),
    ("처럼", Before::Any),
    ("마다", Before::Any),
    ("으로", Before::Consonant),
    ("은", Before::Consonant),
    ("을", Before::Consonant),
    ("는", Before::Vowel),
    ("를", Before::Vowel),
    ("와", Before::Vowel),
    ("에", Before::Any),
    ("용", Before::Any),
];

/// The fewest syllables that are left of a Korean word: most Korean nouns have two, and with one left the
/// ending was more likely a part of the noun (마을, 가을).
const LEAST_SYLLABLES: usize = 2;

/// The fewest letters of a latin word whose plural `s` is taken off: shorter ones are names and codes (`ps`,
/// `gps`).
const LEAST_LETTERS: usize = 4;

/// The stem of a word as [`words`](crate::words) gives it. One ending is taken off, never two.
///
/// ```
/// assert_eq!(task_words::stem("아이들에게"), "아이들");
/// assert_eq!(task_words::stem("고양이"), "고양이");
/// assert_eq!(task_words::stem("boxes"), "boxe");
/// ```
pub fn stem(word: &str) -> &str {
    match word.chars().last() {
        Some(last) if is_hangul(last) => korean(word),
        Some('s') => latin(word),
        _ => word,
    }
}

fn korean(word: &str) -> &str {
    ENDINGS
        .iter()
        .find_map(|(ending, before)| without(word, ending, *before))
        .unwrap_or(word)
}

fn without<'a>(word: &'a str, ending: &str, before: Before) -> Option<&'a str> {
    let rest = word.strip_suffix(ending)?;
    let last = rest.chars().last().filter(|last| is_hangul(*last))?;
    let fits = match before {
        Before::Any => true,
        Before::Consonant => final_consonant(last),
        Before::Vowel => !final_consonant(last),
    };
    (fits && rest.chars().count() >= LEAST_SYLLABLES).then_some(rest)
}

fn final_consonant(syllable: char) -> bool {
    (u32::from(syllable) - u32::from('가')) % 28 != 0
}

/// Step 1a of Porter's stemmer (1980) without its `ies` and `sses`: both sides of a comparison lose the same
/// letter, so `boxes` and `boxes` agree, and `glass` stays.
fn latin(word: &str) -> &str {
    let plural = word.is_ascii()
        && word.len() >= LEAST_LETTERS
        && !["ss", "us", "is"].iter().any(|end| word.ends_with(end))
        && !word.contains(|letter: char| letter.is_ascii_digit());
    if plural {
        word.strip_suffix('s').unwrap_or(word)
    } else {
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_particle_that_fits_the_syllable_before_it_is_taken_off() {
        for (word, expected) in [
            ("텀블러를", "텀블러"),
            ("이어폰을", "이어폰"),
            ("이어폰으로", "이어폰"),
            ("캠핑장에서는", "캠핑장"),
            ("거울까지", "거울"),
            ("의자와", "의자"),
            ("캠핑용", "캠핑"),
            ("lamps", "lamp"),
        ] {
            assert_eq!(stem(word), expected, "{word}");
        }
    }

    #[test]
    fn a_noun_that_only_looks_like_one_with_a_particle_keeps_its_end() {
        for word in [
            "가을",
            "마을",
            "고양이",
            "요가",
            "사과",
            "온도",
            "난로",
            "상의",
            "미용",
            "glass",
            "gps",
            "virus",
            "이어폰를",
            "3는",
            "s",
        ] {
            assert_eq!(stem(word), word);
        }
    }
}
