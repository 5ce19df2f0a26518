//! Compiling files without a daemon: modules are prepared, nothing is published or run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::{StartError, wiring};
use crate::broker::secret::Secrets;
use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::id::{ModuleName, OrganizationId, SecretName, WorkflowName};
use crate::reload::{self, Found};
use crate::store::{self, Durability};
use crate::workflow::environment::{Environment, ModuleFacts, WorkflowFacts};
use crate::workflow::{self, WorkflowSource};

/// What `check` compiles against.
pub struct Workbench {
    settings: Settings,
    modules: BTreeMap<ModuleName, ModuleFacts>,
    refused: Vec<String>,
    /// None: not all of them can be known here.
    secrets: Option<BTreeSet<SecretName>>,
    /// Those of the flows folder (by an empty name), of each organization's, and of the files that were checked, as far
    /// as they compile.
    workflows: BTreeMap<String, BTreeMap<WorkflowName, WorkflowFacts>>,
}

impl Workbench {
    /// Prepares the modules in `tasks/`. A running daemon is not disturbed: the store is one of its own,
    /// and compiled code is shared by digest. `secrets` are the names that a running daemon knows; without one those of
    /// the environment and of files are looked for, and where there may be others in the store, none is missed.
    pub async fn open(
        settings: &Settings,
        environment: &BTreeMap<String, String>,
        secrets: Option<BTreeSet<SecretName>>,
    ) -> Result<Self, StartError> {
        let state = settings.paths.state.clone();
        let failed = |cause| StartError::State {
            path: state.clone(),
            cause,
        };
        // The brokers want a store; grantless guests write nothing to it.
        let scratch = tempfile::tempdir().map_err(failed)?;
        let url = format!("sqlite:{}", scratch.path().join("scratch.db").display());
        let store = store::open(&url, Durability::Normal).await?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let own = wiring::secrets(settings, environment)?;
        let names = secrets.or_else(|| {
            let names = own.names(OrganizationId::ROOT);
            (!own.has_keys()).then(|| names.into_iter().collect())
        });
        let broker = wiring::broker(
            settings,
            Arc::new(Secrets::default()),
            store,
            clock,
            Vec::new(),
        )?;
        // With the daemon's own cache, what it has compiled is not compiled again.
        let cache = if settings.paths.state.is_dir() {
            settings.paths.state.as_path()
        } else {
            scratch.path()
        };
        let sandbox = wiring::sandbox(settings, cache, broker)?;
        let mut bench = Self {
            settings: settings.clone(),
            modules: BTreeMap::new(),
            refused: Vec::new(),
            secrets: names,
            workflows: BTreeMap::new(),
        };
        let tasks = settings.paths.tasks.as_path();
        let unreadable = |cause| StartError::State {
            path: tasks.to_owned(),
            cause,
        };
        for (file, found) in reload::folder(tasks, "wasm").map_err(unreadable)? {
            let Some(name) = reload::module_name(&file) else {
                continue;
            };
            let read = match found {
                Found::File(stamp) => reload::read(tasks, &file, stamp, settings.limits.module.0)
                    .map_err(|error| error.to_string()),
                Found::Refused(why) => Err(why),
            };
            let prepared = match read {
                Ok(bytes) => sandbox
                    .prepare(bytes.into())
                    .await
                    .map_err(|problem| problem.to_string()),
                Err(why) => Err(why),
            };
            match prepared {
                Ok(prepared) => drop(bench.modules.insert(name, reload::facts(&prepared))),
                Err(why) => bench.refused.push(format!("tasks/{file} {why}")),
            }
        }
        bench.look_around();
        Ok(bench)
    }

    /// Compiles the files of the folders for what they are to each other.
    fn look_around(&mut self) {
        let home = self.settings.paths.flows.clone();
        // A folder that cannot be read has no workflows; whoever checks its files is told.
        let folders = reload::folders(&home).unwrap_or_default();
        self.look_into(&home, None);
        for folder in folders {
            self.look_into(&home.join(&folder), Some(&folder));
        }
    }

    fn look_into(&mut self, path: &Path, folder: Option<&str>) {
        let found = reload::folder(path, "toml").unwrap_or_default();
        let sources = found.keys().filter_map(|name| {
            let bytes = std::fs::read(path.join(name)).ok()?;
            let source = WorkflowSource::from_bytes(name.as_str(), &bytes).ok()?;
            Some((source.clone(), source))
        });
        for source in reload::sorted(sources.collect()) {
            self.compile(&source, folder);
        }
    }

    /// Modules that the daemon would refuse, and why.
    pub fn refused_modules(&self) -> &[String] {
        &self.refused
    }

    /// Compiles one file as the daemon would; in an organization's `folder`, without what is the root's alone, and
    /// without missing any secret: its own are known to a daemon only.
    pub fn check(&mut self, file: &str, bytes: &[u8], folder: Option<&str>) -> Vec<Diagnostic> {
        match WorkflowSource::from_bytes(file, bytes) {
            Ok(source) => self.compile(&source, folder),
            Err(diagnostic) => vec![*diagnostic],
        }
    }

    fn compile(&mut self, source: &WorkflowSource, folder: Option<&str>) -> Vec<Diagnostic> {
        let organization = folder.is_some();
        let overrides = workflow::name_of(source)
            .filter(|_| !organization)
            .and_then(|name| self.settings.workflows.get(&name));
        let (databases, secrets) = match organization {
            true => (BTreeMap::new(), None),
            false => (wiring::databases(&self.settings), self.secrets.clone()),
        };
        let folder = folder.unwrap_or_default().to_owned();
        let environment = Environment {
            organization: OrganizationId::ROOT,
            modules: self.modules.clone(),
            vars: overrides
                .map(|section| section.vars.clone())
                .unwrap_or_default(),
            ceilings: wiring::ceilings(&self.settings),
            databases: Some(databases),
            secrets,
            workflows: self.workflows.get(&folder).cloned().unwrap_or_default(),
        };
        match reload::compile(source, &environment) {
            Ok((workflow, warnings)) => {
                let facts = WorkflowFacts::of(&workflow);
                let known = self.workflows.entry(folder).or_default();
                known.insert(workflow.name, facts);
                warnings
            }
            Err(diagnostics) => diagnostics,
        }
    }
}
