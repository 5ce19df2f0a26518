//! A receiver that takes the article as JSON. It knows a delivery by its key, so a repeated one is its to recognise;
//! headers are named as the Standard Webhooks specification has them. The signature is the grant's.

use std::time::SystemTime;

use flowweaver_task::serde_json::{self, Value};
use flowweaver_task::{Error, Result, http, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::{Article, PostStatus, Published, reply};

/// Delivers the article.
///
/// # Errors
/// What the receiver answers; `publish.refused` if it says in a success that it did not take it.
pub(crate) fn deliver(url: &str, article: &Article<'_>) -> Result<Published> {
    let now = OffsetDateTime::from(SystemTime::now());
    let body = json!({
        "title": article.title, "content": article.content, "tags": article.tags, "idempotency_key": article.key,
        "status": match article.status { PostStatus::Publish => "publish", PostStatus::Draft => "draft" },
    });
    let response = http::post(url)
        .header("idempotency-key", &article.key)
        .header("webhook-id", &article.key)
        .header("webhook-timestamp", now.unix_timestamp().to_string())
        .json(&body)
        .send()
        .and_then(reply::success)
        .map_err(|error| error.context("delivering the article"))?;
    // Many receivers answer nothing, or words.
    let said: Value = serde_json::from_str(&response.text()?).unwrap_or(Value::Null);
    if let Some(refusal) = refusal(&said) {
        return Err(Error::permanent(
            "publish.refused",
            format!("the receiver did not take the article: {refusal}"),
        ));
    }
    let place = said
        .get("data")
        .filter(|data| data.is_object())
        .unwrap_or(&said);
    let first = |fields: [&str; 3]| fields.iter().find_map(|field| reply::text(place, field));
    let now = now.replace_nanosecond(0).unwrap_or(now);
    Ok(Published {
        post_url: first(["url", "post_url", "link"]),
        post_id: first(["id", "post_id", "uuid"]).unwrap_or_else(|| article.mark.clone()),
        published_at: match first(["published_at", "published", "created_at"]) {
            Some(time) => time,
            None => now.format(&Rfc3339).map_err(|error| {
                Error::permanent(
                    "context.invalid",
                    format!("the clock shows no time: {error}"),
                )
            })?,
        },
    })
}

/// What a success says when it is none: `success` or `ok` that is false, or an `error`.
fn refusal(said: &Value) -> Option<String> {
    let denied = ["success", "ok"]
        .iter()
        .any(|field| said.get(field) == Some(&Value::Bool(false)));
    let error = said
        .get("error")
        .filter(|error| !matches!(error, Value::Null | Value::Bool(false)));
    (denied || error.is_some()).then(|| {
        let message = reply::text(said, "message").or_else(|| error.map(Value::to_string));
        reply::excerpt(&message.unwrap_or_else(|| said.to_string()))
    })
}
