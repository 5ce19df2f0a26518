//! Secrets: where their values come from, who may use them, and when a new value is noticed.
//!
//! A name has the value of the first source that has it: environment, then `[secrets] folder`, then systemd's
//! credentials, then the table in the store. An attempt keeps the snapshot that it begins with. What changes
//! afterwards is noticed when the next attempt begins that is granted a secret: files by their stamps, the table at
//! once where this process changed it and within [`LOOK_AGAIN`] where another did. Nothing needs a restart but the
//! environment. Names may be listed; nothing here prints, compares with the outside, or serializes a value.
//!
//! One reading of the sources goes on at a time, on a thread that may block; who asks for one while others wait
//! takes the next one with them. Nobody waits longer than [`PATIENCE`]: what does not answer keeps its last value.

mod files;
mod folder;
mod keys;
mod known;
mod seal;
mod table;

pub use keys::{KEY_CREDENTIAL, KEY_VARIABLE, KeyError, generate_key};
pub(in crate::broker) use known::INJECTED_BYTES_MIN;
pub use known::{Known, Listed, SealedFacts, Source};
pub use table::{Rekeyed, SecretSet, TableError};

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use secrecy::SecretString;
use tokio::sync::{Mutex, Semaphore};

use crate::id::{OrganizationId, SecretName};
use crate::workflow::grant::{Grants, Place, SecretPiece, Signing};
use files::Files;
use folder::Stamp;
use keys::{KeySources, Keyring};
use known::Entry;
use table::Table;

/// The environment variables that hold secrets begin with this: `FLOWWEAVER_SECRET_OPENAI_API_KEY`.
pub const ENVIRONMENT_PREFIX: &str = "FLOWWEAVER_SECRET_";
/// Larger than any key or certificate chain; bounds what a wrong path can make the daemon read.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;
/// How long another daemon's change of the table, or a new key file, may go unnoticed. One small read of the store in
/// this time costs nothing, one at each attempt would.
pub const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// An attempt does not wait longer for all sources together than this; it begins with what is known.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// Looks at files at one time. Each takes microseconds; where a network's folder hangs, so many threads hang with it.
const LOOKS: usize = 4;

/// Where to look.
#[derive(Default)]
pub struct SecretSources {
    /// Environment variables that begin with [`ENVIRONMENT_PREFIX`], and [`KEY_VARIABLE`]; usually all of the process's.
    pub environment: Vec<(OsString, OsString)>,
    /// A folder with one file a secret, named by it.
    pub directory: Option<PathBuf>,
    /// systemd's `CREDENTIALS_DIRECTORY`, read like `directory`; [`KEY_CREDENTIAL`] in it holds keys.
    pub credentials: Option<PathBuf>,
    /// A file with the keys of the table.
    pub key_file: Option<PathBuf>,
    /// Which organizations may use a secret; one not named here belongs to the root organization. The table's say it
    /// themselves.
    pub organizations: BTreeMap<SecretName, BTreeSet<OrganizationId>>,
}

/// Why the secrets could not be read. Never holds a value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// A folder could not be read.
    #[error("cannot read secrets from {}: {cause}", path.display())]
    Unreadable {
        /// The folder.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// A value is longer than 64 KiB or is not UTF-8 text.
    #[error("the secret in {place} is not UTF-8 text of at most 64 KiB")]
    NotText {
        /// The variable.
        place: String,
    },
    /// The keys of the table.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// All secrets of the process.
pub struct Secrets {
    files: Arc<Files>,
    keys: ArcSwap<Keyring>,
    table: Option<Table>,
    current: ArcSwap<Known>,
    /// Held while the sources are read, also by the thread that reads them.
    turn: Arc<Mutex<()>>,
    /// How many readings have begun.
    begun: AtomicU64,
    /// The number of the last reading that came to its end.
    done: AtomicU64,
    looks: Arc<Semaphore>,
    patience: Duration,
    /// When the table and the key files were last looked at, in microseconds.
    looked_at: AtomicI64,
}

impl Default for Secrets {
    /// None at all.
    fn default() -> Self {
        Self {
            files: Arc::default(),
            keys: ArcSwap::default(),
            table: None,
            current: ArcSwap::default(),
            turn: Arc::default(),
            begun: AtomicU64::new(0),
            done: AtomicU64::new(0),
            looks: Arc::new(Semaphore::new(LOOKS)),
            patience: PATIENCE,
            looked_at: AtomicI64::new(i64::MIN),
        }
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.current.load().fmt(f)
    }
}

impl Secrets {
    /// Reads environment, folders and keys. Files whose names are not secret names are passed over; one that holds no
    /// secret is listed with its problem and harms nobody else.
    ///
    /// # Errors
    /// When a folder or the keys cannot be read, or a variable is no text.
    pub fn load(sources: SecretSources) -> Result<Self, SecretError> {
        let mut first = Known::default();
        let mut key_variable = None;
        let mut files = Files {
            organizations: sources.organizations,
            ..Files::default()
        };
        for (variable, value) in sources.environment {
            let Some(variable) = variable.to_str() else {
                continue;
            };
            let name = variable
                .strip_prefix(ENVIRONMENT_PREFIX)
                .and_then(|name| name.parse::<SecretName>().ok());
            // An empty variable is how shells and unit files say that there is none.
            if (name.is_none() && variable != KEY_VARIABLE) || value.is_empty() {
                continue;
            }
            let value = value.into_string().ok();
            let value = value.filter(|value| value.len() <= VALUE_BYTES_MAX);
            let value = SecretString::from(value.ok_or_else(|| SecretError::NotText {
                place: variable.to_owned(),
            })?);
            match name {
                Some(name) => {
                    let owners = files.owners(&name);
                    first.add(name, entry(Source::Environment, owners, Ok(value), None));
                }
                None => key_variable = Some(value),
            }
        }
        let key_credential = sources
            .credentials
            .as_ref()
            .map(|folder| folder.join(KEY_CREDENTIAL))
            .filter(|path| path.exists());
        files.keys = KeySources {
            variable: key_variable,
            files: sources.key_file.into_iter().chain(key_credential).collect(),
        };
        let folders = [
            (Source::Folder, sources.directory),
            (Source::Credentials, sources.credentials),
        ];
        files.folders = folders
            .into_iter()
            .filter_map(|(source, folder)| Some((source, folder?)))
            .collect();
        let keys = ArcSwap::from_pointee(files.keys.load()?);
        files.first(&mut first)?;
        Ok(Self {
            files: Arc::new(files),
            keys,
            current: ArcSwap::from_pointee(first),
            ..Self::default()
        })
    }

    /// What is known now.
    pub fn current(&self) -> Arc<Known> {
        self.current.load_full()
    }

    /// The names that an organization may use, as far as known now.
    pub fn names(&self, organization: OrganizationId) -> Vec<SecretName> {
        self.current.load().names(organization)
    }

    /// Notices what has changed of the secrets that these grants name, as [`LOOK_AGAIN`] allows. To be called
    /// before an attempt with them begins. What cannot be read within [`PATIENCE`] keeps its last value; the log
    /// says so.
    pub async fn freshen(&self, grants: &Grants) {
        let names: BTreeSet<SecretName> = named(grants).map(|(name, _)| name.clone()).collect();
        if names.is_empty() {
            return;
        }
        self.patiently(async {
            let known = self.current.load_full();
            if self.files_changed(names, &known).await || self.table_changed(&known).await {
                self.read_again().await;
            }
        })
        .await;
    }

    /// Looks at everything again. What cannot be read within [`PATIENCE`] keeps its last value; the log says so.
    pub async fn refresh(&self) {
        self.patiently(self.read_again()).await;
    }

    async fn patiently(&self, work: impl Future<Output = ()>) {
        if tokio::time::timeout(self.patience, work).await.is_err() {
            tracing::warn!(waited = ?self.patience, "the sources of secrets do not answer; their last values stay");
        }
    }

    async fn files_changed(&self, names: BTreeSet<SecretName>, known: &Arc<Known>) -> bool {
        if self.files.folders.is_empty() {
            return false;
        }
        let Ok(look) = Arc::clone(&self.looks).acquire_owned().await else {
            return false;
        };
        let (files, known) = (Arc::clone(&self.files), Arc::clone(known));
        blocking(move || {
            let _look = look;
            files.changed(&names, &known)
        })
        .await
        .unwrap_or(false)
    }

    /// Reads all sources, or takes what a reading found that began after this call.
    async fn read_again(&self) {
        let before = self.begun.load(Ordering::SeqCst);
        let turn = Arc::clone(&self.turn).lock_owned().await;
        if self.done.load(Ordering::SeqCst) > before {
            return;
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let known = self.current.load_full();
        let (files, ring) = (Arc::clone(&self.files), self.keys.load_full());
        let last = Arc::clone(&known);
        // The thread holds the turn: while a folder hangs, nobody sends a second one after it.
        let read = blocking(move || (turn, files.again(&last), files.keys_again(&ring)));
        let Some((_turn, mut next, keys)) = read.await else {
            return;
        };
        if let Some(keys) = keys {
            self.keys.store(Arc::new(keys));
        }
        // The files' values do not wait for the table.
        next.keep(Source::Table, &known);
        next.changes = known.changes;
        let next = self.publish(next, &known);
        self.read_table(&next).await;
        self.done.store(number, Ordering::SeqCst);
    }

    /// Makes this the current snapshot, with what does not change; gives it back.
    fn publish(&self, mut next: Known, before: &Known) -> Arc<Known> {
        next.keep(Source::Environment, before);
        next.in_order();
        next.remember(before);
        let next = Arc::new(next);
        self.current.store(Arc::clone(&next));
        next
    }

    /// Whether it is time for another look at the table and the key files; whoever is told so looks.
    fn looks_now(&self, now: i64) -> bool {
        let pause = i64::try_from(LOOK_AGAIN.as_micros()).unwrap_or(i64::MAX);
        let last = self.looked_at.load(Ordering::Relaxed);
        // A clock that went back makes the difference negative: look.
        let recently = (0..pause).contains(&now.saturating_sub(last));
        let swap = |last| {
            let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
            self.looked_at.compare_exchange(last, now, success, failure)
        };
        !recently && swap(last).is_ok()
    }
}

/// Runs what blocks on a thread that may; none when it panicked, which is logged there.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

fn entry(
    source: Source,
    owners: BTreeSet<OrganizationId>,
    value: Result<SecretString, String>,
    stamp: Option<Stamp>,
) -> Entry {
    Entry {
        source,
        owners,
        value,
        stamp,
        sealed: None,
        warning: None,
    }
}

/// The secrets that grants name, with the place of each grant.
pub fn named(grants: &Grants) -> impl Iterator<Item = (&SecretName, &Place)> {
    grants.http.iter().flat_map(|grant| {
        let signing = grant.sign.iter().flat_map(Signing::secret_texts);
        let texts = grant.headers.iter().map(|(_, text)| text).chain(signing);
        texts
            .flat_map(|text| &text.0)
            .filter_map(|piece| match piece {
                SecretPiece::Secret(name) => Some((name, &grant.place)),
                SecretPiece::Text(_) => None,
            })
    })
}

#[cfg(test)]
mod tests;
