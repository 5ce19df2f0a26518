//! Times that meet a run, times that were missed, times of the past.

use flowweaver::run::status::Status;

use crate::world::{World, at, file, schedule};

fn ends(story: &[String], with: &str) -> usize {
    story.iter().filter(|line| line.ends_with(with)).count()
}

/// A schedule of minutes, whose first run is active.
async fn with_an_active_run(url: String, more: &str) -> (World, crate::world::Daemon) {
    let world = World::new(url, "2026-03-01T08:00:30Z").await;
    world.close_gate();
    let daemon = world.daemon(&file(&schedule("s", "* * * * *", more))).await;
    world.clock.set(at("2026-03-01T08:01:00Z"));
    world.until("s", |story| ends(story, " started") == 1).await;
    (world, daemon)
}

async fn status(world: &World, nth: usize) -> Option<Status> {
    world.runs().await.get(nth).map(|run| run.status)
}

pub async fn a_time_is_skipped_while_a_run_is_active_and_the_history_says_why(url: String) {
    let (world, daemon) = with_an_active_run(url, "").await;
    world.clock.set(at("2026-03-01T08:02:00Z"));
    world.until("s", |story| story.len() == 2).await;
    world.open_gate();
    world
        .holds("the first run ends", || async {
            status(&world, 0).await == Some(Status::Succeeded)
        })
        .await;
    world.clock.set(at("2026-03-01T08:03:00Z"));
    world.until("s", |story| story.len() == 3).await;
    let story = world.until("s", |story| ends(story, " started") == 2).await;
    daemon.stop().await;
    assert_eq!(
        story,
        [
            "01 08:01:00 started",
            "01 08:02:00 skipped overlap.skip",
            "01 08:03:00 started"
        ]
    );
}

pub async fn a_queued_time_waits_for_its_turn(url: String) {
    let (world, daemon) = with_an_active_run(url, "overlap = \"queue\"").await;
    for minute in [2, 3] {
        world.clock.set(at(&format!("2026-03-01T08:0{minute}:00Z")));
        world.until("s", |story| story.len() == minute).await;
    }
    assert_eq!(
        world.story("s").await,
        [
            "01 08:01:00 started",
            "01 08:02:00 waiting",
            "01 08:03:00 waiting"
        ]
    );
    assert_eq!(world.runs().await.len(), 1);
    world.open_gate();
    world.until("s", |story| ends(story, " started") == 3).await;
    daemon.stop().await;
    let runs = world.runs().await;
    assert_eq!(runs.len(), 3);
    // Each began when the one before it had ended.
    for pair in runs.windows(2) {
        assert!(
            pair[0].finished_at.unwrap() <= pair[1].created_at,
            "{pair:?}"
        );
    }
}

pub async fn a_newer_time_cancels_the_run_before_it(url: String) {
    let (world, daemon) = with_an_active_run(url, "overlap = \"cancel-previous\"").await;
    world.clock.set(at("2026-03-01T08:02:00Z"));
    world.until("s", |story| ends(story, " started") == 2).await;
    world
        .holds("the first run is cancelled", || async {
            status(&world, 0).await == Some(Status::Cancelled)
        })
        .await;
    assert!(!status(&world, 1).await.unwrap().is_final());
    world.open_gate();
    world
        .holds("the second run succeeds", || async {
            status(&world, 1).await == Some(Status::Succeeded)
        })
        .await;
    daemon.stop().await;
}

pub async fn missed_times_are_caught_up_one_after_the_other(url: String) {
    let text = |catch_up: &str| {
        file(&schedule(
            "s",
            "0 * * * *",
            &format!("catch_up = \"{catch_up}\"\ncatch_up_max = 2\ncatch_up_window = \"5h\""),
        ))
    };
    let world = World::new(url, "2026-03-01T08:30:00Z").await;
    world.daemon(&text("all")).await.stop().await;
    // Down from half past eight until half past twelve.
    world.clock.set(at("2026-03-01T12:30:00Z"));
    let daemon = world.daemon(&text("all")).await;
    world.until("s", |story| ends(story, " started") == 2).await;
    daemon.stop().await;
    assert_eq!(
        world.story("s").await,
        [
            "01 09:00:00 x2 missed catch-up.max",
            "01 11:00:00 late started",
            "01 12:00:00 late started"
        ]
    );
    let runs = world.runs().await;
    assert!(runs[0].finished_at.unwrap() <= runs[1].created_at);
    // What is missed from now on is caught up otherwise: only the latest.
    world.daemon(&text("latest")).await.stop().await;
    world.clock.set(at("2026-03-01T15:30:00Z"));
    let daemon = world.daemon(&text("latest")).await;
    world.until("s", |story| ends(story, " started") == 3).await;
    daemon.stop().await;
    let story = world.story("s").await;
    assert_eq!(
        story[3..],
        [
            "01 13:00:00 x2 missed catch-up.latest",
            "01 15:00:00 late started"
        ]
    );
}

pub async fn a_backfill_runs_what_has_not_run_and_nothing_else(url: String) {
    let world = World::new(url, "2026-03-01T08:30:00Z").await;
    let daemon = world.daemon(&file(&schedule("s", "0 * * * *", ""))).await;
    world.clock.set(at("2026-03-01T09:00:00Z"));
    world.until("s", |story| ends(story, " started") == 1).await;
    let row = world.row("s").await;
    let range = (at("2026-03-01T06:00:00Z"), at("2026-03-01T12:00:00Z"));
    let dry = daemon.schedules.backfill(&row, range, true).await.unwrap();
    let runs: Vec<bool> = dry.times.iter().map(|time| time.runs).collect();
    // What has not come yet is none of the past.
    assert_eq!(runs, [true, true, true, false]);
    assert_eq!(world.story("s").await.len(), 1);
    let done = daemon.schedules.backfill(&row, range, false).await.unwrap();
    assert_eq!(done, dry);
    world.until("s", |story| ends(story, " started") == 4).await;
    let again = daemon.schedules.backfill(&row, range, false).await.unwrap();
    assert!(again.times.iter().all(|time| !time.runs));
    let much = (at("2020-01-01T00:00:00Z"), range.1);
    assert!(
        daemon
            .schedules
            .backfill(&row, much, false)
            .await
            .unwrap()
            .too_many
    );
    daemon.stop().await;
    assert_eq!(
        world.story("s").await,
        [
            "01 06:00:00 backfill started",
            "01 07:00:00 backfill started",
            "01 08:00:00 backfill started",
            "01 09:00:00 started"
        ]
    );
    let runs = world.runs().await;
    assert_eq!(runs.len(), 4);
    for pair in runs[..3].windows(2) {
        assert!(
            pair[0].finished_at.unwrap() <= pair[1].created_at,
            "{pair:?}"
        );
    }
}
