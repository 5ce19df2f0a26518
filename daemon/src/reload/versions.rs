//! Versions from the store: a run continues with exactly what it started with, whatever the files
//! say today.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::id::{Digest, ModuleName, VariableName, WorkflowName};
use crate::sandbox::Sandbox;
use crate::sandbox::module::ModuleProblem;
use crate::store::{Store, StoreError};
use crate::workflow::environment::{Ceilings, Environment, ModuleFacts, WorkflowFacts};
use crate::workflow::family::DEPTH_MAX;
use crate::workflow::model::{Uses, Workflow};
use crate::workflow::{self, WorkflowSource};

/// Why a version cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum VersionError {
    /// The store does not have it, or not all of it.
    #[error("the store does not have {0}")]
    Missing(String),
    /// The store could not be asked; it may answer later.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A module could not be prepared for a reason that is not in it; it may be later.
    #[error("module {0}")]
    Unprepared(String),
    /// What is stored does not give the same version any more.
    #[error("version {version} cannot be made again: {why}")]
    Unusable {
        /// Which.
        version: Digest,
        /// Why.
        why: String,
    },
}

/// Compiled workflows by version, shared while somebody uses them.
pub struct Versions {
    store: Arc<dyn Store>,
    sandbox: Arc<Sandbox>,
    compiled: Mutex<HashMap<Digest, Weak<Workflow>>>,
}

impl Versions {
    /// Over this store and sandbox.
    pub fn new(store: Arc<dyn Store>, sandbox: Arc<Sandbox>) -> Self {
        Self {
            store,
            sandbox,
            compiled: Mutex::default(),
        }
    }

    /// Shares a workflow that was compiled elsewhere. The answer is what to use: the same version is in
    /// memory once, so that its use can be seen.
    pub fn share(&self, workflow: Workflow) -> Arc<Workflow> {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = compiled.get(&workflow.version).and_then(Weak::upgrade) {
            return known;
        }
        compiled.retain(|_, workflow| workflow.strong_count() > 0);
        let workflow = Arc::new(workflow);
        compiled.insert(workflow.version, Arc::downgrade(&workflow));
        workflow
    }

    /// Unloads the modules that are neither among `keep` nor of a version that somebody holds; answers those
    /// that stay. A version that comes into use afterwards finds its modules gone and prepares them
    /// ([`Versions::ready`]); one that came into use before is seen here.
    pub fn unload_except(&self, keep: impl IntoIterator<Item = Digest>) -> HashSet<Digest> {
        let mut used: HashSet<Digest> = keep.into_iter().collect();
        let compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        let held: Vec<_> = compiled.values().filter_map(Weak::upgrade).collect();
        for workflow in &held {
            used.extend(modules_of(workflow));
        }
        self.sandbox.unload_except(&used);
        used
    }

    /// The modules that a version in the store and the workflows it runs need, as far as they are there and can be
    /// read.
    pub async fn modules(&self, version: &Digest) -> Result<HashSet<Digest>, StoreError> {
        let mut modules = HashSet::new();
        let (mut seen, mut todo) = (HashSet::new(), vec![*version]);
        while let Some(version) = todo.pop() {
            if !seen.insert(version) {
                continue;
            }
            let Some(row) = self.store.version(&version).await? else {
                continue;
            };
            modules.extend(digests::<ModuleName>(&row.modules));
            todo.extend(digests::<WorkflowName>(&row.workflows));
        }
        Ok(modules)
    }

    /// The compiled workflow of a version.
    pub async fn load(&self, version: &Digest) -> Result<Arc<Workflow>, VersionError> {
        self.load_at(*version, 0).await
    }

    /// The same, so many levels below the one that is asked for.
    fn load_at(
        &self,
        version: Digest,
        level: u32,
    ) -> BoxFuture<'_, Result<Arc<Workflow>, VersionError>> {
        async move {
            // What is stored is a tree; should it not be, the level ends it.
            if level > DEPTH_MAX {
                let why = format!("its workflows stand more than {DEPTH_MAX} levels deep");
                return Err(VersionError::Unusable { version, why });
            }
            self.load_one(&version, level).await
        }
        .boxed()
    }

    async fn load_one(&self, version: &Digest, level: u32) -> Result<Arc<Workflow>, VersionError> {
        let known = self
            .compiled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(version)
            .and_then(Weak::upgrade);
        if let Some(workflow) = known {
            return Ok(workflow);
        }
        let row = self
            .store
            .version(version)
            .await?
            .ok_or_else(|| VersionError::Missing(format!("version {version}")))?;
        let unusable = |why: String| VersionError::Unusable {
            version: *version,
            why,
        };
        let digests: BTreeMap<ModuleName, Digest> =
            serde_json::from_str(&row.modules).map_err(|error| unusable(error.to_string()))?;
        let vars: BTreeMap<VariableName, serde_json::Value> =
            serde_json::from_str(&row.vars).map_err(|error| unusable(error.to_string()))?;
        let ceilings: Ceilings =
            serde_json::from_str(&row.ceilings).map_err(|error| unusable(error.to_string()))?;
        let mut modules = BTreeMap::new();
        for (name, digest) in digests {
            let module = self.store.module(&digest).await?;
            let module =
                module.ok_or_else(|| VersionError::Missing(format!("module {name} {digest}")))?;
            let description = serde_json::from_str(&module.description)
                .map_err(|error| unusable(error.to_string()))?;
            let imports = serde_json::from_str(&module.imports)
                .map_err(|error| unusable(error.to_string()))?;
            modules.insert(
                name,
                ModuleFacts {
                    digest,
                    description,
                    imports,
                },
            );
        }
        let children: BTreeMap<WorkflowName, Digest> =
            serde_json::from_str(&row.workflows).map_err(|error| unusable(error.to_string()))?;
        let workflows = self.children(children, level).await?;
        let environment = Environment {
            organization: row.organization_id,
            workflows,
            modules,
            vars,
            ceilings,
            ..Environment::default()
        };
        let source = WorkflowSource::new(row.file.as_str(), row.source);
        let compiled = workflow::compile(&source, &environment);
        let workflow = compiled.workflow.ok_or_else(|| {
            unusable(
                compiled
                    .diagnostics
                    .first()
                    .map_or_else(String::new, ToString::to_string),
            )
        })?;
        if workflow.version != *version {
            return Err(unusable(format!("it compiles to {}", workflow.version)));
        }
        Ok(self.share(workflow))
    }

    /// What is known of the workflows that a version runs.
    async fn children(
        &self,
        children: BTreeMap<WorkflowName, Digest>,
        level: u32,
    ) -> Result<BTreeMap<WorkflowName, WorkflowFacts>, VersionError> {
        let mut workflows = BTreeMap::new();
        for (name, child) in children {
            let child = self.load_at(child, level.saturating_add(1)).await?;
            workflows.insert(name, WorkflowFacts::of(&child));
        }
        Ok(workflows)
    }

    /// The same, with its modules ready to be called.
    pub async fn ready(&self, version: &Digest) -> Result<Arc<Workflow>, VersionError> {
        let workflow = self.load(version).await?;
        for task in &workflow.tasks {
            let Uses::Module { name, digest } = &task.uses else {
                continue;
            };
            if self.sandbox.restore(*digest).await.is_some() {
                continue;
            }
            let bytes = self.store.module_bytes(digest).await?;
            let bytes =
                bytes.ok_or_else(|| VersionError::Missing(format!("module {name} {digest}")))?;
            self.sandbox
                .prepare(bytes.into())
                .await
                .map_err(|problem| match problem {
                    ModuleProblem::Host(_) => VersionError::Unprepared(format!("{name} {problem}")),
                    _ => VersionError::Unusable {
                        version: *version,
                        why: format!("module {name} {problem}"),
                    },
                })?;
        }
        Ok(workflow)
    }
}

/// The digests of what a version names, by its stored text.
fn digests<N: serde::de::DeserializeOwned + Ord>(text: &str) -> impl Iterator<Item = Digest> {
    let named: BTreeMap<N, Digest> = serde_json::from_str(text).unwrap_or_default();
    named.into_values()
}

fn modules_of(workflow: &Workflow) -> impl Iterator<Item = Digest> {
    workflow.tasks.iter().filter_map(|task| match &task.uses {
        Uses::Module { digest, .. } => Some(*digest),
        Uses::Workflow { .. } => None,
    })
}
