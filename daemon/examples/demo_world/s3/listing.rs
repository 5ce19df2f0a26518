//! ListObjectsV2.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::SecondsFormat;

use super::{Fault, Object};
use crate::answer::{escape, typed};
use crate::fields::Fields;

/// Keys on a page at most, as the real service has it.
const PAGE: usize = 1000;

/// One page of keys.
pub fn list(
    bucket: &str,
    objects: &BTreeMap<String, Object>,
    query: &Fields,
) -> Result<Response, Fault> {
    let prefix = query.get("prefix").unwrap_or_default();
    let delimiter = query
        .get("delimiter")
        .filter(|delimiter| !delimiter.is_empty());
    let most = query.number("max-keys", PAGE).min(PAGE);
    let resumed = query.get("continuation-token").map(resume).transpose()?;
    let after = resumed
        .as_deref()
        .or(query.get("start-after"))
        .unwrap_or_default();
    let mut contents = String::new();
    let mut folders: BTreeSet<&str> = BTreeSet::new();
    let mut last: Option<&str> = None;
    let mut more = false;
    for (key, object) in objects
        .iter()
        .filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after)
    {
        let rest = key.get(prefix.len()..).unwrap_or_default();
        let folder = delimiter
            .and_then(|delimiter| {
                rest.find(delimiter)
                    .map(|at| prefix.len() + at + delimiter.len())
            })
            .and_then(|end| key.get(..end));
        if folder.is_some_and(|folder| folders.contains(folder) || after.starts_with(folder)) {
            last = Some(key);
            continue;
        }
        if contents.matches("<Contents>").count() + folders.len() >= most {
            more = true;
            break;
        }
        last = Some(key);
        match folder {
            Some(folder) => {
                folders.insert(folder);
            }
            None => contents.push_str(&row(key, object)),
        }
    }
    let count = contents.matches("<Contents>").count() + folders.len();
    let next = last.filter(|_| more).map(|key| {
        format!(
            "<NextContinuationToken>{}</NextContinuationToken>",
            URL_SAFE_NO_PAD.encode(key)
        )
    });
    let folders: String = folders
        .into_iter()
        .map(|folder| {
            format!(
                "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>",
                escape(folder)
            )
        })
        .collect();
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         <Name>{}</Name><Prefix>{}</Prefix><KeyCount>{count}</KeyCount><MaxKeys>{most}</MaxKeys><IsTruncated>{more}</IsTruncated>\
         {}{contents}{folders}</ListBucketResult>",
        escape(bucket),
        escape(prefix),
        next.unwrap_or_default(),
    );
    Ok(typed(StatusCode::OK, "application/xml", body))
}

fn resume(token: &str) -> Result<String, Fault> {
    let key = URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    key.ok_or_else(|| {
        Fault::new(
            400,
            "InvalidArgument",
            "The continuation token provided is incorrect",
        )
    })
}

fn row(key: &str, object: &Object) -> String {
    format!(
        "<Contents><Key>{}</Key><LastModified>{}</LastModified><ETag>&quot;{}&quot;</ETag><Size>{}</Size>\
         <StorageClass>STANDARD</StorageClass></Contents>",
        escape(key),
        object.modified.to_rfc3339_opts(SecondsFormat::Millis, true),
        object.etag,
        object.bytes.len(),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::list;
    use crate::fields::Fields;
    use crate::s3::Object;

    async fn page(query: &str) -> String {
        let object = Object {
            bytes: "x".into(),
            content_type: String::new(),
            metadata: Vec::new(),
            etag: "e".to_owned(),
            modified: crate::testing::now(),
        };
        let keys = ["a/1", "a/2", "b", "c/1"];
        let objects: BTreeMap<_, _> = keys
            .iter()
            .map(|key| ((*key).to_owned(), object.clone()))
            .collect();
        let response = list("bucket", &objects, &Fields::from_query(query)).unwrap();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX)
            .await
            .unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn folders_are_counted_once_and_pages_continue_where_the_last_ended() {
        let all = page("delimiter=/").await;
        assert!(
            all.contains("<KeyCount>3</KeyCount>") && all.contains("<Prefix>a/</Prefix>"),
            "{all}"
        );
        let first = page("max-keys=3").await;
        let token = first
            .split("NextContinuationToken>")
            .nth(1)
            .unwrap()
            .trim_end_matches("</")
            .to_owned();
        let second = page(&format!("continuation-token={token}")).await;
        assert!(
            second.contains("<Key>c/1</Key>") && second.contains("<KeyCount>1</KeyCount>"),
            "{second}"
        );
    }
}
