//! What is read from the file system: folders of secrets and the keys of the table.
//!
//! Everything here blocks, so it runs on threads that may. Which snapshot is current is the business of `mod`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::folder::{self, NoValue, Stamp};
use super::keys::{KeySources, Keyring};
use super::known::{Entry, Known, Source};
use super::{SecretError, entry};
use crate::id::{OrganizationId, SecretName};

/// Where files are looked for.
#[derive(Default)]
pub(super) struct Files {
    /// In the order of their sources.
    pub(super) folders: Vec<(Source, PathBuf)>,
    /// Who may use a secret; one not named here is the root organization's.
    pub(super) organizations: BTreeMap<SecretName, BTreeSet<OrganizationId>>,
    pub(super) keys: KeySources,
}

impl Files {
    /// Adds what all folders hold at the start.
    ///
    /// # Errors
    /// When one cannot be read.
    pub(super) fn first(&self, next: &mut Known) -> Result<(), SecretError> {
        for (source, folder) in &self.folders {
            let read = self.folder(*source, folder, &Known::default(), next);
            read.map_err(|cause| SecretError::Unreadable {
                path: folder.clone(),
                cause,
            })?;
        }
        Ok(())
    }

    /// What the folders hold now. One that cannot be read keeps what it gave; the log says so.
    pub(super) fn again(&self, before: &Known) -> Known {
        let mut next = Known::default();
        for (source, folder) in &self.folders {
            let mut read = Known::default();
            match self.folder(*source, folder, before, &mut read) {
                Ok(()) => next.keep(*source, &read),
                Err(error) => {
                    tracing::warn!(folder = %folder.display(), %error, "secrets cannot be read; their last values stay");
                    next.keep(*source, before);
                }
            }
        }
        next
    }

    /// The keys as they are now, if their files are other ones than those of `ring`. Where they cannot be read the
    /// last ones stay; the log says so.
    pub(super) fn keys_again(&self, ring: &Keyring) -> Option<Keyring> {
        if !self.keys.changed_since(ring) {
            return None;
        }
        match self.keys.load() {
            Ok(keys) => Some(keys),
            Err(error) => {
                tracing::warn!(%error, "the keys of secrets cannot be read; the last ones stay");
                None
            }
        }
    }

    /// Whether the file of one of these names looks otherwise than `known` remembers.
    pub(super) fn changed(&self, names: &BTreeSet<SecretName>, known: &Known) -> bool {
        names.iter().any(|name| {
            self.folders.iter().any(|(source, folder)| {
                let before = known.entry(name, *source).and_then(|entry| entry.stamp);
                before != Stamp::of(&folder.join(name.as_str()))
            })
        })
    }

    /// Who may use a secret of the environment or a file.
    pub(super) fn owners(&self, name: &SecretName) -> BTreeSet<OrganizationId> {
        let owners = self.organizations.get(name).cloned();
        owners.unwrap_or_else(|| BTreeSet::from([OrganizationId::ROOT]))
    }

    fn folder(
        &self,
        source: Source,
        folder: &Path,
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
            let owners = self.owners(&name);
            let path = folder.join(name.as_str());
            let read = match folder::read(&path) {
                Ok(read) => {
                    let warning = read.warning(&path);
                    if let Some(warning) = &warning {
                        tracing::warn!(secret = %name, source = source.as_str(), "a file {warning}");
                    }
                    Entry {
                        warning,
                        ..entry(source, owners, Ok(read.value), Some(read.stamp))
                    }
                }
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
}
