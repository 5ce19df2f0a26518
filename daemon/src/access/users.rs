//! Users: making, changing, disabling and deleting them, and what roles they have.
//!
//! An administrator of an organization has power over those who belong to it alone and hold no more than
//! they do themselves.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::identify::{held_in, is_super_admin, roles_in};
use super::password::{one_time, problem};
use super::roles::{find, only_what_one_holds, permitted};
use super::{Access, AccessError, Caller, Means, audit, display_name};
use crate::id::{DepartmentId, OrganizationId, PositionId, RoleId, UserId};
use crate::store::access::{AccessWrite, Identity, MemberRow, RoleRow, SessionRow, UserRow};

/// Users of an organization: lists of them are searched and sorted in memory.
pub const USERS_MAX: u32 = 10_000;
/// RFC 5321 allows no longer path.
const EMAIL_MAX: usize = 254;

/// A member with the names of their roles.
#[derive(Debug, Clone)]
pub struct Member {
    /// The user, department and position.
    pub row: MemberRow,
    /// Roles in the organization, by name.
    pub roles: Vec<String>,
}

/// Who is to be made.
#[derive(Debug)]
pub struct NewUser {
    /// The address they log in with.
    pub email: String,
    /// How they are called.
    pub name: String,
    /// Their password; none: a one-time password is made.
    pub password: Option<SecretString>,
    /// Roles by id or name; none: USER.
    pub roles: Option<Vec<String>>,
    /// By id or name.
    pub department: Option<String>,
    /// By id or name.
    pub position: Option<String>,
}

/// Somebody who was made.
#[derive(Debug)]
pub struct MadeUser {
    /// Who.
    pub user: UserRow,
    /// The password to be given to them, where one was made.
    pub one_time_password: Option<SecretString>,
}

/// What is to change; what is none stays.
#[derive(Debug, Default)]
pub struct UserChange {
    /// How they are called.
    pub name: Option<String>,
    /// By id or name; the inner none is no department.
    pub department: Option<Option<String>>,
    /// By id or name; the inner none is no position.
    pub position: Option<Option<String>>,
}

/// An address in the form in which it is kept and compared.
pub(super) fn address(text: &str) -> Result<String, AccessError> {
    let text = text.trim().to_lowercase();
    let parts = text.split_once('@');
    let fits = text.len() <= EMAIL_MAX
        && !text
            .chars()
            .any(|c| c.is_control() || c.is_whitespace() || "<>\",;:\\".contains(c))
        && parts.is_some_and(|(name, host)| {
            !name.is_empty() && !host.is_empty() && !host.contains('@')
        });
    match fits {
        true => Ok(text),
        false => Err(AccessError::Invalid(
            "email: an address like name@example.com".to_owned(),
        )),
    }
}

impl Access {
    /// The members of the caller's organization with their roles, by address.
    ///
    /// # Errors
    /// When the store gives nothing.
    pub async fn members(&self, caller: &Caller) -> Result<Vec<Member>, AccessError> {
        let organization = caller.organization;
        let rows = self.store.members(organization, USERS_MAX).await?;
        let names: BTreeMap<RoleId, String> = self
            .store
            .roles(organization)
            .await?
            .into_iter()
            .map(|role| (role.role_id, role.name))
            .collect();
        let mut roles: BTreeMap<UserId, Vec<String>> = BTreeMap::new();
        for (user, role) in self.store.member_roles(organization).await? {
            if let Some(name) = names.get(&role) {
                roles.entry(user).or_default().push(name.clone());
            }
        }
        Ok(rows
            .into_iter()
            .map(|row| {
                let mut roles = roles.remove(&row.user.user_id).unwrap_or_default();
                roles.sort();
                Member { row, roles }
            })
            .collect())
    }

    /// A member by id or address.
    pub(super) async fn member(
        &self,
        caller: &Caller,
        key: &str,
    ) -> Result<MemberRow, AccessError> {
        let rows = self.store.members(caller.organization, USERS_MAX).await?;
        let email = key.to_lowercase();
        rows.into_iter()
            .find(|row| row.user.user_id.to_string() == key || row.user.email == email)
            .ok_or(AccessError::NotFound("user"))
    }

    /// One member with roles.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn user(&self, caller: &Caller, key: &str) -> Result<Member, AccessError> {
        let row = self.member(caller, key).await?;
        let identity = self.store.identity(row.user.user_id).await?;
        let held = identity
            .map(|identity| roles_in(&identity, caller.organization))
            .unwrap_or_default();
        let roles = self.store.roles(caller.organization).await?;
        let mut roles: Vec<String> = roles
            .into_iter()
            .filter(|role| held.contains(&role.role_id))
            .map(|role| role.name)
            .collect();
        roles.sort();
        Ok(Member { row, roles })
    }

    /// Whether an address is free.
    ///
    /// # Errors
    /// `Invalid` where it is no address.
    pub async fn is_free(&self, email: &str) -> Result<bool, AccessError> {
        let email = address(email)?;
        Ok(self.store.user_by_email(&email).await?.is_none())
    }

    /// Makes a user who belongs to the caller's organization.
    ///
    /// # Errors
    /// `Taken`, `Invalid`, `Forbidden` for roles that permit more than the caller holds.
    pub async fn add_user(&self, caller: &Caller, new: NewUser) -> Result<MadeUser, AccessError> {
        let email = address(&new.email)?;
        let name = display_name(&new.name, "name")?;
        let wanted = new.roles.unwrap_or_else(|| vec!["USER".to_owned()]);
        let roles = self.roles_to_give(caller, &wanted, None).await?;
        let (department, position) = self
            .workplace(caller, new.department.as_deref(), new.position.as_deref())
            .await?;
        if let Some(problem) = new.password.as_ref().and_then(|text| problem(text, &email)) {
            return Err(AccessError::Invalid(format!("password: {problem}")));
        }
        let there = self.store.members(caller.organization, USERS_MAX).await?;
        if there.len() >= USERS_MAX as usize {
            return Err(AccessError::TooMany("users"));
        }
        let chosen = new.password.is_some();
        let (password, one_time_password) = match new.password {
            Some(password) => (password, None),
            None => {
                let made = one_time();
                (made.clone(), Some(made))
            }
        };
        let now = self.clock.now();
        let user = UserRow {
            user_id: UserId::generate(),
            organization_id: caller.organization,
            email,
            name,
            password_hash: self.passwords.hash(&password).await?,
            password_change_required: !chosen,
            active: true,
            revision: 1,
            created_at: now,
            updated_at: now,
            last_login_at: None,
        };
        let names: Vec<&str> = roles.iter().map(|role| role.name.as_str()).collect();
        let details = json!({ "id": user.user_id, "roles": names });
        let writes = vec![
            AccessWrite::AddUser(user.clone()),
            AccessWrite::PutMember {
                organization: caller.organization,
                user: user.user_id,
                department,
                position,
                at: now,
            },
            put_roles(caller.organization, user.user_id, &roles),
            audit::line(self, caller, "user.create", &user.email, details),
        ];
        self.write(writes, |place| match place {
            0 => AccessError::Taken("user"),
            _ => AccessError::Changed,
        })
        .await?;
        Ok(MadeUser {
            user,
            one_time_password,
        })
    }

    /// Changes name, department or position.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, `Changed`, `Invalid`.
    pub async fn change_user(
        &self,
        caller: &Caller,
        key: &str,
        change: UserChange,
    ) -> Result<Member, AccessError> {
        let member = self.member(caller, key).await?;
        let identity = self.touchable(caller, member.user.user_id, true).await?;
        let mut user = identity.user;
        if let Some(name) = &change.name {
            user.name = display_name(name, "name")?;
        }
        let department = change.department.as_ref().and_then(Option::as_deref);
        let position = change.position.as_ref().and_then(Option::as_deref);
        let found = self.workplace(caller, department, position).await?;
        let now = self.clock.now();
        user.revision += 1;
        user.updated_at = now;
        let details =
            json!({ "name": change.name, "department": department, "position": position });
        let writes = vec![
            AccessWrite::ChangeUser(user.clone()),
            AccessWrite::PutMember {
                organization: caller.organization,
                user: user.user_id,
                department: change.department.map_or(member.department_id, |_| found.0),
                position: change.position.map_or(member.position_id, |_| found.1),
                at: now,
            },
            audit::line(self, caller, "user.update", &user.email, details),
        ];
        self.write(writes, |_| AccessError::Changed).await?;
        self.user(caller, &user.user_id.to_string()).await
    }

    /// Disables somebody, or lets them in again. Their sessions end; their tokens wait.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, `Changed`.
    pub async fn set_active(
        &self,
        caller: &Caller,
        key: &str,
        active: bool,
    ) -> Result<Member, AccessError> {
        let member = self.member(caller, key).await?;
        let identity = self.touchable(caller, member.user.user_id, false).await?;
        let user = UserRow {
            active,
            revision: identity.user.revision + 1,
            updated_at: self.clock.now(),
            ..identity.user
        };
        let action = if active {
            "user.enable"
        } else {
            "user.disable"
        };
        let writes = vec![
            AccessWrite::ChangeUser(user.clone()),
            AccessWrite::EndSessions(user.user_id, None),
            audit::line(self, caller, action, &user.email, Value::Null),
        ];
        self.write(writes, |_| AccessError::Changed).await?;
        self.user(caller, &user.user_id.to_string()).await
    }

    /// Deletes somebody, with their sessions and tokens. What they did stays in the log.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub async fn remove_user(&self, caller: &Caller, key: &str) -> Result<UserRow, AccessError> {
        let member = self.member(caller, key).await?;
        let user = self
            .touchable(caller, member.user.user_id, false)
            .await?
            .user;
        let details = json!({ "id": user.user_id });
        let writes = vec![
            AccessWrite::RemoveUser(user.user_id),
            audit::line(self, caller, "user.delete", &user.email, details),
        ];
        self.write(writes, |_| AccessError::NotFound("user"))
            .await?;
        Ok(user)
    }

    /// Gives somebody a new one-time password; their sessions end.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, `Changed`.
    pub async fn reset_password(
        &self,
        caller: &Caller,
        key: &str,
    ) -> Result<MadeUser, AccessError> {
        let member = self.member(caller, key).await?;
        let identity = self.touchable(caller, member.user.user_id, false).await?;
        let made = one_time();
        let user = UserRow {
            password_hash: self.passwords.hash(&made).await?,
            password_change_required: true,
            revision: identity.user.revision + 1,
            updated_at: self.clock.now(),
            ..identity.user
        };
        let writes = vec![
            AccessWrite::ChangeUser(user.clone()),
            AccessWrite::EndSessions(user.user_id, None),
            audit::line(
                self,
                caller,
                "user.password",
                &user.email,
                json!({ "own": false }),
            ),
        ];
        self.write(writes, |_| AccessError::Changed).await?;
        Ok(MadeUser {
            user,
            one_time_password: Some(made),
        })
    }

    /// Gives somebody exactly these roles in the caller's organization; their sessions end.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden` for roles, given or taken, that permit more than the caller holds.
    pub async fn set_roles(
        &self,
        caller: &Caller,
        key: &str,
        wanted: &[String],
    ) -> Result<Member, AccessError> {
        let member = self.member(caller, key).await?;
        let identity = self.touchable(caller, member.user.user_id, false).await?;
        let roles = self.roles_to_give(caller, wanted, Some(&identity)).await?;
        let user = identity.user;
        let names: Vec<&str> = roles.iter().map(|role| role.name.as_str()).collect();
        let details = json!({ "roles": names });
        let writes = vec![
            put_roles(caller.organization, user.user_id, &roles),
            AccessWrite::EndSessions(user.user_id, None),
            audit::line(self, caller, "user.roles", &user.email, details),
        ];
        self.write(writes, |_| AccessError::Changed).await?;
        self.user(caller, &user.user_id.to_string()).await
    }

    /// Where a user is logged in.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub async fn sessions(
        &self,
        caller: &Caller,
        key: &str,
    ) -> Result<Vec<SessionRow>, AccessError> {
        let member = self.member(caller, key).await?;
        let user = self.touchable(caller, member.user.user_id, true).await?;
        Ok(self.store.sessions(user.user.user_id).await?)
    }

    /// Ends all of a user's sessions; one's own but for the one that asks.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub async fn end_sessions(&self, caller: &Caller, key: &str) -> Result<(), AccessError> {
        let member = self.member(caller, key).await?;
        let user = self.touchable(caller, member.user.user_id, true).await?;
        let but = match caller.means {
            Means::Session(session) => Some(session),
            _ => None,
        };
        let writes = vec![
            AccessWrite::EndSessions(user.user.user_id, but),
            audit::line(self, caller, "user.sessions", &user.user.email, Value::Null),
        ];
        self.write(writes, |_| AccessError::Changed).await
    }

    /// A user over whom the caller has power. Themselves only where `oneself` may be.
    pub(super) async fn touchable(
        &self,
        caller: &Caller,
        user: UserId,
        oneself: bool,
    ) -> Result<Identity, AccessError> {
        let identity = self.store.identity(user).await?;
        let identity = identity.ok_or(AccessError::NotFound("user"))?;
        if caller.user == Some(user) {
            return match oneself {
                true => Ok(identity),
                false => Err(AccessError::Forbidden(
                    "nobody does this to themselves; ask another administrator".to_owned(),
                )),
            };
        }
        if caller.everywhere {
            return Ok(identity);
        }
        if is_super_admin(&identity) {
            return Err(AccessError::Forbidden(
                "only a SUPER_ADMIN changes a SUPER_ADMIN".to_owned(),
            ));
        }
        let elsewhere = identity
            .organizations
            .iter()
            .any(|organization| *organization != caller.organization);
        if elsewhere {
            return Err(AccessError::Forbidden(
                "they belong to other organizations too; a SUPER_ADMIN can do this".to_owned(),
            ));
        }
        if let Some(held) = held_in(&identity, caller.organization) {
            only_what_one_holds(caller, held.permissions)?;
        }
        Ok(identity)
    }

    /// The roles of these names, which the caller may give to this user, or to somebody new.
    async fn roles_to_give(
        &self,
        caller: &Caller,
        wanted: &[String],
        to: Option<&Identity>,
    ) -> Result<Vec<RoleRow>, AccessError> {
        let known = self.store.roles(caller.organization).await?;
        let mut roles: Vec<RoleRow> = Vec::new();
        for key in wanted {
            let role = find(&known, key)
                .ok_or_else(|| AccessError::Invalid(format!("roles: there is no role {key:?}")))?;
            let super_admin = role.role_id == RoleId::SUPER_ADMIN;
            if super_admin && !caller.everywhere {
                return Err(AccessError::Forbidden(
                    "only a SUPER_ADMIN makes a SUPER_ADMIN".to_owned(),
                ));
            }
            if super_admin && caller.organization != OrganizationId::ROOT {
                return Err(AccessError::Invalid(
                    "roles: SUPER_ADMIN is given in the root organization, and counts in all"
                        .to_owned(),
                ));
            }
            only_what_one_holds(caller, self.counting(caller, role))?;
            if !roles.iter().any(|there| there.role_id == role.role_id) {
                roles.push(role.clone());
            }
        }
        if let Some(identity) = to {
            let held = roles_in(identity, caller.organization);
            for role in known.iter().filter(|role| held.contains(&role.role_id)) {
                only_what_one_holds(caller, self.counting(caller, role))?;
            }
        }
        Ok(roles)
    }

    /// What a role permits in the caller's organization.
    fn counting(&self, caller: &Caller, role: &RoleRow) -> super::PermissionSet {
        let permissions = permitted(&role.permissions);
        match caller.organization == OrganizationId::ROOT {
            true => permissions,
            false => permissions.of_an_organization(),
        }
    }

    async fn workplace(
        &self,
        caller: &Caller,
        department: Option<&str>,
        position: Option<&str>,
    ) -> Result<(Option<DepartmentId>, Option<PositionId>), AccessError> {
        let missing = |what: &str, key: &str| {
            AccessError::Invalid(format!("{what}: there is no {what} {key:?}"))
        };
        let department = match department {
            None => None,
            Some(key) => match self.department(caller, key).await {
                Err(AccessError::NotFound(what)) => return Err(missing(what, key)),
                found => Some(found?.id),
            },
        };
        let position = match position {
            None => None,
            Some(key) => match self.position(caller, key).await {
                Err(AccessError::NotFound(what)) => return Err(missing(what, key)),
                found => Some(found?.id),
            },
        };
        Ok((department, position))
    }

    /// Who the caller is.
    ///
    /// # Errors
    /// `NotFound` for the owner, who is nobody in the store.
    pub async fn me(&self, caller: &Caller) -> Result<Member, AccessError> {
        let user = caller.user.ok_or(AccessError::NotFound("user"))?;
        match self.user(caller, &user.to_string()).await {
            // Whoever holds everything need not belong to an organization to look at it.
            Err(AccessError::NotFound(_)) => {
                let identity = self.store.identity(user).await?;
                let user = identity.ok_or(AccessError::NotFound("user"))?.user;
                Ok(Member {
                    row: MemberRow {
                        user,
                        department_id: None,
                        position_id: None,
                    },
                    roles: Vec::new(),
                })
            }
            found => found,
        }
    }
}

fn put_roles(organization: OrganizationId, user: UserId, roles: &[RoleRow]) -> AccessWrite {
    let roles = roles.iter().map(|role| role.role_id).collect();
    AccessWrite::PutRoles(organization, user, roles)
}

/// A password that was made is shown once, by who asked for it.
impl MadeUser {
    /// Its text.
    pub fn password(&self) -> Option<&str> {
        let made = self.one_time_password.as_ref();
        made.map(|password| password.expose_secret())
    }
}
