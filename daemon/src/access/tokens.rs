//! API tokens: for one user, one organization, a list of permissions and a time. Shown once, kept as a hash.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::credential::{hash, hint, new_token};
use super::identify::held_in;
use super::roles::{named, only_what_one_holds};
use super::{Access, AccessError, Caller, Permission, PermissionSet, audit, display_name};
use crate::id::{TokenId, UserId};
use crate::store::access::{AccessWrite, TokenRow};

/// Nobody remembers a token that is older than this.
pub const LIFE_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// The tokens of an organization that are kept and listed.
const TOKENS_MAX: u32 = 1_000;

/// What a token is to be.
#[derive(Debug)]
pub struct NewToken {
    /// What it is for.
    pub name: String,
    /// What it may be used for, by name; none: all that its user holds.
    pub permissions: Option<Vec<String>>,
    /// How long.
    pub life: Duration,
    /// Whose it is, by address or id; none: the caller's.
    pub user: Option<String>,
}

/// A token that was made.
#[derive(Debug)]
pub struct MadeToken {
    /// Its text, which nobody sees again.
    pub token: SecretString,
    /// What is kept.
    pub row: TokenRow,
}

impl Access {
    /// Makes a token of the caller's own; the owner, or who holds everything, also makes them for others.
    ///
    /// # Errors
    /// `Forbidden` for permissions that the caller or the token's user does not hold, `Invalid`, `TooMany`.
    pub async fn add_token(
        &self,
        caller: &Caller,
        new: NewToken,
    ) -> Result<MadeToken, AccessError> {
        if new.life.is_zero() || new.life > LIFE_MAX {
            return Err(AccessError::Invalid(
                "expiresIn: more than 0 s and at most 366 d".to_owned(),
            ));
        }
        let name = display_name(&new.name, "name")?;
        let user = self.owner_of_token(caller, new.user.as_deref()).await?;
        let identity = self.store.identity(user).await?;
        let identity = identity.ok_or(AccessError::NotFound("user"))?;
        let held = held_in(&identity, caller.organization).ok_or(AccessError::NotFound("user"))?;
        let most = match caller.user == Some(user) {
            // A token makes tokens of no more than itself.
            true => held.permissions.and(caller.permissions),
            false => held.permissions,
        };
        let permissions = match &new.permissions {
            None => most,
            Some(names) => named(names)?,
        };
        let lacking = permissions.without(most);
        if lacking != PermissionSet::NONE {
            return Err(AccessError::Forbidden(format!(
                "a token permits no more than its user and its maker hold: not {}",
                lacking.names().join(", ")
            )));
        }
        only_what_one_holds(caller, permissions)?;
        let kept = self
            .store
            .api_tokens(caller.organization, TOKENS_MAX)
            .await?;
        if kept.len() >= TOKENS_MAX as usize {
            return Err(AccessError::TooMany("tokens"));
        }
        let now = self.clock.now();
        let token = new_token();
        let row = TokenRow {
            token_id: TokenId::generate(),
            organization_id: caller.organization,
            user_id: user,
            name,
            token_hash: hash(token.expose_secret()),
            hint: hint(&token),
            permissions: permissions.names().into_iter().map(str::to_owned).collect(),
            created_at: now,
            expires_at: now.after(new.life),
            last_used_at: None,
            revoked_at: None,
        };
        let details = json!({
            "id": row.token_id, "user": identity.user.email, "permissions": row.permissions, "expiresAt": row.expires_at,
        });
        let line = audit::line(self, caller, "token.create", &row.name, details);
        self.write(vec![AccessWrite::AddToken(row.clone()), line], |_| {
            AccessError::Taken("token")
        })
        .await?;
        Ok(MadeToken { token, row })
    }

    async fn owner_of_token(
        &self,
        caller: &Caller,
        wanted: Option<&str>,
    ) -> Result<UserId, AccessError> {
        let Some(key) = wanted else {
            return caller.user.ok_or_else(|| {
                AccessError::Invalid("user: say whose token it is to be".to_owned())
            });
        };
        let user = self.member(caller, key).await?.user.user_id;
        if caller.user != Some(user) && !caller.everywhere {
            return Err(AccessError::Forbidden(
                "a token for somebody else is made by a SUPER_ADMIN or on the daemon's machine"
                    .to_owned(),
            ));
        }
        Ok(user)
    }

    /// The caller's tokens, or those of the organization for who may see them.
    ///
    /// # Errors
    /// When the store gives nothing.
    pub async fn tokens(&self, caller: &Caller) -> Result<Vec<TokenRow>, AccessError> {
        let mut rows = self
            .store
            .api_tokens(caller.organization, TOKENS_MAX)
            .await?;
        if !caller.may(Permission::TokensRead) {
            rows.retain(|row| Some(row.user_id) == caller.user);
        }
        Ok(rows)
    }

    /// Revokes a token, from the next request on. One's own, or any of the organization for who may.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn revoke_token(&self, caller: &Caller, key: &str) -> Result<TokenRow, AccessError> {
        let rows = self
            .store
            .api_tokens(caller.organization, TOKENS_MAX)
            .await?;
        let mine = |row: &TokenRow| Some(row.user_id) == caller.user;
        let row = rows
            .into_iter()
            .filter(|row| caller.may(Permission::TokensRevoke) || mine(row))
            .find(|row| row.token_id.to_string() == key)
            .ok_or(AccessError::NotFound("token"))?;
        let writes = vec![
            AccessWrite::RevokeToken(caller.organization, row.token_id, self.clock.now()),
            audit::line(
                self,
                caller,
                "token.revoke",
                &row.name,
                json!({ "id": row.token_id }),
            ),
        ];
        // What is revoked already is as good as revoked now.
        match self.write(writes, |_| AccessError::Changed).await {
            Ok(()) | Err(AccessError::Changed) => Ok(row),
            Err(other) => Err(other),
        }
    }
}
