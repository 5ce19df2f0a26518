//! The Blogger API, version 3. The mark is a label: posts are found by it, drafts included.

use flowweaver_task::serde_json::Value;
use flowweaver_task::{Error, Result, http, json, log};

use crate::{Article, Post, PostStatus, Published, reply};

/// The most labels of a post, and the most letters of all of them: the service's own limits.
const LABELS: usize = 20;
const LABEL_LETTERS: usize = 200;

/// A blog.
pub(crate) struct Blog {
    /// The address of its posts.
    pub(crate) posts: String,
}

/// The mark and as many tags as fit. A comma would end a label.
fn labels(article: &Article<'_>) -> Vec<String> {
    let mut labels = vec![article.mark.clone()];
    let mut letters = article.mark.chars().count();
    for tag in article.tags.iter().map(|tag| tag.replace(',', " ")) {
        // One more for the comma that Blogger puts between them.
        let own = tag.chars().count() + 1;
        if labels.len() < LABELS && letters + own <= LABEL_LETTERS {
            letters += own;
            labels.push(tag);
        } else {
            log::warn("a tag is left out: Blogger takes no more", &[("tag", &tag)]);
        }
    }
    labels
}

fn post(value: &Value, wanted: PostStatus) -> Result<Post> {
    let status = reply::required(value, "status")?;
    let waiting = status == "DRAFT" && wanted == PostStatus::Publish;
    let done = if waiting {
        None
    } else {
        Some(published(value)?)
    };
    Ok(Post {
        id: reply::required(value, "id")?,
        done,
    })
}

fn published(value: &Value) -> Result<Published> {
    Ok(Published {
        // A draft has no address yet.
        post_url: match reply::required(value, "status")?.as_str() {
            "DRAFT" => reply::text(value, "url"),
            _ => Some(reply::required(value, "url")?),
        },
        post_id: reply::required(value, "id")?,
        published_at: reply::required(value, "published")?,
    })
}

/// Ids are numbers in text: the shorter one is the smaller.
fn age(post: &Post) -> (usize, String) {
    (post.id.len(), post.id.clone())
}

impl crate::Blog for Blog {
    fn find(&self, article: &Article<'_>) -> Result<Vec<Post>> {
        let found = http::get(&self.posts)
            .query("labels", &article.mark)
            .query("status", "live")
            .query("status", "draft")
            .query("status", "scheduled")
            // Readers see no drafts.
            .query("view", "AUTHOR")
            .query("fetchBodies", "false")
            .query("maxResults", "100")
            .send()
            .and_then(reply::json)
            .map_err(|error| error.context("looking up the post"))?;
        // The service leaves `items` out when there is none, but never its kind.
        if !found.is_object()
            || (found.get("items").is_none() && reply::text(&found, "kind").is_none())
        {
            return Err(Error::retryable(
                "publish.invalid",
                format!(
                    "the service answered no list of posts: {}",
                    reply::excerpt(&found.to_string())
                ),
            ));
        }
        let items = found
            .get("items")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let mut posts = items
            .map(|value| post(value, article.status))
            .collect::<Result<Vec<_>>>()?;
        posts.sort_by_key(age);
        Ok(posts)
    }

    fn get(&self, article: &Article<'_>, id: &str) -> Result<Option<Post>> {
        let asked = http::get(format!("{}/{id}", self.posts))
            .query("view", "AUTHOR")
            .query("fetchBody", "false");
        match asked.send().and_then(reply::json) {
            Ok(value) if reply::text(&value, "status").as_deref() == Some("SOFT_TRASHED") => {
                Ok(None)
            }
            Ok(value) => post(&value, article.status).map(Some),
            Err(error) if matches!(reply::status(&error), Some(404 | 410)) => Ok(None),
            Err(error) => Err(error.context("looking up the draft")),
        }
    }

    fn draft(&self, article: &Article<'_>) -> Result<Post> {
        let body = json!({
            "kind": "blogger#post", "title": article.title, "content": article.content, "labels": labels(article),
        });
        let value = http::post(&self.posts)
            .query("isDraft", "true")
            .header("idempotency-key", &article.key)
            .json(&body)
            .send()
            .and_then(reply::json)
            .map_err(|error| error.context("making the draft"))?;
        post(&value, article.status)
    }

    fn publish(&self, id: &str) -> Result<Published> {
        let value = http::post(format!("{}/{id}/publish", self.posts))
            .send()
            .and_then(reply::json)
            .map_err(|error| error.context("publishing the draft"))?;
        match reply::required(&value, "status")?.as_str() {
            "LIVE" | "SCHEDULED" => published(&value),
            other => Err(Error::retryable(
                "publish.invalid",
                format!("the post {id} is {other} and not published"),
            )),
        }
    }
}
