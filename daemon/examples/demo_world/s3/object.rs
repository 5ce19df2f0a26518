//! Writing, reading and removing one object.

use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};

use super::{Asked, Fault, Object, no_such_bucket};
use crate::answer::typed;
use crate::fields::header;
use crate::picture::digest;
use crate::world::World;

/// Longest key, as the real service allows, in bytes.
const LONGEST_KEY: usize = 1024;

/// Does what the method asks with the object.
pub fn serve(world: &World, asked: &Asked<'_>) -> Result<Response, Fault> {
    if asked.key.len() > LONGEST_KEY {
        return Err(Fault::new(400, "KeyTooLongError", "Your key is too long"));
    }
    let mut buckets = world.buckets.lock();
    let objects = buckets
        .0
        .get_mut(&asked.bucket)
        .ok_or_else(|| no_such_bucket(&asked.bucket))?;
    match *asked.method {
        Method::PUT => {
            if header(asked.headers, "if-none-match") == "*" && objects.contains_key(&asked.key) {
                let message = "At least one of the pre-conditions you specified did not hold";
                return Err(Fault::new(412, "PreconditionFailed", message)
                    .with("Condition", "If-None-Match"));
            }
            let object = received(world, asked);
            let etag = object.etag.clone();
            objects.insert(asked.key.clone(), object);
            let mut response = StatusCode::OK.into_response();
            put_header(&mut response, "etag", &format!("\"{etag}\""));
            Ok(response)
        }
        Method::GET | Method::HEAD => {
            let missing = || {
                Fault::new(404, "NoSuchKey", "The specified key does not exist.")
                    .with("Key", &asked.key)
            };
            Ok(shown(objects.get(&asked.key).ok_or_else(missing)?))
        }
        Method::DELETE => {
            objects.remove(&asked.key);
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        _ => Err(Fault::new(
            405,
            "MethodNotAllowed",
            "The specified method is not allowed against this resource.",
        )),
    }
}

fn received(world: &World, asked: &Asked<'_>) -> Object {
    let content_type = header(asked.headers, "content-type");
    let metadata = asked
        .headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-amz-meta-"))
        .map(|(name, value)| {
            (
                name.as_str().to_owned(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        });
    Object {
        bytes: asked.body.clone(),
        content_type: if content_type.is_empty() {
            "binary/octet-stream"
        } else {
            content_type
        }
        .to_owned(),
        metadata: metadata.collect(),
        // An ETag is opaque; as long as the usual MD5 one, and like it a function of the content.
        etag: digest(asked.body).chars().take(32).collect(),
        modified: world.now(),
    }
}

fn shown(object: &Object) -> Response {
    let mut response = typed(StatusCode::OK, &object.content_type, object.bytes.clone());
    put_header(&mut response, "etag", &format!("\"{}\"", object.etag));
    put_header(
        &mut response,
        "last-modified",
        &object
            .modified
            .format("%a, %d %b %Y %H:%M:%S GMT")
            .to_string(),
    );
    put_header(
        &mut response,
        "content-length",
        &object.bytes.len().to_string(),
    );
    for (name, value) in &object.metadata {
        if let (Ok(name), Ok(value)) = (
            name.parse::<axum::http::HeaderName>(),
            HeaderValue::from_str(value),
        ) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn put_header(response: &mut Response, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
