//! From a cookie or a token to who is asking, read from the store at each request.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::credential::{hash, may_be_cookie, may_be_token};
use super::permission::PermissionSet;
use super::roles::permitted;
use super::{Access, AccessError, Caller, Means, Permission};
use crate::id::{OrganizationId, RoleId};
use crate::store::access::{AccessWrite, Identity};

/// "Last used" is right to this: a write for each request would cost more than it tells.
const SEEN: Duration = Duration::from_secs(60);

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It cannot be a token.
    #[error("this is not a token, or not a whole one: copy it again")]
    Malformed,
    /// No row has it.
    #[error("this token is unknown here: it may be of another installation, or of a deleted user")]
    UnknownToken,
    /// Its time has come.
    #[error("this token has expired: make a new one")]
    ExpiredToken,
    /// It was revoked.
    #[error("this token was revoked")]
    RevokedToken,
    /// Its session is over.
    #[error("the session has ended: log in again")]
    EndedSession,
    /// Its user may not log in.
    #[error("this user is disabled")]
    Disabled,
    /// Its user belongs to no such organization.
    #[error("there is no such organization")]
    NoOrganization,
}

impl Refusal {
    /// For programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed => "auth.token-malformed",
            Self::UnknownToken => "auth.token-unknown",
            Self::ExpiredToken => "auth.token-expired",
            Self::RevokedToken => "auth.token-revoked",
            Self::EndedSession => "auth.session-ended",
            Self::Disabled => "auth.disabled",
            Self::NoOrganization => "not-found",
        }
    }
}

impl Access {
    /// Who holds this token. A token is for one organization, and another that is named is not there.
    ///
    /// # Errors
    /// When the store gives nothing.
    pub async fn by_token(
        &self,
        token: &str,
        organization: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<Result<Caller, Refusal>, AccessError> {
        if !may_be_token(token) {
            return Ok(Err(Refusal::Malformed));
        }
        let Some((row, identity)) = self.store.api_token(&hash(token)).await? else {
            return Ok(Err(Refusal::UnknownToken));
        };
        let now = self.clock.now();
        if row.revoked_at.is_some() {
            return Ok(Err(Refusal::RevokedToken));
        }
        if row.expires_at <= now {
            return Ok(Err(Refusal::ExpiredToken));
        }
        if !identity.user.active {
            return Ok(Err(Refusal::Disabled));
        }
        let held = match held_in(&identity, row.organization_id) {
            Some(held) => held,
            None => return Ok(Err(Refusal::NoOrganization)),
        };
        if let Some(wanted) = organization {
            let known = self.organization_named(wanted).await?;
            if known != Some(row.organization_id) {
                return Ok(Err(Refusal::NoOrganization));
            }
        }
        if row.last_used_at.is_none_or(|last| now.since(last) >= SEEN) {
            self.seen(AccessWrite::TokenUsed(row.token_id, now)).await;
        }
        Ok(Ok(Caller {
            organization: row.organization_id,
            user: Some(row.user_id),
            means: Means::Token(row.token_id),
            address,
            permissions: permitted(&row.permissions).and(held.permissions),
            everywhere: false,
            must_change_password: false,
        }))
    }

    /// Whose browser has this cookie.
    ///
    /// # Errors
    /// When the store gives nothing.
    pub async fn by_cookie(
        &self,
        cookie: &str,
        organization: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<Result<Caller, Refusal>, AccessError> {
        if !may_be_cookie(cookie) {
            return Ok(Err(Refusal::EndedSession));
        }
        let Some((row, identity)) = self.store.session(&hash(cookie)).await? else {
            return Ok(Err(Refusal::EndedSession));
        };
        let now = self.clock.now();
        let idle = now.since(row.seen_at) >= self.settings.session_idle;
        if row.expires_at <= now || idle {
            return Ok(Err(Refusal::EndedSession));
        }
        if !identity.user.active {
            return Ok(Err(Refusal::Disabled));
        }
        let organization = match organization {
            None => row.organization_id,
            Some(wanted) => match self.organization_named(wanted).await? {
                Some(known) => known,
                None => return Ok(Err(Refusal::NoOrganization)),
            },
        };
        let Some(held) = held_in(&identity, organization) else {
            return Ok(Err(Refusal::NoOrganization));
        };
        if now.since(row.seen_at) >= SEEN.min(self.settings.session_idle / 4) {
            self.seen(AccessWrite::SessionSeen(row.session_id, now))
                .await;
        }
        Ok(Ok(Caller {
            organization,
            user: Some(row.user_id),
            means: Means::Session(row.session_id),
            address,
            permissions: held.permissions,
            everywhere: held.everywhere,
            must_change_password: identity.user.password_change_required,
        }))
    }

    /// The machine's own operator, in an organization that there is.
    ///
    /// # Errors
    /// When the store gives nothing.
    pub async fn owner(
        &self,
        organization: Option<&str>,
    ) -> Result<Result<Caller, Refusal>, AccessError> {
        let organization = match organization {
            None => Some(OrganizationId::ROOT),
            Some(wanted) => self.organization_named(wanted).await?,
        };
        Ok(organization
            .map(Caller::owner)
            .ok_or(Refusal::NoOrganization))
    }

    /// An organization by id or name.
    async fn organization_named(&self, key: &str) -> Result<Option<OrganizationId>, AccessError> {
        let rows = self.store.organizations().await?;
        Ok(rows
            .iter()
            .find(|row| row.name == key || row.organization_id.to_string() == key)
            .map(|row| row.organization_id))
    }

    /// Whether a caller who was let in still would be: for what goes on long after its request.
    ///
    /// # Errors
    /// When the store gives nothing.
    pub async fn still_may(
        &self,
        caller: &Caller,
        permission: Permission,
    ) -> Result<bool, AccessError> {
        let Some(user) = caller.user else {
            return Ok(caller.means == Means::Owner);
        };
        let now = self.clock.now();
        let known = match caller.means {
            Means::Session(session) => {
                let rows = self.store.sessions(user).await?;
                rows.iter()
                    .any(|row| row.session_id == session && row.expires_at > now)
            }
            Means::Token(_) => {
                let rows = self.tokens(caller).await?;
                rows.iter().any(|row| {
                    caller.means == Means::Token(row.token_id)
                        && row.revoked_at.is_none()
                        && row.expires_at > now
                })
            }
            Means::Owner | Means::Nothing => false,
        };
        let identity = self.store.identity(user).await?;
        let identity = identity.filter(|identity| known && identity.user.active);
        let held = identity.and_then(|identity| held_in(&identity, caller.organization));
        Ok(held.is_some_and(|held| caller.permissions.and(held.permissions).has(permission)))
    }

    /// Notes that something was used. That it could not be noted keeps nobody out.
    async fn seen(&self, write: AccessWrite) {
        if let Err(error) = self.store.access_write(vec![write]).await {
            tracing::warn!(%error, "when a session or token was last used is not noted");
        }
    }
}

/// What somebody holds in an organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) permissions: PermissionSet,
    pub(super) everywhere: bool,
}

/// What a user holds in an organization; none where they do not belong to it.
pub(super) fn held_in(identity: &Identity, organization: OrganizationId) -> Option<Held> {
    let everywhere = is_super_admin(identity);
    if everywhere {
        let permissions = PermissionSet::all();
        return Some(Held {
            permissions,
            everywhere,
        });
    }
    if !identity.organizations.contains(&organization) {
        return None;
    }
    let granted = identity
        .grants
        .iter()
        .filter(|grant| grant.organization_id == organization);
    let permissions: PermissionSet = granted
        .filter_map(|grant| Permission::parse(grant.permission.as_deref()?))
        .collect();
    let permissions = if organization == OrganizationId::ROOT {
        permissions
    } else {
        permissions.of_an_organization()
    };
    Some(Held {
        permissions,
        everywhere,
    })
}

/// Whether a user holds everything everywhere: only what was given in the root organization counts.
pub(super) fn is_super_admin(identity: &Identity) -> bool {
    identity.grants.iter().any(|grant| {
        grant.role_id == RoleId::SUPER_ADMIN && grant.organization_id == OrganizationId::ROOT
    })
}

/// The roles of a user in an organization.
pub(super) fn roles_in(identity: &Identity, organization: OrganizationId) -> BTreeSet<RoleId> {
    let grants = identity.grants.iter();
    grants
        .filter(|grant| grant.organization_id == organization)
        .map(|grant| grant.role_id)
        .collect()
}
