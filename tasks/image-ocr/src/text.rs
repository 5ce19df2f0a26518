//! What was read, made usable: lines cleaned and kept once, the language told by the script. No dictionary is here.

use std::collections::HashSet;

use task_words::{is_hangul, normalised};

/// Signs that OCR sees in frames, bullets and shadows; at the ends of a line they say nothing.
const NOISE: &str = "|¦·•∙*_~^`'\"“”‘’«»<>=+-–—:;,.…/\\#@[]{}■□▪▫◆◇○●★☆►▶";

/// The lines of all texts in order: white space and noise at the ends taken off, lines without a word dropped, each
/// kept once. What exceeds `letters` in all is dropped at the end of a line.
pub(crate) fn clean(texts: &[String], letters: usize) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut left = letters;
    let mut lines = Vec::new();
    for line in texts.iter().flat_map(|text| text.lines()) {
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        let line =
            line.trim_matches(|letter: char| letter.is_whitespace() || NOISE.contains(letter));
        if !says_something(line) || !seen.insert(normalised(line)) {
            continue;
        }
        let Some(rest) = left.checked_sub(line.chars().count()) else {
            break;
        };
        left = rest;
        lines.push(line.to_owned());
    }
    lines
}

/// Whether a line has a word: a single latin letter or digit is a speck, a single Han or Hangul letter may be a word.
fn says_something(line: &str) -> bool {
    let mut words = line.chars().filter(|letter| letter.is_alphanumeric());
    match (words.next(), words.next()) {
        (Some(only), None) => is_hangul(only) || is_han(only),
        (first, _) => first.is_some(),
    }
}

fn is_han(letter: char) -> bool {
    matches!(letter, '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}')
}

fn is_kana(letter: char) -> bool {
    matches!(letter, '\u{3041}'..='\u{30FF}' | '\u{31F0}'..='\u{31FF}' | '\u{FF66}'..='\u{FF9D}')
}

/// The language by the script that has most letters: Hangul is Korean, Kana Japanese (with its Han letters), Han
/// alone Chinese, latin letters English; "und" without letters. A word of Han or Hangul has two or three letters where
/// a latin one has six, so latin letters count a third.
pub(crate) fn language(text: &str) -> &'static str {
    let count = |of: fn(char) -> bool| text.chars().filter(|letter| of(*letter)).count();
    let (hangul, kana, han) = (count(is_hangul), count(is_kana), count(is_han));
    let latin = count(|letter| {
        letter.is_alphabetic() && !is_hangul(letter) && !is_kana(letter) && !is_han(letter)
    });
    let (japanese, chinese) = if kana > 0 && kana * 10 >= han {
        (kana + han, 0)
    } else {
        (kana, han)
    };
    let ranked = [
        ("ko", hangul),
        ("ja", japanese),
        ("zh-CN", chinese),
        ("en", latin.div_ceil(3)),
    ];
    // Of equals the first is taken, as `max_by_key` takes the last.
    let best = ranked.into_iter().rev().max_by_key(|(_, letters)| *letters);
    best.filter(|(_, letters)| *letters > 0)
        .map_or("und", |(language, _)| language)
}

#[cfg(test)]
mod tests {
    use super::{clean, language};

    #[test]
    fn the_script_tells_the_language() {
        for (text, expected) in [
            ("생활 방수 백팩", "ko"),
            ("品质保证 现货速发", "zh-CN"),
            ("防水バッグです", "ja"),
            ("Waterproof backpack", "en"),
            ("품질 보증 USB-C LED", "ko"),
            ("100% 2.0", "und"),
            ("", "und"),
        ] {
            assert_eq!(language(text), expected, "{text}");
        }
    }

    #[test]
    fn noise_goes_and_a_line_that_repeats_stays_once() {
        let texts = [
            "|| 品质保证 ··\n\n~~~\nI\n水\n30 °C".to_owned(),
            "品质保证\nＵＳＢ  C\nusb c".to_owned(),
        ];
        assert_eq!(clean(&texts, 100), ["品质保证", "水", "30 °C", "ＵＳＢ C"]);
    }

    #[test]
    fn too_much_text_ends_at_a_line() {
        let texts = ["가나다라\n마바사\n아자".to_owned()];
        assert_eq!(clean(&texts, 7), ["가나다라", "마바사"]);
        assert!(clean(&texts, 3).is_empty());
    }
}
