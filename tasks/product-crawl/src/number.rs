//! Numbers as pages write them: `12,900원`, `￥12.90 ~ 15.00`, `재고 : 1,234`.

use flowweaver_task::serde_json::Number;

/// The first number in a text: digits with commas between groups of three, perhaps a point and decimals. None
/// without a digit.
pub(crate) fn first(text: &str) -> Option<f64> {
    let start = text.find(|letter: char| letter.is_ascii_digit())?;
    let mut digits = String::new();
    let mut rest = text.get(start..)?.chars().peekable();
    let mut point = false;
    while let Some(letter) = rest.next() {
        let before_digit = rest.peek().is_some_and(char::is_ascii_digit);
        match letter {
            '0'..='9' => digits.push(letter),
            ',' if before_digit && !point => {}
            '.' if before_digit && !point => {
                point = true;
                digits.push(letter);
            }
            _ => break,
        }
    }
    digits.parse().ok()
}

/// The first whole number in a text; decimals end it.
pub(crate) fn whole(text: &str) -> Option<u64> {
    let value = first(text)?;
    // Beyond 2^53 a number is not exact, and no stock.
    (value < 9_007_199_254_740_992.0).then_some(value as u64)
}

/// A number in JSON's shortest form: `12900`, not `12900.0`.
pub(crate) fn json(value: f64) -> Option<Number> {
    if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 {
        return Some(Number::from(value as i64));
    }
    Number::from_f64(value)
}

/// Full-width digits and signs as ordinary ones; pages of Chinese origin mix them.
pub(crate) fn narrow(text: &str) -> String {
    let ordinary = |letter: char| match letter {
        '０'..='９' | '．' | '，' => u32::from(letter)
            .checked_sub(0xFEE0)
            .and_then(char::from_u32)
            .unwrap_or(letter),
        _ => letter,
    };
    text.chars().map(ordinary).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_among_signs_and_words() {
        for (text, expected) in [
            ("12,900원", Some(12900.0)),
            ("판매가 1,234,567 원 (부가세 포함)", Some(1_234_567.0)),
            ("￥12.90 ~ ￥15.00", Some(12.9)),
            ("4.5/5", Some(4.5)),
            ("3.", Some(3.0)),
            ("1,2.3.4", Some(12.3)),
            ("￥１，２９０", Some(1290.0)),
            ("가격 문의", None),
            ("", None),
        ] {
            assert_eq!(first(&narrow(text)), expected, "{text}");
        }
    }

    #[test]
    fn whole_numbers_are_written_without_decimals() {
        assert_eq!(json(12900.0).unwrap().to_string(), "12900");
        assert_eq!(json(12.9).unwrap().to_string(), "12.9");
        assert_eq!(whole("재고 : 1,234개"), Some(1234));
        assert_eq!(whole("99999999999999999999"), None);
    }
}
