//! A guest under way: begun after its row is durable, watched by a task of its own.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::active::{Active, Live, Start};
use super::child::{self, Child};
use super::handle::Shared;
use super::intake::Intake;
use crate::broker::identity::AttemptIdentity;
use crate::broker::journal::Journal;
use crate::id::{AttemptId, RunId, TaskRunId};
use crate::run::event::Unit;
use crate::run::failure::Failure;
use crate::run::key::idempotency_key;
use crate::sandbox::invoke::{AttemptReport, Invocation, Invoke, host_panicked};
use crate::workflow::model::Uses;

/// Begins an attempt. Answers it and whether it keeps its slot: one that waits for another run
/// does not, because that run needs slots.
pub(super) fn begin(
    shared: &Arc<Shared>,
    invoke: &Arc<dyn Invoke>,
    active: &Active,
    start: &Start,
) -> (Live, bool) {
    let cancel = CancellationToken::new();
    let journal = Arc::new(Journal::default());
    let task = active.graph().workflow().task(start.unit.task);
    let identity = Arc::new(identity(active, start));
    let run = active.id();
    let mut live = Live {
        attempt: start.attempt,
        cancel: cancel.clone(),
        journal: Arc::clone(&journal),
        released: false,
        wait: None,
    };
    let slot = match &task.uses {
        Uses::Module { digest, .. } => {
            let invocation = Invocation {
                module: *digest,
                input: Arc::clone(&start.input),
                identity,
                grants: Arc::clone(&task.grants),
                limits: task.limits,
                journal,
                cancel,
            };
            let intake = shared.intake.clone();
            let (unit, attempt) = (start.unit, start.attempt);
            let hand_over = move |report| tell(&intake, run, unit, attempt, report, true);
            Arc::clone(invoke).launch(invocation, Box::new(hand_over));
            true
        }
        Uses::Workflow { name, version } => {
            let entry = active.book.units.get(&start.unit);
            let row = entry.and_then(|entry| entry.attempt.as_deref());
            let began = row.map_or_else(|| shared.clock.now(), |row| row.started_at);
            let child = Child {
                shared: Arc::clone(shared),
                name: name.clone(),
                version: *version,
                parent: active.row.clone(),
                job: identity.job.clone(),
                task: identity.task.clone(),
                item: start.unit.item,
                task_run: row.map_or_else(TaskRunId::generate, |row| row.task_run_id),
                // A child that failed stays failed: the next attempt after a failure is another.
                round: active.state.unit(start.unit).record().failures,
                input: Arc::clone(&start.input),
                deadline: began.after(task.limits.timeout),
                output_max: task.limits.output_bytes,
                cancel,
            };
            let wait = watch(shared, run, start, child::run(child));
            live.wait = Some(wait);
            false
        }
    };
    (live, slot)
}

/// Waits for a child run.
fn watch(
    shared: &Arc<Shared>,
    run: RunId,
    start: &Start,
    child: impl Future<Output = AttemptReport> + Send + 'static,
) -> AbortHandle {
    let intake = shared.intake.clone();
    let (unit, attempt) = (start.unit, start.attempt);
    let task = shared.runtime.spawn(async move {
        let report = AssertUnwindSafe(child).catch_unwind().await;
        let report = report.unwrap_or_else(|_| ended_with(host_panicked()));
        tell(&intake, run, unit, attempt, report, false);
    });
    task.abort_handle()
}

fn tell(
    intake: &mpsc::UnboundedSender<Intake>,
    run: RunId,
    unit: Unit,
    attempt: AttemptId,
    report: AttemptReport,
    slot: bool,
) {
    // Without a conductor the attempt is read as interrupted by the next owner.
    let _ = intake.send(Intake::Ended {
        run,
        unit,
        attempt,
        report,
        slot,
    });
}

/// A report without use of anything.
pub(super) fn ended_with(failure: Failure) -> AttemptReport {
    AttemptReport {
        outcome: Err(failure),
        cpu: Duration::ZERO,
        memory_peak_bytes: 0,
    }
}

fn identity(active: &Active, start: &Start) -> AttemptIdentity {
    let workflow = active.graph().workflow();
    let task = workflow.task(start.unit.task);
    let job = &workflow.job(task.job).name;
    AttemptIdentity {
        organization: active.row.organization_id,
        run_id: active.row.run_id,
        workflow: active.row.workflow_name.clone(),
        job: job.clone(),
        task: task.name.clone(),
        item_index: start.unit.item,
        attempt: start.number,
        trace_id: active.row.trace_id.clone(),
        idempotency_key: idempotency_key(
            active.row.origin_run_id,
            job,
            &task.name,
            start.unit.item,
        ),
        scheduled_at: active.row.scheduled_at,
    }
}
