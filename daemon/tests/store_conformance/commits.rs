//! What a commit writes, and what it does not.

use flowweaver::id::{CommandId, Digest, HostCallId, OrganizationId, RunId, WorkflowId};
use flowweaver::run::status::Status;
use flowweaver::store::CommitOutcome::{Committed, Conflict, Duplicate, Fenced, Rejected};
use flowweaver::store::rows::{
    CommandKind, CommandRow, HostCallRow, RunChange, RunFilter, VersionRow,
};

use crate::world::{World, at, insert, line, new_run, step, update, version_of};

pub async fn a_fenced_commit_writes_nothing(world: World) {
    let owner = world.daemon("a").await;
    let run = world.run("flow", Some(owner)).await;
    for epoch in [0, 2] {
        assert_eq!(world.commit(&[step(&run, epoch, 1)]).await, [Fenced]);
    }
    assert_eq!(world.rows_of(run.run_id).await, 0);
    let image = world.store.load_run(run.run_id).await.unwrap().unwrap();
    assert_eq!(image.run, run);
    assert_eq!(
        world
            .raw
            .number(r#"select "value" from "stream" where "stream_id" = 'execution_log'"#)
            .await,
        0
    );
}

pub async fn a_commit_at_another_revision_writes_nothing(world: World) {
    let owner = world.daemon("a").await;
    let run = world.run("flow", Some(owner)).await;
    for revision in [0, 2] {
        assert_eq!(world.commit(&[step(&run, 1, revision)]).await, [Conflict]);
    }
    let mut unknown = run.clone();
    unknown.run_id = RunId::generate();
    assert_eq!(world.commit(&[step(&unknown, 1, 1)]).await, [Conflict]);
    assert_eq!(world.rows_of(run.run_id).await, 0);
    assert_eq!(world.rows_of(unknown.run_id).await, 0);
}

pub async fn commits_under_way_together_each_get_their_own_outcomes(world: World) {
    let owner = world.daemon("a").await;
    let (moved, stale) = (
        world.run("flow", Some(owner)).await,
        world.run("flow", Some(owner)).await,
    );
    let mut broken = step(&world.run("flow", Some(owner)).await, 1, 1);
    // A value that no database takes for its primary key: it is there already.
    broken.io.push(broken.io[0].clone());
    let fresh = new_run(moved.workflow_id, "flow", Some(owner));
    let batches = [
        vec![step(&moved, 1, 1), insert(&fresh)],
        vec![step(&stale, 0, 1)],
        vec![broken.clone()],
        vec![step(&stale, 1, 1)],
    ];
    let commits = batches.iter().map(|batch| world.commit(batch));
    let outcomes = futures_util::future::join_all(commits).await;
    assert_eq!(outcomes[0], [Committed, Committed]);
    assert_eq!(outcomes[1], [Fenced]);
    assert!(matches!(outcomes[2][..], [Rejected(_)]), "{outcomes:?}");
    assert_eq!(outcomes[3], [Committed]);
    assert_eq!(world.rows_of(broken.run_id).await, 0);
    let lines = world.store.logs(None, 0, 100).await.unwrap();
    let ids: Vec<i64> = lines.iter().map(|line| line.event_id).collect();
    assert!(ids.is_sorted(), "{ids:?}");
    let last = r#"select "value" from "stream" where "stream_id" = 'execution_log'"#;
    assert_eq!(world.raw.number(last).await, ids[ids.len() - 1]);
}

pub async fn a_committed_step_is_read_back_as_it_was_written(world: World) {
    let owner = world.daemon("a").await;
    let run = world.run("flow", Some(owner)).await;
    assert_eq!(
        (run.number, run.revision, run.lease_epoch, run.owner),
        (1, 1, 1, Some(owner))
    );
    let mut written = step(&run, 1, 1);
    written.host_calls.push(HostCallRow {
        host_call_id: HostCallId::generate(),
        run_id: run.run_id,
        organization_id: run.organization_id,
        attempt_id: written.attempts[0].attempt_id,
        kind: "http".into(),
        target: "https://example.org/a".into(),
        verb: "GET".into(),
        outcome: "200".into(),
        sent_bytes: 0,
        received_bytes: 4096,
        started_at: at(1),
        duration_us: 900,
    });
    world.commit_one(written.clone()).await;
    let image = world.store.load_run(run.run_id).await.unwrap().unwrap();
    assert_eq!(image.run.revision, 2);
    assert_eq!(image.run.started_at, Some(at(1)));
    assert_eq!(image.jobs, written.jobs);
    assert_eq!(image.tasks, written.tasks);
    assert_eq!(image.attempts, written.attempts);
    // The attempt is final, so only the output that its task points to comes along.
    assert_eq!(image.io, written.io[1..]);
    let mut all = world.store.io(run.run_id).await.unwrap();
    all.sort_by_key(|io| io.io_id != written.io[0].io_id);
    assert_eq!(all, written.io);

    // The same ids again are replaced; what an unfinished attempt was given comes along.
    let mut again = update(run.run_id, 1, 2, Status::Waiting);
    again.jobs = written.jobs.clone();
    again.jobs[0].status = Status::Waiting;
    again.tasks = written.tasks.clone();
    again.tasks[0].retry_at = Some(at(50));
    again.tasks[0].tolerated = true;
    again.attempts = written.attempts.clone();
    again.attempts[0].status = Status::Interrupted;
    again.attempts[0].failure = Some(r#"{"code":"timeout"}"#.into());
    world.commit_one(again.clone()).await;
    let image = world.store.load_run(run.run_id).await.unwrap().unwrap();
    assert_eq!(
        (image.jobs, image.tasks, image.attempts),
        (again.jobs, again.tasks, again.attempts)
    );
    assert_eq!(image.io.len(), 2);
    assert_eq!(
        world
            .raw
            .number(r#"select count(*) from "host_call""#)
            .await,
        1
    );
}

pub async fn two_owners_cannot_both_write(world: World) {
    let old = world.daemon("a").await;
    let run = world.run("flow", Some(old)).await;
    world.store.farewell(old).await.unwrap();
    let new = world.daemon("b").await;
    let claimed = world.store.claim(new, 10).await.unwrap();
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].lease_epoch, 2);
    assert_eq!(
        world.commit(&[step(&run, 1, 1), step(&run, 2, 1)]).await,
        [Fenced, Committed]
    );
    assert_eq!(world.rows_of(run.run_id).await, 7);
}

pub async fn a_bad_transition_does_not_stop_the_others(world: World) {
    let owner = world.daemon("a").await;
    let first = world.run("flow", Some(owner)).await;
    world.commit_one(step(&first, 1, 1)).await;
    let taken = world.store.io(first.run_id).await.unwrap()[0].io_id;
    let mut batch = Vec::new();
    for position in 0..9 {
        let run = world.run("flow", Some(owner)).await;
        let mut transition = step(&run, 1, 1);
        if position == 2 || position == 7 {
            transition.io[0].io_id = taken;
        }
        batch.push(transition);
    }
    let outcomes = world.commit(&batch).await;
    for (position, outcome) in outcomes.iter().enumerate() {
        let bad = position == 2 || position == 7;
        assert_eq!(
            matches!(outcome, Rejected(_)),
            bad,
            "{position}: {outcome:?}"
        );
        assert_eq!(*outcome == Committed, !bad);
        assert_eq!(
            world.rows_of(batch[position].run_id).await,
            if bad { 0 } else { 7 }
        );
    }
    // Event ids of refused lines are not used up, so followers see no hole.
    let logs = world.store.logs(None, 0, 100).await.unwrap();
    let ids: Vec<i64> = logs.iter().map(|l| l.event_id).collect();
    assert_eq!(ids, (1..=16).collect::<Vec<_>>());
}

pub async fn transitions_that_clash_with_each_other_are_told_apart(world: World) {
    let owner = world.daemon("a").await;
    let (one, two) = (
        world.run("flow", Some(owner)).await,
        world.run("flow", Some(owner)).await,
    );
    let (first, mut second) = (step(&one, 1, 1), step(&two, 1, 1));
    second.io[0].io_id = first.io[0].io_id;
    let outcomes = world.commit(&[first, second]).await;
    assert_eq!(outcomes[0], Committed);
    assert!(matches!(outcomes[1], Rejected(_)));
    assert_eq!(world.rows_of(two.run_id).await, 0);
}

pub async fn several_steps_of_one_run_may_share_a_batch(world: World) {
    let owner = world.daemon("a").await;
    let run = new_run(world.workflow("flow").await, "flow", Some(owner));
    let batch = [
        insert(&run),
        step(&run, 1, 1),
        step(&run, 1, 2),
        step(&run, 1, 2),
        step(&run, 1, 3),
    ];
    assert_eq!(
        world.commit(&batch).await,
        [Committed, Committed, Committed, Conflict, Committed]
    );
    let image = world.store.load_run(run.run_id).await.unwrap().unwrap();
    assert_eq!((image.run.revision, image.tasks.len()), (4, 3));
}

pub async fn runs_of_a_workflow_are_numbered_without_gaps(world: World) {
    let (a, b) = (world.workflow("one").await, world.workflow("two").await);
    let mut rows = vec![
        new_run(a, "one", None),
        new_run(b, "two", None),
        new_run(a, "one", None),
    ];
    rows[0].idempotency_key = Some("k".into());
    rows[2].idempotency_key = Some("k".into());
    rows.push(new_run(a, "one", None));
    let batch: Vec<_> = rows.iter().map(insert).collect();
    let outcomes = world.commit(&batch).await;
    assert_eq!(
        outcomes,
        [Committed, Committed, Duplicate(rows[0].run_id), Committed]
    );
    let late = new_run(a, "one", None);
    world.commit_one(insert(&late)).await;
    let mut numbers = Vec::new();
    for run in [rows[0].run_id, rows[1].run_id, rows[3].run_id, late.run_id] {
        numbers.push(world.store.load_run(run).await.unwrap().unwrap().run.number);
    }
    assert_eq!(numbers, [1, 1, 2, 3]);
}

pub async fn an_idempotency_key_names_one_run(world: World) {
    let workflow = world.workflow("flow").await;
    let mut first = new_run(workflow, "flow", None);
    first.idempotency_key = Some("order-17\0".into());
    let mut second = new_run(workflow, "flow", None);
    second.idempotency_key = first.idempotency_key.clone();
    let mut other = new_run(workflow, "flow", None);
    other.idempotency_key = Some("order-17".into());
    assert_eq!(world.commit(&[insert(&first)]).await, [Committed]);
    assert_eq!(
        world
            .commit(&[insert(&second), insert(&other), insert(&first)])
            .await,
        [Duplicate(first.run_id), Committed, Conflict]
    );
    assert!(world.store.load_run(second.run_id).await.unwrap().is_none());
}

pub async fn organizations_share_neither_versions_nor_keys(world: World) {
    let other: OrganizationId = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap();
    world
        .raw
        .execute(r#"insert into "organization" ("organization_id", "name", "created_at") values ('01ARZ3NDEKTSV4RRFFQ69G5FAV', 'other', 0)"#)
        .await;
    let ours = world.workflow("flow").await;
    // The same file; the compiler gives it another digest in another organization.
    let theirs = VersionRow {
        organization_id: other,
        version: Digest::of(b"theirs"),
        ..version_of("flow", "")
    };
    let version = theirs.version;
    let theirs = world.store.publish(&theirs).await.unwrap();
    assert_ne!(ours, theirs);
    let listed = world.store.versions(theirs).await.unwrap();
    assert_eq!(
        listed.iter().map(|row| row.version).collect::<Vec<_>>(),
        [version]
    );
    let mut first = new_run(ours, "flow", None);
    first.idempotency_key = Some("order-17".into());
    let mut second = new_run(theirs, "flow", None);
    second.organization_id = other;
    second.version = version;
    second.idempotency_key = first.idempotency_key.clone();
    let outcomes = world.commit(&[insert(&first), insert(&second)]).await;
    assert_eq!(outcomes, [Committed, Committed]);
    for (organization, run) in [(OrganizationId::ROOT, &first), (other, &second)] {
        let filter = RunFilter {
            organization: Some(organization),
            limit: 10,
            ..RunFilter::default()
        };
        let found = world.store.runs(&filter).await.unwrap();
        assert_eq!(
            found.iter().map(|row| row.run_id).collect::<Vec<_>>(),
            [run.run_id]
        );
        assert_eq!(found[0].number, 1);
    }
}

pub async fn a_run_without_its_workflow_is_refused(world: World) {
    let nowhere = new_run(WorkflowId::generate(), "flow", None);
    let workflow = world.workflow("flow").await;
    let strangers = new_run(workflow, "flow", Some(flowweaver::id::DaemonId::generate()));
    let outcomes = world.commit(&[insert(&nowhere), insert(&strangers)]).await;
    assert!(
        outcomes.iter().all(|o| matches!(o, Rejected(_))),
        "{outcomes:?}"
    );
}

pub async fn any_text_survives(world: World) {
    let owner = world.daemon("a").await;
    let run = world.run("flow", Some(owner)).await;
    let texts = [
        "한글 🎉 é",
        "a\0b",
        "\u{10FFFF}0",
        "'; drop table \"x\"; --",
        "\\u0000 \" \n\t",
        "\u{7f}\u{1}",
        "{}[]",
    ];
    let mut transition = step(&run, 1, 1);
    transition.io[0].data = r#"{"nul":"\u0000","emoji":"🎉"}"#.into();
    transition.logs = texts.map(line).into();
    if let RunChange::Update(update) = &mut transition.run {
        update.failure_message = Some(texts.concat());
    }
    world.commit_one(transition.clone()).await;
    let logs = world.store.logs(Some(run.run_id), 0, 100).await.unwrap();
    assert_eq!(
        logs.iter().map(|l| l.message.as_str()).collect::<Vec<_>>(),
        texts
    );
    let image = world.store.load_run(run.run_id).await.unwrap().unwrap();
    assert_eq!(image.run.failure_message, Some(texts.concat()));
    let io = world.store.io(run.run_id).await.unwrap();
    assert!(io.iter().any(|io| io.data == transition.io[0].data));
}

pub async fn five_mebibytes_of_output_survive(world: World) {
    let owner = world.daemon("a").await;
    let run = world.run("flow", Some(owner)).await;
    let mut transition = step(&run, 1, 1);
    let text: String = "가\\\"x ".repeat(5 * 1024 * 1024 / 7);
    transition.io[1].data = serde_json::to_string(&text).unwrap().into();
    world.commit_one(transition.clone()).await;
    let io = world.store.io(run.run_id).await.unwrap();
    let kept = io
        .iter()
        .find(|io| io.io_id == transition.io[1].io_id)
        .unwrap();
    assert!(kept.data.len() > 5 * 1024 * 1024);
    assert_eq!(
        Digest::of(kept.data.as_bytes()),
        Digest::of(transition.io[1].data.as_bytes())
    );
}

pub async fn a_batch_larger_than_a_packet_is_written(world: World) {
    let owner = world.daemon("a").await;
    let mut batch = Vec::new();
    // 30 MB of outputs; a server takes 16 MiB at once if nobody has set anything else.
    let text = serde_json::to_string(&"가 x\"".repeat(1_000_000)).unwrap();
    for _ in 0..4 {
        let run = world.run("flow", Some(owner)).await;
        let mut transition = step(&run, 1, 1);
        transition.io[1].data = text.as_str().into();
        batch.push(transition);
    }
    assert_eq!(world.commit(&batch).await, vec![Committed; 4]);
    for transition in &batch {
        let io = world.store.io(transition.run_id).await.unwrap();
        assert!(io.iter().any(|io| *io.data == *text));
    }
}

pub async fn keys_that_differ_in_case_or_trailing_blanks_are_different(world: World) {
    let workflow = world.workflow("flow").await;
    let keys = ["a", "A", "a ", "a\t", "á", "ａ", ""];
    let runs: Vec<_> = keys
        .iter()
        .map(|key| {
            let mut run = new_run(workflow, "flow", None);
            run.idempotency_key = Some((*key).to_owned());
            run
        })
        .collect();
    // Together, and each against what is there.
    let batch: Vec<_> = runs.iter().map(insert).collect();
    assert_eq!(world.commit(&batch).await, vec![Committed; keys.len()]);
    for run in runs {
        let mut again = new_run(workflow, "flow", None);
        again.idempotency_key = run.idempotency_key;
        let outcome = world.commit(&[insert(&again)]).await;
        assert_eq!(outcome, [Duplicate(run.run_id)]);
    }
}

pub async fn runs_that_start_at_once_share_no_number_and_no_key(world: World) {
    let (one, two) = (world.workflow("one").await, world.workflow("two").await);
    let mut tasks = Vec::new();
    for task in 0..6 {
        let world = world.clone();
        tasks.push(tokio::spawn(async move {
            let mut outcomes = Vec::new();
            for round in 0..5 {
                let mut runs = [new_run(one, "one", None), new_run(two, "two", None)];
                // Half of them meet the others' workflows in the other order.
                if task % 2 == 0 {
                    runs.reverse();
                }
                runs[0].idempotency_key = Some(format!("key {round}"));
                let batch: Vec<_> = runs.iter().map(insert).collect();
                outcomes.extend(world.commit(&batch).await);
            }
            outcomes
        }));
    }
    let mut committed = 0;
    for task in tasks {
        for outcome in task.await.unwrap() {
            match outcome {
                Committed => committed += 1,
                Duplicate(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    // Of six with the same key one each time; the others have no key.
    assert_eq!(committed, 6 * 5 + 5);
    let sql = r#"select count(*) from "workflow" as "w" where "last_number" <>
        (select max("number") from "workflow_run" as "r" where "r"."workflow_id" = "w"."workflow_id")
        or "last_number" <> (select count(*) from "workflow_run" as "r" where "r"."workflow_id" = "w"."workflow_id")"#;
    assert_eq!(world.raw.number(sql).await, 0, "numbers have a gap");
}

pub async fn consumed_orders_are_gone_and_others_stay(world: World) {
    let owner = world.daemon("a").await;
    let run = world.run("flow", Some(owner)).await;
    let order = || CommandRow {
        command_id: CommandId::generate(),
        run_id: run.run_id,
        organization_id: run.organization_id,
        kind: CommandKind::Cancel,
        reason: "왜?".into(),
        created_at: at(3),
    };
    let (done, open) = (order(), order());
    for command in [&done, &open] {
        world.store.order(command).await.unwrap();
        world.store.order(command).await.unwrap();
    }
    let mut fenced = update(run.run_id, 2, 1, Status::Cancelled);
    fenced.consumed = vec![done.command_id];
    assert_eq!(world.commit(&[fenced]).await, [Fenced]);
    assert_eq!(world.store.orders(owner).await.unwrap().len(), 2);
    let mut transition = update(run.run_id, 1, 1, Status::Running);
    transition.consumed = vec![done.command_id];
    world.commit_one(transition).await;
    assert_eq!(world.store.orders(owner).await.unwrap(), [open]);
}

pub async fn an_empty_batch_is_nothing(world: World) {
    assert_eq!(world.commit(&[]).await, []);
}
