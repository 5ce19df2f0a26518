//! Commits one batch. It decides nothing; while it is at work the conductor gathers the next one.

use std::sync::Arc;

use super::handle::Shared;
use super::intake::Intake;
use crate::store::rows::Transition;

/// Has the store write the batch; the answer reaches the conductor.
pub(super) fn commit(shared: &Arc<Shared>, batch: Vec<Transition>) {
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let runs = batch.iter().map(|t| (t.run_id, t.lease_epoch)).collect();
        let result = shared.store.commit(batch.into()).await;
        // A conductor that has gone needs no answer.
        let _ = shared.intake.send(Intake::Committed { runs, result });
    });
}
