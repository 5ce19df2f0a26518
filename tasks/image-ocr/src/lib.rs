//! Reads the text on pictures and translates it: what goes in, what comes out, and the order of calls. Google Vision
//! is in `vision`, the translation service in `translation`, scripts and cleaning in `text`. API keys are not here:
//! the grants make the host add them.

mod text;
mod translation;
mod vision;

use std::num::NonZeroU32;

use flowweaver_task::serde_json::Value;
use flowweaver_task::{Context, Error, Result, log, task};

use vision::{Failure, Settings};

/// Which pictures to read, and into which language.
#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// The addresses of the pictures; an entry of `uploaded_images` is taken by its `s3_url`.
    #[serde(deserialize_with = "addresses")]
    #[schemars(with = "Vec<Value>")]
    images: Vec<String>,
    /// The language wanted, as a BCP 47 tag.
    #[serde(default = "korean")]
    target_language: String,
    /// Where Google Vision is.
    #[serde(default = "vision_url")]
    vision_url: String,
    /// Where Google Translation is.
    #[serde(default = "translate_url")]
    translate_url: String,
    /// Whether the pictures are fetched here and sent along, so that private ones can be read; else the service
    /// fetches them itself.
    #[serde(default = "yes")]
    inline: bool,
    /// Pictures read at the same time.
    #[serde(default = "four")]
    concurrency: NonZeroU32,
    /// The most pictures read; the rest is left out.
    #[serde(default = "thirty")]
    max_images: NonZeroU32,
    /// The largest picture sent along, in bytes. The service takes 10 MB of JSON, and base64 makes a third more.
    #[serde(default = "seven_million")]
    max_image_bytes: NonZeroU32,
    /// The most letters of text kept.
    #[serde(default = "twenty_thousand")]
    max_text_letters: NonZeroU32,
}

/// What the pictures say.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
struct Output {
    /// The language of the text, by its script: "ko", "zh-CN", "ja", "en", or "und" if there are no letters.
    extraction_language: String,
    /// The text read, one line a line, each once.
    extracted_text: String,
    /// The same text in `target_language`.
    translation_language: String,
    /// How many pictures could not be read.
    skipped: u32,
    /// The pictures that could not be read, and why.
    skipped_images: Vec<Skipped>,
}

/// A picture that could not be read.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
struct Skipped {
    /// Its address.
    url: String,
    /// Why, as "code: message".
    error: String,
}

fn korean() -> String {
    "ko".to_owned()
}

fn vision_url() -> String {
    "https://vision.googleapis.com".to_owned()
}

fn translate_url() -> String {
    "https://translation.googleapis.com".to_owned()
}

fn yes() -> bool {
    true
}

fn four() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(3)
}

fn thirty() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(29)
}

fn seven_million() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(6_999_999)
}

fn twenty_thousand() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(19_999)
}

/// Addresses, or objects that have one as `s3_url`.
fn addresses<'de, D: serde::Deserializer<'de>>(reader: D) -> Result<Vec<String>, D::Error> {
    let items: Vec<Value> = serde::Deserialize::deserialize(reader)?;
    let address = |item: &Value| {
        item.get("s3_url")
            .unwrap_or(item)
            .as_str()
            .map(str::to_owned)
    };
    let addresses: Option<Vec<String>> = items.iter().map(address).collect();
    addresses
        .ok_or_else(|| serde::de::Error::custom("expected addresses, or objects with `s3_url`"))
}

/// Reads the text on pictures and translates it.
#[task(requires("http"))]
fn run(input: Input, cx: &Context) -> Result<Output> {
    let mut images = input.images.clone();
    if images.len() > input.max_images.get() as usize {
        log::warn(
            "pictures past `max_images` are left out",
            &[
                ("pictures", &images.len()),
                ("max_images", &input.max_images),
            ],
        );
        images.truncate(input.max_images.get() as usize);
    }
    let settings = Settings {
        url: input.vision_url.trim().trim_end_matches('/'),
        inline: input.inline,
        bytes: input.max_image_bytes.get() as usize,
    };
    let (mut texts, mut skipped_images, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    let total = Some(images.len() as u64);
    for group in images.chunks(input.concurrency.get() as usize) {
        for (url, outcome) in group.iter().zip(vision::read(group, &settings)) {
            match outcome {
                Ok(text) => texts.push(text),
                Err(failure) => {
                    log::warn(
                        "a picture is skipped",
                        &[("url", url), ("error", &failure.error)],
                    );
                    skipped_images.push(Skipped {
                        url: url.clone(),
                        error: failure.error.to_string(),
                    });
                    failures.push(failure);
                }
            }
        }
        cx.progress(
            (texts.len() + failures.len()) as u64,
            total,
            "reading pictures",
        );
    }
    if texts.is_empty()
        && let Some(error) = whole_failure(failures)
    {
        return Err(error.context("not a single picture could be read"));
    }
    let lines = text::clean(&texts, input.max_text_letters.get() as usize);
    let language = text::language(&lines.join("\n"));
    let url = input.translate_url.trim().trim_end_matches('/');
    let translated = translation::into(&lines, language, &input.target_language, url)?;
    Ok(Output {
        extraction_language: language.to_owned(),
        extracted_text: lines.join("\n"),
        translation_language: translated.join("\n"),
        skipped: u32::try_from(skipped_images.len()).unwrap_or(u32::MAX),
        skipped_images,
    })
}

/// The failure that is the task's when no picture could be read: one that a retry may cure before one that only
/// another grant or key cures. Pictures that are themselves bad are no failure.
fn whole_failure(mut failures: Vec<Failure>) -> Option<Error> {
    failures.retain(|failure| !failure.is_pictures_own);
    failures.sort_by_key(|failure| !failure.error.retryable);
    failures.into_iter().next().map(|failure| failure.error)
}

#[cfg(test)]
mod tests;
