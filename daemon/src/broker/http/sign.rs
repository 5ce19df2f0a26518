//! Signs a request, so that a guest can use a bucket, or be believed by a webhook's receiver, without
//! ever holding the key: AWS Signature Version 4, and Standard Webhooks 1.0
//! (<https://www.standardwebhooks.com>).
//!
//! Of AWS only what the signature must cover is covered: host, content type and the `x-amz-` headers.
//! The URL is signed as it is dialled, so custom endpoints are addressed path-style.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign as sign_request,
};
use aws_sigv4::sign::v4;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;
use url::Url;

use super::head;
use crate::broker::error::Refusal;
use crate::clock::Timestamp;
use crate::id::Digest;
use crate::workflow::grant::{SecretText, Signing};

/// What a Standard Webhooks secret begins with.
pub(super) const WEBHOOK_PREFIX: &str = "whsec_";
/// The sizes that Standard Webhooks has for a symmetric key.
const WEBHOOK_KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// 128 bits name a message for good, and stay short enough for any receiver's column.
const WEBHOOK_ID_DIGITS: usize = 32;
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// What is signed, beside the headers.
pub(super) struct Signed<'a> {
    pub(super) method: &'a str,
    pub(super) url: &'a Url,
    pub(super) body: &'a [u8],
    pub(super) now: Timestamp,
    /// The task's idempotency key.
    pub(super) task_key: &'a str,
}

/// Replaces whatever the guest wrote of a signature by the host's own. `fill` puts secrets into a
/// grant's text.
pub(super) fn sign(
    signing: &Signing,
    signed: &Signed<'_>,
    headers: &mut HeaderMap,
    fill: impl Fn(&SecretText) -> Result<SecretString, Refusal>,
) -> Result<(), Refusal> {
    match signing {
        Signing::AwsSigV4 {
            service,
            region,
            access_key,
            secret_key,
        } => {
            head::drop_guest_signature(headers);
            let key = Key {
                service,
                region,
                access_key: &fill(access_key)?,
                secret_key: &fill(secret_key)?,
            };
            sign_aws_v4(
                &key,
                signed.method,
                signed.url,
                headers,
                signed.body,
                signed.now,
            )
        }
        Signing::StandardWebhooks { secret } => sign_webhook(&fill(secret)?, signed, headers),
    }
}

/// Adds `webhook-id`, `webhook-timestamp` and `webhook-signature`.
///
/// The id is made of the task's idempotency key, method, address, and the `webhook-id` that the guest
/// wrote, if it did: every attempt of a task sends the same id, which is how a receiver knows a
/// repetition, and a task that sends several messages to one address tells them apart by ids of its own.
fn sign_webhook(
    secret: &SecretString,
    signed: &Signed<'_>,
    headers: &mut HeaderMap,
) -> Result<(), Refusal> {
    // The value's own text must not appear in the error.
    let wrong = || {
        let message = "the grant's `secret` is not `whsec_` and a key of 24 to 64 bytes in base64";
        Refusal::permanent("http.invalid", message)
    };
    let key = secret
        .expose_secret()
        .strip_prefix(WEBHOOK_PREFIX)
        .and_then(|key| STANDARD.decode(key).ok())
        .filter(|key| WEBHOOK_KEY_BYTES.contains(&key.len()))
        .ok_or_else(wrong)?;
    let own = headers.remove(&WEBHOOK_ID);
    let id = webhook_id(
        signed,
        own.as_ref().map_or(b"".as_slice(), HeaderValue::as_bytes),
    );
    let seconds = (signed.now.as_micros() / 1_000_000).to_string();
    let signature = webhook_signature(&key, &id, &seconds, signed.body).ok_or_else(wrong)?;
    for (name, text) in [
        (WEBHOOK_ID, id),
        (WEBHOOK_TIMESTAMP, seconds),
        (WEBHOOK_SIGNATURE, signature),
    ] {
        let value = HeaderValue::from_str(&text).map_err(|_| wrong())?;
        headers.insert(name, value);
    }
    Ok(())
}

fn webhook_signature(key: &[u8], id: &str, seconds: &str, body: &[u8]) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    for part in [id.as_bytes(), b".", seconds.as_bytes(), b".", body] {
        mac.update(part);
    }
    Some(format!(
        "v1,{}",
        STANDARD.encode(mac.finalize().into_bytes())
    ))
}

fn webhook_id(signed: &Signed<'_>, own: &[u8]) -> String {
    let digits = Digest::of_parts([
        signed.task_key.as_bytes(),
        signed.method.as_bytes(),
        signed.url.as_str().as_bytes(),
        own,
    ])
    .hex();
    let short: String = digits.chars().take(WEBHOOK_ID_DIGITS).collect();
    format!("msg_{short}")
}

/// What AWS requests are signed with.
struct Key<'a> {
    service: &'a str,
    region: &'a str,
    access_key: &'a SecretString,
    secret_key: &'a SecretString,
}

/// Adds the signature's headers. The guest's own were removed before.
fn sign_aws_v4(
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
    let (instructions, _) = sign_request(request, &parameters)
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

    const NOW: Timestamp = Timestamp::from_micros(1_614_265_330_000_000);

    fn webhook(
        secret: &str,
        task_key: &str,
        own: Option<&'static str>,
    ) -> Result<HeaderMap, Refusal> {
        let url = Url::parse("https://hooks.example.com/in").unwrap();
        let signed = Signed {
            method: "POST",
            url: &url,
            body: br#"{"test": 2432232314}"#,
            now: NOW,
            task_key,
        };
        let mut headers = HeaderMap::new();
        headers.insert(WEBHOOK_SIGNATURE, HeaderValue::from_static("v1,mine"));
        headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from_static("1"));
        if let Some(own) = own {
            headers.insert(WEBHOOK_ID, HeaderValue::from_static(own));
        }
        sign_webhook(&SecretString::from(secret), &signed, &mut headers).map(|()| headers)
    }

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn a_webhook_secret_out_of_shape_signs_nothing_and_is_not_shown() {
        for secret in [
            "",
            "whsec_",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_not base64",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa==",
            "whsec_c2hvcnQ=",
            "v1,MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ] {
            let refusal = webhook(secret, "key", None).unwrap_err();
            assert_eq!(refusal.code, "http.invalid", "{secret}");
            assert!(secret.len() < 7 || !refusal.message.contains(secret));
        }
    }

    #[test]
    fn a_webhooks_signature_is_the_one_that_every_verifier_computes() {
        let headers = webhook(SECRET, "key", None).unwrap();
        let text = |name: &HeaderName| headers.get(name).unwrap().to_str().unwrap().to_owned();
        assert_eq!(text(&WEBHOOK_TIMESTAMP), "1614265330");
        let id = text(&WEBHOOK_ID);
        assert!(id.starts_with("msg_") && id.len() == 36, "{id}");
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            Some(text(&WEBHOOK_SIGNATURE)),
            webhook_signature(&key, &id, "1614265330", body)
        );
        // Known from the libraries that receivers verify with.
        assert_eq!(
            webhook_signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body).unwrap(),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
        assert_eq!(headers.get_all(WEBHOOK_SIGNATURE).iter().count(), 1);
    }

    #[test]
    fn attempts_share_a_webhook_id_and_other_tasks_and_messages_do_not() {
        let id = |key, own| {
            webhook(SECRET, key, own)
                .unwrap()
                .get(WEBHOOK_ID)
                .unwrap()
                .clone()
        };
        assert_eq!(id("key", None), id("key", None));
        assert_ne!(id("key", None), id("other", None));
        assert_ne!(id("key", None), id("key", Some("second")));
        assert_ne!(id("key", Some("first")), id("key", Some("second")));
        assert_ne!(id("key", Some("second")), "second");
    }
}
