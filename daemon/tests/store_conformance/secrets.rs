//! Sealed secrets: rows that the store keeps and cannot read.

use flowweaver::id::OrganizationId;
use flowweaver::store::rows::SecretRow;

use crate::world::{World, at};

fn row(name: &str, revision: u64) -> SecretRow {
    SecretRow {
        organization_id: OrganizationId::ROOT,
        name: name.parse().unwrap(),
        revision,
        key_id: "0123456789abcdef".to_owned(),
        nonce: vec![0, 1, 255],
        ciphertext: (0..=255).collect(),
        created_at: at(1),
        created_by: "owner".to_owned(),
        updated_at: at(i64::try_from(revision).unwrap()),
        updated_by: "someone\0else".to_owned(),
    }
}

pub async fn a_secret_is_written_only_over_the_revision_that_was_read(world: World) {
    let store = &world.store;
    assert!(
        !store
            .secret_put(&row("A", 2), Some(&row("A", 1)))
            .await
            .unwrap()
    );
    assert!(store.secret_put(&row("A", 1), None).await.unwrap());
    assert!(!store.secret_put(&row("A", 1), None).await.unwrap());
    assert!(
        !store
            .secret_put(&row("A", 9), Some(&row("A", 8)))
            .await
            .unwrap()
    );
    assert_eq!(store.secrets().await.unwrap().1, [row("A", 1)]);
    let mut next = row("A", 2);
    next.key_id = "fedcba9876543210".to_owned();
    next.ciphertext = vec![9];
    next.created_by = "whoever".to_owned();
    assert!(store.secret_put(&next, Some(&row("A", 1))).await.unwrap());
    // Who made it is not changed by who sets it.
    next.created_by = "owner".to_owned();
    assert_eq!(store.secrets().await.unwrap().1, [next]);
}

pub async fn a_secret_is_not_written_over_one_that_was_made_again(world: World) {
    let store = &world.store;
    let read = row("A", 1);
    let anew = SecretRow {
        key_id: "fedcba9876543210".to_owned(),
        ..row("A", 2)
    };
    assert!(store.secret_put(&read, None).await.unwrap());
    // Deleted and set again between the reading and the writing: another value at the same revision.
    for changed in [
        SecretRow {
            nonce: vec![7],
            ..row("A", 1)
        },
        SecretRow {
            ciphertext: vec![7],
            ..row("A", 1)
        },
    ] {
        let name = &read.name;
        assert!(
            store
                .secret_delete(OrganizationId::ROOT, name)
                .await
                .unwrap()
        );
        assert!(store.secret_put(&changed, None).await.unwrap());
        let counted = store.secret_changes().await.unwrap();
        assert!(!store.secret_put(&anew, Some(&read)).await.unwrap());
        assert_eq!(
            store.secrets().await.unwrap(),
            (counted, vec![changed.clone()])
        );
    }
    let (_, rows) = store.secrets().await.unwrap();
    assert!(store.secret_put(&anew, rows.first()).await.unwrap());
    assert_eq!(store.secrets().await.unwrap().1, [anew]);
}

pub async fn of_two_who_set_the_same_secret_one_is_told_to_read_again(world: World) {
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let store = world.store.clone();
        tasks.push(tokio::spawn(async move {
            store.secret_put(&row("A", 1), None).await.unwrap()
        }));
    }
    let mut winners = 0;
    for task in tasks {
        winners += usize::from(task.await.unwrap());
    }
    assert_eq!(winners, 1);
}

pub async fn every_change_of_a_secret_is_counted_and_nothing_else(world: World) {
    let store = &world.store;
    let root = OrganizationId::ROOT;
    assert_eq!(store.secret_changes().await.unwrap(), 0);
    assert!(
        !store
            .secret_delete(root, &"A".parse().unwrap())
            .await
            .unwrap()
    );
    store
        .secret_put(&row("A", 2), Some(&row("A", 1)))
        .await
        .unwrap();
    assert_eq!(store.secret_changes().await.unwrap(), 0);
    store.secret_put(&row("A", 1), None).await.unwrap();
    store
        .secret_put(&row("A", 2), Some(&row("A", 1)))
        .await
        .unwrap();
    assert_eq!(store.secret_changes().await.unwrap(), 2);
    assert!(
        store
            .secret_delete(root, &"A".parse().unwrap())
            .await
            .unwrap()
    );
    assert_eq!(store.secrets().await.unwrap(), (3, Vec::new()));
}

pub async fn secrets_of_organizations_are_apart(world: World) {
    let store = &world.store;
    let elsewhere: OrganizationId = "00000000000000000000000001".parse().unwrap();
    let mut other = row("A", 1);
    other.organization_id = elsewhere;
    store.secret_put(&row("A", 1), None).await.unwrap();
    assert!(store.secret_put(&other, None).await.unwrap());
    assert!(
        !store
            .secret_delete(elsewhere, &"B".parse().unwrap())
            .await
            .unwrap()
    );
    assert!(
        store
            .secret_delete(OrganizationId::ROOT, &"A".parse().unwrap())
            .await
            .unwrap()
    );
    assert_eq!(store.secrets().await.unwrap().1, [other]);
}
