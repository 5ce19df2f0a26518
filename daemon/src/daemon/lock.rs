//! The state folder's lock: at most one process works there, and the others can say which.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
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
    let text = fs::read_to_string(state.join(NAME)).unwrap_or_default();
    StartError::Locked {
        path: state.to_owned(),
        holder: text.trim().parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ends a test that would hang.
    const FAR: Duration = Duration::from_secs(120);

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
