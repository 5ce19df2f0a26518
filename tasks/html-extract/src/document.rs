//! The text of a document: fetched or given, in whatever character set. What stands in it is elsewhere.

use encoding_rs::{Encoding, UTF_8};
use flowweaver_task::{Error, Result, http, log};
use task_page::Url;

use crate::{Input, Mode};

/// How far from its beginning a document may say what its character set is. The HTML standard looks at 1024 bytes;
/// pages with long comments and titles in front are common enough.
const DECLARATION_BYTES: usize = 4096;

/// Media types that are no text at all, by their beginnings.
const NO_TEXT: &[&str] = &[
    "image/",
    "audio/",
    "video/",
    "font/",
    "application/pdf",
    "application/zip",
];

/// What relative addresses of a text without an address are relative to: nothing can be joined to it.
const NOWHERE: &str = "about:blank";

/// A document's text.
pub(crate) struct Document {
    /// Its text.
    pub(crate) text: String,
    /// The address that answered; none for a text that was given.
    pub(crate) url: Option<String>,
    /// What relative addresses are relative to.
    pub(crate) base: Url,
}

impl Document {
    /// Fetches the document, or takes the one that was given.
    ///
    /// # Errors
    /// `input.invalid`, what the host answers, `http.status`, `document.not-text`, `charset.unknown`.
    pub(crate) fn get(input: &Input) -> Result<Self> {
        let charset = input.charset.as_deref().map(charset).transpose()?;
        let declared = input.base_url.as_deref().map(|base| {
            Url::parse(base).map_err(|error| {
                let message = format!("`base_url`: `{base}` is not an absolute address: {error}");
                Error::permanent("input.invalid", message)
            })
        });
        let declared = declared.transpose()?;
        let (text, url) = match (&input.url, &input.html) {
            (Some(url), None) => {
                let (text, url) = fetch(input, url, charset)?;
                (text, Some(url))
            }
            (None, Some(html)) => (html.clone(), None),
            _ => {
                return Err(Error::permanent(
                    "input.invalid",
                    "either `url` or `html` is needed, and only one of them",
                ));
            }
        };
        let base = match declared {
            Some(base) => base,
            None => {
                let base = url.as_deref().unwrap_or(NOWHERE);
                Url::parse(base).map_err(|error| {
                    let message = format!("`{base}` is not an absolute address: {error}");
                    Error::permanent("url.invalid", message)
                })?
            }
        };
        Ok(Document { text, url, base })
    }
}

fn fetch(input: &Input, url: &str, charset: Option<&'static Encoding>) -> Result<(String, String)> {
    let mut request = http::get(url);
    if !input
        .headers
        .keys()
        .any(|name| name.eq_ignore_ascii_case("accept"))
    {
        request = request.header("accept", accept(input.mode));
    }
    for (name, value) in &input.headers {
        request = request.header(name, value);
    }
    let response = request.send()?.error_for_status()?;
    if !response.is_success() {
        let message = format!(
            "{} answered {} without a page",
            response.url(),
            response.status()
        );
        return Err(Error::permanent("http.status", message));
    }
    let address = response.url().to_owned();
    let media = response
        .header("content-type")
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    if NO_TEXT.iter().any(|beginning| media.starts_with(beginning)) {
        let message = format!("{address} is {media}, not a page or feed");
        return Err(Error::permanent("document.not-text", message));
    }
    let bytes = response.bytes()?;
    let text = decode(&bytes, charset, &media, &address)?;
    Ok((text, address))
}

fn accept(mode: Mode) -> &'static str {
    match mode {
        Mode::Page => "text/html, application/xhtml+xml;q=0.9, */*;q=0.1",
        Mode::Feed => {
            "application/rss+xml, application/atom+xml, application/feed+json, application/xml;q=0.9, */*;q=0.1"
        }
    }
}

/// The encoding of this name.
fn charset(name: &str) -> Result<&'static Encoding> {
    Encoding::for_label(name.trim().as_bytes()).ok_or_else(|| {
        let message = format!("there is no character set `{}`", name.trim());
        Error::permanent("charset.unknown", message)
    })
}

/// The bytes as text, in the order in which browsers believe: byte order mark, what the caller says, what the server
/// says, what the document says, UTF-8.
pub(crate) fn decode(
    bytes: &[u8],
    told: Option<&'static Encoding>,
    media: &str,
    address: &str,
) -> Result<String> {
    let encoding = match (told, of_media_type(media)) {
        (Some(encoding), _) => encoding,
        (None, Some(name)) => charset(name)?,
        (None, None) => match of_declaration(bytes) {
            Some(name) => charset(&name)?,
            None => UTF_8,
        },
    };
    // A byte order mark outranks them all, and is taken off.
    let (text, encoding, damaged) = encoding.decode(bytes);
    if damaged {
        log::warn(
            "the document holds bytes that its character set does not have; they are shown as �",
            &[("charset", &encoding.name()), ("url", &address)],
        );
    }
    Ok(text.into_owned())
}

/// `charset` of a content type.
fn of_media_type(media: &str) -> Option<&str> {
    let parameters = media.split(';').skip(1);
    let mut named = parameters.filter_map(|parameter| parameter.trim().strip_prefix("charset="));
    named.next().map(|name| name.trim_matches(['"', '\'', ' ']))
}

/// What `<?xml encoding="…"?>` or `<meta charset="…">` (either form of it) says.
fn of_declaration(bytes: &[u8]) -> Option<String> {
    let start = bytes
        .get(..DECLARATION_BYTES.min(bytes.len()))
        .unwrap_or(bytes);
    let start = String::from_utf8_lossy(start).to_ascii_lowercase();
    let xml = start
        .trim_start()
        .strip_prefix("<?xml")
        .and_then(|rest| rest.split("?>").next())
        .and_then(|declaration| value_after(declaration, "encoding"));
    xml.or_else(|| {
        start
            .split("<meta")
            .skip(1)
            .filter_map(|meta| meta.split('>').next())
            .find_map(|meta| value_after(meta, "charset"))
    })
}

/// The word after `name =`, in quotes or not.
fn value_after(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(name)?;
    let rest = rest.trim_start().strip_prefix('=')?;
    let word: String = rest
        .trim_start_matches([' ', '\t', '\n', '\r', '"', '\''])
        .chars()
        .take_while(|letter| letter.is_ascii_alphanumeric() || "-_.:".contains(*letter))
        .collect();
    (!word.is_empty()).then_some(word)
}
