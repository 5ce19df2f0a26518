//! Tasks that run a workflow (`uses = "workflow:NAME"`): what is known of it, and what cannot be asked of such a task.

use std::ops::Range;

use super::compile::Compiler;
use super::draft_task::{DraftTask, DraftUses};
use super::environment::WorkflowFacts;
use super::family;
use super::grant::KvGrant;
use super::report::Report;
use crate::id::WorkflowName;

impl<'c> Compiler<'c, '_> {
    /// The workflow that a task runs, where it is known.
    pub(super) fn child<'t>(
        &self,
        task: &'t DraftTask<'_>,
    ) -> Option<(&'t WorkflowName, &'c WorkflowFacts)> {
        match task.uses.as_ref().map(|uses| &uses.value) {
            Some(DraftUses::Workflow(name)) => Some((name, self.environment.workflows.get(name)?)),
            _ => None,
        }
    }

    /// How many levels of workflows its tasks run.
    pub(super) fn height(&self) -> u32 {
        let tasks = self.draft.jobs.iter().flat_map(|job| &job.tasks);
        let children = tasks.filter_map(|task| self.child(task));
        let below = children.map(|(_, child)| child.height.saturating_add(1));
        below.max().unwrap_or(0)
    }

    /// Workflows that run each other must come to an end.
    pub(super) fn chain(
        &self,
        name: &WorkflowName,
        facts: &WorkflowFacts,
        span: &Range<usize>,
        report: &mut Report,
    ) {
        let own = self.draft.name.as_ref().map(|own| &own.value);
        let known = &self.environment.workflows;
        if let Some(way) = own.and_then(|own| family::way_back(known, own, name)) {
            let way: Vec<&str> = way.iter().map(WorkflowName::as_str).collect();
            report
                .error(
                    span.clone(),
                    format!("these workflows would run each other: {}", way.join(" → ")),
                )
                .help("an arrow means \"runs\"; none of them would ever end");
        } else if facts.height >= family::DEPTH_MAX {
            report
                .error(
                    span.clone(),
                    format!(
                        "workflow `{name}` stands on {} levels of workflows; {} are allowed below this file",
                        facts.height,
                        family::DEPTH_MAX
                    ),
                )
                .help("let one of them do the work of two");
        }
    }

    /// A workflow's own tasks have their own grants and modules.
    pub(super) fn no_capabilities(&self, draft: &DraftTask<'_>, report: &mut Report) {
        let granted = draft.http.first().map(|http| http.at.clone());
        let granted = granted.or_else(|| draft.sql.first().map(|sql| sql.at.clone()));
        if let Some(at) = granted {
            report
                .error(at, "a task that runs a workflow has nothing to grant")
                .help("the grants stand in that workflow's own file");
        }
        if draft.kv != KvGrant::None {
            report
                .error(
                    draft.at.clone(),
                    "a task that runs a workflow has no state to grant",
                )
                .help("remove `kv`: each workflow has its own key-value space");
        }
        if let Some(pin) = &draft.digest {
            report
                .error(pin.span.clone(), "only a module can be pinned")
                .help("remove `digest`: a run keeps the version of the workflow it started with");
        }
    }
}
