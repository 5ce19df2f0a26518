//! Identifiers and names: each exists only by generation or by parsing, so nobody checks twice.
//!
//! What they name lives elsewhere; this file knows only their text forms.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use ulid::Ulid;

/// A text that is not an identifier of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {kind}: {rule}")]
pub struct InvalidId {
    /// What was expected, e.g. `run id`.
    pub kind: &'static str,
    /// What was given.
    pub text: String,
    /// The form it must have.
    pub rule: &'static str,
}

macro_rules! ulid_ids {
    ($($(#[$doc:meta])* $name:ident = $kind:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// 26 characters (ULID); sorts by creation time; made by the daemon, never by the database.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Ulid);

        impl $name {
            /// A new one.
            pub fn generate() -> Self {
                Self(Ulid::generate())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Ulid::from_string(text).map(Self).map_err(|_| InvalidId {
                    kind: $kind,
                    text: text.chars().take(64).collect(),
                    rule: "26 characters of Crockford's base 32",
                })
            }
        }
    )*};
}

ulid_ids! {
    /// One execution of a workflow.
    RunId = "run id";
    /// One execution of a job.
    JobRunId = "job run id";
    /// One execution of a task (of one item, where the task has `for_each`).
    TaskRunId = "task run id";
    /// One try of a task run.
    AttemptId = "attempt id";
    /// A workflow's identity across its versions.
    WorkflowId = "workflow id";
    /// An order to a run's owner.
    CommandId = "command id";
    /// One recorded input or output.
    IoId = "io id";
    /// One recorded call to a broker.
    HostCallId = "host call id";
    /// An entry of the dead-letter list.
    DeadLetterId = "dead letter id";
    /// One process of the daemon.
    DaemonId = "daemon id";
    /// An organization.
    OrganizationId = "organization id";
    /// A user.
    UserId = "user id";
    /// A role.
    RoleId = "role id";
    /// A department of an organization.
    DepartmentId = "department id";
    /// A position in an organization.
    PositionId = "position id";
    /// A browser's session.
    SessionId = "session id";
    /// An API token.
    TokenId = "token id";
    /// A line of the audit log.
    AuditId = "audit id";
    /// A schedule's identity across its edits.
    ScheduleId = "schedule id";
    /// One recorded time of a schedule, or a span of missed ones.
    FireId = "fire id";
}

impl DeadLetterId {
    /// A new one of this time (milliseconds since 1970), so that lists may be cut by time.
    pub fn at(unix_ms: u64) -> Self {
        Self(Ulid::from_parts(unix_ms, rand::random()))
    }

    /// The least id of this time.
    pub const fn least_at(unix_ms: u64) -> Self {
        Self(Ulid::from_parts(unix_ms, 0))
    }
}

impl OrganizationId {
    /// The default organization, which owns the files directly in `flows/`.
    pub const ROOT: Self = Self(Ulid(0));
}

/// The roles that the system makes have the same ids everywhere.
impl RoleId {
    /// Everything, in every organization.
    pub const SUPER_ADMIN: Self = Self(Ulid(1));
    /// The machine and what it runs.
    pub const SYSTEM_ADMIN: Self = Self(Ulid(2));
    /// Everything of one organization.
    pub const ORG_ADMIN: Self = Self(Ulid(3));
    /// Works with workflows.
    pub const USER: Self = Self(Ulid(4));
    /// Looks.
    pub const GUEST: Self = Self(Ulid(5));
}

impl Default for OrganizationId {
    fn default() -> Self {
        Self::ROOT
    }
}

/// A SHA-256 content digest. Its text form is `sha256:` and 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest of several parts. Each part's length is hashed before it, so that no two
    /// different lists of parts give the same digest.
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// The 64 hex digits without the prefix: a file name.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The first twelve hex digits, for people.
    pub fn short(&self) -> String {
        let mut hex = self.hex();
        hex.truncate(12);
        hex
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let mut bytes = [0; 32];
        text.strip_prefix("sha256:")
            .filter(|hex| {
                hex.bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            })
            .and_then(|hex| hex::decode_to_slice(hex, &mut bytes).ok())
            .map(|()| Self(bytes))
            .ok_or_else(|| InvalidId {
                kind: "digest",
                text: text.chars().take(80).collect(),
                rule: "sha256: and 64 lower-case hex digits",
            })
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $kind:literal, $check:ident, $rule:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The name's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                if $check(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidId { kind: $kind, text: text.chars().take(80).collect(), rule: $rule })
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

names! {
    /// A workflow's name; unique within an organization.
    WorkflowName = "workflow name", is_label, LABEL_RULE;
    /// A job's name; unique within its workflow.
    JobName = "job name", is_label, LABEL_RULE;
    /// A task's name; unique within its workflow.
    TaskName = "task name", is_label, LABEL_RULE;
    /// A module's name: the file name in `tasks/` without `.wasm`.
    ModuleName = "module name", is_label, LABEL_RULE;
    /// A schedule's name; unique within its workflow.
    ScheduleName = "schedule name", is_label, LABEL_RULE;
    /// The name under which `flowweaver.toml` configures a database.
    DatabaseName = "database name", is_label, LABEL_RULE;
    /// The name of a workflow input or a var, as expressions write it.
    VariableName = "variable name", is_identifier, IDENTIFIER_RULE;
    /// A secret's name.
    SecretName = "secret name", is_identifier, IDENTIFIER_RULE;
}

/// Long enough for a DNS label, which names end up in.
const NAME_MAX: usize = 63;
const LABEL_RULE: &str = "a lower-case letter, then up to 62 of a-z, 0-9, '-' and '_'";
const IDENTIFIER_RULE: &str = "a letter or '_', then up to 62 letters, digits and '_'";

fn is_label(text: &str) -> bool {
    text.len() <= NAME_MAX
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

fn is_identifier(text: &str) -> bool {
    text.len() <= NAME_MAX
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_form_and_sorts_by_time() {
        let first = RunId::generate();
        assert_eq!(first.to_string().parse::<RunId>(), Ok(first));
        assert!("../../etc/passwd".parse::<RunId>().is_err());
    }

    #[test]
    fn names_refuse_everything_a_path_or_an_expression_could_misread() {
        for bad in [
            "",
            "A",
            "1a",
            "a/b",
            "a.b",
            "a b",
            "..",
            "é",
            "a\0",
            &"a".repeat(64),
        ] {
            assert!(bad.parse::<TaskName>().is_err(), "{bad:?}");
        }
        assert!("keyword-search_2".parse::<TaskName>().is_ok());
    }

    #[test]
    fn moving_a_byte_from_one_part_to_the_next_changes_the_digest() {
        assert_ne!(
            Digest::of_parts([&b"ab"[..], b"c"]),
            Digest::of_parts([&b"a"[..], b"bc"])
        );
    }
}
