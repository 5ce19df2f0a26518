//! The calls of [`super::AccessStore`], written once for every driver.
//!
//! A macro for the same reason as in `calls`. The statements are the same for all; what a write says is in
//! `access_writes`.

/// Expands to `AccessStore` for `$store`, whose `read` and `write` run the calls over `&mut $connection`.
macro_rules! access_store {
    ($store:ty, $connection:ty) => {
        use std::sync::{Arc, OnceLock};

        use async_trait::async_trait;
        use $crate::id::{DepartmentId, OrganizationId, PositionId, RoleId, UserId};
        use $crate::store::StoreError;
        use $crate::store::access::{
            AccessStore, AccessWrite, AuditFilter, AuditRow, Identity, MemberRow, OrganizationRow,
            PlaceRow, RoleRow, SessionRow, TokenRow, UserRow, Written,
        };
        use $crate::store::access_cells as cells;
        use $crate::store::access_writes::{Cell, Must, Step, audit_log, steps};
        use $crate::store::cells::Cells as _;
        use $crate::store::sql_access as sql;

        type Db = $connection;

        macro_rules! bound {
            ($sql:expr, $cells:expr) => {{
                let mut bound = query($sql);
                for cell in $cells {
                    bound = match cell {
                        Cell::Text(text) => bound.bind(text),
                        Cell::Int(number) => bound.bind(number),
                    };
                }
                bound
            }};
        }

        async fn write_all(
            db: &mut Db,
            writes: Vec<AccessWrite>,
            unmet: Arc<OnceLock<usize>>,
        ) -> Result<(), Fault> {
            for (place, write) in writes.into_iter().enumerate() {
                for Step { sql, cells, must } in steps(write) {
                    let done = bound!(sql, cells).execute(&mut *db).await.map_err(fault)?;
                    if must == Must::One && done.rows_affected() != 1 {
                        // Only set once: the first write that does not fit ends the list.
                        unmet.get_or_init(|| place);
                        return Err(Fault::Data("a write found something else".into()));
                    }
                }
            }
            Ok(())
        }

        async fn rows<T>(
            db: &mut Db,
            sql: &'static str,
            cells: Vec<Cell>,
            read: impl Fn(&Row) -> Result<T, Fault>,
        ) -> Result<Vec<T>, Fault> {
            let rows = bound!(sql, cells).fetch_all(db).await.map_err(fault)?;
            rows.iter().map(read).collect()
        }

        async fn row<T>(
            db: &mut Db,
            sql: &'static str,
            key: &str,
            read: impl Fn(&Row) -> Result<T, Fault>,
        ) -> Result<Option<T>, Fault> {
            let found = rows(db, sql, vec![key.into()], read).await?;
            Ok(found.into_iter().next())
        }

        async fn identity(db: &mut Db, user: UserId) -> Result<Option<Identity>, Fault> {
            let key = user.to_string();
            let Some(user) = row(&mut *db, sql::USER, &key, cells::user).await? else {
                return Ok(None);
            };
            let by_user = || vec![key.as_str().into()];
            let organizations = rows(&mut *db, sql::MEMBERSHIPS, by_user(), |c| {
                c.parsed("organization_id")
            })
            .await?;
            let grants = rows(db, sql::GRANTS, by_user(), cells::grant).await?;
            Ok(Some(Identity {
                user,
                organizations,
                grants,
            }))
        }

        async fn session(
            db: &mut Db,
            hash: String,
        ) -> Result<Option<(SessionRow, Identity)>, Fault> {
            let Some(session) = row(&mut *db, sql::SESSION, &hash, cells::session).await? else {
                return Ok(None);
            };
            let identity = identity(db, session.user_id).await?;
            Ok(identity.map(|identity| (session, identity)))
        }

        async fn api_token(
            db: &mut Db,
            hash: String,
        ) -> Result<Option<(TokenRow, Identity)>, Fault> {
            let Some(token) = row(&mut *db, sql::TOKEN, &hash, cells::api_token).await? else {
                return Ok(None);
            };
            let identity = identity(db, token.user_id).await?;
            Ok(identity.map(|identity| (token, identity)))
        }

        async fn roles(db: &mut Db, organization: String) -> Result<Vec<RoleRow>, Fault> {
            let key = || vec![organization.as_str().into()];
            let mut roles = rows(&mut *db, sql::ROLES, key(), cells::role).await?;
            let permitted = rows(db, sql::PERMITTED, key(), |c| {
                Ok((c.parsed::<RoleId>("role_id")?, c.text("permission_id")?))
            })
            .await?;
            for (role, permission) in permitted {
                if let Some(role) = roles.iter_mut().find(|row| row.role_id == role) {
                    role.permissions.push(permission);
                }
            }
            Ok(roles)
        }

        impl $store {
            async fn access_rows<T: Send + 'static>(
                &self,
                sql: &'static str,
                cells: Vec<Cell>,
                read: fn(&Row) -> Result<T, Fault>,
            ) -> Result<Vec<T>, StoreError> {
                self.read(move |c| Box::pin(rows(c, sql, cells, read)))
                    .await
            }
        }

        #[async_trait]
        impl AccessStore for $store {
            async fn access_write(&self, writes: Vec<AccessWrite>) -> Result<Written, StoreError> {
                let unmet = Arc::new(OnceLock::new());
                let note = Arc::clone(&unmet);
                let done = self
                    .write(move |c| Box::pin(write_all(c, writes, note)))
                    .await;
                match (done, unmet.get()) {
                    (Err(StoreError::Rejected(_)), Some(place)) => Ok(Written::Unmet(*place)),
                    (done, _) => done.map(|()| Written::Done),
                }
            }

            async fn session(
                &self,
                token_hash: &str,
            ) -> Result<Option<(SessionRow, Identity)>, StoreError> {
                let hash = token_hash.to_owned();
                self.read(move |c| Box::pin(session(c, hash))).await
            }

            async fn api_token(
                &self,
                token_hash: &str,
            ) -> Result<Option<(TokenRow, Identity)>, StoreError> {
                let hash = token_hash.to_owned();
                self.read(move |c| Box::pin(api_token(c, hash))).await
            }

            async fn identity(&self, user: UserId) -> Result<Option<Identity>, StoreError> {
                self.read(move |c| Box::pin(identity(c, user))).await
            }

            async fn user_by_email(&self, email: &str) -> Result<Option<UserRow>, StoreError> {
                let key = vec![email.into()];
                let found = self.access_rows(sql::USER_BY_EMAIL, key, cells::user);
                Ok(found.await?.into_iter().next())
            }

            async fn has_users(&self) -> Result<bool, StoreError> {
                let found = self.access_rows(sql::ANY_USER, Vec::new(), |_| Ok(()));
                Ok(!found.await?.is_empty())
            }

            async fn members(
                &self,
                organization: OrganizationId,
                limit: u32,
            ) -> Result<Vec<MemberRow>, StoreError> {
                let key = vec![
                    organization.to_string().as_str().into(),
                    i64::from(limit).into(),
                ];
                self.access_rows(sql::MEMBERS, key, cells::member).await
            }

            async fn member_roles(
                &self,
                organization: OrganizationId,
            ) -> Result<Vec<(UserId, RoleId)>, StoreError> {
                let key = vec![organization.to_string().as_str().into()];
                self.access_rows(sql::MEMBER_ROLES, key, |c| {
                    Ok((c.parsed("user_id")?, c.parsed("role_id")?))
                })
                .await
            }

            async fn roles(
                &self,
                organization: OrganizationId,
            ) -> Result<Vec<RoleRow>, StoreError> {
                let organization = organization.to_string();
                self.read(move |c| Box::pin(roles(c, organization))).await
            }

            async fn permissions(&self) -> Result<Vec<(String, String)>, StoreError> {
                self.access_rows(sql::PERMISSIONS, Vec::new(), |c| {
                    Ok((c.text("permission_id")?, c.text("description")?))
                })
                .await
            }

            async fn organizations(&self) -> Result<Vec<OrganizationRow>, StoreError> {
                self.access_rows(sql::ORGANIZATIONS, Vec::new(), cells::organization)
                    .await
            }

            async fn departments(
                &self,
                organization: OrganizationId,
            ) -> Result<Vec<PlaceRow<DepartmentId>>, StoreError> {
                let key = vec![organization.to_string().as_str().into()];
                self.access_rows(sql::DEPARTMENTS, key, cells::place).await
            }

            async fn positions(
                &self,
                organization: OrganizationId,
            ) -> Result<Vec<PlaceRow<PositionId>>, StoreError> {
                let key = vec![organization.to_string().as_str().into()];
                self.access_rows(sql::POSITIONS, key, cells::place).await
            }

            async fn sessions(&self, user: UserId) -> Result<Vec<SessionRow>, StoreError> {
                let key = vec![user.to_string().as_str().into()];
                self.access_rows(sql::SESSIONS, key, cells::session).await
            }

            async fn api_tokens(
                &self,
                organization: OrganizationId,
                limit: u32,
            ) -> Result<Vec<TokenRow>, StoreError> {
                let key = vec![
                    organization.to_string().as_str().into(),
                    i64::from(limit).into(),
                ];
                self.access_rows(sql::TOKENS, key, cells::api_token).await
            }

            async fn audit_log(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
                self.access_rows(sql::AUDIT_LOG, audit_log(filter), cells::audit)
                    .await
            }
        }
    };
}
pub(super) use access_store;
