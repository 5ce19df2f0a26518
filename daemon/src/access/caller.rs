//! Who is asking, for whose things, and what they hold: small enough to be copied into every verb.

use std::fmt;
use std::net::IpAddr;

use super::permission::{Permission, PermissionSet};
use crate::id::{OrganizationId, SessionId, TokenId, UserId};

/// By what somebody is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means {
    /// The socket in the state folder, or this process: the machine's own operator.
    Owner,
    /// A browser's session.
    Session(SessionId),
    /// A program's token.
    Token(TokenId),
    /// Nothing: a caller of an open route.
    Nothing,
}

/// Somebody who asks.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    /// Whose things are seen and changed.
    pub organization: OrganizationId,
    /// The user; none for the owner of the state folder.
    pub user: Option<UserId>,
    /// By what.
    pub means: Means,
    /// From where; none for the owner.
    pub address: Option<IpAddr>,
    /// What they hold in the organization.
    pub permissions: PermissionSet,
    /// Whether they hold everything in every organization.
    pub everywhere: bool,
    /// Whether they may do nothing before they have changed their one-time password.
    pub must_change_password: bool,
}

impl Caller {
    /// The machine's own operator: everything, everywhere.
    pub fn owner(organization: OrganizationId) -> Self {
        Self {
            organization,
            user: None,
            means: Means::Owner,
            address: None,
            permissions: PermissionSet::all(),
            everywhere: true,
            must_change_password: false,
        }
    }

    /// Somebody unknown.
    pub fn nobody(address: Option<IpAddr>) -> Self {
        Self {
            organization: OrganizationId::ROOT,
            user: None,
            means: Means::Nothing,
            address,
            permissions: PermissionSet::NONE,
            everywhere: false,
            must_change_password: false,
        }
    }

    /// Whether they may do this in their organization.
    pub fn may(&self, permission: Permission) -> bool {
        match permission {
            Permission::Open => true,
            Permission::Login => self.means != Means::Nothing,
            demanded => !self.must_change_password && self.permissions.has(demanded),
        }
    }
}

/// As rows name who changed them: `owner`, `user:ID`, `token:ID`.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.means, self.user) {
            (Means::Owner, _) => f.write_str("owner"),
            (Means::Token(token), _) => write!(f, "token:{token}"),
            (_, Some(user)) => write!(f, "user:{user}"),
            (_, None) => f.write_str("nobody"),
        }
    }
}
