-- Users, what they may do, how they are known, and what they changed.
--
-- Passwords are kept as argon2id hashes, sessions and tokens as SHA-256 of their random text: whoever reads this
-- database can use none of them. Permissions and the system's roles are brought up to date by the daemon at its start.

-- A department of an organization.
create table if not exists "department" (
    "department_id" varchar(26) not null primary key,
    "organization_id" varchar(26) not null,
    "name" varchar(254) not null,
    "created_at" bigint not null,
    -- one of a name in an organization
    unique key "department_name" ("organization_id", "name")
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- A position in an organization.
create table if not exists "position" (
    "position_id" varchar(26) not null primary key,
    "organization_id" varchar(26) not null,
    "name" varchar(254) not null,
    "created_at" bigint not null,
    -- one of a name in an organization
    unique key "position_name" ("organization_id", "name")
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- Somebody who can log in; organization_id is the organization that they see first. revision is the fence of changes.
create table if not exists "user" (
    "user_id" varchar(26) not null primary key,
    "organization_id" varchar(26) not null,
    "email" varchar(254) not null,
    "name" longtext not null,
    "password_hash" longtext not null,
    "password_change_required" bigint not null,
    "status" varchar(32) not null,
    "revision" bigint not null,
    "created_at" bigint not null,
    "updated_at" bigint not null,
    "last_login_at" bigint,
    -- one account an address
    unique key "user_email" ("email")
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- That somebody belongs to an organization.
create table if not exists "user_organization" (
    "user_organization_id" varchar(26) not null primary key,
    "organization_id" varchar(26) not null,
    "user_id" varchar(26) not null,
    "department_id" varchar(26),
    "position_id" varchar(26),
    "created_at" bigint not null,
    -- once each; the organizations of a user
    unique key "user_organization_user" ("user_id", "organization_id"),
    -- the members of an organization
    key "user_organization_member" ("organization_id", "user_id")
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- A set of permissions. Those of the system belong to the root organization and are known in all.
create table if not exists "role" (
    "role_id" varchar(26) not null primary key,
    "organization_id" varchar(26) not null,
    "name" varchar(254) not null,
    "description" longtext not null,
    "system" bigint not null,
    "created_at" bigint not null,
    -- one of a name in an organization
    unique key "role_name" ("organization_id", "name")
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- What can be permitted; its id is its dotted name. Permissions are shared: they belong to the root organization.
create table if not exists "permission" (
    "permission_id" varchar(64) not null primary key,
    "organization_id" varchar(26) not null,
    "description" longtext not null
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- That a role holds a permission.
create table if not exists "role_permission" (
    "role_permission_id" varchar(26) not null primary key,
    "organization_id" varchar(26) not null,
    "role_id" varchar(26) not null,
    "permission_id" varchar(64) not null,
    -- once each; the permissions of a role
    unique key "role_permission_role" ("role_id", "permission_id")
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- That somebody has a role in an organization.
create table if not exists "user_role" (
    "user_role_id" varchar(26) not null primary key,
    "organization_id" varchar(26) not null,
    "user_id" varchar(26) not null,
    "role_id" varchar(26) not null,
    -- once each; the roles of a user
    unique key "user_role_user" ("user_id", "organization_id", "role_id"),
    -- who has a role
    key "user_role_role" ("role_id")
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- A browser that is logged in.
create table if not exists "session" (
    "session_id" varchar(26) not null primary key,
    "organization_id" varchar(26) not null,
    "user_id" varchar(26) not null,
    "token_hash" varchar(64) not null,
    "agent" longtext not null,
    "address" longtext not null,
    "created_at" bigint not null,
    "seen_at" bigint not null,
    "expires_at" bigint not null,
    -- the session of a cookie
    unique key "session_token" ("token_hash"),
    -- the sessions of a user
    key "session_user" ("user_id"),
    -- sessions that have ended, to be removed
    key "session_expiry" ("expires_at")
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- A program that may act for a user, within a list of permissions and until a time.
create table if not exists "api_token" (
    "api_token_id" varchar(26) not null primary key,
    "organization_id" varchar(26) not null,
    "user_id" varchar(26) not null,
    "name" longtext not null,
    "token_hash" varchar(64) not null,
    "hint" longtext not null,
    "permissions" longtext not null,
    "created_at" bigint not null,
    "expires_at" bigint not null,
    "last_used_at" bigint,
    "revoked_at" bigint,
    -- the row of a token
    unique key "api_token_hash" ("token_hash"),
    -- the tokens of an organization
    key "api_token_organization" ("organization_id", "api_token_id"),
    -- the tokens of a user
    key "api_token_user" ("user_id")
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- Who did what to whom; never a password, a token or a secret's value. Rows are only added.
create table if not exists "audit_log" (
    "audit_log_id" varchar(26) not null primary key,
    "organization_id" varchar(26) not null,
    "actor" longtext not null,
    "user_id" varchar(26),
    "means" varchar(32) not null,
    "address" longtext,
    "action" varchar(64) not null,
    "target" longtext,
    "details" longtext,
    "created_at" bigint not null,
    -- the log of an organization by keyset
    key "audit_log_organization" ("organization_id", "audit_log_id")
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_nopad_bin;

-- organizations are named by their folders
alter table "organization" modify "name" varchar(63) not null;
create unique index if not exists "organization_name" on "organization" ("name");
