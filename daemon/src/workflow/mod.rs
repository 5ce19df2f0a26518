//! What a workflow file means: source text in, compiled workflow or diagnostics out.
//!
//! Pure: no IO, no clock, no async. Reading files is `reload`'s work, running is `engine`'s.

pub mod expression;
pub mod grant;
pub mod model;
