//! What happens to a row that somebody changes while it is being sealed anew.

use secrecy::ExposeSecret as _;

use super::*;
use crate::broker::secret::keys::{KeySources, generate_key};
use crate::clock::SystemClock;
use crate::store::Durability;

/// A table with the secret `A`, sealed with an old key that stands after a new one.
struct World {
    _folder: tempfile::TempDir,
    secrets: Secrets,
    new: Keyring,
    old: Keyring,
}

fn ring(keys: &[&SecretString]) -> Keyring {
    let keys: Vec<&str> = keys.iter().map(|key| key.expose_secret()).collect();
    let sources = KeySources {
        variable: Some(keys.join(" ").into()),
        files: Vec::new(),
    };
    sources.load().unwrap()
}

fn name() -> SecretName {
    "A".parse().unwrap()
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("store.db").display());
        let store = crate::store::open(&url, Durability::Full).await.unwrap();
        let (first, second) = (generate_key(), generate_key());
        let world = Self {
            _folder: folder,
            secrets: Secrets::default().with_table(store, Arc::new(SystemClock)),
            new: ring(&[&second, &first]),
            old: ring(&[&first]),
        };
        assert!(world.put("before", &world.old, None).await);
        world
    }

    fn table(&self) -> &Table {
        self.secrets.table.as_ref().unwrap()
    }

    async fn row(&self) -> Option<SecretRow> {
        self.table().store.secrets().await.unwrap().1.pop()
    }

    /// What `secret set` writes, at the revision after `old`.
    async fn put(&self, value: &str, keys: &Keyring, old: Option<&SecretRow>) -> bool {
        let now = self.table().clock.now();
        let row = SecretRow {
            organization_id: OrganizationId::ROOT,
            name: name(),
            revision: old.map_or(1, |old| old.revision + 1),
            key_id: String::new(),
            nonce: Vec::new(),
            ciphertext: Vec::new(),
            created_at: now,
            created_by: "test".to_owned(),
            updated_at: now,
            updated_by: "test".to_owned(),
        };
        let row = sealed(keys.first().unwrap(), row, &SecretString::from(value)).unwrap();
        self.table().store.secret_put(&row, old).await.unwrap()
    }

    async fn delete(&self) {
        let store = &self.table().store;
        let deleted = store.secret_delete(OrganizationId::ROOT, &name()).await;
        assert!(deleted.unwrap());
    }

    /// Seals what was read, whatever the table holds by now.
    async fn reseal(&self, read: SecretRow) -> Resealed {
        let key = self.new.first().unwrap();
        reseal(self.table(), &self.new, key, read).await.unwrap()
    }

    /// The value there is, and whether the new key sealed it.
    async fn holds(&self) -> (String, bool) {
        let row = self.row().await.unwrap();
        let value = opened(&self.new, &row).unwrap();
        let new = row.key_id == self.new.first().unwrap().id();
        (value.expose_secret().to_owned(), new)
    }
}

#[tokio::test]
async fn a_value_that_is_set_while_everything_is_sealed_anew_stays() {
    for old_key in [true, false] {
        let world = World::new().await;
        let read = world.row().await.unwrap();
        let keys = if old_key { &world.old } else { &world.new };
        assert!(world.put("after", keys, Some(&read)).await);
        // Another daemon that has not seen the new key yet seals with the old one; that is mended too.
        let expected = if old_key {
            Resealed::Anew
        } else {
            Resealed::Current
        };
        assert_eq!(world.reseal(read).await, expected);
        assert_eq!(world.holds().await, ("after".to_owned(), true));
    }
}

#[tokio::test]
async fn a_value_that_is_deleted_and_set_again_at_the_same_revision_stays() {
    let world = World::new().await;
    let read = world.row().await.unwrap();
    world.delete().await;
    assert!(world.put("after", &world.old, None).await);
    assert_eq!(world.row().await.unwrap().revision, read.revision);
    assert_eq!(world.reseal(read).await, Resealed::Anew);
    assert_eq!(world.holds().await, ("after".to_owned(), true));
}

#[tokio::test]
async fn a_secret_that_is_deleted_while_everything_is_sealed_anew_stays_deleted() {
    let world = World::new().await;
    let read = world.row().await.unwrap();
    world.delete().await;
    assert_eq!(world.reseal(read).await, Resealed::Gone);
    assert_eq!(world.row().await, None);
}
