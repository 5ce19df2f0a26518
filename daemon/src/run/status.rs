//! The states of a run, a job run, a task run and an attempt, and the causes of a run.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::InvalidId;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident ($kind:literal, $rule:literal) { $($(#[$vdoc:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),* }

        impl $name {
            /// The word that is stored and shown.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    _ => Err(InvalidId { kind: $kind, text: text.chars().take(40).collect(), rule: $rule }),
                }
            }
        }
    };
}

words! {
    /// Where a run, job run, task run or attempt stands.
    Status ("status", "one of queued, held, running, waiting, interrupted, succeeded, failed, cancelled, skipped") {
        /// Accepted, not started.
        Queued = "queued",
        /// Of a run: accepted, and waits until its workflow's `concurrency` lets it go.
        Held = "held",
        /// Under way.
        Running = "running",
        /// Waits for a retry delay, a timer or an approval.
        Waiting = "waiting",
        /// Its daemon went away; it continues.
        Interrupted = "interrupted",
        /// Ended well.
        Succeeded = "succeeded",
        /// Ended in a failure.
        Failed = "failed",
        /// Ended because someone said so.
        Cancelled = "cancelled",
        /// Never to be started.
        Skipped = "skipped",
    }
}

impl Status {
    /// The states of what goes on.
    pub const UNFINISHED: [Self; 5] = [
        Self::Queued,
        Self::Held,
        Self::Running,
        Self::Waiting,
        Self::Interrupted,
    ];

    /// Whether nothing more can happen to it.
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::Skipped
        )
    }
}

words! {
    /// Why a run began.
    Trigger ("trigger", "one of manual, schedule, webhook, workflow, rerun") {
        /// A person or a program asked.
        Manual = "manual",
        /// Its time came.
        Schedule = "schedule",
        /// A call came in.
        Webhook = "webhook",
        /// Another workflow ended or used it.
        Workflow = "workflow",
        /// It continues or repeats another run.
        Rerun = "rerun",
    }
}

words! {
    /// How much a log line matters.
    Level ("level", "one of trace, debug, info, warn, error") {
        /// Step-by-step detail.
        Trace = "trace",
        /// Detail for authors.
        Debug = "debug",
        /// What happened.
        Info = "info",
        /// Unexpected, handled.
        Warn = "warn",
        /// Something failed.
        Error = "error",
    }
}
