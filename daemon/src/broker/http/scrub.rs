//! Keeps an injected secret from coming back: a server that echoes one is heard by the guest, and
//! the logs, as `***`.
//!
//! A secret is found as it is and in the forms that servers echo things in: any of its characters
//! percent-encoded, JSON-escaped or HTML-escaped; hex; base64 of any text that it is a part of. Letters
//! beyond ASCII may come back as Latin-1, or as UTF-8 of what was taken for Latin-1: headers have no
//! agreed encoding, and many servers read them so. A server that transforms a secret in another way (encrypts, reverses, splits it) is beyond this;
//! that is why a grant names the servers that get one.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};

use super::sign::WEBHOOK_PREFIX;
use crate::broker::secret::INJECTED_BYTES_MIN;

/// What the guest sees instead.
const MASK: &[u8] = b"***";
/// Shorter secrets leave less than ten letters of base64 that depend on nothing else, which occur
/// in pictures by chance; they are found in all forms but base64.
const BASE64_BYTES_MIN: usize = 8;
/// `&#x10ffff;` is the longest; a name or number that goes on is none of those that are known here.
const ENTITY_BYTES_MAX: usize = 10;

/// Replaces secrets in texts and in streams.
pub(super) struct Scrubber {
    forms: Vec<Form>,
    /// The bytes that a form, or an escape in it, can begin with.
    begins: [bool; 256],
    /// For names of headers, which have lost their case.
    lower: Vec<SecretString>,
}

/// One way in which a secret may be written, in which any character may be escaped.
struct Form {
    text: SecretSlice<u8>,
    /// Hex digits have no case.
    any_case: bool,
    /// Long base64 is broken into lines.
    lines: bool,
}

/// What stands at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    No,
    /// A secret, if more comes that fits.
    Maybe,
    /// A secret of so many bytes.
    Whole(usize),
}

impl Scrubber {
    pub(super) fn new(mut secrets: Vec<SecretString>) -> Self {
        secrets.retain(|secret| secret.expose_secret().len() >= INJECTED_BYTES_MIN);
        secrets.sort_by(|a, b| a.expose_secret().cmp(b.expose_secret()));
        secrets.dedup_by(|a, b| a.expose_secret() == b.expose_secret());
        let mut forms = Vec::new();
        for secret in &secrets {
            add_forms(&mut forms, secret.expose_secret());
        }
        let mut begins = [false; 256];
        let mut mark = |byte: u8| {
            if let Some(begins) = begins.get_mut(usize::from(byte)) {
                *begins = true;
            }
        };
        for form in &forms {
            let first = form.text.expose_secret().first().copied();
            let first = first.unwrap_or_default();
            mark(first);
            if form.any_case {
                mark(first.to_ascii_uppercase());
            }
            let escapes: &[u8] = if first == b' ' { b"%\\&+" } else { b"%\\&" };
            escapes.iter().copied().for_each(&mut mark);
        }
        let lower = secrets
            .iter()
            .map(|secret| secret.expose_secret().to_ascii_lowercase().into())
            .collect();
        Self {
            forms,
            begins,
            lower,
        }
    }

    /// A whole text without secrets.
    pub(super) fn text(&self, text: &str) -> String {
        self.bytes(text.as_bytes())
    }

    /// Whole bytes without secrets, as text; what is not UTF-8 is replaced.
    pub(super) fn bytes(&self, bytes: &[u8]) -> String {
        let mut carry = bytes.to_vec();
        let out = self.last(&mut carry);
        String::from_utf8(out)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// A header's name without secrets.
    pub(super) fn name(&self, name: &str) -> String {
        let kept = |secret: &SecretString| name.contains(secret.expose_secret());
        if self.lower.iter().any(kept) {
            return String::from_utf8_lossy(MASK).into_owned();
        }
        self.text(name)
    }

    /// The next portion of a stream without secrets. What could be the beginning of one stays in
    /// `carry` until more has come, or the stream's end, where [`last`](Self::last) is called.
    pub(super) fn portion(&self, carry: &mut Vec<u8>, bytes: &[u8]) -> Vec<u8> {
        carry.extend_from_slice(bytes);
        self.pass(carry, false)
    }

    /// What is left at the end of a stream, without secrets.
    pub(super) fn last(&self, carry: &mut Vec<u8>) -> Vec<u8> {
        self.pass(carry, true)
    }

    fn pass(&self, carry: &mut Vec<u8>, last: bool) -> Vec<u8> {
        if self.forms.is_empty() {
            return std::mem::take(carry);
        }
        let mut out = Vec::with_capacity(carry.len());
        let mut rest = carry.as_slice();
        // How much at the beginning of `rest` is clean.
        let mut clean = 0;
        while let Some(at) = rest.get(clean..).filter(|at| !at.is_empty()) {
            let skipped = at.iter().take_while(|byte| !self.begins(**byte)).count();
            clean += skipped;
            let Some(here) = rest.get(clean..).filter(|here| !here.is_empty()) else {
                break;
            };
            match self.look(here, last) {
                Found::Whole(length) => {
                    out.extend_from_slice(rest.get(..clean).unwrap_or_default());
                    out.extend_from_slice(MASK);
                    rest = rest.get(clean + length..).unwrap_or_default();
                    clean = 0;
                }
                Found::Maybe => break,
                Found::No => clean += 1,
            }
        }
        out.extend_from_slice(rest.get(..clean).unwrap_or_default());
        *carry = rest.get(clean..).unwrap_or_default().to_vec();
        out
    }

    fn begins(&self, byte: u8) -> bool {
        self.begins.get(usize::from(byte)).copied().unwrap_or(true)
    }

    /// The longest secret that stands here; `Maybe` if a longer one could, unless nothing more comes.
    fn look(&self, here: &[u8], last: bool) -> Found {
        let mut longest = None;
        let mut maybe = false;
        for form in &self.forms {
            let (found, cut) = form.at(here);
            longest = longest.max(found);
            maybe |= cut;
        }
        match longest {
            // Waiting for a longer one keeps what is found from coming out in the meantime.
            _ if maybe && !last => Found::Maybe,
            Some(length) => Found::Whole(length),
            None => Found::No,
        }
    }
}

fn add_forms(forms: &mut Vec<Form>, secret: &str) {
    add_forms_of(forms, secret.as_bytes());
    // A webhook's receiver works with what stands behind the prefix, and with what that means.
    if let Some(encoded) = secret.strip_prefix(WEBHOOK_PREFIX)
        && let Ok(key) = STANDARD.decode(encoded)
        && key.len() >= INJECTED_BYTES_MIN
    {
        add_forms_of(forms, encoded.as_bytes());
        add_forms_of(forms, SecretSlice::from(key).expose_secret());
    }
    if secret.is_ascii() {
        return;
    }
    // A server that reads the bytes as Latin-1 and answers in UTF-8.
    let mistaken: String = secret.bytes().map(char::from).collect();
    add_forms_of(forms, mistaken.as_bytes());
    let latin: Result<Vec<u8>, _> = secret.chars().map(u8::try_from).collect();
    if let Ok(latin) = latin {
        add_forms_of(forms, &latin);
    }
}

fn add_forms_of(forms: &mut Vec<Form>, secret: &[u8]) {
    let mut add = |text: Vec<u8>, any_case, lines| {
        let text = SecretSlice::from(text);
        forms.push(Form {
            text,
            any_case,
            lines,
        });
    };
    add(secret.to_vec(), false, false);
    add(hex::encode(secret).into_bytes(), true, false);
    if secret.len() < BASE64_BYTES_MIN {
        return;
    }
    for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
        // What stands before the secret shifts it by 0 to 2 bytes. Letters that hold bits of what
        // stands before or after it are left out.
        for (shift, mixed) in [(0, 0), (1, 2), (2, 3)] {
            let shifted = [&vec![0; shift], secret].concat();
            let sure = shifted.len() * 8 / 6;
            let text = engine.encode(shifted);
            let own = text.get(mixed..sure).unwrap_or_default();
            add(own.as_bytes().to_vec(), false, true);
        }
    }
}

impl Form {
    /// The longest way to read this form here, and whether one that is longer was cut off.
    fn at(&self, here: &[u8]) -> (Option<usize>, bool) {
        let text = self.text.expose_secret();
        let (mut longest, mut cut) = (None, false);
        // Places in the text and here that fit so far. A second one appears only where the text
        // itself holds an escape's first character.
        let (mut next, mut others) = (Some((0, 0)), Vec::new());
        while let Some((in_text, in_here)) = next.take().or_else(|| others.pop()) {
            let wanted = text.get(in_text..).unwrap_or_default();
            let given: &[u8] = here.get(in_here..).unwrap_or_default();
            let (Some(want), Some(first)) = (wanted.first(), given.first()) else {
                if wanted.is_empty() {
                    longest = longest.max(Some(in_here));
                } else {
                    cut = true;
                }
                continue;
            };
            if self.same(*want, *first) || (*want == b' ' && *first == b'+') {
                next = Some((in_text + 1, in_here + 1));
            } else if self.lines && in_text > 0 {
                match line_break(given) {
                    Break::None => {}
                    Break::Cut => cut = true,
                    Break::Of(length) => next = Some((in_text, in_here + length)),
                }
            }
            match escape(given) {
                Escape::None => {}
                Escape::Cut => cut = true,
                Escape::Of(meant, length) => {
                    let mut utf8 = [0; 4];
                    let meant: &[u8] = match meant {
                        Meant::Byte(byte) => {
                            utf8 = [byte, 0, 0, 0];
                            utf8.get(..1).unwrap_or_default()
                        }
                        Meant::Char(char) => char.encode_utf8(&mut utf8).as_bytes(),
                    };
                    let fits = wanted.get(..meant.len()).is_some_and(|wanted| {
                        wanted.iter().zip(meant).all(|(a, b)| self.same(*a, *b))
                    });
                    if fits {
                        others.push((in_text + meant.len(), in_here + length));
                    }
                }
            }
        }
        (longest, cut)
    }

    fn same(&self, want: u8, given: u8) -> bool {
        want == given || (self.any_case && want == given.to_ascii_lowercase())
    }
}

/// Whether lines change at the beginning of something: once, or what might be a secret would be
/// waited for as long as empty lines come.
enum Break {
    None,
    Cut,
    Of(usize),
}

fn line_break(given: &[u8]) -> Break {
    let length = match given {
        [b'\r'] => return Break::Cut,
        [b'\r', b'\n', ..] => 2,
        [b'\n', ..] => 1,
        _ => return Break::None,
    };
    match given.get(length) {
        None => Break::Cut,
        Some(b'\r' | b'\n') => Break::None,
        Some(_) => Break::Of(length),
    }
}

/// What an escape stands for.
enum Meant {
    Byte(u8),
    Char(char),
}

/// Whether an escape stands at the beginning of something.
enum Escape {
    None,
    /// Perhaps, if more comes.
    Cut,
    /// This, written in so many bytes.
    Of(Meant, usize),
}

fn escape(given: &[u8]) -> Escape {
    match given {
        [b'%', rest @ ..] => percent(rest),
        [b'\\', rest @ ..] => json(rest),
        [b'&', rest @ ..] => html(rest),
        _ => Escape::None,
    }
}

/// `%2F`, `%2f`.
fn percent(rest: &[u8]) -> Escape {
    let mut byte = [0];
    match rest.get(..2) {
        Some(digits) => match hex::decode_to_slice(digits, &mut byte) {
            Ok(()) => {
                let [byte] = byte;
                Escape::Of(Meant::Byte(byte), 3)
            }
            Err(_) => Escape::None,
        },
        None if rest.iter().all(u8::is_ascii_hexdigit) => Escape::Cut,
        None => Escape::None,
    }
}

/// `\/`, `\n`, `\u00e9`, `\ud83d\ude00` (RFC 8259 §7).
fn json(rest: &[u8]) -> Escape {
    let byte = |byte| Escape::Of(Meant::Byte(byte), 2);
    match rest {
        [] => Escape::Cut,
        [plain @ (b'"' | b'\\' | b'/'), ..] => byte(*plain),
        [b'b', ..] => byte(0x08),
        [b'f', ..] => byte(0x0c),
        [b'n', ..] => byte(b'\n'),
        [b'r', ..] => byte(b'\r'),
        [b't', ..] => byte(b'\t'),
        [b'u', rest @ ..] => match (unit(rest), rest.get(4..)) {
            (Ok(high @ 0xd800..=0xdbff), Some(tail)) => low_half(high, tail),
            (Ok(unit), _) => char::from_u32(u32::from(unit))
                .map_or(Escape::None, |char| Escape::Of(Meant::Char(char), 6)),
            (Err(escape), _) => escape,
        },
        _ => Escape::None,
    }
}

fn low_half(high: u16, tail: &[u8]) -> Escape {
    match tail {
        [] | [b'\\'] => Escape::Cut,
        [b'\\', b'u', rest @ ..] => match unit(rest) {
            Ok(low) => match char::decode_utf16([high, low]).next() {
                Some(Ok(char)) => Escape::Of(Meant::Char(char), 12),
                _ => Escape::None,
            },
            Err(escape) => escape,
        },
        _ => Escape::None,
    }
}

/// Four hex digits.
fn unit(rest: &[u8]) -> Result<u16, Escape> {
    let mut unit = [0; 2];
    match rest.get(..4) {
        Some(digits) if hex::decode_to_slice(digits, &mut unit).is_ok() => {
            Ok(u16::from_be_bytes(unit))
        }
        None if rest.iter().all(u8::is_ascii_hexdigit) => Err(Escape::Cut),
        _ => Err(Escape::None),
    }
}

/// `&amp;`, `&#39;`, `&#x27;`.
fn html(rest: &[u8]) -> Escape {
    let Some(end) = rest
        .iter()
        .take(ENTITY_BYTES_MAX)
        .position(|byte| *byte == b';')
    else {
        let could = rest.len() < ENTITY_BYTES_MAX
            && rest.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'#');
        return if could { Escape::Cut } else { Escape::None };
    };
    let name = rest
        .get(..end)
        .and_then(|name| std::str::from_utf8(name).ok());
    let meant = match name.unwrap_or_default() {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        other => other.strip_prefix('#').and_then(|number| {
            let number = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => number.parse(),
            };
            number.ok().and_then(char::from_u32)
        }),
    };
    meant.map_or(Escape::None, |char| Escape::Of(Meant::Char(char), end + 2))
}

#[cfg(test)]
mod tests;
