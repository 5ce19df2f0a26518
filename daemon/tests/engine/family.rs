//! Runs that are tasks of others, and runs that start after others, over real stores and a process that goes away.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use flowweaver::clock::SystemClock;
use flowweaver::engine::{Engine, EngineHandle, Parts, Settings, VersionError};
use flowweaver::id::{Digest, RunId, WorkflowId};
use flowweaver::run::status::Status;
use flowweaver::store::lineage::{DeliveryState, EndOf};
use flowweaver::store::rows::{RunFilter, RunRow};
use flowweaver::store::{Durability, Store};
use flowweaver::workflow::Workflow;
use serde_json::{Value, json};

use crate::{Echo, build_with, publish_with, request};

const CHILD: &str = "flowweaver = 1\nname = \"child\"\n[[job]]\nname = \"j\"\n\
    [[job.task]]\nname = \"one\"\nuses = \"work\"\n[[job.task]]\nname = \"two\"\nuses = \"work\"\n";
const PARENT: &str = "flowweaver = 1\nname = \"parent\"\n[[job]]\nname = \"j\"\n\
    [[job.task]]\nname = \"each\"\nuses = \"workflow:child\"\nfor_each = [1, 2]\n\
    [[job.task]]\nname = \"last\"\nuses = \"work\"\nwith = { all = \"{{ tasks.each[1].tasks.two }}\" }\n";
const LISTENER: &str = "flowweaver = 1\nname = \"listener\"\n[inputs.two]\ntype = \"integer\"\n\
    [[on]]\nworkflow = \"parent\"\ninputs = { two = \"{{ tasks.last.two }}\" }\n\
    [[job]]\nname = \"j\"\n[[job.task]]\nname = \"note\"\nuses = \"work\"\n";

struct Family {
    store: Arc<dyn Store>,
    engine: EngineHandle,
    parent: (Arc<Workflow>, WorkflowId),
}

async fn family(url: &str) -> Family {
    let store = flowweaver::store::open(url, Durability::Full)
        .await
        .unwrap();
    let child = build_with(CHILD, &[]);
    let parent = build_with(PARENT, &[&child]);
    let listener = build_with(LISTENER, &[&parent]);
    let mut ids = HashMap::new();
    for (workflow, text) in [(&child, CHILD), (&parent, PARENT), (&listener, LISTENER)] {
        let ends = workflow.starts_after().map(|after| EndOf {
            workflow: after.workflow.clone(),
            status: Status::Succeeded,
        });
        let id = publish_with(&store, workflow, text, ends.collect()).await;
        ids.insert(workflow.version, id);
    }
    let all: HashMap<Digest, Arc<Workflow>> = [&child, &parent, &listener]
        .map(|workflow| (workflow.version, Arc::clone(workflow)))
        .into();
    let parts = Parts {
        store: Arc::clone(&store),
        invoke: Arc::new(Echo),
        clock: Arc::new(SystemClock),
        versions: Arc::new(move |version| {
            let found = all.get(&version).cloned();
            let lost = move || VersionError::Lost(version.to_string());
            Box::pin(async move { found.ok_or_else(lost) })
        }),
        // One slot, and room for one run: families must not stand in their own way.
        settings: Settings {
            slots: 1,
            active_runs: 1,
            ..Settings::default()
        },
    };
    let id = ids[&parent.version];
    Family {
        store,
        engine: Engine::new(parts).start(),
        parent: (parent, id),
    }
}

impl Family {
    async fn trigger(&self) -> RunId {
        let (workflow, id) = &self.parent;
        let accepted = self.engine.trigger(request(workflow, *id)).await;
        accepted.unwrap().run_id
    }

    async fn below(&self, filter: RunFilter) -> Vec<RunRow> {
        let filter = RunFilter {
            limit: 100,
            ..filter
        };
        self.store.runs(&filter).await.unwrap()
    }

    /// The parent and all that follows have ended; each of them is there once.
    async fn check(&self, run: RunId) {
        let ended = tokio::time::timeout(Duration::from_secs(120), self.engine.wait(run)).await;
        assert_eq!(ended.unwrap().unwrap(), Status::Succeeded);
        let children = self.below(RunFilter {
            parent: Some(run),
            ..RunFilter::default()
        });
        let children = children.await;
        assert_eq!(children.len(), 2, "{children:#?}");
        let mut events = self.engine.events();
        let patience = tokio::time::timeout(Duration::from_secs(120), async {
            loop {
                let deliveries = self.store.deliveries_of(run).await.unwrap();
                assert_eq!(deliveries.len(), 1);
                if deliveries[0].state != DeliveryState::Pending {
                    return deliveries[0].clone();
                }
                // News, or a moment: settling a delivery is told to nobody.
                let moment = Duration::from_millis(20);
                let _ = tokio::time::timeout(moment, events.recv()).await;
            }
        });
        let delivery = patience.await.unwrap();
        let started = self.engine.wait(delivery.run_id.unwrap()).await;
        assert_eq!(started.unwrap(), Status::Succeeded);
        let all = self.below(RunFilter {
            root: Some(run),
            ..RunFilter::default()
        });
        let all = all.await;
        assert_eq!(all.len(), 3, "{all:#?}");
        let told = all.iter().find(|row| row.lineage.triggered_by == Some(run));
        let inputs: Value = serde_json::from_str(&told.unwrap().inputs).unwrap();
        assert_eq!(inputs, json!({ "two": 1 }));
    }
}

pub async fn families_end_once_though_their_process_goes_away_in_the_middle(url: String) {
    let test = tokio::task::spawn_blocking(move || {
        let runtime = || {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(2).enable_all().build().unwrap()
        };
        let mut runs = Vec::new();
        for commits in [3, 7, 12] {
            let first = runtime();
            first.block_on(async {
                let family = family(&url).await;
                let mut events = family.engine.events();
                for _ in 0..2 {
                    runs.push(family.trigger().await);
                }
                // Some commits later, somewhere in the middle, everything of this process is dropped.
                for _ in 0..commits {
                    events.recv().await.unwrap();
                }
            });
            first.shutdown_background();
        }
        runtime().block_on(async {
            let family = family(&url).await;
            for run in runs {
                family.check(run).await;
            }
        });
    });
    test.await.unwrap();
}
