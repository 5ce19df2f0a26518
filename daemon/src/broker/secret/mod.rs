//! Secrets: where their values come from, who may use them, and when a new value is noticed.
//!
//! A name has the value of the first source that has it: environment, then `[secrets] folder`, then systemd's
//! credentials, then the table in the store. An attempt keeps the snapshot that it begins with. What changes
//! afterwards is noticed when the next attempt begins that is granted a secret: files by their stamps, the table at
//! once where this process changed it and within [`LOOK_AGAIN`] where another did. Nothing needs a restart but the
//! environment. Names may be listed; nothing here prints, compares with the outside, or serializes a value.

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
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use secrecy::SecretString;
use tokio::sync::Mutex;

use crate::id::{OrganizationId, SecretName};
use crate::workflow::grant::{Grants, Place, SecretPiece, Signing};
use folder::{NoValue, Stamp};
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
    folders: Vec<(Source, PathBuf)>,
    organizations: BTreeMap<SecretName, BTreeSet<OrganizationId>>,
    key_sources: KeySources,
    keys: ArcSwap<Keyring>,
    table: Option<Table>,
    current: ArcSwap<Known>,
    /// Held while a new snapshot is made.
    turn: Mutex<()>,
    /// When the table and the key files were last looked at, in microseconds.
    looked_at: AtomicI64,
}

impl Default for Secrets {
    /// None at all.
    fn default() -> Self {
        Self {
            folders: Vec::new(),
            organizations: BTreeMap::new(),
            key_sources: KeySources::default(),
            keys: ArcSwap::default(),
            table: None,
            current: ArcSwap::default(),
            turn: Mutex::default(),
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
                    let owners = owners(&sources.organizations, &name);
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
        let key_sources = KeySources {
            variable: key_variable,
            files: sources.key_file.into_iter().chain(key_credential).collect(),
        };
        let folders = [
            (Source::Folder, sources.directory),
            (Source::Credentials, sources.credentials),
        ];
        let secrets = Self {
            folders: folders
                .into_iter()
                .filter_map(|(source, folder)| Some((source, folder?)))
                .collect(),
            organizations: sources.organizations,
            keys: ArcSwap::from_pointee(key_sources.load()?),
            key_sources,
            ..Self::default()
        };
        for (source, folder) in &secrets.folders {
            let read = secrets.read_folder(*source, folder, &Known::default(), &mut first);
            read.map_err(|cause| SecretError::Unreadable {
                path: folder.clone(),
                cause,
            })?;
        }
        secrets.current.store(Arc::new(first));
        Ok(secrets)
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
    /// before an attempt with them begins. What cannot be read keeps its last value; the log says so.
    pub async fn freshen(&self, grants: &Grants) {
        let names: BTreeSet<&SecretName> = named(grants).map(|(name, _)| name).collect();
        if names.is_empty() {
            return;
        }
        let known = self.current.load_full();
        let changed = names.iter().any(|name| {
            self.folders.iter().any(|(source, folder)| {
                let before = known.entry(name, *source).and_then(|entry| entry.stamp);
                before != Stamp::of(&folder.join(name.as_str()))
            })
        });
        if changed || self.table_changed(&known).await {
            self.refresh().await;
        }
    }

    /// Looks at everything again. What cannot be read keeps its last value; the log says so.
    pub async fn refresh(&self) {
        let _turn = self.turn.lock().await;
        self.refresh_keys();
        let before = self.current.load_full();
        let mut next = Known::default();
        next.keep(Source::Environment, &before);
        for (source, folder) in &self.folders {
            let mut read = Known::default();
            match self.read_folder(*source, folder, &before, &mut read) {
                Ok(()) => next.keep(*source, &read),
                Err(error) => {
                    tracing::warn!(folder = %folder.display(), %error, "secrets cannot be read; their last values stay");
                    next.keep(*source, &before);
                }
            }
        }
        self.read_table(&before, &mut next).await;
        next.remember(&before);
        self.current.store(Arc::new(next));
    }

    fn refresh_keys(&self) {
        if !self.key_sources.changed_since(&self.keys.load()) {
            return;
        }
        match self.key_sources.load() {
            Ok(keys) => self.keys.store(Arc::new(keys)),
            Err(error) => {
                tracing::warn!(%error, "the keys of secrets cannot be read; the last ones stay");
            }
        }
    }

    fn read_folder(
        &self,
        source: Source,
        folder: &std::path::Path,
        before: &Known,
        next: &mut Known,
    ) -> std::io::Result<()> {
        for (name, stamp) in folder::names(folder)? {
            let known = before.entry(&name, source);
            if known.is_some_and(|entry| entry.stamp == Some(stamp))
                && next.keep_one(&name, source, before)
            {
                continue;
            }
            let owners = owners(&self.organizations, &name);
            let read = match folder::read(&folder.join(name.as_str())) {
                Ok((value, stamp)) => entry(source, owners, Ok(value), Some(stamp)),
                Err(NoValue::Unsettled) if next.keep_one(&name, source, before) => continue,
                // No stamp: it is looked at again.
                Err(NoValue::Unsettled) => {
                    let problem = "is empty or being written".to_owned();
                    entry(source, owners, Err(problem), None)
                }
                Err(NoValue::Bad(problem)) => {
                    let told = known.and_then(|entry| entry.value.as_ref().err());
                    if told != Some(&problem) {
                        tracing::warn!(secret = %name, source = source.as_str(), problem, "a secret cannot be used");
                    }
                    entry(source, owners, Err(problem), Some(stamp))
                }
            };
            next.add(name, read);
        }
        Ok(())
    }

    fn looked_recently(&self, now: i64) -> bool {
        let pause = i64::try_from(LOOK_AGAIN.as_micros()).unwrap_or(i64::MAX);
        let last = self.looked_at.load(Ordering::Relaxed);
        // A clock that went back makes the difference negative: look.
        (0..pause).contains(&now.saturating_sub(last))
    }
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
    }
}

fn owners(
    all: &BTreeMap<SecretName, BTreeSet<OrganizationId>>,
    name: &SecretName,
) -> BTreeSet<OrganizationId> {
    all.get(name)
        .cloned()
        .unwrap_or_else(|| BTreeSet::from([OrganizationId::ROOT]))
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
