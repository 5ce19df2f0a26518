//! The article that the model writes: always the same for a prompt, and made of what the prompt says.

use serde_json::json;

use super::prompt::Prompt;
use crate::answer::escape;

/// Pictures in an article at most.
const PICTURES: usize = 4;
/// Tags of an article at most.
const TAGS: usize = 8;

/// An article before it is put into an answer.
pub struct Article {
    /// Holds the keyword.
    pub title: String,
    /// HTML.
    pub content: String,
    /// The keyword first.
    pub tags: Vec<String>,
}

impl Article {
    /// As a JSON object in text.
    pub fn json(&self) -> String {
        json!({ "title": self.title, "content": self.content, "tags": self.tags }).to_string()
    }

    /// As plain text with a heading.
    pub fn text(&self) -> String {
        format!(
            "# {}\n\n{}\n\n{}",
            self.title,
            self.content,
            self.tags.join(", ")
        )
    }
}

/// Writes the article for a prompt.
pub fn write(prompt: &Prompt) -> Article {
    let keyword = prompt.keyword();
    let product = prompt.title();
    let options = prompt.options();
    let subject = if keyword.is_empty() {
        "오늘의 상품".to_owned()
    } else {
        keyword.clone()
    };
    let title = match &product {
        Some(product) => format!("{subject} 추천: {product} 꼼꼼 후기"),
        None => format!("{subject} 고르는 법"),
    };
    let mut content = format!("<h2>{} 찾고 계신가요?</h2>\n", escape(&subject));
    if let Some(product) = &product {
        content.push_str(&format!(
            "<p>오늘 소개할 상품은 <strong>{}</strong>입니다.",
            escape(product)
        ));
        if let Some(price) = prompt.price() {
            content.push_str(&format!(" 가격은 {}입니다.", escape(&price)));
        }
        content.push_str("</p>\n");
    }
    let pictures = prompt.pictures();
    for picture in pictures.iter().take(PICTURES) {
        content.push_str(&format!(
            "<p><img src=\"{}\" alt=\"{}\"></p>\n",
            escape(picture),
            escape(&subject)
        ));
    }
    if !options.is_empty() {
        let items: String = options
            .iter()
            .map(|option| format!("<li>{}</li>", escape(option)))
            .collect();
        content.push_str(&format!("<h3>선택할 수 있는 옵션</h3>\n<ul>{items}</ul>\n"));
    }
    let sentences = prompt.sentences();
    if !sentences.is_empty() {
        content.push_str("<h3>알아 둘 점</h3>\n");
        for sentence in &sentences {
            content.push_str(&format!("<p>{}</p>\n", escape(sentence)));
        }
    }
    let digest = prompt.digest();
    content.push_str(&format!(
        "<p>{} 구매에 도움이 되길 바랍니다. 자료 지문 {digest}.</p>",
        escape(&subject)
    ));
    Article {
        title,
        content,
        tags: tags(&subject, product.as_deref(), &options),
    }
}

fn tags(subject: &str, product: Option<&str>, options: &[String]) -> Vec<String> {
    let mut tags = vec![subject.to_owned()];
    let words = product
        .unwrap_or_default()
        .split_whitespace()
        .map(|word| word.trim_matches(['[', ']']));
    let colours = options
        .iter()
        .filter_map(|option| option.split_whitespace().next());
    for word in words
        .chain(colours)
        .filter(|word| word.chars().count() >= 2)
    {
        if tags.len() < TAGS && !tags.iter().any(|tag| tag == word) {
            tags.push(word.to_owned());
        }
    }
    tags
}
