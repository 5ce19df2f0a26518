//! `check`: compiles files as the daemon would, without touching anything that is live.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::args::CheckArguments;
use super::client::Client;
use super::exit::Exit;
use super::print;
use crate::config::Settings;
use crate::daemon::{self, Workbench};
use crate::diagnostic::{self, Diagnostic, Severity};
use crate::id::SecretName;
use crate::reload;

/// Checks the files, or all of the flows folder; the exit code says whether there were errors.
pub async fn check(
    settings: &Settings,
    environment: &BTreeMap<String, String>,
    arguments: &CheckArguments,
    json: bool,
) -> Exit {
    if let Err(error) = daemon::folders(settings) {
        return Exit::from(&error).because(error);
    }
    let files = match files(settings, arguments) {
        Ok(files) if files.is_empty() => {
            return Exit::Usage.because(format!("no *.toml in {}", settings.paths.flows.display()));
        }
        Ok(files) => files,
        Err(error) => {
            return Exit::Usage.because(format!("{}: {error}", settings.paths.flows.display()));
        }
    };
    let secrets = known_secrets(settings).await;
    let mut bench = match Workbench::open(settings, environment, secrets).await {
        Ok(bench) => bench,
        Err(error) => return Exit::from(&error).because(error),
    };
    let mut found: Vec<Diagnostic> = Vec::new();
    let mut unreadable = 0;
    for problem in bench.refused_modules() {
        print::aside(&format!("warning: {problem}"));
    }
    for file in &files {
        match fs::read(file) {
            Ok(bytes) => {
                let folder = folder_of(settings, file);
                found.extend(bench.check(&display(file), &bytes, folder.as_deref()));
            }
            Err(error) => {
                unreadable += 1;
                Exit::Usage.because(format!("{}: {error}", file.display()));
            }
        }
    }
    let errors = found
        .iter()
        .filter(|diagnostic| diagnostic.severity == Severity::Error)
        .count();
    if json {
        print::value(&Value::Array(found.iter().map(as_json).collect()));
    } else if found.is_empty() && unreadable < files.len() {
        let read = count(files.len() - unreadable);
        print::line(&format!("{read} checked, nothing to remark"));
    } else if !found.is_empty() {
        print::line(&diagnostic::render(&found));
    }
    match (unreadable, errors) {
        (1.., _) => Exit::Usage,
        (0, 0) => Exit::Ok,
        _ => Exit::Failed,
    }
}

/// The names of secrets that a running daemon knows; it alone can see all of them.
async fn known_secrets(settings: &Settings) -> Option<BTreeSet<SecretName>> {
    let answer = Client::running(settings)
        .await?
        .get("/v0/secrets")
        .await
        .ok()?;
    let rows = answer.get("secrets")?.as_array()?;
    let names = rows.iter().map(|row| print::text(row, "name").parse());
    names.collect::<Result<_, _>>().ok()
}

fn count(files: usize) -> String {
    if files == 1 {
        "1 file".to_owned()
    } else {
        format!("{files} files")
    }
}

fn display(file: &Path) -> String {
    file.display().to_string()
}

fn files(settings: &Settings, arguments: &CheckArguments) -> std::io::Result<Vec<PathBuf>> {
    if !arguments.files.is_empty() {
        return Ok(arguments.files.clone());
    }
    let flows = &settings.paths.flows;
    let found = reload::folder(flows, "toml")?;
    let mut files: Vec<PathBuf> = found.keys().map(|name| flows.join(name)).collect();
    for name in reload::folders(flows)? {
        if reload::is_organization(&name) {
            let folder = flows.join(name);
            let found = reload::folder(&folder, "toml")?;
            files.extend(found.keys().map(|name| folder.join(name)));
        }
    }
    Ok(files)
}

/// The organization's folder that a file is in; none for the root's own.
fn folder_of(settings: &Settings, file: &Path) -> Option<String> {
    let home = fs::canonicalize(&settings.paths.flows).ok();
    let file = fs::canonicalize(file).ok();
    let folder = file.as_deref().and_then(Path::parent);
    let above = folder.and_then(Path::parent);
    if home.is_none() || above != home.as_deref() {
        return None;
    }
    Some(folder?.file_name()?.to_str()?.to_owned())
}

fn as_json(diagnostic: &Diagnostic) -> Value {
    let (line, column) = diagnostic.line_column();
    json!({
        "severity": if diagnostic.severity == Severity::Error { "error" } else { "warning" },
        "file": diagnostic.file,
        "line": line,
        "column": column,
        "message": diagnostic.message,
        "help": diagnostic.help,
    })
}
