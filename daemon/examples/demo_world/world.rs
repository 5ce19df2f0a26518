//! Everything the demo world knows and remembers, shared by its sections. All of it lives in memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;

use crate::blog::Blogs;
use crate::catalog::Catalog;
use crate::control::faults::Faults;
use crate::control::gate::Gate;
use crate::control::log::RequestLog;
use crate::guarded::Guarded;
use crate::llm::ChatRule;
use crate::picture::Pictures;
use crate::s3::Buckets;
use crate::translate::Phrasebook;

/// The world, as every handler receives it.
pub type Shared = Arc<World>;

/// Where the time comes from: the machine, or a test.
pub type Clock = Box<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// What the services accept. The defaults are public on purpose: they open nothing but this program.
#[derive(Args, Clone, Debug, Serialize)]
pub struct Credentials {
    /// S3 access key id.
    #[arg(long, default_value = "AKIADEMOWORLD0000001")]
    pub s3_access_key: String,
    /// S3 secret access key.
    #[arg(long, default_value = "demo/world+secret/access+key/0000000001")]
    pub s3_secret_key: String,
    /// S3 region that signatures must name.
    #[arg(long, default_value = "ap-northeast-2")]
    pub s3_region: String,
    /// The bucket that exists from the start.
    #[arg(long, default_value = "flowweaver-demo")]
    pub s3_bucket: String,
    /// API key of the vision and translation services.
    #[arg(long, default_value = "demo-google-key")]
    pub google_key: String,
    /// Bearer token of the chat and embeddings service.
    #[arg(long, default_value = "demo-llm-key")]
    pub llm_key: String,
    /// WordPress user.
    #[arg(long, default_value = "demo-editor")]
    pub wordpress_user: String,
    /// WordPress application password; spaces do not count, as in WordPress.
    #[arg(long, default_value = "abcd EFGH 1234 ijkl MNOP 5678")]
    pub wordpress_password: String,
    /// Bearer token of the Blogger API.
    #[arg(long, default_value = "demo-blogger-token")]
    pub blogger_token: String,
    /// The Blogger blog id that exists.
    #[arg(long, default_value = "8810001")]
    pub blogger_blog: String,
    /// Secret of the webhook sink, in the form of Standard Webhooks.
    #[arg(long, default_value = "whsec_ZGVtby13b3JsZC13ZWJob29rLXNlY3JldC0wMDAx")]
    pub webhook_secret: String,
}

/// Choices made at start.
pub struct Settings {
    /// Scheme and authority for absolute links, without a slash at the end.
    pub base_url: String,
    /// What the world is grown from.
    pub seed: u64,
    /// How late the slow product's page comes.
    pub slow: Duration,
    /// What the services accept.
    pub credentials: Credentials,
}

/// The world.
pub struct World {
    /// Choices made at start.
    pub settings: Settings,
    /// The time.
    pub clock: Clock,
    /// The mall's products.
    pub catalog: Catalog,
    /// Their pictures.
    pub pictures: Pictures,
    /// Text planted by a test: picture digest to what OCR reads on it.
    pub planted: Guarded<HashMap<String, String>>,
    /// The translator's dictionary.
    pub phrasebook: Guarded<Phrasebook>,
    /// Stored objects.
    pub buckets: Guarded<Buckets>,
    /// Published articles and received webhooks.
    pub blogs: Guarded<Blogs>,
    /// Answers that a test wants from the chat service.
    pub chat_rules: Guarded<Vec<ChatRule>>,
    /// What was asked of the world.
    pub log: RequestLog,
    /// How it is told to fail.
    pub faults: Guarded<Faults>,
    /// What it is told to hold back.
    pub gate: Gate,
}

impl World {
    /// Grows the world of the settings' seed.
    pub fn grow(settings: Settings, clock: Clock) -> Self {
        Self {
            catalog: Catalog::grow(settings.seed),
            pictures: Pictures::new(settings.seed),
            planted: Guarded::default(),
            phrasebook: Guarded::new(Phrasebook::known()),
            buckets: Guarded::new(Buckets::with(&settings.credentials.s3_bucket)),
            blogs: Guarded::default(),
            chat_rules: Guarded::default(),
            log: RequestLog::default(),
            faults: Guarded::default(),
            gate: Gate::default(),
            settings,
            clock,
        }
    }

    /// The time now.
    pub fn now(&self) -> DateTime<Utc> {
        (self.clock)()
    }

    /// An absolute address in this world.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.settings.base_url)
    }

    /// Forgets everything that requests and tests have left behind; held requests go on.
    pub fn reset(&self) {
        self.planted.lock().clear();
        *self.phrasebook.lock() = Phrasebook::known();
        *self.buckets.lock() = Buckets::with(&self.settings.credentials.s3_bucket);
        *self.blogs.lock() = Blogs::default();
        self.chat_rules.lock().clear();
        *self.faults.lock() = Faults::default();
        self.gate.release(None, false);
        self.log.clear();
    }
}
