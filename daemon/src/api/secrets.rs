//! Secrets: their names, where they come from and who uses them; setting, deleting, sealing anew.
//!
//! No answer holds a value, and none repeats what a request sent: a value in the wrong place must not come back.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Method;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::ApiState;
use super::authorize::{Authorized, Permission};
use super::json::SilentBody;
use super::problem::ApiError;
use super::routes::Routes;
use super::views::Envelope;
use crate::broker::secret::{self, Listed, TableError};
use crate::catalog::Catalog;
use crate::id::{OrganizationId, SecretName};

/// The routes of this file. The key that seals is the whole installation's.
pub(super) fn table(routes: Routes) -> Routes {
    use Permission::{SecretsRead, SecretsWrite, SettingsUpdate};
    const SECRET: &str = "/v0/secrets/{name}";
    routes
        .route(Method::GET, "/v0/secrets", SecretsRead, list)
        .route(Method::PUT, SECRET, SecretsWrite, set)
        .route(Method::DELETE, SECRET, SecretsWrite, delete)
        .route(Method::POST, "/v0/secret-keys/rekey", SettingsUpdate, rekey)
}

/// Lists every source of every name, what uses it, and the names that are used and do not exist.
pub async fn list(caller: Authorized, State(state): State<ApiState>) -> Json<Envelope<Value>> {
    state.secrets.refresh().await;
    let listed = state.secrets.current().list(caller.organization);
    let mut used = used(&state.catalog.load_full(), caller.organization);
    let rows: Vec<Value> = listed
        .iter()
        .map(|secret| row(secret, used.get(&secret.name)))
        .collect();
    for secret in &listed {
        used.remove(&secret.name);
    }
    let missing: Vec<Value> = used
        .into_iter()
        .map(|(name, by)| json!({ "name": name, "usedBy": by }))
        .collect();
    Envelope::of(json!({ "secrets": rows, "missing": missing, "keys": state.secrets.key_ids() }))
}

fn row(secret: &Listed, used: Option<&Vec<Value>>) -> Value {
    let sealed = secret.sealed.as_ref();
    // A value that another one stands before is used by nobody.
    let used = used.filter(|_| secret.shadowed_by.is_none());
    json!({
        "name": secret.name,
        "source": secret.source.as_str(),
        "shadowedBy": secret.shadowed_by.map(|source| source.as_str()),
        "organizations": secret.organizations,
        "updatedAt": secret.updated_at,
        "updatedBy": sealed.map(|sealed| &sealed.updated_by),
        "revision": sealed.map(|sealed| sealed.revision),
        "keyId": sealed.map(|sealed| &sealed.key_id),
        "problem": secret.problem,
        "warning": secret.warning,
        "usedBy": used.cloned().unwrap_or_default(),
    })
}

/// The grants of live workflows by the secrets that they name.
fn used(catalog: &Catalog, organization: OrganizationId) -> BTreeMap<SecretName, Vec<Value>> {
    let mut used: BTreeMap<SecretName, Vec<Value>> = BTreeMap::new();
    let live = catalog.workflows.values();
    for live in live.filter(|live| live.organization_id == organization) {
        for task in &live.workflow.tasks {
            for (name, place) in secret::named(&task.grants) {
                let user = json!({
                    "workflow": live.workflow.name, "task": task.name, "file": place.file, "line": place.line,
                });
                let users = used.entry(name.clone()).or_default();
                if !users.contains(&user) {
                    users.push(user);
                }
            }
        }
    }
    used
}

fn parsed(name: &str) -> Result<SecretName, ApiError> {
    name.parse()
        .map_err(|error: crate::id::InvalidId| ApiError::bad_request(error.to_string()))
}

/// Sets a secret in the table: `{"value": "…"}`.
pub async fn set(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(name): Path<String>,
    SilentBody(body): SilentBody,
) -> Result<Json<Envelope<Value>>, ApiError> {
    let name = parsed(&name)?;
    let value = value(body)
        .ok_or_else(|| ApiError::bad_request("the body is {\"value\": \"…\"} and nothing else"))?;
    let set = state
        .secrets
        .set(caller.organization, &name, &value, &caller.to_string())
        .await?;
    let details = json!({ "revision": set.revision });
    state
        .access
        .note(&caller, "secret.set", name.as_str(), details)
        .await?;
    Ok(Envelope::of(json!({
        "name": name,
        "revision": set.revision,
        "shadowedBy": set.shadowed_by.map(|source| source.as_str()),
        "problem": set.problem,
    })))
}

/// The value in a body. The parser's own words are not used: they quote what they did not expect.
fn value(body: Option<Value>) -> Option<SecretString> {
    let Value::Object(mut body) = body? else {
        return None;
    };
    match (body.remove("value"), body.is_empty()) {
        (Some(Value::String(value)), true) => Some(SecretString::from(value)),
        _ => None,
    }
}

/// Deletes a secret from the table.
pub async fn delete(
    caller: Authorized,
    State(state): State<ApiState>,
    Path(name): Path<String>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    let name = parsed(&name)?;
    let deleted = state
        .secrets
        .delete(caller.organization, &name, &caller.to_string())
        .await?;
    if !deleted {
        return Err(ApiError::not_found("secret"));
    }
    state
        .access
        .note(&caller, "secret.delete", name.as_str(), Value::Null)
        .await?;
    Ok(Envelope::of(json!({ "name": name })))
}

/// Seals everything in the table with the first key.
pub async fn rekey(
    caller: Authorized,
    State(state): State<ApiState>,
) -> Result<Json<Envelope<Value>>, ApiError> {
    let done = state.secrets.rekey(&caller.to_string()).await?;
    let details = json!({ "rekeyed": done.rekeyed, "failed": done.failed.len() });
    state
        .access
        .note(&caller, "secret.rekey", &done.key_id, details)
        .await?;
    let failed: Vec<Value> = done
        .failed
        .iter()
        .map(|row| json!({ "name": row.name, "keyId": row.key_id, "problem": row.problem }))
        .collect();
    Ok(Envelope::of(json!({
        "keyId": done.key_id,
        "rekeyed": done.rekeyed,
        "current": done.current,
        "failed": failed,
    })))
}

impl From<TableError> for ApiError {
    fn from(error: TableError) -> Self {
        let text = error.to_string();
        match error {
            TableError::NoKey => Self::conflict("secret.no-key", text),
            TableError::Keys(_) => Self::conflict("secret.no-key", text),
            TableError::Foreign { .. } => Self::conflict("secret.other-key", text),
            TableError::Elsewhere { .. } => Self::conflict("secret.elsewhere", text),
            TableError::Contended => Self::conflict("secret.contended", text),
            TableError::Value => Self::unacceptable("secret.invalid", text, Vec::new()),
            TableError::TooMany => Self::unacceptable("limit.secrets", text, Vec::new()),
            TableError::Cipher => Self::internal(text),
            TableError::Store(error) => error.into(),
        }
    }
}
