//! Text that every database can keep: U+0000 is written as an escape and restored on reading.
//!
//! PostgreSQL refuses U+0000 in text and SQLite's JSON functions end a string there, but a guest
//! may log it. The escape is lossless and injective, so keys that differ stay different.

use std::borrow::Cow;

/// Introduces an escape. A noncharacter that no one may interchange, so real text hardly holds it;
/// where it does, it is doubled.
const ESCAPE: char = '\u{10FFFF}';
/// Follows [`ESCAPE`] where U+0000 stood.
const NUL: char = '0';
/// The first byte of [`ESCAPE`] in UTF-8; only plane 16 begins so, which makes the check one scan.
const ESCAPE_LEAD: u8 = 0xF4;

/// The form in which a database keeps this text.
pub(super) fn stored(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    if !bytes.contains(&0) && !bytes.contains(&ESCAPE_LEAD) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\0' => out.extend([ESCAPE, NUL]),
            ESCAPE => out.extend([ESCAPE, ESCAPE]),
            other => out.push(other),
        }
    }
    Cow::Owned(out)
}

/// The text that was given to [`stored`]; none when it is not of that form.
pub(super) fn restored(text: String) -> Option<String> {
    if !text.as_bytes().contains(&ESCAPE_LEAD) {
        return Some(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != ESCAPE {
            out.push(c);
            continue;
        }
        match chars.next()? {
            NUL => out.push('\0'),
            ESCAPE => out.push(ESCAPE),
            _ => return None,
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_comes_back_as_it_was_and_holds_no_nul_meanwhile() {
        for text in [
            "",
            "plain",
            "한글 🎉",
            "\0",
            "a\0b\0\u{10FFFF}0",
            "\u{10FFFE}\u{10FFFF}",
        ] {
            let kept = stored(text).into_owned();
            assert!(!kept.contains('\0'));
            assert_eq!(restored(kept).as_deref(), Some(text));
        }
        assert_ne!(stored("\0"), stored("\u{10FFFF}0"));
        assert_eq!(restored("\u{10FFFF}x".into()), None);
    }
}
