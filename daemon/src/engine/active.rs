//! A run in memory. How it takes events in is `step`; how it is read back is `recover`.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::ActiveRun;
use super::book::Book;
use super::intake::NewRun;
use super::outcome::Happening;
use crate::broker::journal::Journal;
use crate::clock::Timestamp;
use crate::id::{AttemptId, CommandId, DaemonId, RunId};
use crate::run::event::Unit;
use crate::run::graph::Graph;
use crate::run::state::{Records, RunState, UnitRecord};
use crate::run::status::Status;
use crate::store::control::Lane;
use crate::store::rows::RunRow;
use crate::workflow::model::{Uses, Workflow};

/// A workflow with what is derived from it once a version.
pub(super) struct Compiled {
    pub graph: Arc<Graph>,
    /// The vars as one object.
    pub vars: Value,
}

impl Compiled {
    pub(super) fn new(workflow: Arc<Workflow>) -> Self {
        let vars = workflow
            .vars
            .iter()
            .map(|(name, value)| (name.to_string(), value.clone()))
            .collect();
        Self {
            graph: Arc::new(Graph::new(workflow)),
            vars: Value::Object(vars),
        }
    }
}

/// A guest under way.
pub(super) struct Live {
    pub attempt: AttemptId,
    pub cancel: CancellationToken,
    pub journal: Arc<Journal>,
    /// Set when it was stopped so that the engine can leave.
    pub released: bool,
    /// Of one that waits for another run: ends the wait, and nothing else.
    pub wait: Option<AbortHandle>,
}

impl Live {
    /// It is somebody else's now: a guest stops, and a wait ends without a trace.
    pub(super) fn abandon(&self) {
        match &self.wait {
            Some(wait) => wait.abort(),
            None => self.cancel.cancel(),
        }
    }
}

/// An attempt whose row is about to be durable.
pub(super) struct Start {
    pub unit: Unit,
    pub attempt: AttemptId,
    pub number: u32,
    pub input: Arc<str>,
}

/// A transition under way.
pub(super) struct Flight {
    /// What it took in, to be taken in again if it is lost.
    pub events: Vec<Happening>,
    /// What begins once it is durable.
    pub starts: Vec<Start>,
}

/// Where a run's own transitions stand.
pub(super) enum Phase {
    /// Nothing is under way; events are taken in at once.
    Idle,
    /// A transition waits for the writer or is in its hands.
    Flying(Flight),
    /// The state is unknown and is being read; these events were taken into the lost draft.
    Reading { events: Vec<Happening> },
}

/// A run in memory.
pub(super) struct Active {
    /// As it was inserted or read; what changes later is in `state`.
    pub row: RunRow,
    pub inputs: Value,
    pub config: Value,
    /// What expressions see as `run`.
    pub run_value: Value,
    pub compiled: Arc<Compiled>,
    pub state: RunState,
    pub book: Book,
    pub epoch: i64,
    /// The revision in the store; 0 before the insert.
    pub revision: i64,
    pub phase: Phase,
    pub inbox: Vec<Happening>,
    pub live: HashMap<Unit, Live>,
    /// Orders to be consumed when the run ends.
    pub orders: Vec<CommandId>,
    /// The reason of the first order to stop.
    pub cancel: Option<String>,
    /// The run's place among the timers.
    pub wake: Option<Timestamp>,
    /// Whether it waits for a slot, and slots it was given meanwhile.
    pub queued: bool,
    pub credit: usize,
    /// Set when something could not be made without the run's number.
    pub wants_number: bool,
    /// The lane that it enters with its insert.
    pub lane: Option<Lane>,
    /// Set when it came into memory and has not yet made a step.
    pub fresh: bool,
    /// How often the store has refused its data.
    pub refusals: u32,
}

impl Active {
    /// A run that is about to be inserted: owned by this daemon, or by nobody yet.
    pub(super) fn admit(
        admission: NewRun,
        compiled: Arc<Compiled>,
        owner: Option<DaemonId>,
        now: Timestamp,
    ) -> Self {
        let mut row = admission.row;
        row.owner = owner;
        row.lease_epoch = i64::from(owner.is_some());
        let mut book = Book::default();
        let mut records = Records::default();
        for (unit, output) in admission.links {
            book.entry(unit).output = Some(output);
            let record = UnitRecord {
                status: Status::Succeeded,
                finished_at: Some(now),
                ..UnitRecord::default()
            };
            records.units.push((unit, record));
        }
        let state = RunState::restore(Arc::clone(&compiled.graph), records, now);
        let (inputs, config) = (admission.inputs, admission.config);
        let mut active = Self::new(row, inputs, config, compiled, state, book);
        active.lane = active.lane_to_enter();
        active
    }

    pub(super) fn new(
        row: RunRow,
        inputs: Value,
        config: Value,
        compiled: Arc<Compiled>,
        state: RunState,
        book: Book,
    ) -> Self {
        Self {
            run_value: run_value(&row),
            epoch: row.lease_epoch,
            revision: row.revision,
            row,
            inputs,
            config,
            compiled,
            state,
            book,
            phase: Phase::Idle,
            inbox: Vec::new(),
            live: HashMap::new(),
            orders: Vec::new(),
            cancel: None,
            wake: None,
            queued: false,
            credit: 0,
            wants_number: false,
            lane: None,
            fresh: true,
            refusals: 0,
        }
    }

    pub(super) fn id(&self) -> RunId {
        self.row.run_id
    }

    pub(super) fn graph(&self) -> &Arc<Graph> {
        &self.compiled.graph
    }

    /// Whether it waits for a run that it has begun.
    pub(super) fn waits(&self) -> bool {
        self.live.values().any(|live| live.wait.is_some())
    }

    /// Whether this unit runs another workflow.
    pub(super) fn is_wait(&self, unit: Unit) -> bool {
        let task = self.graph().workflow().task(unit.task);
        matches!(task.uses, Uses::Workflow { .. })
    }

    pub(super) fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle)
    }

    /// Whether its attempts are to stop: already decided, or ordered and about to be.
    pub(super) fn is_stopping(&self) -> bool {
        self.cancel.is_some() || self.state.is_stopping()
    }

    /// When it must be looked at again without an event.
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        let deadline = self.state.deadline().filter(|_| !self.state.is_stopping());
        match (self.state.next_retry(), deadline) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// How many slots it could use, beyond those it was given.
    pub(super) fn hunger(&self) -> usize {
        if self.is_stopping() {
            return 0;
        }
        self.state.ready_len().saturating_sub(self.credit)
    }

    pub(super) fn view(&self) -> ActiveRun {
        ActiveRun {
            run_id: self.id(),
            organization: self.row.organization_id,
            workflow: self.row.workflow_name.clone(),
            status: self.state.record().status,
            attempts: self.live.len(),
        }
    }
}

/// What expressions see as `run`. The number is absent until the store has given it.
pub(super) fn run_value(row: &RunRow) -> Value {
    let mut value = Map::new();
    value.insert("id".into(), row.run_id.to_string().into());
    value.insert("workflow".into(), row.workflow_name.as_str().into());
    value.insert("trigger".into(), row.trigger.as_str().into());
    value.insert("scheduled_at".into(), row.scheduled_at.to_string().into());
    value.insert("trace_id".into(), row.trace_id.as_str().into());
    if row.number > 0 {
        value.insert("number".into(), row.number.into());
    }
    Value::Object(value)
}
