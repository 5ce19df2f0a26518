//! Schedules of the real binary on the real clock: edited live, paused, deleted, killed in between; and the command line.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::basics::HELLO;
use super::rig::{Rig, root};
use super::world::product_blog;

fn every_second(rig: &Rig) -> String {
    let body = json!({ "name": "tick", "cron": "* * * * * *", "timezone": "Asia/Seoul", "overlap": "allow",
        "inputs": { "who": "clock" } });
    let (status, made) = rig.call("POST", "/v0/workflows/hello/schedules", &body);
    assert_eq!(status, 201, "{made}");
    made["data"]["id"].as_str().unwrap().to_owned()
}

fn fires(rig: &Rig, id: &str) -> Vec<Value> {
    rig.get(&format!("/v0/schedules/{id}/fires?limit=200"))["data"]
        .as_array()
        .unwrap()
        .clone()
}

fn started(rig: &Rig, id: &str) -> usize {
    fires(rig, id)
        .iter()
        .filter(|fire| fire["outcome"] == "started")
        .count()
}

fn runs(rig: &Rig) -> Vec<Value> {
    rig.get("/v0/workflow-runs?trigger=schedule&limit=200")["data"]
        .as_array()
        .unwrap()
        .clone()
}

#[test]
fn a_schedule_of_seconds_is_made_edited_paused_and_deleted_live() {
    let mut rig = Rig::with_add_field();
    rig.write("flows/hello.toml", HELLO);
    rig.start();
    let wrong = json!({ "name": "tick", "cron": "*/0 * * * *", "timezone": "Asia/Seoul", "inputs": { "whom": 1 } });
    let (status, refused) = rig.call("POST", "/v0/workflows/hello/schedules", &wrong);
    assert_eq!(
        (status, refused["errors"].as_array().unwrap().len()),
        (422, 2),
        "{refused}"
    );
    let id = every_second(&rig);
    let place = format!("/v0/schedules/{id}");
    rig.until("it fires twice", || (started(&rig, &id) >= 2).then_some(()));
    let run = rig.finished(
        fires(&rig, &id)
            .iter()
            .find(|fire| fire["outcome"] == "started")
            .unwrap()["runId"]
            .as_str()
            .unwrap(),
    );
    assert_eq!(
        (&run["status"], &run["trigger"]),
        (&json!("succeeded"), &json!("schedule"))
    );
    assert_eq!(run["inputs"], json!({ "who": "clock" }));
    let seen = fires(&rig, &id)
        .into_iter()
        .find(|fire| fire["runId"] == run["id"])
        .unwrap();
    assert_eq!(
        (&seen["traceId"], &seen["nominalAt"]),
        (&run["traceId"], &run["scheduledAt"])
    );
    // An edit needs the revision that was seen, and counts at once.
    let mut edit = json!({ "name": "tick", "cron": "0 0 1 1 *", "timezone": "Asia/Seoul" });
    let (status, _) = rig.call_with(&["if-match: \"7\""], "PUT", &place, &edit);
    assert_eq!(status, 412);
    let (status, edited) = rig.call_with(&["if-match: \"1\""], "PUT", &place, &edit);
    assert_eq!(
        (status, &edited["data"]["revision"]),
        (200, &json!(2)),
        "{edited}"
    );
    let local = rig.get(&format!("{place}/preview?n=3"));
    assert!(
        local[0]["local"]
            .as_str()
            .unwrap()
            .ends_with("-01-01T00:00:00+09:00"),
        "{local}"
    );
    edit["cron"] = json!("* * * * * *");
    edit["overlap"] = json!("allow");
    let before = started(&rig, &id);
    assert_eq!(rig.call("PUT", &place, &edit).0, 200);
    rig.until("it fires again", || {
        (started(&rig, &id) > before).then_some(())
    });
    let (status, paused) = rig.call(
        "PATCH",
        &format!("{place}/active?isActive=false"),
        &Value::Null,
    );
    assert_eq!((status, &paused["data"]["nextAt"]), (200, &Value::Null));
    let (status, gone) = rig.call("DELETE", &place, &Value::Null);
    assert_eq!(status, 200, "{gone}");
    assert_eq!(rig.get("/v0/workflows/hello/schedules"), json!([]));
    assert_eq!(rig.call("PUT", &place, &edit).0, 404);
    // Its history stays, and each of its times has one run.
    let all = fires(&rig, &id);
    let times: BTreeSet<&str> = all
        .iter()
        .map(|fire| fire["nominalAt"].as_str().unwrap())
        .collect();
    assert_eq!(times.len(), all.len());
    assert!(rig.stop().success());
}

#[test]
fn a_daemon_that_is_killed_between_fires_and_during_them_fires_each_time_once() {
    let mut rig = Rig::with_add_field();
    rig.write("flows/hello.toml", HELLO);
    rig.start();
    let id = every_second(&rig);
    for round in 1..=4 {
        let before = started(&rig, &id);
        rig.until("it goes on", || (started(&rig, &id) > before).then_some(()));
        // Once in the middle of nothing, then right when a time has been decided.
        if round % 2 == 0 {
            let decided = fires(&rig, &id).len();
            rig.until("a decision", || {
                (fires(&rig, &id).len() > decided).then_some(())
            });
        }
        rig.kill();
        rig.start();
    }
    let before = started(&rig, &id);
    rig.until("it goes on", || (started(&rig, &id) > before).then_some(()));
    let (status, _) = rig.call("DELETE", &format!("/v0/schedules/{id}"), &Value::Null);
    assert_eq!(status, 200);
    let told = rig.until("every decision is carried out", || {
        let all = fires(&rig, &id);
        all.iter()
            .all(|fire| fire["outcome"] != "due")
            .then_some(all)
    });
    let runs = runs(&rig);
    let times: BTreeSet<&str> = runs
        .iter()
        .map(|run| run["scheduledAt"].as_str().unwrap())
        .collect();
    assert_eq!(runs.len(), times.len(), "a time has two runs");
    let named: BTreeSet<&str> = told
        .iter()
        .filter_map(|fire| fire["runId"].as_str())
        .collect();
    let there: BTreeSet<&str> = runs.iter().map(|run| run["id"].as_str().unwrap()).collect();
    assert_eq!(named, there);
    // Nothing is told twice.
    let said: BTreeSet<(&str, bool)> = told
        .iter()
        .map(|fire| {
            (
                fire["nominalAt"].as_str().unwrap(),
                fire["outcome"] == "missed",
            )
        })
        .collect();
    assert_eq!(said.len(), told.len());
}

#[test]
fn a_schedule_of_a_file_is_live_with_the_file_and_is_read_only_elsewhere() {
    let mut rig = Rig::with_add_field();
    let with = |cron: &str| {
        let schedule = format!(
            "[[schedule]]\nname = \"s\"\ncron = \"{cron}\"\ntimezone = \"UTC\"\noverlap = \"allow\"\n"
        );
        HELLO.replacen("[[job]]", &format!("{schedule}\n[[job]]"), 1)
    };
    rig.write("flows/hello.toml", with("0 0 1 1 *"));
    rig.start();
    let listed = rig.get("/v0/workflows/hello/schedules");
    let id = listed[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(
        (&listed[0]["readOnly"], &listed[0]["file"]),
        (&json!(true), &json!("flows/hello.toml"))
    );
    let (status, refused) = rig.call(
        "PATCH",
        &format!("/v0/schedules/{id}/active?isActive=false"),
        &Value::Null,
    );
    assert_eq!(status, 409);
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("flows/hello.toml"),
        "{refused}"
    );
    rig.write("flows/hello.toml", with("* * * * * *"));
    rig.until("the edit fires", || (started(&rig, &id) >= 1).then_some(()));
    rig.write("flows/hello.toml", HELLO);
    rig.until("it is gone", || {
        (rig.get("/v0/workflows/hello/schedules") == json!([])).then_some(())
    });
    // A later time would have been there by the time another schedule has fired.
    let count = fires(&rig, &id).len();
    let other = every_second(&rig);
    rig.until("another fires", || {
        (started(&rig, &other) >= 2).then_some(())
    });
    assert_eq!(fires(&rig, &id).len(), count);
}

#[test]
fn the_command_line_makes_shows_changes_explains_and_simulates() {
    let rig = Rig::with_add_field();
    rig.write("flows/hello.toml", HELLO);
    // No daemon runs: the store is enough.
    let made = rig.cli(&[
        "schedule",
        "create",
        "hello",
        "daily",
        "--cron",
        "30 2 * * *",
        "--timezone",
        "Europe/Berlin",
        "--catch-up",
        "all",
    ]);
    assert!(made.status.success(), "{made:?}");
    let refused = rig.cli(&[
        "schedule",
        "create",
        "hello",
        "daily",
        "--cron",
        "@daily",
        "--timezone",
        "UTC",
    ]);
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    assert_eq!(
        rig.cli(&["schedule", "create", "hello", "x", "--cron", "@daily"])
            .status
            .code(),
        Some(2)
    );
    assert_eq!(
        rig.cli(&["schedule", "show", "hello/none"]).status.code(),
        Some(4)
    );
    let changed = rig.json(&[
        "schedule",
        "update",
        "hello/daily",
        "--overlap",
        "queue",
        "-i",
        "who=you",
    ]);
    assert_eq!(
        (&changed["cron"], &changed["overlap"], &changed["catchUp"]),
        (&json!("30 2 * * *"), &json!("queue"), &json!("all"))
    );
    assert_eq!(changed["inputs"], json!({ "who": "you" }));
    assert_eq!(
        rig.json(&["schedule", "preview", "hello/daily", "-n", "5"])
            .as_array()
            .unwrap()
            .len(),
        5
    );
    assert_eq!(
        rig.json(&["schedule", "pause", "hello/daily"])["isActive"],
        false
    );
    assert_eq!(
        rig.json(&["schedule", "resume", "hello/daily"])["isActive"],
        true
    );
    assert_eq!(
        rig.json(&["schedule", "fires", "hello/daily"])["data"],
        json!([])
    );
    let none = rig.json(&[
        "schedule",
        "backfill",
        "hello/daily",
        "--from",
        "2026-01-01",
        "--to",
        "2026-01-03",
        "--dry-run",
    ]);
    assert_eq!(none["runs"], 2, "{none}");
    assert_eq!(rig.json(&["schedule", "list"]).as_array().unwrap().len(), 1);
    assert!(
        rig.cli(&["schedule", "delete", "hello/daily"])
            .status
            .success()
    );
    assert_eq!(rig.json(&["schedule", "list"]), json!([]));
    let file = HELLO.replacen("[[job]]", "[[schedule]]\nname = \"night\"\ncron = \"30 2 * * *\"\ntimezone = \"Europe/Berlin\"\ncatch_up = \"latest\"\n\n[[job]]", 1);
    rig.write("night.toml", file.replace("add-field", "of-nobody"));
    let path = rig.path("night.toml").display().to_string();
    let played = rig.cli(&[
        "schedule",
        "simulate",
        &path,
        "--from",
        "2025-03-28",
        "--to",
        "2025-04-02",
        "--down",
        "2025-03-31T01:00..2025-04-01T12:00",
    ]);
    let said = String::from_utf8_lossy(&played.stdout).into_owned();
    assert_eq!(
        said.lines().map(str::trim).collect::<Vec<_>>(),
        [
            "night (30 2 * * * in Europe/Berlin)",
            "2025-03-28T02:30:00+01:00  run",
            "2025-03-29T02:30:00+01:00  run",
            "2025-03-30T03:00:00+02:00  run",
            "2025-03-31T02:30:00+02:00  missed  at 2025-04-01T12:00:00+02:00  catch-up.latest",
            "2025-04-01T02:30:00+02:00  run  at 2025-04-01T12:00:00+02:00  caught up",
        ]
    );
}

#[test]
fn the_daily_schedule_of_the_sample_workflow_is_eight_in_seoul() {
    let text = std::fs::read_to_string(root().join("flows/product-blog.toml")).unwrap();
    assert!(
        text.contains("timezone = \"Asia/Seoul\""),
        "the sample has its schedule"
    );
    let Some((mut rig, _world)) = product_blog() else {
        return;
    };
    rig.start();
    let listed = rig.get("/v0/workflows/product-blog/schedules");
    let id = listed[0]["id"].as_str().unwrap();
    let next = rig.get(&format!("/v0/schedules/{id}/preview?n=2"));
    for time in next.as_array().unwrap() {
        assert!(
            time["local"].as_str().unwrap().ends_with("T08:00:00+09:00"),
            "{next}"
        );
    }
    // A time of yesterday, made up for, publishes its article as the morning would have.
    let yesterday = chrono::Utc::now() - chrono::Duration::days(2);
    let to = chrono::Utc::now().to_rfc3339();
    let body = json!({ "from": yesterday.to_rfc3339(), "to": to });
    let (status, done) = rig.call("POST", &format!("/v0/schedules/{id}/backfill"), &body);
    assert_eq!(status, 202, "{done}");
    let run = rig.until("it runs", || {
        fires(&rig, id)
            .iter()
            .find_map(|fire| Some(fire["runId"].as_str()?.to_owned()))
    });
    assert_eq!(rig.finished(&run)["status"], "succeeded");
}
