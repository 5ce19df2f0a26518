//! Edits: of files, through the API, and what they mean for the times before them.

use flowweaver::id::OrganizationId;
use flowweaver::schedule::{Change, ScheduleError};
use flowweaver::workflow::schedule::Schedule;

use crate::world::{World, api_schedule, at, file, schedule};

const ROOT: OrganizationId = OrganizationId::ROOT;

fn started(story: &[String]) -> usize {
    story
        .iter()
        .filter(|line| line.ends_with(" started"))
        .count()
}

pub async fn a_schedule_of_a_file_is_read_only_and_says_where_to_change_it(url: String) {
    let world = World::new(url, "2026-03-01T08:00:30Z").await;
    let daemon = world.daemon(&file(&schedule("s", "@daily", ""))).await;
    let row = world.row("s").await;
    let changes = [
        Change::Delete,
        Change::Enable(false),
        Change::Replace(Box::new(api_schedule("s", "@hourly"))),
    ];
    for change in changes {
        let refused = daemon
            .schedules
            .change(ROOT, row.schedule_id, &change, None)
            .await;
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, ScheduleError::OfFile { .. }),
            "{refused:?}"
        );
        assert!(refused.to_string().contains("flows/w.toml"), "{refused}");
    }
    // Nor does one of the API take its name.
    let taken = daemon
        .schedules
        .create(&daemon.live(), &api_schedule("s", "@daily"))
        .await;
    assert!(matches!(taken, Err(ScheduleError::NameTaken)), "{taken:?}");
    assert_eq!(world.row("s").await, row);
    daemon.stop().await;
}

pub async fn a_changed_expression_counts_from_now_on(url: String) {
    let world = World::new(url, "2026-03-01T08:00:30Z").await;
    let hourly = file(&schedule("s", "0 * * * *", "catch_up = \"all\""));
    let at_ten = file(&schedule("s", "10 * * * *", "catch_up = \"all\""));
    world.daemon(&hourly).await.stop().await;
    let before = world.row("s").await;
    // Nobody is there from eight to eleven, and meanwhile the file is changed.
    world.clock.set(at("2026-03-01T11:05:00Z"));
    let daemon = world.daemon(&at_ten).await;
    world.until("s", |story| story.len() == 1).await;
    world.clock.set(at("2026-03-01T11:10:00Z"));
    world.until("s", |story| started(story) == 1).await;
    // The same while it runs: not a minute of the old times, nor one of the new from before the edit.
    let (workflow, id) = world.publish(&hourly).await;
    world.clock.set(at("2026-03-01T11:30:00Z"));
    daemon.take(&workflow, id);
    world
        .holds("the edit is taken in", || async {
            world.row("s").await.revision == before.revision + 2
        })
        .await;
    world.clock.set(at("2026-03-01T12:00:00Z"));
    world.until("s", |story| started(story) == 2).await;
    daemon.stop().await;
    let story = world.story("s").await;
    assert_eq!(
        story,
        [
            "01 09:00:00 x3 missed edited",
            "01 11:10:00 started",
            "01 12:00:00 started"
        ]
    );
    assert_eq!(world.row("s").await.schedule_id, before.schedule_id);
}

pub async fn a_schedule_that_leaves_its_file_is_retired_with_its_history_and_returns_as_itself(
    url: String,
) {
    let world = World::new(url, "2026-03-01T08:00:30Z").await;
    let with = file(&schedule("s", "* * * * *", "overlap = \"allow\""));
    let renamed = file(&schedule("t", "* * * * *", "overlap = \"allow\""));
    let daemon = world.daemon(&with).await;
    world.clock.set(at("2026-03-01T08:01:00Z"));
    world.until("s", |story| started(story) == 1).await;
    let (workflow, id) = world.publish(&renamed).await;
    daemon.take(&workflow, id);
    world
        .holds("it is retired", || async {
            world.row("s").await.retired_at.is_some()
        })
        .await;
    world.clock.set(at("2026-03-01T08:02:00Z"));
    world.until("t", |story| started(story) == 1).await;
    assert_eq!(world.story("s").await, ["01 08:01:00 started"]);
    let before = world.row("s").await;
    world.clock.set(at("2026-03-01T08:03:30Z"));
    let (workflow, id) = world.publish(&with).await;
    daemon.take(&workflow, id);
    world
        .holds("it is back", || async {
            world.row("s").await.retired_at.is_none()
        })
        .await;
    world.clock.set(at("2026-03-01T08:04:00Z"));
    world.until("s", |story| started(story) == 2).await;
    daemon.stop().await;
    assert_eq!(world.row("s").await.schedule_id, before.schedule_id);
    assert_eq!(
        world.story("s").await,
        ["01 08:01:00 started", "01 08:04:00 started"]
    );
}

pub async fn a_second_schedule_replaces_none_and_deleting_one_leaves_the_other(url: String) {
    let world = World::new(url, "2026-03-01T08:00:30Z").await;
    let daemon = world
        .daemon(&file(&schedule("s", "* * * * *", "overlap = \"allow\"")))
        .await;
    let live = daemon.live();
    let mut ids = Vec::new();
    for name in ["a", "b"] {
        let mut wanted = api_schedule(name, "* * * * *");
        wanted.overlap = flowweaver::workflow::schedule::Overlap::Allow;
        ids.push(
            daemon
                .schedules
                .create(&live, &wanted)
                .await
                .unwrap()
                .schedule_id,
        );
    }
    world.clock.set(at("2026-03-01T08:01:00Z"));
    for name in ["s", "a", "b"] {
        world.until(name, |story| started(story) == 1).await;
    }
    daemon
        .schedules
        .change(ROOT, ids[0], &Change::Delete, None)
        .await
        .unwrap();
    let gone = daemon
        .schedules
        .change(ROOT, ids[0], &Change::Enable(true), None)
        .await;
    assert!(matches!(gone, Err(ScheduleError::NotFound)), "{gone:?}");
    world.clock.set(at("2026-03-01T08:02:00Z"));
    for name in ["s", "b"] {
        world.until(name, |story| started(story) == 2).await;
    }
    // Its history stays, and its name is free.
    assert_eq!(world.fires(ids[0]).await.len(), 1);
    let anew = daemon
        .schedules
        .create(&live, &api_schedule("a", "@daily"))
        .await
        .unwrap();
    assert_ne!(anew.schedule_id, ids[0]);
    daemon.stop().await;
    assert_eq!(world.runs().await.len(), 5);
}

pub async fn times_of_a_pause_are_recorded_and_not_caught_up(url: String) {
    let world = World::new(url, "2026-03-01T08:00:30Z").await;
    let daemon = world.daemon(&file("")).await;
    let wanted = Schedule {
        catch_up: flowweaver::workflow::schedule::CatchUp::All,
        ..api_schedule("a", "0 * * * *")
    };
    let id = daemon
        .schedules
        .create(&daemon.live(), &wanted)
        .await
        .unwrap()
        .schedule_id;
    daemon
        .schedules
        .change(ROOT, id, &Change::Enable(false), None)
        .await
        .unwrap();
    assert!(
        daemon
            .schedules
            .upcoming(&world.row("a").await, 1)
            .is_empty()
    );
    world.clock.set(at("2026-03-01T11:30:00Z"));
    daemon
        .schedules
        .change(ROOT, id, &Change::Enable(true), None)
        .await
        .unwrap();
    world.clock.set(at("2026-03-01T12:00:00Z"));
    world.until("a", |story| started(story) == 1).await;
    daemon.stop().await;
    assert_eq!(
        world.story("a").await,
        ["01 09:00:00 x3 missed paused", "01 12:00:00 started"]
    );
}

pub async fn of_two_who_edit_the_same_schedule_one_is_told_to_read_again(url: String) {
    let world = World::new(url, "2026-03-01T08:00:30Z").await;
    let daemon = world.daemon(&file("")).await;
    let wrong = Schedule {
        inputs: [("whom".parse().unwrap(), 1.into())].into(),
        config: [("nothing".parse().unwrap(), serde_json::json!({}))].into(),
        ..api_schedule("a", "*/0 * * * *")
    };
    let refused = daemon.schedules.create(&daemon.live(), &wrong).await;
    let Err(ScheduleError::Invalid(problems)) = refused else {
        panic!("it was taken");
    };
    assert_eq!(problems.len(), 3, "{problems:?}");
    let row = daemon
        .schedules
        .create(&daemon.live(), &api_schedule("a", "@daily"))
        .await
        .unwrap();
    let edit = |cron: &str| Change::Replace(Box::new(api_schedule("a", cron)));
    let (id, seen) = (row.schedule_id, Some(row.revision));
    let (first, second) = (edit("@hourly"), edit("@weekly"));
    let (one, two) = tokio::join!(
        daemon.schedules.change(ROOT, id, &first, seen),
        daemon.schedules.change(ROOT, id, &second, seen),
    );
    let refusals: Vec<_> = [one, two].into_iter().filter_map(Result::err).collect();
    assert!(
        matches!(refusals.as_slice(), [ScheduleError::Changed]),
        "{refusals:?}"
    );
    assert_eq!(world.row("a").await.revision, row.revision + 1);
    daemon.stop().await;
}

pub async fn a_daemon_with_older_files_changes_no_schedule(url: String) {
    let world = World::new(url, "2026-03-01T08:00:30Z").await;
    let old = file(&schedule("s", "@daily", ""));
    let new = file(&schedule("s", "@hourly", ""));
    let behind = world.daemon(&old).await;
    let (old_workflow, id) = world.publish(&old).await;
    let ahead = world.daemon(&new).await;
    world
        .holds("the edit is taken in", || async {
            world.row("s").await.definition.contains("@hourly")
        })
        .await;
    let row = world.row("s").await;
    // It looks at its files again, which are older than what is live.
    behind.take(&old_workflow, id);
    behind
        .schedules
        .create(&behind.live(), &api_schedule("a", "0 9 * * *"))
        .await
        .unwrap();
    world.clock.set(at("2026-03-01T09:00:00Z"));
    world.until("a", |story| started(story) == 1).await;
    world.until("s", |story| started(story) == 1).await;
    assert_eq!(world.row("s").await.definition, row.definition);
    for daemon in [behind, ahead] {
        daemon.stop().await;
    }
}
