//! Feeds: what an entry is, and JSON Feed. RSS and Atom are in `xml`, plain text out of HTML in `plain`.

mod plain;
mod xml;

use flowweaver_task::{Error, Result, log};
use task_page::Url;

use crate::{Output, date, document::Document};

/// The most letters of a summary. Some feeds put the whole article there; whoever wants it reads the page.
const SUMMARY_CHARS: usize = 4000;

/// What a feed says of itself.
#[derive(Debug, Default, serde::Serialize, schemars::JsonSchema)]
pub(crate) struct FeedHead {
    /// Its title.
    title: Option<String>,
    /// The page that it is the feed of, absolute.
    link: Option<String>,
}

/// An entry of a feed.
#[derive(Debug, Default, serde::Serialize, schemars::JsonSchema)]
pub(crate) struct Entry {
    /// What names it for good: the feed's own id, else the link, else the title.
    id: String,
    /// Its title, plain text.
    title: Option<String>,
    /// Its page, absolute.
    link: Option<String>,
    /// When it was published (or else changed), as RFC 3339 in UTC.
    published: Option<String>,
    /// What it is about, plain text; of its content where it has no summary.
    summary: Option<String>,
}

/// An entry as a format gives it: plain texts, dates and links as written.
#[derive(Default)]
struct Raw {
    id: Option<String>,
    title: Option<String>,
    link: Option<String>,
    published: Option<String>,
    updated: Option<String>,
    summary: Option<String>,
    content: Option<String>,
}

impl Raw {
    /// The entry; none when nothing names it.
    fn entry(self, base: &Url) -> Option<Entry> {
        let filled = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        let title = filled(self.title);
        let link = filled(self.link).map(|link| absolute(base, &link));
        let id = filled(self.id).map(|id| id.trim().to_owned());
        let id = id.or_else(|| link.clone()).or_else(|| title.clone())?;
        let dates = [filled(self.published), filled(self.updated)];
        let published = dates.iter().flatten().find_map(|text| date::rfc3339(text));
        if published.is_none()
            && let Some(text) = dates.iter().flatten().next()
        {
            log::warn(
                "an entry's date is not one",
                &[("date", text), ("entry", &id)],
            );
        }
        let summary = filled(self.summary).or_else(|| filled(self.content));
        Some(Entry {
            id,
            title,
            link,
            published,
            summary: summary.map(shortened),
        })
    }
}

/// The address, made absolute; as it stands where that cannot be done.
fn absolute(base: &Url, link: &str) -> String {
    let link = link.trim();
    base.join(link)
        .map_or_else(|_| link.to_owned(), String::from)
}

fn shortened(text: String) -> String {
    match text.char_indices().nth(SUMMARY_CHARS) {
        None => text,
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

/// Reads a feed.
///
/// # Errors
/// `feed.invalid`, permanent, with the place: not a feed, or broken off.
pub(crate) fn read(document: &Document, limit: usize) -> Result<Output> {
    let text = document
        .text
        .trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    let (head, raws) = match text.chars().next() {
        Some('<') => xml::read(text, &document.base)?,
        Some('{') => json(text)?,
        _ => return Err(invalid("it is neither XML nor JSON")),
    };
    let mut output = Output {
        feed: Some(FeedHead {
            link: head.link.map(|link| absolute(&document.base, &link)),
            ..head
        }),
        ..Output::default()
    };
    for raw in raws {
        if output.entries.len() == limit {
            output.truncated = true;
            break;
        }
        match raw.entry(&document.base) {
            Some(entry) => output.entries.push(entry),
            None => output.skipped = output.skipped.saturating_add(1),
        }
    }
    Ok(output)
}

fn invalid(why: impl std::fmt::Display) -> Error {
    Error::permanent("feed.invalid", format!("this is no feed: {why}"))
}

/// JSON Feed 1.0 and 1.1, as far as entries need it.
#[derive(serde::Deserialize)]
struct JsonFeed {
    version: String,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    home_page_url: Option<String>,
    #[serde(default)]
    items: Vec<JsonItem>,
}

#[derive(serde::Deserialize)]
struct JsonItem {
    /// Text; numbers are met.
    #[serde(default)]
    id: flowweaver_task::Value,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    summary: Option<String>,
    #[serde(default)]
    content_text: Option<String>,
    #[serde(default)]
    content_html: Option<String>,
    #[serde(default)]
    date_published: Option<String>,
    #[serde(default)]
    date_modified: Option<String>,
}

fn json(text: &str) -> Result<(FeedHead, Vec<Raw>)> {
    let feed: JsonFeed = serde_json::from_str(text).map_err(invalid)?;
    if !feed.version.starts_with("https://jsonfeed.org/version/1") {
        return Err(invalid(format!(
            "its version is `{}`, not JSON Feed 1",
            feed.version
        )));
    }
    let raw = |item: JsonItem| Raw {
        id: match item.id {
            flowweaver_task::Value::String(id) => Some(id),
            flowweaver_task::Value::Number(id) => Some(id.to_string()),
            _ => None,
        },
        title: item.title.as_deref().map(plain::squeezed),
        link: item.url,
        published: item.date_published,
        updated: item.date_modified,
        summary: item.summary.as_deref().map(plain::squeezed),
        content: item
            .content_text
            .as_deref()
            .map(plain::squeezed)
            .or_else(|| item.content_html.as_deref().map(plain::of_html)),
    };
    let head = FeedHead {
        title: feed.title,
        link: feed.home_page_url,
    };
    Ok((head, feed.items.into_iter().map(raw).collect()))
}
