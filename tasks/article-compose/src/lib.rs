//! Writes an article about a product from facts that were looked up: what goes in, what comes out, and the order of
//! steps. Facts are gathered in `product`, `knowledge` and `chunk`, chosen in `retrieval`, told to the model in
//! `prompt` and `model`; what it answers is checked in `draft` and cleaned in `html`. The API key is not here: the
//! grant makes the host add it.

mod chunk;
mod draft;
mod html;
mod knowledge;
mod model;
mod product;
mod prompt;
mod retrieval;
mod template;

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use flowweaver_task::serde_json::Value;
use flowweaver_task::{Context, Error, Result, log, task};

use chunk::{Chunk, Kind};
use draft::Draft;
use knowledge::Knowledge;
use model::{Model, Usage};
use product::Facts;

/// What to write about, and with what.
#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// What readers search for; the title holds it.
    keyword: String,
    /// The product: the `selected_product` of `product-select`, or a product's facts themselves.
    product: Value,
    /// The text on the product's pictures, as `image-ocr` translated it.
    #[serde(default)]
    translation_language: Option<String>,
    /// Pictures for the article: addresses, or entries with `s3_url`; none for the product's own `uploaded_images`.
    #[serde(default)]
    uploaded_images: Option<Vec<Value>>,
    /// The model that writes.
    #[serde(default = "writer")]
    model: String,
    /// Where the OpenAI-compatible API is.
    #[serde(default = "llm_url")]
    llm_url: String,
    /// A database whose rows are looked up as well.
    #[serde(default)]
    knowledge: Option<Knowledge>,
    /// How the facts that fit best are found.
    #[serde(default)]
    retrieval: Retrieval,
    /// The model that makes texts comparable, for `retrieval = "embedding"`.
    #[serde(default = "embedder")]
    embedding_model: String,
    /// How many pieces of pictures' text and knowledge the model is shown, beside the product's own facts; at most 100.
    #[serde(default = "twelve")]
    top_k: NonZeroU32,
    /// The most letters of one piece, 10 to 2000.
    #[serde(default = "three_hundred")]
    chunk_letters: NonZeroU32,
    /// What is done when the API fails.
    #[serde(default)]
    fallback: Fallback,
    /// The most pictures placed.
    #[serde(default = "four")]
    max_images: u32,
    /// The most tags.
    #[serde(default = "ten")]
    max_tags: NonZeroU32,
    /// The language of the article.
    #[serde(default = "korean")]
    language: String,
    /// What stands behind a price that is a bare number.
    #[serde(default = "won")]
    currency: String,
    /// More wishes for the model: tone, length, readers.
    #[serde(default)]
    instructions: Option<String>,
    /// How freely the model writes; none for the service's own choice.
    #[serde(default)]
    temperature: Option<f64>,
    /// The most tokens of an answer; none for the service's own limit.
    #[serde(default)]
    max_tokens: Option<NonZeroU32>,
    /// The longest wait for one answer of the model, in seconds; the task's own limit applies as well.
    #[serde(default = "two_minutes")]
    timeout_seconds: NonZeroU32,
    /// Hosts that links may lead to, beside the product's own page.
    #[serde(default)]
    link_hosts: Vec<String>,
}

/// How pieces are ranked.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    serde::Deserialize,
    serde::Serialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
enum Retrieval {
    /// By shared terms, rare ones first; needs no service.
    #[default]
    Bm25,
    /// By the nearness of their embeddings.
    Embedding,
}

/// What is done when the API fails.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    serde::Deserialize,
    serde::Serialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
enum Fallback {
    /// The task fails.
    #[default]
    None,
    /// The facts are put into a fixed form, and the output says so.
    Template,
}

/// The article.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
struct Output {
    /// Plain text that holds the keyword.
    title: String,
    /// HTML with none but allowed tags.
    content: String,
    /// Tags, the keyword among them.
    tags: Vec<String>,
    /// The pieces that the article was made of.
    sources: Vec<Source>,
    /// Who wrote it.
    written_by: Author,
    /// Why the template was used; none if it was not.
    fallback_reason: Option<String>,
    /// What the model charged; none if it did not say.
    usage: Option<Usage>,
}

/// A piece that the article was made of.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
struct Source {
    /// Its number in the prompt, from 1.
    id: u32,
    /// What it is.
    kind: Kind,
    /// Where it comes from: a field, or a database and row.
    origin: String,
    /// Its text.
    text: String,
}

/// Who wrote an article.
#[derive(Clone, Copy, Debug, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Author {
    /// The model.
    Model,
    /// The template.
    Template,
}

fn writer() -> String {
    "gpt-4o-mini".to_owned()
}

fn embedder() -> String {
    "text-embedding-3-small".to_owned()
}

fn llm_url() -> String {
    "https://api.openai.com".to_owned()
}

fn korean() -> String {
    "ko".to_owned()
}

fn won() -> String {
    "원".to_owned()
}

fn four() -> u32 {
    4
}

fn ten() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(9)
}

fn twelve() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(11)
}

fn three_hundred() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(299)
}

fn two_minutes() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(119)
}

/// The most pieces: more is no choice any more, and a model reads the middle of a long context least.
const MOST_PIECES: u32 = 100;

/// How long a piece may be: a word or two at least, a page at most.
const PIECE_LETTERS: RangeInclusive<u32> = 10..=2_000;

/// Writes an article about a product from facts that were looked up.
#[task(requires("http"))]
fn run(input: Input, cx: &Context) -> Result<Output> {
    let keyword = input
        .keyword
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    if keyword.is_empty() {
        return Err(Error::permanent(
            "input.invalid",
            "`keyword`: there is nothing to write about",
        ));
    }
    check(&input)?;
    let facts = Facts::read(&input.product, &input.currency)?;
    let model = Model {
        url: input.llm_url.trim().trim_end_matches('/'),
        writer: &input.model,
        embedder: &input.embedding_model,
        temperature: input.temperature,
        max_tokens: input.max_tokens,
        timeout: Duration::from_secs(input.timeout_seconds.get().into()).min(cx.time_left()),
    };
    let letters = input.chunk_letters.get() as usize;
    let mut pieces = chunk::of_pictures(
        input.translation_language.as_deref().unwrap_or_default(),
        letters,
    );
    if let Some(knowledge) = &input.knowledge {
        cx.progress(0, Some(3), "looking up knowledge");
        pieces.extend(knowledge.chunks(letters)?);
    }
    cx.progress(1, Some(3), "choosing facts");
    let query = retrieval::Query {
        keyword: &keyword,
        subject: facts.subject(),
    };
    let top_k = input.top_k.get() as usize;
    let (found, mut failure) = match (input.retrieval, input.fallback) {
        (Retrieval::Bm25, _) => (retrieval::by_terms(&query, pieces, top_k), None),
        (Retrieval::Embedding, Fallback::None) => (
            retrieval::by_embedding(&query, pieces, top_k, &model)?,
            None,
        ),
        (Retrieval::Embedding, Fallback::Template) => {
            match retrieval::by_embedding(&query, pieces.clone(), top_k, &model) {
                Ok(found) => (found, None),
                Err(error) => (retrieval::by_terms(&query, pieces, top_k), Some(error)),
            }
        }
    };
    let mut chunks = facts.chunks(letters);
    chunks.extend(found);
    cx.progress(2, Some(3), "writing");
    let mut written = None;
    if failure.is_none() {
        match write(&input, &keyword, &chunks, &model) {
            Ok(draft) => written = Some(draft),
            Err(error) if input.fallback == Fallback::Template => failure = Some(error),
            Err(error) => return Err(error),
        }
    }
    Ok(finish(&input, &keyword, &facts, chunks, written, failure))
}

fn check(input: &Input) -> Result<()> {
    let refuse = |text: String| Err(Error::permanent("input.invalid", text));
    if input.top_k.get() > MOST_PIECES {
        return refuse(format!(
            "`top_k`: {} is more than {MOST_PIECES}",
            input.top_k
        ));
    }
    if !PIECE_LETTERS.contains(&input.chunk_letters.get()) {
        let (least, most) = (PIECE_LETTERS.start(), PIECE_LETTERS.end());
        return refuse(format!(
            "`chunk_letters`: {} is not from {least} to {most}",
            input.chunk_letters
        ));
    }
    Ok(())
}

/// Asks the model, and once more if what it wrote is not usable.
fn write(
    input: &Input,
    keyword: &str,
    chunks: &[Chunk],
    model: &Model<'_>,
) -> Result<(Draft, Option<Usage>)> {
    let wishes = prompt::Wishes {
        keyword,
        language: &input.language,
        tags: input.max_tags.get(),
        instructions: input.instructions.as_deref(),
    };
    let mut messages = prompt::messages(&wishes, chunks);
    let answer = model.write(&messages)?;
    match Draft::parse(&answer.text, keyword) {
        Ok(draft) => Ok((draft, answer.usage)),
        Err(mistake) => {
            log::warn("the model is asked again", &[("mistake", &mistake)]);
            messages.extend(prompt::correction(&answer.text, &mistake, keyword));
            let second = model.write(&messages)?;
            let usage = Usage::sum(answer.usage, second.usage);
            Ok((Draft::parse(&second.text, keyword)?, usage))
        }
    }
}

fn finish(
    input: &Input,
    keyword: &str,
    facts: &Facts,
    chunks: Vec<Chunk>,
    written: Option<(Draft, Option<Usage>)>,
    failure: Option<Error>,
) -> Output {
    let fallback_reason = failure.map(|error| error.to_string());
    if let Some(reason) = &fallback_reason {
        log::warn(
            "the template is used in place of the model",
            &[("reason", reason)],
        );
    }
    let (draft, usage, written_by) = match written {
        Some((draft, usage)) => (draft, usage, Author::Model),
        None => (
            template::draft(keyword, facts, &chunks),
            None,
            Author::Template,
        ),
    };
    let clean = html::clean(
        &draft.content,
        &html::link_hosts(&facts.url, &input.link_hosts),
    );
    let pictures = match &input.uploaded_images {
        Some(images) => product::addresses(images),
        None => facts.pictures.clone(),
    };
    let pictures: Vec<String> = pictures
        .into_iter()
        .take(input.max_images as usize)
        .collect();
    let sources = (1..).zip(chunks).map(|(id, chunk)| Source {
        id,
        kind: chunk.kind,
        origin: chunk.origin,
        text: chunk.text,
    });
    Output {
        content: html::place(&clean, &pictures, &facts.title),
        tags: draft::tags(keyword, &draft.tags, input.max_tags.get() as usize),
        title: draft.title,
        sources: sources.collect(),
        written_by,
        fallback_reason,
        usage,
    }
}

#[cfg(test)]
mod tests;
