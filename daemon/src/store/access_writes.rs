//! From a write to its statements and what each must find; the same for every database.

use super::access::{AccessWrite, AuditFilter, AuditRow, PlaceRow, RoleRow, TokenRow, UserRow};
use super::sql_access as sql;
use super::text::stored;
use crate::clock::Timestamp;
use crate::id::{OrganizationId, UserId};

/// A parameter.
#[derive(Debug)]
pub(super) enum Cell {
    Text(Option<String>),
    Int(Option<i64>),
}

/// What a statement must have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Must {
    /// Exactly one row.
    One,
    /// Any number of rows, also none.
    Any,
}

/// A statement with its parameters.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) sql: &'static str,
    pub(super) cells: Vec<Cell>,
    pub(super) must: Must,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(Some(stored(text).into_owned()))
    }
}

impl From<&String> for Cell {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}

impl From<bool> for Cell {
    fn from(truth: bool) -> Self {
        i64::from(truth).into()
    }
}

impl From<Timestamp> for Cell {
    fn from(time: Timestamp) -> Self {
        time.as_micros().into()
    }
}

impl From<Option<Timestamp>> for Cell {
    fn from(time: Option<Timestamp>) -> Self {
        Self::Int(time.map(Timestamp::as_micros))
    }
}

impl From<&Option<String>> for Cell {
    fn from(text: &Option<String>) -> Self {
        Self::Text(text.as_deref().map(|text| stored(text).into_owned()))
    }
}

/// An id: its text needs no escape.
fn id(id: impl std::fmt::Display) -> Cell {
    Cell::Text(Some(id.to_string()))
}

/// An id or null.
fn opt_id(given: Option<impl std::fmt::Display>) -> Cell {
    Cell::Text(given.map(|id| id.to_string()))
}

/// A new row's id.
fn fresh() -> Cell {
    id(ulid::Ulid::generate())
}

fn one(sql: &'static str, cells: Vec<Cell>) -> Step {
    let must = Must::One;
    Step { sql, cells, must }
}

fn any(sql: &'static str, cells: Vec<Cell>) -> Step {
    let must = Must::Any;
    Step { sql, cells, must }
}

/// The statements of a write, in order.
pub(super) fn steps(write: AccessWrite) -> Vec<Step> {
    use AccessWrite as W;
    match write {
        W::AddOrganization(row) => vec![one(
            sql::ADD_ORGANIZATION,
            vec![
                id(row.organization_id),
                (&row.name).into(),
                row.created_at.into(),
            ],
        )],
        W::AddUser(row) => vec![add_user(&row)],
        W::ChangeUser(row) => vec![change_user(&row)],
        W::LoggedIn(user, at) => vec![one(sql::LOGGED_IN, vec![id(user), at.into()])],
        W::RemoveUser(user) => remove_user(user),
        W::PutMember {
            organization,
            user,
            department,
            position,
            at,
        } => vec![
            any(
                sql::ADD_MEMBER,
                vec![
                    fresh(),
                    id(organization),
                    id(user),
                    opt_id(department),
                    opt_id(position),
                    at.into(),
                ],
            ),
            any(
                sql::CHANGE_MEMBER,
                vec![
                    id(organization),
                    id(user),
                    opt_id(department),
                    opt_id(position),
                ],
            ),
        ],
        W::RemoveMember(organization, user) => vec![
            one(sql::REMOVE_MEMBER, vec![id(organization), id(user)]),
            any(
                sql::REMOVE_ROLES_OF_MEMBER,
                vec![id(organization), id(user)],
            ),
        ],
        W::PutRoles(organization, user, roles) => {
            let clear = any(
                sql::REMOVE_ROLES_OF_MEMBER,
                vec![id(organization), id(user)],
            );
            let add = roles.into_iter().map(|role| {
                one(
                    sql::ADD_ROLE_OF_MEMBER,
                    vec![fresh(), id(organization), id(user), id(role)],
                )
            });
            std::iter::once(clear).chain(add).collect()
        }
        other => of_roles(other),
    }
}

fn of_roles(write: AccessWrite) -> Vec<Step> {
    use AccessWrite as W;
    match write {
        W::AddRole(row) => role(&row, true),
        W::ChangeRole(row) => role(&row, false),
        W::RemoveRole(organization, role) => vec![
            one(sql::REMOVE_ROLE, vec![id(organization), id(role)]),
            any(sql::REMOVE_HOLDERS, vec![id(role)]),
            any(sql::CLEAR_ROLE, vec![id(role)]),
        ],
        W::PutPermission(name, about) => vec![
            any(
                sql::ADD_PERMISSION,
                vec![(&name).into(), id(OrganizationId::ROOT), (&about).into()],
            ),
            any(
                sql::DESCRIBE_PERMISSION,
                vec![(&name).into(), (&about).into()],
            ),
        ],
        W::RemovePermission(name) => vec![
            any(sql::REMOVE_PERMISSION, vec![(&name).into()]),
            any(sql::REMOVE_PERMITTED, vec![(&name).into()]),
        ],
        other => of_places_and_means(other),
    }
}

fn of_places_and_means(write: AccessWrite) -> Vec<Step> {
    use AccessWrite as W;
    match write {
        W::AddDepartment(row) => vec![add_place(sql::ADD_DEPARTMENT, &row)],
        W::RenameDepartment(row) => vec![rename_place(sql::RENAME_DEPARTMENT, &row)],
        W::RemoveDepartment(organization, gone) => vec![
            one(sql::REMOVE_DEPARTMENT, vec![id(organization), id(gone)]),
            any(sql::LEAVE_DEPARTMENT, vec![id(gone)]),
        ],
        W::AddPosition(row) => vec![add_place(sql::ADD_POSITION, &row)],
        W::RenamePosition(row) => vec![rename_place(sql::RENAME_POSITION, &row)],
        W::RemovePosition(organization, gone) => vec![
            one(sql::REMOVE_POSITION, vec![id(organization), id(gone)]),
            any(sql::LEAVE_POSITION, vec![id(gone)]),
        ],
        W::AddSession(row) => vec![one(
            sql::ADD_SESSION,
            vec![
                id(row.session_id),
                id(row.organization_id),
                id(row.user_id),
                (&row.token_hash).into(),
                (&row.agent).into(),
                (&row.address).into(),
                row.created_at.into(),
                row.seen_at.into(),
                row.expires_at.into(),
            ],
        )],
        W::SessionSeen(session, at) => vec![any(sql::SESSION_SEEN, vec![id(session), at.into()])],
        W::EndSession(user, session) => {
            vec![one(sql::END_SESSION, vec![id(user), id(session)])]
        }
        W::EndSessions(user, but) => {
            let but = but.map(|session| session.to_string()).unwrap_or_default();
            vec![any(sql::END_SESSIONS, vec![id(user), id(but)])]
        }
        W::SweepSessions(now) => vec![any(sql::SWEEP_SESSIONS, vec![now.into()])],
        W::AddToken(row) => vec![add_token(&row)],
        W::TokenUsed(token, at) => vec![any(sql::TOKEN_USED, vec![id(token), at.into()])],
        W::RevokeToken(organization, token, at) => vec![one(
            sql::REVOKE_TOKEN,
            vec![id(organization), id(token), at.into()],
        )],
        W::Audit(row) => vec![audit(&row)],
        // The others are in `steps`.
        _ => Vec::new(),
    }
}

fn status(active: bool) -> Cell {
    if active { "active" } else { "disabled" }.into()
}

fn add_user(row: &UserRow) -> Step {
    one(
        sql::ADD_USER,
        vec![
            id(row.user_id),
            id(row.organization_id),
            (&row.email).into(),
            (&row.name).into(),
            (&row.password_hash).into(),
            row.password_change_required.into(),
            status(row.active),
            row.revision.into(),
            row.created_at.into(),
            row.updated_at.into(),
            row.last_login_at.into(),
        ],
    )
}

fn change_user(row: &UserRow) -> Step {
    one(
        sql::CHANGE_USER,
        vec![
            id(row.user_id),
            id(row.organization_id),
            (&row.name).into(),
            (&row.password_hash).into(),
            row.password_change_required.into(),
            status(row.active),
            row.revision.into(),
            row.updated_at.into(),
        ],
    )
}

fn remove_user(user: UserId) -> Vec<Step> {
    vec![
        one(sql::REMOVE_USER, vec![id(user)]),
        any(sql::REMOVE_MEMBERSHIPS, vec![id(user)]),
        any(sql::REMOVE_ROLES_OF_USER, vec![id(user)]),
        any(sql::REMOVE_TOKENS_OF_USER, vec![id(user)]),
        any(sql::END_SESSIONS, vec![id(user), id("")]),
    ]
}

fn role(row: &RoleRow, new: bool) -> Vec<Step> {
    let mut cells = vec![id(row.role_id), id(row.organization_id)];
    let put = if new {
        cells.extend([
            (&row.name).into(),
            (&row.description).into(),
            row.system.into(),
            row.created_at.into(),
        ]);
        one(sql::ADD_ROLE, cells)
    } else {
        cells.reverse();
        cells.extend([(&row.name).into(), (&row.description).into()]);
        one(sql::CHANGE_ROLE, cells)
    };
    let clear = any(sql::CLEAR_ROLE, vec![id(row.role_id)]);
    let permits = row.permissions.iter().map(|permission| {
        any(
            sql::PERMIT,
            vec![
                fresh(),
                id(row.organization_id),
                id(row.role_id),
                permission.into(),
            ],
        )
    });
    [put, clear].into_iter().chain(permits).collect()
}

fn add_place<T: std::fmt::Display>(sql: &'static str, row: &PlaceRow<T>) -> Step {
    one(
        sql,
        vec![
            id(&row.id),
            id(row.organization_id),
            (&row.name).into(),
            row.created_at.into(),
        ],
    )
}

fn rename_place<T: std::fmt::Display>(sql: &'static str, row: &PlaceRow<T>) -> Step {
    one(
        sql,
        vec![id(row.organization_id), id(&row.id), (&row.name).into()],
    )
}

fn add_token(row: &TokenRow) -> Step {
    one(
        sql::ADD_TOKEN,
        vec![
            id(row.token_id),
            id(row.organization_id),
            id(row.user_id),
            (&row.name).into(),
            (&row.token_hash).into(),
            (&row.hint).into(),
            id(row.permissions.join(",")),
            row.created_at.into(),
            row.expires_at.into(),
        ],
    )
}

fn audit(row: &AuditRow) -> Step {
    one(
        sql::AUDIT,
        vec![
            id(row.audit_id),
            id(row.organization_id),
            (&row.actor).into(),
            opt_id(row.user_id),
            (&row.means).into(),
            (&row.address).into(),
            (&row.action).into(),
            (&row.target).into(),
            (&row.details).into(),
            row.created_at.into(),
        ],
    )
}

/// The parameters of [`sql::AUDIT_LOG`].
pub(super) fn audit_log(filter: &AuditFilter) -> Vec<Cell> {
    // '~' sorts after every id and every deed.
    let before = filter
        .before
        .map_or_else(|| "~".into(), |id| id.to_string());
    let (from, to) = match filter.action.as_deref() {
        None => (String::new(), "~".to_owned()),
        Some(resource) if resource.ends_with('.') => (resource.to_owned(), format!("{resource}~")),
        Some(deed) => (deed.to_owned(), deed.to_owned()),
    };
    vec![
        id(filter.organization),
        id(before),
        opt_id(filter.user),
        (&from).into(),
        (&to).into(),
        (&filter.target).into(),
        filter.since.map_or(i64::MIN, Timestamp::as_micros).into(),
        filter.until.map_or(i64::MAX, Timestamp::as_micros).into(),
        i64::from(filter.limit).into(),
    ]
}
