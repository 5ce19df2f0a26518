//! Runs that begin runs: their place in the family, and what is noted when a run ends.

use flowweaver::id::{OrganizationId, RunId, WorkflowId};
use flowweaver::run::status::Status;
use flowweaver::store::CommitOutcome;
use flowweaver::store::lineage::{DeliveryState, EndOf, Lineage};
use flowweaver::store::rows::{RunFilter, VersionRow};

use crate::world::{World, at, insert, new_run, update, version_of};

/// A workflow that starts after these ends.
async fn listener(world: &World, name: &str, ends: &[(&str, Status)]) -> WorkflowId {
    let ends = ends.iter().map(|(workflow, status)| EndOf {
        workflow: workflow.parse().unwrap(),
        status: *status,
    });
    let version = VersionRow {
        starts_after: ends.collect(),
        ..version_of(name, "")
    };
    world.store.publish(&version).await.unwrap()
}

async fn noted(world: &World, run: RunId) -> Vec<WorkflowId> {
    let rows = world.store.deliveries_of(run).await.unwrap();
    rows.iter().map(|row| row.id.workflow).collect()
}

pub async fn an_end_is_noted_in_its_own_commit_once_for_each_workflow_that_waits_for_it(
    world: World,
) {
    let owner = world.daemon("a").await;
    let both = [("flow", Status::Succeeded), ("flow", Status::Failed)];
    let mut all = vec![
        listener(&world, "one", &both).await,
        listener(&world, "two", &both[1..]).await,
    ];
    listener(&world, "three", &[("other", Status::Failed)]).await;
    let run = world.run("flow", Some(owner)).await;
    let end = update(run.run_id, 1, 1, Status::Failed);
    // A commit that does not pass notes nothing.
    let zombie = update(run.run_id, 7, 1, Status::Failed);
    assert_eq!(world.commit(&[zombie]).await, [CommitOutcome::Fenced]);
    assert!(noted(&world, run.run_id).await.is_empty());
    world.commit_one(end).await;
    all.sort_unstable();
    assert_eq!(noted(&world, run.run_id).await, all);
    let rows = world.store.deliveries_of(run.run_id).await.unwrap();
    let row = &rows[0];
    assert_eq!(
        (row.state, row.source_status, row.due_at, row.created_at),
        (DeliveryState::Pending, Status::Failed, at(9), at(9))
    );
    // A later change of a run that has ended is no end.
    let mut late = update(run.run_id, 1, 2, Status::Failed);
    late.ends = false;
    world.commit_one(late).await;
    assert_eq!(noted(&world, run.run_id).await.len(), 2);
    // What was retired, or starts after something else by now, is not told.
    let name = "two".parse().unwrap();
    world
        .store
        .retire(OrganizationId::ROOT, &name)
        .await
        .unwrap();
    let newer = VersionRow {
        starts_after: Vec::new(),
        ..version_of("one", "newer")
    };
    world.store.publish(&newer).await.unwrap();
    let run = world.run("flow", Some(owner)).await;
    world
        .commit_one(update(run.run_id, 1, 1, Status::Failed))
        .await;
    assert!(noted(&world, run.run_id).await.is_empty());
}

pub async fn a_run_that_ends_with_its_insert_is_noted_too(world: World) {
    let one = listener(&world, "one", &[("flow", Status::Cancelled)]).await;
    let mut row = new_run(world.workflow("flow").await, "flow", None);
    row.status = Status::Cancelled;
    row.finished_at = Some(at(3));
    world.commit_one(insert(&row)).await;
    assert_eq!(noted(&world, row.run_id).await, [one]);
}

pub async fn a_delivery_is_due_by_its_time_and_settled_once(world: World) {
    let owner = world.daemon("a").await;
    listener(&world, "one", &[("flow", Status::Succeeded)]).await;
    let run = world.run("flow", Some(owner)).await;
    world
        .commit_one(update(run.run_id, 1, 1, Status::Succeeded))
        .await;
    assert!(
        world
            .store
            .deliveries_due(at(8), 10)
            .await
            .unwrap()
            .is_empty()
    );
    let due = world.store.deliveries_due(at(9), 10).await.unwrap();
    let mut delivery = due[0].clone();
    delivery.due_at = at(50);
    delivery.reason_code = Some("trigger.rate".into());
    delivery.reason_message = Some("later, \0 ok".into());
    world.store.settle_delivery(&delivery).await.unwrap();
    assert!(
        world
            .store
            .deliveries_due(at(49), 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        world.store.deliveries_due(at(50), 10).await.unwrap(),
        [delivery.clone()]
    );
    delivery.state = DeliveryState::Started;
    delivery.run_id = Some(run.run_id);
    delivery.settled_at = Some(at(51));
    world.store.settle_delivery(&delivery).await.unwrap();
    let mut second = delivery.clone();
    second.state = DeliveryState::Failed;
    world.store.settle_delivery(&second).await.unwrap();
    assert_eq!(
        world.store.deliveries_of(run.run_id).await.unwrap(),
        [delivery]
    );
    assert!(
        world
            .store
            .deliveries_due(at(99), 10)
            .await
            .unwrap()
            .is_empty()
    );
}

pub async fn runs_of_a_family_are_found_by_parent_by_root_and_by_key(world: World) {
    let workflow = world.workflow("flow").await;
    let top = world.run("flow", None).await;
    assert_eq!(top.lineage, Lineage::default());
    let below = |above: RunId, depth, key: &str| {
        let mut row = new_run(workflow, "flow", None);
        row.idempotency_key = Some(key.into());
        row.lineage = Lineage {
            parent_run_id: Some(above),
            parent_task_run_id: Some(flowweaver::id::TaskRunId::generate()),
            triggered_by: None,
            root_run_id: Some(top.run_id),
            depth,
        };
        row
    };
    let child = below(top.run_id, 1, "child·a·0");
    let grandchild = below(child.run_id, 2, "child·b·0");
    let mut started = below(grandchild.run_id, 3, "after·c");
    started.lineage.parent_run_id = None;
    started.lineage.parent_task_run_id = None;
    started.lineage.triggered_by = Some(grandchild.run_id);
    for row in [&child, &grandchild, &started] {
        world.commit_one(insert(row)).await;
        let read = world.store.run(row.run_id).await.unwrap().unwrap();
        assert_eq!(read.lineage, row.lineage);
        let key = row.idempotency_key.as_deref().unwrap();
        let held = world.store.run_of_key(OrganizationId::ROOT, key).await;
        assert_eq!(held.unwrap().unwrap().run_id, row.run_id);
    }
    let ask = async |parent: Option<RunId>, root: Option<RunId>, name: Option<&str>| {
        let filter = RunFilter {
            parent,
            root,
            workflow: name.map(|name| name.parse().unwrap()),
            limit: 10,
            ..RunFilter::default()
        };
        let rows = world.store.runs(&filter).await.unwrap();
        rows.iter().map(|row| row.run_id).collect::<Vec<_>>()
    };
    assert_eq!(ask(Some(top.run_id), None, None).await, [child.run_id]);
    assert_eq!(ask(Some(top.run_id), None, Some("other")).await, []);
    let mut all = [started.run_id, grandchild.run_id, child.run_id];
    all.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(ask(None, Some(top.run_id), None).await, all);
    assert_eq!(ask(None, Some(top.run_id), Some("flow")).await, all);
    assert_eq!(ask(None, Some(child.run_id), None).await, []);
    let unknown = world.store.run(RunId::generate()).await.unwrap();
    assert!(unknown.is_none());
    let key = world.store.run_of_key(OrganizationId::ROOT, "none").await;
    assert!(key.unwrap().is_none());
}
