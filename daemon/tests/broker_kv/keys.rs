//! The keys of the table of secrets: missing, wrong, unreadable, rotated.

use std::fs;

use flowweaver::broker::secret::{LOOK_AGAIN, SecretSources, TableError};
use secrecy::SecretString;

use crate::secrets::{ROOT, World, key, name, with_key};

#[tokio::test]
async fn without_a_key_setting_a_secret_says_how_to_make_one() {
    let world = World::new().await;
    let process = world.process(world.sources(&[])).await;
    let value = SecretString::from("geheim");
    let refused = process
        .secrets
        .set(ROOT, &name("KEY"), &value, "test")
        .await
        .unwrap_err();
    assert!(matches!(refused, TableError::NoKey));
    let text = refused.to_string();
    for part in [
        "flowweaver secret key",
        "key_file",
        "FLOWWEAVER_SECRETS_KEY",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert!(matches!(
        process.secrets.rekey("test").await,
        Err(TableError::NoKey)
    ));
    assert_eq!(world.store.secrets().await.unwrap(), (0, Vec::new()));
}

#[tokio::test]
async fn a_wrong_key_is_told_with_the_secret_and_the_keys_name_and_harms_no_other() {
    let world = World::new().await;
    let (right, wrong) = (key(), key());
    let before = world.process(world.sources(&with_key(&right))).await;
    before.set("geheim").await;
    let id = before.secrets.key_ids().remove(0);
    world.write("files/OTHER", "geheim-other");
    let process = world.process(world.sources(&with_key(&wrong))).await;
    let denied = world.sends(&process).await.unwrap_err();
    let told = format!("`KEY`, which was encrypted with the key {id}");
    assert!(denied.contains(&told), "{denied}");
    let listed = process.listed();
    assert!(listed[0].problem.as_ref().unwrap().contains(&id));
    assert_eq!(listed[1].problem, None);
    // A wrong key seals nothing: the value would be lost with the right one's return.
    for secret in ["KEY", "NEW"] {
        let (secret, value) = (name(secret), SecretString::from("geheim-lost"));
        let set = process.secrets.set(ROOT, &secret, &value, "test");
        let refused = set.await.unwrap_err();
        assert!(matches!(refused, TableError::Foreign { .. }));
        let text = refused.to_string();
        for part in [
            &format!("KEY (key {id})"),
            "flowweaver secret delete",
            "missing keys back",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
    let (_, rows) = world.store.secrets().await.unwrap();
    assert_eq!((rows.len(), rows[0].revision), (1, 1));
    // Given up, it can be set anew with the key there is.
    let given_up = process.secrets.delete(ROOT, &name("KEY"), "test").await;
    assert!(given_up.unwrap());
    process.set("geheim-anew").await;
    assert_eq!(world.sends(&process).await.unwrap(), "geheim-anew");
}

#[tokio::test]
async fn nothing_is_encrypted_while_the_key_file_cannot_be_read() {
    let world = World::new().await;
    let right = key();
    let path = world.folder.path().join("keys");
    world.write("keys", &right);
    let sources = SecretSources {
        key_file: Some(path.clone()),
        ..world.sources(&[])
    };
    let process = world.process(sources).await;
    process.set("geheim").await;
    let before = world.store.secrets().await.unwrap();
    fs::remove_file(&path).unwrap();
    let (secret, value) = (name("KEY"), SecretString::from("geheim-lost"));
    for (breaks, cure) in [
        (None, "flowweaver secret key"),
        (Some("no key"), "not a key"),
        (Some(""), "holds 0 keys"),
    ] {
        if let Some(text) = breaks {
            world.write("keys", text);
        }
        let set = process.secrets.set(ROOT, &secret, &value, "test");
        for refused in [
            set.await.map(|_| ()),
            process.secrets.rekey("test").await.map(|_| ()),
        ] {
            let refused = refused.unwrap_err();
            assert!(matches!(refused, TableError::Keys(_)), "{refused}");
            let text = refused.to_string();
            assert!(
                text.contains("nothing was changed")
                    && text.contains(cure)
                    && text.contains("keys"),
                "{text}"
            );
        }
    }
    assert_eq!(world.store.secrets().await.unwrap(), before);
    // What was open stays open, and the key's return is enough.
    assert_eq!(world.sends(&process).await.unwrap(), "geheim");
    world.write("keys", &right);
    process.set("geheim-new").await;
    assert_eq!(world.sends(&process).await.unwrap(), "geheim-new");
}

#[tokio::test]
async fn keys_are_rotated_in_their_file_and_the_old_one_goes_when_nothing_needs_it() {
    let world = World::new().await;
    let (old, new) = (key(), key());
    world.write("keys", &old);
    let sources = SecretSources {
        key_file: Some(world.folder.path().join("keys")),
        ..world.sources(&[])
    };
    let process = world.process(sources).await;
    process.set("geheim").await;
    process.put("OTHER", "geheim-other").await;
    world.write(
        "keys",
        &format!("{new}\n{old} # until everything is rekeyed\n"),
    );
    world.clock.advance(LOOK_AGAIN);
    assert_eq!(world.sends(&process).await.unwrap(), "geheim");
    let updated_at = process.listed()[0].updated_at;
    world.clock.advance(LOOK_AGAIN);
    let done = process.secrets.rekey("test").await.unwrap();
    assert_eq!((done.rekeyed, done.current), (2, 0));
    let again = process.secrets.rekey("test").await.unwrap();
    assert_eq!((again.rekeyed, again.current), (0, 2));
    assert_eq!(
        process.listed()[0].updated_at,
        updated_at,
        "the value is the same"
    );
    world.write("keys", &new);
    world.clock.advance(LOOK_AGAIN);
    assert_eq!(world.sends(&process).await.unwrap(), "geheim");
    // A file that breaks leaves the keys that were there.
    world.write("keys", "no key");
    world.clock.advance(LOOK_AGAIN);
    assert_eq!(world.sends(&process).await.unwrap(), "geheim");
    // A row whose key is gone is told and left alone.
    world.write("keys", &key());
    let done = process.secrets.rekey("test").await.unwrap();
    let names: Vec<_> = done
        .failed
        .iter()
        .map(|failed| failed.name.as_str())
        .collect();
    assert_eq!(names, ["KEY", "OTHER"]);
    assert_eq!(world.store.secrets().await.unwrap().1.len(), 2);
}
