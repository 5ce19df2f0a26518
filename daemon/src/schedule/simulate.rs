//! A schedule played through in no time: every decision that the daemon would make from one instant to another, with
//! times at which no daemon runs. Pure, and made of the same functions.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use super::plan::{Admission, Progress, Standing, Verdict, admit, next_look, plan};
use crate::clock::Timestamp;
use crate::workflow::schedule::{Schedule, Times};

/// What is played.
#[derive(Debug, Clone)]
pub struct Play {
    /// The first instant; times up to it are decided already.
    pub from: Timestamp,
    /// The last instant.
    pub to: Timestamp,
    /// When no daemon runs, in order.
    pub down: Vec<(Timestamp, Timestamp)>,
    /// How long each run takes.
    pub run_time: Duration,
    /// Decisions after so many are not made.
    pub limit: usize,
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// When it is made.
    pub at: Timestamp,
    /// The time that it is about; of several the first.
    pub nominal: Timestamp,
    /// Of several the last.
    pub last: Timestamp,
    /// How many times it is about.
    pub times: u32,
    /// `run`, `run-instead`, `wait`, `skip` or `missed`.
    pub decision: &'static str,
    /// Whether it was missed and runs later.
    pub caught_up: bool,
    /// Why, when it does not run.
    pub reason: Option<&'static str>,
}

/// Plays a schedule; answers its decisions, and whether there were more than `play.limit`.
pub fn simulate(
    schedule: &Schedule,
    times: &Times,
    delay: Duration,
    play: &Play,
) -> (Vec<Decision>, bool) {
    let mut stage = Stage {
        schedule,
        play,
        decisions: Vec::new(),
        ends: Vec::new(),
        waiting: VecDeque::new(),
    };
    let mut progress = Progress {
        decided_until: play.from.before(delay),
        looked_at: play.from,
    };
    if !schedule.enabled {
        return (Vec::new(), false);
    }
    let mut next = next_look(times, delay, progress.decided_until);
    while stage.decisions.len() < play.limit {
        let turn = stage.turn_after();
        let Some(now) = next.into_iter().chain(turn).min() else {
            break;
        };
        let now = stage.awake(now);
        if now > play.to {
            break;
        }
        stage.go_on(now);
        let looked = plan(schedule, times, delay, progress, now);
        for verdict in &looked.verdicts {
            stage.decide(*verdict, now);
        }
        (progress, next) = (looked.progress, looked.next);
    }
    let more = stage.decisions.len() >= play.limit;
    (stage.decisions, more)
}

struct Stage<'a> {
    schedule: &'a Schedule,
    play: &'a Play,
    decisions: Vec<Decision>,
    /// When the runs under way end.
    ends: Vec<Timestamp>,
    waiting: VecDeque<Timestamp>,
}

impl Stage<'_> {
    /// The first instant at or after this one at which a daemon runs.
    fn awake(&self, at: Timestamp) -> Timestamp {
        let down = self.play.down.iter();
        down.filter(|(begin, end)| *begin <= at && at < *end)
            .fold(at, |at, (_, end)| at.max(*end))
    }

    /// When something that waits has its turn.
    fn turn_after(&self) -> Option<Timestamp> {
        self.waiting.front()?;
        self.ends.iter().max().copied()
    }

    /// Runs that have ended are gone, and what waits begins.
    fn go_on(&mut self, now: Timestamp) {
        self.ends.retain(|end| *end > now);
        while self.ends.is_empty()
            && let Some(nominal) = self.waiting.pop_front()
        {
            self.begin(now);
            self.note(now, nominal, "run", true, None);
        }
    }

    fn begin(&mut self, now: Timestamp) {
        if !self.play.run_time.is_zero() {
            self.ends.push(now.after(self.play.run_time));
        }
    }

    fn decide(&mut self, verdict: Verdict, now: Timestamp) {
        let (nominal, caught_up) = match verdict {
            Verdict::Missed(missed) => {
                self.decisions.push(Decision {
                    at: now,
                    nominal: missed.first,
                    last: missed.last,
                    times: missed.times,
                    decision: "missed",
                    caught_up: false,
                    reason: Some(missed.reason.code()),
                });
                return;
            }
            Verdict::CaughtUp(nominal) => (nominal, true),
            Verdict::Due(nominal) => (nominal, false),
        };
        let standing = Standing {
            active: self.ends.len(),
            waiting: self.waiting.len(),
        };
        match admit(self.schedule.overlap, caught_up, standing) {
            Admission::Run => {
                self.begin(now);
                self.note(now, nominal, "run", caught_up, None);
            }
            Admission::RunInstead => {
                self.ends.clear();
                self.begin(now);
                self.note(now, nominal, "run-instead", caught_up, None);
            }
            Admission::Wait => {
                self.waiting.push_back(nominal);
                self.note(now, nominal, "wait", caught_up, None);
            }
            Admission::Skip(reason) => {
                self.note(now, nominal, "skip", caught_up, Some(reason.code()));
            }
        }
    }

    fn note(
        &mut self,
        at: Timestamp,
        nominal: Timestamp,
        decision: &'static str,
        caught_up: bool,
        reason: Option<&'static str>,
    ) {
        self.decisions.push(Decision {
            at,
            nominal,
            last: nominal,
            times: 1,
            decision,
            caught_up,
            reason,
        });
    }
}
