//! What is known of each file between two looks, and how problems are noted.

use std::sync::Arc;

use super::Reload;
use super::scan::Found;
use crate::catalog::{FileProblem, ProblemKind};
use crate::clock::Timestamp;
use crate::id::{Digest, OrganizationId, WorkflowName};
use crate::workflow::environment::ModuleFacts;

/// A file in `flows/`, or in an organization's folder there.
pub(super) struct FlowFile {
    /// Whose it is.
    pub organization: OrganizationId,
    /// What stood there at the last look.
    pub found: Option<Found>,
    /// Its bytes, once read.
    pub bytes: Option<Arc<[u8]>>,
    /// Whether what it says has to be looked at again.
    pub stale: bool,
    /// When it went missing.
    pub vanished_at: Option<Timestamp>,
    /// The workflow that is live from it.
    pub live: Option<WorkflowName>,
}

impl FlowFile {
    pub(super) fn new(organization: OrganizationId) -> Self {
        Self {
            organization,
            found: None,
            bytes: None,
            stale: false,
            vanished_at: None,
            live: None,
        }
    }
}

/// A file in `tasks/`.
pub(super) struct ModuleFile {
    /// What stood there at the last look.
    pub found: Option<Found>,
    /// The content that is wanted live: read, and compiled or being compiled.
    pub digest: Option<Digest>,
    /// What is live.
    pub facts: Option<ModuleFacts>,
    /// The content that was read last, live or not: what is tried again finds it prepared.
    pub read: Option<Digest>,
    /// When it went missing.
    pub vanished_at: Option<Timestamp>,
}

impl ModuleFile {
    pub(super) fn new() -> Self {
        Self {
            found: None,
            digest: None,
            facts: None,
            read: None,
            vanished_at: None,
        }
    }
}

impl Reload {
    /// Notes what is the matter with a file, and says it once in the log.
    pub(super) fn problem(
        &mut self,
        file: &Arc<str>,
        kind: ProblemKind,
        last_good: Option<Digest>,
    ) {
        if self
            .draft
            .problems
            .get(file)
            .is_some_and(|known| known.kind == kind)
        {
            return;
        }
        if matches!(kind, ProblemKind::Compiling) {
            tracing::info!(%file, "compiling");
        } else {
            let kept = last_good.map(|digest| digest.short());
            tracing::warn!(%file, last_good = kept, "{}", kind.text());
        }
        let since = self.parts.clock.now();
        self.draft.problems.insert(
            Arc::clone(file),
            FileProblem {
                kind,
                since,
                last_good,
            },
        );
    }

    /// Notes that a file is live as it stands.
    pub(super) fn no_problem(&mut self, file: &str) {
        self.draft.problems.remove(file);
    }
}
