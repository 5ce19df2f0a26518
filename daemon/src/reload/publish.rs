//! Going live: a version is durable in the store before the catalog names it, and a workflow whose
//! file is gone leaves both.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::Reload;
use super::files::FlowFile;
use crate::catalog::{LiveWorkflow, ProblemKind};
use crate::diagnostic::Diagnostic;
use crate::id::{Digest, ModuleName, OrganizationId, WorkflowName};
use crate::run::status::Status;
use crate::store::lineage::EndOf;
use crate::store::rows::VersionRow;
use crate::workflow::WorkflowSource;
use crate::workflow::environment::Environment;
use crate::workflow::model::{End, Uses, Workflow};

impl Reload {
    /// Publishes a version and makes it live; answers whether the catalog changed.
    pub(super) async fn publish_flow(
        &mut self,
        name: &str,
        source: &WorkflowSource,
        workflow: Workflow,
        warnings: Vec<Diagnostic>,
        environment: &Environment,
    ) -> bool {
        let path = self.flow_path(name);
        let last_good = self.live_version(name);
        let organization = environment.organization;
        let key = (organization, workflow.name.clone());
        let same_file = self
            .draft
            .workflows
            .get(&key)
            .is_some_and(|live| live.file == path);
        if last_good == Some(workflow.version) && same_file {
            self.flow_is_live(name, &workflow);
            return self.remark(&key, warnings);
        }
        let row = version_row(source, &workflow, environment, self.parts.clock.now());
        let workflow_id = match self.parts.store.publish(&row).await {
            Ok(id) => id,
            Err(error) => {
                self.problem(
                    &path,
                    ProblemKind::Unreachable(format!("cannot be published: {error}")),
                    last_good,
                );
                self.retry_soon();
                return false;
            }
        };
        let workflow = self.parts.versions.share(workflow);
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        tracing::info!(workflow = %workflow.name, version = workflow.version.short(), "the workflow is live");
        self.flow_is_live(name, &workflow);
        let live_since = self.parts.clock.now();
        let live = LiveWorkflow {
            workflow_id,
            organization_id: organization,
            workflow,
            file: path,
            live_since,
            warnings,
        };
        self.draft.workflows.insert(key, Arc::new(live));
        true
    }

    /// Replaces the remarks on a live version; answers whether they are others now: what a file refers to may have
    /// come or gone.
    fn remark(&mut self, key: &(OrganizationId, WorkflowName), warnings: Vec<Diagnostic>) -> bool {
        let Some(live) = self.draft.workflows.get_mut(key) else {
            return false;
        };
        if live.warnings == warnings {
            return false;
        }
        *live = Arc::new(LiveWorkflow {
            workflow_id: live.workflow_id,
            organization_id: live.organization_id,
            workflow: Arc::clone(&live.workflow),
            file: Arc::clone(&live.file),
            live_since: live.live_since,
            warnings,
        });
        true
    }

    fn flow_is_live(&mut self, name: &str, workflow: &Workflow) {
        let before = self.flows.get_mut(name).and_then(|file| {
            file.stale = false;
            let before = file.live.replace(workflow.name.clone())?;
            Some((file.organization, before))
        });
        self.no_problem(&self.flow_path(name));
        // The file's former workflow, if it had another name, is retired like that of a vanished file.
        if let Some((organization, before)) = before.filter(|(_, name)| *name != workflow.name) {
            let mut ghost = FlowFile::new(organization);
            ghost.live = Some(before.clone());
            ghost.vanished_at = Some(self.parts.clock.now());
            self.flows.insert(format!("{name} (as {before})"), ghost);
        }
    }

    /// Retires the workflows whose files have been gone for the grace time.
    pub(super) async fn remove_vanished(&mut self) {
        let now = self.parts.clock.now();
        let gone: Vec<String> = self
            .flows
            .iter()
            .filter(|(_, file)| {
                file.vanished_at
                    .is_some_and(|at| now.since(at) >= self.parts.removal_grace)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            let live = self.flows.get(&name).and_then(|file| {
                let live = file.live.clone()?;
                Some((file.organization, live))
            });
            // Another file may have taken the workflow over: a rename.
            let taken = live.as_ref().is_some_and(|(organization, live)| {
                self.flows.iter().any(|(other, file)| {
                    *other != name
                        && file.organization == *organization
                        && file.live.as_ref() == Some(live)
                })
            });
            if let (Some((organization, live)), false) = (live, taken) {
                if let Err(error) = self.parts.store.retire(organization, &live).await {
                    tracing::warn!(workflow = %live, %error, "cannot be retired; it is tried again");
                    self.retry_soon();
                    continue;
                }
                tracing::info!(workflow = %live, "the workflow's file is gone; it starts no more runs");
                let gone = BTreeMap::from([(organization, [live.clone()].into())]);
                self.mark_referrers_stale(&gone);
                self.draft.workflows.remove(&(organization, live));
                self.retry_soon();
            }
            self.flows.remove(&name);
            self.no_problem(&self.flow_path(&name));
        }
    }
}

fn version_row(
    source: &WorkflowSource,
    workflow: &Workflow,
    environment: &Environment,
    now: crate::clock::Timestamp,
) -> VersionRow {
    let modules: BTreeMap<&ModuleName, Digest> = workflow
        .tasks
        .iter()
        .filter_map(|task| match &task.uses {
            Uses::Module { name, digest } => Some((name, *digest)),
            Uses::Workflow { .. } => None,
        })
        .collect();
    let workflows: BTreeMap<&WorkflowName, Digest> = workflow.children().collect();
    VersionRow {
        version: workflow.version,
        organization_id: environment.organization,
        workflow_name: workflow.name.clone(),
        file: source.file.to_string(),
        source: Arc::clone(&source.text),
        vars: json!(environment.vars).to_string(),
        ceilings: json!(environment.ceilings).to_string(),
        modules: json!(modules).to_string(),
        workflows: json!(workflows).to_string(),
        starts_after: starts_after(workflow),
        created_at: now,
    }
}

/// The ends after which a workflow starts, each once.
fn starts_after(workflow: &Workflow) -> Vec<EndOf> {
    let mut ends: Vec<EndOf> = Vec::new();
    for after in workflow.starts_after() {
        for end in &after.ends {
            let end = EndOf {
                workflow: after.workflow.clone(),
                status: match end {
                    End::Succeeded => Status::Succeeded,
                    End::Failed => Status::Failed,
                    End::Cancelled => Status::Cancelled,
                },
            };
            if !ends.contains(&end) {
                ends.push(end);
            }
        }
    }
    ends
}
