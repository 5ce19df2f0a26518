//! `compile-module`: what the daemon starts for each module that it must compile. Nothing for people.

use std::io::{self, Write as _};

use super::args::CompileModuleArguments;
use super::exit::Exit;
use crate::sandbox::compiler::child::{self, Orders};

/// Compiles standard input to standard output. The exit codes are those that `sandbox::compiler` reads.
pub fn compile_module(arguments: &CompileModuleArguments) -> Exit {
    let orders = Orders {
        memory_bytes: arguments.memory,
        cpu_seconds: arguments.cpu_seconds,
        parent: arguments.parent,
    };
    let (exit, answer) = match child::compile(&orders) {
        Ok(Ok(code)) => (Exit::Ok, code),
        Ok(Err(reason)) => (Exit::Failed, reason.into_bytes()),
        Err(error) => return Exit::Unreachable.because(error),
    };
    let mut out = io::stdout().lock();
    match out.write_all(&answer).and_then(|()| out.flush()) {
        Ok(()) => exit,
        Err(error) => Exit::Unreachable.because(error),
    }
}
