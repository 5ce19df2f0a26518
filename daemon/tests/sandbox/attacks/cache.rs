//! Compiled code that somebody else has put where the daemon keeps its own.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::PathBuf;

use flowweaver::id::Digest;
use flowweaver::sandbox::invoke::Invoke as _;
use flowweaver::sandbox::module::ModuleProblem;
use rustix::fs::{CWD, Mode, mkfifoat};
use tempfile::TempDir;

use crate::world::*;

/// Attack: Compiled code with a bit changed or its end cut off. Never loaded; the module is compiled anew.
#[tokio::test]
async fn compiled_code_survives_a_restart_unless_a_single_bit_was_changed() {
    let (folder, sandbox) = sandbox();
    let bytes = echo().bytes();
    let prepared = sandbox.prepare(bytes.clone().into()).await.unwrap();
    let digest = prepared.digest;
    drop(sandbox);
    let restored = open(folder.path()).restore(digest).await;
    assert_eq!(restored.as_deref(), Some(&*prepared));

    let [file] = compiled_files(folder.path()).try_into().unwrap();
    let genuine = std::fs::read(&file).unwrap();
    let places = (0..genuine.len()).step_by(genuine.len() / 97);
    for place in places.chain([0, 31, 32, 35, 36, genuine.len() - 1]) {
        let mut forged = genuine.clone();
        forged[place] ^= 1;
        std::fs::write(&file, &forged).unwrap();
        assert_eq!(
            open(folder.path()).restore(digest).await,
            None,
            "byte {place}"
        );
    }
    for length in [0, 10, 32, 36, genuine.len() - 1] {
        std::fs::write(&file, &genuine[..length]).unwrap();
        assert_eq!(
            open(folder.path()).restore(digest).await,
            None,
            "{length} bytes"
        );
    }

    let sandbox = open(folder.path());
    sandbox.prepare(bytes.into()).await.unwrap();
    assert!(
        sandbox
            .invoke(invocation(digest, "{}"))
            .await
            .outcome
            .is_ok()
    );
    assert!(
        open(folder.path()).restore(digest).await.is_some(),
        "compiled anew"
    );
}

/// Attack: Compiled code of another module under this one's name. Never loaded.
/// Attack: Compiled code under another installation's key. Never loaded.
#[tokio::test]
async fn code_compiled_for_another_module_or_under_another_key_is_not_loaded() {
    let (folder, sandbox) = sandbox();
    let first = prepare(&sandbox, &echo()).await;
    let [file] = compiled_files(folder.path()).try_into().unwrap();
    let second = prepare(&sandbox, &hog()).await;
    let other = file.to_str().unwrap().replace(&first.hex(), &second.hex());
    std::fs::copy(&file, &other).unwrap();
    drop(sandbox);
    assert!(open(folder.path()).restore(second).await.is_none());
    assert!(open(folder.path()).restore(first).await.is_some());
    std::fs::write(folder.path().join("key"), [7; 32]).unwrap();
    assert!(open(folder.path()).restore(first).await.is_none());
}

/// Attack: Precompiled code as a module. Refused by its first bytes.
#[tokio::test]
async fn precompiled_code_from_a_user_is_refused() {
    let (folder, sandbox) = sandbox();
    prepare(&sandbox, &echo()).await;
    let [file] = compiled_files(folder.path()).try_into().unwrap();
    let bytes = std::fs::read(&file).unwrap();
    let code = bytes
        .windows(4)
        .position(|window| window == b"\x7fELF")
        .unwrap();
    assert_eq!(
        sandbox.prepare(bytes[code..].into()).await,
        Err(ModuleProblem::Native)
    );
}

/// The folder of a sandbox that is gone, its one module, and the file of it.
async fn kept() -> (TempDir, Digest, PathBuf) {
    let (folder, sandbox) = sandbox();
    let digest = prepare(&sandbox, &echo()).await;
    let [file] = compiled_files(folder.path()).try_into().unwrap();
    drop(sandbox);
    (folder, digest, file)
}

/// Attack: A link to genuine compiled code, a pipe that nobody writes, a device, or an enormous sparse file in its place. Never loaded or waited for; the module is compiled anew.
#[tokio::test]
async fn what_is_not_the_daemons_own_file_is_neither_loaded_nor_waited_for() {
    let (folder, digest, file) = kept().await;
    let genuine = fs::read(&file).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let twin = elsewhere.path().join("twin");
    fs::write(&twin, &genuine).unwrap();
    fs::set_permissions(&twin, Permissions::from_mode(0o600)).unwrap();
    let replace: [(&str, &dyn Fn()); 4] = [
        ("a link", &|| symlink(&twin, &file).unwrap()),
        ("a pipe", &|| {
            mkfifoat(CWD, &file, Mode::RUSR | Mode::WUSR).unwrap()
        }),
        ("a link to a device", &|| {
            symlink("/dev/zero", &file).unwrap()
        }),
        ("a sparse file", &|| {
            let sparse = fs::File::create(&file).unwrap();
            sparse
                .set_permissions(Permissions::from_mode(0o600))
                .unwrap();
            sparse.set_len(1 << 40).unwrap();
        }),
    ];
    for (what, put) in replace {
        fs::remove_file(&file).unwrap();
        put();
        let sandbox = open(folder.path());
        let restored = tokio::time::timeout(FAR, sandbox.restore(digest))
            .await
            .unwrap();
        assert_eq!(restored, None, "{what}");
        assert_eq!(prepare(&sandbox, &echo()).await, digest);
        assert!(
            sandbox
                .invoke(invocation(digest, "{}"))
                .await
                .outcome
                .is_ok()
        );
        assert!(
            open(folder.path()).restore(digest).await.is_some(),
            "{what}: compiled anew"
        );
    }
    assert_eq!(
        fs::read(&twin).unwrap(),
        genuine,
        "what a link leads to is not written"
    );
}

/// Attack: Compiled code that others may write or that belongs to another user. Never loaded, although its tag is right.
#[tokio::test]
async fn compiled_code_that_others_could_have_written_is_not_loaded() {
    let (folder, digest, file) = kept().await;
    fs::set_permissions(&file, Permissions::from_mode(0o620)).unwrap();
    assert_eq!(open(folder.path()).restore(digest).await, None);
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    assert!(open(folder.path()).restore(digest).await.is_some());
    // Only root can give a file away.
    if rustix::process::geteuid().is_root() {
        chown(&file, Some(65_534), None).unwrap();
        assert_eq!(open(folder.path()).restore(digest).await, None);
        chown(&file, Some(0), None).unwrap();
        chown(folder.path().join("key"), Some(65_534), None).unwrap();
        assert_eq!(open(folder.path()).restore(digest).await, None);
    } else {
        eprintln!("skipped: giving a file to another user needs root");
    }
}
