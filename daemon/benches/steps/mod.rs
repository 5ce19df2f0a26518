//! Runs and steps as the engine writes them: what a finished task leaves is the run, a task run, an attempt, its
//! input and output, two lines.

use flowweaver::clock::Timestamp;
use flowweaver::id::{AttemptId, DaemonId, Digest, IoId, OrganizationId, RunId, TaskRunId};
use flowweaver::run::status::{Level, Status, Trigger};
use flowweaver::store::lineage::Lineage;
use flowweaver::store::rows::{
    AttemptRow, IoKind, IoRow, NewLog, RunChange, RunRow, RunUpdate, TaskRunRow, Transition,
    VersionRow,
};
use flowweaver::store::sqlite::SqliteStore;
use flowweaver::store::{CommitOutcome, Store};

const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

fn blank(run_id: RunId, run: RunChange) -> Transition {
    Transition {
        run_id,
        lease_epoch: 1,
        expected_revision: 0,
        run,
        jobs: vec![],
        tasks: vec![],
        attempts: vec![],
        io: vec![],
        host_calls: vec![],
        logs: vec![],
        consumed: vec![],
        control: None,
        ends: false,
    }
}

/// A version of a workflow.
pub fn version() -> VersionRow {
    VersionRow {
        version: Digest::of(b"bench"),
        organization_id: OrganizationId::ROOT,
        workflow_name: "bench".parse().unwrap(),
        file: "flows/bench.toml".into(),
        source: "".into(),
        vars: "{}".into(),
        ceilings: "{}".into(),
        modules: "{}".into(),
        workflows: "{}".into(),
        starts_after: Vec::new(),
        created_at: NOW,
    }
}

/// A new run, owned and under way.
pub async fn start_run(store: &SqliteStore, daemon: DaemonId) -> RunId {
    let version = version();
    let run_id = RunId::generate();
    let row = RunRow {
        run_id,
        organization_id: OrganizationId::ROOT,
        workflow_id: store.publish(&version).await.unwrap(),
        workflow_name: version.workflow_name,
        version: version.version,
        number: 0,
        status: Status::Running,
        trigger: Trigger::Manual,
        trace_id: "0af7651916cd43dd8448eb211c80319c".into(),
        rerun_of: None,
        origin_run_id: run_id,
        inputs: "{}".into(),
        config: "{}".into(),
        idempotency_key: None,
        priority: 0,
        owner: Some(daemon),
        lease_epoch: 1,
        revision: 0,
        scheduled_at: NOW,
        created_at: NOW,
        started_at: None,
        finished_at: None,
        tolerated_failures: 0,
        failure_code: None,
        failure_message: None,
        lineage: Lineage::default(),
    };
    let outcome = store
        .commit([blank(run_id, RunChange::Insert(Box::new(row)))].into())
        .await;
    assert_eq!(outcome.unwrap(), [CommitOutcome::Committed]);
    run_id
}

/// What a step says of a run that goes on.
const GOES_ON: RunUpdate = RunUpdate {
    status: Status::Running,
    started_at: Some(NOW),
    finished_at: None,
    tolerated_failures: 0,
    failure_code: None,
    failure_message: None,
};

fn ended(
    attempt_id: AttemptId,
    task_run_id: TaskRunId,
    run_id: RunId,
    daemon_id: DaemonId,
) -> AttemptRow {
    AttemptRow {
        attempt_id,
        task_run_id,
        run_id,
        organization_id: OrganizationId::ROOT,
        number: 1,
        lease_epoch: 1,
        daemon_id,
        status: Status::Succeeded,
        started_at: NOW,
        finished_at: Some(NOW),
        cpu_us: 120,
        memory_peak_bytes: 1 << 20,
        logs_dropped: 0,
        failure: None,
    }
}

/// The step of one task of it.
pub fn step(run_id: RunId, revision: i64, daemon_id: DaemonId) -> Transition {
    let organization_id = OrganizationId::ROOT;
    let (task_run_id, attempt_id, output) = (
        TaskRunId::generate(),
        AttemptId::generate(),
        IoId::generate(),
    );
    let io = |io_id, kind, data: &str| IoRow {
        io_id,
        run_id,
        organization_id,
        task_run_id,
        attempt_id: Some(attempt_id),
        kind,
        data: data.into(),
        origins: None,
        created_at: NOW,
    };
    let event = |kind, message: &str| NewLog {
        task_run_id: Some(task_run_id),
        attempt_id: Some(attempt_id),
        kind,
        level: Level::Info,
        message: message.into(),
        fields: None,
        at: NOW,
    };
    Transition {
        expected_revision: revision,
        tasks: vec![TaskRunRow {
            task_run_id,
            run_id,
            organization_id,
            job: "analyse".parse().unwrap(),
            task: "keyword".parse().unwrap(),
            item_index: -1,
            status: Status::Succeeded,
            attempts: 1,
            interrupts: 0,
            tolerated: false,
            ready_at: Some(NOW),
            started_at: Some(NOW),
            finished_at: Some(NOW),
            retry_at: None,
            output_io_id: Some(output),
            reason_code: None,
            reason_message: None,
        }],
        attempts: vec![ended(attempt_id, task_run_id, run_id, daemon_id)],
        io: vec![
            io(
                IoId::generate(),
                IoKind::Input,
                r#"{"a":1,"b":"two","c":[3]}"#,
            ),
            io(output, IoKind::Output, r#"{"a":1,"b":"two","c":[3],"d":4}"#),
        ],
        logs: vec![
            event("task.started", "keyword started"),
            event("task.succeeded", "keyword succeeded"),
        ],
        ..blank(run_id, RunChange::Update(GOES_ON))
    }
}
