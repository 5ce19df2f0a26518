//! The catalog: the immutable snapshot of all live workflows and modules that readers hold.
//!
//! Pure data. Building one and swapping it is `reload`'s work.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::diagnostic::Diagnostic;
use crate::id::{Digest, ModuleName, OrganizationId, WorkflowId, WorkflowName};
use crate::workflow::model::Workflow;

/// All that can be run now, and what is wrong with the files that cannot.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// Live workflows.
    pub workflows: BTreeMap<(OrganizationId, WorkflowName), Arc<LiveWorkflow>>,
    /// Modules in `tasks/`.
    pub modules: BTreeMap<ModuleName, Arc<LiveModule>>,
    /// Files that are not live as they stand on disk, by their path as people know it.
    pub problems: BTreeMap<Arc<str>, FileProblem>,
}

/// A workflow that starts runs.
#[derive(Debug)]
pub struct LiveWorkflow {
    /// Its identity across versions.
    pub workflow_id: WorkflowId,
    /// Its organization.
    pub organization_id: OrganizationId,
    /// What runs start with.
    pub workflow: Arc<Workflow>,
    /// The file as people know it.
    pub file: Arc<str>,
    /// When this version went live.
    pub live_since: Timestamp,
    /// Remarks on this version that did not keep it from going live.
    pub warnings: Vec<Diagnostic>,
}

/// A module that workflows may use.
#[derive(Debug, Clone)]
pub struct LiveModule {
    /// Its name.
    pub name: ModuleName,
    /// Its content.
    pub digest: Digest,
    /// The file as people know it.
    pub file: Arc<str>,
    /// In bytes.
    pub size_bytes: u64,
    /// When this content went live.
    pub live_since: Timestamp,
}

/// Why a file is not live as it stands.
#[derive(Debug, Clone)]
pub struct FileProblem {
    /// What is the matter.
    pub kind: ProblemKind,
    /// Since when.
    pub since: Timestamp,
    /// What went live from this file before and still is, if anything.
    pub last_good: Option<Digest>,
}

/// What is the matter with a file.
#[derive(Debug, Clone, PartialEq)]
pub enum ProblemKind {
    /// A workflow file with mistakes.
    Invalid(Vec<Diagnostic>),
    /// A module that was refused, and why.
    Refused(String),
    /// A module that is being compiled.
    Compiling,
    /// The file, or the store that must keep it, could not be reached; it is tried again.
    Unreachable(String),
}

impl ProblemKind {
    /// What is the matter, for people: one line, or the diagnostics as `check` prints them.
    pub fn text(&self) -> String {
        match self {
            Self::Invalid(diagnostics) => diagnostics
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n"),
            Self::Refused(why) | Self::Unreachable(why) => why.clone(),
            Self::Compiling => "a module is being compiled".to_owned(),
        }
    }
}

impl Catalog {
    /// A workflow by its name.
    pub fn workflow(
        &self,
        organization: OrganizationId,
        name: &WorkflowName,
    ) -> Option<&Arc<LiveWorkflow>> {
        self.workflows.get(&(organization, name.clone()))
    }
}
