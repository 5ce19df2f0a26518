//! Signs a request with AWS Signature Version 4, so that a guest can use a bucket without ever
//! holding its key.
//!
//! Only what the signature must cover is covered: host, content type and the `x-amz-` headers. The
//! URL is signed as it is dialled, so custom endpoints are addressed path-style.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::broker::error::Refusal;
use crate::clock::Timestamp;

/// What is signed with.
pub(super) struct Key<'a> {
    pub(super) service: &'a str,
    pub(super) region: &'a str,
    pub(super) access_key: &'a SecretString,
    pub(super) secret_key: &'a SecretString,
}

/// Adds the signature's headers. The guest's own were removed before.
pub(super) fn sign_aws_v4(
    key: &Key<'_>,
    method: &str,
    url: &Url,
    headers: &mut HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<(), Refusal> {
    // Neither cause nor key may appear in the message: the crate's errors quote their input.
    let failed = |_| Refusal::permanent("http.invalid", "the request cannot be signed");
    let credentials = Credentials::new(
        key.access_key.expose_secret(),
        key.secret_key.expose_secret(),
        None,
        None,
        "grant",
    );
    let identity = credentials.into();
    let micros = u64::try_from(now.as_micros()).unwrap_or(0);
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(key.region)
        .name(key.service)
        .time(SystemTime::UNIX_EPOCH + Duration::from_micros(micros))
        .settings(settings(key.service))
        .build()
        .map_err(|_| failed(()))?
        .into();
    let mut signed = Vec::new();
    for (name, value) in headers.iter() {
        if *name == CONTENT_TYPE || name.as_str().starts_with("x-amz-") {
            signed.push((name.as_str(), value.to_str().map_err(|_| failed(()))?));
        }
    }
    let request = SignableRequest::new(
        method,
        url.as_str(),
        signed.into_iter(),
        SignableBody::Bytes(body),
    )
    .map_err(|_| failed(()))?;
    let (instructions, _) = sign(request, &parameters)
        .map_err(|_| failed(()))?
        .into_parts();
    let (added, _) = instructions.into_parts();
    for header in added {
        let name = HeaderName::from_static(header.name());
        let mut value = HeaderValue::from_str(header.value()).map_err(|_| failed(()))?;
        value.set_sensitive(header.sensitive());
        headers.insert(name, value);
    }
    Ok(())
}

/// S3 signs the path as it is sent; every other service signs it normalised and encoded once more.
fn settings(service: &str) -> SigningSettings {
    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    if service == "s3" {
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_request_always_gets_the_same_signature_and_the_key_stays_out_of_it() {
        let url = Url::parse("https://s3.example.com/bucket/a%20b.png?list-type=2").unwrap();
        let (access_key, secret_key) = (
            SecretString::from("AKIDEXAMPLE"),
            SecretString::from("wJalrXUtnFEMI"),
        );
        let key = Key {
            service: "s3",
            region: "us-east-1",
            access_key: &access_key,
            secret_key: &secret_key,
        };
        let signed = |body: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("image/png"));
            sign_aws_v4(
                &key,
                "PUT",
                &url,
                &mut headers,
                body,
                Timestamp::from_micros(1_400_000_000_000_000),
            )
            .unwrap();
            headers
        };
        let headers = signed(b"picture");
        let authorization = headers
            .get("authorization")
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        assert!(authorization.starts_with(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20140513/us-east-1/s3/aws4_request"
        ));
        assert!(
            authorization
                .contains("SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date")
        );
        assert!(!format!("{headers:?}").contains("wJalrXUtnFEMI"));
        assert_eq!(
            headers.get("x-amz-content-sha256").unwrap(),
            crate::id::Digest::of(b"picture").hex().as_str()
        );
        assert_eq!(headers.get("x-amz-date").unwrap(), "20140513T165320Z");
        assert_eq!(
            signed(b"picture")
                .get("authorization")
                .unwrap()
                .to_str()
                .unwrap(),
            authorization
        );
        assert_ne!(
            signed(b"another")
                .get("authorization")
                .unwrap()
                .to_str()
                .unwrap(),
            authorization
        );
    }
}
