//! What the model wrote, checked: it is a JSON object with a title that holds the keyword, a content that says
//! something, and tags. Cleaning the content is in `html`.

use flowweaver_task::serde_json;
use flowweaver_task::{Error, Result};
use task_words::normalised;

use crate::html;

/// The most letters of a title: what search results show, several times over.
pub(crate) const TITLE_LETTERS: usize = 150;

/// The most letters of a tag; Blogger takes 200 for all of them together.
const TAG_LETTERS: usize = 30;

/// An article before it is cleaned.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Draft {
    pub(crate) title: String,
    pub(crate) content: String,
    #[serde(default)]
    pub(crate) tags: Vec<String>,
}

impl Draft {
    /// Reads the model's answer.
    ///
    /// # Errors
    /// `article.invalid`, `article.title`, `article.content`: what is wrong with it. A model may answer better the next
    /// time, so all may be retried.
    pub(crate) fn parse(answer: &str, keyword: &str) -> Result<Self> {
        let mut draft: Draft = serde_json::from_str(unfenced(answer)).map_err(|error| {
            Error::retryable(
                "article.invalid",
                format!("the model's answer is not the JSON object asked for: {error}"),
            )
        })?;
        draft.title = plain(&draft.title);
        if draft.title.is_empty() || draft.title.chars().count() > TITLE_LETTERS {
            let message = format!("the title is empty or has more than {TITLE_LETTERS} letters");
            return Err(Error::retryable("article.title", message));
        }
        if !holds(&draft.title, keyword) {
            let message = format!(
                "the title \"{}\" does not hold the keyword \"{keyword}\"",
                draft.title
            );
            return Err(Error::retryable("article.title", message));
        }
        if html::text(&draft.content).trim().is_empty() {
            return Err(Error::retryable(
                "article.content",
                "the content says nothing",
            ));
        }
        Ok(draft)
    }
}

/// The answer without the code fence that some models put around it.
fn unfenced(answer: &str) -> &str {
    let answer = answer.trim();
    let inner = answer
        .strip_prefix("```")
        .and_then(|rest| rest.strip_suffix("```"));
    inner.map_or(answer, |inner| {
        inner.strip_prefix("json").unwrap_or(inner).trim()
    })
}

/// Text without markup, control characters and needless space.
fn plain(text: &str) -> String {
    let text: String = html::text(text)
        .chars()
        .map(|letter| {
            if letter.is_control() || letter == '<' || letter == '>' {
                ' '
            } else {
                letter
            }
        })
        .collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether the title holds the keyword, however it is spelled in Unicode, case and spaces.
fn holds(title: &str, keyword: &str) -> bool {
    let pressed = |text: &str| normalised(text).replace(' ', "");
    pressed(title).contains(&pressed(keyword))
}

/// The tags: the keyword first, each once, without `#`, commas and markup, at most `most`.
pub(crate) fn tags(keyword: &str, given: &[String], most: usize) -> Vec<String> {
    let mut tags: Vec<String> = Vec::new();
    let cleaned = given.iter().map(|tag| plain(tag).replace(',', " "));
    for tag in std::iter::once(keyword.to_owned()).chain(cleaned) {
        let tag: String = tag
            .trim()
            .trim_start_matches('#')
            .trim()
            .chars()
            .take(TAG_LETTERS)
            .collect();
        let known = tags
            .iter()
            .any(|known| normalised(known) == normalised(&tag));
        if !tag.is_empty() && !known && tags.len() < most {
            tags.push(tag);
        }
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_is_tolerated_and_other_words_around_the_object_are_not() {
        let object =
            r#"{"title": "백팩 추천", "content": "<p>좋다</p>", "tags": ["a"], "more": 1}"#;
        for answer in [
            object.to_owned(),
            format!("```json\n{object}\n```"),
            format!("```\n{object}```"),
        ] {
            assert_eq!(Draft::parse(&answer, "백팩").unwrap().title, "백팩 추천");
        }
        for answer in [
            format!("여기 있습니다: {object}"),
            "[]".to_owned(),
            "```json".to_owned(),
            r#"{"title": "백팩"}"#.to_owned(),
        ] {
            let error = Draft::parse(&answer, "백팩").unwrap_err();
            assert_eq!(
                (error.code.as_str(), error.retryable),
                ("article.invalid", true),
                "{answer}"
            );
        }
    }

    #[test]
    fn a_title_must_hold_the_keyword_in_whatever_spelling() {
        let code = |title: &str| {
            let answer =
                flowweaver_task::json!({ "title": title, "content": "<p>좋다</p>" }).to_string();
            Draft::parse(&answer, "LED 거울")
                .map(|draft| draft.title)
                .map_err(|error| error.code)
        };
        assert_eq!(code("led거울 추천").unwrap(), "led거울 추천");
        assert_eq!(
            code("<b>ＬＥＤ 거울</b> &amp; 조명\n").unwrap(),
            "ＬＥＤ 거울 & 조명"
        );
        assert_eq!(code("거울 추천").unwrap_err(), "article.title");
        assert_eq!(code(" ").unwrap_err(), "article.title");
        assert_eq!(code(&"LED 거울".repeat(50)).unwrap_err(), "article.title");
    }

    #[test]
    fn content_without_a_word_is_none() {
        let answer = r#"{"title": "백팩", "content": "<p> </p><script>x</script>"}"#;
        assert_eq!(
            Draft::parse(answer, "백팩").unwrap_err().code,
            "article.content"
        );
    }

    #[test]
    fn the_keyword_is_the_first_tag_and_none_repeats() {
        let given = [
            "#여행 가방".to_owned(),
            "백팩".to_owned(),
            "<b>경량</b>".to_owned(),
            String::new(),
            "넷".to_owned(),
        ];
        assert_eq!(tags("백팩", &given, 3), ["백팩", "여행 가방", "경량"]);
    }
}
