//! The WordPress REST API, version 2: posts and tags. An application password is needed to write and to see what is
//! not published.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};

use super::{Draft, Platform, Post};
use crate::answer::json;
use crate::fields::{Fields, basic};
use crate::world::{Shared, World};

const STATUSES: [&str; 5] = ["publish", "draft", "pending", "private", "future"];

/// The API's routes.
pub fn routes() -> Router<Shared> {
    Router::new()
        .route("/blog/wp-json/wp/v2/posts", get(list).post(create))
        .route(
            "/blog/wp-json/wp/v2/posts/{id}",
            get(one).post(update).put(update).delete(remove),
        )
        .route("/blog/wp-json/wp/v2/tags", get(tags).post(create_tag))
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

async fn list(
    State(world): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let signed_in = match editor(&world, &headers) {
        Ok(signed_in) => signed_in,
        Err(refusal) => return *refusal,
    };
    let fields = Fields::from_query(query.as_deref().unwrap_or_default());
    let named = |name: &'static str| -> Vec<String> {
        fields
            .all(name)
            .chain(fields.all(if name == "status" {
                "status[]"
            } else {
                "slug[]"
            }))
            .map(str::to_owned)
            .collect()
    };
    let mut statuses = named("status");
    if statuses.is_empty() {
        statuses.push("publish".to_owned());
    }
    if let Some(status) = statuses.iter().find(|status| {
        *status != "any" && *status != "trash" && !STATUSES.contains(&status.as_str())
    }) {
        let message = format!("Invalid parameter(s): status ({status})");
        return refused(
            StatusCode::BAD_REQUEST,
            "rest_invalid_param",
            &message,
            json!({ "params": { "status": message } }),
        );
    }
    if !signed_in && statuses.iter().any(|status| status != "publish") {
        let message = "Invalid parameter(s): status (status is forbidden)";
        return refused(
            StatusCode::BAD_REQUEST,
            "rest_invalid_param",
            message,
            json!({ "params": { "status": "Status is forbidden." } }),
        );
    }
    let slugs = named("slug");
    let text = fields.get("search").unwrap_or_default();
    let blogs = world.blogs.lock();
    let mut found: Vec<&Post> = blogs
        .posts()
        .iter()
        .filter(|post| post.platform == Platform::Wordpress)
        .filter(|post| {
            statuses
                .iter()
                .any(|status| *status == post.status || (status == "any" && post.status != "trash"))
        })
        .filter(|post| slugs.is_empty() || slugs.contains(&post.slug))
        .filter(|post| post.title.contains(text) || post.content.contains(text))
        .collect();
    found.reverse();
    let per_page = fields.number("per_page", 10).clamp(1, 100);
    let page = fields.number("page", 1).max(1);
    let total = found.len();
    let shown: Vec<Value> = found
        .into_iter()
        .skip((page - 1) * per_page)
        .take(per_page)
        .map(|post| view(&blogs.tags, post, signed_in))
        .collect();
    let mut response = json(StatusCode::OK, &Value::Array(shown));
    response
        .headers_mut()
        .insert("x-wp-total", HeaderValue::from(total));
    response.headers_mut().insert(
        "x-wp-totalpages",
        HeaderValue::from(total.div_ceil(per_page)),
    );
    response
}

fn view(tags: &[(u64, String)], post: &Post, raw: bool) -> Value {
    let ids: Vec<u64> = tags
        .iter()
        .filter(|(_, name)| post.tags.contains(name))
        .map(|(id, _)| *id)
        .collect();
    let mut title = json!({ "rendered": post.title });
    let mut content = json!({ "rendered": post.content, "protected": false });
    if raw {
        for (member, text) in [(&mut title, &post.title), (&mut content, &post.content)] {
            if let Some(member) = member.as_object_mut() {
                member.insert("raw".to_owned(), json!(text));
            }
        }
    }
    let time = |time: chrono::DateTime<chrono::Utc>| time.format("%Y-%m-%dT%H:%M:%S").to_string();
    json!({
        "id": post.id, "type": "post", "slug": post.slug, "status": post.status, "link": post.link,
        "date": time(post.published_at), "date_gmt": time(post.published_at), "modified": time(post.updated_at),
        "modified_gmt": time(post.updated_at), "guid": { "rendered": format!("{}?p={}", post.link, post.id) },
        "title": title, "content": content, "tags": ids, "author": 1, "categories": [1],
    })
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

fn bad_status(status: &str) -> Option<Response> {
    if STATUSES.contains(&status) {
        return None;
    }
    let message = "status is not one of publish, future, draft, pending, and private.";
    let data = json!({ "params": { "status": message } });
    Some(refused(
        StatusCode::BAD_REQUEST,
        "rest_invalid_param",
        "Invalid parameter(s): status",
        data,
    ))
}

/// The names behind tag ids; the first id that does not exist is the error.
fn tag_names(tags: &[(u64, String)], body: &Value) -> Result<Option<Vec<String>>, Box<Response>> {
    let Some(value) = body.get("tags") else {
        return Ok(None);
    };
    let ids: Vec<Option<u64>> = match value {
        Value::Array(items) => items.iter().map(Value::as_u64).collect(),
        Value::String(list) => list
            .split(',')
            .filter(|id| !id.is_empty())
            .map(|id| id.trim().parse().ok())
            .collect(),
        _ => vec![None],
    };
    let name = |id: Option<u64>| {
        tags.iter()
            .find(|(tag, _)| Some(*tag) == id)
            .map(|(_, name)| name.clone())
    };
    let names: Option<Vec<String>> = ids.into_iter().map(name).collect();
    names.map(Some).ok_or_else(|| {
        let data = json!({ "params": { "tags": "tags must be a list of ids of existing tags." } });
        Box::new(refused(
            StatusCode::BAD_REQUEST,
            "rest_invalid_param",
            "Invalid parameter(s): tags",
            data,
        ))
    })
}

async fn create(State(world): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let message = "Sorry, you are not allowed to create posts as this user.";
    if let Err(refusal) = editor_only(&world, &headers, "rest_cannot_create", message) {
        return *refusal;
    }
    let Some(body) = body_of(&headers, &body) else {
        return bad_json();
    };
    let (title, content) = (text_of(&body, "title"), text_of(&body, "content"));
    let absent: Vec<&str> = [("title", &title), ("content", &content)]
        .into_iter()
        .filter(|(_, text)| text.as_ref().is_none_or(|text| text.trim().is_empty()))
        .map(|(name, _)| name)
        .collect();
    let (Some(title), Some(content), true) = (title, content, absent.is_empty()) else {
        let message = format!("Missing parameter(s): {}", absent.join(", "));
        return refused(
            StatusCode::BAD_REQUEST,
            "rest_missing_callback_param",
            &message,
            json!({ "params": absent }),
        );
    };
    // A post without a status is a draft, as in WordPress.
    let status = text_of(&body, "status").unwrap_or_else(|| "draft".to_owned());
    if let Some(refusal) = bad_status(&status) {
        return refusal;
    }
    let slug = text_of(&body, "slug").unwrap_or_default();
    let mut blogs = world.blogs.lock();
    let tags = match tag_names(&blogs.tags, &body) {
        Ok(tags) => tags.unwrap_or_default(),
        Err(refusal) => return *refusal,
    };
    let post = blogs.add(
        &world,
        Draft {
            platform: Platform::Wordpress,
            slug,
            title,
            content,
            status,
            tags,
        },
    );
    let mut response = json(StatusCode::CREATED, &view(&blogs.tags, &post, true));
    let address = world.url(&format!("/blog/wp-json/wp/v2/posts/{}", post.id));
    if let Ok(address) = HeaderValue::from_str(&address) {
        response.headers_mut().insert("location", address);
    }
    response
}

fn no_post() -> Response {
    refused(
        StatusCode::NOT_FOUND,
        "rest_post_invalid_id",
        "Invalid post ID.",
        json!({}),
    )
}

async fn one(State(world): State<Shared>, Path(id): Path<u64>, headers: HeaderMap) -> Response {
    let signed_in = match editor(&world, &headers) {
        Ok(signed_in) => signed_in,
        Err(refusal) => return *refusal,
    };
    let mut blogs = world.blogs.lock();
    let tags = blogs.tags.clone();
    match blogs.find(Platform::Wordpress, id) {
        Some(post) if signed_in || post.status == "publish" => {
            json(StatusCode::OK, &view(&tags, post, signed_in))
        }
        Some(_) => refused(
            StatusCode::UNAUTHORIZED,
            "rest_forbidden",
            "Sorry, you are not allowed to do that.",
            json!({}),
        ),
        None => no_post(),
    }
}

async fn update(
    State(world): State<Shared>,
    Path(id): Path<u64>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let message = "Sorry, you are not allowed to edit this post.";
    if let Err(refusal) = editor_only(&world, &headers, "rest_cannot_edit", message) {
        return *refusal;
    }
    let Some(body) = body_of(&headers, &body) else {
        return bad_json();
    };
    let status = text_of(&body, "status");
    if let Some(refusal) = status.as_deref().and_then(bad_status) {
        return refusal;
    }
    let mut blogs = world.blogs.lock();
    let known = blogs.tags.clone();
    let tags = match tag_names(&known, &body) {
        Ok(tags) => tags,
        Err(refusal) => return *refusal,
    };
    let Some(post) = blogs.find(Platform::Wordpress, id) else {
        return no_post();
    };
    post.title = text_of(&body, "title").unwrap_or_else(|| post.title.clone());
    post.content = text_of(&body, "content").unwrap_or_else(|| post.content.clone());
    post.status = status.unwrap_or_else(|| post.status.clone());
    post.tags = tags.unwrap_or_else(|| post.tags.clone());
    post.updated_at = world.now();
    json(StatusCode::OK, &view(&known, post, true))
}

async fn remove(State(world): State<Shared>, Path(id): Path<u64>, headers: HeaderMap) -> Response {
    let message = "Sorry, you are not allowed to delete this post.";
    if let Err(refusal) = editor_only(&world, &headers, "rest_cannot_delete", message) {
        return *refusal;
    }
    let mut blogs = world.blogs.lock();
    let tags = blogs.tags.clone();
    let Some(post) = blogs.find(Platform::Wordpress, id) else {
        return no_post();
    };
    post.status = "trash".to_owned();
    json(StatusCode::OK, &view(&tags, post, true))
}

fn tag_view(world: &World, id: u64, name: &str) -> Value {
    let slug = super::slug_of(name, id);
    let link = world.url(&format!("/blog/tag/{slug}/"));
    json!({ "id": id, "name": name, "slug": slug, "taxonomy": "post_tag", "link": link, "count": 0, "description": "" })
}

async fn tags(
    State(world): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    if let Err(refusal) = editor(&world, &headers) {
        return *refusal;
    }
    let fields = Fields::from_query(query.as_deref().unwrap_or_default());
    let text = fields.get("search").unwrap_or_default().to_lowercase();
    let slugs: Vec<&str> = fields.all("slug").collect();
    let blogs = world.blogs.lock();
    let found = blogs
        .tags
        .iter()
        .filter(|(_, name)| name.to_lowercase().contains(&text))
        .filter(|(id, name)| {
            slugs.is_empty() || slugs.contains(&super::slug_of(name, *id).as_str())
        })
        .take(fields.number("per_page", 10).clamp(1, 100))
        .map(|(id, name)| tag_view(&world, *id, name));
    json(StatusCode::OK, &found.collect())
}

async fn create_tag(State(world): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let message = "Sorry, you are not allowed to create terms in this taxonomy.";
    if let Err(refusal) = editor_only(&world, &headers, "rest_cannot_create", message) {
        return *refusal;
    }
    let Some(body) = body_of(&headers, &body) else {
        return bad_json();
    };
    let Some(name) = text_of(&body, "name")
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
    else {
        let data = json!({ "params": ["name"] });
        return refused(
            StatusCode::BAD_REQUEST,
            "rest_missing_callback_param",
            "Missing parameter(s): name",
            data,
        );
    };
    let mut blogs = world.blogs.lock();
    if let Some((id, _)) = blogs
        .tags
        .iter()
        .find(|(_, known)| known.to_lowercase() == name.to_lowercase())
    {
        let message = "A term with the name provided already exists in this taxonomy.";
        return refused(
            StatusCode::BAD_REQUEST,
            "term_exists",
            message,
            json!({ "term_id": id }),
        );
    }
    let id = blogs.tags.len() as u64 + 1;
    blogs.tags.push((id, name.clone()));
    json(StatusCode::CREATED, &tag_view(&world, id, &name))
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
