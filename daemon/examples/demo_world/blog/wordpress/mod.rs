//! The WordPress REST API, version 2: who may ask, and the shapes of bodies and errors. Posts and tags are in files
//! of their own. An application password is needed to write and to see what is not published.

mod posts;
mod tags;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};

use crate::answer::json;
use crate::fields::{Fields, basic};
use crate::world::{Shared, World};

/// The API's routes.
pub fn routes() -> Router<Shared> {
    Router::new()
        .route(
            "/blog/wp-json/wp/v2/posts",
            get(posts::list).post(posts::create),
        )
        .route(
            "/blog/wp-json/wp/v2/posts/{id}",
            get(posts::one)
                .post(posts::update)
                .put(posts::update)
                .delete(posts::remove),
        )
        .route(
            "/blog/wp-json/wp/v2/tags",
            get(tags::list).post(tags::create),
        )
}

fn refused(status: StatusCode, code: &str, message: &str, data: Value) -> Response {
    let mut data = data;
    if let Some(data) = data.as_object_mut() {
        data.insert("status".to_owned(), json!(status.as_u16()));
    }
    json(
        status,
        &json!({ "code": code, "message": message, "data": data }),
    )
}

/// Who asks: an editor, nobody, or somebody with a wrong password.
fn editor(world: &World, headers: &HeaderMap) -> Result<bool, Box<Response>> {
    if !headers.contains_key("authorization") {
        return Ok(false);
    }
    let credentials = &world.settings.credentials;
    // WordPress shows application passwords in groups of four and ignores the blanks.
    let packed = |text: &str| text.split_whitespace().collect::<String>();
    match basic(headers) {
        Some((user, password))
            if user == credentials.wordpress_user
                && packed(&password) == packed(&credentials.wordpress_password) =>
        {
            Ok(true)
        }
        _ => {
            let message = "The provided password is an invalid application password.";
            Err(Box::new(refused(
                StatusCode::UNAUTHORIZED,
                "incorrect_password",
                message,
                json!({}),
            )))
        }
    }
}

fn editor_only(
    world: &World,
    headers: &HeaderMap,
    code: &str,
    message: &str,
) -> Result<(), Box<Response>> {
    match editor(world, headers)? {
        true => Ok(()),
        false => Err(Box::new(refused(
            StatusCode::UNAUTHORIZED,
            code,
            message,
            json!({}),
        ))),
    }
}

/// A member that WordPress takes as text or as `{ "raw": text }`.
fn text_of(body: &Value, name: &str) -> Option<String> {
    let value = body.get(name)?;
    let text = value
        .as_str()
        .or(value.get("raw").and_then(Value::as_str))?;
    Some(text.to_owned())
}

fn body_of(headers: &HeaderMap, body: &Bytes) -> Option<Value> {
    if crate::fields::header(headers, "content-type").starts_with("application/json") {
        return serde_json::from_slice(body).ok().filter(Value::is_object);
    }
    let fields = Fields::from_query(std::str::from_utf8(body).ok()?);
    Some(
        fields
            .iter()
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect(),
    )
}

fn bad_json() -> Response {
    refused(
        StatusCode::BAD_REQUEST,
        "rest_invalid_json",
        "Invalid JSON body passed.",
        json!({}),
    )
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use serde_json::json;

    use crate::testing::{Ask, json_of, world};

    const POSTS: &str = "/blog/wp-json/wp/v2/posts";

    fn signed(ask: Ask, password: &str) -> Ask {
        let pair =
            base64::engine::general_purpose::STANDARD.encode(format!("demo-editor:{password}"));
        ask.header("authorization", &format!("Basic {pair}"))
    }

    fn editor(ask: Ask) -> Ask {
        signed(ask, "abcdEFGH1234ijklMNOP5678")
    }

    #[tokio::test]
    async fn without_the_password_nothing_is_published_and_drafts_stay_hidden() {
        let world = world();
        let body = json!({"title": "a", "content": "b"});
        assert_eq!(
            Ask::post(POSTS).json(&body).send_to(&world).await.status,
            401
        );
        assert_eq!(
            signed(Ask::post(POSTS), "wrong")
                .json(&body)
                .send_to(&world)
                .await
                .status,
            401
        );
        assert_eq!(
            Ask::get(&format!("{POSTS}?status=draft"))
                .send_to(&world)
                .await
                .status,
            400
        );
        assert!(world.blogs.lock().posts().is_empty());
    }

    #[tokio::test]
    async fn a_missing_title_or_content_is_named() {
        let (status, reply) = json_of(
            editor(Ask::post(POSTS))
                .json(&json!({"content": "b"}))
                .send()
                .await,
        )
        .await;
        assert_eq!(status, 400);
        assert_eq!(reply["code"], "rest_missing_callback_param");
        assert_eq!(reply["data"]["params"], json!(["title"]));
    }

    #[tokio::test]
    async fn a_published_post_is_found_by_its_slug_and_read_at_its_link() {
        let world = world();
        let tag = editor(Ask::post("/blog/wp-json/wp/v2/tags"))
            .json(&json!({"name": "백팩"}))
            .send_to(&world)
            .await;
        let (status, tag) = json_of(tag).await;
        assert_eq!(status, 201);
        let body = json!({"title": "제목", "content": "<p>본문</p>", "status": "publish", "slug": "fw-1", "tags": [tag["id"]]});
        let (status, post) =
            json_of(editor(Ask::post(POSTS)).json(&body).send_to(&world).await).await;
        assert_eq!(status, 201);
        let (_, found) = json_of(
            Ask::get(&format!("{POSTS}?slug=fw-1"))
                .send_to(&world)
                .await,
        )
        .await;
        assert_eq!(found[0]["id"], post["id"]);
        let path = post["link"]
            .as_str()
            .unwrap()
            .strip_prefix("http://world.test")
            .unwrap();
        let page = Ask::get(path).send_to(&world).await.text().await;
        assert!(
            page.contains("<p>본문</p>") && page.contains("#백팩"),
            "{page}"
        );
    }

    #[tokio::test]
    async fn the_same_slug_twice_makes_two_posts() {
        let world = world();
        let body = json!({"title": "제목", "content": "본문", "status": "publish", "slug": "fw-1"});
        let mut slugs = Vec::new();
        for _ in 0..2 {
            let (_, post) =
                json_of(editor(Ask::post(POSTS)).json(&body).send_to(&world).await).await;
            slugs.push(post["slug"].as_str().unwrap().to_owned());
        }
        assert_eq!(slugs, ["fw-1", "fw-1-2"]);
    }
}
