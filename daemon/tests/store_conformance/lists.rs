//! Lists by keyset.

use flowweaver::run::status::{Status, Trigger};
use flowweaver::store::rows::RunFilter;

use crate::world::{World, insert, line, new_run, update};

pub async fn runs_come_page_by_page_newest_first(world: World) {
    let workflow = world.workflow("flow").await;
    let rows: Vec<_> = (0..25).map(|_| new_run(workflow, "flow", None)).collect();
    world
        .commit(&rows.iter().map(insert).collect::<Vec<_>>())
        .await;
    let mut expected: Vec<_> = rows.iter().map(|r| r.run_id).collect();
    expected.sort_unstable_by(|a, b| b.cmp(a));
    for workflow in [None, Some("flow".parse().unwrap())] {
        for status in [vec![], vec![Status::Queued]] {
            let mut filter = RunFilter {
                workflow: workflow.clone(),
                status,
                limit: 10,
                ..RunFilter::default()
            };
            let mut got = Vec::new();
            loop {
                let page = world.store.runs(&filter).await.unwrap();
                let Some(last) = page.last() else { break };
                filter.before = Some(last.run_id);
                got.extend(page.iter().map(|run| run.run_id));
            }
            assert_eq!(got, expected);
        }
    }
}

pub async fn filters_of_runs_hold_together(world: World) {
    let owner = world.daemon("a").await;
    let a = world.run("one", Some(owner)).await;
    let b = world.run("two", None).await;
    let mut c = new_run(a.workflow_id, "one", None);
    c.trigger = Trigger::Schedule;
    world.commit_one(insert(&c)).await;
    world
        .commit_one(update(a.run_id, 1, 1, Status::Failed))
        .await;
    let any = RunFilter {
        limit: 10,
        ..RunFilter::default()
    };
    let ask = async |filter: RunFilter| {
        let mut ids: Vec<_> = world
            .store
            .runs(&filter)
            .await
            .unwrap()
            .iter()
            .map(|r| r.run_id)
            .collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(
        ask(RunFilter {
            workflow: Some("two".parse().unwrap()),
            ..any.clone()
        })
        .await,
        [b.run_id]
    );
    assert_eq!(
        ask(RunFilter {
            trigger: Some(Trigger::Schedule),
            ..any.clone()
        })
        .await,
        [c.run_id]
    );
    assert_eq!(
        ask(RunFilter {
            status: vec![Status::Failed],
            ..any.clone()
        })
        .await,
        [a.run_id]
    );
    let both = RunFilter {
        status: vec![Status::Failed, Status::Queued],
        ..any.clone()
    };
    assert_eq!(ask(both.clone()).await.len(), 3);
    assert_eq!(
        ask(RunFilter {
            workflow: Some("one".parse().unwrap()),
            trigger: Some(Trigger::Manual),
            ..both
        })
        .await,
        [a.run_id]
    );
    let stranger = "00000000000000000000000001".parse().unwrap();
    assert_eq!(
        ask(RunFilter {
            organization: Some(stranger),
            ..any
        })
        .await,
        []
    );
}

pub async fn logs_are_followed_by_event_id(world: World) {
    let owner = world.daemon("a").await;
    let (a, b) = (
        world.run("flow", Some(owner)).await,
        world.run("flow", Some(owner)).await,
    );
    for revision in 1..=3 {
        let mut batch = [
            update(a.run_id, 1, revision, Status::Running),
            update(b.run_id, 1, revision, Status::Running),
        ];
        batch[0].logs = vec![line("a1"), line("a2")];
        batch[1].logs = vec![line("b1")];
        world.commit(&batch).await;
    }
    let of_a = world.store.logs(Some(a.run_id), 0, 4).await.unwrap();
    assert_eq!(
        of_a.iter()
            .map(|l| (l.event_id, l.message.as_str()))
            .collect::<Vec<_>>(),
        [(1, "a1"), (2, "a2"), (4, "a1"), (5, "a2")]
    );
    let all = world.store.logs(None, 5, 10).await.unwrap();
    assert_eq!(
        all.iter()
            .map(|l| (l.event_id, l.message.as_str()))
            .collect::<Vec<_>>(),
        [(6, "b1"), (7, "a1"), (8, "a2"), (9, "b1")]
    );
    assert_eq!(all[0].run_id, b.run_id);
}
