//! The notice as each receiver wants it, within its limits, calling nobody by name.

use flowweaver_task::serde_json::Map;
use flowweaver_task::{Context, Value, json};

use crate::cut::{self, Cutter, as_is, length};
use crate::{Field, Input, Level, Style};

/// Slack: a header's text (<https://docs.slack.dev/reference/block-kit/blocks/header-block>).
const SLACK_HEADER: usize = 150;
/// Slack: a section's text.
const SLACK_TEXT: usize = 3000;
/// Sections of text: four full ones are already more than anybody reads in a chat.
const SLACK_TEXTS: usize = 4;
/// Slack: the text of one of a section's fields, of which a name gets a tenth.
const SLACK_FIELD: usize = 2000;
const SLACK_NAME: usize = 200;
/// Slack: fields of one section.
const SLACK_FIELDS: usize = 10;
/// Slack takes 50 blocks: with header and texts there is room for 45 sections; a notice with 100 facts is a table.
const SLACK_FIELDS_MAX: usize = 100;

/// Discord: an embed's parts (<https://docs.discord.com/developers/resources/message#embed-object>).
const DISCORD_TITLE: usize = 256;
const DISCORD_TEXT: usize = 4096;
const DISCORD_NAME: usize = 256;
const DISCORD_VALUE: usize = 1024;
const DISCORD_FIELDS: usize = 25;
/// Discord: all parts of the embeds together.
const DISCORD_ALL: usize = 6000;

/// A body to be posted.
pub(crate) struct Message {
    pub(crate) body: Value,
    /// Whether something of the notice did not fit.
    pub(crate) truncated: bool,
}

impl Message {
    /// The notice for its receiver. The same notice gives the same body, whatever the attempt.
    pub(crate) fn of(input: &Input, cx: &Context) -> Self {
        let mut cutter = Cutter::default();
        let body = match input.style {
            Style::Plain => plain(input, cx),
            Style::Slack => slack(input, &mut cutter),
            Style::Discord => discord(input, &mut cutter),
        };
        Message {
            body,
            truncated: cutter.lost,
        }
    }
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn plain(input: &Input, cx: &Context) -> Value {
    json!({
        "title": input.title,
        "text": input.text,
        "level": input.level,
        "fields": input.fields,
        "workflow": cx.workflow(),
        "run": cx.run_id(),
        "task": cx.task(),
    })
}

/// The title with a sign before it, so that a warning is one without colours.
fn headline(input: &Input) -> String {
    let sign = match input.level {
        Level::Info => "",
        Level::Success => "✅ ",
        Level::Warning => "⚠️ ",
        Level::Error => "🛑 ",
    };
    let title = input.title.trim();
    if title.is_empty() {
        return sign.trim_end().to_owned();
    }
    format!("{sign}{title}")
}

fn slack(input: &Input, cutter: &mut Cutter) -> Value {
    let headline = headline(input);
    let mut blocks = Vec::new();
    if !headline.is_empty() {
        let text = cutter.cut(&headline, SLACK_HEADER, as_is);
        blocks.push(json!({ "type": "header", "text": { "type": "plain_text", "text": text } }));
    }
    // `verbatim` keeps Slack from making mentions out of `@here`.
    let marked = |text: String| json!({ "type": "mrkdwn", "text": text, "verbatim": true });
    let said = input.text.trim();
    for text in cutter.parts(said, SLACK_TEXT, SLACK_TEXTS, cut::slack) {
        blocks.push(json!({ "type": "section", "text": marked(text) }));
    }
    cutter.lost |= input.fields.len() > SLACK_FIELDS_MAX;
    let shown: Vec<Value> = input
        .fields
        .iter()
        .take(SLACK_FIELDS_MAX)
        .map(|field| {
            let name = cutter.cut(field.name.trim(), SLACK_NAME, cut::slack);
            // Two asterisks and a line's end stand around the name.
            let room = SLACK_FIELD - length(&name) - 3;
            let value = cutter.cut(&text_of(&field.value), room, cut::slack);
            marked(format!("*{name}*\n{value}"))
        })
        .collect();
    for fields in shown.chunks(SLACK_FIELDS) {
        blocks.push(json!({ "type": "section", "fields": fields }));
    }
    // What a notification shows; the blocks say all of it, so nothing is lost here.
    let short = if headline.is_empty() { said } else { &headline };
    let short = Cutter::default().cut(short, SLACK_TEXT, cut::slack);
    json!({ "text": short, "blocks": blocks, "unfurl_links": false, "unfurl_media": false })
}

fn discord(input: &Input, cutter: &mut Cutter) -> Value {
    let mut room = DISCORD_ALL;
    let mut embed = Map::new();
    embed.insert("color".to_owned(), colour(input.level).into());
    let title = cutter.cut(&headline(input), DISCORD_TITLE, as_is);
    let text = cutter.cut(input.text.trim(), DISCORD_TEXT, as_is);
    room -= length(&title) + length(&text);
    if !title.is_empty() {
        embed.insert("title".to_owned(), title.into());
    }
    if !text.is_empty() {
        embed.insert("description".to_owned(), text.into());
    }
    let mut fields = Vec::new();
    for Field { name, value } in &input.fields {
        let name = cutter.cut(name.trim(), DISCORD_NAME, as_is);
        let mut value = cutter.cut(text_of(value).trim(), DISCORD_VALUE, as_is);
        if value.is_empty() {
            // An empty value is refused; this is how one looks empty.
            "\u{200b}".clone_into(&mut value);
        }
        let length = length(&name) + length(&value);
        if fields.len() == DISCORD_FIELDS || length > room {
            cutter.lost = true;
            break;
        }
        room -= length;
        fields.push(json!({ "name": name, "value": value, "inline": true }));
    }
    embed.insert("fields".to_owned(), fields.into());
    // Nobody is called, whatever the text says.
    json!({ "embeds": [embed], "allowed_mentions": { "parse": [] } })
}

/// The stripe beside a Discord embed.
fn colour(level: Level) -> u32 {
    match level {
        Level::Info => 0x0034_98db,
        Level::Success => 0x002e_cc71,
        Level::Warning => 0x00f1_c40f,
        Level::Error => 0x00e7_4c3c,
    }
}
