//! What may be demanded and held: every permission once, and sets of them. Pure.
//!
//! Which role holds what is data (`roles`); which route demands what is the table of routes.

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! permissions {
    ($($name:ident = $text:literal: $about:literal;)*) => {
        /// What a route demands and a role holds, by a dotted name of resource and deed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Permission {
            /// Nothing: the exact list of open routes.
            Open,
            /// Somebody known, whatever they may do; also somebody who must change a one-time password.
            Login,
            $(#[doc = $about] $name,)*
        }

        impl Permission {
            /// All that roles can hold, in the order of their names' resources.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The dotted name.
            pub const fn as_str(self) -> &'static str {
                match self {
                    Self::Open => "open",
                    Self::Login => "login",
                    $(Self::$name => $text,)*
                }
            }

            /// What it allows, in a few words.
            pub const fn about(self) -> &'static str {
                match self {
                    Self::Open => "nothing is demanded",
                    Self::Login => "anybody who is known",
                    $(Self::$name => $about,)*
                }
            }
        }
    };
}

permissions! {
    UsersCreate = "users.create": "make users";
    UsersRead = "users.read": "see users";
    UsersUpdate = "users.update": "change users' names, departments and positions";
    UsersDelete = "users.delete": "delete users";
    UsersDisable = "users.disable": "disable and enable users";
    UsersPassword = "users.password": "give users a new one-time password";
    UsersRoles = "users.roles": "give roles to users and take them";
    UsersOrganizations = "users.organizations": "take users into the organization and out of it";
    UsersSessions = "users.sessions": "see users' sessions and end them";
    OrganizationsRead = "organizations.read": "see organizations and what can be chosen in them";
    OrganizationsManage = "organizations.manage": "make organizations";
    DepartmentsRead = "departments.read": "see departments";
    DepartmentsManage = "departments.manage": "make, rename and delete departments";
    PositionsRead = "positions.read": "see positions";
    PositionsManage = "positions.manage": "make, rename and delete positions";
    RolesCreate = "roles.create": "make roles of the organization";
    RolesRead = "roles.read": "see roles";
    RolesUpdate = "roles.update": "change roles of the organization";
    RolesDelete = "roles.delete": "delete roles of the organization";
    PermissionsRead = "permissions.read": "see the list of permissions";
    PermissionsAssign = "permissions.assign": "put permissions into roles, of those that one holds";
    WorkflowsCreate = "workflows.create": "make workflows";
    WorkflowsRead = "workflows.read": "see workflows and runs";
    WorkflowsUpdate = "workflows.update": "change workflows";
    WorkflowsDelete = "workflows.delete": "delete workflows";
    WorkflowsExecute = "workflows.execute": "start, cancel and rerun";
    WorkflowsSchedule = "workflows.schedule": "make, change and delete schedules";
    LogsRead = "runs.logs.read": "see what runs log, receive and return";
    ModulesRead = "modules.read": "see task modules";
    SecretsRead = "secrets.read": "see names of secrets, never values";
    SecretsWrite = "secrets.write": "set and delete secrets";
    StateRead = "state.read": "see workflows' key-value state";
    StateWrite = "state.write": "change workflows' key-value state";
    TokensCreate = "tokens.create": "make API tokens of one's own";
    TokensRead = "tokens.read": "see all tokens of the organization";
    TokensRevoke = "tokens.revoke": "revoke any token of the organization";
    AuditRead = "audit.read": "see who changed what";
    SettingsRead = "system.settings.read": "see the daemon's settings";
    SettingsUpdate = "system.settings.update": "change what the whole installation shares";
    SystemLogsRead = "system.logs.read": "see the daemon's own log and metrics";
    BackupCreate = "system.backup.create": "make backups";
    BackupRestore = "system.backup.restore": "restore backups";
}

impl Permission {
    /// The permission of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|known| known.as_str() == name)
    }

    /// Whether it is about what all organizations share, so that it counts in the root organization only.
    pub fn is_of_installation(self) -> bool {
        self.as_str().starts_with("system.") || self == Self::OrganizationsManage
    }

    const fn bit(self) -> u128 {
        1 << (self as u8)
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Permission {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

/// A set of permissions; small enough to be copied.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct PermissionSet(u128);

impl PermissionSet {
    /// None.
    pub const NONE: Self = Self(0);

    /// All that there are.
    pub fn all() -> Self {
        Permission::ALL.iter().copied().collect()
    }

    /// Whether this one is in it.
    pub const fn has(self, permission: Permission) -> bool {
        self.0 & permission.bit() != 0
    }

    /// Whether all of the other are in it.
    pub const fn covers(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// What is in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in this one and not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those that are about a single organization.
    #[must_use]
    pub fn of_an_organization(self) -> Self {
        self.iter()
            .filter(|permission| !permission.is_of_installation())
            .collect()
    }

    /// Each, in the order of [`Permission::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL
            .iter()
            .copied()
            .filter(move |permission| self.has(*permission))
    }

    /// The names, in order.
    pub fn names(self) -> Vec<&'static str> {
        self.iter().map(Permission::as_str).collect()
    }
}

impl FromIterator<Permission> for PermissionSet {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        Self(
            permissions
                .into_iter()
                .fold(0, |set, permission| set | permission.bit()),
        )
    }
}

impl fmt::Debug for PermissionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_predecessors_counts_hold_and_names_are_unique() {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for permission in Permission::ALL {
            let (resource, _) = permission.as_str().split_once('.').unwrap();
            *counts.entry(resource).or_default() += 1;
            assert_eq!(Permission::parse(permission.as_str()), Some(*permission));
        }
        for (resource, count) in [
            ("users", 9),
            ("organizations", 2),
            ("departments", 2),
            ("roles", 4),
            ("permissions", 2),
            ("workflows", 6),
            ("system", 5),
        ] {
            assert_eq!(counts.get(resource), Some(&count), "{resource}");
        }
        // A set has room for all of them, with the two that are no permissions.
        assert!(Permission::ALL.len() + 2 <= 128);
        assert_eq!(PermissionSet::all().iter().count(), Permission::ALL.len());
    }

    #[test]
    fn what_is_demanded_of_everybody_is_not_a_name_that_a_role_can_hold() {
        assert_eq!(Permission::parse("open"), None);
        assert_eq!(Permission::parse("login"), None);
        assert!(!PermissionSet::all().has(Permission::Open));
        assert!(!PermissionSet::all().has(Permission::Login));
    }

    #[test]
    fn a_set_covers_what_is_in_it_and_nothing_else() {
        let reads: PermissionSet = [Permission::UsersRead, Permission::RolesRead]
            .into_iter()
            .collect();
        assert!(!reads.covers(PermissionSet::all()));
        assert!(reads.covers([Permission::UsersRead].into_iter().collect()));
        assert!(reads.covers(PermissionSet::NONE));
        assert_eq!(reads.names(), ["users.read", "roles.read"]);
        assert!(
            !PermissionSet::all()
                .of_an_organization()
                .has(Permission::BackupCreate)
        );
    }
}
