//! At most once for each time, and never lost.

use std::collections::BTreeSet;
use std::time::Duration;

use flowweaver::clock::Clock;
use flowweaver::engine::TriggerRequest;
use flowweaver::id::{FireId, OrganizationId};
use flowweaver::run::status::Trigger;
use flowweaver::schedule::{idempotency_key, trace_id};
use flowweaver::store::schedule::{
    FireCause, FireOutcome, FireRow, ScheduleRow, ScheduleStep, Stepped,
};
use serde_json::json;

use crate::world::{World, at, every_second, file, schedule};

const SECOND: Duration = Duration::from_secs(1);

fn started(story: &[String]) -> usize {
    story
        .iter()
        .filter(|line| line.ends_with(" started"))
        .count()
}

pub async fn several_daemons_fire_each_time_once(url: String) {
    let world = World::new(url, "2026-03-01T08:00:00Z").await;
    let mut daemons = Vec::new();
    for _ in 0..3 {
        daemons.push(world.daemon(&every_second()).await);
    }
    for second in 1..=12 {
        world.clock.advance(SECOND);
        world.until("s", |story| started(story) >= second).await;
    }
    // Whoever dies, the others go on.
    daemons.pop().unwrap().kill().await;
    for second in 13..=16 {
        world.clock.advance(SECOND);
        world.until("s", |story| started(story) >= second).await;
    }
    for daemon in daemons {
        daemon.stop().await;
    }
    let runs = world.runs().await;
    let times: BTreeSet<_> = runs.iter().map(|run| run.scheduled_at).collect();
    assert_eq!((runs.len(), times.len()), (16, 16));
    assert_eq!(world.story("s").await.len(), 16);
}

/// Records a decision about 08:01 as a daemon does that dies right afterwards.
async fn recorded(world: &World, row: &ScheduleRow) -> FireRow {
    let nominal = at("2026-03-01T08:01:00Z");
    let fire = FireRow {
        fire_id: FireId::generate(),
        organization_id: row.organization_id,
        schedule_id: row.schedule_id,
        nominal_at: nominal,
        is_span: false,
        last_at: nominal,
        times: 1,
        cause: FireCause::Time,
        outcome: FireOutcome::Due,
        reason_code: None,
        reason_message: None,
        run_id: None,
        open: true,
        decided_at: nominal,
    };
    let step = ScheduleStep {
        schedule_id: row.schedule_id,
        revision: row.revision,
        turn: row.turn,
        decided_until: nominal,
        looked_at: nominal,
        closed: Vec::new(),
        fires: vec![fire.clone()],
    };
    let stepped = world.store.schedule_decide(&[step]).await.unwrap();
    assert_eq!(stepped, [Stepped::Decided(vec![true])]);
    fire
}

fn minutely() -> String {
    file(&schedule("s", "* * * * *", ""))
}

pub async fn a_time_that_was_recorded_but_not_started_is_started_by_whoever_comes_next(
    url: String,
) {
    let world = World::new(url, "2026-03-01T08:00:30Z").await;
    world.daemon(&minutely()).await.stop().await;
    recorded(&world, &world.row("s").await).await;
    world.clock.set(at("2026-03-01T08:01:10Z"));
    let daemon = world.daemon(&minutely()).await;
    world.until("s", |story| started(story) == 1).await;
    daemon.stop().await;
    assert_eq!(world.story("s").await, ["01 08:01:00 started"]);
    assert_eq!(world.runs().await.len(), 1);
}

pub async fn a_time_that_was_started_but_not_told_so_keeps_its_one_run(url: String) {
    let world = World::new(url, "2026-03-01T08:00:30Z").await;
    let daemon = world.daemon(&minutely()).await;
    let (engine, live) = (daemon.engine.clone(), daemon.live());
    daemon.kill().await;
    let fire = recorded(&world, &world.row("s").await).await;
    let request = TriggerRequest {
        workflow: std::sync::Arc::clone(&live.workflow),
        workflow_id: live.workflow_id,
        organization: OrganizationId::ROOT,
        inputs: json!({ "who": "nobody" }),
        config: json!({}),
        trigger: Trigger::Schedule,
        idempotency_key: Some(idempotency_key(fire.schedule_id, fire.nominal_at)),
        scheduled_at: Some(fire.nominal_at),
        priority: None,
        trace_id: Some(trace_id(fire.schedule_id, fire.nominal_at)),
    };
    let run = engine.trigger(request).await.unwrap().run_id;
    engine.drain(Duration::ZERO).await;
    world.clock.set(at("2026-03-01T08:01:10Z"));
    let next = world.daemon(&minutely()).await;
    world.until("s", |story| started(story) == 1).await;
    next.stop().await;
    let fires = world.fires(fire.schedule_id).await;
    assert_eq!(
        fires
            .iter()
            .map(|seen| seen.fire.run_id)
            .collect::<Vec<_>>(),
        [Some(run)]
    );
    assert_eq!(world.runs().await.len(), 1);
}

pub async fn a_connection_that_is_lost_at_any_step_neither_doubles_nor_loses_a_time(url: String) {
    let world = World::new(url.clone(), "2026-03-01T08:00:00Z").await;
    let text = file(&schedule(
        "s",
        "* * * * * *",
        "overlap = \"allow\"\ncatch_up = \"all\"",
    ));
    let daemon = world.daemon(&text).await;
    let cut = tokio::spawn(async move {
        for _ in 0..60 {
            crate::fresh::cut(&url).await;
            tokio::task::yield_now().await;
        }
    });
    for _ in 1..=30 {
        world.clock.advance(SECOND);
        tokio::task::yield_now().await;
    }
    cut.await.unwrap();
    // Whatever was lost is looked for again a second later; time goes on until then.
    let all = |story: &[String]| {
        (1..=30).all(|s| {
            story.contains(&format!("01 08:00:{s:02} started"))
                || story.contains(&format!("01 08:00:{s:02} late started"))
        })
    };
    let look = async {
        loop {
            // A reader may be cut too, and asks again.
            if let Ok((_, rows)) = world.store.schedules().await
                && let Some(row) = rows.first()
                && let Ok(fires) = world.store.fires(row.schedule_id, None, 1_000).await
            {
                let story: Vec<String> = fires
                    .iter()
                    .map(|seen| crate::world::line(&seen.fire))
                    .collect();
                if all(&story) {
                    return;
                }
            }
            world.clock.advance(Duration::from_millis(50));
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), look)
        .await
        .unwrap();
    daemon.stop().await;
    let runs = world.runs().await;
    let times: BTreeSet<_> = runs.iter().map(|run| run.scheduled_at).collect();
    assert_eq!(runs.len(), times.len(), "a time has two runs");
}

pub async fn a_clock_that_goes_back_an_hour_fires_nothing_twice(url: String) {
    let world = World::new(url, "2026-03-01T08:00:30Z").await;
    let text = file(&schedule(
        "s",
        "0 * * * *",
        "catch_up = \"all\"\noverlap = \"allow\"",
    ));
    let daemon = world.daemon(&text).await;
    world.clock.set(at("2026-03-01T09:00:00Z"));
    world.until("s", |story| started(story) == 1).await;
    world.clock.set(at("2026-03-01T10:00:00Z"));
    world.until("s", |story| started(story) == 2).await;
    // An hour and a half is lived twice.
    world.clock.set(at("2026-03-01T08:30:05Z"));
    for time in ["08:59:00", "09:00:00", "09:30:00", "10:00:00", "10:30:00"] {
        world.clock.set(at(&format!("2026-03-01T{time}Z")));
        tokio::task::yield_now().await;
    }
    world.clock.set(at("2026-03-01T11:00:00Z"));
    world.until("s", |story| started(story) == 3).await;
    daemon.stop().await;
    let story = world.story("s").await;
    assert_eq!(
        story,
        [
            "01 09:00:00 started",
            "01 10:00:00 started",
            "01 11:00:00 started"
        ]
    );
    assert_eq!(world.runs().await.len(), 3);
}

pub async fn a_clock_that_goes_forward_a_day_and_back_misses_nothing_silently(url: String) {
    let world = World::new(url, "2026-03-01T08:30:00Z").await;
    let text = file(&schedule("s", "0 */6 * * *", "overlap = \"allow\""));
    let daemon = world.daemon(&text).await;
    world.clock.set(at("2026-03-02T08:30:00Z"));
    world.until("s", |story| story.len() == 1).await;
    assert_eq!(
        world.story("s").await,
        ["01 12:00:00 x4 missed catch-up.skip"]
    );
    // Somebody sets it right again, and the day really comes.
    world.clock.set(at("2026-03-01T08:31:00Z"));
    for (count, time) in [
        "01T12:00:00",
        "01T18:00:00",
        "02T00:00:00",
        "02T06:00:00",
        "02T12:00:00",
    ]
    .iter()
    .enumerate()
    {
        // The loop sees a clock that went back when it looks around.
        world.clock.set(at(&format!("2026-03-{time}Z")));
        world.until("s", |story| started(story) == count + 1).await;
    }
    daemon.stop().await;
    let runs = world.runs().await;
    let times: BTreeSet<_> = runs.iter().map(|run| run.scheduled_at).collect();
    assert_eq!((runs.len(), times.len()), (5, 5));
}

pub async fn a_scheduled_run_has_its_trace_id_its_time_its_inputs_and_its_config(url: String) {
    let world = World::new(url, "2026-03-01T08:00:30Z").await;
    let more =
        "inputs = { who = \"somebody\" }\nconfig = { t = { who = \"else\" } }\njitter = \"10m\"";
    let daemon = world.daemon(&file(&schedule("s", "0 9 * * *", more))).await;
    let row = world.row("s").await;
    let (nominal, fires) = daemon.schedules.upcoming(&row, 1)[0];
    assert_eq!(nominal, at("2026-03-01T09:00:00Z"));
    assert!(
        fires > nominal && fires < at("2026-03-01T09:10:00Z"),
        "{fires}"
    );
    world.clock.set(nominal);
    world.clock.set(fires);
    world.until("s", |story| started(story) == 1).await;
    daemon.stop().await;
    let runs = world.runs().await;
    let run = &runs[0];
    assert_eq!(run.scheduled_at, nominal);
    assert!(run.created_at >= fires && world.clock.now() >= fires);
    assert_eq!(run.trace_id, trace_id(row.schedule_id, nominal));
    assert_eq!(run.trace_id.len(), 32);
    assert_eq!(&*run.inputs, r#"{"who":"somebody"}"#);
    assert_eq!(&*run.config, r#"{"t":{"who":"else"}}"#);
}
