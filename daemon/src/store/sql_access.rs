//! Statements about people that every database understands as written.

pub(super) const ADD_ORGANIZATION: &str = r#"
insert into "organization" ("organization_id", "name", "created_at") values ($1, $2, $3) on conflict ("name") do nothing"#;

pub(super) const ADD_USER: &str = r#"
insert into "user" ("user_id", "organization_id", "email", "name", "password_hash", "password_change_required",
  "status", "revision", "created_at", "updated_at", "last_login_at")
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) on conflict ("email") do nothing"#;

/// A user at the revision before $7.
pub(super) const CHANGE_USER: &str = r#"
update "user" set "organization_id" = $2, "name" = $3, "password_hash" = $4, "password_change_required" = $5,
  "status" = $6, "revision" = $7, "updated_at" = $8
where "user_id" = $1 and "revision" = $7 - 1"#;

pub(super) const LOGGED_IN: &str = r#"update "user" set "last_login_at" = $2 where "user_id" = $1"#;

pub(super) const REMOVE_USER: &str = r#"delete from "user" where "user_id" = $1"#;
pub(super) const REMOVE_MEMBERSHIPS: &str =
    r#"delete from "user_organization" where "user_id" = $1"#;
pub(super) const REMOVE_ROLES_OF_USER: &str = r#"delete from "user_role" where "user_id" = $1"#;
pub(super) const REMOVE_TOKENS_OF_USER: &str = r#"delete from "api_token" where "user_id" = $1"#;

pub(super) const ADD_MEMBER: &str = r#"
insert into "user_organization" ("user_organization_id", "organization_id", "user_id", "department_id",
  "position_id", "created_at")
values ($1, $2, $3, $4, $5, $6) on conflict ("user_id", "organization_id") do nothing"#;

pub(super) const CHANGE_MEMBER: &str = r#"
update "user_organization" set "department_id" = $3, "position_id" = $4
where "organization_id" = $1 and "user_id" = $2"#;

pub(super) const REMOVE_MEMBER: &str =
    r#"delete from "user_organization" where "organization_id" = $1 and "user_id" = $2"#;

pub(super) const REMOVE_ROLES_OF_MEMBER: &str =
    r#"delete from "user_role" where "organization_id" = $1 and "user_id" = $2"#;

/// A role that there is, of the organization or of the system.
pub(super) const ADD_ROLE_OF_MEMBER: &str = r#"
insert into "user_role" ("user_role_id", "organization_id", "user_id", "role_id")
select $1, $2, $3, "role_id" from "role"
where "role_id" = $4 and ("organization_id" = $2 or "system" = 1)"#;

pub(super) const ADD_ROLE: &str = r#"
insert into "role" ("role_id", "organization_id", "name", "description", "system", "created_at")
values ($1, $2, $3, $4, $5, $6) on conflict ("organization_id", "name") do nothing"#;

pub(super) const CHANGE_ROLE: &str = r#"
update "role" set "name" = $3, "description" = $4 where "organization_id" = $1 and "role_id" = $2"#;

pub(super) const REMOVE_ROLE: &str =
    r#"delete from "role" where "organization_id" = $1 and "role_id" = $2 and "system" = 0"#;
pub(super) const REMOVE_HOLDERS: &str = r#"delete from "user_role" where "role_id" = $1"#;

pub(super) const CLEAR_ROLE: &str = r#"delete from "role_permission" where "role_id" = $1"#;

pub(super) const PERMIT: &str = r#"
insert into "role_permission" ("role_permission_id", "organization_id", "role_id", "permission_id")
values ($1, $2, $3, $4) on conflict ("role_id", "permission_id") do nothing"#;

pub(super) const ADD_PERMISSION: &str = r#"
insert into "permission" ("permission_id", "organization_id", "description") values ($1, $2, $3) on conflict ("permission_id") do nothing"#;

pub(super) const DESCRIBE_PERMISSION: &str =
    r#"update "permission" set "description" = $2 where "permission_id" = $1"#;

pub(super) const REMOVE_PERMISSION: &str = r#"delete from "permission" where "permission_id" = $1"#;
pub(super) const REMOVE_PERMITTED: &str =
    r#"delete from "role_permission" where "permission_id" = $1"#;

pub(super) const ADD_DEPARTMENT: &str = r#"
insert into "department" ("department_id", "organization_id", "name", "created_at") values ($1, $2, $3, $4) on conflict ("organization_id", "name") do nothing"#;
pub(super) const RENAME_DEPARTMENT: &str = r#"
update "department" set "name" = $3 where "organization_id" = $1 and "department_id" = $2"#;
pub(super) const REMOVE_DEPARTMENT: &str =
    r#"delete from "department" where "organization_id" = $1 and "department_id" = $2"#;
pub(super) const LEAVE_DEPARTMENT: &str =
    r#"update "user_organization" set "department_id" = null where "department_id" = $1"#;

pub(super) const ADD_POSITION: &str = r#"
insert into "position" ("position_id", "organization_id", "name", "created_at") values ($1, $2, $3, $4) on conflict ("organization_id", "name") do nothing"#;
pub(super) const RENAME_POSITION: &str = r#"
update "position" set "name" = $3 where "organization_id" = $1 and "position_id" = $2"#;
pub(super) const REMOVE_POSITION: &str =
    r#"delete from "position" where "organization_id" = $1 and "position_id" = $2"#;
pub(super) const LEAVE_POSITION: &str =
    r#"update "user_organization" set "position_id" = null where "position_id" = $1"#;

pub(super) const ADD_SESSION: &str = r#"
insert into "session" ("session_id", "organization_id", "user_id", "token_hash", "agent", "address", "created_at",
  "seen_at", "expires_at")
values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict ("token_hash") do nothing"#;
pub(super) const SESSION_SEEN: &str =
    r#"update "session" set "seen_at" = $2 where "session_id" = $1"#;
pub(super) const END_SESSION: &str =
    r#"delete from "session" where "user_id" = $1 and "session_id" = $2"#;
/// All but $2, which may be none.
pub(super) const END_SESSIONS: &str =
    r#"delete from "session" where "user_id" = $1 and "session_id" <> $2"#;
pub(super) const SWEEP_SESSIONS: &str = r#"delete from "session" where "expires_at" <= $1"#;

pub(super) const ADD_TOKEN: &str = r#"
insert into "api_token" ("api_token_id", "organization_id", "user_id", "name", "token_hash", "hint", "permissions",
  "created_at", "expires_at")
values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict ("token_hash") do nothing"#;
pub(super) const TOKEN_USED: &str =
    r#"update "api_token" set "last_used_at" = $2 where "api_token_id" = $1"#;
pub(super) const REVOKE_TOKEN: &str = r#"
update "api_token" set "revoked_at" = $3
where "organization_id" = $1 and "api_token_id" = $2 and "revoked_at" is null"#;

/// Where no actor is given ($3 is empty), the user's address is who it was.
pub(super) const AUDIT: &str = r#"
insert into "audit_log" ("audit_log_id", "organization_id", "actor", "user_id", "means", "address", "action",
  "target", "details", "created_at")
values ($1, $2, coalesce(nullif($3, ''), (select "email" from "user" where "user_id" = $4), ''), $4, $5, $6, $7,
  $8, $9, $10)"#;

/// The session of a cookie's hash.
pub(super) const SESSION: &str = r#"select * from "session" where "token_hash" = $1"#;
/// The row of a token's hash.
pub(super) const TOKEN: &str = r#"select * from "api_token" where "token_hash" = $1"#;
/// A user.
pub(super) const USER: &str = r#"select * from "user" where "user_id" = $1"#;
/// A user by address.
pub(super) const USER_BY_EMAIL: &str = r#"select * from "user" where "email" = $1"#;
/// Any user.
pub(super) const ANY_USER: &str = r#"select "user_id" from "user" limit 1"#;
/// The organizations of a user.
pub(super) const MEMBERSHIPS: &str = r#"select "organization_id" from "user_organization" where "user_id" = $1 order by "organization_id""#;
/// What a user's roles permit, where they are a member.
pub(super) const GRANTS: &str = r#"
select "ur"."organization_id", "ur"."role_id", "rp"."permission_id" from "user_role" as "ur"
join "user_organization" as "uo" on "uo"."user_id" = "ur"."user_id" and "uo"."organization_id" = "ur"."organization_id"
left join "role_permission" as "rp" on "rp"."role_id" = "ur"."role_id"
where "ur"."user_id" = $1"#;
/// The members of an organization by address.
pub(super) const MEMBERS: &str = r#"
select "u".*, "uo"."department_id", "uo"."position_id" from "user_organization" as "uo"
join "user" as "u" on "u"."user_id" = "uo"."user_id"
where "uo"."organization_id" = $1 order by "u"."email" limit $2"#;
/// Who has which role.
pub(super) const MEMBER_ROLES: &str =
    r#"select "user_id", "role_id" from "user_role" where "organization_id" = $1"#;
/// The roles of an organization and the system's.
pub(super) const ROLES: &str = r#"
select * from "role" where "organization_id" = $1 or "system" = 1 order by "system" desc, "name""#;
/// What they permit.
pub(super) const PERMITTED: &str = r#"
select "rp"."role_id", "rp"."permission_id" from "role_permission" as "rp"
join "role" as "r" on "r"."role_id" = "rp"."role_id"
where "r"."organization_id" = $1 or "r"."system" = 1 order by "rp"."permission_id""#;
/// All permissions.
pub(super) const PERMISSIONS: &str = r#"select * from "permission" order by "permission_id""#;
/// All organizations.
pub(super) const ORGANIZATIONS: &str = r#"select * from "organization" order by "name""#;
/// The departments of an organization.
pub(super) const DEPARTMENTS: &str = r#"
select "department_id" as "id", "organization_id", "name", "created_at" from "department"
where "organization_id" = $1 order by "name""#;
/// The positions of an organization.
pub(super) const POSITIONS: &str = r#"
select "position_id" as "id", "organization_id", "name", "created_at" from "position"
where "organization_id" = $1 order by "name""#;
/// The sessions of a user.
pub(super) const SESSIONS: &str =
    r#"select * from "session" where "user_id" = $1 order by "session_id" desc"#;
/// The tokens of an organization.
pub(super) const TOKENS: &str = r#"
select * from "api_token" where "organization_id" = $1 order by "api_token_id" desc limit $2"#;
/// The audit log of an organization. $2 before, $3 user, $4 to $5 deeds, $6 target, $7 from, $8 until, $9 limit.
pub(super) const AUDIT_LOG: &str = r#"
select * from "audit_log"
where "organization_id" = $1 and "audit_log_id" < $2
  and ($3 is null or "user_id" = $3)
  and "action" >= $4 and "action" <= $5
  and ($6 is null or "target" = $6)
  and "created_at" >= $7 and "created_at" < $8
order by "audit_log_id" desc limit $9"#;
