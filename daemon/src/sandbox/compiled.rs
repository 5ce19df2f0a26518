//! Compiled code on disk: written by this daemon, for this engine, and loaded only if that can be proven.
//!
//! A file is its authentication tag, the length of a JSON head, the head ([`PreparedModule`]), and the code.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, Permissions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use hmac::{Hmac, Mac as _};
use rustix::fs::FlockOperation;
use sha2::Sha256;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::module::PreparedModule;
use crate::id::Digest;

/// Of HMAC-SHA256.
const TAG_BYTES: usize = 32;
/// As long as the hash's output; more adds nothing (RFC 2104).
const KEY_BYTES: usize = 32;
const KEY_FILE: &str = "key";
/// Begins the names of files that are being written.
const UNFINISHED: &str = "unfinished-";
/// The most that is written: the compiler's largest code and the largest head. More is not read.
const FILE_BYTES_MAX: u64 = super::compiler::CODE_BYTES_MAX as u64 + (1 << 20);

/// The folder of compiled code.
pub(super) struct Compiled {
    folder: PathBuf,
    key: [u8; KEY_BYTES],
    /// Files written by this process.
    written: AtomicU64,
}

impl Compiled {
    /// Opens the folder, which becomes the daemon's alone; makes it and its key where they are missing.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        if fs::metadata(folder)?.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::Error::other("it belongs to another user"));
        }
        fs::set_permissions(folder, Permissions::from_mode(0o700))?;
        Ok(Self {
            folder: folder.to_owned(),
            key: key(folder)?,
            written: AtomicU64::new(0),
        })
    }

    /// The head and the code for this engine, if the file is there and is ours.
    pub(super) fn read(
        &self,
        engine: &Engine,
        digest: &Digest,
    ) -> Option<(PreparedModule, Vec<u8>)> {
        let path = self.path(engine, digest);
        let found = match read_own(&path, FILE_BYTES_MAX) {
            Ok(mut bytes) => self
                .open_sealed(engine, digest, &mut bytes)
                .ok_or_else(|| io::Error::other("it was changed or damaged")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => Err(error),
        };
        found
            .inspect_err(|error| {
                tracing::warn!(path = %path.display(), %error, "compiled code is not used; it is compiled anew");
            })
            .ok()
    }

    pub(super) fn open_sealed(
        &self,
        engine: &Engine,
        digest: &Digest,
        bytes: &mut Vec<u8>,
    ) -> Option<(PreparedModule, Vec<u8>)> {
        let (tag, sealed) = bytes.split_at_checked(TAG_BYTES)?;
        self.seal(engine, digest, sealed)?.verify_slice(tag).ok()?;
        let (length, rest) = sealed.split_first_chunk::<4>()?;
        let (head, code) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        let head: PreparedModule = serde_json::from_slice(head).ok()?;
        let code_at = bytes.len() - code.len();
        bytes.drain(..code_at);
        (head.digest == *digest).then(|| (head, std::mem::take(bytes)))
    }

    /// Keeps compiled code. A crash leaves the old file or the new one.
    pub(super) fn write(
        &self,
        engine: &Engine,
        head: &PreparedModule,
        code: &[u8],
    ) -> io::Result<()> {
        let head_json = serde_json::to_vec(head)?;
        let length = u32::try_from(head_json.len()).map_err(io::Error::other)?;
        let sealed = [&length.to_be_bytes(), head_json.as_slice(), code].concat();
        let tag = self
            .seal(engine, &head.digest, &sealed)
            .ok_or_else(|| io::Error::other("the key has no valid length"))?
            .finalize()
            .into_bytes();
        // Who sweeps leaves unfinished files alone as long as somebody writes one.
        let writing = File::open(&self.folder)?;
        rustix::fs::flock(&writing, FlockOperation::LockShared)?;
        // The temporary file is 0600, and keeps that when it is renamed.
        let mut file = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempfile_in(&self.folder)?;
        file.write_all(&tag)?;
        file.write_all(&sealed)?;
        file.persist(self.path(engine, &head.digest))?;
        self.written.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// How many files this process has written.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Removes the compiled code of other modules than these, that of other engines, and what a crash left
    /// unfinished. What is not named like a file of ours stays. Answers how many files went.
    pub(super) fn sweep(&self, engine: &Engine, keep: &HashSet<Digest>) -> io::Result<usize> {
        let keep: HashSet<String> = keep.iter().map(|digest| name(engine, digest)).collect();
        let quiet = File::open(&self.folder)?;
        let nobody_writes =
            rustix::fs::flock(&quiet, FlockOperation::NonBlockingLockExclusive).is_ok();
        let mut removed = 0;
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let file = entry.file_name();
            let goes = file.to_str().is_some_and(|file| {
                (is_code(file) && !keep.contains(file))
                    || (nobody_writes && file.starts_with(UNFINISHED))
            });
            if !goes {
                continue;
            }
            match fs::remove_file(entry.path()) {
                Ok(()) => removed += 1,
                // Another process swept it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(path = %entry.path().display(), %error, "compiled code could not be removed");
                }
            }
        }
        Ok(removed)
    }

    /// Begins the tag over what the code is for and what it is.
    fn seal(&self, engine: &Engine, digest: &Digest, sealed: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        mac.update(digest.to_string().as_bytes());
        mac.update(&compatibility(engine).to_be_bytes());
        mac.update(sealed);
        Some(mac)
    }

    fn path(&self, engine: &Engine, digest: &Digest) -> PathBuf {
        self.folder.join(name(engine, digest))
    }
}

/// What the file of a module's code for an engine is called.
fn name(engine: &Engine, digest: &Digest) -> String {
    format!("{}-{:016x}", digest.hex(), compatibility(engine))
}

/// Whether a file is called like one that [`name`] names, for whatever module and engine.
fn is_code(file: &str) -> bool {
    let hex = |text: &str, digits: usize| {
        text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    file.split_once('-')
        .is_some_and(|(digest, engine)| hex(digest, 64) && hex(engine, 16))
}

/// Differs whenever code compiled for one engine must not be loaded by another.
fn compatibility(engine: &Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

/// The bytes of a file that only this daemon can have written: no link, no pipe, nobody else's, closed to others.
fn read_own(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    use rustix::fs::OFlags;
    // Without O_NONBLOCK, opening a pipe would wait for its writer.
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or(0);
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    let refused = |why: &str| Err(io::Error::other(why.to_owned()));
    if !metadata.is_file() {
        return refused("it is not a regular file");
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return refused("it belongs to another user");
    }
    if metadata.mode() & 0o077 != 0 {
        return refused("it is open to others");
    }
    if metadata.len() > max {
        return refused("it is larger than any that was written");
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    file.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The folder's key; a new one where there is none, or where others could have read or written it.
fn key(folder: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let path = folder.join(KEY_FILE);
    // One byte more than a key shows that it is none.
    match read_own(&path, KEY_BYTES as u64 + 1).map(<[u8; KEY_BYTES]>::try_from) {
        Ok(Ok(key)) => return Ok(key),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Ok(Err(_)) | Err(_) => {
            tracing::warn!(path = %path.display(), "the key of the compiled code was open to others or damaged; all is compiled anew");
            fs::remove_file(&path)?;
        }
    }
    let key: [u8; KEY_BYTES] = rand::random();
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    file.write_all(&key)?;
    file.sync_all()?;
    Ok(key)
}

/// Makes compiled code runnable.
///
/// `code` must come from this process's compiler or from [`Compiled::read`].
#[allow(
    unsafe_code,
    reason = "loading compiled code is what this module is for"
)]
pub(super) fn load(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `deserialize` demands bytes that `precompile_component` or `serialize` produced, unchanged.
    // Callers pass what the compiler just returned, or what `Compiled::read` returned: bytes whose HMAC, under
    // a key that only this daemon can read, covers them together with the module's digest and the engine's
    // compatibility hash. wasmtime itself also refuses code of another version or other settings.
    unsafe { Component::deserialize(engine, code) }
}
