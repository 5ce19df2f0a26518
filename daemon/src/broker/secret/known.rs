//! What is known of all secrets at one time: an immutable snapshot that an attempt keeps to its end.
//!
//! Where it comes from is the business of `mod`. A value leaves it only into a request that the host sends, and into
//! the scrubber that looks for it in what comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

use super::folder::Stamp;
use crate::clock::Timestamp;
use crate::id::{OrganizationId, SecretName};
use crate::workflow::grant::{SecretPiece, SecretText};

/// Replaced values that are still looked for in what comes back: servers remember the last one, or a few.
const FORMER_MAX: usize = 4;

/// Shorter secrets would mask ordinary text all over, and tell by it what they are. They are not
/// injected at all, because they could not be kept out of answers.
pub(in crate::broker) const INJECTED_BYTES_MIN: usize = 4;

/// Where a value comes from. The order is the order of precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A variable of the process's environment.
    Environment,
    /// A file in `[secrets] folder`.
    Folder,
    /// A systemd credential.
    Credentials,
    /// The table in the store.
    Table,
}

impl Source {
    /// One lower-case word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::Folder => "folder",
            Self::Credentials => "credentials",
            Self::Table => "table",
        }
    }
}

/// One place's value for a name, or why there is none to be had.
pub(super) struct Entry {
    pub(super) source: Source,
    pub(super) owners: BTreeSet<OrganizationId>,
    pub(super) value: Result<SecretString, String>,
    pub(super) stamp: Option<Stamp>,
    pub(super) sealed: Option<SealedFacts>,
    /// What is unsafe about the value's place, as the end of a sentence.
    pub(super) warning: Option<String>,
}

/// What the table tells of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedFacts {
    /// Grows by one with every change.
    pub revision: u64,
    /// The key that opens it.
    pub key_id: String,
    /// When its value was set.
    pub updated_at: Timestamp,
    /// By whom.
    pub updated_by: String,
}

impl Entry {
    fn clone_of(&self) -> Self {
        Self {
            source: self.source,
            owners: self.owners.clone(),
            value: self.value.clone(),
            stamp: self.stamp,
            sealed: self.sealed.clone(),
            warning: self.warning.clone(),
        }
    }
}

/// A secret as lists show it: everything but its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: SecretName,
    /// Where it comes from.
    pub source: Source,
    /// The source that is looked at before this one and has the name too.
    pub shadowed_by: Option<Source>,
    /// Who may use it.
    pub organizations: BTreeSet<OrganizationId>,
    /// When the value was last set, where that is known.
    pub updated_at: Option<Timestamp>,
    /// What the table says, for one that is there.
    pub sealed: Option<SealedFacts>,
    /// Why its value cannot be used, as the end of a sentence.
    pub problem: Option<String>,
    /// What is unsafe about the place that it comes from, as the end of a sentence.
    pub warning: Option<String>,
}

/// A text that cannot be filled in: which secret is missing, and why if it exists all the same. Reads as the end
/// of a sentence that begins with "needs the secret".
#[derive(Debug, PartialEq, Eq)]
pub(in crate::broker) struct Unfilled {
    name: SecretName,
    problem: Option<String>,
}

impl fmt::Display for Unfilled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            None => write!(f, "`{}`, which does not exist", self.name),
            Some(problem) => write!(f, "`{}`, which {problem}", self.name),
        }
    }
}

/// All secrets at one time.
#[derive(Default)]
pub struct Known {
    /// In the order of their sources.
    entries: BTreeMap<SecretName, Vec<Entry>>,
    /// Values that were replaced, the latest first.
    former: BTreeMap<SecretName, Vec<SecretString>>,
    /// The count of changes that the table's entries are the result of.
    pub(super) changes: Option<u64>,
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.entries.keys()).finish()
    }
}

impl Known {
    /// Adds what a source has. Where sources do not come in their order, [`Self::in_order`] is called at the end.
    pub(super) fn add(&mut self, name: SecretName, entry: Entry) {
        self.entries.entry(name).or_default().push(entry);
    }

    /// Puts every name's entries in the order of their sources.
    pub(super) fn in_order(&mut self) {
        for entries in self.entries.values_mut() {
            entries.sort_by_key(|entry| entry.source);
        }
    }

    /// Takes over what another snapshot has of one source.
    pub(super) fn keep(&mut self, source: Source, from: &Self) {
        for (name, entries) in &from.entries {
            for entry in entries.iter().filter(|entry| entry.source == source) {
                self.add(name.clone(), entry.clone_of());
            }
        }
    }

    /// Takes over one source's entry for a name; answers whether there was one with a value.
    pub(super) fn keep_one(&mut self, name: &SecretName, source: Source, from: &Self) -> bool {
        let entry = from.entry(name, source).filter(|entry| entry.value.is_ok());
        let kept = entry.map(Entry::clone_of);
        let found = kept.is_some();
        if let Some(entry) = kept {
            self.add(name.clone(), entry);
        }
        found
    }

    /// What one source has for a name.
    pub(super) fn entry(&self, name: &SecretName, source: Source) -> Option<&Entry> {
        let entries = self.entries.get(name)?;
        entries.iter().find(|entry| entry.source == source)
    }

    /// Remembers the values of `before` that are no longer here, so that they are still recognised.
    pub(super) fn remember(&mut self, before: &Self) {
        let mut former = before.former.clone();
        for (name, entries) in &before.entries {
            for old in entries.iter().filter_map(|entry| entry.value.as_ref().ok()) {
                let still = self.values(name).any(|value| same(value, old));
                let list = former.entry(name.clone()).or_default();
                if !still && !list.iter().any(|value| same(value, old)) {
                    list.insert(0, old.clone());
                    list.truncate(FORMER_MAX);
                }
            }
        }
        former.retain(|_, list| !list.is_empty());
        self.former = former;
    }

    fn values(&self, name: &SecretName) -> impl Iterator<Item = &SecretString> {
        let entries = self.entries.get(name).into_iter().flatten();
        entries.filter_map(|entry| entry.value.as_ref().ok())
    }

    /// The names that an organization may use.
    pub fn names(&self, organization: OrganizationId) -> Vec<SecretName> {
        let usable = |entries: &[Entry]| {
            entries
                .iter()
                .any(|entry| entry.owners.contains(&organization))
        };
        let mine = self.entries.iter().filter(|(_, entries)| usable(entries));
        mine.map(|(name, _)| name.clone()).collect()
    }

    /// Every source of every name that an organization may use.
    pub fn list(&self, organization: OrganizationId) -> Vec<Listed> {
        let mut listed = Vec::new();
        for (name, entries) in &self.entries {
            let mut first = None;
            for entry in entries
                .iter()
                .filter(|entry| entry.owners.contains(&organization))
            {
                let sealed = entry.sealed.clone();
                let updated_at = sealed
                    .as_ref()
                    .map(|sealed| sealed.updated_at)
                    .or(entry.stamp.map(Stamp::modified));
                listed.push(Listed {
                    name: name.clone(),
                    source: entry.source,
                    shadowed_by: first,
                    organizations: entry.owners.clone(),
                    updated_at,
                    sealed,
                    problem: match &entry.value {
                        Ok(value) => too_short(value),
                        Err(problem) => Some(problem.clone()),
                    },
                    warning: entry.warning.clone(),
                });
                first = first.or(Some(entry.source));
            }
        }
        listed
    }

    /// Fills in a text from a grant. To an organization another's secret looks the same as an absent one.
    pub(in crate::broker) fn fill(
        &self,
        text: &SecretText,
        organization: OrganizationId,
    ) -> Result<SecretString, Unfilled> {
        let mut whole = String::new();
        for piece in &text.0 {
            match piece {
                SecretPiece::Text(text) => whole.push_str(text),
                SecretPiece::Secret(name) => {
                    whole.push_str(self.value(name, organization)?.expose_secret());
                }
            }
        }
        Ok(SecretString::from(whole))
    }

    fn value(
        &self,
        name: &SecretName,
        organization: OrganizationId,
    ) -> Result<&SecretString, Unfilled> {
        let unfilled = |problem: Option<&String>| Unfilled {
            name: name.clone(),
            problem: problem.cloned(),
        };
        let mut entries = self.entries.get(name).into_iter().flatten();
        let entry = entries
            .find(|entry| entry.owners.contains(&organization))
            .ok_or_else(|| unfilled(None))?;
        let value = entry
            .value
            .as_ref()
            .map_err(|problem| unfilled(Some(problem)))?;
        match too_short(value) {
            Some(problem) => Err(unfilled(Some(&problem))),
            None => Ok(value),
        }
    }

    /// Every value that a text's secrets have or had, in any place: what must not come back.
    pub(in crate::broker) fn heard(&self, text: &SecretText) -> Vec<SecretString> {
        let names = text.0.iter().filter_map(|piece| match piece {
            SecretPiece::Secret(name) => Some(name),
            SecretPiece::Text(_) => None,
        });
        let mut heard = Vec::new();
        for name in names {
            heard.extend(self.values(name).cloned());
            heard.extend(self.former.get(name).into_iter().flatten().cloned());
        }
        heard
    }
}

/// Why a value of this length is not used, as the end of a sentence; none for a longer one.
pub(super) fn too_short(value: &SecretString) -> Option<String> {
    let value = value.expose_secret();
    // A server may answer in Latin-1, where each letter is one byte.
    let latin = value.chars().all(|c| u8::try_from(c).is_ok());
    let length = if latin {
        value.chars().count()
    } else {
        value.len()
    };
    (length < INJECTED_BYTES_MIN).then(|| {
        format!("has fewer than {INJECTED_BYTES_MIN} bytes and could not be kept out of answers")
    })
}

fn same(a: &SecretString, b: &SecretString) -> bool {
    a.expose_secret() == b.expose_secret()
}
