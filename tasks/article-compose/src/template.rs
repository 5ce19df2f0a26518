//! The facts in a fixed form: what is published when the workflow says that a missing model shall not stop it.

use crate::chunk::{Chunk, Kind};
use crate::draft::{Draft, TITLE_LETTERS};
use crate::html::escape;
use crate::product::Facts;

/// An article of nothing but the facts.
pub(crate) fn draft(keyword: &str, facts: &Facts, chunks: &[Chunk]) -> Draft {
    let texts = |product: bool| {
        chunks
            .iter()
            .filter(move |chunk| (chunk.kind == Kind::Product) == product)
            .map(|chunk| escape(&chunk.text))
    };
    let list: String = texts(true)
        .map(|fact| format!("<li>{fact}</li>\n"))
        .collect();
    let details: String = texts(false)
        .map(|text| format!("<p>{text}</p>\n"))
        .collect();
    let mut content = format!(
        "<h2>{}</h2>\n<p>{}</p>\n<ul>\n{list}</ul>\n",
        escape(keyword),
        escape(&facts.title)
    );
    if !details.is_empty() {
        content.push_str(&format!("<h3>자세히</h3>\n{details}"));
    }
    Draft {
        title: format!("{keyword}: {}", facts.title)
            .chars()
            .filter(|letter| !matches!(letter, '<' | '>'))
            .take(TITLE_LETTERS)
            .collect(),
        content,
        tags: facts.category.clone().into_iter().collect(),
    }
}
