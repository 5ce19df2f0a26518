//! WordPress posts: listed, made, changed, put into the trash.

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::super::{Draft, Platform, Post};
use super::{bad_json, body_of, editor, editor_only, refused, text_of};
use crate::answer::json;
use crate::fields::Fields;
use crate::world::Shared;

const STATUSES: [&str; 5] = ["publish", "draft", "pending", "private", "future"];

/// The wished statuses, `publish` if none is named; those that an outsider may not see are refused.
fn statuses(fields: &Fields, signed_in: bool) -> Result<Vec<String>, Box<Response>> {
    let mut statuses: Vec<String> = fields
        .all("status")
        .chain(fields.all("status[]"))
        .map(str::to_owned)
        .collect();
    if statuses.is_empty() {
        statuses.push("publish".to_owned());
    }
    let known = |status: &str| matches!(status, "any" | "trash") || STATUSES.contains(&status);
    let reason = if let Some(status) = statuses.iter().find(|status| !known(status)) {
        format!("{status} is not one of the statuses")
    } else if !signed_in && statuses.iter().any(|status| status != "publish") {
        "status is forbidden".to_owned()
    } else {
        return Ok(statuses);
    };
    let message = format!("Invalid parameter(s): status ({reason})");
    let data = json!({ "params": { "status": reason } });
    Err(Box::new(refused(
        StatusCode::BAD_REQUEST,
        "rest_invalid_param",
        &message,
        data,
    )))
}

/// Posts, newest first, by status, slug and text.
pub async fn list(
    State(world): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let fields = Fields::from_query(query.as_deref().unwrap_or_default());
    let asked = editor(&world, &headers)
        .and_then(|signed_in| Ok((signed_in, statuses(&fields, signed_in)?)));
    let (signed_in, statuses) = match asked {
        Ok(asked) => asked,
        Err(refusal) => return *refusal,
    };
    let slugs: Vec<&str> = fields.all("slug").chain(fields.all("slug[]")).collect();
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
        .filter(|post| slugs.is_empty() || slugs.contains(&post.slug.as_str()))
        .filter(|post| post.title.contains(text) || post.content.contains(text))
        .collect();
    found.reverse();
    let per_page = fields.number("per_page", 10).clamp(1, 100);
    let page = fields.number("page", 1).max(1);
    let total = found.len();
    let shown = found.into_iter().skip((page - 1) * per_page).take(per_page);
    let shown: Vec<Value> = shown
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

/// Makes a post; without a status it is a draft, as in WordPress.
pub async fn create(State(world): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
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

/// One post.
pub async fn one(State(world): State<Shared>, Path(id): Path<u64>, headers: HeaderMap) -> Response {
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

/// Changes the members that are given.
pub async fn update(
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

/// Puts a post into the trash.
pub async fn remove(
    State(world): State<Shared>,
    Path(id): Path<u64>,
    headers: HeaderMap,
) -> Response {
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
