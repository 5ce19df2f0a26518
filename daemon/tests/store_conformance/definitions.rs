//! Workflows, versions and modules.

use flowweaver::id::{Digest, OrganizationId};
use flowweaver::store::StoreError;
use flowweaver::store::rows::ModuleRow;

use crate::world::{World, at, version_of};

pub async fn publishing_twice_changes_nothing(world: World) {
    let version = version_of("flow", "text 한글");
    let first = world.store.publish(&version).await.unwrap();
    let mut later = version.clone();
    later.created_at = at(99);
    assert_eq!(world.store.publish(&later).await.unwrap(), first);
    assert_eq!(
        world.store.version(&version.version).await.unwrap(),
        Some(version.clone())
    );
    let workflows = world.store.workflows().await.unwrap();
    assert_eq!(workflows.len(), 1);
    assert_eq!(workflows[0].active_version, Some(version.version));
    assert_eq!(workflows[0].workflow_id, first);
}

pub async fn a_retired_workflow_keeps_its_versions(world: World) {
    let version = version_of("flow", "a");
    let id = world.store.publish(&version).await.unwrap();
    world
        .store
        .retire(OrganizationId::ROOT, &version.workflow_name)
        .await
        .unwrap();
    assert_eq!(
        world.store.workflows().await.unwrap()[0].active_version,
        None
    );
    assert_eq!(
        world.store.versions(id).await.unwrap(),
        std::slice::from_ref(&version)
    );
    assert_eq!(world.store.publish(&version).await.unwrap(), id);
    assert_eq!(
        world.store.workflows().await.unwrap()[0].active_version,
        Some(version.version)
    );
}

pub async fn versions_come_newest_first(world: World) {
    let (old, mut new) = (version_of("flow", "old"), version_of("flow", "new"));
    new.created_at = at(1);
    let id = world.store.publish(&old).await.unwrap();
    assert_eq!(world.store.publish(&new).await.unwrap(), id);
    assert_eq!(world.store.versions(id).await.unwrap(), [new, old]);
    assert_eq!(
        world.store.version(&Digest::of(b"none")).await.unwrap(),
        None
    );
}

pub async fn a_version_of_another_workflow_is_refused(world: World) {
    let version = version_of("flow", "a");
    world.store.publish(&version).await.unwrap();
    let mut stolen = version.clone();
    stolen.workflow_name = "other".parse().unwrap();
    assert!(matches!(
        world.store.publish(&stolen).await,
        Err(StoreError::Rejected(_))
    ));
    assert_eq!(world.store.workflows().await.unwrap().len(), 1);
}

fn module(bytes: &[u8]) -> ModuleRow {
    ModuleRow {
        digest: Digest::of(bytes),
        name: "keyword-search".parse().unwrap(),
        size_bytes: i64::try_from(bytes.len()).unwrap(),
        description: r#"{"name":"keyword-search"}"#.into(),
        imports: r#"["flowweaver:http/client@0.1.0"]"#.into(),
        created_at: at(0),
    }
}

pub async fn module_bytes_survive_and_a_changed_chunk_is_noticed(world: World) {
    let bytes: Vec<u8> = (0..2_500_000_u32).map(|n| (n % 251) as u8).collect();
    let row = module(&bytes);
    assert_eq!(world.store.module_bytes(&row.digest).await.unwrap(), None);
    for _ in 0..2 {
        world.store.put_module(&row, &bytes).await.unwrap();
    }
    assert_eq!(
        world.store.module(&row.digest).await.unwrap(),
        Some(row.clone())
    );
    assert!(world.store.module_bytes(&row.digest).await.unwrap() == Some(bytes));
    assert_eq!(
        world
            .raw
            .number(r#"select count(*) from "module_chunk""#)
            .await,
        3
    );
    world
        .raw
        .execute(r#"update "module_chunk" set "position" = 9 where "position" = 0"#)
        .await;
    let answer = world.store.module_bytes(&row.digest).await;
    assert!(matches!(answer, Err(StoreError::Corrupt(_))));
}

pub async fn a_module_with_a_wrong_digest_is_refused(world: World) {
    let row = module(b"one");
    let answer = world.store.put_module(&row, b"two").await;
    assert!(matches!(answer, Err(StoreError::Rejected(_))));
    assert_eq!(world.store.module(&row.digest).await.unwrap(), None);
}
