//! Looking at the folders: which files there are, whether they changed, and their bytes, read only
//! when nobody was writing them.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified_ns: i128,
    changed_ns: i128,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// What stands under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A file to be read.
    File(Stamp),
    /// Something that is never read, and why.
    Refused(String),
}

/// The entries of a folder whose names end in `.extension`, by file name. Names that editors use
/// for back-ups and swap files are passed over. A missing folder is an empty one.
pub fn folder(folder: &Path, extension: &str) -> io::Result<BTreeMap<String, Found>> {
    let mut found = BTreeMap::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    let home = fs::canonicalize(folder)?;
    for entry in entries {
        let Ok(name) = entry?.file_name().into_string() else {
            continue;
        };
        let stem = name
            .strip_suffix(extension)
            .and_then(|stem| stem.strip_suffix('.'));
        if stem.is_none_or(|stem| stem.is_empty() || stem.starts_with(['.', '#'])) {
            continue;
        }
        match look(&home, &name) {
            Ok(state) => drop(found.insert(name, state)),
            // Gone between the listing and the look: a rename under way.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => drop(found.insert(name, Found::Refused(error.to_string()))),
        }
    }
    Ok(found)
}

/// The folders in a folder, by name. Links are none: what they lead to is somebody else's.
pub fn folders(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir()
            && let Ok(name) = entry.file_name().into_string()
        {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}

fn look(home: &Path, name: &str) -> io::Result<Found> {
    let target = fs::canonicalize(home.join(name))?;
    if !target.starts_with(home) {
        return Ok(Found::Refused(
            "the link leads out of its folder".to_owned(),
        ));
    }
    let metadata = fs::metadata(&target)?;
    Ok(if metadata.is_file() {
        Found::File(Stamp::of(&metadata))
    } else {
        Found::Refused("not a regular file".to_owned())
    })
}

/// Why a file gave no bytes.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Someone is changing it; look again.
    #[error("the file is being changed")]
    Unsettled,
    /// More than the limit.
    #[error("the file has more than {0} bytes")]
    TooLarge(u64),
    /// Anything else.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads a whole file that is in the state `stamp` before and after.
pub fn read(folder: &Path, name: &str, stamp: Stamp, limit: u64) -> Result<Vec<u8>, ReadError> {
    if stamp.bytes > limit {
        return Err(ReadError::TooLarge(limit));
    }
    let path: PathBuf = folder.join(name);
    // Without O_NONBLOCK, opening a pipe that took the file's place would wait for its writer.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let mut file = File::options().read(true).custom_flags(flags).open(&path)?;
    let before = file.metadata()?;
    if !before.is_file() || Stamp::of(&before) != stamp {
        return Err(ReadError::Unsettled);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(stamp.bytes).unwrap_or(0));
    file.by_ref().take(limit + 1).read_to_end(&mut bytes)?;
    let after = fs::metadata(&path)?;
    if bytes.len() as u64 != stamp.bytes || Stamp::of(&after) != stamp {
        return Err(ReadError::Unsettled);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_out_of_the_folder_and_things_that_are_not_files_are_refused() {
        let base = tempfile::tempdir().unwrap();
        let flows = base.path().join("flows");
        fs::create_dir(&flows).unwrap();
        fs::write(base.path().join("outside.toml"), "x").unwrap();
        std::os::unix::fs::symlink("../outside.toml", flows.join("out.toml")).unwrap();
        fs::create_dir(flows.join("folder.toml")).unwrap();
        fs::write(flows.join("real.toml"), "x").unwrap();
        std::os::unix::fs::symlink("real.toml", flows.join("in.toml")).unwrap();
        for name in [".#real.toml", "real.toml~", ".real.toml.swp", ".toml"] {
            fs::write(flows.join(name), "x").unwrap();
        }
        let found = folder(&flows, "toml").unwrap();
        let names: Vec<_> = found.keys().map(String::as_str).collect();
        assert_eq!(names, ["folder.toml", "in.toml", "out.toml", "real.toml"]);
        assert!(
            matches!(&found["out.toml"], Found::Refused(why) if why.contains("out of its folder"))
        );
        assert!(matches!(&found["folder.toml"], Found::Refused(_)));
        assert!(matches!(found["in.toml"], Found::File(_)));
    }

    #[test]
    fn a_file_that_changed_since_the_scan_is_not_read() {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join("a.toml"), "one").unwrap();
        let Found::File(stamp) = folder(base.path(), "toml").unwrap()["a.toml"].clone() else {
            panic!()
        };
        fs::write(base.path().join("a.toml"), "three").unwrap();
        assert!(matches!(
            read(base.path(), "a.toml", stamp, 100),
            Err(ReadError::Unsettled)
        ));
        let Found::File(stamp) = folder(base.path(), "toml").unwrap()["a.toml"].clone() else {
            panic!()
        };
        assert!(matches!(
            read(base.path(), "a.toml", stamp, 4),
            Err(ReadError::TooLarge(4))
        ));
        assert_eq!(read(base.path(), "a.toml", stamp, 100).unwrap(), b"three");
    }
}
