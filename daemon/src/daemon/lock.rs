//! Locks: at most one process works in a state folder, and one with a store's file; the others can say which.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use tokio::sync::oneshot;

use super::StartError;

/// The file whose lock says that somebody works in the state folder. It holds the number of the process that does.
const NAME: &str = "lock";

/// The lock, held until it is dropped.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

impl StateLock {
    /// Makes the state folder (0700) and takes its lock; waits for it as long as `patience`.
    ///
    /// # Errors
    /// [`StartError::Locked`] when another process still has it then.
    pub async fn take(state: &Path, patience: Duration) -> Result<Self, StartError> {
        let failed = |cause: io::Error| StartError::State {
            path: state.to_owned(),
            cause,
        };
        let file = open(state).map_err(failed)?;
        let file = match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => file,
            Err(Errno::WOULDBLOCK) if patience.is_zero() => return Err(locked(state)),
            Err(Errno::WOULDBLOCK) => {
                let (sender, taken) = oneshot::channel();
                // A thread of its own, that nobody joins: the call cannot be broken off, only left behind. If it
                // ends too late, the receiver is gone and the lock is let go with the file.
                std::thread::spawn(move || drop(sender.send(wait(file))));
                match tokio::time::timeout(patience, taken).await {
                    Ok(Ok(file)) => file.map_err(failed)?,
                    Ok(Err(error)) => return Err(failed(io::Error::other(error))),
                    Err(_) => return Err(locked(state)),
                }
            }
            Err(error) => return Err(failed(error.into())),
        };
        sign(&file).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

/// The lock of a store's file that lies outside of the state folder, held until it is dropped: two state folders
/// may name one file, and SQLite serves one daemon.
#[derive(Debug)]
pub(super) struct StoreLock {
    _file: File,
}

impl StoreLock {
    /// Takes it; a file in the state folder needs none besides that folder's.
    ///
    /// # Errors
    /// [`StartError::StoreLocked`] when another process has it.
    pub(super) fn take(store: &Path, state: &Path) -> Result<Option<Self>, StartError> {
        let failed = |cause: io::Error| StartError::State {
            path: store.to_owned(),
            cause,
        };
        // Links lead to one file, and to one lock.
        let real = fs::canonicalize(store).or_else(|_| {
            let folder = store
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty());
            let folder = fs::canonicalize(folder.unwrap_or(Path::new(".")));
            folder.map(|folder| folder.join(store.file_name().unwrap_or_default()))
        });
        // Without its folder there is no file either: the store says so.
        let Ok(real) = real else {
            return Ok(None);
        };
        let state = fs::canonicalize(state).map_err(failed)?;
        if real.parent() == Some(state.as_path()) {
            return Ok(None);
        }
        let mut path = real.into_os_string();
        path.push(".lock");
        let mut options = File::options();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(&path).map_err(failed)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                sign(&file).map_err(failed)?;
                Ok(Some(Self { _file: file }))
            }
            Err(Errno::WOULDBLOCK) => Err(StartError::StoreLocked {
                path: store.to_owned(),
                holder: holder(Path::new(&path)),
            }),
            Err(error) => Err(failed(error.into())),
        }
    }
}

fn open(state: &Path) -> io::Result<File> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state)?;
    fs::set_permissions(state, fs::Permissions::from_mode(0o700))?;
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(state.join(NAME))
}

/// Returns when the lock is ours.
fn wait(file: File) -> io::Result<File> {
    loop {
        match rustix::fs::flock(&file, FlockOperation::LockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Writes who holds it. What a predecessor left is read by nobody: only the number of a holder is asked for.
fn sign(mut file: &File) -> io::Result<()> {
    use std::io::Write as _;
    file.set_len(0)?;
    file.write_all(format!("{}\n", std::process::id()).as_bytes())
}

fn locked(state: &Path) -> StartError {
    StartError::Locked {
        path: state.to_owned(),
        holder: holder(&state.join(NAME)),
    }
}

/// The process that a lock's file names.
fn holder(lock: &Path) -> Option<u32> {
    let text = fs::read_to_string(lock).unwrap_or_default();
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ends a test that would hang.
    const FAR: Duration = Duration::from_secs(120);

    #[test]
    fn a_stores_file_serves_one_process_under_whatever_name() {
        let folder = tempfile::tempdir().unwrap();
        let states = ["a", "b"].map(|name| {
            let state = folder.path().join(name);
            fs::create_dir(&state).unwrap();
            state
        });
        let store = folder.path().join("shared.db");
        let first = StoreLock::take(&store, &states[0]).unwrap();
        assert!(first.is_some());
        fs::write(&store, "").unwrap();
        let link = folder.path().join("link.db");
        std::os::unix::fs::symlink(&store, &link).unwrap();
        for name in [&store, &link] {
            let refused = StoreLock::take(name, &states[1]).unwrap_err().to_string();
            let own = std::process::id();
            assert!(refused.contains(&format!("process {own}")), "{refused}");
            assert!(refused.contains("PostgreSQL or MariaDB"), "{refused}");
        }
        drop(first);
        StoreLock::take(&link, &states[1]).unwrap();
        let own = StoreLock::take(&states[0].join("flowweaver.db"), &states[0]);
        assert!(own.unwrap().is_none());
    }

    #[tokio::test]
    async fn the_second_is_told_who_holds_the_lock_or_waits_until_it_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let first = StateLock::take(&state, Duration::ZERO).await.unwrap();
        for patience in [Duration::ZERO, Duration::from_millis(1)] {
            let refused = StateLock::take(&state, patience).await.unwrap_err();
            let own = std::process::id();
            assert!(
                matches!(&refused, StartError::Locked { holder: Some(pid), .. } if *pid == own),
                "{refused}"
            );
            assert!(refused.to_string().contains(&format!("process {own}")));
        }
        let mut waiting = Box::pin(StateLock::take(&state, FAR));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(first);
        let second = waiting.await.unwrap();
        assert!(StateLock::take(&state, Duration::ZERO).await.is_err());
        drop(second);
        // Who gave up waiting may have it for an instant once it is free.
        StateLock::take(&state, FAR).await.unwrap();
    }
}
