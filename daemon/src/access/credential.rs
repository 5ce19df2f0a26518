//! The random texts by which browsers and programs are known: how they are made, told apart and kept. Pure but
//! for the randomness.
//!
//! A token is `fwt_`, 40 random letters and digits, and a checksum of six: scanners of repositories know the
//! beginning, and one that was cut off is refused without a look at the store. Only hashes are kept. They are
//! SHA-256 without salt or cost: 238 random bits cannot be guessed.

use rand::Rng as _;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

/// How every token begins.
const TOKEN_PREFIX: &str = "fwt_";
/// Random letters of a token or cookie: 40 of 62 are 238 bits.
const RANDOM_LETTERS: usize = 40;
/// Letters of the checksum: 62⁶ > 2³².
const CHECKSUM_LETTERS: usize = 6;
/// How much of a token its owner is shown to tell it from others.
const HINT_LETTERS: usize = 10;

const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

fn letter(number: u32) -> char {
    let place = usize::try_from(number % 62).unwrap_or(0);
    char::from(LETTERS.get(place).copied().unwrap_or(b'0'))
}

fn random() -> String {
    let mut random = rand::rng();
    (0..RANDOM_LETTERS)
        .map(|_| letter(random.random_range(0..62)))
        .collect()
}

fn checksum(text: &str) -> String {
    let mut left = crc32fast::hash(text.as_bytes());
    let mut letters = Vec::with_capacity(CHECKSUM_LETTERS);
    for _ in 0..CHECKSUM_LETTERS {
        letters.push(letter(left));
        left /= 62;
    }
    letters.into_iter().rev().collect()
}

/// A new token.
pub(super) fn new_token() -> SecretString {
    let text = format!("{TOKEN_PREFIX}{}", random());
    SecretString::from(format!("{text}{}", checksum(&text)))
}

/// A new cookie.
pub(super) fn new_cookie() -> SecretString {
    SecretString::from(random())
}

/// Whether a text can be a token: its form and its checksum.
pub(super) fn may_be_token(text: &str) -> bool {
    let length = TOKEN_PREFIX.len() + RANDOM_LETTERS;
    text.len() == length + CHECKSUM_LETTERS
        && text.starts_with(TOKEN_PREFIX)
        && text
            .split_at_checked(length)
            .is_some_and(|(body, sum)| checksum(body) == sum)
}

/// Whether a text can be a cookie.
pub(super) fn may_be_cookie(text: &str) -> bool {
    text.len() == RANDOM_LETTERS && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// What is kept of either.
pub(super) fn hash(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// How a token begins.
pub(super) fn hint(token: &SecretString) -> String {
    token.expose_secret().chars().take(HINT_LETTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_with_any_letter_changed_or_cut_is_no_token() {
        let token = new_token();
        let text = token.expose_secret();
        assert!(may_be_token(text));
        for place in 0..text.len() {
            let mut other = text.as_bytes().to_vec();
            other[place] = if other[place] == b'x' { b'y' } else { b'x' };
            assert!(!may_be_token(&String::from_utf8(other).unwrap()), "{place}");
            assert!(!may_be_token(&text[..place]));
        }
        assert!(!may_be_token(&format!("{text}a")));
        assert!(!may_be_token(&format!("fwt_{}", "é".repeat(23))));
    }

    #[test]
    fn what_is_kept_and_shown_does_not_give_the_token() {
        let token = new_token();
        assert_eq!(hash(token.expose_secret()).len(), 64);
        assert!(!hash(token.expose_secret()).contains(token.expose_secret()));
        assert_eq!(hint(&token).len(), HINT_LETTERS);
        assert_ne!(new_cookie().expose_secret(), new_cookie().expose_secret());
        assert!(may_be_cookie(new_cookie().expose_secret()));
    }
}
