//! What a workflow file means: source text in, compiled workflow or diagnostics out.
//!
//! Pure: no IO, no clock, no async. Reading files is `reload`'s work, running is `engine`'s.
//!
//! A file goes through these stages, and every mistake of a stage is told at once:
//! text (`source`) → typed drafts with places (`decode`, `draft`, by the table of keys in `keys`)
//! → names resolved, graphs checked (`graph`, `template`) → tasks checked against what their
//! modules take and give (`wiring`, `typing`), grants (`grant_source`), limits → [`Workflow`].

mod after;
mod compile;
pub mod cron;
mod decode;
mod draft;
mod draft_task;
pub mod environment;
pub mod expression;
pub mod family;
pub mod grant;
mod grant_source;
mod graph;
pub mod input;
mod jinja;
mod keys;
mod known;
mod limits;
mod link;
pub mod model;
mod nested;
pub(crate) mod report;
mod scan;
pub mod schedule;
pub mod schema;
mod source;
mod template;
mod triggers;
mod typing;
mod url_pattern;
mod value;
mod wiring;

#[cfg(test)]
mod tests;

pub use compile::{Compiled, compile, schedules};
pub use environment::Environment;
pub use model::Workflow;
pub(crate) use source::parse as parse_toml;
pub use source::{SOURCE_MAX, WorkflowSource, name_of, names_of};
