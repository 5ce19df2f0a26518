//! The daemon's own settings: `flowweaver.toml`, then `FLOWWEAVER_<SECTION>_<KEY>` over it.
//!
//! Everything has a default and the file may be absent; `MODE` picks the defaults. What a workflow may ask for is in its own
//! file; here the operator says how much of it is given.

mod check;
mod decode;
mod hosts;
mod keys;
mod profile;
mod sections;
mod server;
#[cfg(test)]
mod tests;

pub use hosts::{CallRate, HostKey, HostSection};
pub use sections::{
    DatabaseMode, DatabaseSection, Durability, EngineSection, LimitsSection, LogFormat, LogSection,
    NetworkSection, PathsSection, ReloadSection, SecretsSection, Settings, StoreSection,
    WorkflowSection, sqlite_path,
};
pub use server::{AuthSection, Listen, PublicUrl, ServerSection};

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::diagnostic::{self, Diagnostic};
use decode::Reading;
use keys::{Form, Section};
use profile::Profile;

/// The file's usual name, looked for in the working folder.
pub const FILE_NAME: &str = "flowweaver.toml";

/// Every variable that overrides a setting begins with this. `FLOWWEAVER_SECRET_…` does not: those
/// are secrets.
const PREFIX: &str = "FLOWWEAVER_";

/// Looks like a setting and is none: it holds the keys of secrets, and must not stand in a message.
const KEYS: &str = "FLOWWEAVER_SECRETS_KEY";

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file was named and cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The file, or variables over it, say what is not a setting: all of it.
    #[error(
        "the settings cannot be used\n\n{}{}",
        diagnostic::render(file),
        lines(variables)
    )]
    Invalid {
        /// What is wrong in the file; warnings too.
        file: Vec<Diagnostic>,
        /// What is wrong with variables, each in one sentence that names it.
        variables: Vec<String>,
    },
    /// A variable that picks the settings says something else.
    #[error("the environment variable {variable}: {message}")]
    Variable {
        /// Its name.
        variable: String,
        /// What is wrong with it.
        message: String,
    },
}

fn lines(sentences: &[String]) -> String {
    let lines = sentences
        .iter()
        .map(|sentence| format!("error: {sentence}\n"));
    lines.collect()
}

/// Settings, and what comes with them.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The variables; in development those of `.env` are among them.
    pub environment: BTreeMap<String, String>,
    /// What is odd in the file.
    pub warnings: Vec<Diagnostic>,
}

/// Reads the settings: `file` if given (then it must exist), else [`FILE_NAME`] if it is there,
/// else defaults; and `environment` over them. Relative paths are relative to the file's folder.
///
/// # Errors
/// All mistakes of the file and the variables at once.
pub fn load(
    file: Option<&Path>,
    environment: BTreeMap<String, String>,
) -> Result<Loaded, ConfigError> {
    let path = file.unwrap_or(Path::new(FILE_NAME));
    let folder = path.parent().unwrap_or(Path::new(""));
    let (profile, environment) = profile::surroundings(environment, folder)?;
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound && file.is_none() => String::new(),
        Err(cause) => {
            return Err(ConfigError::Unreadable {
                path: path.to_owned(),
                cause,
            });
        }
    };
    let (mut settings, mut reading) = parse(path, &text, profile, &environment)?;
    settings.rebase(folder);
    check::missing_files(&settings, &mut reading);
    Ok(Loaded {
        settings,
        environment,
        warnings: reading.report.finish(),
    })
}

fn parse(
    path: &Path,
    text: &str,
    profile: Profile,
    environment: &BTreeMap<String, String>,
) -> Result<(Settings, Reading), ConfigError> {
    let file = path.display().to_string();
    let (mut settings, mut reading) = decode::read(&file, text, profile, environment)?;
    check::ceilings(&mut settings, &mut reading);
    if reading.has_errors() {
        return Err(reading.into_error());
    }
    Ok((settings, reading))
}

/// The overrides in the environment, as (variable, section, key, text).
fn overrides(
    environment: &BTreeMap<String, String>,
) -> Vec<(String, &'static Section, String, String)> {
    let mut found = Vec::new();
    for (variable, value) in environment {
        let Some(rest) = variable.strip_prefix(PREFIX) else {
            continue;
        };
        if variable == KEYS {
            continue;
        }
        let Some((section, key)) = rest.split_once('_') else {
            continue;
        };
        let section = keys::section(&section.to_ascii_lowercase());
        if let Some(section) = section.filter(|section| section.form == Form::Flat) {
            let (variable, key) = (variable.clone(), key.to_ascii_lowercase());
            found.push((variable, section, key, value.clone()));
        }
    }
    found
}
