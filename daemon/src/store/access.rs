//! Who may do what, as rows: users, roles, sessions, tokens and the log of changes.
//!
//! What is allowed is decided in `access`. A change is a list of writes that become durable together, each
//! of which finds what it expects or stops all of them; the line in the audit log is one of the writes.

use async_trait::async_trait;

use super::StoreError;
use crate::clock::Timestamp;
use crate::id::{
    AuditId, DepartmentId, OrganizationId, PositionId, RoleId, SessionId, TokenId, UserId,
};

/// People and what they may do. Every call is one transaction.
#[async_trait]
pub trait AccessStore: Send + Sync + 'static {
    /// Writes all, or nothing: where a write does not find what it expects, the answer is its place in the list.
    async fn access_write(&self, writes: Vec<AccessWrite>) -> Result<Written, StoreError>;

    /// The session whose cookie has this hash, and whose it is.
    async fn session(&self, token_hash: &str)
    -> Result<Option<(SessionRow, Identity)>, StoreError>;

    /// The token that has this hash, and whose it is.
    async fn api_token(&self, token_hash: &str)
    -> Result<Option<(TokenRow, Identity)>, StoreError>;

    /// A user with organizations and roles.
    async fn identity(&self, user: UserId) -> Result<Option<Identity>, StoreError>;

    /// A user by the address they log in with.
    async fn user_by_email(&self, email: &str) -> Result<Option<UserRow>, StoreError>;

    /// Whether there is any user.
    async fn has_users(&self) -> Result<bool, StoreError>;

    /// The members of an organization by their addresses, at most `limit`.
    async fn members(
        &self,
        organization: OrganizationId,
        limit: u32,
    ) -> Result<Vec<MemberRow>, StoreError>;

    /// Who has which role in an organization.
    async fn member_roles(
        &self,
        organization: OrganizationId,
    ) -> Result<Vec<(UserId, RoleId)>, StoreError>;

    /// The roles of an organization and those of the system, by name.
    async fn roles(&self, organization: OrganizationId) -> Result<Vec<RoleRow>, StoreError>;

    /// Every permission's name and description.
    async fn permissions(&self) -> Result<Vec<(String, String)>, StoreError>;

    /// All organizations, by name.
    async fn organizations(&self) -> Result<Vec<OrganizationRow>, StoreError>;

    /// The departments of an organization, by name.
    async fn departments(
        &self,
        organization: OrganizationId,
    ) -> Result<Vec<PlaceRow<DepartmentId>>, StoreError>;

    /// The positions of an organization, by name.
    async fn positions(
        &self,
        organization: OrganizationId,
    ) -> Result<Vec<PlaceRow<PositionId>>, StoreError>;

    /// The sessions of a user, newest first.
    async fn sessions(&self, user: UserId) -> Result<Vec<SessionRow>, StoreError>;

    /// The tokens of an organization, newest first, at most `limit`.
    async fn api_tokens(
        &self,
        organization: OrganizationId,
        limit: u32,
    ) -> Result<Vec<TokenRow>, StoreError>;

    /// Lines of the audit log, newest first.
    async fn audit_log(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError>;
}

/// What became of a list of writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// All are durable.
    Done,
    /// The one at this place found something else than it expects; nothing was written.
    Unmet(usize),
}

/// One write; most expect something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessWrite {
    /// An organization whose name is free.
    AddOrganization(OrganizationRow),
    /// A user whose address is free.
    AddUser(UserRow),
    /// The same user, at the revision before the row's.
    ChangeUser(UserRow),
    /// Notes that somebody logged in.
    LoggedIn(UserId, Timestamp),
    /// A user that is there, with roles, memberships, sessions and tokens.
    RemoveUser(UserId),
    /// A member, with department and position; whoever is one already gets these.
    PutMember {
        /// The organization.
        organization: OrganizationId,
        /// The user.
        user: UserId,
        /// Where they work.
        department: Option<DepartmentId>,
        /// As what.
        position: Option<PositionId>,
        /// When.
        at: Timestamp,
    },
    /// A member that is there, with their roles in the organization.
    RemoveMember(OrganizationId, UserId),
    /// Exactly these roles in an organization.
    PutRoles(OrganizationId, UserId, Vec<RoleId>),
    /// A role whose name is free, with its permissions.
    AddRole(RoleRow),
    /// A role that is there, with exactly these permissions.
    ChangeRole(RoleRow),
    /// A role that is there, with what refers to it.
    RemoveRole(OrganizationId, RoleId),
    /// A permission; one that is known gets the description.
    PutPermission(String, String),
    /// A permission that is no more, with what refers to it.
    RemovePermission(String),
    /// A department whose name is free.
    AddDepartment(PlaceRow<DepartmentId>),
    /// A department that is there, whose new name is free.
    RenameDepartment(PlaceRow<DepartmentId>),
    /// A department that is there; its members are in none.
    RemoveDepartment(OrganizationId, DepartmentId),
    /// A position whose name is free.
    AddPosition(PlaceRow<PositionId>),
    /// A position that is there, whose new name is free.
    RenamePosition(PlaceRow<PositionId>),
    /// A position that is there; its members are in none.
    RemovePosition(OrganizationId, PositionId),
    /// A session.
    AddSession(SessionRow),
    /// Notes that a session was used.
    SessionSeen(SessionId, Timestamp),
    /// Ends a session of a user that is there.
    EndSession(UserId, SessionId),
    /// Ends all sessions of a user, but for this one.
    EndSessions(UserId, Option<SessionId>),
    /// Removes sessions that ended by themselves.
    SweepSessions(Timestamp),
    /// A token.
    AddToken(TokenRow),
    /// Notes that a token was used.
    TokenUsed(TokenId, Timestamp),
    /// Revokes a token of an organization that is not revoked.
    RevokeToken(OrganizationId, TokenId, Timestamp),
    /// A line in the audit log.
    Audit(AuditRow),
}

/// An organization; the root one owns the files directly in `flows/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrganizationRow {
    /// Its id.
    pub organization_id: OrganizationId,
    /// The name of its folder.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Somebody who can log in.
#[derive(Clone, PartialEq, Eq)]
pub struct UserRow {
    /// The id.
    pub user_id: UserId,
    /// The organization that they see first.
    pub organization_id: OrganizationId,
    /// The address they log in with, in lower case.
    pub email: String,
    /// How they are called.
    pub name: String,
    /// The password's hash in PHC form.
    pub password_hash: String,
    /// Whether it is a one-time password.
    pub password_change_required: bool,
    /// Whether they may log in.
    pub active: bool,
    /// Counts changes.
    pub revision: i64,
    /// When they were made.
    pub created_at: Timestamp,
    /// When something was changed.
    pub updated_at: Timestamp,
    /// When they last logged in.
    pub last_login_at: Option<Timestamp>,
}

/// Without the hash: it must not come to a log.
impl std::fmt::Debug for UserRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserRow")
            .field("user_id", &self.user_id)
            .field("email", &self.email)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

/// A member of an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRow {
    /// The user.
    pub user: UserRow,
    /// Where they work.
    pub department_id: Option<DepartmentId>,
    /// As what.
    pub position_id: Option<PositionId>,
}

/// What a user holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: UserRow,
    /// The organizations they belong to.
    pub organizations: Vec<OrganizationId>,
    /// What their roles permit, a line a permission; a role without any has a line without one.
    pub grants: Vec<Grant>,
}

/// That a role of a user permits something in an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Where.
    pub organization_id: OrganizationId,
    /// By which role.
    pub role_id: RoleId,
    /// What.
    pub permission: Option<String>,
}

/// A role with its permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleRow {
    /// The id.
    pub role_id: RoleId,
    /// Whose it is; the root organization's where it is the system's.
    pub organization_id: OrganizationId,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Whether the system made it, and nobody changes it.
    pub system: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// What it permits, by name.
    pub permissions: Vec<String>,
}

/// A department or position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceRow<Id> {
    /// The id.
    pub id: Id,
    /// Whose it is.
    pub organization_id: OrganizationId,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A browser that is logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// The id.
    pub session_id: SessionId,
    /// The organization that it looks at where a request names none.
    pub organization_id: OrganizationId,
    /// Whose it is.
    pub user_id: UserId,
    /// SHA-256 of the cookie, in hex.
    pub token_hash: String,
    /// What the browser calls itself.
    pub agent: String,
    /// Where it logged in from.
    pub address: String,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was last used, to a minute.
    pub seen_at: Timestamp,
    /// When it ends, used or not.
    pub expires_at: Timestamp,
}

/// A token of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// The id.
    pub token_id: TokenId,
    /// The organization that it is for.
    pub organization_id: OrganizationId,
    /// For whom it acts.
    pub user_id: UserId,
    /// What it is for.
    pub name: String,
    /// SHA-256 of the token, in hex.
    pub token_hash: String,
    /// How the token begins, to tell it from others.
    pub hint: String,
    /// What it may be used for, by name.
    pub permissions: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was last used, to a minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// A line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// The id; sorts by time.
    pub audit_id: AuditId,
    /// In which organization.
    pub organization_id: OrganizationId,
    /// Who, as they were called then. Where it is empty and there is a user, their address is written.
    pub actor: String,
    /// The user.
    pub user_id: Option<UserId>,
    /// By what they were known: `owner`, `session`, `token`, `nothing`.
    pub means: String,
    /// From where.
    pub address: Option<String>,
    /// What was done, as `resource.deed`.
    pub action: String,
    /// To what.
    pub target: Option<String>,
    /// More, as JSON.
    pub details: Option<String>,
    /// When.
    pub created_at: Timestamp,
}

/// Which lines of the audit log.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Of which organization.
    pub organization: OrganizationId,
    /// Only by this user.
    pub user: Option<UserId>,
    /// Only this deed, or those of a resource: `user.create`, `user.`.
    pub action: Option<String>,
    /// Only to this.
    pub target: Option<String>,
    /// Only from this time on.
    pub since: Option<Timestamp>,
    /// Only before this time.
    pub until: Option<Timestamp>,
    /// Only lines before this one.
    pub before: Option<AuditId>,
    /// At most so many.
    pub limit: u32,
}
