//! The keys that seal the table of secrets: 32 random bytes each, kept outside the database.
//!
//! The first key seals, all open. What is sealed is in `seal`.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretBox, SecretString};

use super::folder::Stamp;
use crate::id::Digest;

/// The environment variable that holds keys, separated by blanks.
pub const KEY_VARIABLE: &str = "FLOWWEAVER_SECRETS_KEY";
/// The systemd credential that holds keys. The dashes keep it from being a secret's name.
pub const KEY_CREDENTIAL: &str = "flowweaver-secrets-key";
/// Long enough for a key, and the strength of the cipher.
pub(super) const KEY_BYTES: usize = 32;
/// A file of keys is a few lines; what is larger is another file.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Each rotation adds one; whoever has more has forgotten to rekey.
const KEYS_MAX: usize = 32;
/// Others may do nothing with a file of keys or secrets, and its group may not write it. The group may read, because
/// service managers hand files over like this (the mask of an access list shows there).
const FORBIDDEN_MODE: u32 = 0o027;

/// Whether somebody else than the owner and a reading group may read or change a file of this mode.
pub(super) const fn open_to_others(mode: u32) -> bool {
    mode & FORBIDDEN_MODE != 0
}

/// Why there are no keys. Never holds one.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file is not there.
    #[error("the file with the keys of secrets, {}, does not exist. Put it back; or make a first one: (umask 077; flowweaver secret key > {}), or take key_file out of [secrets]", path.display(), path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("cannot read the keys of secrets from {}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// Others may read or change the file.
    #[error("{} has mode {mode:04o}: others may read or change the keys of secrets. Run: chmod 600 {}", path.display(), path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Something in it is not a key.
    #[error(
        "{place}: not a key. Write 32 bytes as base64 or 64 hex digits, as `flowweaver secret key` prints them"
    )]
    Malformed {
        /// The variable, or the file and line.
        place: String,
    },
    /// There is none in it, or too many.
    #[error("{place} holds {count} keys; 1 to {KEYS_MAX} are wanted")]
    Count {
        /// The variable or file.
        place: String,
        /// How many there are.
        count: usize,
    },
}

/// One key and its name.
pub(super) struct Key {
    id: String,
    bytes: SecretBox<[u8; KEY_BYTES]>,
}

impl Key {
    fn new(bytes: [u8; KEY_BYTES]) -> Self {
        // The name is a digest of random bytes: it tells keys apart and nothing else.
        let digest = Digest::of_parts([&b"flowweaver secret key"[..], &bytes]);
        Self {
            id: digest.hex().chars().take(16).collect(),
            bytes: SecretBox::new(Box::new(bytes)),
        }
    }

    /// The first 16 hex digits of the key's digest.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn expose(&self) -> &[u8; KEY_BYTES] {
        self.bytes.expose_secret()
    }

    fn parse(text: &str) -> Option<Self> {
        let hexed = || hex::decode(text).ok().filter(|_| text.len() == 64);
        let bytes = hexed().or_else(|| {
            [STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD]
                .iter()
                .find_map(|form| form.decode(text).ok())
        })?;
        Some(Self::new(bytes.try_into().ok()?))
    }
}

/// The keys there are, the sealing one first.
#[derive(Default)]
pub(super) struct Keyring {
    keys: Vec<Key>,
    /// What the files looked like when they were read.
    stamps: Vec<Option<Stamp>>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

impl Keyring {
    /// The key that seals.
    pub(super) fn first(&self) -> Option<&Key> {
        self.keys.first()
    }

    /// The key of this name.
    pub(super) fn get(&self, id: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// The names of all keys.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(Key::id)
    }

    fn add(&mut self, place: &str, lines: &str) -> Result<(), KeyError> {
        let mut count = 0;
        for (at, line) in lines.lines().enumerate() {
            let line = line.split_once('#').map_or(line, |(keys, _)| keys);
            for word in line.split_whitespace() {
                count += 1;
                let key = Key::parse(word).ok_or_else(|| KeyError::Malformed {
                    place: format!("{place}, line {}", at + 1),
                })?;
                if self.get(&key.id).is_none() {
                    self.keys.push(key);
                }
            }
        }
        if (1..=KEYS_MAX).contains(&count) {
            Ok(())
        } else {
            let place = place.to_owned();
            Err(KeyError::Count { place, count })
        }
    }
}

/// Where keys are looked for; those of the first place come first.
#[derive(Default)]
pub(super) struct KeySources {
    pub(super) variable: Option<SecretString>,
    pub(super) files: Vec<PathBuf>,
}

impl KeySources {
    /// Whether the operator names any key.
    pub(super) fn any(&self) -> bool {
        self.variable.is_some() || !self.files.is_empty()
    }

    pub(super) fn load(&self) -> Result<Keyring, KeyError> {
        let mut ring = Keyring::default();
        if let Some(keys) = &self.variable {
            ring.add(KEY_VARIABLE, keys.expose_secret())?;
        }
        for path in &self.files {
            ring.stamps.push(Stamp::of(path));
            let text = read(path)?;
            ring.add(&path.display().to_string(), text.expose_secret())?;
        }
        Ok(ring)
    }

    /// Whether a file is another one than when `ring` was read.
    pub(super) fn changed_since(&self, ring: &Keyring) -> bool {
        let now: Vec<_> = self.files.iter().map(|path| Stamp::of(path)).collect();
        now != ring.stamps
    }
}

fn read(path: &Path) -> Result<SecretString, KeyError> {
    let unreadable = |cause: std::io::Error| {
        let path = path.to_owned();
        match cause.kind() {
            std::io::ErrorKind::NotFound => KeyError::Missing { path },
            _ => KeyError::Unreadable { path, cause },
        }
    };
    let facts = std::fs::metadata(path).map_err(unreadable)?;
    let mode = facts.permissions().mode() & 0o7777;
    if !facts.is_file() {
        let cause = std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a file");
        return Err(unreadable(cause));
    }
    if open_to_others(mode) {
        let path = path.to_owned();
        return Err(KeyError::Open { path, mode });
    }
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text))
        .map_err(unreadable)?;
    Ok(SecretString::from(text))
}

/// A new key, as files and variables hold it.
pub fn generate_key() -> SecretString {
    let bytes: [u8; KEY_BYTES] = rand::random();
    SecretString::from(STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(text: &str) -> Result<Keyring, KeyError> {
        let sources = KeySources {
            variable: Some(SecretString::from(text)),
            files: Vec::new(),
        };
        sources.load()
    }

    #[test]
    fn what_is_not_a_key_is_refused_with_its_place_and_without_itself() {
        let short = STANDARD.encode([7; 31]);
        for bad in [
            "geheim",
            &short,
            &"g".repeat(64),
            &"ab".repeat(31),
            &"ab".repeat(33),
        ] {
            let error = ring(&format!("{}\n{bad}", "00".repeat(32)))
                .unwrap_err()
                .to_string();
            assert!(error.contains("line 2") && !error.contains(bad), "{error}");
        }
        assert!(matches!(
            ring("# none yet\n"),
            Err(KeyError::Count { count: 0, .. })
        ));
    }

    #[test]
    fn a_key_is_the_same_in_every_form_and_its_name_does_not_tell_it() {
        let bytes = [0xfb; KEY_BYTES];
        let forms = [
            hex::encode(bytes),
            hex::encode_upper(bytes),
            STANDARD.encode(bytes),
            STANDARD_NO_PAD.encode(bytes),
            URL_SAFE_NO_PAD.encode(bytes),
        ];
        let all = ring(&forms.join(" # the same\n")).unwrap();
        assert_eq!(all.ids().count(), 1);
        assert_eq!(all.first().unwrap().expose(), &bytes);
        let shown = format!("{all:?}");
        assert!(!forms.iter().any(|form| shown.contains(form)), "{shown}");
        assert_ne!(
            generate_key().expose_secret(),
            generate_key().expose_secret()
        );
    }

    #[test]
    fn a_key_file_that_others_may_read_or_that_is_missing_is_refused_with_the_cure() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, generate_key().expose_secret()).unwrap();
        let sources = KeySources {
            variable: None,
            files: vec![path.clone()],
        };
        let mode =
            |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        for bad in [0o644, 0o604, 0o620, 0o602] {
            mode(bad);
            let error = sources.load().unwrap_err().to_string();
            let cure = format!("chmod 600 {}", path.display());
            assert!(error.contains(&cure), "{bad:o}: {error}");
        }
        for good in [0o600, 0o400, 0o440] {
            mode(good);
            assert!(sources.load().is_ok(), "{good:o}");
        }
        let ring = sources.load().unwrap();
        assert!(!sources.changed_since(&ring));
        std::fs::remove_file(&path).unwrap();
        assert!(sources.changed_since(&ring));
        let error = sources.load().unwrap_err().to_string();
        let cure = format!("flowweaver secret key > {}", path.display());
        assert!(error.contains(&cure), "{error}");
    }
}
