//! The one seam between the clients and the world: the generated bindings in the sandbox, the fake
//! brokers everywhere else. Both sides offer the same functions, and the clients cannot tell them apart.

#[cfg(target_arch = "wasm32")]
pub mod bindings;
#[cfg(target_arch = "wasm32")]
mod sandboxed;
#[cfg(target_arch = "wasm32")]
pub(crate) use sandboxed::{context, http, kv, log, sql};

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::testing::brokers::{context, http, kv, log, sql};
