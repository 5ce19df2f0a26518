//! Posts a notice to a webhook: what goes in, what comes out, and the delivery. How each receiver wants it is in
//! `message`, how much text it takes in `cut`. Signing is the host's.

mod cut;
mod message;

#[cfg(test)]
mod tests;

use std::time::SystemTime;

use flowweaver_task::{Context, Error, Result, Value, http, log, task};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use message::Message;

/// What to say, and to whom.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// The webhook's address.
    url: String,
    /// Who receives it.
    #[serde(default)]
    style: Style,
    /// One line on top.
    #[serde(default)]
    title: String,
    /// What happened.
    #[serde(default)]
    text: String,
    /// Facts shown below, in order.
    #[serde(default)]
    fields: Vec<Field>,
    /// How much it matters: shown as a sign or colour.
    #[serde(default)]
    level: Level,
}

/// A fact.
#[derive(serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Field {
    /// What it is about.
    name: String,
    /// Text as it is; everything else as JSON.
    value: Value,
}

/// Who receives it.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Style {
    /// Anybody: the notice as JSON.
    #[default]
    Plain,
    /// A Slack incoming webhook.
    Slack,
    /// A Discord webhook.
    Discord,
}

/// How much it matters.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// Something happened.
    #[default]
    Info,
    /// Something went well.
    Success,
    /// Somebody should look.
    Warning,
    /// Somebody must look.
    Error,
}

/// How it was taken.
#[derive(serde::Serialize, schemars::JsonSchema)]
struct Output {
    /// The status of the receiver's answer, 200 to 299.
    status: u16,
    /// When it answered, as RFC 3339 in UTC; null if the clock shows no time.
    delivered_at: Option<String>,
    /// Whether text or fields were cut to what the receiver takes.
    truncated: bool,
}

/// Posts a notice to a webhook: Slack, Discord, or plain JSON.
#[task(requires("http"))]
fn run(input: Input, cx: &Context) -> Result<Output> {
    if input.title.trim().is_empty() && input.text.trim().is_empty() {
        return Err(Error::permanent(
            "input.invalid",
            "`title` and `text` are both empty; there is nothing to say",
        ));
    }
    if let Some(at) = input
        .fields
        .iter()
        .position(|field| field.name.trim().is_empty())
    {
        let message = format!("`fields[{at}].name` is empty");
        return Err(Error::permanent("input.invalid", message));
    }
    let message = Message::of(&input, cx);
    if message.truncated {
        log::warn("the notice was cut to what the receiver takes", &[]);
    }
    // Every attempt of the task sends the same body and key, so a receiver that looks knows a repetition.
    let response = http::post(&input.url)
        .header("idempotency-key", cx.idempotency_key())
        .json(&message.body)
        .send()
        .and_then(http::Response::error_for_status)
        .map_err(|error| error.context("posting the notice"))?;
    if !response.is_success() {
        let message = format!(
            "the webhook answered {}, which is no success",
            response.status()
        );
        return Err(Error::permanent("notify.refused", message));
    }
    Ok(Output {
        status: response.status(),
        delivered_at: now(),
        truncated: message.truncated,
    })
}

fn now() -> Option<String> {
    let now = OffsetDateTime::from(SystemTime::now());
    now.replace_nanosecond(0).ok()?.format(&Rfc3339).ok()
}
