//! The object store: an S3-compatible bucket in memory, path style, with the errors of the real service. Requests
//! are signed, except reading a stored picture, which is public so that an article can show it. Verification is in
//! `signature`, the operations on one object in `object`.

mod listing;
mod object;
mod signature;

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use chrono::{DateTime, Utc};

use crate::answer::{escape, typed};
use crate::control::rule::decoded;
use crate::fields::Fields;
use crate::world::{Shared, World};

/// The section's routes.
pub fn routes() -> Router<Shared> {
    Router::new()
        .route("/s3", any(entry))
        .route("/s3/", any(entry))
        .route("/s3/{bucket}", any(entry))
        .route("/s3/{bucket}/", any(entry))
        .route("/s3/{bucket}/{*key}", any(entry))
}

/// A stored object.
#[derive(Clone)]
pub struct Object {
    /// Its content.
    pub bytes: Bytes,
    /// As the writer named it.
    pub content_type: String,
    /// `x-amz-meta-…` headers, names in lower case.
    pub metadata: Vec<(String, String)>,
    /// Opaque, without quotes; derived from the content.
    pub etag: String,
    /// When it was written.
    pub modified: DateTime<Utc>,
}

/// Buckets and their objects by key.
#[derive(Default)]
pub struct Buckets(BTreeMap<String, BTreeMap<String, Object>>);

impl Buckets {
    /// One empty bucket.
    pub fn with(bucket: &str) -> Self {
        Self(BTreeMap::from([(bucket.to_owned(), BTreeMap::new())]))
    }

    /// An object.
    pub fn get(&self, bucket: &str, key: &str) -> Option<&Object> {
        self.0.get(bucket)?.get(key)
    }

    /// Every object with its bucket and key.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str, &Object)> {
        self.0.iter().flat_map(|(bucket, objects)| {
            objects
                .iter()
                .map(move |(key, object)| (bucket.as_str(), key.as_str(), object))
        })
    }
}

/// An error in the shape of the real service.
#[derive(Debug)]
pub struct Fault {
    /// HTTP status.
    pub status: u16,
    /// The service's error code.
    pub code: &'static str,
    /// For a person.
    pub message: String,
    /// More elements, by name.
    pub details: Vec<(&'static str, String)>,
}

impl Fault {
    /// An error without further elements.
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            details: Vec::new(),
        }
    }

    /// Adds an element.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.details.push((name, value.into()));
        self
    }

    fn answer(&self, resource: &str, request_id: &str) -> Response {
        let details: String = self
            .details
            .iter()
            .map(|(name, value)| format!("<{name}>{}</{name}>", escape(value)))
            .collect();
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{}</Code><Message>{}</Message>{details}<Resource>{}</Resource>\
             <RequestId>{request_id}</RequestId></Error>",
            self.code,
            escape(&self.message),
            escape(resource),
        );
        typed(
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            "application/xml",
            body,
        )
    }
}

/// A request as the operations need it.
pub struct Asked<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    body: &'a Bytes,
    bucket: String,
    key: String,
}

async fn entry(
    State(world): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    // `decoded` works on the whole path; the first slash after the section ends the bucket's name.
    let path = decoded(uri.path());
    let rest = path
        .strip_prefix("/s3")
        .unwrap_or_default()
        .trim_start_matches('/');
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    let asked = Asked {
        method: &method,
        uri: &uri,
        headers: &headers,
        body: &body,
        bucket: bucket.to_owned(),
        key: key.to_owned(),
    };
    let request_id = crate::picture::digest(format!("{}{method}{uri}", world.now()).as_bytes());
    let request_id = request_id.get(..16).unwrap_or_default().to_uppercase();
    let mut response = match serve(&world, &asked) {
        Ok(response) => response,
        // A HEAD answer has no body to carry the error.
        Err(fault) if method == Method::HEAD => StatusCode::from_u16(fault.status)
            .unwrap_or(StatusCode::BAD_REQUEST)
            .into_response(),
        Err(fault) => fault.answer(&path, &request_id),
    };
    if let Ok(value) = request_id.parse() {
        response.headers_mut().insert("x-amz-request-id", value);
    }
    response
}

fn serve(world: &World, asked: &Asked<'_>) -> Result<Response, Fault> {
    if !is_public(world, asked) {
        signature::verify(world, asked)?;
    }
    if asked.bucket.is_empty() {
        return Err(Fault::new(
            501,
            "NotImplemented",
            "A header you provided implies functionality that is not implemented",
        ));
    }
    if !asked.key.is_empty() {
        return object::serve(world, asked);
    }
    let query = Fields::from_query(asked.uri.query().unwrap_or_default());
    let mut buckets = world.buckets.lock();
    if *asked.method == Method::PUT {
        buckets.0.entry(asked.bucket.clone()).or_default();
        return Ok(StatusCode::OK.into_response());
    }
    let objects = buckets
        .0
        .get(&asked.bucket)
        .ok_or_else(|| no_such_bucket(&asked.bucket))?;
    match *asked.method {
        Method::HEAD => Ok(StatusCode::OK.into_response()),
        Method::GET if query.get("list-type") == Some("2") => {
            listing::list(&asked.bucket, objects, &query)
        }
        _ => Err(Fault::new(
            501,
            "NotImplemented",
            "This bucket knows ListObjectsV2, HeadBucket and CreateBucket",
        )),
    }
}

fn no_such_bucket(bucket: &str) -> Fault {
    Fault::new(404, "NoSuchBucket", "The specified bucket does not exist")
        .with("BucketName", bucket)
}

/// Reading a stored picture without a signature, and nothing else.
fn is_public(world: &World, asked: &Asked<'_>) -> bool {
    let reading = matches!(*asked.method, Method::GET | Method::HEAD);
    let unsigned = !asked.headers.contains_key("authorization");
    let buckets = world.buckets.lock();
    let object = buckets.get(&asked.bucket, &asked.key);
    reading && unsigned && object.is_some_and(|object| object.content_type.starts_with("image/"))
}
