//! Google Translation, version 2: the lines that are not in the wanted language, a few thousand letters a call.

use flowweaver_task::serde_json::Value;
use flowweaver_task::{Error, Result, http, json};

use crate::text;
use crate::vision::excerpt;

/// The most texts in one call: the service's own limit.
const MOST_TEXTS: usize = 128;

/// The most letters in one call: what the service recommends.
const MOST_LETTERS: usize = 5_000;

/// The lines in the wanted language, in their order; lines that already are stay untouched.
///
/// # Errors
/// What the service answers; `translation.invalid` for an answer that is none.
pub(crate) fn into(
    lines: &[String],
    language: &str,
    target: &str,
    url: &str,
) -> Result<Vec<String>> {
    let mut translated = lines.to_vec();
    let foreign: Vec<&mut String> = translated
        .iter_mut()
        .filter(|line| is_foreign(line, language, target))
        .collect();
    for mut group in groups(foreign) {
        let answers = call(&group, target, url)?;
        for (line, answer) in group.iter_mut().zip(answers) {
            **line = answer;
        }
    }
    Ok(translated)
}

/// Latin words in a text of another script are brands, sizes and units, which stay as they are.
fn is_foreign(line: &str, language: &str, target: &str) -> bool {
    let own = text::language(line);
    let stays = own == "und" || (own == "en" && language != "en");
    !stays && primary(own) != primary(target)
}

/// The language of a tag without region or script.
fn primary(tag: &str) -> String {
    tag.split(['-', '_'])
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase()
}

fn groups(lines: Vec<&mut String>) -> Vec<Vec<&mut String>> {
    let mut groups: Vec<Vec<&mut String>> = Vec::new();
    let mut letters = 0;
    for line in lines {
        let own = line.chars().count();
        letters += own;
        match groups.last_mut() {
            Some(group) if group.len() < MOST_TEXTS && letters <= MOST_LETTERS => group.push(line),
            _ => {
                letters = own;
                groups.push(vec![line]);
            }
        }
    }
    groups
}

fn call(lines: &[&mut String], target: &str, url: &str) -> Result<Vec<String>> {
    // Without a source the service tells each line's language itself; the text is not HTML.
    let reply: Value = http::post(format!("{url}/language/translate/v2"))
        .json(&json!({ "q": lines, "target": target, "format": "text" }))
        .send()
        .and_then(|response| response.error_for_status()?.json())
        .map_err(|error| error.context("asking the translation service"))?;
    let translations = reply
        .pointer("/data/translations")
        .and_then(Value::as_array);
    let texts: Option<Vec<String>> = translations
        .into_iter()
        .flatten()
        .map(|entry| Some(one_line(entry.get("translatedText")?.as_str()?)))
        .collect();
    texts
        .filter(|texts| texts.len() == lines.len())
        .ok_or_else(|| {
            let message = format!(
                "the translation service answered no {} translations: {}",
                lines.len(),
                excerpt(&reply)
            );
            Error::retryable("translation.invalid", message)
        })
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_stays_within_the_services_limits() {
        let mut many: Vec<String> = (0..300).map(|number| number.to_string()).collect();
        let sizes = |groups: Vec<Vec<&mut String>>| groups.iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(groups(many.iter_mut().collect())), [128, 128, 44]);
        let mut long = vec!["가".repeat(3_000); 3];
        assert_eq!(sizes(groups(long.iter_mut().collect())), [1, 1, 1]);
    }

    #[test]
    fn only_what_is_in_another_language_is_translated() {
        for (line, language, target, expected) in [
            ("品质保证", "zh-CN", "ko", true),
            ("품질 보증", "zh-CN", "ko", false),
            ("USB-C", "zh-CN", "ko", false),
            ("Waterproof", "en", "ko", true),
            ("品质保证", "zh-CN", "zh-TW", false),
            ("30", "zh-CN", "ko", false),
        ] {
            assert_eq!(is_foreign(line, language, target), expected, "{line}");
        }
    }
}
