//! The whole daemon as its users meet it: the real binary, real modules, a real kill.
//!
//! One binary for all of it; each file shows one kind of promise.

mod rig;
mod world;

mod basics;
mod brokers;
mod defects;
mod knowledge;
