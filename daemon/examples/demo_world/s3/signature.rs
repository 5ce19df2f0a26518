//! Verifies AWS Signature Version 4 in the `Authorization` header, written from the AWS documentation ("Create a
//! signed AWS API request", "Authenticating Requests: Using the Authorization Header") and independent of any
//! signing code. Stricter than the real service in one point: a body must be hashed, `UNSIGNED-PAYLOAD` is refused.

use axum::http::HeaderMap;
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::{Asked, Fault};
use crate::control::rule::decoded_bytes;
use crate::fields::header;
use crate::picture::digest;
use crate::world::World;

/// How far the signer's clock may be off, as the real service allows.
const SKEW: TimeDelta = TimeDelta::minutes(15);
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The parts of the `Authorization` header.
struct Claim<'a> {
    access_key: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    signed: Vec<&'a str>,
    signature: &'a str,
}

/// Passes if the request is signed with the world's key, completely and freshly.
pub fn verify(world: &World, asked: &Asked<'_>) -> Result<(), Fault> {
    let credentials = &world.settings.credentials;
    let authorization = header(asked.headers, "authorization");
    if authorization.is_empty() {
        return Err(Fault::new(403, "AccessDenied", "Access Denied"));
    }
    let claim = claim(authorization)?;
    if claim.access_key != credentials.s3_access_key {
        let message = "The AWS Access Key Id you provided does not exist in our records.";
        return Err(
            Fault::new(403, "InvalidAccessKeyId", message).with("AWSAccessKeyId", claim.access_key)
        );
    }
    if claim.service != "s3" {
        let message = format!(
            "The authorization header is malformed; incorrect service \"{}\". This endpoint belongs to \"s3\".",
            claim.service
        );
        return Err(Fault::new(400, "AuthorizationHeaderMalformed", message));
    }
    if claim.region != credentials.s3_region {
        let message = format!(
            "The authorization header is malformed; the region '{}' is wrong; expecting '{}'",
            claim.region, credentials.s3_region
        );
        return Err(Fault::new(400, "AuthorizationHeaderMalformed", message)
            .with("Region", &credentials.s3_region));
    }
    let stamp = fresh_stamp(world.now(), asked.headers, &claim)?;
    all_are_signed(asked.headers, &claim)?;
    let payload = header(asked.headers, "x-amz-content-sha256");
    let canonical = canonical_request(asked, &claim, payload);
    let scope = format!(
        "{}/{}/{}/aws4_request",
        claim.date, claim.region, claim.service
    );
    let to_sign = format!(
        "{ALGORITHM}\n{stamp}\n{scope}\n{}",
        digest(canonical.as_bytes())
    );
    let given = hex::decode(claim.signature).unwrap_or_default();
    let key = signing_key(&credentials.s3_secret_key, &claim);
    if keyed(&key, to_sign.as_bytes())
        .verify_slice(&given)
        .is_err()
    {
        let message = "The request signature we calculated does not match the signature you provided. Check your key and signing method.";
        return Err(Fault::new(403, "SignatureDoesNotMatch", message)
            .with("AWSAccessKeyId", claim.access_key)
            .with("StringToSign", to_sign)
            .with("SignatureProvided", claim.signature)
            .with("CanonicalRequest", canonical));
    }
    hashed_body(asked, payload)
}

fn malformed(message: &str) -> Fault {
    Fault::new(
        400,
        "AuthorizationHeaderMalformed",
        format!("The authorization header is malformed; {message}"),
    )
}

fn claim(authorization: &str) -> Result<Claim<'_>, Fault> {
    let Some(rest) = authorization.strip_prefix(ALGORITHM) else {
        return Err(Fault::new(
            400,
            "InvalidRequest",
            format!(
                "The authorization mechanism you have provided is not supported. Please use {ALGORITHM}."
            ),
        ));
    };
    let part = |name: &str| {
        let mut parts = rest.split(',').map(str::trim);
        parts
            .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
            .ok_or_else(|| malformed(&format!("missing {name}")))
    };
    let scope: Vec<&str> = part("Credential")?.split('/').collect();
    let [access_key, date, region, service, "aws4_request"] = scope.as_slice() else {
        return Err(malformed(
            "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".",
        ));
    };
    let signed: Vec<&str> = part("SignedHeaders")?.split(';').collect();
    let ordered = signed.is_sorted()
        && signed
            .iter()
            .all(|name| !name.is_empty() && *name == name.to_ascii_lowercase());
    if !ordered {
        return Err(malformed("SignedHeaders must be lower-case and sorted"));
    }
    Ok(Claim {
        access_key,
        date,
        region,
        service,
        signed,
        signature: part("Signature")?,
    })
}

/// The request's time stamp, once it is known to be of the scope's day and near to now.
fn fresh_stamp<'a>(
    now: DateTime<Utc>,
    headers: &'a HeaderMap,
    claim: &Claim<'_>,
) -> Result<&'a str, Fault> {
    let stamp = header(headers, "x-amz-date");
    let Ok(time) = NaiveDateTime::parse_from_str(stamp, "%Y%m%dT%H%M%SZ") else {
        return Err(Fault::new(
            403,
            "AccessDenied",
            "AWS authentication requires a valid Date or x-amz-date header",
        ));
    };
    if !stamp.starts_with(claim.date) {
        return Err(malformed(
            "Invalid credential date: it must be the day of x-amz-date",
        ));
    }
    if (now - time.and_utc()).abs() > SKEW {
        let message = "The difference between the request time and the current time is too large.";
        return Err(Fault::new(403, "RequestTimeTooSkewed", message)
            .with("RequestTime", stamp)
            .with("ServerTime", now.to_rfc3339())
            .with(
                "MaxAllowedSkewMilliseconds",
                SKEW.num_milliseconds().to_string(),
            ));
    }
    Ok(stamp)
}

/// The host and every `x-amz-` header must be under the signature, and every name under it must be there.
fn all_are_signed(headers: &HeaderMap, claim: &Claim<'_>) -> Result<(), Fault> {
    let amz = headers
        .keys()
        .map(|name| name.as_str())
        .filter(|name| name.starts_with("x-amz-"));
    let missing: Vec<&str> = std::iter::once("host")
        .chain(amz)
        .filter(|name| !claim.signed.contains(name))
        .collect();
    if !missing.is_empty() {
        let message = "There were headers present in the request which were not signed";
        return Err(
            Fault::new(403, "AccessDenied", message).with("HeadersNotSigned", missing.join(", "))
        );
    }
    if header(headers, "x-amz-content-sha256").is_empty() {
        return Err(Fault::new(
            400,
            "InvalidRequest",
            "Missing required header for this request: x-amz-content-sha256",
        ));
    }
    Ok(())
}

/// Runs after the signature was found good, so that a stranger learns nothing about bodies.
fn hashed_body(asked: &Asked<'_>, payload: &str) -> Result<(), Fault> {
    if payload.starts_with("STREAMING-") {
        return Err(Fault::new(
            501,
            "NotImplemented",
            "Streaming signatures are not implemented here",
        ));
    }
    if payload == "UNSIGNED-PAYLOAD" {
        return Err(Fault::new(
            403,
            "AccessDenied",
            "This bucket's policy requires x-amz-content-sha256 to be the body's hash",
        ));
    }
    let actual = digest(asked.body);
    if payload != actual {
        let message =
            "The provided 'x-amz-content-sha256' header does not match what was computed.";
        return Err(Fault::new(400, "XAmzContentSHA256Mismatch", message)
            .with("ClientComputedContentSHA256", payload)
            .with("S3ComputedContentSHA256", actual));
    }
    Ok(())
}

fn canonical_request(asked: &Asked<'_>, claim: &Claim<'_>, payload: &str) -> String {
    let mut headers = String::new();
    for name in &claim.signed {
        let values = asked.headers.get_all(*name).iter().map(|value| {
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        });
        headers.push_str(&format!(
            "{name}:{}\n",
            values.collect::<Vec<_>>().join(",")
        ));
    }
    format!(
        "{}\n{}\n{}\n{headers}\n{}\n{payload}",
        asked.method,
        // S3 encodes the path once and does not tidy its dots and slashes.
        encoded(&decoded_bytes(asked.uri.path()), true),
        canonical_query(asked.uri.query().unwrap_or_default()),
        claim.signed.join(";"),
    )
}

fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (
                encoded(&decoded_bytes(name), false),
                encoded(&decoded_bytes(value), false),
            )
        })
        .collect();
    pairs.sort();
    pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join("&")
}

/// `UriEncode` of the AWS documentation.
fn encoded(bytes: &[u8], keep_slash: bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(*byte))
            }
            b'/' if keep_slash => text.push('/'),
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

fn keyed(key: &[u8], message: &[u8]) -> Hmac<Sha256> {
    // HMAC takes a key of any length, so this does not fail; an empty key would verify nothing we sign.
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| Hmac::new(&Default::default()));
    mac.update(message);
    mac
}

fn signing_key(secret: &str, claim: &Claim<'_>) -> Vec<u8> {
    let first = format!("AWS4{secret}").into_bytes();
    [claim.date, claim.region, claim.service, "aws4_request"]
        .into_iter()
        .fold(first, |key, part| {
            keyed(&key, part.as_bytes())
                .finalize()
                .into_bytes()
                .to_vec()
        })
}

#[cfg(test)]
mod tests {
    use hmac::Mac as _;

    use super::{Claim, encoded, keyed, signing_key};
    use crate::picture::digest;
    use crate::testing::{Answer, Ask, now, world};
    use crate::world::Shared;

    const SECRET: &str = "demo/world+secret/access+key/0000000001";

    /// A signer for the tests only, as plain as the documentation's example: it signs what it is told, so that a test
    /// can tell it a lie.
    struct Sign<'a> {
        method: &'a str,
        path: &'a str,
        query: &'a str,
        body: &'a [u8],
        secret: &'a str,
        access_key: &'a str,
        region: &'a str,
        stamp: String,
    }

    impl<'a> Sign<'a> {
        fn new(method: &'a str, path: &'a str, body: &'a [u8]) -> Self {
            let stamp = now().format("%Y%m%dT%H%M%SZ").to_string();
            let (access_key, region) = ("AKIADEMOWORLD0000001", "ap-northeast-2");
            Self {
                method,
                path,
                query: "",
                body,
                secret: SECRET,
                access_key,
                region,
                stamp,
            }
        }

        fn ask(&self) -> Ask {
            let date = &self.stamp[..8];
            let hash = digest(self.body);
            let signed = "host;x-amz-content-sha256;x-amz-date";
            let canonical = format!(
                "{}\n{}\n{}\nhost:world.test\nx-amz-content-sha256:{hash}\nx-amz-date:{}\n\n{signed}\n{hash}",
                self.method, self.path, self.query, self.stamp
            );
            let scope = format!("{date}/{}/s3/aws4_request", self.region);
            let text = format!(
                "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
                self.stamp,
                digest(canonical.as_bytes())
            );
            let claim = Claim {
                access_key: "",
                date,
                region: self.region,
                service: "s3",
                signed: vec![],
                signature: "",
            };
            let signature = hex::encode(
                keyed(&signing_key(self.secret, &claim), text.as_bytes())
                    .finalize()
                    .into_bytes(),
            );
            let query = if self.query.is_empty() {
                String::new()
            } else {
                format!("?{}", self.query)
            };
            Ask::new(self.method, &format!("{}{query}", self.path))
                .header("x-amz-date", &self.stamp)
                .header("x-amz-content-sha256", &hash)
                .header(
                    "authorization",
                    &format!("AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}", self.access_key),
                )
        }

        async fn send(&self, world: &Shared) -> Answer {
            self.ask()
                .header("content-type", "image/png")
                .body(self.body)
                .send_to(world)
                .await
        }
    }

    async fn refused(answer: Answer, status: u16, code: &str) {
        assert_eq!(answer.status, status);
        let text = answer.text().await;
        assert!(text.contains(&format!("<Code>{code}</Code>")), "{text}");
    }

    const PATH: &str = "/s3/flowweaver-demo/product/20260304_%EB%B0%B1%ED%8C%A9_1/image_001.png";

    #[tokio::test]
    async fn a_body_changed_after_signing_is_refused() {
        let sign = Sign::new("PUT", PATH, b"bytes");
        refused(
            sign.ask().body("bytez").send().await,
            400,
            "XAmzContentSHA256Mismatch",
        )
        .await;
    }

    #[tokio::test]
    async fn a_changed_path_query_or_signature_is_refused() {
        let world = world();
        let sign = Sign::new("GET", PATH, b"");
        let other = Sign::new("GET", "/s3/flowweaver-demo/other", b"");
        let authorization = other.ask();
        refused(authorization.send_to(&world).await, 404, "NoSuchKey").await;
        let lie = Sign {
            secret: "wrong",
            ..Sign::new("GET", PATH, b"")
        };
        refused(lie.send(&world).await, 403, "SignatureDoesNotMatch").await;
        let lie = Sign {
            access_key: "AKIAELSEWHERE",
            ..Sign::new("GET", PATH, b"")
        };
        refused(lie.send(&world).await, 403, "InvalidAccessKeyId").await;
        let lie = Sign {
            region: "us-east-1",
            ..Sign::new("GET", PATH, b"")
        };
        refused(lie.send(&world).await, 400, "AuthorizationHeaderMalformed").await;
        let late = Sign {
            stamp: "20260304T052108Z".to_owned(),
            ..Sign::new("GET", PATH, b"")
        };
        refused(late.send(&world).await, 403, "RequestTimeTooSkewed").await;
        refused(
            sign.ask()
                .header("x-amz-acl", "public-read")
                .send_to(&world)
                .await,
            403,
            "AccessDenied",
        )
        .await;
        refused(
            Ask::new("PUT", PATH).body("x").send_to(&world).await,
            403,
            "AccessDenied",
        )
        .await;
    }

    #[tokio::test]
    async fn a_signed_object_is_stored_listed_read_and_removed() {
        let world = world();
        assert_eq!(
            Sign::new("PUT", PATH, b"bytes").send(&world).await.status,
            200
        );
        let list = Sign {
            query: "list-type=2&prefix=product%2F",
            ..Sign::new("GET", "/s3/flowweaver-demo", b"")
        };
        let listed = list.send(&world).await.text().await;
        assert!(
            listed.contains("<Key>product/20260304_백팩_1/image_001.png</Key>"),
            "{listed}"
        );
        // An unsigned reader sees pictures.
        let public = Ask::get(PATH).send_to(&world).await;
        assert_eq!(public.status, 200);
        assert_eq!(&public.bytes().await[..], b"bytes");
        assert_eq!(
            Sign::new("DELETE", PATH, b"").send(&world).await.status,
            204
        );
        refused(
            Sign::new("GET", PATH, b"").send(&world).await,
            404,
            "NoSuchKey",
        )
        .await;
        refused(
            Sign::new("GET", "/s3/elsewhere/key", b"")
                .send(&world)
                .await,
            404,
            "NoSuchBucket",
        )
        .await;
    }

    #[tokio::test]
    async fn an_unsigned_reader_does_not_see_data_files() {
        let world = world();
        let path = "/s3/flowweaver-demo/product_data.json";
        let stored = Sign::new("PUT", path, b"{}")
            .ask()
            .header("content-type", "application/json")
            .body("{}")
            .send_to(&world)
            .await;
        assert_eq!(stored.status, 200);
        refused(Ask::get(path).send_to(&world).await, 403, "AccessDenied").await;
    }

    #[test]
    fn the_documented_example_key_is_derived() {
        // From "Examples of how to derive a signing key for Signature Version 4".
        let claim = Claim {
            access_key: "",
            date: "20120215",
            region: "us-east-1",
            service: "iam",
            signed: vec![],
            signature: "",
        };
        let key = signing_key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", &claim);
        assert_eq!(
            hex::encode(key),
            "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d"
        );
    }

    #[test]
    fn only_unreserved_letters_stay_as_they_are() {
        assert_eq!(
            encoded("a b/ü~(1)".as_bytes(), true),
            "a%20b/%C3%BC~%281%29"
        );
        assert_eq!(encoded(b"a/b", false), "a%2Fb");
    }
}
