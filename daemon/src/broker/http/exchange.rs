//! One request on its way: from the dial to a head that a guest may see.
//!
//! Decided on before it comes here; the body is read by `body`.

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use tokio::time::timeout_at;

use super::body::{Body, Terms};
use super::{Decided, HttpResponse};
use crate::broker::error::Refusal;

/// Header bytes of a response that a guest can be made to hold.
const HEADER_BYTES_MAX: usize = 256 * 1024;

/// Runs on the host's runtime until the head is here; the guest may do something else meanwhile.
pub(super) async fn exchange(decided: Decided, mut terms: Terms) -> Result<HttpResponse, Refusal> {
    let dialled = tokio::select! {
        biased;
        () = terms.cancel.cancelled() => Err(Refusal::cancelled()),
        head = timeout_at(terms.ends_at.into(), terms.shared.dialer.dial(&terms.target, decided.request)) => {
            head.unwrap_or_else(|_| {
                let message = format!("no answer in time from {}", terms.target.host());
                Err(Refusal::retryable("http.timeout", message))
            })
        }
    };
    match dialled.and_then(|response| checked(response, &terms)) {
        Ok((response, headers, gzip)) => {
            let status = response.status().as_u16();
            terms.record.outcome(status.to_string());
            let url = terms.target.url().to_string();
            let body = Body::new(response, gzip, terms);
            Ok(HttpResponse {
                status,
                headers,
                url,
                body,
            })
        }
        Err(mut refusal) => {
            refusal.message = terms.scrubber.text(&refusal.message);
            terms.record.outcome(refusal.code.as_str());
            terms.shared.dialer.forget(&terms.target);
            Err(refusal)
        }
    }
}

type Checked = (reqwest::Response, Vec<(String, String)>, bool);

/// Refuses a response that two readers could read in two ways, and makes its headers the guest's.
fn checked(response: reqwest::Response, terms: &Terms) -> Result<Checked, Refusal> {
    let refuse = |why: &str| {
        let host = terms.target.host();
        Err(Refusal::retryable(
            "http.protocol",
            format!("the response of {host} {why}"),
        ))
    };
    let map = response.headers();
    if map.contains_key(CONTENT_LENGTH) && map.contains_key(TRANSFER_ENCODING) {
        return refuse("has both a length and a transfer encoding");
    }
    let bytes: usize = map
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if bytes > HEADER_BYTES_MAX {
        return refuse("has more than 256 KiB of headers");
    }
    let gzip = match encodings(map).as_slice() {
        [] => false,
        [one] if one == "gzip" || one == "x-gzip" => true,
        _ => return refuse("is encoded in a way that was not asked for"),
    };
    let headers = map
        .iter()
        // What described the encoded body would be wrong about the decoded one.
        .filter(|(name, _)| !gzip || (**name != CONTENT_ENCODING && **name != CONTENT_LENGTH))
        .map(|(name, value)| {
            (
                name.as_str().to_owned(),
                terms
                    .scrubber
                    .text(&String::from_utf8_lossy(value.as_bytes())),
            )
        })
        .collect();
    Ok((response, headers, gzip))
}

fn encodings(map: &HeaderMap) -> Vec<String> {
    let mut names = Vec::new();
    for value in map.get_all(CONTENT_ENCODING) {
        for name in String::from_utf8_lossy(value.as_bytes()).split(',') {
            let name = name.trim().to_ascii_lowercase();
            if !name.is_empty() && name != "identity" {
                names.push(name);
            }
        }
    }
    names
}
