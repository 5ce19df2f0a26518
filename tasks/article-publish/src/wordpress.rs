//! The WordPress REST API, version 2. The mark is the post's slug: WordPress finds posts by it, drafts included, for a
//! user who may edit them.

use flowweaver_task::serde_json::{self, Value};
use flowweaver_task::{Error, Result, http, json};

use crate::{Article, Blog, Post, PostStatus, Published, reply};

/// Every status that a post of ours can have but the trash's: what an editor threw away is not to be found.
const STATUSES: &str = "publish,future,draft,pending,private";

/// A site.
pub(crate) struct Site {
    /// Its address, without a slash at its end.
    pub(crate) url: String,
}

impl Site {
    fn at(&self, path: &str) -> String {
        format!("{}/wp-json/wp/v2/{path}", self.url)
    }

    /// The tag's id; a tag that does not exist is made.
    fn tag(&self, name: &str) -> Result<u64> {
        let found = http::get(self.at("tags"))
            .query("search", name)
            .query("per_page", "100")
            .send();
        let found = found
            .and_then(reply::json)
            .map_err(|error| error.context(format!("looking up the tag `{name}`")))?;
        let same = |tag: &&Value| {
            reply::text(tag, "name")
                .is_some_and(|known| unescaped(&known).to_lowercase() == name.to_lowercase())
        };
        if let Some(tag) = found.as_array().into_iter().flatten().find(same) {
            return id(tag);
        }
        match http::post(self.at("tags"))
            .json(&json!({ "name": name }))
            .send()
            .and_then(reply::json)
        {
            Ok(tag) => id(&tag),
            // Made meanwhile, or spelled so that the search did not find it: the refusal tells its id.
            Err(error) => match existing(&error) {
                Some(id) => Ok(id),
                None => Err(error.context(format!("making the tag `{name}`"))),
            },
        }
    }
}

fn id(value: &Value) -> Result<u64> {
    reply::required(value, "id")?
        .parse()
        .map_err(|_| Error::retryable("publish.invalid", "the service's `id` is no number"))
}

/// The id in a refusal with the code `term_exists`.
fn existing(error: &Error) -> Option<u64> {
    let body = error.details.as_ref()?.get("body")?.as_str()?;
    let body: Value = serde_json::from_str(body).ok()?;
    let exists = body.get("code").and_then(Value::as_str) == Some("term_exists");
    exists
        .then(|| body.pointer("/data/term_id")?.as_u64())
        .flatten()
}

/// WordPress escapes names for HTML.
fn unescaped(name: &str) -> String {
    name.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#039;", "'")
        .replace("&amp;", "&")
}

fn post(value: &Value, wanted: PostStatus) -> Result<Post> {
    let waiting =
        reply::text(value, "status").as_deref() == Some("draft") && wanted == PostStatus::Publish;
    let done = if waiting {
        None
    } else {
        Some(published(value)?)
    };
    Ok(Post {
        id: id(value)?.to_string(),
        done,
    })
}

fn published(value: &Value) -> Result<Published> {
    // WordPress writes times of UTC without saying so; a draft may have none.
    let date = reply::text(value, "date_gmt").or(reply::text(value, "modified_gmt"));
    let date = date.map_or_else(|| reply::required(value, "date_gmt"), Ok)?;
    let offset = if date.ends_with('Z') { "" } else { "Z" };
    Ok(Published {
        post_url: Some(reply::required(value, "link")?),
        post_id: id(value)?.to_string(),
        published_at: format!("{date}{offset}"),
    })
}

impl Blog for Site {
    fn find(&self, article: &Article<'_>) -> Result<Vec<Post>> {
        let request = http::get(self.at("posts"))
            .query("slug", &article.mark)
            .query("status", STATUSES)
            .query("per_page", "100");
        let found = request
            .send()
            .and_then(reply::json)
            .map_err(|error| error.context("looking up the post"))?;
        let Some(listed) = found.as_array() else {
            return Err(Error::retryable(
                "publish.invalid",
                format!(
                    "the service answered no list of posts: {}",
                    reply::excerpt(&found.to_string())
                ),
            ));
        };
        let mut posts = listed
            .iter()
            .map(|value| Ok((id(value)?, post(value, article.status)?)))
            .collect::<Result<Vec<_>>>()?;
        posts.sort_by_key(|(id, _)| *id);
        Ok(posts.into_iter().map(|(_, post)| post).collect())
    }

    fn get(&self, article: &Article<'_>, id: &str) -> Result<Option<Post>> {
        match http::get(self.at(&format!("posts/{id}")))
            .query("context", "edit")
            .send()
            .and_then(reply::json)
        {
            Ok(value) if reply::text(&value, "status").as_deref() == Some("trash") => Ok(None),
            Ok(value) => post(&value, article.status).map(Some),
            Err(error) if matches!(reply::status(&error), Some(404 | 410)) => Ok(None),
            Err(error) => Err(error.context("looking up the draft")),
        }
    }

    fn draft(&self, article: &Article<'_>) -> Result<Post> {
        let tags = article
            .tags
            .iter()
            .map(|tag| self.tag(tag))
            .collect::<Result<Vec<u64>>>()?;
        let body = json!({
            "title": article.title, "content": article.content, "status": "draft", "slug": article.mark, "tags": tags,
        });
        let value = http::post(self.at("posts"))
            .header("idempotency-key", &article.key)
            .json(&body)
            .send()
            .and_then(reply::json)
            .map_err(|error| error.context("making the draft"))?;
        post(&value, article.status)
    }

    fn publish(&self, id: &str) -> Result<Published> {
        let value = http::post(self.at(&format!("posts/{id}")))
            .json(&json!({ "status": "publish" }))
            .send()
            .and_then(reply::json)
            .map_err(|error| error.context("publishing the draft"))?;
        match reply::text(&value, "status").as_deref() {
            Some("publish" | "future" | "private") => published(&value),
            // A contributor's post waits for an editor: a retry would not change that.
            other => Err(Error::permanent(
                "publish.refused",
                format!(
                    "the post {id} is {} and not published; the user may not publish",
                    other.unwrap_or("unknown")
                ),
            )),
        }
    }
}
