//! Secrets in files: a folder with one file a secret, named by it.
//!
//! A value is replaced by renaming a new file over the old one, as Kubernetes, systemd and careful editors do: a
//! reader then finds the old file or the new one. A file that changes while it is read, or that is empty, is not
//! taken; the value before it stays. A program that writes into the file in place, slowly, is beyond this.

use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use secrecy::SecretString;

use super::VALUE_BYTES_MAX;
use super::keys::open_to_others;
use crate::clock::Timestamp;
use crate::id::SecretName;

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Of what stands at this path, symbolic links followed; none if it is no file.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let facts = std::fs::metadata(path).ok().filter(|facts| facts.is_file());
        facts.as_ref().map(Self::from)
    }

    /// When the file's content was changed.
    pub(super) fn modified(self) -> Timestamp {
        let (seconds, nanos) = self.modified;
        Timestamp::from_micros(
            seconds
                .saturating_mul(1_000_000)
                .saturating_add(nanos / 1_000),
        )
    }
}

impl From<&std::fs::Metadata> for Stamp {
    fn from(facts: &std::fs::Metadata) -> Self {
        Self {
            device: facts.dev(),
            inode: facts.ino(),
            size: facts.size(),
            modified: (facts.mtime(), facts.mtime_nsec()),
            changed: (facts.ctime(), facts.ctime_nsec()),
        }
    }
}

/// The secrets' names in a folder, with what their files look like.
pub(super) fn names(folder: &Path) -> std::io::Result<Vec<(SecretName, Stamp)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(Ok(name)) = name.map(str::parse::<SecretName>) else {
            continue;
        };
        if let Some(stamp) = Stamp::of(&path) {
            found.push((name, stamp));
        }
    }
    Ok(found)
}

/// Why a file gives no value. Never holds one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoValue {
    /// It is being written, or was just taken away: what was known before stays.
    Unsettled,
    /// It holds no secret, and why.
    Bad(String),
}

/// A value and the file it was read from.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) value: SecretString,
    pub(super) stamp: Stamp,
    mode: u32,
}

impl Read {
    /// That others can read or change the file, with the cure; reads as the end of a sentence about the file.
    pub(super) fn warning(&self, path: &Path) -> Option<String> {
        open_to_others(self.mode).then(|| {
            format!(
                "has mode {:04o}: others can read or change this secret. Run: chmod 600 {}",
                self.mode,
                path.display()
            )
        })
    }
}

/// Reads the file of a secret, and says what it looked like.
pub(super) fn read(path: &Path) -> Result<Read, NoValue> {
    let bad = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => NoValue::Unsettled,
        _ => NoValue::Bad(format!("cannot be read: {error}")),
    };
    // A pipe that took the file's place must not block.
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = std::fs::File::options()
        .read(true)
        .custom_flags(nonblocking)
        .open(path)
        .map_err(bad)?;
    let before = file.metadata().map_err(bad)?;
    if !before.is_file() {
        return Err(NoValue::Bad("is not a file".to_owned()));
    }
    let mode = before.mode() & 0o7777;
    let before = Stamp::from(&before);
    let mut bytes = Vec::new();
    (&file)
        .take(VALUE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(bad)?;
    if Stamp::of(path) != Some(before) {
        return Err(NoValue::Unsettled);
    }
    value(bytes).map(|value| Read {
        value,
        stamp: before,
        mode,
    })
}

/// A file's content as a value.
fn value(bytes: Vec<u8>) -> Result<SecretString, NoValue> {
    if bytes.len() > VALUE_BYTES_MAX {
        return Err(NoValue::Bad("is longer than 64 KiB".to_owned()));
    }
    let mut text =
        String::from_utf8(bytes).map_err(|_| NoValue::Bad("is not UTF-8 text".to_owned()))?;
    // Editors and `echo` end a file with a newline that is not part of the secret.
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    if text.is_empty() {
        // Writers that truncate first leave this for a moment.
        return Err(NoValue::Unsettled);
    }
    Ok(SecretString::from(text))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_file_that_others_can_read_or_change_is_warned_of_with_the_cure() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("A");
        std::fs::write(&path, "geheim").unwrap();
        let warned = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            read(&path).unwrap().warning(&path)
        };
        for open in [0o666, 0o644, 0o640 | 0o020, 0o604, 0o602] {
            let warning = warned(open).unwrap();
            let cure = format!("chmod 600 {}", path.display());
            assert!(
                warning.contains(&format!("{open:04o}")) && warning.contains(&cure),
                "{warning}"
            );
        }
        for closed in [0o600, 0o400, 0o440, 0o640] {
            assert_eq!(warned(closed), None, "{closed:o}");
        }
    }

    #[test]
    fn what_is_no_secret_is_told_from_what_is_not_ready() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("A");
        let read_as = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            read(&path).map(|read| read.value.expose_secret().to_owned())
        };
        assert_eq!(read(&path).unwrap_err(), NoValue::Unsettled);
        assert_eq!(read_as(b""), Err(NoValue::Unsettled));
        assert_eq!(read_as(b"\r\n\n"), Err(NoValue::Unsettled));
        for bad in [&b"a\xff"[..], &[b'a'; VALUE_BYTES_MAX + 1]] {
            assert!(matches!(read_as(bad), Err(NoValue::Bad(_))));
        }
        assert_eq!(read_as(b"geheim\r\n").unwrap(), "geheim");
        assert_eq!(read_as(b" inner\nlines \n").unwrap(), " inner\nlines ");
        let pipe = folder.path().join("PIPE");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(matches!(read(&pipe), Err(NoValue::Bad(_))));
        let found = names(folder.path()).unwrap();
        assert_eq!(found.len(), 1, "a pipe is not listed");
    }
}
