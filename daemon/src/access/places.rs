//! Organizations, and the departments and positions in them.

use serde_json::{Value, json};

use super::identify::{held_in, is_super_admin};
use super::{Access, AccessError, Caller, audit, display_name};
use crate::id::{DepartmentId, OrganizationId, PositionId, WorkflowName};
use crate::store::access::{AccessWrite, OrganizationRow, PlaceRow};

/// Departments or positions of an organization; a list that people choose from.
const PLACES_MAX: usize = 500;
/// Organizations: each is a folder that is watched.
const ORGANIZATIONS_MAX: usize = 1_000;

/// The calls about departments, and the same about positions.
macro_rules! places {
    ($id:ty, $what:literal, $all:ident, $one:ident, $add:ident, $rename:ident, $remove:ident,
     $Add:ident, $Rename:ident, $Remove:ident) => {
        /// All of the caller's organization, by name.
        ///
        /// # Errors
        /// When the store gives nothing.
        pub async fn $all(&self, caller: &Caller) -> Result<Vec<PlaceRow<$id>>, AccessError> {
            Ok(self.store.$all(caller.organization).await?)
        }

        /// One of them, by id or name.
        ///
        /// # Errors
        /// `NotFound`.
        pub async fn $one(&self, caller: &Caller, key: &str) -> Result<PlaceRow<$id>, AccessError> {
            let all = self.$all(caller).await?.into_iter();
            let mut found = all.filter(|row| row.name == key || row.id.to_string() == key);
            found.next().ok_or(AccessError::NotFound($what))
        }

        /// Makes one.
        ///
        /// # Errors
        /// `Taken`, `Invalid`, `TooMany`.
        pub async fn $add(&self, caller: &Caller, name: &str) -> Result<PlaceRow<$id>, AccessError> {
            if self.$all(caller).await?.len() >= PLACES_MAX {
                return Err(AccessError::TooMany(concat!($what, "s")));
            }
            let row = PlaceRow {
                id: <$id>::generate(),
                organization_id: caller.organization,
                name: display_name(name, "name")?,
                created_at: self.clock.now(),
            };
            let action = concat!($what, ".create");
            let line = audit::line(self, caller, action, &row.name, json!({ "id": row.id }));
            self.write(vec![AccessWrite::$Add(row.clone()), line], |_| AccessError::Taken($what))
                .await?;
            Ok(row)
        }

        /// Gives one another name.
        ///
        /// # Errors
        /// `NotFound`, `Taken`, `Invalid`.
        pub async fn $rename(
            &self,
            caller: &Caller,
            key: &str,
            name: &str,
        ) -> Result<PlaceRow<$id>, AccessError> {
            let old = self.$one(caller, key).await?;
            let name = display_name(name, "name")?;
            let all = self.$all(caller).await?;
            if all.iter().any(|row| row.name == name && row.id != old.id) {
                return Err(AccessError::Taken($what));
            }
            let row = PlaceRow { name, ..old };
            let action = concat!($what, ".update");
            let line = audit::line(self, caller, action, &row.name, json!({ "id": row.id }));
            self.write(vec![AccessWrite::$Rename(row.clone()), line], |_| {
                AccessError::NotFound($what)
            })
            .await?;
            Ok(row)
        }

        /// Deletes one; its members are in none.
        ///
        /// # Errors
        /// `NotFound`.
        pub async fn $remove(&self, caller: &Caller, key: &str) -> Result<PlaceRow<$id>, AccessError> {
            let row = self.$one(caller, key).await?;
            let action = concat!($what, ".delete");
            let line = audit::line(self, caller, action, &row.name, json!({ "id": row.id }));
            let gone = AccessWrite::$Remove(caller.organization, row.id);
            self.write(vec![gone, line], |_| AccessError::NotFound($what)).await?;
            Ok(row)
        }
    };
}

impl Access {
    places!(
        DepartmentId,
        "department",
        departments,
        department,
        add_department,
        rename_department,
        remove_department,
        AddDepartment,
        RenameDepartment,
        RemoveDepartment
    );
    places!(
        PositionId,
        "position",
        positions,
        position,
        add_position,
        rename_position,
        remove_position,
        AddPosition,
        RenamePosition,
        RemovePosition
    );

    /// The organizations that the caller belongs to; all for who holds everything.
    ///
    /// # Errors
    /// When the store gives nothing.
    pub async fn organizations(
        &self,
        caller: &Caller,
    ) -> Result<Vec<OrganizationRow>, AccessError> {
        let mut rows = self.store.organizations().await?;
        let identity = match caller.user {
            Some(user) if !caller.everywhere => self.store.identity(user).await?,
            _ => None,
        };
        if !caller.everywhere {
            // A token sees the one that it is for.
            let token = matches!(caller.means, super::Means::Token(_));
            rows.retain(|row| match &identity {
                Some(_) if token => row.organization_id == caller.organization,
                Some(identity) => held_in(identity, row.organization_id).is_some(),
                None => false,
            });
        }
        Ok(rows)
    }

    /// The name of the caller's organization, which is that of its folder.
    ///
    /// # Errors
    /// When the store gives nothing.
    pub async fn organization_name(&self, caller: &Caller) -> Result<String, AccessError> {
        let rows = self.store.organizations().await?.into_iter();
        let mut found = rows.filter(|row| row.organization_id == caller.organization);
        let found = found.next().ok_or(AccessError::NotFound("organization"))?;
        Ok(found.name)
    }

    /// One of them by id or name, as the caller in it.
    ///
    /// # Errors
    /// `NotFound` also where there is one that the caller does not belong to.
    pub async fn within(&self, caller: &Caller, key: &str) -> Result<Caller, AccessError> {
        let rows = self.organizations(caller).await?;
        let found = rows
            .iter()
            .find(|row| row.name == key || row.organization_id.to_string() == key)
            .ok_or(AccessError::NotFound("organization"))?;
        if found.organization_id == caller.organization {
            return Ok(*caller);
        }
        let mut there = Caller {
            organization: found.organization_id,
            ..*caller
        };
        if let (Some(user), false) = (caller.user, caller.everywhere) {
            let identity = self.store.identity(user).await?;
            let held = identity.and_then(|identity| held_in(&identity, found.organization_id));
            let held = held.ok_or(AccessError::NotFound("organization"))?;
            there.permissions = held.permissions;
        }
        Ok(there)
    }

    /// Makes an organization. Its folder `flows/NAME` is the business of whoever asks.
    ///
    /// # Errors
    /// `Taken`, `Invalid`, `TooMany`.
    pub async fn add_organization(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<OrganizationRow, AccessError> {
        // A folder's name, and as safe as a workflow's.
        let name: WorkflowName = name.parse().map_err(|error: crate::id::InvalidId| {
            AccessError::Invalid(format!("name: {}", error.rule))
        })?;
        if self.store.organizations().await?.len() >= ORGANIZATIONS_MAX {
            return Err(AccessError::TooMany("organizations"));
        }
        let row = OrganizationRow {
            organization_id: OrganizationId::generate(),
            name: name.to_string(),
            created_at: self.clock.now(),
        };
        let details = json!({ "id": row.organization_id });
        let writes = vec![
            AccessWrite::AddOrganization(row.clone()),
            audit::line(self, caller, "organization.create", &row.name, details),
        ];
        self.write(writes, |_| AccessError::Taken("organization"))
            .await?;
        Ok(row)
    }

    /// Takes somebody who has an account into the caller's organization, without any role.
    ///
    /// # Errors
    /// `Forbidden` but for who holds everything: an account of others is not theirs to see.
    pub async fn add_member(&self, caller: &Caller, email: &str) -> Result<(), AccessError> {
        if !caller.everywhere {
            return Err(AccessError::Forbidden(
                "an account is taken into another organization by a SUPER_ADMIN or on the daemon's machine".to_owned(),
            ));
        }
        let email = super::users::address(email)?;
        let user = self.store.user_by_email(&email).await?;
        let user = user.ok_or(AccessError::NotFound("user"))?.user_id;
        let writes = vec![
            AccessWrite::PutMember {
                organization: caller.organization,
                user,
                department: None,
                position: None,
                at: self.clock.now(),
            },
            audit::line(self, caller, "user.join", &email, Value::Null),
        ];
        self.write(writes, |_| AccessError::Changed).await
    }

    /// Takes somebody out of the caller's organization, with their roles there; their sessions end.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`; whoever belongs to no other is deleted instead.
    pub async fn remove_member(&self, caller: &Caller, key: &str) -> Result<(), AccessError> {
        let member = self.member(caller, key).await?;
        let identity = self.touchable(caller, member.user.user_id, false).await?;
        if identity.organizations.len() < 2 {
            return Err(AccessError::Forbidden(
                "they belong to no other organization; delete the user instead".to_owned(),
            ));
        }
        let super_admin = is_super_admin(&identity);
        if super_admin && caller.organization == OrganizationId::ROOT && !caller.everywhere {
            return Err(AccessError::Forbidden("a SUPER_ADMIN stays".to_owned()));
        }
        let writes = vec![
            AccessWrite::RemoveMember(caller.organization, member.user.user_id),
            AccessWrite::EndSessions(member.user.user_id, None),
            audit::line(self, caller, "user.leave", &member.user.email, Value::Null),
        ];
        self.write(writes, |_| AccessError::NotFound("user")).await
    }
}
