//! Moving bytes: from where a picture is to the bucket. Whose fault a failure is, the picture's or the bucket's, is
//! decided here; what follows from it is not.

use flowweaver_task::http::{self, Exchange, Response};
use flowweaver_task::serde_json::{self, Value};
use flowweaver_task::{Error, Result};

use crate::format;
use crate::place::{Bucket, Folder};

/// How much may be moved at a time.
pub(crate) struct Limits {
    /// Pictures on their way.
    pub(crate) concurrency: usize,
    /// The size of one.
    pub(crate) bytes: usize,
}

/// A picture to be stored.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    pub(crate) index: u32,
    pub(crate) address: String,
}

/// What became of a picture; the error is the picture's own.
pub(crate) struct Outcome {
    pub(crate) picture: Picture,
    pub(crate) result: Result<Stored>,
}

/// A picture in the bucket.
pub(crate) struct Stored {
    pub(crate) url: String,
    pub(crate) name: String,
    pub(crate) bytes: usize,
}

/// Statuses with which a store refuses one object for what it is; every other says that the store, the key or the
/// bucket is wrong, and the next object would fare no better.
const OBJECT_REFUSED: [u64; 4] = [400, 411, 413, 415];

/// Stores pictures, a group of `concurrency` at a time, so that no more than that is ever under way, and only one
/// picture's bytes are in memory.
///
/// # Errors
/// What the bucket answers, if it would answer the same to any object.
pub(crate) fn pictures(
    pictures: &[Picture],
    bucket: &Bucket,
    folder: &Folder,
    limits: &Limits,
) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    for group in pictures.chunks(limits.concurrency.max(1)) {
        let downloads: Vec<Result<Exchange>> = group
            .iter()
            .map(|picture| {
                http::get(&picture.address)
                    .header("accept", "image/*")
                    .start()
            })
            .collect();
        let uploads: Vec<_> = downloads
            .into_iter()
            .zip(group)
            .map(|(download, picture)| forward(download, picture, bucket, folder, limits.bytes))
            .collect();
        for (upload, picture) in uploads.into_iter().zip(group) {
            let result = match upload {
                Err(error) => Err(error),
                Ok((put, stored)) => match put.and_then(accepted) {
                    Ok(()) => Ok(stored),
                    Err(error) if is_objects_own(&error) => Err(error),
                    Err(error) => return Err(error.context("storing a picture")),
                },
            };
            outcomes.push(Outcome {
                picture: picture.clone(),
                result,
            });
        }
    }
    Ok(outcomes)
}

/// Reads a picture and starts storing it. The outer error is the picture's, the inner one the bucket's.
fn forward(
    download: Result<Exchange>,
    picture: &Picture,
    bucket: &Bucket,
    folder: &Folder,
    most: usize,
) -> Result<(Result<Exchange>, Stored)> {
    let response = download?.response()?.error_for_status()?;
    let content_type = response.header("content-type").map(str::to_owned);
    let bytes = response.bytes_up_to(most)?;
    let format = format::of(&bytes, content_type.as_deref()).ok_or_else(|| {
        Error::permanent(
            "image.invalid",
            format!(
                "{} is not a picture (content-type {content_type:?})",
                picture.address
            ),
        )
    })?;
    let name = format!("image_{:03}.{}", picture.index, format.ending);
    let key = folder.key(&name);
    let stored = Stored {
        url: bucket.read_url(&key),
        name,
        bytes: bytes.len(),
    };
    let put = http::put(bucket.put_url(&key))
        .header("content-type", format.media_type)
        .body(bytes);
    Ok((put.start(), stored))
}

/// Stores the product's data and answers where it is.
///
/// # Errors
/// What the bucket answers.
pub(crate) fn document(data: &Value, bucket: &Bucket, folder: &Folder) -> Result<String> {
    let key = folder.key("product_data.json");
    http::put(bucket.put_url(&key))
        .header("content-type", "application/json; charset=utf-8")
        .body(serde_json::to_vec_pretty(data)?)
        .start()
        .and_then(accepted)
        .map_err(|error| error.context("storing product_data.json"))?;
    Ok(bucket.read_url(&key))
}

fn accepted(put: Exchange) -> Result<()> {
    let response = put.response()?.error_for_status()?;
    if response.is_success() {
        Ok(())
    } else {
        Err(moved(&response))
    }
}

/// A bucket in another region answers so; where it names the other address, the host answers
/// `http.redirect`, because a signed request is not redirected.
fn moved(response: &Response) -> Error {
    Error::permanent(
        "s3.moved",
        format!(
            "{} answered {}: the bucket is elsewhere; check `region` and `endpoint`",
            response.url(),
            response.status()
        ),
    )
}

fn is_objects_own(error: &Error) -> bool {
    let status = error
        .details
        .as_ref()
        .and_then(|details| details.get("status"))
        .and_then(Value::as_u64);
    match error.code.as_str() {
        "http.status" => status.is_some_and(|status| OBJECT_REFUSED.contains(&status)),
        code => code == "limit.http-body",
    }
}
