//! The command line: arguments in, verbs of the API called, text or JSON out, an exit code.
//!
//! Commands speak to the daemon's socket when one listens; else they take the state folder's lock
//! and run the same router in their own process.

mod args;
mod check;
mod client;
mod compile_module;
mod exit;
mod follow;
mod kv;
mod print;
mod runs;
mod secrets;
mod serve;

pub use exit::Exit;

use std::collections::BTreeMap;

use clap::Parser;

use crate::config::{self, Loaded};
use crate::diagnostic;
use args::{Arguments, Command, SecretCommand};

/// Parses the process's arguments, runs the command and says how it went.
pub fn main() -> Exit {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are not mistakes; clap prints either where it belongs.
            let code = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Ok
            };
            // Nobody reads it when the terminal is gone; the code still says what happened.
            let _ = error.print();
            return code;
        }
    };
    // Before settings, environment and runtime, none of which that process may have.
    if let Command::CompileModule(orders) = &arguments.command {
        return compile_module::compile_module(orders);
    }
    // A variable that is not UTF-8 is none of ours: names and values of settings are text.
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let loaded = config::load(arguments.config.as_deref(), environment);
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return Exit::Usage.because(error),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(dispatch(arguments, loaded)),
        Err(error) => Exit::Unreachable.because(error),
    }
}

async fn dispatch(arguments: Arguments, loaded: Loaded) -> Exit {
    let json = arguments.json;
    let Loaded {
        settings,
        environment,
        warnings,
    } = loaded;
    let result = match arguments.command {
        Command::Serve => return serve::serve(settings, environment, &warnings).await,
        Command::Check(command) => {
            if !warnings.is_empty() {
                print::aside(&diagnostic::render(&warnings));
            }
            return check::check(&settings, &environment, &command, json).await;
        }
        Command::CompileModule(orders) => return compile_module::compile_module(&orders),
        Command::Schema => return print::value(&crate::workflow::schema::json_schema()),
        Command::Secret(SecretCommand::Key) => return secrets::key(json),
        Command::Secret(SecretCommand::Set { misplaced, .. }) if !misplaced.is_empty() => {
            return secrets::misplaced();
        }
        command => match client::Client::connect(settings, environment).await {
            Ok(client) => {
                let result = runs::dispatch(&client, command, json).await;
                client.close().await;
                result
            }
            Err(error) => Err(error),
        },
    };
    result.unwrap_or_else(|failure| failure.exit.because(failure.message))
}
