//! The translation service: Google's v2 API over a dictionary of the phrases that are printed on the pictures.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::post;
use serde_json::{Value, json};

use crate::answer::{escape, json};
use crate::catalog::Catalog;
use crate::fields::Fields;
use crate::vision::{google_error, google_key_error, script_of};
use crate::world::Shared;

/// The section's routes.
pub fn routes() -> Router<Shared> {
    Router::new().route(
        "/translate/language/translate/v2",
        post(translate).get(translate),
    )
}

/// Chinese to Korean, phrase by phrase.
pub struct Phrasebook(BTreeMap<String, String>);

impl Phrasebook {
    /// The phrases of the catalog.
    pub fn known() -> Self {
        Self(
            Catalog::phrases()
                .map(|(chinese, korean)| (chinese.to_owned(), korean.to_owned()))
                .collect(),
        )
    }

    /// Teaches a phrase.
    pub fn learn(&mut self, chinese: &str, korean: &str) {
        self.0.insert(chinese.to_owned(), korean.to_owned());
    }

    /// The text with every known phrase replaced, longest first; `None` if none is known.
    pub fn korean(&self, text: &str) -> Option<String> {
        let mut phrases: Vec<(&String, &String)> = self
            .0
            .iter()
            .filter(|(chinese, _)| text.contains(chinese.as_str()))
            .collect();
        phrases.sort_by_key(|(chinese, _)| std::cmp::Reverse(chinese.chars().count()));
        if phrases.is_empty() {
            return None;
        }
        Some(
            phrases
                .into_iter()
                .fold(text.to_owned(), |text, (chinese, korean)| {
                    text.replace(chinese, korean)
                }),
        )
    }
}

async fn translate(
    State(world): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(fields) = Fields::from_request(query.as_deref(), &headers, &body) else {
        return google_error(
            StatusCode::BAD_REQUEST,
            "INVALID_ARGUMENT",
            "Invalid JSON payload received.",
        );
    };
    if let Some(refusal) = google_key_error(&world, &fields, &headers) {
        return refusal;
    }
    let texts: Vec<&str> = fields.values("q").collect();
    if texts.is_empty() {
        return google_error(StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", "Required Text");
    }
    let Some(target) = fields.get("target").filter(|target| !target.is_empty()) else {
        return google_error(
            StatusCode::BAD_REQUEST,
            "INVALID_ARGUMENT",
            "Required parameter: target",
        );
    };
    let html = match fields.get("format").unwrap_or("html") {
        "html" => true,
        "text" => false,
        _ => {
            return google_error(
                StatusCode::BAD_REQUEST,
                "INVALID_ARGUMENT",
                "Invalid Value: format",
            );
        }
    };
    if fields.get("source") == Some(target) {
        let message = format!("Bad language pair: {target}|{target}");
        return google_error(StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", &message);
    }
    let phrasebook = world.phrasebook.lock();
    let translations: Vec<Value> = texts
        .into_iter()
        .map(|text| {
            let detected = script_of(text);
            let source = fields.get("source").unwrap_or(detected);
            let known = (target == "ko").then(|| phrasebook.korean(text)).flatten();
            let translated = match known {
                Some(korean) => korean,
                None if detected == target => text.to_owned(),
                // What is not in the dictionary comes back marked, so that a reader sees it went through here.
                None => format!("[{source}→{target}] {text}"),
            };
            // In HTML mode the service treats its input as markup and escapes quotes only; tags stay.
            let translated = if html {
                translated.replace('\'', &escape("'"))
            } else {
                translated
            };
            let mut entry = json!({ "translatedText": translated });
            if let (None, Some(entry)) = (fields.get("source"), entry.as_object_mut()) {
                entry.insert(
                    "detectedSourceLanguage".to_owned(),
                    Value::String(detected.to_owned()),
                );
            }
            entry
        })
        .collect();
    json(
        StatusCode::OK,
        &json!({ "data": { "translations": translations } }),
    )
}

#[cfg(test)]
mod tests {
    use crate::testing::{Ask, json_of};
    use serde_json::json;

    const PATH: &str = "/translate/language/translate/v2";

    #[tokio::test]
    async fn a_wrong_key_is_refused() {
        let body = json!({"q": "品质保证", "target": "ko"});
        assert_eq!(Ask::post(PATH).json(&body).send().await.status, 403);
        assert_eq!(
            Ask::post(&format!("{PATH}?key=wrong"))
                .json(&body)
                .send()
                .await
                .status,
            403
        );
        assert_eq!(
            Ask::post(PATH)
                .header("authorization", "Bearer wrong")
                .json(&body)
                .send()
                .await
                .status,
            401
        );
    }

    #[tokio::test]
    async fn planted_phrases_become_korean_and_others_pass_marked() {
        let body = json!({"q": ["品质保证\n现货速发", "未知"], "target": "ko", "format": "text"});
        let (status, reply) = json_of(
            Ask::post(PATH)
                .header("x-goog-api-key", "demo-google-key")
                .json(&body)
                .send()
                .await,
        )
        .await;
        assert_eq!(status, 200);
        let list = &reply["data"]["translations"];
        assert_eq!(list[0]["translatedText"], "품질 보증\n재고 보유 빠른 발송");
        assert_eq!(list[0]["detectedSourceLanguage"], "zh-CN");
        assert_eq!(list[1]["translatedText"], "[zh-CN→ko] 未知");
    }

    #[tokio::test]
    async fn a_missing_target_or_text_is_named() {
        for (body, part) in [
            (json!({"q": "a"}), "target"),
            (json!({"target": "ko"}), "Text"),
        ] {
            let (status, reply) = json_of(
                Ask::post(&format!("{PATH}?key=demo-google-key"))
                    .json(&body)
                    .send()
                    .await,
            )
            .await;
            assert_eq!(status, 400);
            assert!(
                reply["error"]["message"].as_str().unwrap().contains(part),
                "{reply}"
            );
        }
    }
}
