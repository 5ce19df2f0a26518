//! Google Vision: `images:annotate` with TEXT_DETECTION, one picture a call, so that one bad picture fails alone.
//! Whether a failure is the picture's own is decided here; what follows from it is not.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flowweaver_task::http::{self, Exchange};
use flowweaver_task::serde_json::Value;
use flowweaver_task::{Error, Result, json};

/// How the service is asked.
pub(crate) struct Settings<'a> {
    /// The service's address, without a slash at its end.
    pub(crate) url: &'a str,
    /// Whether pictures are sent along.
    pub(crate) inline: bool,
    /// The largest picture sent along.
    pub(crate) bytes: usize,
}

/// Why a picture could not be read.
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// Whether the picture is at fault, so that no retry and no grant would help.
    pub(crate) is_pictures_own: bool,
}

/// Codes of `google.rpc.Code` that may pass: DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, ABORTED, INTERNAL, UNAVAILABLE.
const PASSING_CODES: [i64; 5] = [4, 8, 10, 13, 14];

/// Codes of `google.rpc.Code` that speak of the key: PERMISSION_DENIED, UNAUTHENTICATED.
const KEY_CODES: [i64; 2] = [7, 16];

/// The text on each picture; all of them are on their way at once.
pub(crate) fn read(pictures: &[String], settings: &Settings<'_>) -> Vec<Result<String, Failure>> {
    let asked: Vec<Result<Exchange, Failure>> = if settings.inline {
        let fetched: Vec<Result<Exchange>> = pictures
            .iter()
            .map(|url| http::get(url).header("accept", "image/*").start())
            .collect();
        fetched
            .into_iter()
            .map(|fetch| forward(fetch, settings))
            .collect()
    } else {
        pictures
            .iter()
            .map(|url| ask(json!({ "source": { "imageUri": url } }), settings))
            .collect()
    };
    asked
        .into_iter()
        .map(|exchange| text(exchange?, settings))
        .collect()
}

/// Fetches a picture and sends it along.
fn forward(fetch: Result<Exchange>, settings: &Settings<'_>) -> Result<Exchange, Failure> {
    let bytes = fetch
        .and_then(Exchange::response)
        .and_then(|response| response.error_for_status()?.bytes_up_to(settings.bytes))
        .map_err(|error| Failure {
            is_pictures_own: !error.retryable && error.code != "http.denied",
            error: error.context("fetching the picture"),
        })?;
    ask(json!({ "content": STANDARD.encode(bytes) }), settings)
}

fn ask(image: Value, settings: &Settings<'_>) -> Result<Exchange, Failure> {
    let request = json!({ "image": image, "features": [{ "type": "TEXT_DETECTION" }] });
    http::post(format!("{}/v1/images:annotate", settings.url))
        .json(&json!({ "requests": [request] }))
        .start()
        .map_err(services)
}

fn services(error: Error) -> Failure {
    Failure {
        error: error.context("asking the OCR service"),
        is_pictures_own: false,
    }
}

fn text(exchange: Exchange, settings: &Settings<'_>) -> Result<String, Failure> {
    let reply: Value = exchange
        .response()
        .and_then(|response| response.error_for_status()?.json())
        .map_err(services)?;
    let Some(answer) = reply
        .pointer("/responses/0")
        .filter(|answer| answer.is_object())
    else {
        let error = Error::retryable(
            "vision.invalid",
            format!("the answer holds no response: {}", excerpt(&reply)),
        );
        return Err(services(error));
    };
    if let Some(error) = answer.get("error") {
        return Err(refused(error, settings));
    }
    let text = answer
        .pointer("/fullTextAnnotation/text")
        .or(answer.pointer("/textAnnotations/0/description"))
        .and_then(Value::as_str);
    // A picture without text has neither.
    Ok(text.unwrap_or_default().to_owned())
}

/// Enough of a strange answer to recognise it, too little to flood a log.
pub(crate) fn excerpt(reply: &Value) -> String {
    reply.to_string().chars().take(200).collect()
}

/// An error in the entry of one picture, in a body whose status is 200.
fn refused(error: &Value, settings: &Settings<'_>) -> Failure {
    let code = error
        .get("code")
        .and_then(Value::as_i64)
        .unwrap_or_default();
    let message = error
        .get("message")
        .and_then(Value::as_str)
        .unwrap_or("no message");
    let retryable = PASSING_CODES.contains(&code);
    // For a picture that the service fetches itself, code 7 says that the picture is out of its reach.
    let key = settings.inline && KEY_CODES.contains(&code);
    let mut refusal = Error::permanent(
        "vision.refused",
        format!("the OCR service answered {code}: {message}"),
    );
    refusal.retryable = retryable;
    Failure {
        error: refusal,
        is_pictures_own: !retryable && !key,
    }
}
