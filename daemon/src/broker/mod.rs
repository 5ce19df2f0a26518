//! The host side of what a task may import: check the grant, spend the budget, then the effect.
//!
//! One folder or file a capability. How a guest runs is `sandbox`'s business.

pub mod identity;
pub mod journal;
