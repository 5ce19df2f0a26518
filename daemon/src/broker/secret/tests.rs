//! How often the sources are read, and how long anybody waits for them.

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use secrecy::ExposeSecret as _;

use super::*;
use crate::workflow::grant::SecretText;

fn secrets(folder: &std::path::Path) -> Secrets {
    let sources = SecretSources {
        directory: Some(folder.to_owned()),
        ..SecretSources::default()
    };
    Secrets::load(sources).unwrap()
}

fn write(folder: &std::path::Path, value: &str) {
    let beside = folder.join("A.new");
    std::fs::write(&beside, value).unwrap();
    std::fs::rename(beside, folder.join("A")).unwrap();
}

fn value(secrets: &Secrets) -> String {
    let text = SecretText(vec![SecretPiece::Secret("A".parse().unwrap())]);
    let filled = secrets.current().fill(&text, OrganizationId::ROOT);
    filled.unwrap().expose_secret().to_owned()
}

#[tokio::test]
async fn many_who_ask_at_once_share_a_reading_and_all_see_the_change() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "geheim-old");
    let secrets = secrets(folder.path());
    write(folder.path(), "geheim-new");
    let turn = Arc::clone(&secrets.turn).lock_owned().await;
    let mut all = Box::pin(join_all((0..100).map(async |_| {
        secrets.read_again().await;
        assert_eq!(value(&secrets), "geheim-new");
    })));
    assert!((&mut all).now_or_never().is_none(), "all have asked");
    drop(turn);
    all.await;
    assert_eq!(secrets.begun.load(Ordering::SeqCst), 1);
    // Who asks afterwards gets another one.
    secrets.read_again().await;
    assert_eq!(secrets.begun.load(Ordering::SeqCst), 2);
}

#[test]
fn a_reading_that_was_given_up_is_not_taken_for_one_that_was_made() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "geheim-old");
    let secrets = secrets(folder.path());
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        // The only thread that may block is busy, so that no reading ends.
        let (free, busy) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || busy.recv());
        let mut given_up = Box::pin(secrets.read_again());
        assert!((&mut given_up).now_or_never().is_none());
        assert_eq!(secrets.begun.load(Ordering::SeqCst), 1);
        let mut waits = Box::pin(secrets.read_again());
        assert!((&mut waits).now_or_never().is_none());
        write(folder.path(), "geheim-new");
        drop(given_up);
        free.send(()).unwrap();
        waits.await;
    });
    assert_eq!(value(&secrets), "geheim-new");
}

#[tokio::test]
async fn sources_that_do_not_answer_are_not_waited_for_and_keep_their_values() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "geheim-old");
    let mut secrets = secrets(folder.path());
    secrets.patience = Duration::from_millis(1);
    write(folder.path(), "geheim-new");
    // As a thread does that hangs in a folder.
    let hangs = Arc::clone(&secrets.turn).lock_owned().await;
    join_all((0..24).map(|_| secrets.refresh())).await;
    assert_eq!(value(&secrets), "geheim-old");
    drop(hangs);
    secrets.read_again().await;
    assert_eq!(value(&secrets), "geheim-new");
}
