//! Writing FlowWeaver tasks in Rust.
//!
//! This crate holds the author's side of the contract in `wit/`: the attribute, the types that cross the
//! boundary, a client for each capability, and fake brokers for native tests. The host's side is not here.
//!
#![doc = include_str!("../README.md")]

// The attribute's glue and the generated bindings name this crate by its public name.
extern crate self as flowweaver_task;

pub mod http;
pub mod kv;
pub mod log;
pub mod sql;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

mod context;
mod description;
mod error;
mod host;
mod invocation;

pub use context::Context;
pub use error::{Error, Result};
pub use flowweaver_task_macros::task;
pub use schemars;
pub use serde;
pub use serde_json;
pub use serde_json::{Value, json};

/// What the attribute's glue calls. Not for authors: it may change with any version.
#[doc(hidden)]
pub mod __private {
    pub use crate::description::describe;
    pub use crate::invocation::call;

    #[cfg(target_arch = "wasm32")]
    pub use crate::host::bindings::{
        self, export, exports::flowweaver::task::entry::Guest,
        flowweaver::types::types::Error as GuestError,
    };
    #[cfg(target_arch = "wasm32")]
    pub use wit_bindgen::rt;
}
