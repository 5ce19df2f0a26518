//! Dead letters: written with the end of a run, listed, and settled by what comes after.

use flowweaver::clock::Timestamp;
use flowweaver::id::{DaemonId, DeadLetterId, OrganizationId, RunId};
use flowweaver::run::status::Status;
use flowweaver::store::CommitOutcome;
use flowweaver::store::control::{
    Control, DeadLetterRow, LetterFilter, LetterState, Settled, unix_ms,
};
use flowweaver::store::rows::{RunRow, Transition};

use crate::world::{World, at, insert, new_run, update};

const MINUTE: i64 = 60_000;

/// So many milliseconds later: ids of one millisecond have no order.
fn later(ms: i64) -> Timestamp {
    at(ms * 1_000)
}

fn letter(run: &RunRow, item: i64, code: &str, ms: i64) -> DeadLetterRow {
    DeadLetterRow {
        dead_letter_id: DeadLetterId::at(unix_ms(later(ms))),
        organization_id: run.organization_id,
        run_id: run.run_id,
        origin_run_id: run.origin_run_id,
        workflow_name: run.workflow_name.clone(),
        job: Some("analyse".parse().unwrap()),
        task: Some("keyword".parse().unwrap()),
        item_index: item,
        code: code.into(),
        message: "it broke: \u{0}우산".into(),
        attempts: 3,
        interrupts: 1,
        created_at: later(ms),
        state: LetterState::Open,
        redrives: 0,
        redrive_run_id: None,
        settled_at: None,
        settled_by: None,
        note: None,
    }
}

fn with(transition: Transition, control: Control) -> Transition {
    Transition {
        control: Some(Box::new(control)),
        ..transition
    }
}

impl World {
    /// A run that has failed and left these letters, as (item, code, time).
    async fn failed(&self, name: &str, left: &[(i64, &str, i64)]) -> (RunRow, Vec<DeadLetterRow>) {
        let daemon = self.daemon("letters").await;
        let run = self.run(name, Some(daemon)).await;
        let letters: Vec<_> = left
            .iter()
            .map(|(item, code, ms)| letter(&run, *item, code, *ms))
            .collect();
        let control = Control {
            letters: letters.clone(),
            ..Control::default()
        };
        let end = update(run.run_id, 1, 1, Status::Failed);
        self.commit_one(with(end, control)).await;
        (run, letters)
    }

    async fn listed(&self, filter: LetterFilter) -> Vec<DeadLetterRow> {
        self.store.dead_letters(&filter).await.unwrap()
    }

    async fn states(&self, letters: &[DeadLetterRow]) -> Vec<(LetterState, u32, Option<RunId>)> {
        let ids: Vec<_> = letters.iter().map(|row| row.dead_letter_id).collect();
        let named = self.store.dead_letters_named(OrganizationId::ROOT, &ids);
        let rows = named.await.unwrap().into_iter();
        rows.map(|row| (row.state, row.redrives, row.redrive_run_id))
            .collect()
    }

    /// A run that repeats another one, begun by this daemon.
    async fn repeating(&self, of: &RunRow, daemon: DaemonId) -> RunRow {
        let row = RunRow {
            rerun_of: Some(of.run_id),
            origin_run_id: of.origin_run_id,
            ..new_run(of.workflow_id, of.workflow_name.as_str(), Some(daemon))
        };
        let control = settling(&row, LetterState::Redriven);
        self.commit_one(with(insert(&row), control)).await;
        row
    }
}

fn settling(run: &RunRow, to: LetterState) -> Control {
    Control {
        settled: Some(Settled {
            of: run.rerun_of.unwrap(),
            origin: run.origin_run_id,
            by: run.run_id,
            to,
            at: at(9),
        }),
        ..Control::default()
    }
}

fn open() -> LetterFilter {
    LetterFilter::in_state(LetterState::Open, 50)
}

pub async fn letters_are_written_with_the_end_of_their_run_or_not_at_all(world: World) {
    let daemon = world.daemon("a").await;
    let run = world.run("flow", Some(daemon)).await;
    let control = Control {
        letters: vec![letter(&run, -1, "broken", 5)],
        ..Control::default()
    };
    let stale = with(update(run.run_id, 7, 1, Status::Failed), control);
    assert_eq!(world.commit(&[stale]).await, [CommitOutcome::Fenced]);
    assert_eq!(world.listed(open()).await, []);
    let (_, written) = world.failed("flow", &[(-1, "broken", 5)]).await;
    assert_eq!(world.listed(open()).await, written);
}

pub async fn letters_are_found_by_workflow_time_and_code_page_by_page(world: World) {
    let (_, a) = world
        .failed("one", &[(0, "x", MINUTE), (1, "y", 2 * MINUTE)])
        .await;
    let (_, b) = world.failed("two", &[(-1, "x", 3 * MINUTE)]).await;
    let all = [b[0].clone(), a[1].clone(), a[0].clone()];
    assert_eq!(world.listed(open()).await, all);
    let of_one = LetterFilter {
        workflow: Some("one".parse().unwrap()),
        ..open()
    };
    assert_eq!(world.listed(of_one.clone()).await, all[1..]);
    let both = LetterFilter {
        code: Some("x".into()),
        ..of_one
    };
    assert_eq!(world.listed(both).await, all[2..]);
    let code = LetterFilter {
        code: Some("x".into()),
        ..open()
    };
    assert_eq!(world.listed(code).await, [all[0].clone(), all[2].clone()]);
    let between = LetterFilter {
        since: Some(later(2 * MINUTE)),
        until: Some(later(3 * MINUTE)),
        ..open()
    };
    assert_eq!(world.listed(between).await, all[1..2]);
    let first = LetterFilter { limit: 2, ..open() };
    let page = world.listed(first).await;
    let next = LetterFilter {
        before: Some(page[1].dead_letter_id),
        ..open()
    };
    assert_eq!(
        (&page[..], &world.listed(next).await[..]),
        (&all[..2], &all[2..])
    );
    let others = LetterFilter {
        organization: Some("01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap()),
        ..open()
    };
    assert_eq!(world.listed(others).await, []);
    let resolved = LetterFilter::in_state(LetterState::Resolved, 50);
    assert_eq!(world.listed(resolved).await, []);
}

pub async fn a_repeat_that_succeeds_takes_the_letters_of_its_chain_off_the_list(world: World) {
    let daemon = world.daemon("b").await;
    let (run, letters) = world.failed("flow", &[(0, "x", 1), (1, "x", 2)]).await;
    let (_, other) = world.failed("flow", &[(-1, "x", 3)]).await;
    let again = world.repeating(&run, daemon).await;
    let by = Some(again.run_id);
    assert_eq!(
        world.states(&letters).await,
        [
            (LetterState::Redriven, 1, by),
            (LetterState::Redriven, 1, by)
        ]
    );
    // It fails, too: its own letter takes their place.
    let own = letter(&again, 1, "x", 4);
    let control = Control {
        letters: vec![own.clone()],
        ..settling(&again, LetterState::Superseded)
    };
    world
        .commit_one(with(update(again.run_id, 1, 1, Status::Failed), control))
        .await;
    assert_eq!(world.listed(open()).await, [own.clone(), other[0].clone()]);
    assert_eq!(world.states(&letters).await[0].0, LetterState::Superseded);
    let third = world.repeating(&again, daemon).await;
    let end = update(third.run_id, 1, 1, Status::Succeeded);
    let control = settling(&third, LetterState::Resolved);
    world.commit_one(with(end, control)).await;
    assert_eq!(world.listed(open()).await, other);
    assert_eq!(world.states(&[own]).await[0].0, LetterState::Resolved);
}

pub async fn a_repeat_that_is_cancelled_opens_the_letters_again(world: World) {
    let daemon = world.daemon("b").await;
    let (run, letters) = world.failed("flow", &[(-1, "x", 1)]).await;
    let again = world.repeating(&run, daemon).await;
    assert_eq!(world.listed(open()).await, []);
    let end = update(again.run_id, 1, 1, Status::Cancelled);
    let control = settling(&again, LetterState::Open);
    world.commit_one(with(end, control)).await;
    let open = world.listed(open()).await;
    assert_eq!(open.len(), 1);
    assert_eq!(
        (open[0].dead_letter_id, open[0].redrives),
        (letters[0].dead_letter_id, 1)
    );
}

pub async fn a_dismissed_letter_keeps_who_when_and_why(world: World) {
    let (_, letters) = world.failed("flow", &[(0, "x", 1), (1, "x", 2)]).await;
    let ids: Vec<_> = letters.iter().map(|row| row.dead_letter_id).collect();
    let stranger: OrganizationId = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap();
    let none = world.store.dismiss(stranger, &ids, "eve", "", at(5)).await;
    assert_eq!(none.unwrap(), []);
    let root = OrganizationId::ROOT;
    let done = world.store.dismiss(root, &ids[..1], "ann", "known", at(5));
    assert_eq!(done.await.unwrap(), ids[..1]);
    let twice = world.store.dismiss(root, &ids[..1], "bob", "again", at(6));
    assert_eq!(twice.await.unwrap(), []);
    let dismissed = LetterFilter::in_state(LetterState::Dismissed, 50);
    let kept = &world.listed(dismissed).await[0];
    assert_eq!(
        (
            kept.settled_by.as_deref(),
            kept.note.as_deref(),
            kept.settled_at
        ),
        (Some("ann"), Some("known"), Some(at(5)))
    );
    assert_eq!(world.listed(open()).await, letters[1..]);
}
