//! WordPress tags: searched and made.

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::super::slug_of;
use super::{bad_json, body_of, editor, editor_only, refused, text_of};
use crate::answer::json;
use crate::fields::Fields;
use crate::world::{Shared, World};

fn tag_view(world: &World, id: u64, name: &str) -> Value {
    let slug = slug_of(name, id);
    let link = world.url(&format!("/blog/tag/{slug}/"));
    json!({ "id": id, "name": name, "slug": slug, "taxonomy": "post_tag", "link": link, "count": 0, "description": "" })
}

/// Tags, by text and slug.
pub async fn list(
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
        .filter(|(id, name)| slugs.is_empty() || slugs.contains(&slug_of(name, *id).as_str()))
        .take(fields.number("per_page", 10).clamp(1, 100))
        .map(|(id, name)| tag_view(&world, *id, name));
    json(StatusCode::OK, &found.collect())
}

/// Makes a tag; a name that exists is refused and tells its id.
pub async fn create(State(world): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
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
