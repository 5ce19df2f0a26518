//! Whoever can write the database, or read what the process shows, still does not have the secrets.

use std::fs;
use std::path::Path;

use flowweaver::broker::secret::LOOK_AGAIN;
use secrecy::SecretString;

use crate::secrets::{ROOT, World, key, name, with_key};

/// Attack: a sealed row is copied over another name's, so that its value goes to another server. It does not open.
#[tokio::test]
async fn a_row_moved_to_another_name_does_not_open() {
    let world = World::new().await;
    let key = key();
    let process = world.process(world.sources(&with_key(&key))).await;
    process.set("geheim-harmless").await;
    process.put("PRECIOUS", "geheim-precious").await;
    let (_, rows) = world.store.secrets().await.unwrap();
    let precious = rows.iter().find(|row| row.name == name("PRECIOUS"));
    let mut moved = precious.unwrap().clone();
    moved.name = name("KEY");
    let harmless = rows.iter().find(|row| row.name == name("KEY"));
    assert!(world.store.secret_put(&moved, harmless).await.unwrap());
    world.clock.advance(LOOK_AGAIN);
    let denied = world.sends(&process).await.unwrap_err();
    assert!(denied.contains("does not open"), "{denied}");
}

/// Attack: a row is given another revision, to undo a rotation. It does not open.
#[tokio::test]
async fn an_old_seal_under_a_new_revision_does_not_open() {
    let world = World::new().await;
    let key = key();
    let process = world.process(world.sources(&with_key(&key))).await;
    process.set("geheim-stolen").await;
    let mut old = world.store.secrets().await.unwrap().1.remove(0);
    process.set("geheim-new").await;
    old.revision = 3;
    let (_, rows) = world.store.secrets().await.unwrap();
    assert!(world.store.secret_put(&old, rows.first()).await.unwrap());
    world.clock.advance(LOOK_AGAIN);
    let denied = world.sends(&process).await.unwrap_err();
    assert!(denied.contains("does not open"), "{denied}");
}

/// Attack: the database's files are read. No value is in them in any usual form.
#[tokio::test]
async fn the_stores_files_hold_no_value() {
    let world = World::new().await;
    let key = key();
    let process = world.process(world.sources(&with_key(&key))).await;
    for round in 0..20 {
        process.set(&format!("geheim/{round}+value")).await;
    }
    let mut bytes = Vec::new();
    for entry in fs::read_dir(world.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            bytes.extend(fs::read(path).unwrap());
        }
    }
    assert!(bytes.len() > 10_000);
    let forms = [
        "geheim/".to_owned(),
        "geheim%2".to_owned(),
        hex::encode("geheim/"),
        "Z2VoZWltL".to_owned(),
    ];
    for form in forms {
        let found = bytes
            .windows(form.len())
            .any(|part| part == form.as_bytes());
        assert!(!found, "{form}");
    }
    assert!(!bytes.windows(key.len()).any(|part| part == key.as_bytes()));
}

/// Attack: everything that can be printed is printed. It tells names, and no value and no key.
#[tokio::test]
async fn whatever_is_printed_holds_no_value() {
    let world = World::new().await;
    let key = key();
    world.write("files/FILE", "geheim-file");
    world.write("credentials/CREDENTIAL", "geheim-credential");
    let mut sources = world.sources(&with_key(&key));
    sources
        .environment
        .push(("FLOWWEAVER_SECRET_ENV".into(), "geheim-env".into()));
    let process = world.process(sources).await;
    process.set("geheim-table").await;
    let long = SecretString::from("geheim".repeat(20_000));
    let refused = process.secrets.set(ROOT, &name("A"), &long, "test").await;
    let shown = format!(
        "{:?} {:?} {:?} {:?} {refused:?} {:?}",
        process.secrets,
        process.secrets.current(),
        process.listed(),
        process.secrets.key_ids(),
        world.store.secrets().await,
    );
    for name in ["ENV", "FILE", "CREDENTIAL", "KEY"] {
        assert!(shown.contains(name), "{shown}");
    }
    assert!(
        !shown.contains("geheim") && !shown.contains(&key),
        "{shown}"
    );
}

/// Attack: a pipe, a folder or a device stands where a secret's file should. It is passed over at once.
#[tokio::test]
async fn what_is_no_file_is_passed_over() {
    let world = World::new().await;
    let files = world.folder.path().join("files");
    fs::create_dir(files.join("FOLDER")).unwrap();
    std::os::unix::fs::symlink(Path::new("/dev/zero"), files.join("DEVICE")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, files.join("KEY"), fifo, mode, 0).unwrap();
    let process = world.process(world.sources(&[])).await;
    assert_eq!(process.listed(), Vec::new());
    assert!(world.sends(&process).await.is_err());
}
