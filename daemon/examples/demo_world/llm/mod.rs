//! The language model service, in the shape of OpenAI's API. What it writes is in `article`, what it understands of
//! a prompt in `prompt`, its vectors in `embedding`.

mod article;
mod embedding;
mod prompt;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answer::json;
use crate::fields::bearer;
use crate::world::{Shared, World};
use prompt::Prompt;

/// Models that the list names; a request may name any.
const MODELS: [&str; 3] = ["demo-writer-1", "gpt-4o-mini", "text-embedding-3-small"];

/// An answer that a test wants.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ChatRule {
    /// The whole answer, instead of an article.
    #[serde(default)]
    pub answer: Option<String>,
    /// HTML put behind the article's own, as a model that does not obey would.
    #[serde(default)]
    pub append_html: Option<String>,
    /// Title instead of the article's own.
    #[serde(default)]
    pub title: Option<String>,
    /// `finish_reason` instead of `stop`.
    #[serde(default)]
    pub finish_reason: Option<String>,
    /// How many answers; absent: all.
    #[serde(default)]
    pub count: Option<u64>,
}

/// The section's routes.
pub fn routes() -> Router<Shared> {
    Router::new()
        .route("/llm/v1/chat/completions", post(complete))
        .route("/llm/v1/embeddings", post(embed))
        .route("/llm/v1/models", get(models))
}

fn refused(
    status: StatusCode,
    kind: &str,
    code: &str,
    param: Option<&str>,
    message: &str,
) -> Response {
    json(
        status,
        &json!({ "error": { "message": message, "type": kind, "param": param, "code": code } }),
    )
}

fn invalid(param: &str, message: &str) -> Response {
    refused(
        StatusCode::BAD_REQUEST,
        "invalid_request_error",
        "invalid_value",
        Some(param),
        message,
    )
}

fn missing(param: &str) -> Response {
    let message = format!("Missing required parameter: '{param}'.");
    refused(
        StatusCode::BAD_REQUEST,
        "invalid_request_error",
        "missing_required_parameter",
        Some(param),
        &message,
    )
}

fn key_error(world: &World, headers: &HeaderMap) -> Option<Response> {
    let message = match bearer(headers) {
        Some(token) if token == world.settings.credentials.llm_key => return None,
        Some(_) => "Incorrect API key provided.",
        None => {
            "You didn't provide an API key. You need to provide it in an Authorization header using Bearer auth."
        }
    };
    Some(refused(
        StatusCode::UNAUTHORIZED,
        "invalid_request_error",
        "invalid_api_key",
        None,
        message,
    ))
}

/// The request's JSON object and model, or the refusal.
fn opened(
    world: &World,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<(Value, String), Box<Response>> {
    if let Some(refusal) = key_error(world, headers) {
        return Err(Box::new(refusal));
    }
    let Ok(request @ Value::Object(_)) = serde_json::from_slice::<Value>(body) else {
        return Err(Box::new(invalid(
            "body",
            "We could not parse the JSON body of your request.",
        )));
    };
    let model = request
        .get("model")
        .and_then(Value::as_str)
        .filter(|model| !model.is_empty());
    match model.map(str::to_owned) {
        Some(model) => Ok((request, model)),
        None => Err(Box::new(missing("model"))),
    }
}

/// About how many tokens a text has: two characters each, which suits Korean; it only has to be steady.
fn tokens(text: &str) -> usize {
    text.chars().count().div_ceil(2)
}

async fn complete(State(world): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let (request, model) = match opened(&world, &headers, &body) {
        Ok(opened) => opened,
        Err(refusal) => return *refusal,
    };
    if request.get("messages").is_none() {
        return missing("messages");
    }
    let Some(prompt) = request.get("messages").and_then(Prompt::parse) else {
        return invalid(
            "messages",
            "Invalid 'messages': expected a non-empty array of objects with 'role' and 'content'.",
        );
    };
    if request.get("stream").and_then(Value::as_bool) == Some(true) {
        return invalid("stream", "This model does not stream.");
    }
    let format = request
        .pointer("/response_format/type")
        .and_then(Value::as_str)
        .unwrap_or("text");
    let mentions_json = prompt.text().to_lowercase().contains("json");
    if format == "json_object" && !mentions_json {
        let message = "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.";
        return invalid("messages", message);
    }
    let wish = wish(&world);
    let mut article = article::write(&prompt);
    if let Some(title) = wish.as_ref().and_then(|wish| wish.title.clone()) {
        article.title = title;
    }
    if let Some(html) = wish.as_ref().and_then(|wish| wish.append_html.as_ref()) {
        article.content.push_str(html);
    }
    let planned = wish.as_ref().and_then(|wish| wish.answer.clone());
    let as_json = format.starts_with("json") || mentions_json;
    let content = planned.unwrap_or_else(|| {
        if as_json {
            article.json()
        } else {
            article.text()
        }
    });
    let cap = request
        .get("max_completion_tokens")
        .or(request.get("max_tokens"))
        .and_then(Value::as_u64);
    let (content, natural) = capped(content, cap);
    let reason = wish
        .and_then(|wish| wish.finish_reason)
        .unwrap_or_else(|| natural.to_owned());
    let (asked, said) = (tokens(&prompt.text()), tokens(&content));
    let usage =
        json!({ "prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said });
    let message = json!({ "role": "assistant", "content": content, "refusal": Value::Null });
    let reply = json!({
        "id": format!("chatcmpl-{}", prompt.digest()), "object": "chat.completion", "created": world.now().timestamp(),
        "model": model, "usage": usage, "system_fingerprint": "fp_demo_world",
        "choices": [{ "index": 0, "message": message, "logprobs": Value::Null, "finish_reason": reason }],
    });
    json(StatusCode::OK, &reply)
}

/// The first wish that still counts.
fn wish(world: &World) -> Option<ChatRule> {
    let mut rules = world.chat_rules.lock();
    let rule = rules.iter_mut().find(|rule| rule.count != Some(0))?;
    rule.count = rule.count.map(|count| count - 1);
    Some(rule.clone())
}

fn capped(content: String, cap: Option<u64>) -> (String, &'static str) {
    match cap.and_then(|cap| usize::try_from(cap).ok()) {
        Some(cap) if tokens(&content) > cap => (content.chars().take(cap * 2).collect(), "length"),
        _ => (content, "stop"),
    }
}

async fn embed(State(world): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let (request, model) = match opened(&world, &headers, &body) {
        Ok(opened) => opened,
        Err(refusal) => return *refusal,
    };
    let texts: Vec<&str> = match request.get("input") {
        None => return missing("input"),
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        Some(_) => Vec::new(),
    };
    let given = request
        .get("input")
        .and_then(Value::as_array)
        .map_or(1, Vec::len);
    // OpenAI takes at most 2,048 texts a call and no empty one.
    if texts.is_empty()
        || texts.len() != given
        || texts.len() > 2048
        || texts.iter().any(|text| text.is_empty())
    {
        return invalid(
            "input",
            "'input' must be a non-empty string or an array of 1 to 2048 non-empty strings.",
        );
    }
    let dimensions = request.get("dimensions").map_or(Some(256), Value::as_u64);
    let Some(dimensions) = dimensions.filter(|dimensions| (1..=3072).contains(dimensions)) else {
        return invalid(
            "dimensions",
            "'dimensions' must be a number from 1 to 3072.",
        );
    };
    let coded = request.get("encoding_format").and_then(Value::as_str) == Some("base64");
    let data: Vec<Value> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let vector = embedding::vector(text, dimensions as usize);
            let vector = if coded {
                embedding::base64(&vector)
            } else {
                json!(vector)
            };
            json!({ "object": "embedding", "index": index, "embedding": vector })
        })
        .collect();
    let count: usize = texts.iter().map(|text| tokens(text)).sum();
    let usage = json!({ "prompt_tokens": count, "total_tokens": count });
    json(
        StatusCode::OK,
        &json!({ "object": "list", "data": data, "model": model, "usage": usage }),
    )
}

async fn models(State(world): State<Shared>, headers: HeaderMap) -> Response {
    if let Some(refusal) = key_error(&world, &headers) {
        return refusal;
    }
    let data: Vec<Value> = MODELS
        .iter()
        .map(|id| json!({ "id": id, "object": "model", "created": 1_767_225_600, "owned_by": "demo-world" }))
        .collect();
    json(StatusCode::OK, &json!({ "object": "list", "data": data }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::testing::{Ask, json_of};

    const CHAT: &str = "/llm/v1/chat/completions";

    fn ask(path: &str, body: &Value) -> Ask {
        Ask::post(path)
            .header("authorization", "Bearer demo-llm-key")
            .json(body)
    }

    async fn article(context: &str) -> Value {
        let user = format!(
            "키워드: 백팩\n상품명: [라온홈] 경량 나일론 백팩 20L\n가격: 23,900원\n옵션: 블랙 M, 네이비 L\n문맥:\n[1] {context}\n[2] 두 번째 문장은 그대로 남아 있습니다."
        );
        let body = json!({
            "model": "demo-writer-1", "response_format": {"type": "json_object"},
            "messages": [{"role": "system", "content": "JSON {title, content, tags} 으로 답한다."}, {"role": "user", "content": user}],
        });
        let (status, reply) = json_of(ask(CHAT, &body).send().await).await;
        assert_eq!(status, 200, "{reply}");
        assert!(reply["usage"]["total_tokens"].as_u64().unwrap() > 0);
        serde_json::from_str(reply["choices"][0]["message"]["content"].as_str().unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_wrong_key_or_a_missing_field_is_refused() {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": "a"}]});
        assert_eq!(Ask::post(CHAT).json(&body).send().await.status, 401);
        assert_eq!(
            Ask::post(CHAT)
                .header("authorization", "Bearer no")
                .json(&body)
                .send()
                .await
                .status,
            401
        );
        assert_eq!(ask(CHAT, &json!({"messages": []})).send().await.status, 400);
        assert_eq!(ask(CHAT, &json!({"model": "m"})).send().await.status, 400);
        assert_eq!(
            ask(CHAT, &json!({"model": "m", "messages": []}))
                .send()
                .await
                .status,
            400
        );
        assert_eq!(ask(CHAT, &body).send().await.status, 200);
    }

    #[tokio::test]
    async fn the_article_is_made_of_the_prompts_facts() {
        let article = article("등판이 메쉬로 되어 있어 여름에도 시원합니다.").await;
        assert!(article["title"].as_str().unwrap().contains("백팩"));
        let content = article["content"].as_str().unwrap();
        for part in [
            "[라온홈] 경량 나일론 백팩 20L",
            "23,900원",
            "블랙 M",
            "네이비 L",
            "메쉬로 되어",
            "두 번째 문장",
        ] {
            assert!(content.contains(part), "{part} in {content}");
        }
        assert_eq!(article["tags"][0], "백팩");
    }

    #[tokio::test]
    async fn the_answer_changes_when_a_context_sentence_changes_and_only_then() {
        let first = article("등판이 메쉬로 되어 있어 여름에도 시원합니다.").await;
        assert_eq!(
            first,
            article("등판이 메쉬로 되어 있어 여름에도 시원합니다.").await
        );
        assert_ne!(
            first,
            article("등판이 가죽으로 되어 있어 겨울에도 따뜻합니다.").await
        );
    }

    #[tokio::test]
    async fn similar_texts_have_nearer_vectors_of_length_one() {
        let body = json!({"model": "text-embedding-3-small", "input": ["경량 나일론 백팩", "나일론 백팩 경량형", "스테인리스 프라이팬"]});
        let (status, reply) = json_of(ask("/llm/v1/embeddings", &body).send().await).await;
        assert_eq!(status, 200);
        let vector = |at: usize| -> Vec<f64> {
            serde_json::from_value(reply["data"][at]["embedding"].clone()).unwrap()
        };
        let dot = |a: usize, b: usize| {
            vector(a)
                .iter()
                .zip(vector(b))
                .map(|(a, b)| a * b)
                .sum::<f64>()
        };
        assert_eq!(vector(0).len(), 256);
        assert!((dot(0, 0) - 1.0).abs() < 1e-5);
        assert!(dot(0, 1) > dot(0, 2) + 0.2);
        assert_eq!(
            ask("/llm/v1/embeddings", &json!({"model": "m", "input": []}))
                .send()
                .await
                .status,
            400
        );
    }
}
