//! The arguments, as clap reads them. What they do is in the command's own file.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::RangedI64ValueParser;
use clap::{Args, Parser, Subcommand};

use crate::id::{DeadLetterId, RunId, ScheduleName, SecretName, TaskName, WorkflowName};
use crate::run::status::Status;
use crate::units::Span;

pub use super::people_args::{
    AuditArguments, OrganizationCommand, RoleCommand, TokenCommand, UserCommand,
};

/// From one row to as many as the API gives at once.
fn page(max: u32) -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=i64::from(max))
}

/// Hot-reloaded TOML workflows whose tasks are sandboxed WASM components.
#[derive(Debug, Parser)]
#[command(
    name = "flowweaver",
    version,
    after_help = "Exit codes: 0 done; 1 the run failed or the check found errors; \
    2 wrong arguments or settings; 3 no daemon to be reached or started; 4 refused: unknown, not accepted, or in \
    conflict with what is; 5 not let in, or not permitted. With --json, errors are JSON on standard error."
)]
pub struct Arguments {
    /// The daemon's settings [default: flowweaver.toml, if there is one].
    #[arg(long, global = true, value_name = "FILE", env = "FLOWWEAVER_CONFIG")]
    pub config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// The daemon to speak to, instead of the one in the state folder: https://flow.example.com. The token is in
    /// the variable FLOWWEAVER_TOKEN.
    #[arg(long, global = true, value_name = "URL", env = "FLOWWEAVER_SERVER")]
    pub server: Option<String>,
    /// Send the token to a server without TLS on another machine.
    #[arg(long, global = true)]
    pub insecure_http: bool,
    /// The organization, by name or id [default: the root, or the token's].
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "FLOWWEAVER_ORGANIZATION"
    )]
    pub organization: Option<String>,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon until SIGTERM or Ctrl-C.
    Serve,
    /// Check workflow files and print every mistake at its place.
    Check(CheckArguments),
    /// Start a workflow and follow it to its end, or show a run.
    Run(RunArguments),
    /// List runs, newest first.
    Runs(RunsArguments),
    /// Print a run's log.
    Logs(LogsArguments),
    /// List the task modules.
    Tasks,
    /// List workflows, and files that are not live as they stand.
    Workflows,
    /// Stop a run.
    Cancel(CancelArguments),
    /// Begin a new run that continues or repeats one.
    Rerun(RerunArguments),
    /// List what failed for good and waits for somebody, and repeat or dismiss it.
    DeadLetters(DeadLetterArguments),
    /// See when workflows start by themselves, why they did or did not, and change it.
    #[command(subcommand)]
    Schedule(ScheduleCommand),
    /// List secrets by name, and set, delete or re-encrypt those in the store.
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Look at a workflow's key-value state, and change it.
    #[command(subcommand)]
    Kv(KvCommand),
    /// List users, make, disable and delete them, and give them roles and one-time passwords.
    #[command(subcommand)]
    User(UserCommand),
    /// List roles, make and delete those of the organization.
    #[command(subcommand)]
    Role(RoleCommand),
    /// List API tokens, make and revoke them.
    #[command(subcommand)]
    Token(TokenCommand),
    /// List organizations and make them.
    #[command(subcommand)]
    Organization(OrganizationCommand),
    /// Print who changed what, newest first.
    Audit(AuditArguments),
    /// Print the JSON Schema of the workflow file format.
    Schema,
    /// Compile the module on standard input, for the daemon that started this process.
    #[command(name = crate::sandbox::compiler::COMMAND, hide = true)]
    CompileModule(CompileModuleArguments),
}

#[derive(Debug, Args)]
pub struct CompileModuleArguments {
    /// The most memory, in bytes.
    #[arg(long)]
    pub memory: u64,
    /// The most CPU time.
    #[arg(long)]
    pub cpu_seconds: u64,
    /// The daemon's process; this one ends with it.
    #[arg(long)]
    pub parent: u32,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DeadLetterArguments {
    #[command(flatten)]
    pub list: DeadLetterList,
    #[command(subcommand)]
    pub command: Option<DeadLetterCommand>,
}

#[derive(Debug, Args)]
pub struct DeadLetterList {
    /// Only of this workflow.
    #[arg(long)]
    pub workflow: Option<WorkflowName>,
    /// Only with this code.
    #[arg(long)]
    pub code: Option<String>,
    /// Only what failed at this time or later: 2026-01-31T08:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only what failed before this time.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// open, redriven, resolved, dismissed or superseded [default: open].
    #[arg(long)]
    pub state: Option<String>,
    /// Only after this entry, the last of the page before.
    #[arg(long, value_name = "ID")]
    pub cursor: Option<DeadLetterId>,
    /// At most so many.
    #[arg(long, default_value_t = 20, value_parser = page(crate::api::PAGE_MAX))]
    pub limit: u32,
}

#[derive(Debug, Subcommand)]
pub enum DeadLetterCommand {
    /// Begin a new run for each failed one, from its failure.
    Redrive {
        #[command(flatten)]
        which: DeadLetterFilter,
        /// With the workflow's newest version instead of the run's own.
        #[arg(long)]
        newest: bool,
    },
    /// Take entries off the list without repeating anything.
    Dismiss {
        #[command(flatten)]
        which: DeadLetterFilter,
        /// Kept with the entries.
        #[arg(long)]
        reason: Option<String>,
    },
}

#[derive(Debug, Args)]
pub struct DeadLetterFilter {
    /// These entries.
    pub ids: Vec<DeadLetterId>,
    /// The open entries of this workflow.
    #[arg(long)]
    pub workflow: Option<WorkflowName>,
    /// The open entries with this code.
    #[arg(long)]
    pub code: Option<String>,
    /// The open entries of this time or later: 2026-01-31T08:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// The open entries before this time.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Every open entry.
    #[arg(long)]
    pub all: bool,
}

#[derive(Debug, Subcommand)]
pub enum ScheduleCommand {
    /// List schedules with their next time.
    List {
        /// Only of this workflow.
        #[arg(long)]
        workflow: Option<WorkflowName>,
    },
    /// Show a schedule.
    Show {
        /// The schedule: its id, or WORKFLOW/NAME.
        schedule: String,
    },
    /// Make a schedule, which fires from now on.
    Create(ScheduleCreateArguments),
    /// Change some of what a schedule says; new times count from now on.
    Update(ScheduleUpdateArguments),
    /// Remove a schedule; its history stays.
    Delete {
        /// The schedule: its id, or WORKFLOW/NAME.
        schedule: String,
    },
    /// Let a schedule fire no more for now.
    Pause {
        /// The schedule: its id, or WORKFLOW/NAME.
        schedule: String,
    },
    /// Let a paused schedule fire again, from now on.
    Resume {
        /// The schedule: its id, or WORKFLOW/NAME.
        schedule: String,
    },
    /// Show the next times.
    Preview {
        /// The schedule: its id, or WORKFLOW/NAME.
        schedule: String,
        /// How many.
        #[arg(short, default_value_t = 10, value_parser = page(100))]
        n: u32,
    },
    /// Show what became of its times, newest first: what ran, and what did not and why.
    Fires {
        /// The schedule: its id, or WORKFLOW/NAME.
        schedule: String,
        /// At most so many.
        #[arg(long, default_value_t = 20, value_parser = page(200))]
        limit: u32,
    },
    /// Run times of the past that have not run.
    Backfill {
        /// The schedule: its id, or WORKFLOW/NAME.
        schedule: String,
        /// The first time: 2026-03-01, 2026-03-01T09:00 (in its zone) or 2026-03-01T09:00:00Z.
        #[arg(long)]
        from: String,
        /// The last time.
        #[arg(long)]
        to: String,
        /// Only say which times would run.
        #[arg(long)]
        dry_run: bool,
    },
    /// Print every decision that the daemon would make for the schedules of a file. Needs no daemon.
    Simulate(SimulateArguments),
}

/// What a schedule says, key by key as in a file.
#[derive(Debug, Args)]
pub struct ScheduleKeys {
    /// 5 fields, 6 with seconds first, or @daily and its kin.
    #[arg(long)]
    pub cron: Option<String>,
    /// An IANA zone, e.g. Asia/Seoul.
    #[arg(long)]
    pub timezone: Option<String>,
    /// What becomes of times that were missed: skip, latest or all.
    #[arg(long)]
    pub catch_up: Option<String>,
    /// Times missed longer ago are not caught up: 12h, 31d.
    #[arg(long, value_name = "TIME")]
    pub catch_up_window: Option<Span>,
    /// Only the latest so many are caught up.
    #[arg(long, value_name = "COUNT")]
    pub catch_up_max: Option<u32>,
    /// What becomes of a time while a run is active: skip, queue, allow or cancel-previous.
    #[arg(long)]
    pub overlap: Option<String>,
    /// It fires later by a part of this, the same each time.
    #[arg(long, value_name = "TIME")]
    pub jitter: Option<Span>,
    /// No time before this counts.
    #[arg(long, value_name = "WHEN")]
    pub start: Option<String>,
    /// No time from this on counts.
    #[arg(long, value_name = "WHEN")]
    pub end: Option<String>,
    /// An input of its runs; the value is JSON, or else text.
    #[arg(short, long = "input", value_name = "NAME=VALUE")]
    pub inputs: Vec<String>,
    /// Overrides of task inputs: JSON, by task name.
    #[arg(long, value_name = "JSON")]
    pub overrides: Option<String>,
}

#[derive(Debug, Args)]
pub struct ScheduleCreateArguments {
    /// The workflow.
    pub workflow: WorkflowName,
    /// The schedule's name.
    pub name: ScheduleName,
    #[command(flatten)]
    pub keys: ScheduleKeys,
    /// It does not fire until it is resumed.
    #[arg(long)]
    pub paused: bool,
}

#[derive(Debug, Args)]
pub struct ScheduleUpdateArguments {
    /// The schedule: its id, or WORKFLOW/NAME.
    pub schedule: String,
    #[command(flatten)]
    pub keys: ScheduleKeys,
}

#[derive(Debug, Args)]
pub struct SimulateArguments {
    /// The workflow file, or a workflow's name: its file in the flows folder.
    pub file: PathBuf,
    /// Only this schedule.
    #[arg(long)]
    pub schedule: Option<ScheduleName>,
    /// From here: 2026-03-01, 2026-03-01T09:00 (in the schedule's zone) or 2026-03-01T09:00:00Z.
    #[arg(long)]
    pub from: String,
    /// To here.
    #[arg(long)]
    pub to: String,
    /// No daemon runs in this span; may be written several times.
    #[arg(long, value_name = "A..B")]
    pub down: Vec<String>,
    /// How long each run takes.
    #[arg(long, value_name = "TIME", default_value = "0s")]
    pub run_time: Span,
    /// At most so many decisions of each schedule.
    #[arg(long, default_value_t = 1_000, value_parser = page(100_000))]
    pub limit: u32,
}

#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// List the names, where each comes from, and what uses it. Values are never shown.
    List,
    /// Set a secret in the store; the value comes from standard input, or is asked for.
    Set {
        /// The secret.
        name: SecretName,
        /// A value written by mistake: it is refused, and not repeated.
        #[arg(hide = true, num_args = 0.., allow_hyphen_values = true)]
        misplaced: Vec<OsString>,
    },
    /// Delete a secret from the store.
    Delete {
        /// The secret.
        name: SecretName,
    },
    /// Encrypt every secret in the store with the first key.
    Rekey,
    /// Print a new key for the secrets in the store.
    Key,
}

#[derive(Debug, Subcommand)]
pub enum KvCommand {
    /// List keys with revision, length and end.
    List {
        /// The workflow.
        workflow: WorkflowName,
        /// Only keys that begin with this.
        #[arg(long, default_value = "")]
        prefix: String,
        /// Only keys after this one.
        #[arg(long, value_name = "KEY")]
        after: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 100, value_parser = page(crate::broker::kv::LIST_MAX))]
        limit: u32,
    },
    /// Show a key's value: text as it is, anything else, and text that begins with `base64:`, as base64.
    Get {
        /// The workflow.
        workflow: WorkflowName,
        /// The key.
        key: String,
    },
    /// Write a key.
    Set {
        /// The workflow.
        workflow: WorkflowName,
        /// The key.
        key: String,
        /// The value; after `base64:` it is base64 [default: standard input, as it is].
        value: Option<String>,
        /// Remove it after this time: 30s, 12h, 90d; at most a hundred years.
        #[arg(long)]
        ttl: Option<Span>,
        /// Only if the key is at this revision, or `absent`.
        #[arg(long, value_name = "REVISION")]
        expect: Option<String>,
    },
    /// Delete a key.
    Delete {
        /// The workflow.
        workflow: WorkflowName,
        /// The key.
        key: String,
    },
}

#[derive(Debug, Args)]
pub struct CheckArguments {
    /// The files [default: all of the flows folder].
    pub files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct RunArguments {
    /// The workflow.
    #[arg(required = true)]
    pub workflow: Option<WorkflowName>,
    /// An input; the value is JSON, or else text.
    #[arg(short, long = "input", value_name = "NAME=VALUE")]
    pub inputs: Vec<String>,
    /// Overrides of task inputs: JSON, by task name.
    #[arg(long, value_name = "JSON")]
    pub overrides: Option<String>,
    /// The same key starts at most one run.
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// Larger goes first where runs wait [default: the workflow's].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub priority: Option<i32>,
    /// Print the run's id and do not follow it. Without a daemon, it begins when one starts.
    #[arg(short, long)]
    pub detach: bool,
    #[command(subcommand)]
    pub show: Option<RunCommand>,
}

#[derive(Debug, Subcommand)]
pub enum RunCommand {
    /// Show a run: jobs, tasks, attempts, calls, inputs and outputs.
    Show {
        /// The run.
        run: RunId,
    },
}

#[derive(Debug, Args)]
pub struct RunsArguments {
    /// Only of this workflow.
    #[arg(long)]
    pub workflow: Option<WorkflowName>,
    /// Only in these states, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub status: Vec<Status>,
    /// Only those that are tasks of this run.
    #[arg(long)]
    pub parent: Option<RunId>,
    /// Only those below this run, which nothing began but a person, a program or a clock.
    #[arg(long, conflicts_with = "parent")]
    pub root: Option<RunId>,
    /// At most so many.
    #[arg(long, default_value_t = 20, value_parser = page(crate::api::PAGE_MAX))]
    pub limit: u32,
}

#[derive(Debug, Args)]
pub struct LogsArguments {
    /// The run.
    pub run: RunId,
    /// Follow it to its end.
    #[arg(short, long)]
    pub follow: bool,
}

#[derive(Debug, Args)]
pub struct CancelArguments {
    /// The run.
    pub run: RunId,
    /// Kept with the run.
    #[arg(long, default_value = "")]
    pub reason: String,
}

#[derive(Debug, Args)]
pub struct RerunArguments {
    /// The run.
    pub run: RunId,
    /// From this task on; what stands before it is taken over.
    #[arg(long, value_name = "TASK", conflicts_with = "from_start")]
    pub from: Option<TaskName>,
    /// Everything again [default: from what failed].
    #[arg(long)]
    pub from_start: bool,
    /// With the workflow's newest version instead of the run's own.
    #[arg(long)]
    pub newest: bool,
    /// Print the new run's id and do not follow it.
    #[arg(short, long)]
    pub detach: bool,
}
