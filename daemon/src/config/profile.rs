//! What surrounds the settings: the process's variables, the profile that `MODE` picks, and, in
//! development only, a `.env` file.
//!
//! A profile changes defaults; the settings file and the variables are stronger.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::ConfigError;

/// Read in development, beside the settings file. Production never reads it: a forgotten file must
/// not change what an unattended daemon does.
const DOT_ENV: &str = ".env";
/// The variable that picks the profile.
const MODE: &str = "MODE";

/// For whom the defaults are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Profile {
    /// `MODE` is not set.
    Plain,
    /// `MODE=dev`: a person at a terminal. Reads `.env`, logs more.
    Development,
    /// `MODE=prd`: nobody watches. Logs for programs.
    Production,
}

impl Profile {
    fn read(environment: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        match environment.get(MODE).map(String::as_str) {
            None | Some("") => Ok(Self::Plain),
            Some("dev") => Ok(Self::Development),
            Some("prd") => Ok(Self::Production),
            Some(other) => Err(ConfigError::Variable {
                variable: MODE.to_owned(),
                message: format!("`{other}` is neither `dev` nor `prd`"),
            }),
        }
    }

    /// Section, key and value of what this profile sets where nobody else does.
    pub(super) fn defaults(self) -> &'static [(&'static str, &'static str, &'static str)] {
        match self {
            Self::Plain => &[],
            Self::Development => &[("log", "filter", "info,flowweaver=debug")],
            Self::Production => &[("log", "format", "json")],
        }
    }
}

/// The profile, and the variables with those that `.env` in `folder` adds. The process's own are
/// stronger.
pub(super) fn surroundings(
    mut environment: BTreeMap<String, String>,
    folder: &Path,
) -> Result<(Profile, BTreeMap<String, String>), ConfigError> {
    let profile = Profile::read(&environment)?;
    if profile == Profile::Development {
        let path = folder.join(DOT_ENV);
        match dotenvy::from_path_iter(&path) {
            Ok(lines) => {
                for line in lines {
                    let (name, value) = line.map_err(|error| unreadable(&path, error))?;
                    environment.entry(name).or_insert(value);
                }
            }
            Err(error) if error.not_found() => {}
            Err(error) => return Err(unreadable(&path, error)),
        }
    }
    Ok((profile, environment))
}

fn unreadable(path: &Path, error: dotenvy::Error) -> ConfigError {
    let cause = match error {
        dotenvy::Error::Io(cause) => cause,
        // The line may hold a secret, so it is named by its position alone.
        dotenvy::Error::LineParse(_, position) => io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a line is not NAME=value (near its character {position})"),
        ),
        _ => io::Error::new(io::ErrorKind::InvalidData, "a line is not NAME=value"),
    };
    ConfigError::Unreadable {
        path: path.to_owned(),
        cause,
    }
}
