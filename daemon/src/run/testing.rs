//! Workflows for tests, built without a file, and a driver that plays the owner of a run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::event::{Decision, Ending, Event, Step, Unit};
use super::graph::Graph;
use super::state::{Records, RunState};
use crate::clock::Timestamp;
use crate::id::Digest;
use crate::workflow::expression::Template;
use crate::workflow::grant::Grants;
use crate::workflow::input::InputValidator;
use crate::workflow::model::{
    ForEach, Job, JobIndex, OnFailure, OnInterrupt, Retention, RetryPolicy, RunOn, Task, TaskIndex,
    TaskLimits, Uses, Workflow,
};

/// A workflow under construction: jobs and tasks without `needs` need what stands before them.
pub struct Draft(pub Workflow);

pub fn draft() -> Draft {
    Draft(Workflow {
        name: "sample".parse().unwrap(),
        description: String::new(),
        labels: BTreeMap::new(),
        version: Digest::of(b"sample"),
        height: 0,
        inputs: Vec::new(),
        vars: BTreeMap::new(),
        schedules: Vec::new(),
        triggers: Vec::new(),
        jobs: Vec::new(),
        tasks: Vec::new(),
        timeout: None,
        concurrency: None,
        priority: 0,
        retention: Retention::default(),
    })
}

impl Draft {
    pub fn job(mut self, name: &str) -> Self {
        let before = self.0.jobs.len();
        self.0.jobs.push(Job {
            name: name.parse().unwrap(),
            tasks: Vec::new(),
            needs: before
                .checked_sub(1)
                .map(|at| JobIndex(at as u32))
                .into_iter()
                .collect(),
            on_failure: OnFailure::Stop,
            run_on: RunOn::Success,
        });
        self
    }

    pub fn job_with(self, name: &str, change: impl FnOnce(&mut Job)) -> Self {
        let mut draft = self.job(name);
        change(draft.0.jobs.last_mut().unwrap());
        draft
    }

    pub fn task(mut self, name: &str) -> Self {
        let at = TaskIndex(self.0.tasks.len() as u32);
        let job_at = JobIndex(self.0.jobs.len() as u32 - 1);
        let job = self.0.jobs.last_mut().unwrap();
        let needs = job.tasks.last().copied().into_iter().collect();
        job.tasks.push(at);
        self.0.tasks.push(Task {
            name: name.parse().unwrap(),
            job: job_at,
            uses: Uses::Module {
                name: name.parse().unwrap(),
                digest: Digest::of(name.as_bytes()),
            },
            needs,
            with: Template::Literal(json!({})),
            defaults: json!({}),
            input_schema: Value::Bool(true),
            validator: InputValidator::default(),
            output_schema: Value::Bool(true),
            when: None,
            for_each: None,
            retry: RetryPolicy {
                attempts: 1,
                delay: Duration::from_secs(1),
                factor: 2.0,
                max_delay: Duration::from_secs(60),
                jitter: false,
                on: Vec::new(),
            },
            limits: TaskLimits {
                timeout: Duration::from_secs(60),
                cpu: Duration::from_secs(60),
                memory_bytes: 1 << 20,
                output_bytes: 1 << 20,
            },
            on_failure: OnFailure::Stop,
            on_interrupt: OnInterrupt::Retry,
            grants: Arc::new(Grants::default()),
            reads: Vec::new(),
        });
        self
    }

    pub fn task_with(self, name: &str, change: impl FnOnce(&mut Task)) -> Self {
        let mut draft = self.task(name);
        change(draft.0.tasks.last_mut().unwrap());
        draft
    }

    pub fn build(self) -> Arc<Workflow> {
        Arc::new(self.0)
    }

    pub fn start(self) -> Player {
        Player::new(Arc::new(Graph::new(self.build())))
    }
}

pub fn for_each(items: usize, max_parallel: u32) -> Option<ForEach> {
    Some(ForEach {
        items: Template::Literal((0..items).map(|i| json!(i)).collect()),
        max_parallel,
    })
}

/// Plays the owner: answers steps, remembers what was started.
pub struct Player {
    pub state: RunState,
    pub now: Timestamp,
    /// Every start in order.
    pub started: Vec<(Unit, u32)>,
}

impl Player {
    pub fn new(graph: Arc<Graph>) -> Self {
        let now = Timestamp::from_micros(1_000_000);
        Self {
            state: RunState::restore(graph, Records::default(), now),
            now,
            started: Vec::new(),
        }
    }

    /// Answers all steps that need no outcome, starting at most `room` attempts.
    pub fn go(&mut self, mut room: usize) {
        while let Some(step) = self.state.next(room > 0) {
            match step {
                Step::Decide(task) => {
                    let decision = self.decide(task);
                    self.apply(Event::Decided { task, decision });
                }
                Step::Start(unit) => {
                    room -= 1;
                    assert!(self.apply(Event::Begun { unit }), "{unit:?} cannot begin");
                    self.started.push((unit, self.state.unit(unit).attempts()));
                }
            }
        }
    }

    pub fn decide(&self, task: TaskIndex) -> Decision {
        match &self.state.graph().workflow().task(task).for_each {
            Some(ForEach {
                items: Template::Literal(Value::Array(items)),
                ..
            }) => Decision::Each(items.len() as u32),
            _ => Decision::Run,
        }
    }

    pub fn apply(&mut self, event: Event) -> bool {
        self.state.apply(event, self.now)
    }

    pub fn end(&mut self, unit: Unit, ending: Ending) {
        let attempt = self.state.unit(unit).attempts();
        assert!(self.apply(Event::Ended {
            unit,
            attempt,
            ending,
            draw: 0.5
        }));
        self.go(usize::MAX);
    }

    pub fn unit(&self, name: &str) -> Unit {
        Unit::whole(self.state.graph().workflow().task_named(name).unwrap())
    }

    pub fn first_running(&self) -> Option<Unit> {
        self.state.running().next()
    }

    pub fn running(&self) -> Vec<String> {
        let workflow = self.state.graph().workflow();
        self.state
            .running()
            .map(|unit| match unit.item {
                None => workflow.task(unit.task).name.to_string(),
                Some(item) => format!("{}[{item}]", workflow.task(unit.task).name),
            })
            .collect()
    }
}

/// What a store would hold of this state.
pub fn records(state: &RunState) -> Records {
    let workflow = state.graph().workflow();
    let mut records = Records {
        run: state.record().clone(),
        ..Records::default()
    };
    for at in 0..workflow.jobs.len() {
        let job = JobIndex(at as u32);
        records.jobs.push((job, *state.job_record(job)));
    }
    for at in 0..workflow.tasks.len() {
        let task = TaskIndex(at as u32);
        records
            .units
            .push((Unit::whole(task), state.unit(Unit::whole(task)).record()));
        for item in 0..state.items(task).unwrap_or(0) {
            let unit = Unit::item(task, item);
            records.units.push((unit, state.unit(unit).record()));
        }
    }
    // What stands as queued has no row.
    records
        .jobs
        .retain(|(_, job)| job.status != super::status::Status::Queued);
    records
        .units
        .retain(|(_, unit)| unit.status != super::status::Status::Queued);
    records
}
