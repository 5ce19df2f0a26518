//! The code generated from `wit/`, once for every task crate. Nothing here is written by hand.
//!
//! It covers the world with everything in it; what a task does not call, the linker leaves out, so a
//! component imports only what it uses.

// Generated code lowers and lifts values through raw memory, and documents itself with the WIT's words.
#![allow(
    unsafe_code,
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::restriction
)]

wit_bindgen::generate!({
    path: "../wit",
    world: "task-full",
    generate_all,
    pub_export_macro: true,
    export_macro_name: "export",
    default_bindings_module: "flowweaver_task::__private::bindings",
    runtime_path: "::flowweaver_task::__private::rt",
});
