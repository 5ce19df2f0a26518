//! `concurrency = { key, max }`: runs with the same key take turns.
//!
//! Turns are kept in the store, in the commits that insert and end runs: a run enters its lane as `held`, which nobody
//! claims, and the same transaction gives free places to the best that wait. So the limit holds for all daemons
//! together and across their deaths (a run keeps its place until it ends), and a run that waits takes no memory.

use serde_json::Value;

use super::active::Active;
use crate::id::Digest;
use crate::store::control::Lane;

impl Active {
    /// The lane that the run enters with its insert, if its workflow has a limit.
    pub(super) fn lane_to_enter(&self) -> Option<Lane> {
        let limit = self.graph().workflow().concurrency.as_ref()?;
        let key = match limit.key.as_ref().map(|key| key.fill(&self.scope(None))) {
            None => String::new(),
            Some(Ok(Value::String(text))) => text,
            Some(Ok(other)) => other.to_string(),
            // A key that cannot be made must not open a lane of its own for everyone.
            Some(Err(_)) => String::new(),
        };
        let (organization_id, workflow_id) = (self.row.organization_id, self.row.workflow_id);
        let parts = [organization_id.to_string(), workflow_id.to_string(), key];
        Some(Lane {
            lane_id: Digest::of_parts(parts.iter().map(String::as_bytes)),
            organization_id,
            workflow_id,
            max: limit.max.max(1),
            priority: self.row.priority,
        })
    }

    /// Whether it has been in a lane.
    pub(super) fn has_lane(&self) -> bool {
        self.graph().workflow().concurrency.is_some()
    }
}
