//! A fresh database of each kind, a second way into it, and rows to put there.

use std::future::Future;
use std::sync::Arc;

use flowweaver::clock::Timestamp;
use flowweaver::id::{
    AttemptId, DaemonId, Digest, IoId, JobRunId, OrganizationId, RunId, TaskRunId, WorkflowId,
};
use flowweaver::run::status::{Level, Status, Trigger};
use flowweaver::store::lineage::Lineage;
use flowweaver::store::rows::{
    AttemptRow, IoKind, IoRow, JobRunRow, NewLog, RunChange, RunRow, RunUpdate, TaskRunRow,
    Transition, VersionRow,
};
use flowweaver::store::{AccessStore, CommitOutcome, Durability, Store};
use sqlx::AssertSqlSafe;
use sqlx::Row as _;

/// How tests speak to MariaDB, so that a statement is one for all databases.
const MARIADB_SESSION: &str = "set session sql_mode = 'ansi_quotes,pipes_as_concat,strict_all_tables', \
    collation_database = utf8mb4_nopad_bin; set names utf8mb4 collate utf8mb4_nopad_bin";

/// A way into the database that is not the store's.
#[derive(Clone)]
pub enum Raw {
    Sqlite(sqlx::SqlitePool),
    Postgres(sqlx::PgPool),
    MariaDb(sqlx::MySqlPool),
}

/// A row's first columns as text, joined with a blank.
macro_rules! line {
    ($row:expr, $columns:expr) => {
        (0..$columns)
            .map(|column| $row.get::<String, _>(column))
            .collect::<Vec<_>>()
            .join(" ")
    };
}

impl Raw {
    pub async fn execute(&self, sql: &str) -> u64 {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(pool) => sqlx::query(sql)
                .execute(pool)
                .await
                .unwrap()
                .rows_affected(),
            Self::Postgres(pool) => sqlx::query(sql)
                .execute(pool)
                .await
                .unwrap()
                .rows_affected(),
            Self::MariaDb(pool) => sqlx::raw_sql(sql)
                .execute(pool)
                .await
                .unwrap()
                .rows_affected(),
        }
    }

    pub async fn number(&self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(pool) => sqlx::query(sql).fetch_one(pool).await.unwrap().get(0),
            Self::Postgres(pool) => sqlx::query(sql).fetch_one(pool).await.unwrap().get(0),
            Self::MariaDb(pool) => sqlx::query(sql).fetch_one(pool).await.unwrap().get(0),
        }
    }

    /// Each row's columns as text, joined with a blank.
    pub async fn lines(&self, sql: &str, columns: usize) -> Vec<String> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(pool) => {
                let rows = sqlx::query(sql).fetch_all(pool).await.unwrap();
                rows.iter().map(|row| line!(row, columns)).collect()
            }
            Self::Postgres(pool) => {
                let rows = sqlx::query(sql).fetch_all(pool).await.unwrap();
                rows.iter().map(|row| line!(row, columns)).collect()
            }
            Self::MariaDb(pool) => {
                let rows = sqlx::query(sql).fetch_all(pool).await.unwrap();
                rows.iter().map(|row| line!(row, columns)).collect()
            }
        }
    }
}

#[derive(Clone)]
pub struct World {
    pub url: String,
    pub store: Arc<dyn Store>,
    pub access: Arc<dyn AccessStore>,
    pub raw: Raw,
}

type Promise<F> = fn(World) -> F;

pub async fn on_sqlite<F: Future<Output = ()> + Send + 'static>(promise: Promise<F>) {
    crate::fresh::sqlite(move |url| async move {
        let path = url.strip_prefix("sqlite:").unwrap();
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let (store, access) =
            flowweaver::store::open_all(&url, Durability::Full, flowweaver::store::LEASE)
                .await
                .unwrap();
        let raw = Raw::Sqlite(sqlx::SqlitePool::connect_with(options).await.unwrap());
        keep(
            promise,
            World {
                url,
                store,
                access,
                raw,
            },
        )
        .await;
    })
    .await;
}

pub async fn on_postgres<F: Future<Output = ()> + Send + 'static>(promise: Promise<F>) {
    crate::fresh::postgres(move |url| async move {
        let (store, access) =
            flowweaver::store::open_all(&url, Durability::Full, flowweaver::store::LEASE)
                .await
                .unwrap();
        let raw = Raw::Postgres(sqlx::PgPool::connect(&url).await.unwrap());
        keep(
            promise,
            World {
                url,
                store,
                access,
                raw,
            },
        )
        .await;
    })
    .await;
}

pub async fn on_mariadb<F: Future<Output = ()> + Send + 'static>(promise: Promise<F>) {
    crate::fresh::mariadb(move |url| async move {
        let (store, access) =
            flowweaver::store::open_all(&url, Durability::Full, flowweaver::store::LEASE)
                .await
                .unwrap();
        let raw = raw_mariadb(&url).await;
        keep(
            promise,
            World {
                url,
                store,
                access,
                raw,
            },
        )
        .await;
    })
    .await;
}

/// A promise is kept, and leaves no row that points nowhere.
async fn keep<F: Future<Output = ()>>(promise: Promise<F>, world: World) {
    promise(world.clone()).await;
    crate::schema::no_row_points_nowhere(&world.raw).await;
}

pub async fn raw_mariadb(url: &str) -> Raw {
    let options = sqlx::mysql::MySqlPoolOptions::new().after_connect(|connection, _| {
        Box::pin(async move {
            let settled = sqlx::raw_sql(MARIADB_SESSION).execute(connection).await;
            settled.map(|_| ())
        })
    });
    Raw::MariaDb(options.connect(url).await.unwrap())
}

/// The instant of all rows that do not care about theirs.
pub fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(1_767_225_600_000_000 + micros)
}

pub fn version_of(name: &str, source: &str) -> VersionRow {
    VersionRow {
        version: Digest::of(format!("{name}\n{source}").as_bytes()),
        organization_id: OrganizationId::ROOT,
        workflow_name: name.parse().unwrap(),
        file: format!("flows/{name}.toml"),
        source: source.into(),
        vars: "{}".into(),
        ceilings: "{}".into(),
        modules: "{}".into(),
        workflows: "{}".into(),
        starts_after: Vec::new(),
        created_at: at(0),
    }
}

impl World {
    /// A daemon that has sent a heartbeat.
    pub async fn daemon(&self, instance: &str) -> DaemonId {
        let daemon = DaemonId::generate();
        self.store.heartbeat(daemon, instance).await.unwrap();
        daemon
    }

    pub async fn workflow(&self, name: &str) -> WorkflowId {
        self.store.publish(&version_of(name, "")).await.unwrap()
    }

    /// A run of a workflow of that name, inserted; owned at epoch 1 or queued at epoch 0.
    pub async fn run(&self, name: &str, owner: Option<DaemonId>) -> RunRow {
        let row = new_run(self.workflow(name).await, name, owner);
        self.commit_one(insert(&row)).await;
        self.store.load_run(row.run_id).await.unwrap().unwrap().run
    }

    pub async fn commit(&self, batch: &[Transition]) -> Vec<CommitOutcome> {
        self.store.commit(batch.into()).await.unwrap()
    }

    pub async fn commit_one(&self, transition: Transition) {
        assert_eq!(self.commit(&[transition]).await, [CommitOutcome::Committed]);
    }

    /// How many rows the run has in all tables but its own.
    pub async fn rows_of(&self, run: RunId) -> i64 {
        let mut sum = 0;
        for table in [
            "job_run",
            "task_run",
            "task_attempt",
            "task_io_data",
            "host_call",
            "execution_log",
        ] {
            let sql =
                format!(r#"select count(*) from "{table}" where "workflow_run_id" = '{run}'"#);
            sum += self.raw.number(&sql).await;
        }
        sum
    }
}

pub fn new_run(workflow: WorkflowId, name: &str, owner: Option<DaemonId>) -> RunRow {
    let run_id = RunId::generate();
    RunRow {
        run_id,
        organization_id: OrganizationId::ROOT,
        workflow_id: workflow,
        workflow_name: name.parse().unwrap(),
        version: version_of(name, "").version,
        number: 0,
        status: if owner.is_some() {
            Status::Running
        } else {
            Status::Queued
        },
        trigger: Trigger::Manual,
        trace_id: "0af7651916cd43dd8448eb211c80319c".into(),
        rerun_of: None,
        origin_run_id: run_id,
        inputs: r#"{"platform":"naver"}"#.into(),
        config: "{}".into(),
        idempotency_key: None,
        priority: 0,
        owner,
        lease_epoch: i64::from(owner.is_some()),
        revision: 0,
        scheduled_at: at(0),
        created_at: at(0),
        started_at: None,
        finished_at: None,
        tolerated_failures: 0,
        failure_code: None,
        failure_message: None,
        lineage: Lineage::default(),
    }
}

pub fn insert(row: &RunRow) -> Transition {
    Transition {
        run_id: row.run_id,
        lease_epoch: row.lease_epoch,
        expected_revision: 0,
        run: RunChange::Insert(Box::new(row.clone())),
        jobs: vec![],
        tasks: vec![],
        attempts: vec![],
        io: vec![],
        host_calls: vec![],
        logs: vec![],
        consumed: vec![],
        control: None,
        ends: row.status.is_final(),
    }
}

pub fn line(message: &str) -> NewLog {
    NewLog {
        task_run_id: None,
        attempt_id: None,
        kind: "log",
        level: Level::Info,
        message: message.into(),
        fields: None,
        at: at(7),
    }
}

/// A change of the run alone.
pub fn update(run: RunId, epoch: i64, revision: i64, status: Status) -> Transition {
    Transition {
        run_id: run,
        lease_epoch: epoch,
        expected_revision: revision,
        run: RunChange::Update(RunUpdate {
            status,
            started_at: Some(at(1)),
            finished_at: status.is_final().then(|| at(9)),
            tolerated_failures: 0,
            failure_code: None,
            failure_message: None,
        }),
        jobs: vec![],
        tasks: vec![],
        attempts: vec![],
        io: vec![],
        host_calls: vec![],
        logs: vec![],
        consumed: vec![],
        control: None,
        ends: status.is_final(),
    }
}

/// A whole step: a job, a task with an attempt, its input and output, two lines. Seven rows.
pub fn step(run: &RunRow, epoch: i64, revision: i64) -> Transition {
    let (job_run_id, task_run_id) = (JobRunId::generate(), TaskRunId::generate());
    let (attempt_id, output) = (AttemptId::generate(), IoId::generate());
    let organization_id = run.organization_id;
    let io = |io_id, kind, data: &str, origins: Option<&str>| IoRow {
        io_id,
        run_id: run.run_id,
        organization_id,
        task_run_id,
        attempt_id: Some(attempt_id),
        kind,
        data: data.into(),
        origins: origins.map(Into::into),
        created_at: at(2),
    };
    let event = |message: &str| NewLog {
        task_run_id: Some(task_run_id),
        attempt_id: Some(attempt_id),
        kind: "task.succeeded",
        fields: Some(r#"{"a":1}"#.into()),
        ..line(message)
    };
    Transition {
        jobs: vec![JobRunRow {
            job_run_id,
            run_id: run.run_id,
            organization_id,
            job: "analyse".parse().unwrap(),
            status: Status::Running,
            started_at: Some(at(1)),
            finished_at: None,
            tolerated_failures: 0,
        }],
        tasks: vec![TaskRunRow {
            task_run_id,
            run_id: run.run_id,
            organization_id,
            job: "analyse".parse().unwrap(),
            task: "keyword".parse().unwrap(),
            item_index: -1,
            status: Status::Succeeded,
            attempts: 1,
            interrupts: 0,
            tolerated: false,
            ready_at: Some(at(1)),
            started_at: Some(at(1)),
            finished_at: Some(at(2)),
            retry_at: None,
            output_io_id: Some(output),
            reason_code: None,
            reason_message: None,
        }],
        attempts: vec![AttemptRow {
            attempt_id,
            task_run_id,
            run_id: run.run_id,
            organization_id,
            number: 1,
            lease_epoch: epoch,
            daemon_id: run.owner.unwrap_or_else(DaemonId::generate),
            status: Status::Succeeded,
            started_at: at(1),
            finished_at: Some(at(2)),
            cpu_us: 1500,
            memory_peak_bytes: 1 << 20,
            logs_dropped: 0,
            failure: None,
        }],
        io: vec![
            io(
                IoId::generate(),
                IoKind::Input,
                r#"{"tag":"naver"}"#,
                Some(r#"{"tag":"with"}"#),
            ),
            io(output, IoKind::Output, r#"{"keyword":"우산"}"#, None),
        ],
        logs: vec![event("first"), event("second")],
        ..update(run.run_id, epoch, revision, Status::Running)
    }
}
