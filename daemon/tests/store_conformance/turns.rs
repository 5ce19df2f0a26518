//! Turns in a lane: who may be claimed, and when.

use std::sync::Mutex;

use flowweaver::id::{CommandId, DaemonId, Digest, OrganizationId, RunId, WorkflowId};
use flowweaver::run::status::Status;
use flowweaver::store::CommitOutcome;
use flowweaver::store::control::{Control, Lane, LaneMove};
use flowweaver::store::rows::{CommandKind, CommandRow, RunRow, Transition};

use crate::world::{World, at, insert, new_run, update};

fn lane(workflow: WorkflowId, key: &str, max: u32, priority: i32) -> Lane {
    Lane {
        lane_id: Digest::of(format!("{workflow} {key}").as_bytes()),
        organization_id: OrganizationId::ROOT,
        workflow_id: workflow,
        max,
        priority,
    }
}

/// An id greater than all before it: within a millisecond they are as chance has it.
fn next_id() -> RunId {
    static LAST: Mutex<Option<RunId>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap();
    loop {
        let id = RunId::generate();
        if last.is_none_or(|last| id > last) {
            *last = Some(id);
            return id;
        }
    }
}

/// A run that enters a lane.
pub fn entering(workflow: WorkflowId, key: &str, max: u32, priority: i32) -> (RunRow, Transition) {
    let row = RunRow {
        run_id: next_id(),
        status: Status::Held,
        priority,
        ..new_run(workflow, "flow", None)
    };
    let control = Control {
        lane: Some(LaneMove::Enter(lane(workflow, key, max, priority))),
        ..Control::default()
    };
    let transition = Transition {
        control: Some(Box::new(control)),
        ..insert(&row)
    };
    (row, transition)
}

fn ending(run: RunId, epoch: i64, revision: i64, status: Status) -> Transition {
    let control = Control {
        lane: Some(LaneMove::Leave),
        ..Control::default()
    };
    Transition {
        control: Some(Box::new(control)),
        ..update(run, epoch, revision, status)
    }
}

impl World {
    /// The runs that a claim gives, in its order.
    async fn going(&self, daemon: DaemonId) -> Vec<RunId> {
        let claimed = self.store.claim(daemon, 100).await.unwrap();
        claimed.into_iter().map(|run| run.run_id).collect()
    }

    async fn status(&self, run: RunId) -> Status {
        self.store.load_run(run).await.unwrap().unwrap().run.status
    }
}

pub async fn beyond_its_limit_a_run_is_held_and_nobody_claims_it(world: World) {
    let workflow = world.workflow("flow").await;
    let daemon = world.daemon("a").await;
    let (first, one) = entering(workflow, "k", 1, 0);
    let (second, two) = entering(workflow, "k", 1, 0);
    let (other, three) = entering(workflow, "another key", 1, 0);
    world.commit(&[one, two, three]).await;
    assert_eq!(world.going(daemon).await, [first.run_id, other.run_id]);
    assert_eq!(world.status(second.run_id).await, Status::Held);
    assert_eq!(world.store.waiting(10).await.unwrap(), 1);
    // Its place is given on with its end, in the same transaction.
    let end = ending(first.run_id, 1, 1, Status::Succeeded);
    world.commit_one(end).await;
    assert_eq!(world.status(second.run_id).await, Status::Queued);
    assert_eq!(world.going(daemon).await, [second.run_id]);
    for (run, epoch) in [(second.run_id, 1), (other.run_id, 1)] {
        world
            .commit_one(ending(run, epoch, 1, Status::Failed))
            .await;
    }
    // Nothing is left of lanes that nobody is in.
    for table in ["lane", "lane_run"] {
        let sql = format!(r#"select count(*) from "{table}""#);
        assert_eq!(world.raw.number(&sql).await, 0, "{table}");
    }
}

pub async fn those_that_wait_go_by_priority_and_then_by_age(world: World) {
    let workflow = world.workflow("flow").await;
    let daemon = world.daemon("a").await;
    let mut rows = Vec::new();
    for priority in [0, 0, 5, -3, 5] {
        let (row, transition) = entering(workflow, "k", 1, priority);
        rows.push(row.run_id);
        world.commit_one(transition).await;
    }
    let mut order = Vec::new();
    for _ in 0..5 {
        let [run] = world.going(daemon).await[..] else {
            panic!("not one at a time");
        };
        order.push(run);
        world.commit_one(ending(run, 1, 1, Status::Succeeded)).await;
    }
    let expected = [0, 2, 4, 1, 3].map(|at| rows[at]);
    assert_eq!(order, expected);
}

pub async fn a_run_of_a_dead_daemon_keeps_its_place_until_it_has_ended(world: World) {
    let workflow = world.workflow("flow").await;
    let (gone, next) = (world.daemon("a").await, world.daemon("b").await);
    let (first, one) = entering(workflow, "k", 1, 0);
    let (second, two) = entering(workflow, "k", 1, 0);
    world.commit(&[one, two]).await;
    assert_eq!(world.going(gone).await, [first.run_id]);
    world.store.farewell(gone).await.unwrap();
    assert_eq!(world.going(next).await, [first.run_id]);
    assert_eq!(world.status(second.run_id).await, Status::Held);
    // What the dead one still says changes nothing.
    let late = ending(first.run_id, 1, 1, Status::Succeeded);
    assert_eq!(world.commit(&[late]).await, [CommitOutcome::Fenced]);
    assert_eq!(world.status(second.run_id).await, Status::Held);
    world
        .commit_one(ending(first.run_id, 2, 1, Status::Cancelled))
        .await;
    assert_eq!(world.going(next).await, [second.run_id]);
}

pub async fn a_held_run_that_is_to_be_stopped_can_be_claimed_for_that(world: World) {
    let workflow = world.workflow("flow").await;
    let daemon = world.daemon("a").await;
    let (first, one) = entering(workflow, "k", 1, 0);
    let (second, two) = entering(workflow, "k", 1, 0);
    let (third, three) = entering(workflow, "k", 1, 0);
    world.commit(&[one, two, three]).await;
    assert_eq!(world.going(daemon).await, [first.run_id]);
    let order = CommandRow {
        command_id: CommandId::generate(),
        run_id: second.run_id,
        organization_id: OrganizationId::ROOT,
        kind: CommandKind::Cancel,
        reason: "no longer".into(),
        created_at: at(1),
    };
    world.store.order(&order).await.unwrap();
    assert_eq!(world.going(daemon).await, [second.run_id]);
    assert_eq!(
        world.store.orders(daemon).await.unwrap(),
        std::slice::from_ref(&order)
    );
    let end = Transition {
        consumed: vec![order.command_id],
        ..ending(second.run_id, 1, 1, Status::Cancelled)
    };
    world.commit_one(end).await;
    // It had no place, so none became free.
    assert_eq!(world.status(third.run_id).await, Status::Held);
    world
        .commit_one(ending(first.run_id, 1, 1, Status::Succeeded))
        .await;
    assert_eq!(world.going(daemon).await, [third.run_id]);
}

pub async fn a_larger_limit_lets_more_go_and_a_smaller_one_waits(world: World) {
    let workflow = world.workflow("flow").await;
    let daemon = world.daemon("a").await;
    let mut runs = Vec::new();
    for max in [1, 1, 1, 3] {
        let (row, transition) = entering(workflow, "k", max, 0);
        runs.push(row.run_id);
        world.commit_one(transition).await;
    }
    assert_eq!(world.going(daemon).await, runs[..3]);
    let (last, transition) = entering(workflow, "k", 1, 0);
    world.commit_one(transition).await;
    for run in &runs[..2] {
        let end = ending(*run, 1, 1, Status::Succeeded);
        world.commit_one(end).await;
        assert!(world.going(daemon).await.is_empty());
    }
    world
        .commit_one(ending(runs[2], 1, 1, Status::Succeeded))
        .await;
    assert_eq!(world.going(daemon).await, [runs[3]]);
    assert_eq!(world.status(last.run_id).await, Status::Held);
}

pub async fn daemons_that_race_never_let_more_go_than_the_limit(world: World) {
    const RUNS: usize = 24;
    const MAX: i64 = 3;
    let workflow = world.workflow("flow").await;
    let mut racers = Vec::new();
    for name in ["a", "b", "c"] {
        let daemon = world.daemon(name).await;
        let world = world.clone();
        racers.push(tokio::spawn(async move {
            let mut ended = 0;
            for _ in 0..RUNS / 3 {
                let (_, transition) = entering(workflow, "k", MAX as u32, 0);
                world.commit_one(transition).await;
                ended += world.end_what_goes(daemon, MAX).await;
            }
            (daemon, ended)
        }));
    }
    let (mut ended, mut last) = (0, None);
    for racer in racers {
        let (daemon, many) = racer.await.unwrap();
        (ended, last) = (ended + many, Some(daemon));
    }
    // Nothing is left behind: each end lets the next go.
    while ended < RUNS {
        let many = world.end_what_goes(last.unwrap(), MAX).await;
        assert!(many > 0, "{ended} of {RUNS} went, then none");
        ended += many;
    }
    assert_eq!(world.store.waiting(10).await.unwrap(), 0);
}

impl World {
    /// Claims one run, looks how many have a place, and ends it.
    async fn end_what_goes(&self, daemon: DaemonId, max: i64) -> usize {
        let claimed = self.store.claim(daemon, 1).await.unwrap();
        let going = r#"select count(*) from "lane_run" where "has_place" = 1"#;
        assert!(self.raw.number(going).await <= max);
        for run in &claimed {
            let end = ending(run.run_id, run.lease_epoch, 1, Status::Succeeded);
            self.commit_one(end).await;
        }
        claimed.len()
    }
}

pub async fn waiting_runs_are_counted_no_further_than_the_limit(world: World) {
    let workflow = world.workflow("flow").await;
    let daemon = world.daemon("a").await;
    assert_eq!(world.store.waiting(5).await.unwrap(), 0);
    let runs: Vec<_> = (0..7)
        .map(|_| insert(&new_run(workflow, "flow", None)))
        .collect();
    world.commit(&runs).await;
    world.run("flow", Some(daemon)).await;
    assert_eq!(world.store.waiting(5).await.unwrap(), 5);
    assert_eq!(world.store.waiting(100).await.unwrap(), 7);
    world.store.claim(daemon, 3).await.unwrap();
    assert_eq!(world.store.waiting(100).await.unwrap(), 4);
}
