//! Schedules and fires as rows: who may write, what is unique, and how history is read.

use std::time::Duration;

use flowweaver::id::{FireId, OrganizationId, ScheduleId};
use flowweaver::store::schedule::{
    Before, FireCause, FireOutcome, FireRow, ScheduleOrigin, ScheduleRow, ScheduleStep, Settled,
    Stepped,
};

use crate::world::{World, at, version_of};

async fn row(world: &World, name: &str) -> ScheduleRow {
    ScheduleRow {
        schedule_id: ScheduleId::generate(),
        organization_id: OrganizationId::ROOT,
        workflow_id: world.workflow("flow").await,
        workflow_name: "flow".parse().unwrap(),
        name: name.parse().unwrap(),
        origin: ScheduleOrigin::Api,
        name_is_free: false,
        definition: r#"{"a":"한글\u0000"}"#.into(),
        decided_until: at(10),
        looked_at: at(11),
        revision: 1,
        turn: 1,
        created_at: at(12),
        updated_at: at(13),
        retired_at: None,
    }
}

fn fire(schedule: &ScheduleRow, nominal: i64) -> FireRow {
    FireRow {
        fire_id: FireId::generate(),
        organization_id: schedule.organization_id,
        schedule_id: schedule.schedule_id,
        nominal_at: at(nominal),
        is_span: false,
        last_at: at(nominal),
        times: 1,
        cause: FireCause::Time,
        outcome: FireOutcome::Due,
        reason_code: None,
        reason_message: None,
        run_id: None,
        open: true,
        decided_at: at(nominal + 1),
    }
}

fn step(row: &ScheduleRow, until: i64, fires: Vec<FireRow>) -> ScheduleStep {
    ScheduleStep {
        schedule_id: row.schedule_id,
        revision: row.revision,
        turn: row.turn,
        decided_until: at(until),
        looked_at: at(until),
        closed: Vec::new(),
        fires,
    }
}

pub async fn a_schedule_is_written_only_over_what_was_read(world: World) {
    let store = &world.store;
    let first = row(&world, "s").await;
    assert!(
        !store
            .schedule_put(&first, Before::Row(&first), None, &[])
            .await
            .unwrap()
    );
    let counted = store.schedule_changes().await.unwrap();
    assert!(
        store
            .schedule_put(&first, Before::Absent, None, &[])
            .await
            .unwrap()
    );
    // Its name is taken, also under another id.
    let second = row(&world, "s").await;
    assert!(
        !store
            .schedule_put(&second, Before::Absent, None, &[])
            .await
            .unwrap()
    );
    assert_eq!(
        store.schedules().await.unwrap(),
        (counted + 1, vec![first.clone()])
    );
    let stale = ScheduleRow {
        turn: 7,
        ..first.clone()
    };
    assert!(
        !store
            .schedule_put(&first, Before::Row(&stale), None, &[])
            .await
            .unwrap()
    );
    // Not where another version of its workflow is live.
    let (live, other) = (version_of("flow", "live"), version_of("flow", "other"));
    store.publish(&live).await.unwrap();
    let gone = ScheduleRow {
        retired_at: Some(at(20)),
        name_is_free: true,
        ..first.clone()
    };
    let put = store.schedule_put(&gone, Before::Row(&first), Some(other.version), &[]);
    assert!(!put.await.unwrap());
    let missed = FireRow {
        is_span: true,
        times: 9,
        outcome: FireOutcome::Missed,
        open: false,
        reason_message: Some("nobody\0was there".into()),
        ..fire(&first, 5)
    };
    let put = store.schedule_put(
        &gone,
        Before::Row(&first),
        Some(live.version),
        std::slice::from_ref(&missed),
    );
    assert!(put.await.unwrap());
    let kept = ScheduleRow {
        revision: 2,
        turn: 2,
        ..gone
    };
    assert_eq!(store.schedule(first.schedule_id).await.unwrap(), Some(kept));
    assert_eq!(
        store.fires(first.schedule_id, None, 9).await.unwrap()[0].fire,
        missed
    );
    // The name is free, and two that are gone may have had it.
    assert!(
        store
            .schedule_put(&second, Before::Absent, None, &[])
            .await
            .unwrap()
    );
    assert_eq!(store.schedule_changes().await.unwrap(), counted + 3);
}

pub async fn of_several_who_decide_one_does(world: World) {
    let schedule = row(&world, "s").await;
    world
        .store
        .schedule_put(&schedule, Before::Absent, None, &[])
        .await
        .unwrap();
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let (store, step) = (
            world.store.clone(),
            step(&schedule, 100, vec![fire(&schedule, 50)]),
        );
        tasks.push(tokio::spawn(async move {
            store.schedule_decide(&[step]).await.unwrap()
        }));
    }
    let mut decided = 0;
    for task in tasks {
        match task.await.unwrap().as_slice() {
            [Stepped::Decided(new)] => {
                assert_eq!(new, &[true]);
                decided += 1;
            }
            other => assert_eq!(other, [Stepped::Conflict]),
        }
    }
    assert_eq!(decided, 1);
    let after = world
        .store
        .schedule(schedule.schedule_id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (after.turn, after.revision, after.decided_until),
        (2, 1, at(100))
    );
    assert_eq!(world.store.fires_pending().await.unwrap().len(), 1);
}

pub async fn a_time_has_one_fire_and_a_backfill_takes_only_what_did_not_run(world: World) {
    let store = &world.store;
    let mut schedule = row(&world, "s").await;
    store
        .schedule_put(&schedule, Before::Absent, None, &[])
        .await
        .unwrap();
    let (ran, skipped) = (fire(&schedule, 50), fire(&schedule, 60));
    let first = step(&schedule, 100, vec![ran.clone(), skipped.clone()]);
    let decided = store.schedule_decide(&[first]).await.unwrap();
    assert_eq!(decided, [Stepped::Decided(vec![true, true])]);
    schedule.turn += 1;
    let settle = |fire: &FireRow, from, outcome| Settled {
        fire_id: fire.fire_id,
        from,
        outcome,
        reason: Some(("overlap.skip".into(), "a\0b".into())),
        run_id: None,
        ended: false,
    };
    let wrong = settle(&ran, FireOutcome::Waiting, FireOutcome::Started);
    let right = settle(&ran, FireOutcome::Due, FireOutcome::Started);
    let skip = settle(&skipped, FireOutcome::Due, FireOutcome::Skipped);
    assert_eq!(
        store.fires_settle(&[wrong, right, skip]).await.unwrap(),
        [false, true, true]
    );
    // Decided again, as under a clock that was set back; a span that begins there is another thing.
    let span = FireRow {
        is_span: true,
        open: false,
        outcome: FireOutcome::Missed,
        ..fire(&schedule, 50)
    };
    let again = vec![
        fire(&schedule, 50),
        span,
        fire(&schedule, 60),
        fire(&schedule, 70),
    ];
    let decided = store
        .schedule_decide(&[step(&schedule, 90, again)])
        .await
        .unwrap();
    assert_eq!(decided, [Stepped::Decided(vec![false, true, false, true])]);
    let wanted = [50, 60, 70, 80].map(|time| FireRow {
        cause: FireCause::Backfill,
        outcome: FireOutcome::Waiting,
        ..fire(&schedule, time)
    });
    assert_eq!(
        store.schedule_backfill(&wanted).await.unwrap(),
        [false, true, false, true]
    );
    let found = store
        .fire_of(schedule.schedule_id, at(60))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (found.outcome, found.cause, found.reason_code, found.open),
        (FireOutcome::Waiting, FireCause::Backfill, None, true)
    );
    let open = store.fires_open(&[schedule.schedule_id]).await.unwrap();
    let times: Vec<_> = open.iter().map(|seen| seen.fire.nominal_at).collect();
    assert_eq!(times, [at(50), at(60), at(70), at(80)]);
    assert_eq!(
        store.fires_open(&[ScheduleId::generate()]).await.unwrap(),
        []
    );
}

pub async fn the_history_of_a_schedule_comes_page_by_page_and_ends_after_a_quarter(world: World) {
    let store = &world.store;
    let mut schedule = row(&world, "s").await;
    store
        .schedule_put(&schedule, Before::Absent, None, &[])
        .await
        .unwrap();
    let closed = |time| FireRow {
        open: false,
        outcome: FireOutcome::Skipped,
        ..fire(&schedule, time)
    };
    let mut fires: Vec<FireRow> = (1..=7).map(|n| closed(n * 10)).collect();
    fires.push(FireRow {
        is_span: true,
        ..closed(40)
    });
    store
        .schedule_decide(&[step(&schedule, 100, fires)])
        .await
        .unwrap();
    schedule.turn += 1;
    let (mut times, mut before) = (Vec::new(), None);
    loop {
        let page = store.fires(schedule.schedule_id, before, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some((last.fire.nominal_at, last.fire.fire_id));
        times.extend(page.iter().map(|seen| seen.fire.nominal_at));
    }
    assert_eq!(times, [70, 60, 50, 40, 40, 30, 20, 10].map(at));
    let later = at(0).after(Duration::from_secs(93 * 86_400)).as_micros();
    store
        .schedule_decide(&[step(&schedule, later, vec![fire(&schedule, later)])])
        .await
        .unwrap();
    let left = store.fires(schedule.schedule_id, None, 100).await.unwrap();
    assert_eq!(left.len(), 1);
}
