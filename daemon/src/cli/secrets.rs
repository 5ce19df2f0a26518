//! `secret`: names in, names out. A value goes in through standard input or a prompt, and never comes out.

use std::io::{IsTerminal as _, Read as _};

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::args::SecretCommand;
use super::client::{Client, Method};
use super::exit::{CliError, Exit};
use super::print;
use super::runs::said;
use crate::broker::secret::{VALUE_BYTES_MAX, generate_key};
use crate::diagnostic::shown;
use crate::id::SecretName;

/// Runs a command that speaks to the API.
pub async fn dispatch(
    client: &Client,
    command: SecretCommand,
    json: bool,
) -> Result<Exit, CliError> {
    match command {
        SecretCommand::List => list(client, json).await,
        SecretCommand::Set { name, .. } => set(client, &name, json).await,
        SecretCommand::Delete { name } => {
            let path = format!("/v0/secrets/{name}");
            let answer = client.call(Method::DELETE, &path, &[], None).await?;
            Ok(said(json, &answer, &format!("deleted {name}")))
        }
        SecretCommand::Rekey => rekey(client, json).await,
        SecretCommand::Key => Ok(key(json)),
    }
}

/// Prints a new key. It is printed because there is no other way to give it to a file of the operator's choice.
pub fn key(json: bool) -> Exit {
    let key = generate_key();
    if json {
        return print::value(&json!({ "key": key.expose_secret() }));
    }
    print::line(key.expose_secret());
    if std::io::stdout().is_terminal() {
        print::aside(
            "keep it where only the daemon can read it: (umask 077; flowweaver secret key > FILE), then [secrets] key_file = \"FILE\"",
        );
    }
    Exit::Ok
}

/// Refuses a value among the arguments, without repeating it.
pub fn misplaced() -> Exit {
    Exit::Usage.because(
        "a secret's value is not given as an argument: every user of the machine can see those. Pipe it in, or leave it out and be asked; and change this one if it was a real value",
    )
}

async fn set(client: &Client, name: &SecretName, json: bool) -> Result<Exit, CliError> {
    let value = read(name)?;
    let path = format!("/v0/secrets/{name}");
    let body = json!({ "value": value.expose_secret() });
    let answer = client.call(Method::PUT, &path, &[], Some(&body)).await?;
    let shadow = print::text(&answer, "shadowedBy");
    if !shadow.is_empty() {
        print::aside(&format!(
            "warning: the {shadow} has a {name} too, and that one is used"
        ));
    }
    let problem = print::text(&answer, "problem");
    if !problem.is_empty() {
        print::aside(&format!(
            "warning: {name} {problem}: requests that need it are refused"
        ));
    }
    let revision = answer.get("revision").unwrap_or(&Value::Null);
    Ok(said(
        json,
        &answer,
        &format!("set {name} (revision {revision})"),
    ))
}

/// The value, without the newline that ends it.
fn read(name: &SecretName) -> Result<SecretString, CliError> {
    let failed = |error: std::io::Error| CliError::new(Exit::Usage, format!("the value: {error}"));
    let mut text = String::new();
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        text = rpassword::prompt_password(format!("{name}: ")).map_err(failed)?;
    } else {
        // Two bytes more than a value and its newline: what is longer is refused by its length.
        stdin
            .take(VALUE_BYTES_MAX as u64 + 3)
            .read_to_string(&mut text)
            .map_err(failed)?;
    }
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    let length = text.len();
    let value = SecretString::from(text);
    if (1..=VALUE_BYTES_MAX).contains(&length) {
        return Ok(value);
    }
    Err(CliError::new(
        Exit::Usage,
        "a secret's value is text of 1 byte to 64 KiB",
    ))
}

async fn rekey(client: &Client, json: bool) -> Result<Exit, CliError> {
    let path = "/v0/secret-keys/rekey";
    let answer = client.call(Method::POST, path, &[], None).await?;
    let failed = rows(&answer, "failed");
    for row in failed {
        print::aside(&format!(
            "warning: {} {}; it stays as it is",
            print::text(row, "name"),
            print::text(row, "problem"),
        ));
    }
    let number = |key: &str| answer.get(key).and_then(Value::as_u64).unwrap_or(0);
    let text = format!(
        "{} encrypted anew with the key {}, {} were so already",
        number("rekeyed"),
        print::text(&answer, "keyId"),
        number("current"),
    );
    let exit = said(json, &answer, &text);
    Ok(if failed.is_empty() {
        exit
    } else {
        Exit::Failed
    })
}

fn rows<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    let rows = value.get(key).and_then(Value::as_array);
    rows.map(Vec::as_slice).unwrap_or_default()
}

async fn list(client: &Client, json: bool) -> Result<Exit, CliError> {
    let answer = client.get("/v0/secrets").await?;
    if json {
        return Ok(print::value(&answer));
    }
    let secrets = rows(&answer, "secrets");
    if secrets.is_empty() {
        print::line("no secrets yet; set one with: flowweaver secret set NAME");
    }
    for secret in secrets {
        let at = print::text(secret, "updatedAt");
        let at = at.get(..16).map(|at| format!("{at}Z")).unwrap_or_default();
        let shadow = match print::text(secret, "shadowedBy") {
            "" => String::new(),
            source => format!("  (not used: the {source} has it too)"),
        };
        let line = format!(
            "{:<32} {:<12} {at:<18} {}{shadow}",
            print::text(secret, "name"),
            print::text(secret, "source"),
            users(secret),
        );
        print::line(line.trim_end());
        let problem = print::text(secret, "problem");
        if !problem.is_empty() {
            print::line(&format!("  cannot be used: it {}", shown(problem)));
        }
        let warning = print::text(secret, "warning");
        if !warning.is_empty() {
            print::line(&format!("  warning: its file {}", shown(warning)));
        }
    }
    for secret in rows(&answer, "missing") {
        print::line(&format!(
            "{:<32} does not exist, and is named by {}",
            print::text(secret, "name"),
            users(secret),
        ));
    }
    Ok(Exit::Ok)
}

/// What names a secret: `flows/a.toml:12 (a.task)`.
fn users(secret: &Value) -> String {
    let users = rows(secret, "usedBy").iter().map(|user| {
        format!(
            "{}:{} ({}.{})",
            print::text(user, "file"),
            user.get("line").unwrap_or(&Value::Null),
            print::text(user, "workflow"),
            print::text(user, "task"),
        )
    });
    users.collect::<Vec<_>>().join(", ")
}
