//! One spelling for one text, and its words. What a word means or shares with another is elsewhere.

use unicode_normalization::UnicodeNormalization;

/// The text in the one spelling in which texts are compared: Unicode NFKC (Hangul syllables composed,
/// full-width latin made ordinary), lower case, one space between words.
///
/// ```
/// assert_eq!(task_words::normalised("  ＬＥＤ\u{a0}Lamp\n"), "led lamp");
/// ```
pub fn normalised(text: &str) -> String {
    let composed: String = text.nfkc().flat_map(char::to_lowercase).collect();
    composed.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The words of a text, normalised, in order, repetitions included.
///
/// A word is a run of letters and digits of one script: Hangul and latin letters side by side are two
/// words (`led거울`), digits belong to what they stand beside (`3단`, `500ml`), and a point between digits
/// does not end a word (`15.6인치`).
pub fn words(text: &str) -> Vec<String> {
    let text = normalised(text);
    let mut words = Vec::new();
    let mut word = String::new();
    let mut script = None;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let point_in_number = letter == '.'
            && word.ends_with(|last: char| last.is_ascii_digit())
            && letters.peek().is_some_and(char::is_ascii_digit);
        if !letter.is_alphanumeric() && !point_in_number {
            finish(&mut words, &mut word, &mut script);
            continue;
        }
        let own = Script::of(letter);
        if own.is_some() && script.is_some() && own != script {
            finish(&mut words, &mut word, &mut script);
        }
        script = own.or(script);
        word.push(letter);
    }
    finish(&mut words, &mut word, &mut script);
    words
}

fn finish(words: &mut Vec<String>, word: &mut String, script: &mut Option<Script>) {
    if !word.is_empty() {
        words.push(std::mem::take(word));
    }
    *script = None;
}

/// Whether a letter is a composed Hangul syllable.
pub fn is_hangul(letter: char) -> bool {
    ('가'..='힣').contains(&letter)
}

/// The scripts that end each other's words.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Script {
    Hangul,
    Other,
}

impl Script {
    /// None for digits and points, which go with any script.
    fn of(letter: char) -> Option<Self> {
        if is_hangul(letter) {
            Some(Script::Hangul)
        } else if letter.is_alphabetic() {
            Some(Script::Other)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hangul_written_as_single_letters_is_the_same_text() {
        let decomposed: String = "무선이어폰".nfd().collect();
        assert_ne!(decomposed, "무선이어폰");
        assert_eq!(normalised(&decomposed), "무선이어폰");
    }

    #[test]
    fn words_end_at_signs_and_between_scripts_but_not_at_digits_or_decimal_points() {
        for (text, expected) in [
            (
                "[라온홈] 생활방수 백팩 15.6인치",
                vec!["라온홈", "생활방수", "백팩", "15.6인치"],
            ),
            ("LED거울 5종세트", vec!["led", "거울", "5종세트"]),
            (
                "USB-C 충전케이블, 2m.",
                vec!["usb", "c", "충전케이블", "2m"],
            ),
            ("욕실매트 40x60", vec!["욕실매트", "40x60"]),
            ("…!", vec![]),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }
}
