//! Takes fields and rows out of a page by CSS selectors, or the entries out of a feed: what goes in, what comes out,
//! and the order of steps. Getting the text is in `document`, pages in `extract`, feeds in `feed`.

mod date;
mod document;
mod extract;
mod feed;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use flowweaver_task::{Context, Error, Result, Value, task};

use document::Document;
use extract::{Field, Plan};
use feed::{Entry, FeedHead};

/// What to read, and what to take out of it.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// The address of the page or feed; either this or `html`.
    #[serde(default)]
    url: Option<String>,
    /// The text of the page or feed; either this or `url`.
    #[serde(default)]
    html: Option<String>,
    /// What relative links are relative to; the default is the address that answered.
    #[serde(default)]
    base_url: Option<String>,
    /// More request headers.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The character set, where the page names a wrong one or none: `"euc-kr"`.
    #[serde(default)]
    charset: Option<String>,
    /// Whether it is a page or a feed.
    #[serde(default)]
    mode: Mode,
    /// What to take out of a page, by name.
    #[serde(default)]
    fields: BTreeMap<String, Field>,
    /// A CSS selector; `fields` are then taken out of each element that matches.
    #[serde(default)]
    rows: Option<String>,
    /// The most rows or entries returned.
    #[serde(default = "thousand")]
    limit: NonZeroU32,
}

/// What kind of document it is.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// HTML.
    #[default]
    Page,
    /// RSS, Atom or a JSON feed.
    Feed,
}

/// What was taken out of it.
#[derive(Default, serde::Serialize, schemars::JsonSchema)]
struct Output {
    /// The address that answered; null for `html`.
    url: Option<String>,
    /// The fields of a page without `rows`: text, null where nothing matched, a list where `all` is set.
    fields: BTreeMap<String, Value>,
    /// With `rows`: the fields of each row, in order.
    rows: Vec<BTreeMap<String, Value>>,
    /// What a feed says of itself; null for a page.
    feed: Option<FeedHead>,
    /// A feed's entries, in its order.
    entries: Vec<Entry>,
    /// Rows without a required field, and entries without id, link and title: they are left out.
    skipped: u32,
    /// Whether there were more rows or entries than `limit`.
    truncated: bool,
}

fn thousand() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(999)
}

/// Takes fields and rows out of a page, or the entries out of a feed.
#[task]
fn run(input: Input, _cx: &Context) -> Result<Output> {
    let limit = usize::try_from(input.limit.get()).unwrap_or(usize::MAX);
    // Selectors first: a mistake in one should not cost a request.
    let plan = match input.mode {
        Mode::Page => Some(Plan::compile(&input.fields, input.rows.as_deref())?),
        Mode::Feed if input.fields.is_empty() && input.rows.is_none() => None,
        Mode::Feed => {
            return Err(Error::permanent(
                "input.invalid",
                "`fields` and `rows` are of pages; a feed has `entries`",
            ));
        }
    };
    let document = Document::get(&input)?;
    let mut output = match plan {
        Some(plan) => plan.carry_out(&document, limit)?,
        None => feed::read(&document, limit)?,
    };
    output.url = document.url;
    Ok(output)
}
