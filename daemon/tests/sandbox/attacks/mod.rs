//! What a hostile module, guest or file may try against the sandbox. Each test names its attack and what it gets.
//!
//! A guest's attack goes through `world::attempt`, which then runs an honest guest in the same sandbox.

mod boundary;
mod cache;
mod cancel;
mod compile;
mod cpu;
mod daemon;
mod features;
mod leftovers;
mod memory;
mod modules;
mod mutations;
mod output;
mod surroundings;
