//! What a workflow file refers to beyond itself, as plain data: modules, the operator's vars and
//! ceilings, databases, secrets, other workflows.
//!
//! Gathering it is `reload`'s work.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::family::TaskOutput;
use super::grant::SqlMode;
use super::model::InputSpec;
use crate::id::{
    DatabaseName, Digest, ModuleName, OrganizationId, SecretName, VariableName, WorkflowName,
};

/// Everything a file is compiled against.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// Whose file it is. The same file of another organization is another version.
    pub organization: OrganizationId,
    /// The modules there are.
    pub modules: BTreeMap<ModuleName, ModuleFacts>,
    /// The operator's `[workflows.<name>.vars]` for this workflow.
    pub vars: BTreeMap<VariableName, Value>,
    /// The operator's `[limits]`.
    pub ceilings: Ceilings,
    /// The configured databases this organization may use; none: unknown, not checked.
    pub databases: Option<BTreeMap<DatabaseName, DatabaseFacts>>,
    /// The names of the secrets this organization may use; none: unknown, not checked.
    pub secrets: Option<BTreeSet<SecretName>>,
    /// The other workflows of the organization.
    pub workflows: BTreeMap<WorkflowName, WorkflowFacts>,
}

/// What is known of a module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModuleFacts {
    /// Its content.
    pub digest: Digest,
    /// What it says of itself.
    pub description: ModuleDescription,
    /// What it imports, e.g. `flowweaver:http/client@0.1.0`.
    #[serde(default)]
    pub imports: Vec<String>,
}

/// What a module says of itself (`describe`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModuleDescription {
    /// Its name.
    pub name: String,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// One line for people.
    #[serde(default)]
    pub summary: String,
    /// The capabilities it cannot work without: `http`, `sql`, `kv`.
    #[serde(default)]
    pub requires: Vec<String>,
    /// The JSON Schema of its input.
    #[serde(default = "anything")]
    pub input: Value,
    /// The JSON Schema of its output.
    #[serde(default = "anything")]
    pub output: Value,
    /// Input fields used when nobody gives them.
    #[serde(default)]
    pub defaults: Map<String, Value>,
}

fn anything() -> Value {
    Value::Bool(true)
}

/// A configured database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseFacts {
    /// The most that a grant may ask for.
    pub mode: SqlMode,
    /// The tables that grants may name; none: any.
    pub tables: Option<Vec<String>>,
    /// What the case of a table's name means there.
    pub case: NameCase,
}

/// What the case of a table's name means to a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameCase {
    /// Nothing: SQLite.
    Ignored,
    /// A part in double quotes is exact, any other means lower case: PostgreSQL.
    Quoted,
    /// Everything, since it may: MariaDB.
    Counts,
}

impl NameCase {
    /// Whether two names mean one table.
    pub fn is_same(self, one: &str, other: &str) -> bool {
        self.read(one) == self.read(other)
    }

    fn read(self, name: &str) -> String {
        let part = |part: &str| match (self, part.strip_prefix('"')) {
            (Self::Counts, _) => part.to_owned(),
            (Self::Quoted, Some(rest)) => rest.trim_end_matches('"').to_owned(),
            (Self::Quoted, None) | (Self::Ignored, _) => part.to_ascii_lowercase(),
        };
        let name = name.split('.').map(part).collect::<Vec<_>>().join(".");
        let usual = match self {
            Self::Ignored => "main.",
            Self::Quoted => "public.",
            Self::Counts => return name,
        };
        name.strip_prefix(usual).unwrap_or(&name).to_owned()
    }
}

/// Another workflow.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowFacts {
    /// Its live version.
    pub version: Digest,
    /// What it takes.
    pub inputs: Vec<InputSpec>,
    /// The JSON Schema of what a task that runs it gives: `run_id`, and `tasks` by name.
    pub output: Value,
    /// Its tasks, in the order of its file.
    pub tasks: Vec<TaskOutput>,
    /// The workflows that its tasks run.
    pub uses: BTreeSet<WorkflowName>,
    /// How many levels of workflows its tasks run.
    pub height: u32,
}

/// What the operator lets workflows ask for; what is in force is the smaller of both. Part of a
/// workflow's version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ceilings {
    /// `limits.timeout`: the longest timeout of an attempt.
    pub timeout: Duration,
    /// `limits.default_timeout`.
    pub default_timeout: Duration,
    /// `limits.cpu`: the largest CPU budget of an attempt.
    pub cpu: Duration,
    /// `limits.default_cpu`.
    pub default_cpu: Duration,
    /// `limits.memory`: the most memory of an attempt, in bytes.
    pub memory_bytes: u64,
    /// `limits.default_memory`, in bytes.
    pub default_memory_bytes: u64,
    /// `limits.output`: the largest output, in bytes; also the default.
    pub output_bytes: u64,
    /// `limits.max_parallel`: items of one `for_each` at once.
    pub max_parallel: u32,
    /// `limits.default_max_parallel`.
    pub default_max_parallel: u32,
    /// `limits.attempts`: attempts of one task.
    pub attempts: u32,
    /// `limits.retry_delay`: the longest wait between two attempts.
    pub retry_delay: Duration,
    /// `limits.run_timeout`: the longest timeout of a run.
    pub run_timeout: Duration,
    /// `limits.tasks`: tasks of one workflow.
    pub tasks: usize,
    /// `limits.schedules`: schedules of one workflow.
    pub schedules: usize,
}

impl Default for Ceilings {
    fn default() -> Self {
        Self {
            // An hour: long enough for a slow language model, short enough that nobody waits a
            // day for a stuck one.
            timeout: Duration::from_secs(3_600),
            default_timeout: Duration::from_secs(60),
            cpu: Duration::from_secs(300),
            // A task that computes longer than this is rare and says so in its file.
            default_cpu: Duration::from_secs(10),
            memory_bytes: 512 << 20,
            default_memory_bytes: 128 << 20,
            // Outputs travel through expressions and the store; bulk data belongs elsewhere.
            output_bytes: 8 << 20,
            max_parallel: 100,
            default_max_parallel: 8,
            // With doubling waits, more attempts than this take days.
            attempts: 20,
            retry_delay: Duration::from_secs(86_400),
            run_timeout: Duration::from_secs(7 * 86_400),
            // Each is a row in every run.
            tasks: 2_000,
            schedules: 100,
        }
    }
}
