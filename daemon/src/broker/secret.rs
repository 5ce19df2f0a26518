//! Where secret values come from, and the only type that holds them.
//!
//! Names may be listed; a value leaves this type only into a request that the host sends. Nothing
//! here prints, compares or serializes a value.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

use crate::id::{OrganizationId, SecretName};
use crate::workflow::grant::{SecretPiece, SecretText};

/// The environment variables that hold secrets begin with this: `FLOWWEAVER_SECRET_OPENAI_API_KEY`.
pub const ENVIRONMENT_PREFIX: &str = "FLOWWEAVER_SECRET_";
/// Larger than any key or certificate chain; bounds what a wrong path can make the daemon read.
const VALUE_BYTES_MAX: u64 = 64 * 1024;

/// Where to look. A name found in several places has the value of the first: environment, then
/// `directory`, then `credentials`.
#[derive(Default)]
pub struct SecretSources {
    /// Environment variables that begin with [`ENVIRONMENT_PREFIX`], usually all of the process's.
    pub environment: Vec<(OsString, OsString)>,
    /// A folder with one file a secret, named by it.
    pub directory: Option<PathBuf>,
    /// systemd's `CREDENTIALS_DIRECTORY`, read like `directory`.
    pub credentials: Option<PathBuf>,
    /// Which organizations may use a secret; one not named here belongs to the root organization.
    pub organizations: BTreeMap<SecretName, BTreeSet<OrganizationId>>,
}

/// Why the secrets could not be read. Never holds a value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// A folder or file could not be read.
    #[error("cannot read secrets from {path}: {cause}")]
    Unreadable {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// A value is longer than 64 KiB or is not UTF-8 text.
    #[error("the secret in {place} is not UTF-8 text of at most 64 KiB")]
    NotText {
        /// The variable or file.
        place: String,
    },
}

/// All secret values of the process.
#[derive(Default)]
pub struct Secrets {
    values: BTreeMap<SecretName, SecretString>,
    organizations: BTreeMap<SecretName, BTreeSet<OrganizationId>>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

impl Secrets {
    /// Reads all sources. Files whose names are not secret names are passed over.
    pub fn load(sources: SecretSources) -> Result<Self, SecretError> {
        let mut values = BTreeMap::new();
        for directory in [sources.credentials, sources.directory]
            .into_iter()
            .flatten()
        {
            read_directory(&directory, &mut values)?;
        }
        for (variable, value) in sources.environment {
            let Some(name) = variable
                .to_str()
                .and_then(|text| text.strip_prefix(ENVIRONMENT_PREFIX))
                .and_then(|name| name.parse::<SecretName>().ok())
            else {
                continue;
            };
            let value = value.into_string().map_err(|_| SecretError::NotText {
                place: variable.to_string_lossy().into_owned(),
            })?;
            values.insert(name, SecretString::from(value));
        }
        Ok(Self {
            values,
            organizations: sources.organizations,
        })
    }

    /// The names that an organization may use.
    pub fn names(&self, organization: OrganizationId) -> Vec<SecretName> {
        let may_use = |name: &&SecretName| self.belongs_to(name, organization);
        self.values.keys().filter(may_use).cloned().collect()
    }

    /// Fills in a text from a grant. Answers the missing secret's name if there is none that this
    /// organization may use: another's secret looks the same as an absent one.
    pub(in crate::broker) fn fill(
        &self,
        text: &SecretText,
        organization: OrganizationId,
    ) -> Result<Filled, SecretName> {
        let mut whole = String::new();
        let mut parts = Vec::new();
        for piece in &text.0 {
            match piece {
                SecretPiece::Text(text) => whole.push_str(text),
                SecretPiece::Secret(name) => {
                    let value = self
                        .values
                        .get(name)
                        .filter(|_| self.belongs_to(name, organization))
                        .ok_or_else(|| name.clone())?;
                    whole.push_str(value.expose_secret());
                    parts.push(value.clone());
                }
            }
        }
        Ok(Filled {
            whole: SecretString::from(whole),
            parts,
        })
    }

    fn belongs_to(&self, name: &SecretName, organization: OrganizationId) -> bool {
        match self.organizations.get(name) {
            Some(owners) => owners.contains(&organization),
            None => organization == OrganizationId::ROOT,
        }
    }
}

/// A text with its secrets filled in, and those secrets, for scrubbing.
pub(in crate::broker) struct Filled {
    pub(in crate::broker) whole: SecretString,
    pub(in crate::broker) parts: Vec<SecretString>,
}

fn read_directory(
    directory: &Path,
    values: &mut BTreeMap<SecretName, SecretString>,
) -> Result<(), SecretError> {
    let unreadable = |path: &Path, cause| SecretError::Unreadable {
        path: path.to_owned(),
        cause,
    };
    for entry in std::fs::read_dir(directory).map_err(|cause| unreadable(directory, cause))? {
        let path = entry.map_err(|cause| unreadable(directory, cause))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(Ok(name)) = name.map(str::parse::<SecretName>) else {
            continue;
        };
        let read = || -> std::io::Result<Option<Vec<u8>>> {
            // A pipe or a device here would block the start for ever.
            if !std::fs::metadata(&path)?.is_file() {
                return Ok(None);
            }
            let mut bytes = Vec::new();
            std::fs::File::open(&path)?
                .take(VALUE_BYTES_MAX + 1)
                .read_to_end(&mut bytes)?;
            Ok(Some(bytes))
        };
        let Some(bytes) = read().map_err(|cause| unreadable(&path, cause))? else {
            continue;
        };
        let text = String::from_utf8(bytes)
            .ok()
            .filter(|text| text.len() as u64 <= VALUE_BYTES_MAX);
        let mut text = text.ok_or_else(|| SecretError::NotText {
            place: path.display().to_string(),
        })?;
        // Editors and `echo` end a file with a newline that is not part of the secret.
        text.truncate(text.trim_end_matches(['\r', '\n']).len());
        values.insert(name, SecretString::from(text));
    }
    Ok(())
}
