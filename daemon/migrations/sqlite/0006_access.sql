-- Users, what they may do, how they are known, and what they changed.
--
-- Passwords are kept as argon2id hashes, sessions and tokens as SHA-256 of their random text: whoever reads this
-- database can use none of them. Permissions and the system's roles are brought up to date by the daemon at its start.

-- A department of an organization.
create table "department" (
    "department_id" text not null primary key,
    "organization_id" text not null,
    "name" text not null,
    "created_at" integer not null
) strict;
-- one of a name in an organization
create unique index "department_name" on "department" ("organization_id", "name");

-- A position in an organization.
create table "position" (
    "position_id" text not null primary key,
    "organization_id" text not null,
    "name" text not null,
    "created_at" integer not null
) strict;
-- one of a name in an organization
create unique index "position_name" on "position" ("organization_id", "name");

-- Somebody who can log in; organization_id is the organization that they see first. revision is the fence of changes.
create table "user" (
    "user_id" text not null primary key,
    "organization_id" text not null,
    "email" text not null,
    "name" text not null,
    "password_hash" text not null,
    "password_change_required" integer not null,
    "status" text not null,
    "revision" integer not null,
    "created_at" integer not null,
    "updated_at" integer not null,
    "last_login_at" integer
) strict;
-- one account an address
create unique index "user_email" on "user" ("email");

-- That somebody belongs to an organization.
create table "user_organization" (
    "user_organization_id" text not null primary key,
    "organization_id" text not null,
    "user_id" text not null,
    "department_id" text,
    "position_id" text,
    "created_at" integer not null
) strict;
-- once each; the organizations of a user
create unique index "user_organization_user" on "user_organization" ("user_id", "organization_id");
-- the members of an organization
create index "user_organization_member" on "user_organization" ("organization_id", "user_id");

-- A set of permissions. Those of the system belong to the root organization and are known in all.
create table "role" (
    "role_id" text not null primary key,
    "organization_id" text not null,
    "name" text not null,
    "description" text not null,
    "system" integer not null,
    "created_at" integer not null
) strict;
-- one of a name in an organization
create unique index "role_name" on "role" ("organization_id", "name");

-- What can be permitted; its id is its dotted name. Permissions are shared: they belong to the root organization.
create table "permission" (
    "permission_id" text not null primary key,
    "organization_id" text not null,
    "description" text not null
) strict;

-- That a role holds a permission.
create table "role_permission" (
    "role_permission_id" text not null primary key,
    "organization_id" text not null,
    "role_id" text not null,
    "permission_id" text not null
) strict;
-- once each; the permissions of a role
create unique index "role_permission_role" on "role_permission" ("role_id", "permission_id");

-- That somebody has a role in an organization.
create table "user_role" (
    "user_role_id" text not null primary key,
    "organization_id" text not null,
    "user_id" text not null,
    "role_id" text not null
) strict;
-- once each; the roles of a user
create unique index "user_role_user" on "user_role" ("user_id", "organization_id", "role_id");
-- who has a role
create index "user_role_role" on "user_role" ("role_id");

-- A browser that is logged in.
create table "session" (
    "session_id" text not null primary key,
    "organization_id" text not null,
    "user_id" text not null,
    "token_hash" text not null,
    "agent" text not null,
    "address" text not null,
    "created_at" integer not null,
    "seen_at" integer not null,
    "expires_at" integer not null
) strict;
-- the session of a cookie
create unique index "session_token" on "session" ("token_hash");
-- the sessions of a user
create index "session_user" on "session" ("user_id");
-- sessions that have ended, to be removed
create index "session_expiry" on "session" ("expires_at");

-- A program that may act for a user, within a list of permissions and until a time.
create table "api_token" (
    "api_token_id" text not null primary key,
    "organization_id" text not null,
    "user_id" text not null,
    "name" text not null,
    "token_hash" text not null,
    "hint" text not null,
    "permissions" text not null,
    "created_at" integer not null,
    "expires_at" integer not null,
    "last_used_at" integer,
    "revoked_at" integer
) strict;
-- the row of a token
create unique index "api_token_hash" on "api_token" ("token_hash");
-- the tokens of an organization
create index "api_token_organization" on "api_token" ("organization_id", "api_token_id");
-- the tokens of a user
create index "api_token_user" on "api_token" ("user_id");

-- Who did what to whom; never a password, a token or a secret's value. Rows are only added.
create table "audit_log" (
    "audit_log_id" text not null primary key,
    "organization_id" text not null,
    "actor" text not null,
    "user_id" text,
    "means" text not null,
    "address" text,
    "action" text not null,
    "target" text,
    "details" text,
    "created_at" integer not null
) strict;
-- the log of an organization by keyset
create index "audit_log_organization" on "audit_log" ("organization_id", "audit_log_id");

-- organizations are named by their folders
create unique index "organization_name" on "organization" ("name");
