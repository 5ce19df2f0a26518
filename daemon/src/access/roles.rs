//! Roles: five that the system makes and keeps, and those that organizations make for themselves.

use super::audit;
use super::permission::{Permission, PermissionSet};
use super::{Access, AccessError, Caller, display_name};
use crate::id::{OrganizationId, RoleId};
use crate::store::access::{AccessWrite, RoleRow};

/// Roles of one organization; a list that people read.
const ROLES_MAX: usize = 200;
/// Characters of a description.
const DESCRIPTION_MAX: usize = 500;

/// A role that the system makes.
#[derive(Debug)]
pub struct SystemRole {
    /// Its id, the same everywhere.
    pub id: RoleId,
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
}

/// All of them, from the mightiest down.
pub const SYSTEM_ROLES: &[SystemRole] = &[
    SystemRole {
        id: RoleId::SUPER_ADMIN,
        name: "SUPER_ADMIN",
        about: "everything, in every organization",
    },
    SystemRole {
        id: RoleId::SYSTEM_ADMIN,
        name: "SYSTEM_ADMIN",
        about: "keeps the daemon running: settings, backups, logs, modules and workflows, but neither people nor secrets",
    },
    SystemRole {
        id: RoleId::ORG_ADMIN,
        name: "ORG_ADMIN",
        about: "everything of one organization",
    },
    SystemRole {
        id: RoleId::USER,
        name: "USER",
        about: "makes, runs and schedules workflows",
    },
    SystemRole {
        id: RoleId::GUEST,
        name: "GUEST",
        about: "sees workflows, runs and modules",
    },
];

impl SystemRole {
    /// What it permits.
    pub fn permissions(&self) -> PermissionSet {
        use Permission as P;
        match self.name {
            "SUPER_ADMIN" => PermissionSet::all(),
            "SYSTEM_ADMIN" => PermissionSet::all()
                .iter()
                .filter(|permission| {
                    let name = permission.as_str();
                    let people = ["users.", "roles.", "permissions.", "secrets."];
                    name == "users.read" || !people.iter().any(|part| name.starts_with(part))
                })
                .collect(),
            "ORG_ADMIN" => PermissionSet::all().of_an_organization(),
            "USER" => [
                P::OrganizationsRead,
                P::DepartmentsRead,
                P::PositionsRead,
                P::WorkflowsCreate,
                P::WorkflowsRead,
                P::WorkflowsUpdate,
                P::WorkflowsExecute,
                P::WorkflowsSchedule,
                P::LogsRead,
                P::ModulesRead,
                P::SecretsRead,
                P::StateRead,
                P::TokensCreate,
            ]
            .into_iter()
            .collect(),
            _ => [P::OrganizationsRead, P::WorkflowsRead, P::ModulesRead]
                .into_iter()
                .collect(),
        }
    }
}

/// The permissions of these names.
///
/// # Errors
/// `Invalid` names those that there are not.
pub(super) fn named(names: &[String]) -> Result<PermissionSet, AccessError> {
    let mut unknown = Vec::new();
    let set = names
        .iter()
        .filter_map(|name| {
            let known = Permission::parse(name);
            if known.is_none() {
                unknown.push(format!("{name:?}"));
            }
            known
        })
        .collect();
    if unknown.is_empty() {
        return Ok(set);
    }
    Err(AccessError::Invalid(format!(
        "permissions: there is no {}; GET /v0/permissions lists them",
        unknown.join(", ")
    )))
}

/// The permissions that a row names; one that is no more permits nothing.
pub(super) fn permitted(names: &[String]) -> PermissionSet {
    names
        .iter()
        .filter_map(|name| Permission::parse(name))
        .collect()
}

/// Refuses to give what the giver does not hold.
pub(super) fn only_what_one_holds(
    caller: &Caller,
    given: PermissionSet,
) -> Result<(), AccessError> {
    let lacking = given.without(caller.permissions);
    if caller.everywhere || lacking == PermissionSet::NONE {
        return Ok(());
    }
    Err(AccessError::Forbidden(format!(
        "nobody gives what they do not hold: {}",
        lacking.names().join(", ")
    )))
}

/// What a role is to be.
#[derive(Debug, Clone)]
pub struct NewRole {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// What it permits, by name.
    pub permissions: Vec<String>,
}

impl Access {
    /// The roles that can be given in the caller's organization.
    ///
    /// # Errors
    /// When the store gives nothing.
    pub async fn roles(&self, caller: &Caller) -> Result<Vec<RoleRow>, AccessError> {
        Ok(self.store.roles(caller.organization).await?)
    }

    /// One of them, by id or name.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn role(&self, caller: &Caller, key: &str) -> Result<RoleRow, AccessError> {
        let roles = self.roles(caller).await?;
        find(&roles, key)
            .cloned()
            .ok_or(AccessError::NotFound("role"))
    }

    /// Makes a role of the caller's organization.
    ///
    /// # Errors
    /// `Taken`, `Forbidden` for permissions that the caller does not hold, `Invalid`.
    pub async fn add_role(&self, caller: &Caller, new: NewRole) -> Result<RoleRow, AccessError> {
        let known = self.roles(caller).await?;
        if known.len() >= ROLES_MAX {
            return Err(AccessError::TooMany("roles"));
        }
        let id = RoleId::generate();
        let row = self.described(caller, id, new)?;
        if known.iter().any(|role| role.name == row.name) {
            return Err(AccessError::Taken("role"));
        }
        let line = audit::line(self, caller, "role.create", &row.name, audit::role(&row));
        let writes = vec![AccessWrite::AddRole(row.clone()), line];
        self.write(writes, |_| AccessError::Taken("role")).await?;
        Ok(row)
    }

    /// Changes a role of the caller's organization.
    ///
    /// # Errors
    /// As [`Access::add_role`]; the system's roles are never changed, and no role that permits more than the
    /// caller holds.
    pub async fn change_role(
        &self,
        caller: &Caller,
        key: &str,
        new: NewRole,
    ) -> Result<RoleRow, AccessError> {
        let old = self.own_role(caller, key).await?;
        only_what_one_holds(caller, permitted(&old.permissions))?;
        let row = RoleRow {
            created_at: old.created_at,
            ..self.described(caller, old.role_id, new)?
        };
        let known = self.roles(caller).await?;
        let same = |role: &RoleRow| role.name == row.name && role.role_id != row.role_id;
        if known.iter().any(same) {
            return Err(AccessError::Taken("role"));
        }
        let line = audit::line(self, caller, "role.update", &row.name, audit::role(&row));
        let writes = vec![AccessWrite::ChangeRole(row.clone()), line];
        self.write(writes, |_| AccessError::NotFound("role"))
            .await?;
        Ok(row)
    }

    /// Deletes a role of the caller's organization; whoever has it loses it.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub async fn remove_role(&self, caller: &Caller, key: &str) -> Result<RoleRow, AccessError> {
        let row = self.own_role(caller, key).await?;
        only_what_one_holds(caller, permitted(&row.permissions))?;
        let line = audit::line(self, caller, "role.delete", &row.name, audit::role(&row));
        let gone = AccessWrite::RemoveRole(row.organization_id, row.role_id);
        self.write(vec![gone, line], |_| AccessError::NotFound("role"))
            .await?;
        Ok(row)
    }

    async fn own_role(&self, caller: &Caller, key: &str) -> Result<RoleRow, AccessError> {
        let role = self.role(caller, key).await?;
        match role.system {
            true => Err(AccessError::Forbidden(format!(
                "{} is the system's; make a role of your own instead",
                role.name
            ))),
            false => Ok(role),
        }
    }

    fn described(&self, caller: &Caller, id: RoleId, new: NewRole) -> Result<RoleRow, AccessError> {
        let permissions = named(&new.permissions)?;
        only_what_one_holds(caller, permissions)?;
        let outside = permissions.without(permissions.of_an_organization());
        if caller.organization != OrganizationId::ROOT && outside != PermissionSet::NONE {
            return Err(AccessError::Invalid(format!(
                "permissions: {} only count in the root organization",
                outside.names().join(", ")
            )));
        }
        if new.description.chars().count() > DESCRIPTION_MAX {
            return Err(AccessError::Invalid(format!(
                "description: at most {DESCRIPTION_MAX} characters"
            )));
        }
        Ok(RoleRow {
            role_id: id,
            organization_id: caller.organization,
            name: display_name(&new.name, "name")?,
            description: new.description,
            system: false,
            created_at: self.clock.now(),
            permissions: permissions.names().into_iter().map(str::to_owned).collect(),
        })
    }
}

/// A role by id or name.
pub(super) fn find<'a>(roles: &'a [RoleRow], key: &str) -> Option<&'a RoleRow> {
    roles
        .iter()
        .find(|role| role.role_id.to_string() == key || role.name == key)
}
