//! The Blogger API, version 3: posts of one blog, behind a bearer token.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::{Draft, Platform, Post, rfc3339};
use crate::answer::json;
use crate::fields::{Fields, bearer};
use crate::vision::google_error;
use crate::world::{Shared, World};

/// Labels a post may carry, and their letters in total, as Blogger limits them.
const LABELS: (usize, usize) = (20, 200);

/// The API's routes.
pub fn routes() -> Router<Shared> {
    Router::new()
        .route(
            "/blog/blogger/v3/blogs/{blog}/posts",
            get(list).post(create),
        )
        .route("/blog/blogger/v3/blogs/{blog}/posts/{id}", get(one))
        .route(
            "/blog/blogger/v3/blogs/{blog}/posts/{id}/publish",
            post(publish),
        )
}

fn refusal(world: &World, headers: &HeaderMap, blog: &str) -> Option<Response> {
    if bearer(headers) != Some(world.settings.credentials.blogger_token.as_str()) {
        let message =
            "Request had invalid authentication credentials. Expected OAuth 2 access token.";
        return Some(google_error(
            StatusCode::UNAUTHORIZED,
            "UNAUTHENTICATED",
            message,
        ));
    }
    if blog != world.settings.credentials.blogger_blog {
        return Some(google_error(
            StatusCode::NOT_FOUND,
            "NOT_FOUND",
            "Not Found: blog",
        ));
    }
    None
}

fn view(world: &World, post: &Post) -> Value {
    let blog = &world.settings.credentials.blogger_blog;
    let own = world.url(&format!("/blog/blogger/v3/blogs/{blog}/posts/{}", post.id));
    json!({
        "kind": "blogger#post", "id": post.id.to_string(), "blog": { "id": blog }, "status": post.status.to_uppercase(),
        "published": rfc3339(post.published_at), "updated": rfc3339(post.updated_at), "url": post.link, "selfLink": own,
        "title": post.title, "content": post.content, "labels": post.tags, "etag": format!("\"{}-{}\"", post.id, post.status),
    })
}

async fn list(
    State(world): State<Shared>,
    Path(blog): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = refusal(&world, &headers, &blog) {
        return refusal;
    }
    let fields = Fields::from_query(query.as_deref().unwrap_or_default());
    let labels: Vec<&str> = fields.all("labels").collect();
    let mut statuses: Vec<String> = fields.all("status").map(str::to_lowercase).collect();
    if let Some(status) = statuses.iter().find(|status| {
        !matches!(
            status.as_str(),
            "live" | "draft" | "scheduled" | "soft_trashed"
        )
    }) {
        return google_error(
            StatusCode::BAD_REQUEST,
            "INVALID_ARGUMENT",
            &format!("Invalid value at 'status': \"{status}\""),
        );
    }
    if statuses.is_empty() {
        statuses.push("live".to_owned());
    }
    let blogs = world.blogs.lock();
    let found: Vec<Value> = blogs
        .posts()
        .iter()
        .rev()
        .filter(|post| post.platform == Platform::Blogger && statuses.contains(&post.status))
        .filter(|post| {
            labels
                .iter()
                .all(|label| post.tags.iter().any(|tag| tag == label))
        })
        .take(fields.number("maxResults", 10).clamp(1, 500))
        .map(|post| view(&world, post))
        .collect();
    let mut reply = json!({ "kind": "blogger#postList", "etag": format!("\"{}\"", found.len()) });
    // The real service leaves `items` out when there is none.
    if let (false, Some(reply)) = (found.is_empty(), reply.as_object_mut()) {
        reply.insert("items".to_owned(), Value::Array(found));
    }
    json(StatusCode::OK, &reply)
}

async fn create(
    State(world): State<Shared>,
    Path(blog): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(refusal) = refusal(&world, &headers, &blog) {
        return refusal;
    }
    let Ok(body @ Value::Object(_)) = serde_json::from_slice::<Value>(&body) else {
        return google_error(
            StatusCode::BAD_REQUEST,
            "INVALID_ARGUMENT",
            "Invalid JSON payload received.",
        );
    };
    let text = |name: &str| {
        body.get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.trim().is_empty())
            .map(str::to_owned)
    };
    let (Some(title), Some(content)) = (text("title"), text("content")) else {
        let name = if text("title").is_none() {
            "title"
        } else {
            "content"
        };
        return google_error(
            StatusCode::BAD_REQUEST,
            "INVALID_ARGUMENT",
            &format!("Required field is missing: {name}"),
        );
    };
    let labels = body.get("labels").and_then(Value::as_array);
    let tags: Vec<String> = labels
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let letters: usize = tags.iter().map(|tag| tag.chars().count()).sum();
    if tags.len() > LABELS.0 || letters > LABELS.1 {
        let message = format!(
            "A post has at most {} labels with {} letters in total.",
            LABELS.0, LABELS.1
        );
        return google_error(StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", &message);
    }
    let fields = Fields::from_query(query.as_deref().unwrap_or_default());
    let status = if fields.flag("isDraft") {
        "draft"
    } else {
        "live"
    }
    .to_owned();
    let draft = Draft {
        platform: Platform::Blogger,
        slug: String::new(),
        title,
        content,
        status,
        tags,
    };
    let post = world.blogs.lock().add(&world, draft);
    json(StatusCode::OK, &view(&world, &post))
}

fn no_post() -> Response {
    google_error(StatusCode::NOT_FOUND, "NOT_FOUND", "Not Found: post")
}

async fn one(
    State(world): State<Shared>,
    Path((blog, id)): Path<(String, u64)>,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = refusal(&world, &headers, &blog) {
        return refusal;
    }
    let mut blogs = world.blogs.lock();
    blogs
        .find(Platform::Blogger, id)
        .map_or_else(no_post, |post| json(StatusCode::OK, &view(&world, post)))
}

async fn publish(
    State(world): State<Shared>,
    Path((blog, id)): Path<(String, u64)>,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = refusal(&world, &headers, &blog) {
        return refusal;
    }
    let mut blogs = world.blogs.lock();
    let Some(post) = blogs.find(Platform::Blogger, id) else {
        return no_post();
    };
    post.status = "live".to_owned();
    post.updated_at = world.now();
    json(StatusCode::OK, &view(&world, post))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::{Ask, json_of, world};

    const POSTS: &str = "/blog/blogger/v3/blogs/8810001/posts";

    fn signed(ask: Ask) -> Ask {
        ask.header("authorization", "Bearer demo-blogger-token")
    }

    #[tokio::test]
    async fn a_wrong_token_or_blog_is_refused() {
        assert_eq!(Ask::get(POSTS).send().await.status, 401);
        assert_eq!(
            Ask::get(POSTS)
                .header("authorization", "Bearer wrong")
                .send()
                .await
                .status,
            401
        );
        assert_eq!(
            signed(Ask::get("/blog/blogger/v3/blogs/1/posts"))
                .send()
                .await
                .status,
            404
        );
    }

    #[tokio::test]
    async fn a_draft_is_found_by_its_label_among_drafts_only_until_it_is_published() {
        let world = world();
        let body = json!({"title": "제목", "content": "본문", "labels": ["백팩", "fw-1"]});
        let (_, post) = json_of(
            signed(Ask::post(&format!("{POSTS}?isDraft=true")))
                .json(&body)
                .send_to(&world)
                .await,
        )
        .await;
        let count = async |status: &str| {
            let path = format!("{POSTS}?labels=fw-1&status={status}");
            let (_, reply) = json_of(signed(Ask::get(&path)).send_to(&world).await).await;
            reply["items"].as_array().map_or(0, Vec::len)
        };
        assert_eq!((count("live").await, count("draft").await), (0, 1));
        let path = format!("{POSTS}/{}/publish", post["id"].as_str().unwrap());
        assert_eq!(signed(Ask::post(&path)).send_to(&world).await.status, 200);
        assert_eq!((count("live").await, count("draft").await), (1, 0));
    }
}
