//! How the databases read: along an index, with ten thousand runs of history and a thousand waiting.

use flowweaver::id::{DaemonId, DeadLetterId, HostCallId, OrganizationId};
use flowweaver::run::status::Status;
use flowweaver::store::CommitOutcome;
use flowweaver::store::control::{Control, DeadLetterRow, LetterState};
use flowweaver::store::lineage::EndOf;
use flowweaver::store::rows::{HostCallRow, RunRow, Transition, VersionRow};
use flowweaver::store::{Expect, KvSpace, KvUsage, KvWrite};
use sqlx::{AssertSqlSafe, Row as _};

use crate::world::{
    Raw, World, at, insert, new_run, on_mariadb, on_postgres, on_sqlite, step, update, version_of,
};

const FINISHED: usize = 10_000;
const QUEUED: usize = 1_000;
/// Runs that wait for their turn.
const HELD: usize = 300;
/// Runs whose owner has gone.
const ORPHANED: usize = 20;

/// Tables that are small whatever happens: a batch, the processes of the daemon, orders that nobody has
/// carried out yet, a count for each workflow, who starts after whom, halves of a claim and counts that their limit has cut.
const SMALL: &[&str] = &[
    "workflow_trigger",
    "t",
    "d",
    "daemon",
    "c",
    "run_command",
    "kv_usage",
    "w",
    "h",
    "best",
    "free",
    "dead",
    "json_to_recordset",
];

/// Statements that sort: a claim the runs of dead owners and its two halves, `load_run` a run's own rows.
const SORTED: &[&str] = &[
    "claim",
    "claim of the dead",
    "jobs of a run",
    "tasks of a run",
    "attempts of a run",
];

fn call(step: &Transition) -> HostCallRow {
    HostCallRow {
        host_call_id: HostCallId::generate(),
        run_id: step.run_id,
        organization_id: OrganizationId::ROOT,
        attempt_id: step.attempts[0].attempt_id,
        kind: "http".into(),
        target: "https://example.org/".into(),
        verb: "GET".into(),
        outcome: "200".into(),
        sent_bytes: 0,
        received_bytes: 4096,
        started_at: at(1),
        duration_us: 900,
    }
}

/// The end of a run that leaves a dead letter.
fn failing(run: &RunRow) -> Transition {
    let letter = DeadLetterRow {
        dead_letter_id: DeadLetterId::generate(),
        organization_id: run.organization_id,
        run_id: run.run_id,
        origin_run_id: run.run_id,
        workflow_name: run.workflow_name.clone(),
        job: None,
        task: None,
        item_index: -1,
        code: "broken".into(),
        message: "it broke".into(),
        attempts: 1,
        interrupts: 0,
        created_at: at(9),
        state: LetterState::Open,
        redrives: 0,
        redrive_run_id: None,
        settled_at: None,
        settled_by: None,
        note: None,
    };
    let control = Control {
        letters: vec![letter],
        ..Control::default()
    };
    Transition {
        control: Some(Box::new(control)),
        ..update(run.run_id, 1, 2, Status::Failed)
    }
}

async fn fill(world: &World) -> String {
    let workflow = world.workflow("flow").await;
    let after = VersionRow {
        starts_after: vec![EndOf {
            workflow: "flow".parse().unwrap(),
            status: Status::Succeeded,
        }],
        ..version_of("after", "")
    };
    world.store.publish(&after).await.unwrap();
    let (live, gone) = (world.daemon("a").await, world.daemon("b").await);
    let all_committed = |outcomes: Vec<CommitOutcome>| {
        assert!(outcomes.iter().all(|o| *o == CommitOutcome::Committed));
    };
    let mut one = None;
    for _ in 0..FINISHED / 500 {
        let mut batch = Vec::new();
        for _ in 0..500 {
            let mut run = new_run(workflow, "flow", Some(live));
            if batch.len() % 30 == 3 {
                run.lineage.parent_run_id = one;
                run.lineage.root_run_id = one;
            }
            one = Some(run.run_id);
            batch.push(insert(&run));
            let mut step = step(&run, 1, 1);
            step.host_calls.push(call(&step));
            batch.push(step);
            // One in ten leaves a dead letter.
            batch.push(match batch.len() % 30 {
                2 => failing(&run),
                _ => update(run.run_id, 1, 2, Status::Succeeded),
            });
        }
        all_committed(world.commit(&batch).await);
    }
    let last = one.unwrap();
    let settled = format!(
        r#"update "trigger_delivery" set "state" = 'started' where "source_run_id" <> '{last}'"#
    );
    world.raw.execute(&settled).await;
    let waiting = |count: usize, owner: Option<DaemonId>| {
        let runs = (0..count).map(|_| insert(&new_run(workflow, "flow", owner)));
        runs.collect::<Vec<_>>()
    };
    let held: Vec<_> = (0..HELD)
        .map(|_| crate::turns::entering(workflow, "k", 1, 0).1)
        .collect();
    all_committed(world.commit(&held).await);
    all_committed(world.commit(&waiting(QUEUED, None)).await);
    all_committed(world.commit(&waiting(ORPHANED, Some(gone))).await);
    world.store.farewell(gone).await.unwrap();
    let space = KvSpace {
        organization: OrganizationId::ROOT,
        workflow: "flow".parse().unwrap(),
    };
    let quota = KvUsage {
        entries: u64::MAX,
        bytes: u64::MAX,
    };
    for n in 0..300 {
        let entry = KvWrite {
            value: vec![7; 20],
            expires_at: (n % 2 == 0).then(|| at(1_000 + n)),
            quota,
        };
        let key = format!("k{n}");
        let set = world.store.kv_set(&space, &key, Expect::Any, &entry, at(0));
        set.await.unwrap();
    }
    one.unwrap().to_string()
}

/// A value for each number of a statement, by what the statement is about.
fn filled(name: &str, statement: &str, run: &str, array: bool) -> String {
    let rows = |fields: &[(&str, String)]| {
        let cells: Vec<String> = fields
            .iter()
            .map(|(name, value)| match array {
                true => value.clone(),
                false => format!("\"{name}\":{value}"),
            })
            .collect();
        match array {
            true => format!("'[[{}]]'", cells.join(",")),
            false => format!("'[{{{}}}]'", cells.join(",")),
        }
    };
    let id = ("workflow_run_id", format!("\"{run}\""));
    let text = |text: &str| format!("'{text}'");
    let daemon = text(&DaemonId::generate().to_string());
    let root = text(&OrganizationId::ROOT.to_string());
    let kv = [root, text("flow")];
    let key = match array {
        true => "x'6b31'".to_owned(),
        false => "'k1'::bytea".to_owned(),
    };
    let list = [
        text("~"),
        "null".into(),
        "null".into(),
        "null".into(),
        "50".into(),
        text("flow"),
    ];
    let (number, instant) = ("1".to_owned(), at(0).as_micros().to_string());
    let fence = [
        id.clone(),
        ("lease_epoch", number.clone()),
        ("revision", number.clone()),
    ];
    let values: Vec<String> = match name {
        "claim" if statement.contains("$3") => vec![daemon, "50".into(), instant],
        "claim" => vec!["50".into()],
        "claim of the dead" => vec![instant, "50".into()],
        "claim of those seen" => vec![rows(&[id, ("owner", "\"x\"".into()), fence[1].clone()])],
        "take" => vec![rows(&[id]), daemon],
        "fence" | "move" => vec![rows(&fence)],
        "append logs" => return statement.replacen('?', "1", 1).replacen('?', "'[]'", 1),
        "look" | "consume" | "note of ends" => vec![rows(&[id])],
        "note of an end" => return statement.replace("?1", &text(run)),
        "runs of a parent" | "runs of a root" => {
            let mut list = list.to_vec();
            list[5] = text(run);
            list.push("null".into());
            list
        }
        "run of a key" => vec![kv[0].clone(), text("key")],
        "deliveries due" => vec![instant, "50".into()],
        "runs in a status" => {
            let mut list = list.to_vec();
            list[3] = text("queued");
            list
        }
        "runs" | "runs of a workflow" => list.to_vec(),
        "logs" | "logs of a run" => vec!["5".into(), "50".into(), text(run)],
        "kv keys" | "kv list" => {
            let page = [key, number, "null".into(), instant, "50".into()];
            kv.into_iter().chain(page).collect()
        }
        "kv purge" => kv.into_iter().chain([instant, "50".into()]).collect(),
        "kv usage" => kv.to_vec(),
        "unowned" | "held" => vec!["50".into()],
        "letters" | "letters of a workflow" | "letters with a code" => {
            let page = [
                text(""),
                text("~"),
                text("open"),
                "null".into(),
                "50".into(),
            ];
            let more = [text("flow"), "null".into()];
            page.into_iter().chain(more).collect()
        }
        "letters of a run" | "letters of a chain" => vec![text(run), instant],
        "letters not resolved" => vec![text(run), text(run), text("open")],
        "lane going" => vec![text("l")],
        "lane next" => vec![text("l"), "5".into()],
        _ => vec![text(run)],
    };
    let mut statement = statement.to_owned();
    for (number, value) in values.iter().enumerate().rev() {
        statement = statement.replace(&format!("${}", number + 1), value);
    }
    statement
}

/// What a plan says: its text, the tables that it reads whole, how often it sorts.
struct Plan {
    text: String,
    whole: Vec<String>,
    sorts: usize,
}

/// The words after the first of these, without quotes.
fn word_after(line: &str, before: &str) -> Option<String> {
    let (_, after) = line.split_once(before)?;
    let word = after.split([' ', '(']).find(|word| !word.is_empty())?;
    Some(word.trim_matches('"').to_owned())
}

async fn plan(raw: &Raw, statement: &str) -> Plan {
    let explain = |how: &str| AssertSqlSafe(format!("{how} {statement}"));
    let mut whole = Vec::new();
    match raw {
        Raw::Sqlite(pool) => {
            let rows = sqlx::query(explain("explain query plan"))
                .fetch_all(pool)
                .await
                .unwrap();
            let lines: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
            for line in &lines {
                if !line.contains("USING") && !line.contains("VIRTUAL TABLE") {
                    whole.extend(word_after(line, "SCAN ").filter(|word| !word.is_empty()));
                }
            }
            whole.retain(|table| !table.starts_with("subquery"));
            let sorts = lines
                .iter()
                .filter(|line| line.contains("FOR ORDER BY"))
                .count();
            Plan {
                text: lines.join("\n"),
                whole,
                sorts,
            }
        }
        Raw::Postgres(pool) => {
            let rows = sqlx::query(explain("explain"))
                .fetch_all(pool)
                .await
                .unwrap();
            let lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            whole.extend(
                lines
                    .iter()
                    .filter_map(|line| word_after(line, "Seq Scan on ")),
            );
            let sorts = lines
                .iter()
                .filter(|line| line.trim_start().starts_with("->  Sort"))
                .count();
            Plan {
                text: lines.join("\n"),
                whole,
                sorts,
            }
        }
        Raw::MariaDb(pool) => {
            let rows = sqlx::query(explain("explain"))
                .fetch_all(pool)
                .await
                .unwrap();
            let mut lines = Vec::new();
            for row in &rows {
                let cell = |name: &str| row.get::<Option<String>, _>(name).unwrap_or_default();
                let (table, way, extra) = (cell("table"), cell("type"), cell("Extra"));
                // `index` is a whole index.
                if ["ALL", "index"].contains(&way.as_str()) && !table.starts_with('<') {
                    whole.push(table.clone());
                }
                lines.push(format!("{table}: {way} {} {extra}", cell("key")));
            }
            let sorts = lines
                .iter()
                .filter(|line| line.contains("filesort"))
                .count();
            Plan {
                text: lines.join("\n"),
                whole,
                sorts,
            }
        }
    }
}

async fn check(world: World, statements: &[(&str, &str)]) {
    let run = fill(&world).await;
    let array = !matches!(world.raw, Raw::Postgres(_));
    // Without statistics, as in a new database, and with them. PostgreSQL, which gathers them by itself within a
    // minute, takes eleven thousand rows for twenty until then.
    let rounds: &[bool] = match world.raw {
        Raw::Postgres(_) => &[true],
        _ => &[false, true],
    };
    for analyzed in rounds {
        if *analyzed {
            analyze(&world.raw).await;
        }
        for (name, statement) in statements {
            let plan = plan(&world.raw, &filled(name, statement, &run, array)).await;
            let text = &plan.text;
            assert!(!text.is_empty(), "{name}");
            for table in &plan.whole {
                assert!(
                    SMALL.contains(&table.as_str()),
                    "{name} reads all of {table} (analyzed: {analyzed}):\n{text}"
                );
            }
            assert!(
                plan.sorts == 0 || SORTED.contains(name),
                "{name} sorts (analyzed: {analyzed}):\n{text}"
            );
        }
    }
}

async fn analyze(raw: &Raw) {
    let Raw::MariaDb(_) = raw else {
        raw.execute("analyze").await;
        return;
    };
    let tables = r#"select table_name from information_schema.tables
        where table_schema = database() and table_name not like '\_%'"#;
    for table in raw.lines(tables, 1).await {
        raw.execute(&format!(r#"analyze table "{table}""#)).await;
    }
}

#[tokio::test]
async fn claims_lists_and_logs_follow_an_index_on_sqlite() {
    async fn promise(world: World) {
        check(world, flowweaver::store::sqlite::HOT_STATEMENTS).await;
    }
    on_sqlite(promise).await;
}

#[tokio::test]
async fn claims_lists_and_logs_follow_an_index_on_postgres() {
    async fn promise(world: World) {
        check(world, flowweaver::store::postgres::HOT_STATEMENTS).await;
    }
    on_postgres(promise).await;
}

#[tokio::test]
async fn claims_lists_and_logs_follow_an_index_on_mariadb() {
    async fn promise(world: World) {
        check(world, flowweaver::store::mariadb::HOT_STATEMENTS).await;
    }
    on_mariadb(promise).await;
}

#[test]
fn a_plan_that_reads_a_whole_table_is_noticed() {
    let read = word_after(
        "  ->  Seq Scan on workflow_run r  (cost=0.00)",
        "Seq Scan on ",
    );
    assert_eq!(read.as_deref(), Some("workflow_run"));
    assert_eq!(
        word_after("SCAN workflow_run", "SCAN ").as_deref(),
        Some("workflow_run")
    );
    assert!(!SMALL.contains(&"workflow_run"));
}
