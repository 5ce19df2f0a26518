//! Workflow files: a changed one is read and compiled; what compiles is published and goes live.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Reload;
use super::files::FlowFile;
use super::modules::module_name;
use super::order;
use super::scan::{self, Found, ReadError};
use super::watch;
use crate::catalog::{Catalog, ProblemKind};
use crate::diagnostic::{Diagnostic, Severity};
use crate::id::{Digest, ModuleName, OrganizationId, WorkflowName};
use crate::workflow::environment::{Environment, WorkflowFacts};
use crate::workflow::family::DEPTH_MAX;
use crate::workflow::model::{TriggerSpec, Workflow};
use crate::workflow::{self, Compiled, SOURCE_MAX, WorkflowSource};

/// A little more than the compiler takes, so that the compiler says what is wrong with the file.
const FLOW_BYTES_MAX: u64 = 2 * SOURCE_MAX as u64;

impl Reload {
    pub(super) fn flow_path(&self, name: &str) -> Arc<str> {
        format!("flows/{name}").into()
    }

    /// Looks at `flows/` and reads what changed.
    pub(super) async fn scan_flows(&mut self, writing: &BTreeSet<PathBuf>) {
        let folder = self.parts.flows.clone();
        let watched = watch::absolute(&folder);
        let owners = self.organizations(&folder).await;
        let folders: Vec<String> = owners.keys().cloned().collect();
        let found = tokio::task::spawn_blocking(move || all_flows(&folder, &folders)).await;
        let label: Arc<str> = "flows".into();
        let found = match found.map_err(std::io::Error::other).and_then(|found| found) {
            Ok(found) => found,
            Err(error) => {
                self.problem(
                    &label,
                    ProblemKind::Unreachable(format!("cannot be listed: {error}")),
                    None,
                );
                return;
            }
        };
        self.no_problem(&label);
        let now = self.parts.clock.now();
        for (name, file) in &mut self.flows {
            if found.contains_key(name) {
                file.vanished_at = None;
            } else {
                file.found = None;
                file.vanished_at.get_or_insert(now);
            }
        }
        for (name, state) in found {
            let owner = name
                .split_once('/')
                .and_then(|(folder, _)| owners.get(folder).copied())
                .unwrap_or_default();
            let known = self
                .flows
                .entry(name.clone())
                .or_insert_with(|| FlowFile::new(owner));
            if known.found.as_ref() != Some(&state) && !writing.contains(&watched.join(&name)) {
                self.read_flow(name, state).await;
            }
        }
    }

    async fn read_flow(&mut self, name: String, state: Found) {
        let path = self.flow_path(&name);
        let last_good = self.live_version(&name);
        let refused = match &state {
            Found::Refused(why) => Some(why.clone()),
            Found::File(stamp) => {
                let (folder, file, stamp) = (self.parts.flows.clone(), name.clone(), *stamp);
                let read = tokio::task::spawn_blocking(move || {
                    scan::read(&folder, &file, stamp, FLOW_BYTES_MAX)
                })
                .await;
                match read {
                    Ok(Ok(bytes)) => {
                        let Some(file) = self.flows.get_mut(&name) else {
                            return;
                        };
                        file.found = Some(state.clone());
                        if file.bytes.as_deref() != Some(bytes.as_slice()) {
                            file.bytes = Some(bytes.into());
                            file.stale = true;
                        }
                        return;
                    }
                    Ok(Err(ReadError::Unsettled)) => {
                        self.retry_soon();
                        return;
                    }
                    Ok(Err(error)) => Some(error.to_string()),
                    Err(error) => Some(error.to_string()),
                }
            }
        };
        if let (Some(why), Some(file)) = (refused, self.flows.get_mut(&name)) {
            file.found = Some(state);
            file.bytes = None;
            file.stale = false;
            self.problem(&path, ProblemKind::Refused(why), last_good);
        }
    }

    /// The version that is live from a file.
    pub(super) fn live_version(&self, name: &str) -> Option<Digest> {
        Some(self.live_workflow(name)?.version)
    }

    /// Files whose compilation may end otherwise now that this module is another one: those that
    /// use it, and those that did not compile.
    pub(super) fn mark_users_stale(&mut self, module: &ModuleName) {
        for (name, file) in &mut self.flows {
            let live = file
                .live
                .as_ref()
                .and_then(|live| self.draft.workflows.get(&(file.organization, live.clone())));
            let path = format!("flows/{name}");
            let broken = self.draft.problems.contains_key(path.as_str());
            if file.bytes.is_some()
                && (broken || live.is_none_or(|live| live.workflow.uses(module)))
            {
                file.stale = true;
            }
        }
    }

    /// Files whose compilation may end otherwise now that these workflows are others, or gone: those whose tasks run one
    /// of them, those that start after one, and those that did not compile.
    pub(super) fn mark_referrers_stale(
        &mut self,
        workflows: &BTreeMap<OrganizationId, BTreeSet<WorkflowName>>,
    ) {
        for (name, file) in &mut self.flows {
            let live = file
                .live
                .as_ref()
                .and_then(|live| self.draft.workflows.get(&(file.organization, live.clone())));
            let path = format!("flows/{name}");
            let broken = self.draft.problems.contains_key(path.as_str());
            let theirs = workflows.get(&file.organization);
            let refers = live
                .zip(theirs)
                .is_some_and(|(live, theirs)| live.workflow.refers_to(theirs));
            file.stale |= file.bytes.is_some() && (broken || refers);
        }
    }

    /// Compiles the files that are stale; answers whether something went live.
    pub(super) async fn compile_flows(&mut self, gone: &BTreeSet<ModuleName>) -> bool {
        for module in gone {
            self.mark_users_stale(module);
        }
        let compiling = self.modules.values().any(|file| {
            file.digest.is_some() && file.digest != file.facts.as_ref().map(|facts| facts.digest)
        });
        let mut changed = false;
        let mut stale = self.stale_flows();
        if stale.is_empty() {
            return false;
        }
        // A file and the secret that it names are often made in one go.
        self.parts.secrets.refresh().await;
        let mut environment = self.environment(OrganizationId::ROOT);
        // A workflow that went live makes those stale that refer to it; each round is a level of them. What is
        // waiting for a module stays stale and is not asked again.
        for _ in 0..=DEPTH_MAX {
            let mut live: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
            for name in order::children_first(&self.flows, stale) {
                let before = self.live_version(&name);
                changed |= self.compile_flow(&name, compiling, &mut environment).await;
                if self.live_version(&name) == before {
                    continue;
                }
                if let Some(workflow) = self.live_workflow(&name) {
                    let facts = WorkflowFacts::of(&workflow);
                    environment.workflows.insert(workflow.name.clone(), facts);
                    let organization = environment.organization;
                    let live = live.entry(organization).or_default();
                    live.insert(workflow.name.clone());
                }
            }
            if live.is_empty() {
                break;
            }
            self.mark_referrers_stale(&live);
            stale = self.stale_flows();
            if stale.is_empty() {
                break;
            }
        }
        changed
    }

    fn stale_flows(&self) -> Vec<String> {
        let stale = self.flows.iter().filter(|(_, file)| file.stale);
        stale.map(|(name, _)| name.clone()).collect()
    }

    /// The workflow that is live from a file.
    fn live_workflow(&self, name: &str) -> Option<Arc<Workflow>> {
        let file = self.flows.get(name)?;
        let key = (file.organization, file.live.clone()?);
        let live = self.draft.workflows.get(&key)?;
        Some(Arc::clone(&live.workflow))
    }

    /// What the files of an organization are compiled against. Databases are the root organization's.
    fn environment(&self, organization: OrganizationId) -> Environment {
        let databases = match organization == OrganizationId::ROOT {
            true => self.parts.databases.clone(),
            false => BTreeMap::new(),
        };
        let modules = self
            .modules
            .iter()
            .filter_map(|(name, file)| Some((module_name(name)?, file.facts.clone()?)))
            .collect();
        Environment {
            organization,
            modules,
            vars: BTreeMap::new(),
            ceilings: self.parts.ceilings.clone(),
            databases: Some(databases),
            secrets: Some(self.parts.secrets.names(organization).into_iter().collect()),
            workflows: children(&self.draft, organization),
        }
    }

    async fn compile_flow(
        &mut self,
        name: &str,
        compiling: bool,
        environment: &mut Environment,
    ) -> bool {
        let path = self.flow_path(name);
        let last_good = self.live_version(name);
        let Some(file) = self.flows.get(name) else {
            return false;
        };
        let organization = file.organization;
        let Some(bytes) = file.bytes.clone() else {
            return false;
        };
        if environment.organization != organization {
            *environment = self.environment(organization);
        }
        let compiled = WorkflowSource::from_bytes(Arc::clone(&path), &bytes)
            .map_err(|error| vec![*error])
            .and_then(|source| {
                let named = workflow::name_of(&source);
                // The operator's own settings name workflows of the root organization.
                environment.vars = named
                    .filter(|_| organization == OrganizationId::ROOT)
                    .and_then(|name| self.parts.vars.get(&name).cloned())
                    .unwrap_or_default();
                compile(&source, environment).map(|done| (source, done))
            });
        let taken = compiled
            .as_ref()
            .ok()
            .and_then(|(source, (workflow, _))| self.taken(name, source, workflow));
        match (compiled, taken) {
            // With a module still on its way, a mistake may be none.
            (Err(_), _) if compiling => {
                self.problem(&path, ProblemKind::Compiling, last_good);
                false
            }
            (Err(diagnostics), _) => {
                self.settled_as(name, &path, ProblemKind::Invalid(diagnostics), last_good);
                false
            }
            (Ok(_), Some(diagnostic)) => {
                self.settled_as(
                    name,
                    &path,
                    ProblemKind::Invalid(vec![diagnostic]),
                    last_good,
                );
                false
            }
            (Ok((source, (workflow, warnings))), None) => {
                self.publish_flow(name, &source, workflow, warnings, environment)
                    .await
            }
        }
    }

    fn settled_as(
        &mut self,
        name: &str,
        path: &Arc<str>,
        kind: ProblemKind,
        last_good: Option<Digest>,
    ) {
        if let Some(file) = self.flows.get_mut(name) {
            file.stale = false;
        }
        self.problem(path, kind, last_good);
    }

    /// A name that another file holds already: the first one keeps it.
    fn taken(
        &self,
        name: &str,
        source: &WorkflowSource,
        workflow: &Workflow,
    ) -> Option<Diagnostic> {
        let organization = self.flows.get(name)?.organization;
        let (other, _) = self.flows.iter().find(|(other, file)| {
            other.as_str() != name
                && file.organization == organization
                && file.vanished_at.is_none()
                && file.live.as_ref() == Some(&workflow.name)
        })?;
        Some(at(
            source,
            workflow.name.as_str(),
            format!(
                "the name `{}` is taken by {}",
                workflow.name,
                self.flow_path(other)
            ),
            "give one of the two another name",
        ))
    }
}

/// The workflow files of all organizations, by their path below the folder.
fn all_flows(folder: &Path, folders: &[String]) -> std::io::Result<BTreeMap<String, Found>> {
    let mut found = scan::folder(folder, "toml")?;
    for name in folders {
        let files = scan::folder(&folder.join(name), "toml")?.into_iter();
        found.extend(files.map(|(file, state)| (format!("{name}/{file}"), state)));
    }
    Ok(found)
}

/// Compiles, and refuses what this daemon cannot run.
pub fn compile(
    source: &WorkflowSource,
    environment: &Environment,
) -> Result<(Workflow, Vec<Diagnostic>), Vec<Diagnostic>> {
    let Compiled {
        workflow,
        mut diagnostics,
    } = workflow::compile(source, environment);
    match workflow {
        Some(workflow) => {
            let refused = unsupported(source, &workflow);
            if refused.is_empty() {
                return Ok((workflow, diagnostics));
            }
            diagnostics.extend(refused);
            Err(diagnostics)
        }
        None => Err(diagnostics),
    }
}

/// What the format knows and the engine does not run. Saying so at the file is better than a run
/// that silently does something else.
fn unsupported(source: &WorkflowSource, workflow: &Workflow) -> Vec<Diagnostic> {
    let called = |trigger: &TriggerSpec| matches!(trigger, TriggerSpec::Webhook { .. });
    if !workflow.triggers.iter().any(called) {
        return Vec::new();
    }
    let mut refused = at(
        source,
        "[[on]]",
        "`[[on]] webhook` is not supported by this version of the daemon".to_owned(),
        "remove it; the rest of the file can go live",
    );
    // Other triggers may stand before it.
    if let Some(line) = source.text.find("\nwebhook") {
        refused.span = line + 1..line + "\nwebhook".len();
    }
    vec![refused]
}

fn at(source: &WorkflowSource, needle: &str, message: String, help: &str) -> Diagnostic {
    let start = source.text.find(needle).unwrap_or(0);
    Diagnostic {
        severity: Severity::Error,
        file: Arc::clone(&source.file),
        text: Arc::clone(&source.text),
        span: start..start + needle.len().min(source.text.len()),
        message,
        help: Some(help.to_owned()),
    }
}

fn children(
    catalog: &Catalog,
    organization: OrganizationId,
) -> BTreeMap<WorkflowName, WorkflowFacts> {
    catalog
        .workflows
        .values()
        .filter(|live| live.organization_id == organization)
        .map(|live| {
            (
                live.workflow.name.clone(),
                WorkflowFacts::of(&live.workflow),
            )
        })
        .collect()
}
