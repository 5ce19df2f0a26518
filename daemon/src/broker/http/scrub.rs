//! Keeps an injected secret from coming back: a server that echoes one is heard by the guest, and
//! the logs, as `***`.
//!
//! Only the raw text is looked for. A server that transforms a secret before sending it back is
//! beyond this; that is why a grant names the servers that get one.

use secrecy::{ExposeSecret as _, SecretString};

/// What the guest sees instead.
const MASK: &[u8] = b"***";
/// Shorter secrets would mask ordinary text all over, and tell by it what they are.
const SECRET_BYTES_MIN: usize = 4;

/// Replaces secrets in texts and in streams.
#[derive(Default)]
pub(super) struct Scrubber {
    /// Longest first, so that a secret that contains another is masked whole.
    secrets: Vec<SecretString>,
}

impl Scrubber {
    pub(super) fn new(mut secrets: Vec<SecretString>) -> Self {
        secrets.retain(|secret| secret.expose_secret().len() >= SECRET_BYTES_MIN);
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose_secret().len()));
        Self { secrets }
    }

    /// A whole text without secrets.
    pub(super) fn text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.whole(text.as_bytes())).into_owned()
    }

    fn whole(&self, bytes: &[u8]) -> Vec<u8> {
        let mut carry = Vec::new();
        let mut out = self.portion(&mut carry, bytes);
        out.append(&mut carry);
        out
    }

    /// The next portion of a stream without secrets. What could be the beginning of one stays in
    /// `carry` until more has come; at the stream's end the caller sends what is left there.
    pub(super) fn portion(&self, carry: &mut Vec<u8>, bytes: &[u8]) -> Vec<u8> {
        carry.extend_from_slice(bytes);
        if self.secrets.is_empty() {
            return std::mem::take(carry);
        }
        let mut out = Vec::with_capacity(carry.len());
        let mut rest = carry.as_slice();
        while let Some((first, tail)) = rest.split_first() {
            if let Some(after) = self.secret_at(rest) {
                out.extend_from_slice(MASK);
                rest = after;
            } else if self.may_begin(rest) {
                break;
            } else {
                out.push(*first);
                rest = tail;
            }
        }
        *carry = rest.to_vec();
        out
    }

    fn secret_at<'r>(&self, rest: &'r [u8]) -> Option<&'r [u8]> {
        self.secrets
            .iter()
            .find_map(|secret| rest.strip_prefix(secret.expose_secret().as_bytes()))
    }

    fn may_begin(&self, rest: &[u8]) -> bool {
        self.secrets
            .iter()
            .any(|secret| secret.expose_secret().as_bytes().starts_with(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scrubber(secrets: &[&str]) -> Scrubber {
        Scrubber::new(secrets.iter().map(|s| SecretString::from(*s)).collect())
    }

    #[test]
    fn a_secret_that_contains_another_is_masked_whole() {
        let scrubber = scrubber(&["abcd", "abcdefgh"]);
        assert_eq!(scrubber.text("x abcdefgh y abcd z"), "x *** y *** z");
    }

    proptest! {
        #[test]
        fn however_a_stream_is_cut_no_secret_comes_through(
            text in "[ab]{0,60}", cuts in prop::collection::vec(1usize..5, 0..60),
        ) {
            let scrubber = scrubber(&["abab", "aabba"]);
            let (mut carry, mut out, mut rest) = (Vec::new(), Vec::new(), text.as_bytes());
            for cut in cuts {
                let (head, tail) = rest.split_at(cut.min(rest.len()));
                out.extend(scrubber.portion(&mut carry, head));
                rest = tail;
            }
            out.extend(scrubber.portion(&mut carry, rest));
            out.append(&mut carry);
            let out = String::from_utf8(out).unwrap();
            prop_assert!(!out.contains("abab") && !out.contains("aabba"));
            // The same text in one piece gives the same result.
            prop_assert_eq!(out, scrubber.text(&text));
        }
    }
}
