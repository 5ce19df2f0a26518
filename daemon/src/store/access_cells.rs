//! From columns by name to rows about people; the same for every database.

use std::fmt::Display;
use std::str::FromStr;

use super::access::{
    AuditRow, Grant, MemberRow, OrganizationRow, PlaceRow, RoleRow, SessionRow, TokenRow, UserRow,
};
use super::cells::Cells;
use super::commit::Fault;

pub(super) fn organization(c: &impl Cells) -> Result<OrganizationRow, Fault> {
    Ok(OrganizationRow {
        organization_id: c.parsed("organization_id")?,
        name: c.text("name")?,
        created_at: c.time("created_at")?,
    })
}

pub(super) fn user(c: &impl Cells) -> Result<UserRow, Fault> {
    Ok(UserRow {
        user_id: c.parsed("user_id")?,
        organization_id: c.parsed("organization_id")?,
        email: c.text("email")?,
        name: c.text("name")?,
        password_hash: c.text("password_hash")?,
        password_change_required: c.int("password_change_required")? != 0,
        active: c.text("status")? == "active",
        revision: c.int("revision")?,
        created_at: c.time("created_at")?,
        updated_at: c.time("updated_at")?,
        last_login_at: c.opt_time("last_login_at")?,
    })
}

pub(super) fn member(c: &impl Cells) -> Result<MemberRow, Fault> {
    Ok(MemberRow {
        user: user(c)?,
        department_id: c.opt_parsed("department_id")?,
        position_id: c.opt_parsed("position_id")?,
    })
}

pub(super) fn grant(c: &impl Cells) -> Result<Grant, Fault> {
    Ok(Grant {
        organization_id: c.parsed("organization_id")?,
        role_id: c.parsed("role_id")?,
        permission: c.opt_text("permission_id")?,
    })
}

pub(super) fn role(c: &impl Cells) -> Result<RoleRow, Fault> {
    Ok(RoleRow {
        role_id: c.parsed("role_id")?,
        organization_id: c.parsed("organization_id")?,
        name: c.text("name")?,
        description: c.text("description")?,
        system: c.int("system")? != 0,
        created_at: c.time("created_at")?,
        permissions: Vec::new(),
    })
}

pub(super) fn place<Id: FromStr<Err: Display>>(c: &impl Cells) -> Result<PlaceRow<Id>, Fault> {
    Ok(PlaceRow {
        id: c.parsed("id")?,
        organization_id: c.parsed("organization_id")?,
        name: c.text("name")?,
        created_at: c.time("created_at")?,
    })
}

pub(super) fn session(c: &impl Cells) -> Result<SessionRow, Fault> {
    Ok(SessionRow {
        session_id: c.parsed("session_id")?,
        organization_id: c.parsed("organization_id")?,
        user_id: c.parsed("user_id")?,
        token_hash: c.text("token_hash")?,
        agent: c.text("agent")?,
        address: c.text("address")?,
        created_at: c.time("created_at")?,
        seen_at: c.time("seen_at")?,
        expires_at: c.time("expires_at")?,
    })
}

pub(super) fn api_token(c: &impl Cells) -> Result<TokenRow, Fault> {
    let permissions = c.text("permissions")?;
    Ok(TokenRow {
        token_id: c.parsed("api_token_id")?,
        organization_id: c.parsed("organization_id")?,
        user_id: c.parsed("user_id")?,
        name: c.text("name")?,
        token_hash: c.text("token_hash")?,
        hint: c.text("hint")?,
        permissions: permissions
            .split(',')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect(),
        created_at: c.time("created_at")?,
        expires_at: c.time("expires_at")?,
        last_used_at: c.opt_time("last_used_at")?,
        revoked_at: c.opt_time("revoked_at")?,
    })
}

pub(super) fn audit(c: &impl Cells) -> Result<AuditRow, Fault> {
    Ok(AuditRow {
        audit_id: c.parsed("audit_log_id")?,
        organization_id: c.parsed("organization_id")?,
        actor: c.text("actor")?,
        user_id: c.opt_parsed("user_id")?,
        means: c.text("means")?,
        address: c.opt_text("address")?,
        action: c.text("action")?,
        target: c.opt_text("target")?,
        details: c.opt_text("details")?,
        created_at: c.time("created_at")?,
    })
}
