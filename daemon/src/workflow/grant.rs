//! What a task may reach, as data. Deciding a call is the broker's work; reading the file is the
//! compiler's.

use crate::id::{DatabaseName, SecretName};

/// Everything a task was granted. Empty grants reach nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// HTTP targets; a request needs one that covers it.
    pub http: Vec<HttpGrant>,
    /// Databases, at most one grant a name.
    pub sql: Vec<SqlGrant>,
    /// Access to the workflow's key-value space.
    pub kv: KvGrant,
}

/// Where a grant was written, for denials and listings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file as the reader knows it.
    pub file: std::sync::Arc<str>,
    /// From 1.
    pub line: usize,
}

/// The methods that can be granted: CONNECT and TRACE turn a request into something else than a request,
/// and nobody has asked for others.
pub const HTTP_METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// One `[[job.task.http]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpGrant {
    /// Where it stands.
    pub place: Place,
    /// The URL pattern as it reads after vars were filled in.
    pub url: String,
    /// `http` or `https`.
    pub scheme: Scheme,
    /// The host.
    pub host: HostPattern,
    /// The port; the scheme's own when none was written.
    pub port: u16,
    /// The path.
    pub path: PathPattern,
    /// Upper-case methods.
    pub methods: Vec<String>,
    /// Headers that the host adds to requests under this grant, overriding the guest's.
    pub headers: Vec<(String, SecretText)>,
    /// Whether the host adds an `Idempotency-Key` to requests under this grant.
    pub idempotency_key: bool,
    /// How the host signs requests under this grant.
    pub sign: Option<Signing>,
}

/// The two schemes there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain.
    Http,
    /// Over TLS.
    Https,
}

/// Which hosts a grant covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// This host; the form the URL parser gives it (lower case, punycode, IP literals normalised).
    Exact(String),
    /// `*.example.com`: any host that ends in this text, which begins with a dot. At least one
    /// label stands before it.
    Suffix(String),
}

/// Which paths a grant covers, compared with the percent-encoded path of the parsed URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPattern {
    /// This path alone.
    Exact(String),
    /// `/shop/*`: this prefix, which ends in a slash, and anything after it.
    Prefix(String),
}

/// Text with secrets to be filled in by the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretText(pub Vec<SecretPiece>);

/// A piece of such a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretPiece {
    /// As written.
    Text(String),
    /// The value of this secret.
    Secret(SecretName),
}

/// How a request is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signing {
    /// AWS Signature Version 4.
    AwsSigV4 {
        /// `s3`, …
        service: String,
        /// `ap-northeast-2`, …
        region: String,
        /// The access key id.
        access_key: SecretText,
        /// The secret access key.
        secret_key: SecretText,
    },
    /// Standard Webhooks 1.0: HMAC-SHA256 over id, time and body.
    StandardWebhooks {
        /// `whsec_` and the key in base64.
        secret: SecretText,
    },
}

impl Signing {
    /// Every text in it that may hold a secret.
    pub fn secret_texts(&self) -> Vec<&SecretText> {
        match self {
            Self::AwsSigV4 {
                access_key,
                secret_key,
                ..
            } => vec![access_key, secret_key],
            Self::StandardWebhooks { secret } => vec![secret],
        }
    }
}

/// One `[[job.task.sql]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlGrant {
    /// Where it stands.
    pub place: Place,
    /// The database.
    pub database: DatabaseName,
    /// Reading, or also writing.
    pub mode: SqlMode,
    /// Tables and views as written; optionally `schema.table`. Each database reads case in its own way.
    pub tables: Vec<String>,
}

/// What may be done with a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SqlMode {
    /// Queries only.
    Read,
    /// Queries and changes of rows.
    ReadWrite,
}

/// What may be done with the workflow's key-value space (`kv = "read" | "read-write"`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KvGrant {
    /// Nothing.
    #[default]
    None,
    /// Reading.
    Read,
    /// Reading and writing.
    ReadWrite,
}
