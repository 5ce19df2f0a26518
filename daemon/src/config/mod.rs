//! The daemon's own settings: `flowweaver.toml`, then `FLOWWEAVER_<SECTION>_<KEY>` over it.
//!
//! Everything has a default and the file may be absent; `MODE` picks the defaults. What a workflow may ask for is in its own
//! file; here the operator says how much of it is given.

mod hosts;
mod profile;
mod sections;
#[cfg(test)]
mod tests;

pub use hosts::{CallRate, HostKey, HostSection};
pub use sections::{
    DatabaseMode, DatabaseSection, Durability, EngineSection, LimitsSection, LogFormat, LogSection,
    NetworkSection, PathsSection, ReloadSection, SecretsSection, Settings, StoreSection,
    WorkflowSection, sqlite_path,
};

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::diagnostic::{Diagnostic, Severity};
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
    /// The file says something that is not a setting.
    #[error("{0}")]
    Invalid(Box<Diagnostic>),
    /// A variable says something that is not a setting.
    #[error("the environment variable {variable}: {message}")]
    Variable {
        /// Its name.
        variable: String,
        /// What is wrong with it.
        message: String,
    },
}

/// Reads the settings: `file` if given (then it must exist), else [`FILE_NAME`] if it is there,
/// else defaults; and `environment` over them. Relative paths are relative to the file's folder.
/// Answers the variables too: in development those of `.env` are among them.
pub fn load(
    file: Option<&Path>,
    environment: BTreeMap<String, String>,
) -> Result<(Settings, BTreeMap<String, String>), ConfigError> {
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
    let mut settings = parse(path, &text, profile, &environment)?;
    settings.rebase(folder);
    Ok((settings, environment))
}

fn parse(
    path: &Path,
    text: &str,
    profile: Profile,
    environment: &BTreeMap<String, String>,
) -> Result<Settings, ConfigError> {
    let invalid = |error: &toml::de::Error| {
        ConfigError::Invalid(Box::new(Diagnostic {
            severity: Severity::Error,
            file: path.display().to_string().into(),
            text: Arc::from(text),
            span: error.span().unwrap_or(0..0),
            message: error.message().trim_end_matches('.').to_owned(),
            help: None,
        }))
    };
    let settings: Settings = toml::from_str(text).map_err(|error| invalid(&error))?;
    let overrides = overrides(environment);
    if overrides.is_empty() && profile.defaults().is_empty() {
        return Ok(settings);
    }
    let mut table: toml::Table = toml::from_str(text).map_err(|error| invalid(&error))?;
    for (section, key, value) in profile.defaults() {
        let section = table
            .entry(*section)
            .or_insert_with(|| toml::Value::Table(toml::Table::new()));
        if let Some(section) = section.as_table_mut() {
            section
                .entry(*key)
                .or_insert_with(|| toml::Value::String((*value).to_owned()));
        }
    }
    for (variable, section, key, value) in overrides {
        let wrong = |message: String| ConfigError::Variable {
            variable: variable.clone(),
            message,
        };
        let target = table
            .entry(section.clone())
            .or_insert_with(|| toml::Value::Table(toml::Table::new()));
        let Some(target) = target.as_table_mut() else {
            return Err(wrong(format!("`{section}` is not a section")));
        };
        target.insert(key, value);
        Settings::deserialize(table.clone()).map_err(|error| wrong(error.message().to_owned()))?;
    }
    Settings::deserialize(table).map_err(|error| invalid(&error))
}

/// The overrides in the environment, as (variable, section, key, value). A value that reads as a
/// TOML number, boolean or array is one; everything else is text.
fn overrides(environment: &BTreeMap<String, String>) -> Vec<(String, String, String, toml::Value)> {
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
        let section = section.to_ascii_lowercase();
        if !sections::FLAT_SECTIONS.contains(&section.as_str()) {
            continue;
        }
        let literal = toml::from_str::<toml::Table>(&format!("value = {value}"))
            .ok()
            .and_then(|mut table| table.remove("value"))
            .filter(|value| !value.is_datetime());
        let value = literal.unwrap_or_else(|| toml::Value::String(value.clone()));
        found.push((variable.clone(), section, key.to_ascii_lowercase(), value));
    }
    found
}
