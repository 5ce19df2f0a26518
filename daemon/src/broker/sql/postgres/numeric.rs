//! PostgreSQL's `numeric`, from its binary form to digits: exact, at any length, with its scale.

use std::fmt::Write as _;

/// The digits of a group: `numeric` is written in base 10,000.
const GROUP: usize = 4;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const NEGATIVE_INFINITY: u16 = 0xF000;

/// The number as PostgreSQL writes it. None: not the binary form of a `numeric`.
pub(super) fn text(bytes: &[u8]) -> Option<String> {
    let mut words = bytes.chunks_exact(2).map(|pair| match pair {
        [high, low] => u16::from_be_bytes([*high, *low]),
        _ => 0,
    });
    let (count, weight, sign, scale) = (words.next()?, words.next()?, words.next()?, words.next()?);
    match sign {
        NAN => return Some("NaN".to_owned()),
        INFINITY => return Some("Infinity".to_owned()),
        NEGATIVE_INFINITY => return Some("-Infinity".to_owned()),
        _ => {}
    }
    let groups: Vec<u16> = words.collect();
    if groups.len() != usize::from(count) {
        return None;
    }
    // The power of 10,000 of the first group; it is written as a signed number.
    let weight = i32::from(weight.cast_signed());
    let group = |power: i32| {
        let at = usize::try_from(weight - power).ok()?;
        groups.get(at).copied()
    };
    let mut text = String::new();
    if sign == NEGATIVE {
        text.push('-');
    }
    if weight < 0 {
        text.push('0');
    } else {
        for power in (0..=weight).rev() {
            let digits = group(power).unwrap_or(0);
            let _ = match power == weight {
                true => write!(text, "{digits}"),
                false => write!(text, "{digits:04}"),
            };
        }
    }
    let scale = usize::from(scale);
    if scale > 0 {
        text.push('.');
        let whole = text.len();
        let mut power = -1;
        while text.len() - whole < scale {
            let _ = write!(text, "{:04}", group(power).unwrap_or(0));
            power -= 1;
        }
        debug_assert!(text.len() - whole < scale + GROUP);
        text.truncate(whole + scale);
    }
    Some(text)
}
