//! The key-value state of workflows.

use std::time::Duration;

use flowweaver::id::OrganizationId;
use flowweaver::store::{Expect, KvSpace, KvWrite};

use crate::world::{World, at};

fn space(name: &str) -> KvSpace {
    KvSpace {
        organization: OrganizationId::ROOT,
        workflow: name.parse().unwrap(),
    }
}

fn value(bytes: &[u8]) -> KvWrite {
    KvWrite {
        value: bytes.to_vec(),
        expires_at: None,
    }
}

pub async fn a_key_is_set_only_at_the_expected_revision(world: World) {
    let (store, space) = (&world.store, space("flow"));
    let none = store
        .kv_set(&space, "k", Expect::Revision(1), &value(b"x"), at(0))
        .await
        .unwrap();
    assert_eq!(none, None);
    assert_eq!(store.kv_get(&space, "k", at(0)).await.unwrap(), None);
    let first = store
        .kv_set(&space, "k", Expect::Absent, &value(b"a\0\xff"), at(0))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        store
            .kv_set(&space, "k", Expect::Absent, &value(b"b"), at(0))
            .await
            .unwrap(),
        None
    );
    let kept = store.kv_get(&space, "k", at(0)).await.unwrap().unwrap();
    assert_eq!(
        (kept.value.as_slice(), kept.revision),
        (&b"a\0\xff"[..], first)
    );
    let second = store
        .kv_set(&space, "k", Expect::Revision(first), &value(b"c"), at(0))
        .await
        .unwrap()
        .unwrap();
    assert!(second > first);
    assert_eq!(
        store
            .kv_set(&space, "k", Expect::Revision(first), &value(b"d"), at(0))
            .await
            .unwrap(),
        None
    );
    assert!(
        store
            .kv_set(&space, "k", Expect::Any, &value(b"e"), at(0))
            .await
            .unwrap()
            .is_some()
    );
    assert!(store.kv_delete(&space, "k", at(0)).await.unwrap());
    assert!(!store.kv_delete(&space, "k", at(0)).await.unwrap());
}

pub async fn concurrent_compare_and_set_lets_one_through(world: World) {
    let mut tasks = Vec::new();
    for n in 0..8_u8 {
        let world = world.clone();
        tasks.push(tokio::spawn(async move {
            world
                .store
                .kv_set(&space("flow"), "k", Expect::Absent, &value(&[n]), at(0))
                .await
                .unwrap()
        }));
    }
    let mut winners = 0;
    for task in tasks {
        winners += usize::from(task.await.unwrap().is_some());
    }
    assert_eq!(winners, 1);
}

pub async fn an_expired_key_is_absent(world: World) {
    let (store, space) = (&world.store, space("flow"));
    let entry = KvWrite {
        value: b"x".to_vec(),
        expires_at: Some(at(0).after(Duration::from_secs(1))),
    };
    let revision = store
        .kv_set(&space, "k", Expect::Any, &entry, at(0))
        .await
        .unwrap()
        .unwrap();
    assert!(
        store
            .kv_get(&space, "k", at(999_999))
            .await
            .unwrap()
            .is_some()
    );
    let late = at(1_000_000);
    assert_eq!(store.kv_get(&space, "k", late).await.unwrap(), None);
    assert_eq!(
        store.kv_keys(&space, "", None, 10, late).await.unwrap(),
        Vec::<String>::new()
    );
    assert_eq!(
        store
            .kv_set(&space, "k", Expect::Revision(revision), &entry, late)
            .await
            .unwrap(),
        None
    );
    assert!(!store.kv_delete(&space, "k", late).await.unwrap());
    store
        .kv_set(&space, "k", Expect::Any, &entry, at(0))
        .await
        .unwrap();
    assert!(
        store
            .kv_set(&space, "k", Expect::Absent, &value(b"y"), late)
            .await
            .unwrap()
            .is_some()
    );
}

pub async fn a_key_made_again_has_a_new_revision(world: World) {
    let (store, space) = (&world.store, space("flow"));
    let old = store
        .kv_set(&space, "k", Expect::Any, &value(b"x"), at(0))
        .await
        .unwrap()
        .unwrap();
    store.kv_delete(&space, "k", at(0)).await.unwrap();
    let new = store
        .kv_set(&space, "k", Expect::Absent, &value(b"x"), at(0))
        .await
        .unwrap()
        .unwrap();
    assert!(new > old);
    assert_eq!(
        store
            .kv_set(&space, "k", Expect::Revision(old), &value(b"y"), at(0))
            .await
            .unwrap(),
        None
    );
}

pub async fn keys_come_in_byte_order_under_their_prefix(world: World) {
    let (store, space) = (&world.store, space("flow"));
    let keys = [
        "B",
        "a",
        "a/",
        "a/\0",
        "a/2",
        "a/B",
        "a/b",
        "a/\u{10FFFF}",
        "a/\u{10FFFF}x",
        "a0",
        "가",
    ];
    for key in keys.iter().rev() {
        store
            .kv_set(&space, key, Expect::Any, &value(b""), at(0))
            .await
            .unwrap();
    }
    assert_eq!(
        store.kv_keys(&space, "", None, 100, at(0)).await.unwrap(),
        keys
    );
    assert_eq!(
        store.kv_keys(&space, "a/", None, 100, at(0)).await.unwrap(),
        keys[2..9]
    );
    assert_eq!(
        store
            .kv_keys(&space, "a/", Some("a/2"), 2, at(0))
            .await
            .unwrap(),
        keys[5..7]
    );
    assert_eq!(
        store
            .kv_keys(&space, "a/", Some("A"), 1, at(0))
            .await
            .unwrap(),
        keys[2..3]
    );
    assert_eq!(
        store
            .kv_keys(&space, "a/", Some("b"), 9, at(0))
            .await
            .unwrap(),
        Vec::<String>::new()
    );
}

pub async fn spaces_do_not_see_each_other(world: World) {
    let store = &world.store;
    store
        .kv_set(&space("one"), "k", Expect::Any, &value(b"1"), at(0))
        .await
        .unwrap();
    assert_eq!(store.kv_get(&space("two"), "k", at(0)).await.unwrap(), None);
    let mut elsewhere = space("one");
    elsewhere.organization = "00000000000000000000000001".parse().unwrap();
    assert_eq!(store.kv_get(&elsewhere, "k", at(0)).await.unwrap(), None);
    assert!(!store.kv_delete(&space("two"), "k", at(0)).await.unwrap());
}
