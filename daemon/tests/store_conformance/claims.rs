//! Who owns a run, and for how long.

use std::collections::HashSet;

use flowweaver::id::{CommandId, DaemonId};
use flowweaver::run::status::Status;
use flowweaver::store::rows::{ClaimedRun, CommandKind, CommandRow};
use flowweaver::store::{LEASE, StoreError};

use crate::world::{World, at, insert, new_run, update};

impl World {
    async fn claimed(&self, daemon: DaemonId) -> Vec<ClaimedRun> {
        self.store.claim(daemon, 100).await.unwrap()
    }

    /// Puts a daemon's last heartbeat so far back, in seconds.
    pub async fn silence(&self, daemon: DaemonId, seconds: u64) {
        let sql = format!(
            r#"update "daemon" set "seen_at" = "seen_at" - {} where "daemon_id" = '{daemon}'"#,
            seconds * 1_000_000
        );
        assert_eq!(self.raw.execute(&sql).await, 1);
    }
}

pub async fn a_run_is_never_given_to_two_daemons(world: World) {
    let workflow = world.workflow("flow").await;
    let batch: Vec<_> = (0..60)
        .map(|_| insert(&new_run(workflow, "flow", None)))
        .collect();
    world.commit(&batch).await;
    let mut claimers = Vec::new();
    for name in ["a", "b", "c", "d"] {
        let daemon = world.daemon(name).await;
        let world = world.clone();
        claimers.push(tokio::spawn(async move {
            let mut mine = Vec::new();
            for _ in 0..30 {
                mine.extend(world.store.claim(daemon, 3).await.unwrap());
            }
            mine
        }));
    }
    let mut all = Vec::new();
    for claimer in claimers {
        all.extend(claimer.await.unwrap());
    }
    assert_eq!(all.len(), 60);
    assert!(all.iter().all(|run| run.lease_epoch == 1));
    assert_eq!(
        all.iter()
            .map(|run| run.run_id)
            .collect::<HashSet<_>>()
            .len(),
        60
    );
}

pub async fn a_live_owner_keeps_its_runs(world: World) {
    let (owner, other) = (world.daemon("a").await, world.daemon("b").await);
    world.run("flow", Some(owner)).await;
    world.silence(owner, LEASE.as_secs() - 10).await;
    assert_eq!(world.claimed(other).await, []);
    assert_eq!(world.claimed(owner).await, []);
}

pub async fn a_silent_owner_loses_its_runs(world: World) {
    let (owner, other) = (world.daemon("a").await, world.daemon("b").await);
    let run = world.run("flow", Some(owner)).await;
    world.silence(owner, LEASE.as_secs() + 1).await;
    assert_eq!(
        world.claimed(other).await,
        [ClaimedRun {
            run_id: run.run_id,
            lease_epoch: 2
        }]
    );
    // Its next heartbeat brings it back to life, but not its runs.
    world.store.heartbeat(owner, "a").await.unwrap();
    assert_eq!(world.claimed(owner).await, []);
}

pub async fn a_restarted_instance_gets_its_runs_at_once(world: World) {
    let before = world.daemon("a").await;
    let run = world.run("flow", Some(before)).await;
    let after = world.daemon("a").await;
    assert_eq!(
        world.claimed(after).await,
        [ClaimedRun {
            run_id: run.run_id,
            lease_epoch: 2
        }]
    );
}

pub async fn a_replaced_process_is_told_so(world: World) {
    let before = world.daemon("a").await;
    let after = world.daemon("a").await;
    let answer = world.store.heartbeat(before, "a").await;
    assert!(matches!(answer, Err(StoreError::Rejected(_))), "{answer:?}");
    world.store.heartbeat(after, "a").await.unwrap();
    assert!(matches!(
        world.store.claim(before, 1).await,
        Err(StoreError::Rejected(_))
    ));
}

pub async fn released_runs_are_claimable_at_once(world: World) {
    let (owner, other) = (world.daemon("a").await, world.daemon("b").await);
    let (kept, given) = (
        world.run("flow", Some(owner)).await,
        world.run("flow", Some(owner)).await,
    );
    world
        .store
        .release(&[(kept.run_id, 7), (given.run_id, 1)])
        .await
        .unwrap();
    assert_eq!(
        world.claimed(other).await,
        [ClaimedRun {
            run_id: given.run_id,
            lease_epoch: 2
        }]
    );
}

pub async fn a_departed_daemon_frees_its_runs(world: World) {
    let (owner, other) = (world.daemon("a").await, world.daemon("b").await);
    let run = world.run("flow", Some(owner)).await;
    world.store.farewell(owner).await.unwrap();
    assert_eq!(
        world.claimed(other).await,
        [ClaimedRun {
            run_id: run.run_id,
            lease_epoch: 2
        }]
    );
}

pub async fn the_most_urgent_then_the_oldest_comes_first(world: World) {
    let workflow = world.workflow("flow").await;
    let (gone, daemon) = (world.daemon("a").await, world.daemon("b").await);
    let mut runs = Vec::new();
    for (priority, owner) in [
        (0, None),
        (5, Some(gone)),
        (0, Some(gone)),
        (5, None),
        (-1, None),
    ] {
        let mut run = new_run(workflow, "flow", owner);
        run.priority = priority;
        world.commit_one(insert(&run)).await;
        runs.push(run);
    }
    world.store.farewell(gone).await.unwrap();
    // Ids made within one millisecond do not tell who was first, so the expectation sorts by them.
    let mut expected: Vec<_> = runs.iter().map(|r| (-r.priority, r.run_id)).collect();
    expected.sort_unstable();
    let mut got = Vec::new();
    for limit in [1, 2, 100] {
        let page = world.store.claim(daemon, limit).await.unwrap();
        assert!(page.len() <= limit as usize);
        got.extend(page.into_iter().map(|run| run.run_id));
    }
    assert_eq!(
        got,
        expected.into_iter().map(|(_, id)| id).collect::<Vec<_>>()
    );
}

pub async fn a_daemon_without_a_heartbeat_claims_nothing(world: World) {
    let run = world.run("flow", None).await;
    let (never, silent) = (DaemonId::generate(), world.daemon("a").await);
    world.silence(silent, LEASE.as_secs() + 1).await;
    for daemon in [never, silent] {
        assert!(matches!(
            world.store.claim(daemon, 1).await,
            Err(StoreError::Rejected(_))
        ));
    }
    let live = world.daemon("b").await;
    assert_eq!(
        world.claimed(live).await,
        [ClaimedRun {
            run_id: run.run_id,
            lease_epoch: 1
        }]
    );
}

pub async fn final_runs_are_not_claimed(world: World) {
    let owner = world.daemon("a").await;
    let run = world.run("flow", Some(owner)).await;
    world
        .commit_one(update(run.run_id, 1, 1, Status::Failed))
        .await;
    world.store.farewell(owner).await.unwrap();
    let other = world.daemon("b").await;
    assert_eq!(world.claimed(other).await, []);
}

pub async fn orders_reach_the_owner_oldest_first(world: World) {
    let (owner, other) = (world.daemon("a").await, world.daemon("b").await);
    let run = world.run("flow", Some(owner)).await;
    let mut ids = [
        CommandId::generate(),
        CommandId::generate(),
        CommandId::generate(),
    ];
    for command_id in ids {
        let command = CommandRow {
            command_id,
            run_id: run.run_id,
            organization_id: run.organization_id,
            kind: CommandKind::Cancel,
            reason: String::new(),
            created_at: at(0),
        };
        world.store.order(&command).await.unwrap();
        let stray = CommandRow {
            run_id: flowweaver::id::RunId::generate(),
            command_id: CommandId::generate(),
            ..command
        };
        assert!(matches!(
            world.store.order(&stray).await,
            Err(StoreError::Rejected(_))
        ));
    }
    ids.sort_unstable();
    let got: Vec<_> = world
        .store
        .orders(owner)
        .await
        .unwrap()
        .iter()
        .map(|c| c.command_id)
        .collect();
    assert_eq!(got, ids);
    assert_eq!(world.store.orders(other).await.unwrap(), []);
}
