//! Starts what was decided: runs under a key of their own, and what waits when its turn comes.

use futures_util::future::join_all;
use serde_json::Value;

use super::keeper::{Keeper, Kept, ended, standing};
use super::plan::ACTIVE_MAX;
use super::{idempotency_key, trace_id};
use crate::clock::Timestamp;
use crate::engine::{EngineEvent, TriggerError, TriggerRequest};
use crate::id::ScheduleId;
use crate::run::status::Trigger;
use crate::store::StoreError;
use crate::store::schedule::{FireCause, FireOutcome, FireRow, FireSeen, Settled};
use crate::workflow::input;
use crate::workflow::schedule::Overlap;

/// Runs that are accepted at once; more would only wait in the engine's queue.
const STARTS: usize = 256;
/// A workflow that is not live for so long after a time has come will not run for it.
const WORKFLOW_GONE: std::time::Duration = std::time::Duration::from_secs(600);

/// What became of an attempt to start a run.
enum Started {
    Run(Settled),
    /// Not now; whoever looks next tries again.
    Later(String),
}

impl Keeper {
    /// Starts fires that are due. What cannot be started now stays due.
    pub(super) async fn start(&mut self, fires: Vec<FireRow>) -> Result<(), StoreError> {
        for part in fires.chunks(STARTS) {
            self.make_room(part).await?;
            let outcomes = join_all(part.iter().map(|fire| self.start_one(fire))).await;
            let mut settled = Vec::with_capacity(part.len());
            let mut late = None;
            for outcome in outcomes {
                match outcome {
                    Started::Run(fire) => settled.push(fire),
                    Started::Later(why) => late = Some(why),
                }
            }
            self.shared.store.fires_settle(&settled).await?;
            if let Some(why) = late {
                return Err(StoreError::Unavailable(why));
            }
        }
        Ok(())
    }

    /// Cancels earlier runs where the schedule says so.
    async fn make_room(&self, fires: &[FireRow]) -> Result<(), StoreError> {
        let instead = fires.iter().filter(|fire| {
            fire.cause == FireCause::Time
                && self
                    .kept
                    .get(&fire.schedule_id)
                    .is_some_and(|kept| kept.schedule.overlap == Overlap::CancelPrevious)
        });
        for fire in instead {
            let open = self.shared.store.fires_open(&[fire.schedule_id]).await?;
            let earlier = open.iter().filter(|seen| {
                seen.fire.cause != FireCause::Backfill
                    && seen.fire.nominal_at < fire.nominal_at
                    && !ended(seen)
            });
            for run in earlier.filter_map(|seen| seen.fire.run_id) {
                self.engine
                    .cancel(
                        run,
                        "its schedule has a newer time (overlap = \"cancel-previous\")",
                    )
                    .await?;
            }
        }
        Ok(())
    }

    async fn start_one(&self, fire: &FireRow) -> Started {
        let settled = |outcome, reason, run_id| {
            Started::Run(Settled {
                fire_id: fire.fire_id,
                from: FireOutcome::Due,
                outcome,
                reason,
                run_id,
                ended: false,
            })
        };
        let refused = |code: &str, why: String| {
            settled(FireOutcome::Refused, Some((code.to_owned(), why)), None)
        };
        let Some(kept) = self.kept.get(&fire.schedule_id) else {
            return refused("schedule.lost", "the schedule cannot be read".to_owned());
        };
        let request = match self.request(kept, fire) {
            Ok(request) => request,
            Err(Some(why)) => return refused("input.invalid", why),
            Err(None) if self.now().since(fire.decided_at) > WORKFLOW_GONE => {
                return refused("workflow.not-live", "the workflow is not live".to_owned());
            }
            Err(None) => {
                let why = format!("workflow {} is not live yet", kept.row.workflow_name);
                return Started::Later(why);
            }
        };
        match self.engine.trigger(request).await {
            Ok(accepted) => settled(FireOutcome::Started, None, Some(accepted.run_id)),
            Err(TriggerError::Rejected(why)) => refused("store.rejected", why),
            Err(later) => Started::Later(later.to_string()),
        }
    }

    /// The run of a fire; why its inputs are not accepted, or nothing when its workflow is not live.
    fn request(&self, kept: &Kept, fire: &FireRow) -> Result<TriggerRequest, Option<String>> {
        let row = &kept.row;
        let catalog = self.shared.catalog.load();
        let live = catalog
            .workflow(row.organization_id, &row.workflow_name)
            .filter(|live| live.workflow_id == row.workflow_id)
            .ok_or(None)?;
        let refused = |errors: Vec<String>| Some(errors.join("; "));
        let object =
            |value: serde_json::Result<Value>| value.map_err(|error| Some(error.to_string()));
        let inputs = object(serde_json::to_value(&kept.schedule.inputs))?;
        let config = object(serde_json::to_value(&kept.schedule.config))?;
        let inputs = input::workflow_inputs(&live.workflow, &inputs).map_err(refused)?;
        input::check_config(&live.workflow, &config).map_err(refused)?;
        Ok(TriggerRequest {
            workflow: std::sync::Arc::clone(&live.workflow),
            workflow_id: live.workflow_id,
            organization: live.organization_id,
            inputs,
            config,
            trigger: Trigger::Schedule,
            idempotency_key: Some(idempotency_key(fire.schedule_id, fire.nominal_at)),
            scheduled_at: Some(fire.nominal_at),
            priority: None,
            trace_id: Some(trace_id(fire.schedule_id, fire.nominal_at)),
        })
    }

    /// Starts what an earlier process or another daemon left due, and looks after what waits.
    pub(super) async fn recover(&mut self) -> Result<(), StoreError> {
        let pending = self.shared.store.fires_pending().await?;
        let mut due = Vec::new();
        self.waiting.clear();
        for FireSeen { fire, .. } in pending {
            if fire.outcome == FireOutcome::Waiting {
                self.waiting.insert(fire.schedule_id);
            } else {
                due.push(fire);
            }
        }
        self.start(due).await?;
        let waiting: Vec<ScheduleId> = self.waiting.iter().copied().collect();
        self.turns(&waiting).await
    }

    /// A run has ended: perhaps something waited for it. Without an event, some were missed.
    pub(super) async fn run_ended(&mut self, event: Option<EngineEvent>) -> Result<(), StoreError> {
        let of = match event {
            Some(EngineEvent::Finished { workflow, .. }) => Some(workflow),
            Some(EngineEvent::Changed(_)) => return Ok(()),
            None => None,
        };
        let concerned: Vec<ScheduleId> = self
            .waiting
            .iter()
            .filter(|id| {
                let kept = self.kept.get(id);
                of.as_ref()
                    .is_none_or(|of| kept.is_some_and(|kept| kept.row.workflow_name == *of))
            })
            .copied()
            .collect();
        self.turns(&concerned).await
    }

    /// Starts what waits and has its turn.
    async fn turns(&mut self, schedules: &[ScheduleId]) -> Result<(), StoreError> {
        for id in schedules {
            let open = self.shared.store.fires_open(&[*id]).await?;
            let Some(kept) = self.kept.get(id) else {
                self.waiting.remove(id);
                continue;
            };
            let now = self.now();
            let (mut settled, mut next) = (Vec::new(), Vec::new());
            for backfill in [false, true] {
                let waits = open.iter().filter(|seen| {
                    seen.fire.outcome == FireOutcome::Waiting
                        && (seen.fire.cause == FireCause::Backfill) == backfill
                });
                let active = standing(&open, backfill).active;
                let free = match kept.schedule.overlap {
                    _ if kept.row.retired_at.is_some() || !kept.schedule.enabled => 0,
                    Overlap::Allow => ACTIVE_MAX.saturating_sub(active),
                    _ => usize::from(active == 0),
                };
                next.extend(waits.take(free).map(|seen| begun(&seen.fire, now)));
            }
            settled.extend(open.iter().filter(|seen| ended(seen)).map(closed));
            settled.extend(next.iter().map(become_due));
            let written = self.shared.store.fires_settle(&settled).await?;
            let skip = settled.len() - next.len();
            let won = next.into_iter().zip(written.into_iter().skip(skip));
            let won: Vec<FireRow> = won.filter(|(_, won)| *won).map(|(fire, _)| fire).collect();
            let waits = open
                .iter()
                .filter(|seen| seen.fire.outcome == FireOutcome::Waiting);
            if waits.count() <= won.len() {
                self.waiting.remove(id);
            }
            self.start(won).await?;
        }
        Ok(())
    }
}

fn begun(fire: &FireRow, now: Timestamp) -> FireRow {
    FireRow {
        outcome: FireOutcome::Due,
        decided_at: now,
        ..fire.clone()
    }
}

fn become_due(fire: &FireRow) -> Settled {
    Settled {
        fire_id: fire.fire_id,
        from: FireOutcome::Waiting,
        outcome: FireOutcome::Due,
        reason: None,
        run_id: None,
        ended: false,
    }
}

fn closed(seen: &FireSeen) -> Settled {
    Settled {
        fire_id: seen.fire.fire_id,
        from: FireOutcome::Started,
        outcome: FireOutcome::Started,
        reason: None,
        run_id: seen.fire.run_id,
        ended: true,
    }
}
