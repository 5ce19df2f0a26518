//! The log of changes: who did what, to what, from where. Never a password, a token or a secret's value.

use serde_json::{Value, json};

use super::{Access, AccessError, Caller, Means};
use crate::id::AuditId;
use crate::store::access::{AccessWrite, AuditFilter, AuditRow, RoleRow};

/// The line of a change, to be written with it.
pub(super) fn line(
    access: &Access,
    caller: &Caller,
    action: &str,
    target: &str,
    details: Value,
) -> AccessWrite {
    AccessWrite::Audit(row(access, caller, action, target, details))
}

fn row(access: &Access, caller: &Caller, action: &str, target: &str, details: Value) -> AuditRow {
    let means = match caller.means {
        Means::Owner => "owner",
        Means::Session(_) => "session",
        Means::Token(_) => "token",
        Means::Nothing => "nothing",
    };
    // The statement writes a user's address itself.
    let actor = match caller.user {
        Some(_) => String::new(),
        None => caller.to_string(),
    };
    let details = match (details, caller.means) {
        (Value::Object(mut details), Means::Token(token)) => {
            details.insert("token".to_owned(), json!(token));
            Value::Object(details)
        }
        (Value::Null, Means::Token(token)) => json!({ "token": token }),
        (details, _) => details,
    };
    AuditRow {
        audit_id: AuditId::generate(),
        organization_id: caller.organization,
        actor,
        user_id: caller.user,
        means: means.to_owned(),
        address: caller.address.map(|address| address.to_string()),
        action: action.to_owned(),
        target: (!target.is_empty()).then(|| target.to_owned()),
        details: (!details.is_null()).then(|| details.to_string()),
        created_at: access.clock.now(),
    }
}

/// What a role permits, as the log keeps it.
pub(super) fn role(row: &RoleRow) -> Value {
    json!({ "permissions": row.permissions })
}

impl Access {
    /// Notes what another part has done for a caller: `secret.set`, `workflow.update`. The change is made by
    /// then, so that a failure here is an error in the daemon's log as well as in the answer.
    ///
    /// # Errors
    /// When the store gives nothing.
    pub async fn note(
        &self,
        caller: &Caller,
        action: &str,
        target: &str,
        details: Value,
    ) -> Result<(), AccessError> {
        let line = line(self, caller, action, target, details);
        let noted = self
            .write(vec![line], |_| AccessError::Internal("audit".to_owned()))
            .await;
        if let Err(error) = &noted {
            tracing::error!(%caller, action, target, %error, "a change is not in the audit log");
        }
        noted
    }

    /// Lines of the log of the caller's organization, newest first.
    ///
    /// # Errors
    /// When the store gives nothing.
    pub async fn audit_log(
        &self,
        caller: &Caller,
        filter: AuditFilter,
    ) -> Result<Vec<AuditRow>, AccessError> {
        let filter = AuditFilter {
            organization: caller.organization,
            ..filter
        };
        Ok(self.store.audit_log(&filter).await?)
    }
}
