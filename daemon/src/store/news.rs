//! What daemons on one store tell each other, so that nobody has to wait for his next look.
//!
//! News are hints: they may be lost, come twice, or say too much. Whoever hears them looks at the tables, as he
//! does now and then in any case. How they travel is the driver's business; here is what they say.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::CommitOutcome;
use super::rows::{RunChange, Transition};
use crate::id::RunId;

/// Runs in one message. A message of PostgreSQL holds 8,000 bytes, an id takes 29 of them.
const RUNS_TOLD: usize = 200;

/// What has changed since the last news.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct News {
    /// Runs wait for an owner.
    pub work: bool,
    /// Orders wait for the owners of their runs.
    pub orders: bool,
    /// The active versions are others.
    pub versions: bool,
    /// Nobody knows what else: news were lost.
    pub all: bool,
    /// Rows or log lines of these runs were written.
    pub changed: BTreeSet<RunId>,
    /// These runs have ended.
    pub ended: BTreeSet<RunId>,
}

impl News {
    /// News were lost: everything may have changed.
    pub fn everything() -> Self {
        Self {
            work: true,
            orders: true,
            versions: true,
            all: true,
            ..Self::default()
        }
    }

    /// Orders were written.
    pub fn of_orders() -> Self {
        Self {
            orders: true,
            ..Self::default()
        }
    }

    /// Runs were given back.
    pub fn of_work() -> Self {
        Self {
            work: true,
            ..Self::default()
        }
    }

    /// A version was published, or a workflow retired.
    pub fn of_versions() -> Self {
        Self {
            versions: true,
            ..Self::default()
        }
    }

    /// What a batch and its outcomes mean to others.
    pub fn of_commit(batch: &[Transition], outcomes: &[CommitOutcome]) -> Self {
        let mut news = Self::default();
        for (transition, outcome) in batch.iter().zip(outcomes) {
            if *outcome != CommitOutcome::Committed {
                continue;
            }
            let ended = match &transition.run {
                RunChange::Insert(run) => {
                    news.work |= run.owner.is_none() && !run.status.is_final();
                    run.status.is_final()
                }
                RunChange::Update(update) => update.status.is_final(),
            };
            news.changed.insert(transition.run_id);
            if ended {
                news.ended.insert(transition.run_id);
            }
        }
        news
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what was heard later.
    pub fn add(&mut self, later: Self) {
        self.work |= later.work;
        self.orders |= later.orders;
        self.versions |= later.versions;
        self.all |= later.all;
        self.changed.extend(later.changed);
        self.ended.extend(later.ended);
    }

    /// The same in pieces that each fit into a message.
    pub(super) fn pieces(mut self) -> Vec<Self> {
        let mut pieces = Vec::new();
        while self.changed.len() + self.ended.len() > RUNS_TOLD {
            let mut piece = Self::default();
            while piece.changed.len() + piece.ended.len() < RUNS_TOLD {
                if let Some(run) = self.ended.pop_first() {
                    piece.ended.insert(run);
                } else if let Some(run) = self.changed.pop_first() {
                    piece.changed.insert(run);
                } else {
                    break;
                }
            }
            pieces.push(piece);
        }
        if !self.is_empty() {
            pieces.push(self);
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_of_any_number_of_runs_fit_into_messages_and_lose_nothing() {
        let runs =
            |many: usize| -> BTreeSet<RunId> { (0..many).map(|_| RunId::generate()).collect() };
        for (changed, ended) in [(0, 0), (1, 0), (3, 2), (200, 0), (201, 0), (900, 450)] {
            let news = News {
                orders: true,
                changed: runs(changed),
                ended: runs(ended),
                ..News::default()
            };
            let mut whole = News::default();
            for piece in news.clone().pieces() {
                let text = serde_json::to_string(&piece).unwrap();
                assert!(text.len() < 7_900, "{} bytes", text.len());
                whole.add(serde_json::from_str(&text).unwrap());
            }
            assert_eq!(whole, news);
        }
        assert_eq!(News::default().pieces(), []);
    }

    #[test]
    fn what_is_told_without_a_part_is_understood() {
        let heard: News = serde_json::from_str(r#"{"work":true,"unknown":7}"#).unwrap();
        assert_eq!(heard, News::of_work());
    }
}
