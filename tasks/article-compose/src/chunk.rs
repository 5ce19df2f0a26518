//! Pieces of text that can be looked up: small enough that one is about one thing. Ranking is elsewhere.

/// A piece of text, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) kind: Kind,
    pub(crate) origin: String,
    pub(crate) text: String,
}

/// What a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// A fact of the product's page.
    Product,
    /// Text on the product's pictures.
    Ocr,
    /// A row of the knowledge database.
    Knowledge,
}

/// The text on pictures: lines and sentences, neighbours together as long as they fit.
pub(crate) fn of_pictures(text: &str, letters: usize) -> Vec<Chunk> {
    let numbered = (1_usize..).zip(split(text, letters));
    numbered
        .map(|(number, text)| Chunk {
            kind: Kind::Ocr,
            origin: format!("translation_language, piece {number}"),
            text,
        })
        .collect()
}

/// A text in pieces of at most `letters`, cut between lines and sentences where there are any.
pub(crate) fn split(text: &str, letters: usize) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    let mut length = 0;
    for sentence in text
        .lines()
        .flat_map(sentences)
        .flat_map(|sentence| cut(sentence, letters))
    {
        let own = sentence.chars().count();
        match pieces.last_mut() {
            Some(piece) if length + 1 + own <= letters => {
                piece.push(' ');
                piece.push_str(&sentence);
                length += 1 + own;
            }
            _ => {
                pieces.push(sentence);
                length = own;
            }
        }
    }
    pieces
}

/// A line's sentences, each with the sign that ends it; white space is one space.
fn sentences(line: &str) -> Vec<String> {
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut sentences = Vec::new();
    let mut sentence = String::new();
    let mut ended = false;
    for letter in line.chars() {
        // A point inside a number or an address is followed by no space.
        if ended && letter == ' ' {
            sentences.push(std::mem::take(&mut sentence));
        } else {
            sentence.push(letter);
        }
        ended = matches!(letter, '.' | '!' | '?' | '。' | '！' | '？');
    }
    sentences.push(sentence);
    sentences.retain(|sentence| !sentence.is_empty());
    sentences
}

/// A sentence in pieces that fit, for text without any signs.
fn cut(sentence: String, letters: usize) -> Vec<String> {
    let all: Vec<char> = sentence.chars().collect();
    all.chunks(letters.max(1))
        .map(|piece| piece.iter().collect::<String>().trim().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn neighbours_stay_together_and_no_piece_is_too_long() {
        let text = "첫 문장. 둘째 문장은 조금 길다!\n셋째 3.5kg 줄\n\n가나다라마바사아자차카타파하";
        let pieces = split(text, 13);
        assert_eq!(
            pieces,
            [
                "첫 문장.",
                "둘째 문장은 조금 길다!",
                "셋째 3.5kg 줄",
                "가나다라마바사아자차카타파",
                "하"
            ]
        );
        assert_eq!(split("a\nb\nc", 100), ["a b c"]);
        assert!(split(" \n ", 10).is_empty());
    }
}
