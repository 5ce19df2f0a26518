//! What attempts of one task remember of each other, in the workflow's durable state: that one is at it, the draft that
//! it made, what it published. A record is written before the act that it speaks of, or directly after it.

use std::time::Duration;

use flowweaver_task::serde_json;
use flowweaver_task::{Error, Result, kv};

use crate::Published;

/// How long a record is kept: longer than anyone continues a run, shorter than forever, as a workflow's keys are limited.
const KEPT: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// What is remembered.
#[derive(Debug, Default, serde::Deserialize, serde::Serialize)]
struct Memory {
    /// The draft that was made.
    #[serde(default)]
    post_id: Option<String>,
    /// What was published.
    #[serde(default)]
    published: Option<Published>,
}

/// What an attempt finds.
pub(crate) enum Record {
    /// It was published before.
    Published(Published),
    /// It was not, and this attempt is now at it.
    Claimed(Claim),
}

/// The right to publish, as long as no later attempt takes it over.
pub(crate) struct Claim {
    key: String,
    revision: u64,
    memory: Memory,
}

impl Claim {
    /// Takes the right to publish under this idempotency key, also from an earlier attempt: the host starts an attempt
    /// only when the one before it has ended.
    ///
    /// # Errors
    /// `publish.claimed`, to be retried, if another attempt takes it at this moment; what the state answers.
    pub(crate) fn take(idempotency_key: &str) -> Result<Record> {
        let key = format!("published/{idempotency_key}");
        let (memory, expected) = match kv::get(&key)? {
            None => (Memory::default(), None),
            Some(entry) => {
                let memory: Memory = serde_json::from_slice(&entry.value).map_err(|error| {
                    Error::from(error).context(format!("reading the key `{key}`"))
                })?;
                (memory, Some(entry.revision))
            }
        };
        if let Some(published) = memory.published {
            return Ok(Record::Published(published));
        }
        let mut claim = Claim {
            key,
            revision: 0,
            memory,
        };
        claim.write(expected)?;
        Ok(Record::Claimed(claim))
    }

    /// The draft that an earlier attempt made.
    pub(crate) fn post_id(&self) -> Option<&str> {
        self.memory.post_id.as_deref()
    }

    /// Remembers the draft.
    ///
    /// # Errors
    /// As [`take`](Claim::take).
    pub(crate) fn drafted(&mut self, id: &str) -> Result<()> {
        self.memory.post_id = Some(id.to_owned());
        self.write(Some(self.revision))
    }

    /// Remembers what was published.
    ///
    /// # Errors
    /// As [`take`](Claim::take).
    pub(crate) fn published(mut self, published: &Published) -> Result<()> {
        self.memory.published = Some(published.clone());
        self.write(Some(self.revision))
    }

    fn write(&mut self, expected: Option<u64>) -> Result<()> {
        let value = serde_json::to_vec(&self.memory)?;
        match kv::compare_and_set(&self.key, expected, value, Some(KEPT))? {
            Some(revision) => {
                self.revision = revision;
                Ok(())
            }
            None => Err(Error::retryable(
                "publish.claimed",
                "another attempt is publishing the same article",
            )),
        }
    }
}
