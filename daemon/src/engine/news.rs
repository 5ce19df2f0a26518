//! What other daemons on the store tell: runs and orders are looked for at once, followers are woken.

use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;

use super::EngineEvent;
use super::handle::Shared;
use super::intake::Intake;
use crate::store::news::News;

/// Listens as long as the engine lives, if the store has news at all.
pub(super) fn hear(shared: &Arc<Shared>) {
    let Some(mut news) = shared.store.news() else {
        return;
    };
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        loop {
            let heard = match news.recv().await {
                Ok(heard) => heard,
                Err(RecvError::Lagged(_)) => News::everything(),
                Err(RecvError::Closed) => return,
            };
            if (heard.work || heard.orders) && shared.intake.send(Intake::Heard).is_err() {
                return;
            }
            // Nobody may be waiting or following.
            if !heard.changed.is_empty() {
                let changed: Vec<_> = heard.changed.into_iter().collect();
                let _ = shared.events.send(EngineEvent::Changed(changed.into()));
            }
            for run in heard.ended {
                let _ = shared.elsewhere.send(run);
            }
        }
    });
}
