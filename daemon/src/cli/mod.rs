//! The command line: arguments in, verbs of the API called, text or JSON out, an exit code.
//!
//! Commands speak to the daemon that `--server` names, or to the state folder's socket when one listens; else
//! they take the folder's lock and run the same router in their own process.

mod args;
mod check;
mod client;
mod compile_module;
mod dead_letters;
mod exit;
mod follow;
mod kv;
mod people;
mod people_args;
mod print;
mod remote;
mod runs;
mod schedules;
mod secrets;
mod serve;
mod simulate;
mod tokens;

pub use exit::Exit;

use std::collections::BTreeMap;

use clap::Parser;

use crate::config::{self, Loaded};
use crate::daemon::Extent;
use crate::diagnostic;
use args::{
    Arguments, Command, DeadLetterArguments, RunArguments, RunCommand, ScheduleCommand,
    SecretCommand,
};

/// Parses the process's arguments, runs the command and says how it went.
pub fn main() -> Exit {
    // Also arguments that are not understood are answered in the form that they ask for.
    let json = std::env::args_os().any(|argument| argument == "--json");
    if json {
        exit::speak_json();
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // Help and version are not mistakes; clap prints either where it belongs.
        Err(error) if json && error.use_stderr() => {
            return Exit::Usage.because(error.render().to_string().trim());
        }
        Err(error) => {
            // Nobody reads it when the terminal is gone; the code still says what happened.
            let _ = error.print();
            return match error.use_stderr() {
                true => Exit::Usage,
                false => Exit::Ok,
            };
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
    let target = client::Target {
        server: arguments.server,
        insecure_http: arguments.insecure_http,
        organization: arguments.organization,
    };
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
        Command::Schedule(ScheduleCommand::Simulate(orders)) => {
            simulate::simulate(&settings, &orders, json)
        }
        Command::Secret(SecretCommand::Key) => return secrets::key(json),
        Command::Secret(SecretCommand::Set { misplaced, .. }) if !misplaced.is_empty() => {
            return secrets::misplaced();
        }
        command => {
            let extent = extent(&command);
            match client::Client::connect(target, settings, environment, extent).await {
                Ok(client) => {
                    if !client.is_daemon() && extent != Extent::Whole {
                        print::hold();
                    }
                    let result = runs::dispatch(&client, command, json).await;
                    client.close().await;
                    print::release();
                    result
                }
                Err(error) => Err(error),
            }
        }
    };
    result.unwrap_or_else(exit::CliError::report)
}

/// What a command needs where no daemon runs. Only what is followed to its end carries runs out.
fn extent(command: &Command) -> Extent {
    match command {
        Command::Run(RunArguments {
            show: Some(RunCommand::Show { .. }),
            ..
        })
        | Command::Runs(_)
        | Command::Cancel(_)
        | Command::DeadLetters(DeadLetterArguments { command: None, .. })
        | Command::Kv(_)
        | Command::User(_)
        | Command::Role(_)
        | Command::Token(_)
        | Command::Organization(_)
        | Command::Audit(_) => Extent::Records,
        Command::DeadLetters(_) => Extent::Files,
        Command::Logs(arguments) if !arguments.follow => Extent::Records,
        Command::Run(arguments) if arguments.detach => Extent::Files,
        Command::Rerun(arguments) if arguments.detach => Extent::Files,
        Command::Tasks | Command::Workflows | Command::Secret(_) | Command::Schedule(_) => {
            Extent::Files
        }
        // The others, as far as they come here, begin something and see it through.
        _ => Extent::Whole,
    }
}
