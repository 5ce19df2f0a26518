//! The key-value state of workflows.

use std::time::Duration;

use flowweaver::id::OrganizationId;
use flowweaver::store::{Expect, KvSpace, KvUsage, KvWrite, KvWritten};

use crate::world::{Raw, World, at};

const PLENTY: KvUsage = KvUsage {
    entries: 1_000_000,
    bytes: 1 << 40,
};

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
        quota: PLENTY,
    }
}

pub async fn a_key_is_set_only_at_the_expected_revision(world: World) {
    let (store, space) = (&world.store, space("flow"));
    let none = store
        .kv_set(&space, "k", Expect::Revision(1), &value(b"x"), at(0))
        .await
        .unwrap()
        .revision();
    assert_eq!(none, None);
    assert_eq!(store.kv_get(&space, "k", at(0)).await.unwrap(), None);
    let first = store
        .kv_set(&space, "k", Expect::Absent, &value(b"a\0\xff"), at(0))
        .await
        .unwrap()
        .revision()
        .unwrap();
    assert_eq!(
        store
            .kv_set(&space, "k", Expect::Absent, &value(b"b"), at(0))
            .await
            .unwrap()
            .revision(),
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
        .revision()
        .unwrap();
    assert!(second > first);
    assert_eq!(
        store
            .kv_set(&space, "k", Expect::Revision(first), &value(b"d"), at(0))
            .await
            .unwrap()
            .revision(),
        None
    );
    assert!(
        store
            .kv_set(&space, "k", Expect::Any, &value(b"e"), at(0))
            .await
            .unwrap()
            .revision()
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
                .revision()
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
        quota: PLENTY,
    };
    let revision = store
        .kv_set(&space, "k", Expect::Any, &entry, at(0))
        .await
        .unwrap()
        .revision()
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
            .unwrap()
            .revision(),
        None
    );
    assert!(!store.kv_delete(&space, "k", late).await.unwrap());
    store
        .kv_set(&space, "k", Expect::Any, &entry, at(0))
        .await
        .unwrap()
        .revision();
    assert!(
        store
            .kv_set(&space, "k", Expect::Absent, &value(b"y"), late)
            .await
            .unwrap()
            .revision()
            .is_some()
    );
}

pub async fn a_key_made_again_has_a_new_revision(world: World) {
    let (store, space) = (&world.store, space("flow"));
    let old = store
        .kv_set(&space, "k", Expect::Any, &value(b"x"), at(0))
        .await
        .unwrap()
        .revision()
        .unwrap();
    store.kv_delete(&space, "k", at(0)).await.unwrap();
    let new = store
        .kv_set(&space, "k", Expect::Absent, &value(b"x"), at(0))
        .await
        .unwrap()
        .revision()
        .unwrap();
    assert!(new > old);
    assert_eq!(
        store
            .kv_set(&space, "k", Expect::Revision(old), &value(b"y"), at(0))
            .await
            .unwrap()
            .revision(),
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
            .unwrap()
            .revision();
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
        .unwrap()
        .revision();
    assert_eq!(store.kv_get(&space("two"), "k", at(0)).await.unwrap(), None);
    let mut elsewhere = space("one");
    elsewhere.organization = "00000000000000000000000001".parse().unwrap();
    assert_eq!(store.kv_get(&elsewhere, "k", at(0)).await.unwrap(), None);
    assert!(!store.kv_delete(&space("two"), "k", at(0)).await.unwrap());
}

/// A value that ends after a second.
fn brief(quota: KvUsage) -> KvWrite {
    KvWrite {
        value: b"brief".to_vec(),
        expires_at: Some(at(1_000_000)),
        quota,
    }
}

fn within(entries: u64, bytes: u64, value: &[u8]) -> KvWrite {
    KvWrite {
        value: value.to_vec(),
        expires_at: None,
        quota: KvUsage { entries, bytes },
    }
}

async fn set(world: &World, space: &KvSpace, key: &str, write: &KvWrite, now: i64) -> KvWritten {
    let set = world.store.kv_set(space, key, Expect::Any, write, at(now));
    set.await.unwrap()
}

/// What is counted is what is there.
async fn counts_are_true(world: &World) {
    let wrong = r#"
        select count(*) from "kv_usage" as "u" where "u"."entry_count" <>
            (select count(*) from "kv_entry" as "e" where "e"."organization_id" = "u"."organization_id"
               and "e"."workflow_name" = "u"."workflow_name")
        or "u"."byte_count" <>
            (select coalesce(sum(length("e"."key") + length("e"."value")), 0) from "kv_entry" as "e"
             where "e"."organization_id" = "u"."organization_id" and "e"."workflow_name" = "u"."workflow_name")"#;
    assert_eq!(world.raw.number(wrong).await, 0, "wrong counts");
    let uncounted = r#"
        select count(*) from "kv_entry" as "e" where not exists (select 1 from "kv_usage" as "u"
          where "e"."organization_id" = "u"."organization_id" and "e"."workflow_name" = "u"."workflow_name")"#;
    assert_eq!(
        world.raw.number(uncounted).await,
        0,
        "entries without a count"
    );
}

pub async fn a_full_space_refuses_more_and_takes_what_is_no_larger(world: World) {
    let space = space("flow");
    assert!(
        set(&world, &space, "a", &within(2, 20, b"12345"), 0)
            .await
            .revision()
            .is_some()
    );
    assert!(
        set(&world, &space, "b", &within(2, 20, b"12345"), 0)
            .await
            .revision()
            .is_some()
    );
    let third = set(&world, &space, "c", &within(2, 100, b""), 0).await;
    assert_eq!(third, KvWritten::TooManyKeys);
    let larger = set(&world, &space, "a", &within(2, 12, b"123456"), 0).await;
    assert_eq!(larger, KvWritten::TooManyBytes);
    let more = set(&world, &space, "c", &within(9, 12, b""), 0).await;
    assert_eq!(more, KvWritten::TooManyBytes);
    let kept = world
        .store
        .kv_get(&space, "a", at(0))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(kept.value, b"12345");
    // The operator lowered the quota below what is there.
    for smaller in [&b"12345"[..], b"1", b""] {
        let written = set(&world, &space, "a", &within(1, 1, smaller), 0).await;
        assert!(written.revision().is_some(), "{written:?}");
    }
    assert!(world.store.kv_delete(&space, "b", at(0)).await.unwrap());
    assert!(
        set(&world, &space, "c", &within(2, 20, b"1"), 0)
            .await
            .revision()
            .is_some()
    );
    counts_are_true(&world).await;
    let usage = world.store.kv_usage(&space, at(0)).await.unwrap();
    assert_eq!(
        usage,
        KvUsage {
            entries: 2,
            bytes: 3
        }
    );
}

pub async fn expired_entries_do_not_count_and_are_removed_by_writes(world: World) {
    let (one, other) = (space("flow"), space("other"));
    for n in 0..250 {
        set(&world, &one, &format!("seen/{n}"), &brief(PLENTY), 0).await;
    }
    set(&world, &other, "k", &brief(PLENTY), 0).await;
    let full = within(250, 1 << 20, b"x");
    assert_eq!(
        set(&world, &one, "new", &full, 999_999).await,
        KvWritten::TooManyKeys
    );
    let late = 1_000_000;
    let usage = world.store.kv_usage(&one, at(late)).await.unwrap();
    assert_eq!(
        usage,
        KvUsage {
            entries: 0,
            bytes: 0
        }
    );
    // Room for one key only: all that expired must go for the second one.
    assert!(
        set(&world, &one, "new", &within(1, 100, b"x"), late)
            .await
            .revision()
            .is_some()
    );
    assert_eq!(
        set(&world, &one, "more", &within(1, 100, b"x"), late).await,
        KvWritten::TooManyKeys
    );
    let rows = world.raw.number(r#"select count(*) from "kv_entry""#).await;
    assert_eq!(
        rows, 2,
        "only the new one, and another workflow's that expired"
    );
    counts_are_true(&world).await;
    // An expired key written again is one key, whether its row was removed before or not.
    set(&world, &one, "new", &brief(PLENTY), late).await;
    set(&world, &one, "new", &within(1, 100, b"x"), late).await;
    counts_are_true(&world).await;
}

pub async fn counts_follow_every_kind_of_change(world: World) {
    let space = space("flow");
    for (key, length) in [("a", 10), ("b", 0), ("a", 3), ("a", 30), ("한글", 5)] {
        set(&world, &space, key, &within(9, 999, &vec![7; length]), 0).await;
        counts_are_true(&world).await;
    }
    for key in ["a", "a", "absent"] {
        world.store.kv_delete(&space, key, at(0)).await.unwrap();
        counts_are_true(&world).await;
    }
    let long = value(b"long");
    let lost = world
        .store
        .kv_set(&space, "b", Expect::Absent, &long, at(0));
    assert_eq!(lost.await.unwrap(), KvWritten::Unexpected);
    counts_are_true(&world).await;
}

pub async fn writers_that_race_never_exceed_the_quota(world: World) {
    let mut tasks = Vec::new();
    for n in 0..24 {
        let world = world.clone();
        tasks.push(tokio::spawn(async move {
            let write = within(10, 1 << 20, b"value");
            set(&world, &space("flow"), &format!("k{n}"), &write, 0).await
        }));
    }
    let mut written = 0;
    for task in tasks {
        written += usize::from(task.await.unwrap().revision().is_some());
    }
    assert_eq!(written, 10);
    assert_eq!(
        world.raw.number(r#"select count(*) from "kv_entry""#).await,
        10
    );
    counts_are_true(&world).await;
}

pub async fn entries_are_listed_page_by_page_with_what_they_take(world: World) {
    let space = space("flow");
    set(&world, &space, "a/1", &value(b"12"), 0).await;
    set(&world, &space, "a/2", &brief(PLENTY), 0).await;
    set(&world, &space, "b", &value(b""), 0).await;
    let list = async |prefix, after, limit, now| {
        let rows = world.store.kv_list(&space, prefix, after, limit, at(now));
        let rows = rows.await.unwrap();
        let told = rows.into_iter();
        told.map(|row| (row.key, row.value_bytes, row.expires_at.is_some()))
            .collect::<Vec<_>>()
    };
    let one = || ("a/1".to_owned(), 2, false);
    let two = || ("a/2".to_owned(), 5, true);
    let b = || ("b".to_owned(), 0, false);
    assert_eq!(list("", None, 2, 0).await, [one(), two()]);
    assert_eq!(list("", Some("a/2"), 2, 0).await, [b()]);
    assert_eq!(list("a/", None, 9, 0).await, [one(), two()]);
    assert_eq!(list("a/", None, 9, 1_000_000).await, [one()]);
    let entry = world
        .store
        .kv_get(&space, "a/2", at(0))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(entry.expires_at, Some(at(1_000_000)));
}

pub async fn what_an_older_daemon_wrote_is_counted_by_the_migration(world: World) {
    for (workflow, key) in [("one", "a"), ("one", "b"), ("two", "a")] {
        set(&world, &space(workflow), key, &value(b"123"), 0).await;
    }
    world.raw.execute(r#"delete from "kv_usage""#).await;
    let migration = match world.raw {
        Raw::Sqlite(_) => include_str!("../../migrations/sqlite/0002_secret.sql"),
        Raw::Postgres(_) => include_str!("../../migrations/postgres/0002_secret.sql"),
        Raw::MariaDb(_) => include_str!("../../migrations/mariadb/0002_secret.sql"),
    };
    let (_, counting) = migration.split_once("insert into \"kv_usage\"").unwrap();
    let (counting, _) = counting.split_once(';').unwrap();
    let counted = world
        .raw
        .execute(&format!("insert into \"kv_usage\"{counting}"))
        .await;
    assert_eq!(counted, 2);
    counts_are_true(&world).await;
}
