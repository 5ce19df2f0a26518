//! Publishes an article once: what goes in, what comes out, and the order of steps that keeps a retry, a crash or a
//! rerun from publishing twice. The services are in `wordpress`, `blogger` and `webhook`, what is remembered between
//! attempts in `record`. Credentials are not here: the grant makes the host add them.
//!
//! The blogs get a draft first, marked with the idempotency key, and only then is it published. Publishing the same
//! post twice changes nothing, so whatever an earlier attempt left behind is found by its mark and finished.

mod blogger;
mod record;
mod reply;
mod webhook;
mod wordpress;

use flowweaver_task::{Context, Error, Result, log, task};

use record::{Claim, Record};

/// What to publish, and where.
#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// The kind of service.
    tag: Tag,
    /// The title, plain text.
    post_title: String,
    /// The content, HTML; sent as it is.
    post_content: String,
    /// The tags.
    #[serde(default)]
    post_tags: Vec<String>,
    /// The blog's number, for "blogger".
    #[serde(default)]
    blog_id: Option<String>,
    /// The site's address without `/wp-json`, for "wordpress".
    #[serde(default)]
    wordpress_url: Option<String>,
    /// Where the Blogger API is.
    #[serde(default = "blogger_url")]
    blogger_url: String,
    /// The receiver's address, for "webhook".
    #[serde(default)]
    webhook_url: Option<String>,
    /// Whether readers see it.
    #[serde(default)]
    post_status: PostStatus,
}

/// A kind of service.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
enum Tag {
    /// The WordPress REST API.
    Wordpress,
    /// The Blogger API, version 3.
    Blogger,
    /// An address that takes the article as JSON.
    Webhook,
}

/// Whether readers see a post.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    serde::Deserialize,
    serde::Serialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
enum PostStatus {
    /// They do.
    #[default]
    Publish,
    /// Only its editors do.
    Draft,
}

/// What was published.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
struct Output {
    /// The post's address; null only if a webhook's receiver does not tell.
    post_url: Option<String>,
    /// The post's id; of a webhook whose receiver does not tell, the delivery's.
    post_id: String,
    /// When it was published, RFC 3339.
    published_at: String,
    /// The kind of service.
    tag: Tag,
    /// Whether an earlier attempt had published it.
    already_published: bool,
}

fn blogger_url() -> String {
    "https://www.googleapis.com".to_owned()
}

/// An article on its way.
struct Article<'a> {
    title: &'a str,
    content: &'a str,
    tags: Vec<String>,
    /// By which the post is found again: `fw-` and the first digits of the idempotency key.
    mark: String,
    /// The whole key.
    key: String,
    status: PostStatus,
}

/// A post that is public, or the draft that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
struct Published {
    post_url: Option<String>,
    post_id: String,
    published_at: String,
}

/// A post that a blog has.
#[derive(Clone, Debug)]
struct Post {
    id: String,
    /// Its address and time if it is as it was asked for; none for a draft that is to be published.
    done: Option<Published>,
}

/// What is needed of a blog to publish once.
trait Blog {
    /// The posts with the article's mark, oldest first.
    fn find(&self, article: &Article<'_>) -> Result<Vec<Post>>;
    /// The post with that id; none if it is gone.
    fn get(&self, article: &Article<'_>, id: &str) -> Result<Option<Post>>;
    /// Makes a draft with the mark.
    fn draft(&self, article: &Article<'_>) -> Result<Post>;
    /// Publishes a draft; the same again changes nothing.
    fn publish(&self, id: &str) -> Result<Published>;
}

/// Hexadecimal digits of the key in a mark: 64 bits, so that two posts of one blog never share one.
const MARK_DIGITS: usize = 16;

/// Publishes an article once, to WordPress, Blogger or a webhook.
#[task(requires("http", "kv"))]
fn run(input: Input, cx: &Context) -> Result<Output> {
    let needed =
        |field: &str| Error::permanent("input.invalid", format!("`{field}`: there is none"));
    for (field, text) in [
        ("post_title", &input.post_title),
        ("post_content", &input.post_content),
    ] {
        if text.trim().is_empty() {
            return Err(needed(field));
        }
    }
    let key = cx.idempotency_key();
    let article = Article {
        title: input.post_title.trim(),
        content: &input.post_content,
        tags: tags(&input.post_tags),
        mark: format!("fw-{}", key.chars().take(MARK_DIGITS).collect::<String>()),
        key,
        status: input.post_status,
    };
    let blog: Option<Box<dyn Blog>> = match input.tag {
        Tag::Wordpress => {
            let url = address("wordpress_url", input.wordpress_url.as_deref())?;
            Some(Box::new(wordpress::Site { url }))
        }
        Tag::Blogger => {
            let url = address("blogger_url", Some(&input.blogger_url))?;
            let id = input.blog_id.as_deref().map(str::trim).unwrap_or_default();
            // It becomes part of a path.
            if id.is_empty() || !id.chars().all(|letter| letter.is_ascii_alphanumeric()) {
                return Err(Error::permanent(
                    "input.invalid",
                    "`blog_id`: it must be the blog's number",
                ));
            }
            Some(Box::new(blogger::Blog {
                posts: format!("{url}/blogger/v3/blogs/{id}/posts"),
            }))
        }
        Tag::Webhook => None,
    };
    let url = match input.tag {
        Tag::Webhook => address("webhook_url", input.webhook_url.as_deref())?,
        _ => String::new(),
    };
    let claim = match Claim::take(&article.key)? {
        Record::Published(published) => return Ok(output(input.tag, published, true)),
        Record::Claimed(claim) => claim,
    };
    let (published, already_published) = match blog {
        Some(blog) => publish(blog.as_ref(), &article, claim)?,
        None => {
            let published = webhook::deliver(&url, &article)?;
            claim.published(&published)?;
            (published, false)
        }
    };
    Ok(output(input.tag, published, already_published))
}

fn output(tag: Tag, published: Published, already_published: bool) -> Output {
    if already_published {
        log::info(
            "an earlier attempt had published it",
            &[("post_id", &published.post_id)],
        );
    }
    Output {
        post_url: published.post_url,
        post_id: published.post_id,
        published_at: published.published_at,
        tag,
        already_published,
    }
}

/// Finds what an earlier attempt left, makes a draft if there is nothing, and publishes one and the same post.
fn publish(blog: &dyn Blog, article: &Article<'_>, mut claim: Claim) -> Result<(Published, bool)> {
    let known = match claim.post_id() {
        Some(id) => blog.get(article, id)?,
        None => None,
    };
    let mut posts = match known {
        Some(post) => vec![post],
        None => blog.find(article)?,
    };
    let mut ours = None;
    if posts.is_empty() {
        let post = blog.draft(article)?;
        claim.drafted(&post.id)?;
        ours = Some(post.id.clone());
        // Another attempt, cut off but still at work, may have made one meanwhile: both then take the same.
        posts = blog.find(article)?;
        if posts.iter().all(|found| found.id != post.id) {
            posts.push(post);
        }
    }
    let done = posts.iter().find_map(|post| {
        post.done
            .clone()
            .map(|done| (done, ours.as_ref() != Some(&post.id)))
    });
    if let Some((published, already)) = done {
        claim.published(&published)?;
        return Ok((published, already));
    }
    let Some(post) = posts.first() else {
        return Err(Error::retryable(
            "publish.lost",
            "the draft that was just made cannot be found",
        ));
    };
    let published = blog.publish(&post.id)?;
    claim.published(&published)?;
    Ok((published, false))
}

/// An address without a slash at its end.
fn address(field: &str, given: Option<&str>) -> Result<String> {
    let url = given.unwrap_or_default().trim().trim_end_matches('/');
    if url.starts_with("https://") || url.starts_with("http://") {
        Ok(url.to_owned())
    } else {
        Err(Error::permanent(
            "input.invalid",
            format!("`{field}`: an address is needed"),
        ))
    }
}

/// The tags, each once, without blanks around them.
fn tags(given: &[String]) -> Vec<String> {
    let mut tags: Vec<String> = Vec::new();
    for tag in given {
        let tag = tag.split_whitespace().collect::<Vec<_>>().join(" ");
        if !tag.is_empty()
            && !tags
                .iter()
                .any(|known| known.to_lowercase() == tag.to_lowercase())
        {
            tags.push(tag);
        }
    }
    tags
}

#[cfg(test)]
mod tests;
