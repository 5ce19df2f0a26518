//! What the model understands of a prompt: labelled facts (`키워드: …`, `"price": …`), sentences of context, picture
//! addresses. It knows no particular caller's format.

use serde_json::Value;

use crate::picture::digest;

const KEYWORD: &[&str] = &[
    "keyword",
    "키워드",
    "검색어",
    "main keyword",
    "핵심 키워드",
    "주제",
];
const TITLE: &[&str] = &[
    "title",
    "product title",
    "상품명",
    "제품명",
    "product name",
    "product",
    "상품",
    "상품 제목",
    "상품 제목(title)",
];
const PRICE: &[&str] = &["price", "가격", "판매가", "product price", "상품 가격"];
const OPTIONS: &[&str] = &["options", "option", "옵션", "선택 옵션", "상품 옵션"];
/// Sentences that an answer quotes at most.
const QUOTED: usize = 8;
/// Letters from which a line counts as a sentence.
const SENTENCE: usize = 10;

/// The messages of a chat.
pub struct Prompt {
    messages: Vec<(String, String)>,
}

impl Prompt {
    /// Reads `messages`; `None` if it is not a non-empty list of role and content.
    pub fn parse(messages: &Value) -> Option<Self> {
        let list = messages.as_array().filter(|list| !list.is_empty())?;
        let messages: Option<Vec<_>> = list.iter().map(message).collect();
        Some(Self {
            messages: messages?,
        })
    }

    /// All contents, one after another.
    pub fn text(&self) -> String {
        self.messages
            .iter()
            .map(|(_, content)| content.as_str())
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// A short digest of the roles and contents.
    pub fn digest(&self) -> String {
        let whole: String = self
            .messages
            .iter()
            .map(|(role, content)| format!("{role}\n{content}\n"))
            .collect();
        digest(whole.as_bytes()).chars().take(16).collect()
    }

    /// What the article is about; empty if the prompt does not say.
    pub fn keyword(&self) -> String {
        let mentioned = || {
            KEYWORD
                .iter()
                .find_map(|label| mentioned(&self.text(), label))
        };
        self.labelled(KEYWORD)
            .or_else(mentioned)
            .unwrap_or_default()
    }

    /// The product's title.
    pub fn title(&self) -> Option<String> {
        self.labelled(TITLE)
    }

    /// The price, as written.
    pub fn price(&self) -> Option<String> {
        self.labelled(PRICE).or_else(|| {
            let text = self.text();
            let end = text.find('원')?;
            let before = text.get(..end)?;
            let digits: String = before
                .chars()
                .rev()
                .take_while(|letter| letter.is_ascii_digit() || *letter == ',')
                .collect();
            (!digits.is_empty()).then(|| format!("{}원", digits.chars().rev().collect::<String>()))
        })
    }

    /// Option names.
    pub fn options(&self) -> Vec<String> {
        if let Some(list) = self
            .labelled(OPTIONS)
            .filter(|list| !list.starts_with(['[', '{']))
        {
            return list
                .split([',', '/', '|'])
                .map(|name| name.trim().to_owned())
                .filter(|name| !name.is_empty())
                .collect();
        }
        // Embedded JSON: `"options": [{"name": "…"}]`.
        let text = self.text();
        let Some((_, after)) = text.split_once("\"options\"") else {
            return Vec::new();
        };
        let list = after.split_once(']').map_or(after, |(list, _)| list);
        list.split("\"name\"").skip(1).filter_map(quoted).collect()
    }

    /// Addresses of pictures, in order, without repetition.
    pub fn pictures(&self) -> Vec<String> {
        let text = self.text();
        let mut found: Vec<String> = Vec::new();
        for start in text.match_indices("http").map(|(at, _)| at) {
            let address: String = text
                .get(start..)
                .unwrap_or_default()
                .chars()
                .take_while(|letter| !letter.is_whitespace() && !"\"'<>()[],".contains(*letter))
                .collect();
            let path = address.split('?').next().unwrap_or_default();
            let picture = [".png", ".jpg", ".jpeg", ".webp"]
                .iter()
                .any(|ending| path.ends_with(ending));
            if picture && !found.contains(&address) {
                found.push(address);
            }
        }
        found
    }

    /// Up to eight sentences, spread over the context, in its order.
    pub fn sentences(&self) -> Vec<String> {
        let users = self.messages.iter().any(|(role, _)| role == "user");
        let spoken = self
            .messages
            .iter()
            .filter(|(role, _)| !users || role != "system");
        let lines: Vec<String> = spoken
            .flat_map(|(_, content)| content.lines())
            .flat_map(|line| {
                bare(line)
                    .split_inclusive(". ")
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .map(|line| line.trim().to_owned())
            .filter(|line| {
                line.chars().count() >= SENTENCE
                    && !line.starts_with("http")
                    && !line.starts_with(['{', '}', '"'])
                    && !line.contains("{\"")
            })
            .filter(|line| {
                label(line).is_none_or(|(label, _)| {
                    !is_one_of(label, KEYWORD) && !is_one_of(label, OPTIONS)
                })
            })
            .collect();
        let count = lines.len().min(QUOTED);
        (0..count)
            .filter_map(|index| lines.get(index * lines.len() / count.max(1)).cloned())
            .collect()
    }

    /// The value of a fact, from the first form that gives one: `label: value`, a heading with the value below it,
    /// a JSON member.
    fn labelled(&self, labels: &[&str]) -> Option<String> {
        let text = self.text();
        let by_line = text
            .lines()
            .filter_map(label)
            .find(|(name, value)| is_one_of(name, labels) && is_plain(value));
        by_line
            .map(|(_, value)| value.to_owned())
            .or_else(|| below_heading(&text, labels))
            .or_else(|| labels.iter().find_map(|label| member(&text, label)))
    }
}

/// True for a value that is text and not the start of embedded JSON.
fn is_plain(value: &str) -> bool {
    !value.is_empty()
        && !value.starts_with('{')
        && !value.starts_with("[{")
        && !value.starts_with("[\"")
}

fn below_heading(text: &str, labels: &[&str]) -> Option<String> {
    let mut lines = text.lines().map(bare).filter(|line| !line.is_empty());
    lines.find(|line| is_one_of(line.trim_matches(['*', ':', '[', ']']).trim(), labels))?;
    lines
        .next()
        .filter(|value| is_plain(value))
        .map(str::to_owned)
}

fn member(text: &str, label: &str) -> Option<String> {
    let (_, after) = text.split_once(&format!("\"{label}\""))?;
    quoted(after).or_else(|| {
        let value = after.trim_start().strip_prefix(':')?.trim_start();
        let number: String = value
            .chars()
            .take_while(|letter| letter.is_ascii_digit() || *letter == '.')
            .collect();
        (!number.is_empty()).then_some(number)
    })
}

/// As in: about the keyword "백팩".
fn mentioned(text: &str, label: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let start = lower.find(label)? + label.len();
    // Lower-casing ASCII keeps every position.
    let after = text.get(start..)?;
    if after.starts_with('"') {
        // A JSON member, which has been looked at already.
        return None;
    }
    // A few words may stand between; a quote further on belongs to something else.
    let near: String = after.chars().take(16).collect();
    let at = near.find(['"', '\'', '“', '‘', '「'])?;
    let mut rest = after.get(at..)?.chars();
    let close = match rest.next()? {
        '“' => '”',
        '‘' => '’',
        '「' => '」',
        same => same,
    };
    let value: String = rest.take_while(|letter| *letter != close).collect();
    (!value.is_empty() && value.chars().count() < 100).then_some(value)
}

fn message(message: &Value) -> Option<(String, String)> {
    let role = message.get("role")?.as_str()?.to_owned();
    let content = match message.get("content")? {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part.get("text")?.as_str())
            .collect::<Vec<_>>()
            .join("\n"),
        _ => return None,
    };
    Some((role, content))
}

fn is_one_of(label: &str, labels: &[&str]) -> bool {
    labels.contains(&label.to_lowercase().as_str())
}

/// The line without list marks: `-`, `*`, `#`, `[3]`, `3.`.
fn bare(line: &str) -> &str {
    let line = line
        .trim()
        .trim_start_matches(['-', '*', '#', '•', '>'])
        .trim_start();
    let numbered = line
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .or_else(|| line.split_once(". "))
        .filter(|(number, _)| {
            !number.is_empty() && number.chars().all(|letter| letter.is_ascii_digit())
        });
    numbered.map_or(line, |(_, rest)| rest).trim()
}

/// `label: value` of a line that is not JSON.
fn label(line: &str) -> Option<(&str, &str)> {
    let (name, value) = bare(line).split_once([':', '：'])?;
    let name = name.trim().trim_matches('*').trim();
    let value = value.trim().trim_start_matches('*').trim();
    (!name.starts_with(['"', '{'])).then(|| (name, value.trim_matches(['"', '\'', '`']).trim()))
}

/// The text in the quotes that follow a colon.
fn quoted(after: &str) -> Option<String> {
    let value = after.trim_start().strip_prefix(':')?.trim_start();
    // A JSON reader takes one value and leaves the rest alone.
    let mut stream = serde_json::Deserializer::from_str(value).into_iter::<Value>();
    match stream.next()? {
        Ok(Value::String(text)) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Prompt;
    use serde_json::json;

    fn prompt(text: &str) -> Prompt {
        Prompt::parse(&json!([{"role": "user", "content": text}])).unwrap()
    }

    #[test]
    fn facts_are_found_in_lines_and_in_embedded_json() {
        let lines = prompt(
            "- **키워드**: 백팩\n- Product title: [브랜드] 가방\n가격: 1,000원\n옵션: 블랙, 화이트",
        );
        let json = prompt(
            r#"Write about {"keyword": "백팩", "title": "[브랜드] 가방", "price": 1000, "options": [{"name": "블랙"}, {"name": "화이트"}]}"#,
        );
        let member = prompt(
            "Keyword \"백팩\"\nproduct: {\"title\": \"[브랜드] 가방\", \"price\": \"1,000원\", \"options\": [{\"name\": \"블랙\"}, {\"name\": \"화이트\"}]}",
        );
        let headings = prompt(
            "## Keyword\n백팩\n## 상품명\n[브랜드] 가방\n## 가격\n1,000원\n## 옵션\n- 블랙, 화이트",
        );
        for prompt in [lines, json, member, headings] {
            assert_eq!(prompt.keyword(), "백팩");
            assert_eq!(prompt.title().unwrap(), "[브랜드] 가방");
            assert!(prompt.price().unwrap().starts_with('1'));
            assert_eq!(prompt.options(), ["블랙", "화이트"]);
        }
    }

    #[test]
    fn picture_addresses_are_found_once() {
        let prompt = prompt(
            "사진: http://a.test/1.png, (http://a.test/2.jpg?v=1) http://a.test/1.png http://a.test/page",
        );
        assert_eq!(
            prompt.pictures(),
            ["http://a.test/1.png", "http://a.test/2.jpg?v=1"]
        );
    }

    #[test]
    fn content_that_is_no_list_of_messages_is_refused() {
        for bad in [
            json!([]),
            json!("a"),
            json!([{"role": "user"}]),
            json!([{"content": "a"}]),
        ] {
            assert!(Prompt::parse(&bad).is_none(), "{bad}");
        }
    }
}
