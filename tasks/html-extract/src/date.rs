//! The dates of feeds: RFC 3339, RFC 2822, and the ways in which feeds miss them.

use time::format_description::well_known::{Rfc2822, Rfc3339};
use time::{OffsetDateTime, UtcOffset};

/// A date as RFC 3339 in UTC; none when it cannot be understood. A date without an offset is one, since nobody can
/// tell which moment it means; a day alone is its beginning in UTC.
pub(crate) fn rfc3339(text: &str) -> Option<String> {
    let text = text.trim();
    let read = |text: &str| {
        OffsetDateTime::parse(text, &Rfc3339)
            .or_else(|_| OffsetDateTime::parse(text, &Rfc2822))
            .ok()
    };
    read(text)
        .or_else(|| read(&text.replacen(' ', "T", 1)))
        .or_else(|| read(&mended(text)))
        .or_else(|| read(&format!("{text}T00:00:00Z")))
        .and_then(|date| date.checked_to_offset(UtcOffset::UTC))
        .and_then(|date| date.format(&Rfc3339).ok())
}

/// RFC 2822 without the day of the week, which is often wrong or not English, and with an offset in digits.
fn mended(text: &str) -> String {
    let text = text.split_once(", ").map_or(text, |(_, rest)| rest);
    for zone in ["UTC", "Z"] {
        if let Some(start) = text.strip_suffix(zone) {
            return format!("{} +0000", start.trim_end());
        }
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn a_date_that_names_no_moment_is_none() {
        for text in [
            "",
            "yesterday",
            "2026-11-22 10:00:00",
            "2026-13-01",
            "Sun, 22 Nov 2026",
        ] {
            assert_eq!(rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn every_common_way_to_write_a_moment_is_the_same_moment() {
        for text in [
            "2026-11-22T01:02:03Z",
            "2026-11-22T10:02:03+09:00",
            "2026-11-22 10:02:03+09:00",
            "Sun, 22 Nov 2026 01:02:03 GMT",
            "Sun, 22 Nov 2026 10:02:03 +0900",
            "Mon, 22 Nov 2026 10:02:03 +0900",
            "일, 22 Nov 2026 10:02:03 +0900",
            "22 Nov 2026 01:02:03 UTC",
            "Sun, 22 Nov 2026 01:02:03 Z",
            " Sun, 22 Nov 2026 01:02:03 +0000\n",
        ] {
            assert_eq!(
                rfc3339(text).as_deref(),
                Some("2026-11-22T01:02:03Z"),
                "{text}"
            );
        }
        assert_eq!(
            rfc3339("2026-11-22").as_deref(),
            Some("2026-11-22T00:00:00Z")
        );
    }
}
