//! `token`: API tokens. A token's text is printed once, alone, so that it can be piped into a secret store.

use serde_json::{Value, json};

use super::args::TokenCommand;
use super::client::{Client, Method};
use super::exit::{CliError, Exit};
use super::people::{all, path, words};
use super::print;
use super::runs::said;
use crate::diagnostic::shown;

/// Runs the command.
pub async fn dispatch(
    client: &Client,
    command: TokenCommand,
    json: bool,
) -> Result<Exit, CliError> {
    match command {
        TokenCommand::List => {
            let rows = all(client, "/v0/tokens", &[]).await?;
            if json {
                return Ok(print::value(&Value::Array(rows)));
            }
            for row in &rows {
                let day = |key: &str| {
                    print::text(row, key)
                        .get(..10)
                        .unwrap_or("never")
                        .to_owned()
                };
                let line = format!(
                    "{} {:<10} {:<8} until {} used {:<10} {:<24} {}",
                    print::text(row, "id"),
                    print::text(row, "beginsWith"),
                    print::text(row, "status"),
                    day("expiresAt"),
                    day("lastUsedAt"),
                    shown(print::text(row, "name")),
                    words(row, "permissions"),
                );
                print::line(line.trim_end());
            }
            Ok(Exit::Ok)
        }
        TokenCommand::Create {
            name,
            permissions,
            expires_in,
            user,
        } => {
            let mut body = json!({ "name": name, "expiresIn": expires_in });
            if let Some(body) = body.as_object_mut() {
                if !permissions.is_empty() {
                    body.insert("permissions".to_owned(), json!(permissions));
                }
                if let Some(user) = user {
                    body.insert("user".to_owned(), json!(user));
                }
            }
            let made = client
                .call(Method::POST, "/v0/tokens", &[], Some(&body))
                .await?;
            if json {
                return Ok(print::value(&made));
            }
            print::aside("the token; it is not shown again:");
            print::line(print::text(&made, "token"));
            Ok(Exit::Ok)
        }
        TokenCommand::Revoke { token } => {
            let row = client
                .call(Method::DELETE, &path("/v0/tokens", &token, ""), &[], None)
                .await?;
            Ok(said(json, &row, &format!("revoked {}", shown(&token))))
        }
    }
}
