//! The OCR service: Google Vision's `images:annotate`. It reads what is planted: the text that the catalog, or a
//! test, put on the picture with these bytes.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use url::Url;

use crate::answer::json;
use crate::control::rule::decoded;
use crate::fields::{Fields, bearer, header};
use crate::picture::{digest, is_picture};
use crate::world::{Shared, World};

/// Images in one call, as the real service allows.
const MOST_IMAGES: usize = 16;

/// The section's routes.
pub fn routes() -> Router<Shared> {
    // A colon is an ordinary character of an axum path.
    Router::new().route("/vision/v1/images:annotate", post(annotate))
}

/// An error in the shape of Google's APIs.
pub fn google_error(status: StatusCode, code: &str, message: &str) -> Response {
    json(
        status,
        &json!({ "error": { "code": status.as_u16(), "message": message, "status": code } }),
    )
}

/// The refusal that a missing or wrong key earns: 403, or 401 for a wrong bearer token. (Google itself answers some
/// wrong API keys with 400; 403 says the same and needs no reading of the message.) The key is taken from `?key=`, `X-Goog-Api-Key` or a bearer token.
pub fn google_key_error(world: &World, fields: &Fields, headers: &HeaderMap) -> Option<Response> {
    let right = world.settings.credentials.google_key.as_str();
    let api_key = fields
        .get("key")
        .or(Some(header(headers, "x-goog-api-key")).filter(|key| !key.is_empty()));
    match (api_key, bearer(headers)) {
        (Some(key), _) if key == right => None,
        (None, Some(token)) if token == right => None,
        (Some(_), _) => Some(google_error(
            StatusCode::FORBIDDEN,
            "PERMISSION_DENIED",
            "API key not valid. Please pass a valid API key.",
        )),
        (None, Some(_)) => Some(google_error(
            StatusCode::UNAUTHORIZED,
            "UNAUTHENTICATED",
            "Request had invalid authentication credentials.",
        )),
        (None, None) => Some(google_error(
            StatusCode::FORBIDDEN,
            "PERMISSION_DENIED",
            "Method doesn't allow unregistered callers. Please use API Key or other form of API consumer identity to call this API.",
        )),
    }
}

/// The language that a text's script suggests: `ko`, `zh-CN` or `en`.
pub fn script_of(text: &str) -> &'static str {
    let hangul = text
        .chars()
        .filter(|letter| ('가'..='힣').contains(letter))
        .count();
    let han = text
        .chars()
        .filter(|letter| ('\u{4E00}'..='\u{9FFF}').contains(letter))
        .count();
    match (hangul, han) {
        (0, 0) => "en",
        (hangul, han) if hangul >= han => "ko",
        _ => "zh-CN",
    }
}

async fn annotate(
    State(world): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let fields = Fields::from_query(query.as_deref().unwrap_or_default());
    if let Some(refusal) = google_key_error(&world, &fields, &headers) {
        return refusal;
    }
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return google_error(
            StatusCode::BAD_REQUEST,
            "INVALID_ARGUMENT",
            "Invalid JSON payload received.",
        );
    };
    let Some(requests) = body
        .get("requests")
        .and_then(Value::as_array)
        .filter(|requests| !requests.is_empty())
    else {
        return google_error(
            StatusCode::BAD_REQUEST,
            "INVALID_ARGUMENT",
            "Request must contain at least one image.",
        );
    };
    if requests.len() > MOST_IMAGES {
        return google_error(
            StatusCode::BAD_REQUEST,
            "INVALID_ARGUMENT",
            "Too many images per request.",
        );
    }
    let responses: Vec<Value> = requests
        .iter()
        .map(|request| read(&world, &headers, request))
        .collect();
    json(StatusCode::OK, &json!({ "responses": responses }))
}

fn failed(code: u8, message: &str) -> Value {
    json!({ "error": { "code": code, "message": message } })
}

fn read(world: &World, headers: &HeaderMap, request: &Value) -> Value {
    let features = request.get("features").and_then(Value::as_array);
    let kinds = features
        .into_iter()
        .flatten()
        .filter_map(|feature| feature.get("type"))
        .filter_map(Value::as_str);
    if !kinds
        .into_iter()
        .any(|kind| matches!(kind, "TEXT_DETECTION" | "DOCUMENT_TEXT_DETECTION"))
    {
        return failed(3, "No image features were requested.");
    }
    let image = request.get("image").unwrap_or(&Value::Null);
    let content = image.get("content").and_then(Value::as_str);
    let address = image
        .pointer("/source/imageUri")
        .or(image.pointer("/source/gcsImageUri"))
        .and_then(Value::as_str);
    let bytes = match (content, address) {
        (Some(content), _) => match STANDARD.decode(content) {
            Ok(bytes) => Bytes::from(bytes),
            Err(_) => return failed(3, "Bad image data."),
        },
        (None, Some(address)) => match fetch(world, headers, address) {
            Some(bytes) => bytes,
            None => {
                return failed(
                    7,
                    "We can not access the URL currently. Please download the content and pass it in.",
                );
            }
        },
        (None, None) => return failed(3, "Image content or source must be given."),
    };
    if !is_picture(&bytes) {
        return failed(3, "Bad image data.");
    }
    annotation(&text_on(world, &bytes))
}

/// The bytes behind an address of this world; an address elsewhere is out of reach.
fn fetch(world: &World, headers: &HeaderMap, address: &str) -> Option<Bytes> {
    let url = Url::parse(address).ok()?;
    let own = Url::parse(&world.settings.base_url).ok()?;
    let authority = match url.port() {
        Some(port) => format!("{}:{port}", url.host_str()?),
        None => url.host_str()?.to_owned(),
    };
    let asked = header(headers, "host");
    if authority != asked && (url.host_str(), url.port()) != (own.host_str(), own.port()) {
        return None;
    }
    let path = decoded(url.path());
    if let Some(rest) = path.strip_prefix("/s3/") {
        let (bucket, key) = rest.split_once('/')?;
        return world
            .buckets
            .lock()
            .get(bucket, key)
            .map(|object| object.bytes.clone());
    }
    let (id, file) = path.strip_prefix("/mall/img/")?.split_once('/')?;
    let product = world.catalog.get(id.parse().ok()?)?;
    let picture = product
        .pictures
        .iter()
        .find(|picture| format!("{}.{}", picture.name, picture.format) == file)?;
    Some(world.pictures.render(product, picture).bytes)
}

/// What is planted on the picture with these bytes; nothing for a stranger's picture.
pub fn text_on(world: &World, bytes: &[u8]) -> String {
    let sha256 = digest(bytes);
    if let Some(text) = world.planted.lock().get(&sha256) {
        return text.clone();
    }
    let Some((id, name)) = world.pictures.find(&world.catalog, bytes) else {
        return String::new();
    };
    let picture = world
        .catalog
        .get(id)
        .and_then(|product| product.pictures.iter().find(|picture| picture.name == name));
    picture
        .map(|picture| picture.text.clone())
        .unwrap_or_default()
}

fn annotation(text: &str) -> Value {
    if text.is_empty() {
        return json!({});
    }
    let locale = script_of(text);
    let mut annotations = vec![
        json!({ "locale": locale, "description": text, "boundingPoly": area(0, text.lines().count()) }),
    ];
    for (row, line) in text.lines().enumerate() {
        annotations.extend(
            line.split_whitespace()
                .map(|word| json!({ "description": word, "boundingPoly": area(row, 1) })),
        );
    }
    let page = json!({ "property": { "detectedLanguages": [{ "languageCode": locale, "confidence": 0.98 }] }, "width": 200, "height": 200 });
    json!({ "textAnnotations": annotations, "fullTextAnnotation": { "pages": [page], "text": text } })
}

fn area(row: usize, rows: usize) -> Value {
    let (top, bottom) = (row * 14, (row + rows) * 14);
    json!({ "vertices": [{ "x": 4, "y": top }, { "x": 180, "y": top }, { "x": 180, "y": bottom }, { "x": 4, "y": bottom }] })
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use serde_json::{Value, json};

    use crate::testing::{Ask, json_of, world};

    async fn annotate(images: Vec<Value>) -> Value {
        let requests: Vec<Value> = images
            .into_iter()
            .map(|image| json!({"image": image, "features": [{"type": "TEXT_DETECTION"}]}))
            .collect();
        let ask = Ask::post("/vision/v1/images:annotate?key=demo-google-key")
            .json(&json!({ "requests": requests }));
        let (status, reply) = json_of(ask.send().await).await;
        assert_eq!(status, 200, "{reply}");
        reply
    }

    #[tokio::test]
    async fn a_wrong_key_is_refused() {
        let ask = || Ask::post("/vision/v1/images:annotate").json(&json!({"requests": []}));
        assert_eq!(ask().send().await.status, 403);
        assert_eq!(
            ask()
                .header("authorization", "Bearer wrong")
                .send()
                .await
                .status,
            401
        );
        assert_eq!(
            ask().header("x-goog-api-key", "wrong").send().await.status,
            403
        );
    }

    #[tokio::test]
    async fn the_same_text_is_read_by_address_and_by_content() {
        let world = world();
        let product = world.catalog.get(680_000_000_001).unwrap();
        let picture = &product.pictures[1];
        let bytes = world.pictures.render(product, picture).bytes;
        let address = format!(
            "http://world.test/mall/img/{}/{}.{}?v=2",
            product.id, picture.name, picture.format
        );
        let content = base64::engine::general_purpose::STANDARD.encode(&bytes);
        let reply = annotate(vec![
            json!({"source": {"imageUri": address}}),
            json!({"content": content}),
        ])
        .await;
        for at in 0..2 {
            assert_eq!(
                reply["responses"][at]["fullTextAnnotation"]["text"], picture.text,
                "{reply}"
            );
        }
    }

    #[tokio::test]
    async fn a_bad_image_is_an_entry_and_the_others_are_read() {
        let reply = annotate(vec![
            json!({"content": "bm8gaW1hZ2U="}),
            json!({"source": {"imageUri": "http://elsewhere.test/a.png"}}),
            json!({"source": {"imageUri": "http://world.test/mall/img/689000000005/0.png"}}),
        ])
        .await;
        assert_eq!(reply["responses"][0]["error"]["code"], 3);
        assert_eq!(reply["responses"][1]["error"]["code"], 7);
        assert!(reply["responses"][2]["error"]["code"].is_number());
    }
}
