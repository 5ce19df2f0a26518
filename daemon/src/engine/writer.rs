//! The writer: commits one batch after another. It decides nothing; while it is at work the
//! conductor gathers the next batch.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::intake::Intake;
use crate::store::Store;
use crate::store::rows::Transition;

/// Starts the writer and gives its door, which the conductor uses only when the writer is idle.
pub(super) fn start(
    store: Arc<dyn Store>,
    intake: mpsc::UnboundedSender<Intake>,
) -> mpsc::UnboundedSender<Vec<Transition>> {
    let (door, mut batches) = mpsc::unbounded_channel::<Vec<Transition>>();
    tokio::spawn(async move {
        while let Some(batch) = batches.recv().await {
            let runs = batch.iter().map(|t| (t.run_id, t.lease_epoch)).collect();
            let result = store.commit(batch.into()).await;
            if intake.send(Intake::Committed { runs, result }).is_err() {
                return;
            }
        }
    });
    door
}
