//! The webhook sink: takes articles signed as the Standard Webhooks specification has it, and keeps one post for an
//! id however often it is delivered.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{Draft, Platform};
use crate::answer::json;
use crate::fields::header;
use crate::world::{Shared, World};

/// How old a delivery may be, as the specification's libraries allow.
const TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// The sink's route.
pub fn routes() -> Router<Shared> {
    Router::new().route("/blog/hook", post(receive))
}

fn verified(world: &World, headers: &HeaderMap, body: &[u8]) -> Result<String, &'static str> {
    let (id, stamp) = (
        header(headers, "webhook-id"),
        header(headers, "webhook-timestamp"),
    );
    if id.is_empty() || stamp.is_empty() {
        return Err("missing webhook-id or webhook-timestamp");
    }
    let age = stamp
        .parse::<i64>()
        .map(|seconds| (world.now().timestamp() - seconds).abs());
    if age.map_or(true, |age| age > TOLERANCE.num_seconds()) {
        return Err("webhook-timestamp is no time within five minutes of now");
    }
    let secret = world
        .settings
        .credentials
        .webhook_secret
        .trim_start_matches("whsec_");
    let key = STANDARD
        .decode(secret)
        .map_err(|_| "the sink's secret is not base64")?;
    let right = |coded: &str| {
        let Ok(given) = STANDARD.decode(coded) else {
            return false;
        };
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key) else {
            return false;
        };
        mac.update(format!("{id}.{stamp}.").as_bytes());
        mac.update(body);
        mac.verify_slice(&given).is_ok()
    };
    // A sender that rotates its secret sends several signatures, apart by blanks.
    let signatures = header(headers, "webhook-signature").split_whitespace();
    if signatures
        .filter_map(|signature| signature.strip_prefix("v1,"))
        .any(right)
    {
        Ok(id.to_owned())
    } else {
        Err("no webhook-signature matches")
    }
}

async fn receive(State(world): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let id = match verified(&world, &headers, &body) {
        Ok(id) => id,
        Err(message) => return json(StatusCode::UNAUTHORIZED, &json!({ "error": message })),
    };
    let Ok(body @ Value::Object(_)) = serde_json::from_slice::<Value>(&body) else {
        return json(
            StatusCode::BAD_REQUEST,
            &json!({ "error": "the body is no JSON object" }),
        );
    };
    let mut blogs = world.blogs.lock();
    if let Some(post) = blogs
        .posts
        .iter_mut()
        .find(|post| post.platform == Platform::Webhook && post.slug == id)
    {
        post.deliveries += 1;
        return json(
            StatusCode::OK,
            &json!({ "id": post.id.to_string(), "url": post.link, "status": "duplicate" }),
        );
    }
    // Standard Webhooks puts the payload under `data`; a flat object is taken as well.
    let data = body
        .get("data")
        .filter(|data| data.is_object())
        .unwrap_or(&body);
    let text = |names: [&str; 3]| {
        names
            .iter()
            .find_map(|name| data.get(name)?.as_str())
            .unwrap_or_default()
            .to_owned()
    };
    let tags = data
        .get("tags")
        .or(data.get("post_tags"))
        .and_then(Value::as_array);
    let draft = Draft {
        platform: Platform::Webhook,
        slug: id,
        title: text(["title", "post_title", "subject"]),
        // An article has content, a notice has text.
        content: text(["content", "post_content", "text"]),
        status: "publish".to_owned(),
        tags: tags
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
    };
    let post = blogs.add(&world, draft);
    json(
        StatusCode::OK,
        &json!({ "id": post.id.to_string(), "url": post.link, "status": "accepted" }),
    )
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use hmac::{Hmac, Mac};
    use sha2::Sha256;

    use crate::testing::{Ask, now, world};

    fn delivery(body: &str, age: i64) -> Ask {
        let stamp = (now().timestamp() - age).to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(b"demo-world-webhook-secret-0001").unwrap();
        mac.update(format!("msg-1.{stamp}.{body}").as_bytes());
        let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        Ask::post("/blog/hook")
            .header("webhook-id", "msg-1")
            .header("webhook-timestamp", &stamp)
            .header("webhook-signature", &signature)
    }

    const BODY: &str =
        r#"{"type": "article.published", "data": {"title": "제목", "content": "본문"}}"#;

    #[tokio::test]
    async fn a_changed_or_old_delivery_is_refused() {
        assert_eq!(delivery(BODY, 0).body("{}").send().await.status, 401);
        assert_eq!(delivery(BODY, 301).body(BODY).send().await.status, 401);
        assert_eq!(Ask::post("/blog/hook").body(BODY).send().await.status, 401);
    }

    #[tokio::test]
    async fn a_delivery_repeated_is_one_post() {
        let world = world();
        for _ in 0..2 {
            assert_eq!(
                delivery(BODY, 0).body(BODY).send_to(&world).await.status,
                200
            );
        }
        let blogs = world.blogs.lock();
        assert_eq!(blogs.posts().len(), 1);
        assert_eq!(
            (blogs.posts()[0].title.as_str(), blogs.posts()[0].deliveries),
            ("제목", 2)
        );
    }
}
