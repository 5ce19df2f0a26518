//! Secrets in the store's table: opening what is there, and the commands that change it.
//!
//! The store sees sealed rows only. A row whose key is not at hand, or that does not open, is one secret's problem.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use secrecy::{ExposeSecret as _, SecretString};

use super::keys::{Key, KeyError, Keyring};
use super::known::{Entry, Known, SealedFacts, Source, too_short};
use super::seal::{Place, Sealed, open, seal};
use super::{Secrets, VALUE_BYTES_MAX, blocking};
use crate::clock::Clock;
use crate::id::{OrganizationId, SecretName};
use crate::store::rows::SecretRow;
use crate::store::{Store, StoreError};

/// Rows of the table: all are opened at a change, and people look at the list.
const SECRETS_MAX: usize = 1_000;
/// Another daemon that sets the same secret at the same moment wins this often before we say so.
const TRIES: u32 = 5;
/// Names in a message: who has lost a key knows by a few what it was for.
const NAMED_MAX: usize = 10;

/// The store behind the table.
pub(super) struct Table {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

/// Why a command on the table was not carried out. Never holds a value.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// There is no key.
    #[error(
        "there is no key to encrypt secrets with. Make one with `flowweaver secret key`, keep it in a file that only the daemon can read, and name that under [secrets] key_file (or use FLOWWEAVER_SECRETS_KEY, or the systemd credential flowweaver-secrets-key)"
    )]
    NoKey,
    /// The keys cannot be read now, so that what is sealed with the last ones might never be opened again.
    #[error("nothing was changed, because a value encrypted now might be lost: {0}")]
    Keys(#[from] KeyError),
    /// What is in the table does not open with the keys there are, so they may be the wrong ones.
    #[error(
        "nothing was changed, because the daemon does not have the keys of what is in the table, so that its own may be the wrong ones: {}. Put the missing keys back beside the one there is; or give those secrets up with `flowweaver secret delete NAME`, and try again", listed(mine, *others)
    )]
    Foreign {
        /// Those of the organization that asks.
        mine: Vec<Unopened>,
        /// How many others have.
        others: usize,
    },
    /// The value is no text that can be used.
    #[error("a secret's value is text of 1 byte to 64 KiB")]
    Value,
    /// There are too many.
    #[error("there are {SECRETS_MAX} secrets in the table already")]
    TooMany,
    /// Others changed the same secret again and again.
    #[error("others are changing the same secret at this moment; try again")]
    Contended,
    /// The name is not in the table but elsewhere.
    #[error("`{name}` does not come from the table but from the {}; remove it there", source_name.as_str())]
    Elsewhere {
        /// The secret.
        name: SecretName,
        /// Its source.
        source_name: Source,
    },
    /// The cipher failed, which it does not.
    #[error("the value cannot be encrypted")]
    Cipher,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What setting a secret did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretSet {
    /// Its revision now.
    pub revision: u64,
    /// The source whose value is used all the same.
    pub shadowed_by: Option<Source>,
    /// Why the value cannot be used, as the end of a sentence.
    pub problem: Option<String>,
}

/// A secret in the table that does not open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unopened {
    /// Its name.
    pub name: SecretName,
    /// The key that it was sealed with.
    pub key_id: String,
    /// Why it does not open, as the end of a sentence.
    pub problem: String,
}

fn listed(mine: &[Unopened], others: usize) -> String {
    let shown = mine.iter().take(NAMED_MAX);
    let mut text: Vec<String> = shown
        .map(|unopened| format!("{} (key {})", unopened.name, unopened.key_id))
        .collect();
    match mine.len().saturating_sub(NAMED_MAX) {
        0 => {}
        more => text.push(format!("{more} more")),
    }
    if others > 0 {
        text.push(format!("{others} of other organizations"));
    }
    text.join(", ")
}

/// What sealing everything anew did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rekeyed {
    /// The key that seals now.
    pub key_id: String,
    /// Sealed anew.
    pub rekeyed: usize,
    /// Were so already.
    pub current: usize,
    /// Stay as they are.
    pub failed: Vec<Unopened>,
}

/// What became of one row that was to be sealed anew.
#[derive(Debug, PartialEq, Eq)]
enum Resealed {
    Anew,
    /// It was sealed with the first key already.
    Current,
    /// It was deleted meanwhile.
    Gone,
    Failed(Unopened),
}

impl Secrets {
    /// The same secrets, and those in the table of this store once [`Secrets::refresh`] has read it.
    #[must_use]
    pub fn with_table(mut self, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        self.table = Some(Table { store, clock });
        self
    }

    /// Whether the operator names a key, so that there may be secrets in the table.
    pub fn has_keys(&self) -> bool {
        self.files.keys.any()
    }

    /// The names of the keys, the sealing one first. Names tell keys apart and nothing else.
    pub fn key_ids(&self) -> Vec<String> {
        self.keys.load().ids().map(str::to_owned).collect()
    }

    /// Whether the table, or the keys, changed since `known`; looked at once in [`super::LOOK_AGAIN`].
    pub(super) async fn table_changed(&self, known: &Known) -> bool {
        let Some(table) = &self.table else {
            return false;
        };
        if !self.looks_now(table.clock.now().as_micros()) {
            return false;
        }
        let (files, ring) = (Arc::clone(&self.files), self.keys.load_full());
        if blocking(move || files.keys.changed_since(&ring)).await == Some(true) {
            return true;
        }
        match table.store.secret_changes().await {
            Ok(changes) => known.changes != Some(changes),
            Err(error) => {
                tracing::warn!(%error, "the table of secrets cannot be looked at; its last values stay");
                false
            }
        }
    }

    /// Reads the table, and makes what it has the current values. `before` is current and has all other sources.
    pub(super) async fn read_table(&self, before: &Known) {
        let Some(table) = &self.table else {
            return;
        };
        self.looked_at
            .store(table.clock.now().as_micros(), Ordering::Relaxed);
        let (changes, rows) = match table.store.secrets().await {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(%error, "the table of secrets cannot be read; its last values stay");
                return;
            }
        };
        let mut next = Known::default();
        next.keep(Source::Folder, before);
        next.keep(Source::Credentials, before);
        let keys = self.keys.load();
        for row in rows {
            let (name, read) = (row.name.clone(), entry(&keys, row));
            let told = before.entry(&name, Source::Table);
            if let Err(problem) = &read.value
                && told.and_then(|told| told.value.as_ref().err()) != Some(problem)
            {
                tracing::warn!(secret = %name, problem, "a secret cannot be used");
            }
            next.add(name, read);
        }
        next.changes = Some(changes);
        self.publish(next, before);
    }

    /// The keys as their sources have them at this moment: what is sealed with others might never be opened again.
    async fn keys_now(&self) -> Result<Arc<Keyring>, TableError> {
        let files = Arc::clone(&self.files);
        let read = blocking(move || files.keys.load()).await;
        let keys = Arc::new(read.ok_or(TableError::Cipher)??);
        self.keys.store(Arc::clone(&keys));
        Ok(keys)
    }

    /// Writes a secret into the table, for attempts that begin from now on. `by` is kept with it.
    ///
    /// # Errors
    /// Nothing was written, except after a `Store` error, when it is unknown.
    pub async fn set(
        &self,
        organization: OrganizationId,
        name: &SecretName,
        value: &SecretString,
        by: &str,
    ) -> Result<SecretSet, TableError> {
        let length = value.expose_secret().len();
        if length == 0 || length > VALUE_BYTES_MAX {
            return Err(TableError::Value);
        }
        let table = self.table.as_ref().ok_or(TableError::NoKey)?;
        let keys = self.keys_now().await?;
        let key = keys.first().ok_or(TableError::NoKey)?;
        for _ in 0..TRIES {
            let (_, rows) = table.store.secrets().await?;
            foreign(&keys, &rows, organization)?;
            let at = |row: &&SecretRow| row.organization_id == organization && row.name == *name;
            let old = rows.iter().find(at);
            if old.is_none() && rows.len() >= SECRETS_MAX {
                return Err(TableError::TooMany);
            }
            let now = table.clock.now();
            let row = SecretRow {
                organization_id: organization,
                name: name.clone(),
                revision: old.map_or(1, |old| old.revision.saturating_add(1)),
                key_id: String::new(),
                nonce: Vec::new(),
                ciphertext: Vec::new(),
                created_at: old.map_or(now, |old| old.created_at),
                created_by: old.map_or(by, |old| &old.created_by).to_owned(),
                updated_at: now,
                updated_by: by.to_owned(),
            };
            let row = sealed(key, row, value)?;
            if table.store.secret_put(&row, old).await? {
                tracing::info!(secret = %name, revision = row.revision, by, "a secret was set");
                self.refresh().await;
                let shadowed_by = self.shadow(organization, name);
                let revision = row.revision;
                return Ok(SecretSet {
                    revision,
                    shadowed_by,
                    problem: too_short(value),
                });
            }
        }
        Err(TableError::Contended)
    }

    /// The source before the table that has this name, if any.
    fn shadow(&self, organization: OrganizationId, name: &SecretName) -> Option<Source> {
        let listed = self.current().list(organization);
        let first = listed.into_iter().find(|listed| listed.name == *name)?;
        Some(first.source).filter(|source| *source != Source::Table)
    }

    /// Removes a secret from the table; answers whether there was one.
    ///
    /// # Errors
    /// `Elsewhere` when the name is not in the table and comes from another source.
    pub async fn delete(
        &self,
        organization: OrganizationId,
        name: &SecretName,
        by: &str,
    ) -> Result<bool, TableError> {
        let deleted = match &self.table {
            Some(table) => table.store.secret_delete(organization, name).await?,
            None => false,
        };
        self.refresh().await;
        if deleted {
            tracing::info!(secret = %name, by, "a secret was deleted");
            return Ok(true);
        }
        match self.shadow(organization, name) {
            Some(source_name) => Err(TableError::Elsewhere {
                name: name.clone(),
                source_name,
            }),
            None => Ok(false),
        }
    }

    /// Seals everything with the first key that is sealed with another.
    ///
    /// # Errors
    /// Without a key, or when the keys cannot be read. A secret that cannot be opened is told in the answer and left
    /// as it is.
    pub async fn rekey(&self, by: &str) -> Result<Rekeyed, TableError> {
        let table = self.table.as_ref().ok_or(TableError::NoKey)?;
        let keys = self.keys_now().await?;
        let key = keys.first().ok_or(TableError::NoKey)?;
        let mut done = Rekeyed {
            key_id: key.id().to_owned(),
            ..Rekeyed::default()
        };
        for row in table.store.secrets().await?.1 {
            match reseal(table, &keys, key, row).await? {
                Resealed::Anew => done.rekeyed += 1,
                Resealed::Current => done.current += 1,
                Resealed::Gone => {}
                Resealed::Failed(unopened) => done.failed.push(unopened),
            }
        }
        tracing::info!(
            key = done.key_id,
            rekeyed = done.rekeyed,
            failed = done.failed.len(),
            by,
            "secrets were sealed anew"
        );
        self.refresh().await;
        Ok(done)
    }
}

/// Seals one row with this key. Where somebody sets the secret meanwhile, theirs is the value, and is read again.
async fn reseal(
    table: &Table,
    keys: &Keyring,
    key: &Key,
    mut row: SecretRow,
) -> Result<Resealed, TableError> {
    for _ in 0..TRIES {
        if row.key_id == key.id() {
            return Ok(Resealed::Current);
        }
        let value = match opened(keys, &row) {
            Ok(value) => value,
            Err(problem) => return Ok(Resealed::Failed(unopened(&row, problem))),
        };
        let anew = SecretRow {
            revision: row.revision.saturating_add(1),
            ..row.clone()
        };
        let anew = sealed(key, anew, &value)?;
        if table.store.secret_put(&anew, Some(&row)).await? {
            return Ok(Resealed::Anew);
        }
        let (_, rows) = table.store.secrets().await?;
        let same =
            |now: &SecretRow| now.organization_id == row.organization_id && now.name == row.name;
        match rows.into_iter().find(same) {
            Some(now) => row = now,
            None => return Ok(Resealed::Gone),
        }
    }
    let problem = "is being changed by others at this moment; try again".to_owned();
    Ok(Resealed::Failed(unopened(&row, problem)))
}

fn unopened(row: &SecretRow, problem: String) -> Unopened {
    Unopened {
        name: row.name.clone(),
        key_id: row.key_id.clone(),
        problem,
    }
}

/// Errors: when a row's key is not at hand. One that does not open with its own key was damaged, which says nothing
/// about the keys.
fn foreign(
    keys: &Keyring,
    rows: &[SecretRow],
    organization: OrganizationId,
) -> Result<(), TableError> {
    let foreign = rows.iter().filter(|row| keys.get(&row.key_id).is_none());
    let (mine, others): (Vec<_>, Vec<_>) =
        foreign.partition(|row| row.organization_id == organization);
    if mine.is_empty() && others.is_empty() {
        return Ok(());
    }
    let mine = mine
        .into_iter()
        .map(|row| unopened(row, no_key(&row.key_id)));
    Err(TableError::Foreign {
        mine: mine.collect(),
        others: others.len(),
    })
}

fn no_key(id: &str) -> String {
    format!("was encrypted with the key {id}, which the daemon does not have")
}

/// A row with its value sealed for the place that the row names.
fn sealed(key: &Key, row: SecretRow, value: &SecretString) -> Result<SecretRow, TableError> {
    let Sealed { nonce, ciphertext } =
        seal(key, place(&row), value).map_err(|_| TableError::Cipher)?;
    Ok(SecretRow {
        key_id: key.id().to_owned(),
        nonce,
        ciphertext,
        ..row
    })
}

fn place(row: &SecretRow) -> Place<'_> {
    Place {
        organization: row.organization_id,
        name: &row.name,
        revision: row.revision,
    }
}

/// A row's value, or why there is none, as the end of a sentence.
fn opened(keys: &Keyring, row: &SecretRow) -> Result<SecretString, String> {
    let key = keys.get(&row.key_id).ok_or_else(|| no_key(&row.key_id))?;
    let sealed = Sealed {
        nonce: row.nonce.clone(),
        ciphertext: row.ciphertext.clone(),
    };
    open(key, place(row), &sealed).map_err(|_| {
        let id = key.id();
        format!("does not open with its key {id}: the row was changed, or moved from another place")
    })
}

fn entry(keys: &Keyring, row: SecretRow) -> Entry {
    Entry {
        source: Source::Table,
        owners: BTreeSet::from([row.organization_id]),
        value: opened(keys, &row),
        stamp: None,
        warning: None,
        sealed: Some(SealedFacts {
            revision: row.revision,
            key_id: row.key_id,
            updated_at: row.updated_at,
            updated_by: row.updated_by,
        }),
    }
}

#[cfg(test)]
mod tests;
