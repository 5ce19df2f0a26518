//! Holds requests back until a test lets them go, and tells the test when one is held: an event to wait for where
//! a test would otherwise sleep.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};

use super::rule::{Call, Rule};
use crate::guarded::Guarded;

/// What to hold.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct GateRule {
    /// Given by the world.
    #[serde(default, skip_deserializing)]
    pub id: u64,
    /// Which requests.
    #[serde(flatten)]
    pub rule: Rule,
    /// How many more to hold; absent: all.
    #[serde(default)]
    pub count: Option<u64>,
}

/// A request that waits.
#[derive(Clone, Debug, Serialize)]
pub struct Held {
    /// The request's number in the log.
    pub number: u64,
    /// The rule that holds it.
    pub gate: u64,
    /// The request.
    #[serde(flatten)]
    pub call: Call,
}

/// The gate; open until a rule is added.
pub struct Gate {
    inner: Guarded<Inner>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Inner {
    rules: Vec<GateRule>,
    held: BTreeMap<u64, (Held, oneshot::Sender<()>)>,
    last_id: u64,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            inner: Guarded::default(),
            changed: watch::Sender::new(()),
        }
    }
}

/// Takes a request off the list when it goes on, or when its client gave up.
struct Leave<'a> {
    gate: &'a Gate,
    number: u64,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.gate.inner.lock().held.remove(&self.number);
        self.gate.changed.send_replace(());
    }
}

impl Gate {
    /// Adds a rule and tells its number.
    pub fn add(&self, mut rule: GateRule) -> u64 {
        let mut inner = self.inner.lock();
        inner.last_id += 1;
        rule.id = inner.last_id;
        inner.rules.push(rule);
        inner.last_id
    }

    /// Returns at once, or when the request is released.
    pub async fn pass(&self, number: u64, call: &Call) {
        let released = {
            let mut inner = self.inner.lock();
            let due = inner
                .rules
                .iter_mut()
                .find(|rule| rule.count != Some(0) && rule.rule.matches(call));
            let Some(rule) = due else { return };
            rule.count = rule.count.map(|count| count - 1);
            let (release, released) = oneshot::channel();
            let held = Held {
                number,
                gate: rule.id,
                call: call.clone(),
            };
            inner.held.insert(number, (held, release));
            released
        };
        let leave = Leave { gate: self, number };
        self.changed.send_replace(());
        // A dropped sender releases as a sent message does.
        let _: Result<(), oneshot::error::RecvError> = released.await;
        drop(leave);
    }

    /// Lets go what the rule (or any rule) holds, and ends the rule unless `keep`. Returns how many went on.
    pub fn release(&self, gate: Option<u64>, keep: bool) -> usize {
        let mut inner = self.inner.lock();
        let meant = |id: u64| gate.is_none_or(|gate| gate == id);
        if !keep {
            inner.rules.retain(|rule| !meant(rule.id));
        }
        let numbers: Vec<u64> = inner
            .held
            .values()
            .filter(|(held, _)| meant(held.gate))
            .map(|(held, _)| held.number)
            .collect();
        let senders: Vec<_> = numbers
            .iter()
            .filter_map(|number| inner.held.remove(number))
            .collect();
        drop(inner);
        let count = senders.len();
        drop(senders);
        self.changed.send_replace(());
        count
    }

    /// The rules in force, and the requests held now.
    pub fn list(&self) -> (Vec<GateRule>, Vec<Held>) {
        let inner = self.inner.lock();
        (
            inner.rules.clone(),
            inner.held.values().map(|(held, _)| held.clone()).collect(),
        )
    }

    /// Returns when at least `count` requests are held at one time.
    pub async fn wait_for(&self, count: usize) {
        let mut changes = self.changed.subscribe();
        while self.inner.lock().held.len() < count {
            // The sender lives as long as `self`, so this ends only with a change.
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::http::Method;

    use super::{Gate, GateRule};
    use crate::control::rule::Call;

    fn call() -> Call {
        Call::of(&Method::GET, &"/mall/x".parse().unwrap())
    }

    #[tokio::test]
    async fn a_held_request_waits_is_announced_and_goes_on_when_released() {
        let gate = Arc::new(Gate::default());
        gate.add(serde_json::from_str::<GateRule>(r#"{"section": "mall", "count": 1}"#).unwrap());
        let held = tokio::spawn({
            let gate = gate.clone();
            async move { gate.pass(1, &call()).await }
        });
        gate.wait_for(1).await;
        assert!(!held.is_finished());
        gate.pass(2, &call()).await;
        assert_eq!(gate.release(None, false), 1);
        held.await.unwrap();
        assert!(gate.list().1.is_empty());
    }

    #[tokio::test]
    async fn a_client_that_gives_up_is_no_longer_held() {
        let gate = Arc::new(Gate::default());
        gate.add(serde_json::from_str::<GateRule>("{}").unwrap());
        let held = tokio::spawn({
            let gate = gate.clone();
            async move { gate.pass(1, &call()).await }
        });
        gate.wait_for(1).await;
        held.abort();
        assert!(held.await.unwrap_err().is_cancelled());
        assert!(gate.list().1.is_empty());
    }
}
