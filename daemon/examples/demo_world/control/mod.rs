//! The routes for tests and demos: see what was asked, make the world fail, hold requests back, plant text. They are
//! neither recorded nor made to fail themselves, and need no credential: the world listens on a local address.

pub mod faults;
pub mod gate;
pub mod log;
pub mod rule;
mod shelf;

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::answer::json;
use crate::fields::Fields;
use crate::llm::ChatRule;
use crate::picture::digest;
use crate::world::Shared;
use faults::Fault;
use gate::GateRule;
use rule::Rule;

/// How long a waiting route waits unless told otherwise: longer than any step of a test, shorter than its patience.
const PATIENCE_MS: usize = 30_000;

/// The section's routes.
pub fn routes() -> Router<Shared> {
    Router::new()
        .route("/control/requests", get(requests).delete(forget_requests))
        .route(
            "/control/faults",
            get(list_faults).post(add_fault).delete(clear_faults),
        )
        .route(
            "/control/gate",
            get(gate_state).post(add_gate).delete(open_gate),
        )
        .route("/control/gate/release", post(release))
        .route(
            "/control/llm",
            get(list_chat_rules)
                .post(add_chat_rule)
                .delete(clear_chat_rules),
        )
        .route("/control/knowledge", post(plant_knowledge))
        .route("/control/products/{id}/image-text", post(plant_text))
        .route("/control/posts", get(posts))
        .route("/control/credentials", get(credentials))
        .route("/control/reset", post(reset))
        .merge(shelf::routes())
}

fn refused(message: &str) -> Response {
    json(StatusCode::BAD_REQUEST, &json!({ "error": message }))
}

fn ok(value: &Value) -> Response {
    json(StatusCode::OK, value)
}

fn parsed<T: DeserializeOwned>(body: &Bytes) -> Result<T, Box<Response>> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| Box::new(refused(&error.to_string())))
}

/// Waits no longer than `timeout_ms` of the query; false when the time is over.
async fn in_time(fields: &Fields, wait: impl Future<Output = ()>) -> bool {
    let limit = Duration::from_millis(fields.number("timeout_ms", PATIENCE_MS) as u64);
    tokio::time::timeout(limit, wait).await.is_ok()
}

/// 200, or 408 when a wait ended without its event.
fn after_wait(happened: bool, value: &Value) -> Response {
    json(
        if happened {
            StatusCode::OK
        } else {
            StatusCode::REQUEST_TIMEOUT
        },
        value,
    )
}

async fn requests(State(world): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let fields = Fields::from_query(query.as_deref().unwrap_or_default());
    let text = |name: &str| fields.get(name).map(str::to_owned);
    let rule = Rule {
        section: text("section"),
        method: text("method"),
        path: text("path"),
    };
    let wanted = fields.number("wait", 0);
    let happened = wanted == 0 || in_time(&fields, world.log.wait_for(&rule, wanted)).await;
    let list = world.log.list(&rule);
    after_wait(happened, &json!({ "count": list.len(), "requests": list }))
}

async fn forget_requests(State(world): State<Shared>) -> Response {
    world.log.clear();
    ok(&json!({}))
}

async fn add_fault(State(world): State<Shared>, body: Bytes) -> Response {
    match parsed::<Fault>(&body) {
        Ok(fault) => ok(&json!({ "id": world.faults.lock().add(fault) })),
        Err(refusal) => *refusal,
    }
}

async fn list_faults(State(world): State<Shared>) -> Response {
    let faults = world.faults.lock();
    ok(&json!({ "faults": faults.all().collect::<Vec<_>>() }))
}

async fn clear_faults(State(world): State<Shared>) -> Response {
    world.faults.lock().clear();
    ok(&json!({}))
}

async fn add_gate(State(world): State<Shared>, body: Bytes) -> Response {
    match parsed::<GateRule>(&body) {
        Ok(rule) => ok(&json!({ "id": world.gate.add(rule) })),
        Err(refusal) => *refusal,
    }
}

async fn gate_state(State(world): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let fields = Fields::from_query(query.as_deref().unwrap_or_default());
    let wanted = fields.number("wait", 0);
    let happened = wanted == 0 || in_time(&fields, world.gate.wait_for(wanted)).await;
    let (rules, held) = world.gate.list();
    after_wait(happened, &json!({ "rules": rules, "held": held }))
}

async fn release(State(world): State<Shared>, body: Bytes) -> Response {
    let choice: Value = match parsed(&body) {
        Ok(choice) => choice,
        Err(refusal) => return *refusal,
    };
    let keep = choice.get("keep").and_then(Value::as_bool).unwrap_or(false);
    let released = world
        .gate
        .release(choice.get("id").and_then(Value::as_u64), keep);
    ok(&json!({ "released": released }))
}

async fn open_gate(State(world): State<Shared>) -> Response {
    ok(&json!({ "released": world.gate.release(None, false) }))
}

async fn add_chat_rule(State(world): State<Shared>, body: Bytes) -> Response {
    match parsed::<ChatRule>(&body) {
        Ok(rule) => {
            world.chat_rules.lock().push(rule);
            ok(&json!({}))
        }
        Err(refusal) => *refusal,
    }
}

async fn list_chat_rules(State(world): State<Shared>) -> Response {
    ok(&json!({ "rules": *world.chat_rules.lock() }))
}

async fn clear_chat_rules(State(world): State<Shared>) -> Response {
    world.chat_rules.lock().clear();
    ok(&json!({}))
}

/// `{"phrases": [{"zh", "ko"}], "images": [{"sha256", "text"}]}`.
async fn plant_knowledge(State(world): State<Shared>, body: Bytes) -> Response {
    let knowledge: Value = match parsed(&body) {
        Ok(knowledge) => knowledge,
        Err(refusal) => return *refusal,
    };
    let list = |name: &str| {
        knowledge
            .get(name)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let pair = |item: &Value, first: &str, second: &str| {
        Some((
            item.get(first)?.as_str()?.to_owned(),
            item.get(second)?.as_str()?.to_owned(),
        ))
    };
    let phrases: Option<Vec<_>> = list("phrases")
        .iter()
        .map(|item| pair(item, "zh", "ko"))
        .collect();
    let images: Option<Vec<_>> = list("images")
        .iter()
        .map(|item| pair(item, "sha256", "text"))
        .collect();
    let (Some(phrases), Some(images)) = (phrases, images) else {
        return refused("phrases are {zh, ko}, images are {sha256, text}");
    };
    let counts = json!({ "phrases": phrases.len(), "images": images.len() });
    for (chinese, korean) in phrases {
        world.phrasebook.lock().learn(&chinese, &korean);
    }
    for (sha256, text) in images {
        world.planted.lock().insert(sha256.to_lowercase(), text);
    }
    ok(&counts)
}

/// `{"image": "1", "text": "…"}`: what OCR reads on that picture from now on, also on its copies.
async fn plant_text(State(world): State<Shared>, Path(id): Path<u64>, body: Bytes) -> Response {
    let wish: Value = match parsed(&body) {
        Ok(wish) => wish,
        Err(refusal) => return *refusal,
    };
    let name = match wish.get("image") {
        Some(Value::String(name)) => name.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => return refused("image must be a picture's name, as GET /control/products shows it"),
    };
    let Some(text) = wish.get("text").and_then(Value::as_str) else {
        return refused("text must be a string");
    };
    let product = world.catalog.get(id);
    let picture =
        product.and_then(|product| product.pictures.iter().find(|picture| picture.name == name));
    let (Some(product), Some(picture)) = (product, picture) else {
        return json(
            StatusCode::NOT_FOUND,
            &json!({ "error": "no such product or picture" }),
        );
    };
    let rendered = world.pictures.render(product, picture);
    world
        .planted
        .lock()
        .insert(rendered.sha256.clone(), text.to_owned());
    ok(&json!({ "sha256": rendered.sha256, "text": text, "text_sha256": digest(text.as_bytes()) }))
}

async fn posts(State(world): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let fields = Fields::from_query(query.as_deref().unwrap_or_default());
    let blogs = world.blogs.lock();
    let list: Vec<Value> = blogs
        .posts()
        .iter()
        .map(|post| json!(post))
        .filter(|post| {
            ["platform", "status"].iter().all(|name| {
                fields
                    .get(name)
                    .is_none_or(|value| post.get(*name).and_then(Value::as_str) == Some(value))
            })
        })
        .collect();
    ok(&json!({ "count": list.len(), "posts": list }))
}

async fn credentials(State(world): State<Shared>) -> Response {
    ok(&json!(world.settings.credentials))
}

async fn reset(State(world): State<Shared>) -> Response {
    world.reset();
    ok(&json!({}))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::observe::Abort;
    use crate::testing::{Ask, json_of, world};

    const BLOG: &str = "/blog/blogger/v3/blogs/8810001/posts";

    fn post() -> Ask {
        Ask::post(BLOG)
            .header("authorization", "Bearer demo-blogger-token")
            .json(&json!({"title": "a", "content": "b"}))
    }

    #[tokio::test]
    async fn a_status_fault_answers_for_the_service_and_says_when_to_come_back() {
        let world = world();
        let fault = json!({"section": "blog", "kind": "status", "status": 503, "retry_after": 7, "count": 1});
        assert_eq!(
            Ask::post("/control/faults")
                .json(&fault)
                .send_to(&world)
                .await
                .status,
            200
        );
        let answer = post().send_to(&world).await;
        assert_eq!(
            (
                answer.status,
                answer.headers["retry-after"].to_str().unwrap()
            ),
            (503, "7")
        );
        assert!(world.blogs.lock().posts().is_empty());
        assert_eq!(post().send_to(&world).await.status, 200);
        let (_, log) = json_of(
            Ask::get("/control/requests?section=blog&wait=2")
                .send_to(&world)
                .await,
        )
        .await;
        assert_eq!(
            (&log["requests"][0]["fault"], &log["requests"][1]["fault"]),
            (&json!("status"), &json!(null))
        );
    }

    #[tokio::test]
    async fn an_answer_lost_after_the_effect_leaves_the_effect() {
        let world = world();
        let fault = json!({"path": "*posts", "kind": "drop", "when": "after", "count": 1});
        Ask::post("/control/faults")
            .json(&fault)
            .send_to(&world)
            .await;
        let answer = post().send_to(&world).await;
        assert!(answer.response.extensions().get::<Abort>().is_some());
        let (_, posts) = json_of(
            Ask::get("/control/posts?platform=blogger&status=live")
                .send_to(&world)
                .await,
        )
        .await;
        assert_eq!(posts["count"], 1);
    }

    #[tokio::test]
    async fn a_malformed_body_does_not_parse() {
        let world = world();
        Ask::post("/control/faults")
            .json(&json!({"section": "trend", "kind": "malformed"}))
            .send_to(&world)
            .await;
        let text = Ask::get("/trend/api/v1/snxbest/keyword/rank")
            .send_to(&world)
            .await
            .text()
            .await;
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_err());
    }

    #[tokio::test]
    async fn a_mistake_in_a_rule_is_told() {
        let answer = Ask::post("/control/faults")
            .json(&json!({"kind": "explode"}))
            .send()
            .await;
        let (status, reply) = json_of(answer).await;
        assert_eq!(status, 400);
        assert!(
            reply["error"].as_str().unwrap().contains("explode"),
            "{reply}"
        );
    }

    #[tokio::test]
    async fn planted_text_is_what_is_read() {
        let world = world();
        let wish = json!({"image": "0", "text": "심은 글"});
        let path = "/control/products/680000000001/image-text";
        assert_eq!(
            Ask::post(path).json(&wish).send_to(&world).await.status,
            200
        );
        let product = world.catalog.get(680_000_000_001).unwrap();
        let bytes = world.pictures.render(product, &product.pictures[0]).bytes;
        assert_eq!(crate::vision::text_on(&world, &bytes), "심은 글");
    }

    #[tokio::test]
    async fn a_wait_without_its_event_ends_with_408() {
        assert_eq!(
            Ask::get("/control/gate?wait=1&timeout_ms=1")
                .send()
                .await
                .status,
            408
        );
    }
}
