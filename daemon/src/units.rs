//! Durations and sizes as people write them: `"1m30s"`, `"64 MiB"`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A text that is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuantity {
    /// Not a duration.
    #[error(
        "{0:?} is not a duration: write whole numbers with units, like \"500ms\", \"30s\" or \"1m30s\" (ms, s, m, h, d)"
    )]
    Duration(String),
    /// Not a size.
    #[error(
        "{0:?} is not a size: write a whole number and a unit, like \"64 MiB\" (B, KiB, MiB, GiB, kB, MB, GB)"
    )]
    Size(String),
}

/// A span of time in a file: `500ms`, `30s`, `1m30s`, `2h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = InvalidQuantity;
    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        parse_span(text)
            .map(Self)
            .ok_or_else(|| InvalidQuantity::Duration(text.chars().take(40).collect()))
    }
}

fn parse_span(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    let mut smallest = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at_checked(digits)?;
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at_checked(letters)?;
        let unit_ms: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        // Each unit once, from large to small: "30s1m" and "1m1m" are slips of the pen.
        if unit_ms >= smallest {
            return None;
        }
        smallest = unit_ms;
        let ms = number.parse::<u64>().ok()?.checked_mul(unit_ms)?;
        total = total.checked_add(Duration::from_millis(ms))?;
        rest = tail.trim_start();
    }
    (smallest != u64::MAX).then_some(total)
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ms = self.0.as_millis();
        if ms == 0 {
            return f.write_str("0s");
        }
        for (unit, size) in [
            ("d", 86_400_000),
            ("h", 3_600_000),
            ("m", 60_000),
            ("s", 1_000),
            ("ms", 1),
        ] {
            if ms >= size {
                write!(f, "{}{unit}", ms / size)?;
                ms %= size;
            }
        }
        Ok(())
    }
}

/// A number of bytes in a file: `64 MiB`, `10 kB`, `512 B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

const SIZES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl FromStr for Size {
    type Err = InvalidQuantity;
    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let wrong = || InvalidQuantity::Size(text.chars().take(40).collect());
        let (number, unit) = text
            .trim()
            .split_at(text.trim().bytes().take_while(u8::is_ascii_digit).count());
        let unit = unit.trim_start();
        let (_, size) = SIZES
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(wrong)?;
        number
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(*size))
            .map(Self)
            .ok_or_else(wrong)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, size) in SIZES {
            if unit.len() != 2 && self.0 >= size && self.0.is_multiple_of(size) {
                return write!(f, "{} {unit}", self.0 / size);
            }
        }
        write!(f, "{} B", self.0)
    }
}

macro_rules! as_text {
    ($($name:ident)*) => {$(
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

as_text! { Span Size }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_as_written_and_a_slip_is_refused() {
        assert_eq!("1m30s".parse(), Ok(Span(Duration::from_secs(90))));
        assert_eq!("500ms".parse(), Ok(Span(Duration::from_millis(500))));
        for bad in [
            "",
            "30",
            "s",
            "30 sec",
            "1m1m",
            "30s1m",
            "-1s",
            "1.5s",
            "99999999999999999999s",
        ] {
            assert!(bad.parse::<Span>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn quantities_are_shown_as_they_are_written() {
        for text in ["1m30s", "2h", "500ms", "7d"] {
            assert_eq!(
                text.parse::<Span>().map(|s| s.to_string()).as_deref(),
                Ok(text)
            );
        }
        for text in ["64 MiB", "1 KiB", "10 B"] {
            assert_eq!(
                text.parse::<Size>().map(|s| s.to_string()).as_deref(),
                Ok(text)
            );
        }
        for bad in ["64", "64 mb", "MiB", "1.5 MiB", "-1 B"] {
            assert!(bad.parse::<Size>().is_err(), "{bad:?}");
        }
    }
}
