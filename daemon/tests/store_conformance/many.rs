//! What daemons that share a store may rely on.

use std::time::Duration;

use flowweaver::id::{CommandId, DaemonId, OrganizationId};
use flowweaver::run::status::Status;
use flowweaver::store::news::News;
use flowweaver::store::rows::{CommandKind, CommandRow};
use flowweaver::store::{Durability, Duty, StoreError, open_as};

use tokio::sync::broadcast::Receiver;

use crate::world::{World, at, insert, new_run, update, version_of};

/// Ends a test that would hang.
const FAR: Duration = Duration::from_secs(60);

pub async fn each_daemon_is_judged_by_its_own_lease(world: World) {
    let (brief, patient) = (Duration::from_secs(2), Duration::from_secs(600));
    let workflow = world.workflow("flow").await;
    let mut owners = Vec::new();
    for lease in [brief, patient] {
        let store = open_as(&world.url, Durability::Full, lease).await.unwrap();
        let daemon = DaemonId::generate();
        store
            .heartbeat(daemon, &format!("{lease:?}"))
            .await
            .unwrap();
        let run = new_run(workflow, "flow", Some(daemon));
        world.commit_one(insert(&run)).await;
        owners.push((daemon, run.run_id));
    }
    let claimer = world.daemon("c").await;
    assert_eq!(world.store.claim(claimer, 9).await.unwrap(), []);
    for (daemon, _) in &owners {
        world.silence(*daemon, 60).await;
    }
    let claimed = world.store.claim(claimer, 9).await.unwrap();
    let claimed: Vec<_> = claimed.iter().map(|run| run.run_id).collect();
    assert_eq!(claimed, [owners[0].1], "only the brief lease has ended");
}

pub async fn a_duty_is_one_daemons_at_a_time_and_ends_with_its_life(world: World) {
    let take = async |daemon| world.store.take_duty(daemon, Duty::Publish).await;
    let never = DaemonId::generate();
    assert!(matches!(take(never).await, Err(StoreError::Rejected(_))));
    let (a, b, c) = (
        world.daemon("a").await,
        world.daemon("b").await,
        world.daemon("c").await,
    );
    assert!(take(a).await.unwrap());
    for _ in 0..2 {
        assert!(!take(b).await.unwrap());
        assert!(take(a).await.unwrap());
    }
    world.store.farewell(a).await.unwrap();
    assert!(take(b).await.unwrap());
    assert!(!take(c).await.unwrap());
    world.silence(b, 31).await;
    assert!(take(c).await.unwrap());
    // Back to life, and not back in office.
    world.store.heartbeat(b, "b").await.unwrap();
    assert!(!take(b).await.unwrap());
    // Of many that ask at once, one gets it.
    world.store.farewell(c).await.unwrap();
    let mut asking = Vec::new();
    for name in ["d", "e", "f", "g"] {
        let (store, daemon) = (world.store.clone(), world.daemon(name).await);
        asking.push(tokio::spawn(async move {
            store.take_duty(daemon, Duty::Publish).await.unwrap()
        }));
    }
    let mut given = 0;
    for asked in asking {
        given += u32::from(asked.await.unwrap());
    }
    assert_eq!(given, 1);
}

pub async fn every_publication_and_removal_is_counted(world: World) {
    let count = async || world.store.catalog_revision().await.unwrap();
    let first = count().await;
    let publish = async |text: &str| {
        let version = version_of("flow", text);
        world.store.publish(&version).await.unwrap()
    };
    publish("one").await;
    assert_eq!(count().await, first + 1);
    // What is active already is not news.
    publish("one").await;
    assert_eq!(count().await, first + 1);
    publish("two").await;
    let (root, name) = (OrganizationId::ROOT, "flow".parse().unwrap());
    world.store.retire(root, &name).await.unwrap();
    assert_eq!(count().await, first + 3);
}

/// On databases that carry no messages there is nothing to hear, and it says so.
pub async fn what_one_daemon_writes_another_hears_of(world: World) {
    let other = open_as(&world.url, Durability::Full, FAR).await.unwrap();
    let is_postgres = world.url.starts_with("postgres");
    let Some(mut news) = other.news() else {
        assert!(!is_postgres, "PostgreSQL carries news");
        return;
    };
    // A daemon that is alone tells nothing, so there are two before anything is to be told.
    let (owner, _) = (world.daemon("a").await, world.daemon("b").await);
    // The connection that hears begins with this.
    heard(&mut news, "the beginning", |news| news.all).await;
    let workflow = world.workflow("flow").await;
    let run = new_run(workflow, "flow", Some(owner));
    world.commit_one(insert(&run)).await;
    let told = heard(&mut news, "a run", |news| {
        news.changed.contains(&run.run_id)
    })
    .await;
    assert!(!told.ended.contains(&run.run_id) && !told.all);
    let free = new_run(workflow, "flow", None);
    world.commit_one(insert(&free)).await;
    heard(&mut news, "work", |news| news.work).await;
    let order = CommandRow {
        command_id: CommandId::generate(),
        run_id: run.run_id,
        organization_id: run.organization_id,
        kind: CommandKind::Cancel,
        reason: String::new(),
        created_at: at(0),
    };
    world.store.order(&order).await.unwrap();
    heard(&mut news, "an order", |news| news.orders).await;
    world
        .commit_one(update(run.run_id, 1, 1, Status::Failed))
        .await;
    heard(&mut news, "the end", |news| {
        news.ended.contains(&run.run_id)
    })
    .await;
    let version = version_of("flow", "another");
    world.store.publish(&version).await.unwrap();
    heard(&mut news, "a version", |news| news.versions).await;
    // A lost connection is made again, and then everything counts as news.
    crate::fresh::cut(&world.url).await;
    heard(&mut news, "a new beginning", |news| news.all).await;
    world
        .store
        .order(&CommandRow {
            command_id: CommandId::generate(),
            ..order
        })
        .await
        .unwrap();
    heard(&mut news, "an order after it", |news| {
        news.orders && !news.all
    })
    .await;
}

/// Waits for news of this kind.
async fn heard(
    news: &mut Receiver<News>,
    what: &str,
    wanted: impl Fn(&News) -> bool + Send,
) -> News {
    let wait = async {
        loop {
            let told = news.recv().await.unwrap();
            if wanted(&told) {
                return told;
            }
        }
    };
    let told = tokio::time::timeout(FAR, wait).await;
    told.unwrap_or_else(|_| panic!("nobody told of {what}"))
}
