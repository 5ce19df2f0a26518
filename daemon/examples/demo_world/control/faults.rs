//! Rules that make the world fail: which requests, after how many, how often, and how.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::rule::{Call, Rule};

/// How a request fails.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Answers `status` with `body`, and `Retry-After` if given.
    Status,
    /// Answers rightly, `delay_ms` late.
    Delay,
    /// Closes the connection without an answer.
    Drop,
    /// Answers rightly but breaks the body.
    Malformed,
    /// Announces the whole body, sends half, closes the connection.
    Truncate,
}

/// Whether the service acts before it fails. Only `status` and `drop` ask.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// Nothing happens but the failure.
    #[default]
    Before,
    /// The request takes effect, and its answer is lost.
    After,
}

/// One rule.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Given by the world.
    #[serde(default, skip_deserializing)]
    pub id: u64,
    /// Section name.
    #[serde(default)]
    pub section: Option<String>,
    /// Method.
    #[serde(default)]
    pub method: Option<String>,
    /// Path pattern.
    #[serde(default)]
    pub path: Option<String>,
    /// Text that the request body must contain.
    #[serde(default)]
    pub body_contains: Option<String>,
    /// How many matching requests pass unharmed first.
    #[serde(default)]
    pub after: u64,
    /// How many fail then; absent: all.
    #[serde(default)]
    pub count: Option<u64>,
    /// How.
    pub kind: Kind,
    /// Before or after the effect.
    #[serde(default)]
    pub when: When,
    /// For `status`; 500 if absent.
    #[serde(default = "internal_error")]
    pub status: u16,
    /// `Retry-After`: seconds, or an HTTP date.
    #[serde(default)]
    pub retry_after: Option<RetryAfter>,
    /// Milliseconds to wait first.
    #[serde(default)]
    pub delay_ms: u64,
    /// Answer body for `status`; a Google-like error object if absent.
    #[serde(default)]
    pub body: Option<String>,
    /// Matching requests seen so far.
    #[serde(default, skip_deserializing)]
    pub seen: u64,
    /// Requests failed so far.
    #[serde(default, skip_deserializing)]
    pub struck: u64,
}

/// The value of `Retry-After`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum RetryAfter {
    /// Seconds.
    Seconds(u64),
    /// Anything else, sent as it is.
    Text(String),
}

impl std::fmt::Display for RetryAfter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Seconds(seconds) => write!(formatter, "{seconds}"),
            Self::Text(text) => formatter.write_str(text),
        }
    }
}

fn internal_error() -> u16 {
    500
}

/// The rules in force, in the order they were given.
#[derive(Default)]
pub struct Faults {
    rules: VecDeque<Fault>,
    last_id: u64,
}

impl Faults {
    /// Adds a rule and tells its number.
    pub fn add(&mut self, mut fault: Fault) -> u64 {
        self.last_id += 1;
        fault.id = self.last_id;
        self.rules.push_back(fault);
        self.last_id
    }

    /// Ends all rules.
    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// The rules with their counts.
    pub fn all(&self) -> impl Iterator<Item = &Fault> {
        self.rules.iter()
    }

    /// Counts the request against every rule that matches; the first rule that is due strikes.
    pub fn strike(&mut self, call: &Call, body: &[u8]) -> Option<Fault> {
        let text = String::from_utf8_lossy(body);
        let mut due = None;
        for fault in &mut self.rules {
            let rule = Rule {
                section: fault.section.clone(),
                method: fault.method.clone(),
                path: fault.path.clone(),
            };
            let contains = fault
                .body_contains
                .as_ref()
                .is_none_or(|part| text.contains(part));
            if !contains || !rule.matches(call) {
                continue;
            }
            fault.seen += 1;
            let left = fault.count.is_none_or(|count| fault.struck < count);
            if due.is_none() && fault.seen > fault.after && left {
                fault.struck += 1;
                due = Some(fault.clone());
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, Faults};
    use crate::control::rule::Call;
    use axum::http::Method;

    #[test]
    fn a_rule_spares_the_first_strikes_its_count_and_stops() {
        let mut faults = Faults::default();
        let fault = serde_json::json!({"section": "mall", "after": 1, "count": 2, "kind": "status", "status": 503});
        faults.add(serde_json::from_value::<Fault>(fault).unwrap());
        let call = Call::of(&Method::GET, &"/mall/shop/search.php".parse().unwrap());
        let struck: Vec<bool> = (0..5)
            .map(|_| faults.strike(&call, b"").is_some())
            .collect();
        assert_eq!(struck, [false, true, true, false, false]);
    }

    #[test]
    fn an_unknown_member_of_a_rule_is_refused() {
        assert!(serde_json::from_str::<Fault>(r#"{"kind": "status", "stauts": 503}"#).is_err());
    }
}
