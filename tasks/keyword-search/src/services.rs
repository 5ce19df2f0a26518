//! The three trend services: how each is asked, and what its answer means. An answer that says it failed, or that
//! holds no ranking, is a failure whatever its status says.

use flowweaver_task::http::{self, Request, Response};
use flowweaver_task::{Context, Error, Result, Value};

use crate::{Input, Ranking, category, day};

/// The best sellers' id for all categories together.
const ALL_CATEGORIES: &str = "A";

/// How much of a service's own words goes into an error.
const EXCERPT_CHARS: usize = 200;

/// Naver's data lab: the keywords most clicked in a category on a day.
pub(crate) fn naver(input: &Input, cx: &Context) -> Result<Ranking> {
    let wanted = input.category.as_deref().unwrap_or(&input.default_category);
    let cid = category::id(wanted, &input.categories)?;
    let day = day::asked(input.date.as_deref(), &cx.scheduled_at())?;
    let count = input.page_size.to_string();
    let mut ranking = Ranking::new();
    for page in 1..=input.pages.get() {
        let number = page.to_string();
        let fields = [
            ("cid", cid.as_str()),
            ("timeUnit", "date"),
            ("startDate", &day),
            ("endDate", &day),
            ("age", ""),
            ("gender", ""),
            ("device", ""),
            ("page", &number),
            ("count", &count),
        ];
        let request = http::post(address(&input.naver_url, &input.naver_path))
            .header(
                "referer",
                address(&input.naver_url, &input.naver_referer_path),
            )
            .form(&fields);
        let body = read_json(with_headers(request, input))?;
        let found = ranked(body.get("ranks"), "keyword").ok_or_else(|| {
            invalid(
                &input.tag,
                &format!("page {page} has no list `ranks`"),
                &body,
            )
        })?;
        let last = found.len() < input.page_size.get() as usize;
        for (rank, keyword) in found {
            ranking.entry(rank).or_insert(keyword);
        }
        // A page that is not full has none after it.
        if last {
            break;
        }
    }
    Ok(ranking)
}

/// Naver's best sellers: the keywords that sell.
pub(crate) fn naver_store(input: &Input) -> Result<Ranking> {
    let category = match input.category.as_deref() {
        Some(ALL_CATEGORIES) | None => ALL_CATEGORIES.to_owned(),
        Some(wanted) => category::id(wanted, &input.categories)?,
    };
    let mut request = http::get(address(&input.naver_store_url, &input.naver_store_path))
        .query("categoryId", category);
    for (name, value) in &input.naver_store_query {
        request = request.query(name, value);
    }
    let body = read_json(with_headers(request, input))?;
    let found = ranked(Some(&body), "title").ok_or_else(|| {
        invalid(
            &input.tag,
            "the answer is not a list of ranked titles",
            &body,
        )
    })?;
    Ok(found.into_iter().collect())
}

/// Google Trends: what a country searches for, best first.
pub(crate) fn google_trends(input: &Input) -> Result<Ranking> {
    let request = http::get(address(&input.google_trends_url, &input.google_trends_path))
        .query("geo", &input.google_trends_country);
    let feed = answer(with_headers(request, input))?.text()?;
    let document = roxmltree::Document::parse(&feed).map_err(|error| {
        Error::retryable(
            "trend.invalid",
            format!("Google Trends did not answer with a feed: {error}"),
        )
    })?;
    let root = document.root_element();
    if !root.has_tag_name("rss") {
        let message = format!(
            "Google Trends answered with `{}`, not with a feed",
            root.tag_name().name()
        );
        return Err(Error::retryable("trend.invalid", message));
    }
    let titles = root
        .descendants()
        .filter(|node| node.has_tag_name("item"))
        .filter_map(|item| item.children().find(|child| child.has_tag_name("title")))
        .map(|title| {
            // A title may be written in several pieces, some of them CDATA.
            let pieces = title
                .descendants()
                .filter(roxmltree::Node::is_text)
                .filter_map(|piece| piece.text());
            squeezed(&pieces.collect::<String>())
        })
        .filter(|title| !title.is_empty());
    Ok((1..).zip(titles).collect())
}

fn address(base: &str, path: &str) -> String {
    format!(
        "{}/{}",
        base.trim().trim_end_matches('/'),
        path.trim_start_matches('/')
    )
}

fn with_headers(request: Request, input: &Input) -> Request {
    input
        .headers
        .iter()
        .fold(request, |request, (name, value)| {
            request.header(name, value)
        })
}

fn answer(request: Request) -> Result<Response> {
    request.send()?.error_for_status()
}

/// The JSON of an answer that does not itself say that it failed.
fn read_json(request: Request) -> Result<Value> {
    let response = answer(request)?;
    let url = response
        .url()
        .split('?')
        .next()
        .unwrap_or_default()
        .to_owned();
    let text = response.text()?;
    let body: Value = flowweaver_task::serde_json::from_str(&text).map_err(|error| {
        Error::retryable(
            "trend.invalid",
            format!(
                "{url} did not answer with JSON: {error}; it said: {}",
                excerpt(&text)
            ),
        )
    })?;
    match refusal(&body) {
        None => Ok(body),
        Some(sign) => Err(invalid(
            &url,
            &format!("the answer says that it failed ({sign})"),
            &body,
        )),
    }
}

/// The sign by which a body calls itself a failure, whatever the status of its response.
fn refusal(body: &Value) -> Option<String> {
    let number = |name| body.get(name).and_then(Value::as_i64);
    if body.get("success").and_then(Value::as_bool) == Some(false) {
        return Some("success: false".to_owned());
    }
    if let Some(status) = number("statusCode").filter(|status| *status >= 400) {
        return Some(format!("statusCode: {status}"));
    }
    number("returnCode")
        .filter(|code| *code != 0)
        .map(|code| format!("returnCode: {code}"))
}

/// Ranks and keywords of a list of `{rank, <name>}`; None when it is no such list. A rank may be text.
fn ranked(list: Option<&Value>, name: &str) -> Option<Vec<(u32, String)>> {
    let entry = |item: &Value| {
        let rank = item.get("rank")?;
        let rank = rank
            .as_u64()
            .or_else(|| rank.as_str()?.trim().parse().ok())?;
        let keyword = squeezed(item.get(name)?.as_str()?);
        Some((u32::try_from(rank).ok()?, keyword)).filter(|(_, keyword)| !keyword.is_empty())
    };
    list?.as_array()?.iter().map(entry).collect()
}

/// Services answer so while they are being worked on, so a later try may succeed; the task's retries are limited.
fn invalid(service: &str, what: &str, body: &Value) -> Error {
    let said = body
        .get("message")
        .and_then(Value::as_str)
        .map(excerpt)
        .filter(|said| !said.is_empty());
    let said = said
        .map(|said| format!("; it said: {said}"))
        .unwrap_or_default();
    Error::retryable("trend.invalid", format!("{service}: {what}{said}"))
        .with_details(flowweaver_task::json!({ "body": excerpt(&body.to_string()) }))
}

fn excerpt(text: &str) -> String {
    squeezed(text).chars().take(EXCERPT_CHARS).collect()
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
