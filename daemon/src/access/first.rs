//! What is there from the first start on: permissions, the system's roles, and one administrator.

use secrecy::SecretString;
use serde_json::json;

use super::password::one_time;
use super::{Access, AccessError, Caller, Permission, SYSTEM_ROLES, audit};
use crate::clock::Timestamp;
use crate::id::{OrganizationId, RoleId, UserId};
use crate::store::access::{AccessWrite, RoleRow, UserRow, Written};

/// The address of the first administrator.
const FIRST_EMAIL: &str = "admin@localhost";

/// The first administrator, whose password must be changed at the first login.
#[derive(Debug)]
pub struct FirstAdmin {
    /// The address to log in with.
    pub email: String,
    /// The password.
    pub password: SecretString,
}

impl Access {
    /// Writes what this version of the program knows of permissions and the system's roles, where the store
    /// has something else.
    pub(super) async fn bring_up_to_date(&self) -> Result<(), AccessError> {
        let mut writes = Vec::new();
        let known = self.store.permissions().await?;
        for permission in Permission::ALL {
            let (name, about) = (permission.as_str(), permission.about());
            if !known.iter().any(|(n, a)| n == name && a == about) {
                writes.push(AccessWrite::PutPermission(
                    name.to_owned(),
                    about.to_owned(),
                ));
            }
        }
        for (name, _) in known {
            if Permission::parse(&name).is_none() {
                writes.push(AccessWrite::RemovePermission(name));
            }
        }
        let roles = self.store.roles(OrganizationId::ROOT).await?;
        for role in SYSTEM_ROLES {
            let mut permissions: Vec<String> = role
                .permissions()
                .names()
                .into_iter()
                .map(str::to_owned)
                .collect();
            permissions.sort();
            let row = RoleRow {
                role_id: role.id,
                organization_id: OrganizationId::ROOT,
                name: role.name.to_owned(),
                description: role.about.to_owned(),
                system: true,
                created_at: Timestamp::from_micros(0),
                permissions,
            };
            match roles.iter().find(|there| there.role_id == role.id) {
                None => writes.push(AccessWrite::AddRole(row)),
                Some(there) => {
                    let mut permissions = there.permissions.clone();
                    permissions.sort();
                    let same = permissions == row.permissions
                        && there.description == row.description
                        && there.name == row.name;
                    if !same {
                        writes.push(AccessWrite::ChangeRole(row));
                    }
                }
            }
        }
        if writes.is_empty() {
            return Ok(());
        }
        match self.store.access_write(writes).await? {
            Written::Done => Ok(()),
            // Another daemon that starts at this moment was faster.
            Written::Unmet(_) => Ok(()),
        }
    }

    /// Makes the first administrator where there is no user at all.
    ///
    /// # Errors
    /// When the store gives nothing.
    pub async fn first_admin(&self) -> Result<Option<FirstAdmin>, AccessError> {
        if self.store.has_users().await? {
            return Ok(None);
        }
        let password = one_time();
        let now = self.clock.now();
        let user = UserRow {
            user_id: UserId::generate(),
            organization_id: OrganizationId::ROOT,
            email: FIRST_EMAIL.to_owned(),
            name: "Administrator".to_owned(),
            password_hash: self.passwords.hash(&password).await?,
            password_change_required: true,
            active: true,
            revision: 1,
            created_at: now,
            updated_at: now,
            last_login_at: None,
        };
        let owner = Caller::owner(OrganizationId::ROOT);
        let details = json!({ "id": user.user_id, "roles": ["SUPER_ADMIN"], "first": true });
        let writes = vec![
            AccessWrite::AddUser(user.clone()),
            AccessWrite::PutMember {
                organization: OrganizationId::ROOT,
                user: user.user_id,
                department: None,
                position: None,
                at: now,
            },
            AccessWrite::PutRoles(
                OrganizationId::ROOT,
                user.user_id,
                vec![RoleId::SUPER_ADMIN],
            ),
            audit::line(self, &owner, "user.create", &user.email, details),
        ];
        match self.store.access_write(writes).await? {
            Written::Done => Ok(Some(FirstAdmin {
                email: user.email,
                password,
            })),
            Written::Unmet(_) => Ok(None),
        }
    }

    /// A new one-time password of the first administrator who has never set one of their own: made here and
    /// now, because the one that was printed is kept nowhere.
    ///
    /// # Errors
    /// `Forbidden` once it has been changed: then name whose password is meant.
    pub async fn first_password(&self, owner: &Caller) -> Result<FirstAdmin, AccessError> {
        if let Some(made) = self.first_admin().await? {
            return Ok(made);
        }
        let user = self.store.user_by_email(FIRST_EMAIL).await?;
        let Some(user) = user.filter(|user| user.password_change_required) else {
            return Err(AccessError::Forbidden(format!(
                "the one-time password of {FIRST_EMAIL} has been changed; for a new one, name the user"
            )));
        };
        let made = self.reset_password(owner, &user.email).await?;
        let password = made.one_time_password.ok_or(AccessError::Changed)?;
        Ok(FirstAdmin {
            email: made.user.email,
            password,
        })
    }
}
