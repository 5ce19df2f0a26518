//! The blogs: what was published by the WordPress API, the Blogger API and the webhook, and the pages that show it.

mod blogger;
mod hook;
mod wordpress;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use crate::answer::{escape, html};
use crate::world::{Shared, World};

/// The section's routes.
pub fn routes() -> Router<Shared> {
    Router::new()
        .route("/blog/", get(front))
        .route("/blog/{slug}/", get(wordpress_page))
        .route("/blog/blogspot/{file}", get(blogger_page))
        .merge(wordpress::routes())
        .merge(blogger::routes())
        .merge(hook::routes())
}

/// How a post came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// The WordPress REST API.
    Wordpress,
    /// The Blogger API.
    Blogger,
    /// The webhook sink.
    Webhook,
}

/// An article, published or not.
#[derive(Clone, Debug, Serialize)]
pub struct Post {
    /// Number within this world.
    pub id: u64,
    /// How it came.
    pub platform: Platform,
    /// Last part of its address.
    pub slug: String,
    /// Plain text.
    pub title: String,
    /// HTML as the client sent it.
    pub content: String,
    /// `publish`, `draft`, `pending`, `private`, `future`, `trash`; of Blogger `live`, `draft`.
    pub status: String,
    /// Tag names, or labels.
    pub tags: Vec<String>,
    /// Its page.
    pub link: String,
    /// When it was made.
    pub published_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// Deliveries of a webhook with this id; 1 elsewhere.
    pub deliveries: u64,
}

/// All posts and tags.
#[derive(Default)]
pub struct Blogs {
    posts: Vec<Post>,
    tags: Vec<(u64, String)>,
    last_id: u64,
}

/// A post that is about to be added.
pub struct Draft {
    /// How it came.
    pub platform: Platform,
    /// The wished last part of its address.
    pub slug: String,
    /// Plain text.
    pub title: String,
    /// HTML.
    pub content: String,
    /// In the platform's words.
    pub status: String,
    /// Names.
    pub tags: Vec<String>,
}

impl Blogs {
    /// All posts, oldest first.
    pub fn posts(&self) -> &[Post] {
        &self.posts
    }

    /// Adds a post. As in the real services, a slug that is taken gets a number behind it: nothing here prevents a
    /// client from publishing twice.
    pub fn add(&mut self, world: &World, draft: Draft) -> Post {
        self.last_id += 1;
        let id = 1000 + self.last_id;
        let wished = if draft.slug.is_empty() {
            slug_of(&draft.title, id)
        } else {
            draft.slug
        };
        let taken = |slug: &str| {
            self.posts
                .iter()
                .any(|post| post.platform == draft.platform && post.slug == slug)
        };
        let mut slug = wished.clone();
        let mut number = 2;
        while taken(&slug) {
            slug = format!("{wished}-{number}");
            number += 1;
        }
        let path = match draft.platform {
            Platform::Wordpress => format!("/blog/{slug}/"),
            Platform::Blogger => format!("/blog/blogspot/{id}.html"),
            Platform::Webhook => "/blog/hook".to_owned(),
        };
        let now = world.now();
        let post = Post {
            id,
            platform: draft.platform,
            link: world.url(&path),
            slug,
            title: draft.title,
            content: draft.content,
            status: draft.status,
            tags: draft.tags,
            published_at: now,
            updated_at: now,
            deliveries: 1,
        };
        self.posts.push(post.clone());
        post
    }

    fn find(&mut self, platform: Platform, id: u64) -> Option<&mut Post> {
        self.posts
            .iter_mut()
            .find(|post| post.platform == platform && post.id == id)
    }
}

/// A slug made of a title: ASCII letters, digits and hangul, joined by hyphens.
fn slug_of(title: &str, id: u64) -> String {
    let words: Vec<String> = title
        .to_lowercase()
        .split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    if words.is_empty() {
        id.to_string()
    } else {
        words.join("-")
    }
}

/// A time as Google's APIs write it.
fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

async fn front(State(world): State<Shared>) -> Response {
    let blogs = world.blogs.lock();
    let shown = blogs
        .posts()
        .iter()
        .rev()
        .filter(|post| matches!(post.status.as_str(), "publish" | "live"));
    let items: String = shown
        .map(|post| {
            format!(
                "<li><a href=\"{}\">{}</a></li>\n",
                escape(&post.link),
                escape(&post.title)
            )
        })
        .collect();
    html(
        StatusCode::OK,
        page("데모 블로그", &format!("<ul>\n{items}</ul>")),
    )
}

async fn wordpress_page(State(world): State<Shared>, Path(slug): Path<String>) -> Response {
    let blogs = world.blogs.lock();
    let found = blogs
        .posts()
        .iter()
        .find(|post| post.platform == Platform::Wordpress && post.slug == slug);
    shown(found.filter(|post| post.status == "publish"))
}

async fn blogger_page(State(world): State<Shared>, Path(file): Path<String>) -> Response {
    let id = file
        .strip_suffix(".html")
        .and_then(|id| id.parse::<u64>().ok());
    let blogs = world.blogs.lock();
    let found = blogs
        .posts()
        .iter()
        .find(|post| post.platform == Platform::Blogger && Some(post.id) == id);
    shown(found.filter(|post| post.status == "live"))
}

fn shown(post: Option<&Post>) -> Response {
    let Some(post) = post else {
        return html(
            StatusCode::NOT_FOUND,
            page("없는 글", "<p>글을 찾을 수 없습니다.</p>"),
        );
    };
    let tags: String = post
        .tags
        .iter()
        .map(|tag| format!("<li>#{}</li>", escape(tag)))
        .collect();
    let title = escape(&post.title);
    // The content is shown as it came, as a blog does for its editors: cleaning it is the client's promise.
    let body = format!(
        "<article><h1>{title}</h1><p><time>{}</time></p>\n<div class=\"entry-content\">{}</div><ul class=\"tags\">{tags}</ul></article>",
        rfc3339(post.published_at),
        post.content,
    );
    html(StatusCode::OK, page(&title, &body))
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"ko\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <style>body {{ font-family: sans-serif; max-width: 42rem; margin: 2rem auto; }} img {{ max-width: 100%; }}</style></head>\n\
         <body><header><a href=\"/blog/\">데모 블로그</a></header>\n{body}\n</body></html>\n"
    )
}
