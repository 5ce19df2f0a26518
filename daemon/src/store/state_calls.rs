//! The calls of [`super::StateStore`], written once for every driver.
//!
//! A macro for the same reason as in `calls`, expanded beside the same names; it also ties each call to the
//! driver's reads and writes.

/// Expands to the calls over `&mut $connection` and to `StateStore` for `$store`, whose `read` and
/// `write` run them.
macro_rules! state_store {
    ($store:ty, $connection:ty) => {
        use async_trait::async_trait;
        use $crate::clock::Timestamp;
        use $crate::id::{OrganizationId, SecretName};
        use $crate::store::StoreError;
        use $crate::store::cells::{self, Cells as _};
        use $crate::store::rows::{KvEntry, KvListed, SecretRow};
        use $crate::store::state::{
            Expect, KvSpace, KvUsage, KvWrite, KvWritten, PURGE, StateStore,
        };
        use $crate::store::text::stored;

        type Db = $connection;

        /// The next revision; from here on other writers of state wait.
        async fn turn(db: &mut Db) -> Result<u64, Fault> {
            let counter = query(sql::KV_REVISION).fetch_one(db).await.map_err(fault)?;
            counter.count("value")
        }

        async fn kv_get(
            db: &mut Db,
            space: KvSpace,
            key: String,
            now: Timestamp,
        ) -> Result<Option<KvEntry>, Fault> {
            let row = query(sql::KV_GET)
                .bind(space.organization.to_string())
                .bind(space.workflow.to_string())
                .bind(key.into_bytes())
                .bind(now.as_micros())
                .fetch_optional(db)
                .await
                .map_err(fault)?;
            row.as_ref().map(cells::kv_entry).transpose()
        }

        async fn kv_set(
            db: &mut Db,
            space: KvSpace,
            key: String,
            expect: Expect,
            entry: KvWrite,
            now: Timestamp,
        ) -> Result<KvWritten, Fault> {
            let revision = turn(&mut *db).await?;
            let key = key.into_bytes();
            let old = look(&mut *db, &space, &key).await?;
            let live = old.filter(|old| old.expires_at.is_none_or(|end| end > now));
            let holds = match expect {
                Expect::Any => true,
                Expect::Absent => live.is_none(),
                Expect::Revision(wanted) => live.is_some_and(|live| live.revision == wanted),
            };
            if !holds {
                return Ok(KvWritten::Unexpected);
            }
            let size = (key.len() as u64).saturating_add(entry.value.len() as u64);
            let old = match room(&mut *db, &space, (old, &key, size), entry.quota, now).await? {
                Ok(old) => old,
                Err(full) => return Ok(full),
            };
            query(sql::KV_PUT)
                .bind(ulid::Ulid::generate().to_string())
                .bind(space.organization.to_string())
                .bind(space.workflow.to_string())
                .bind(key)
                .bind(entry.value)
                .bind(whole(revision)?)
                .bind(entry.expires_at.map(Timestamp::as_micros))
                .execute(&mut *db)
                .await
                .map_err(fault)?;
            let grown = whole(size)?.saturating_sub(whole(old.unwrap_or(0))?);
            count(db, &space, i64::from(old.is_none()), grown).await?;
            Ok(KvWritten::At(revision))
        }

        /// Removes expired entries, a batch at least, until there is room or none is left. Answers the
        /// size of the key's old row if that is still there.
        async fn room(
            db: &mut Db,
            space: &KvSpace,
            (mut old, key, size): (Option<Old>, &[u8], u64),
            quota: KvUsage,
            now: Timestamp,
        ) -> Result<Result<Option<u64>, KvWritten>, Fault> {
            loop {
                let gone = purge(&mut *db, space, now).await?;
                if gone.entries > 0 {
                    old = look(&mut *db, space, key).await?;
                }
                let old = old.map(|old| old.size);
                let room = usage(&mut *db, space).await?.takes(old, size, quota);
                if room.is_ok() || gone.entries < u64::from(PURGE) {
                    return Ok(room.map(|()| old));
                }
            }
        }

        /// What a key has in its row, expired or not.
        #[derive(Clone, Copy)]
        struct Old {
            revision: u64,
            expires_at: Option<Timestamp>,
            size: u64,
        }

        async fn look(db: &mut Db, space: &KvSpace, key: &[u8]) -> Result<Option<Old>, Fault> {
            let row = query(sql::KV_LOOK)
                .bind(space.organization.to_string())
                .bind(space.workflow.to_string())
                .bind(key.to_vec())
                .fetch_optional(db)
                .await
                .map_err(fault)?;
            row.map(|row| {
                Ok(Old {
                    revision: row.count("revision")?,
                    expires_at: row.opt_time("expires_at")?,
                    size: row.count("size")?,
                })
            })
            .transpose()
        }

        async fn purge(db: &mut Db, space: &KvSpace, now: Timestamp) -> Result<KvUsage, Fault> {
            let rows = query(sql::KV_PURGE)
                .bind(space.organization.to_string())
                .bind(space.workflow.to_string())
                .bind(now.as_micros())
                .bind(i64::from(PURGE))
                .fetch_all(&mut *db)
                .await
                .map_err(fault)?;
            let mut gone = KvUsage {
                entries: 0,
                bytes: 0,
            };
            for row in &rows {
                gone.entries += 1;
                gone.bytes = gone.bytes.saturating_add(row.count("size")?);
            }
            if gone.entries > 0 {
                count(db, space, -whole(gone.entries)?, -whole(gone.bytes)?).await?;
            }
            Ok(gone)
        }

        async fn usage(db: &mut Db, space: &KvSpace) -> Result<KvUsage, Fault> {
            let row = query(sql::KV_USAGE)
                .bind(space.organization.to_string())
                .bind(space.workflow.to_string())
                .fetch_optional(db)
                .await
                .map_err(fault)?;
            let nothing = KvUsage {
                entries: 0,
                bytes: 0,
            };
            row.as_ref().map_or(Ok(nothing), cells::kv_usage)
        }

        async fn count(
            db: &mut Db,
            space: &KvSpace,
            entries: i64,
            bytes: i64,
        ) -> Result<(), Fault> {
            query(sql::KV_COUNT)
                .bind(ulid::Ulid::generate().to_string())
                .bind(space.organization.to_string())
                .bind(space.workflow.to_string())
                .bind(entries)
                .bind(bytes)
                .execute(db)
                .await
                .map(|_| ())
                .map_err(fault)
        }

        fn whole(number: u64) -> Result<i64, Fault> {
            i64::try_from(number).map_err(|e| Fault::Corrupt(e.to_string()))
        }

        async fn kv_delete(
            db: &mut Db,
            space: KvSpace,
            key: String,
            now: Timestamp,
        ) -> Result<bool, Fault> {
            // Its turn, so that a writer who counts at this moment counts right.
            turn(&mut *db).await?;
            let row = query(sql::KV_DELETE)
                .bind(space.organization.to_string())
                .bind(space.workflow.to_string())
                .bind(key.into_bytes())
                .fetch_optional(&mut *db)
                .await
                .map_err(fault)?;
            let Some(row) = row else { return Ok(false) };
            count(db, &space, -1, -row.int("size")?).await?;
            Ok(row.opt_time("expires_at")?.is_none_or(|end| end > now))
        }

        /// The rows of [`sql::KV_KEYS`] or [`sql::KV_LIST`].
        async fn kv_page<T>(
            db: &mut Db,
            statement: &'static str,
            space: KvSpace,
            (prefix, after, limit): (String, Option<String>, u32),
            now: Timestamp,
            read: impl Fn(&Row) -> Result<T, Fault>,
        ) -> Result<Vec<T>, Fault> {
            let prefix = prefix.into_bytes();
            let end = $crate::store::after_prefix(&prefix);
            let (start, including) = match after.map(String::into_bytes) {
                Some(after) if after >= prefix => (after, 0_i64),
                _ => (prefix, 1),
            };
            let rows = query(statement)
                .bind(space.organization.to_string())
                .bind(space.workflow.to_string())
                .bind(start)
                .bind(including)
                .bind(end)
                .bind(now.as_micros())
                .bind(i64::from(limit))
                .fetch_all(db)
                .await
                .map_err(fault)?;
            rows.iter().map(read).collect()
        }

        async fn kv_usage(db: &mut Db, space: KvSpace, now: Timestamp) -> Result<KvUsage, Fault> {
            let row = query(sql::KV_LIVE_USAGE)
                .bind(space.organization.to_string())
                .bind(space.workflow.to_string())
                .bind(now.as_micros())
                .fetch_one(db)
                .await
                .map_err(fault)?;
            cells::kv_usage(&row)
        }

        async fn secret_changes(db: &mut Db) -> Result<u64, Fault> {
            let row = query(sql::SECRET_CHANGES)
                .fetch_one(db)
                .await
                .map_err(fault)?;
            row.count("value")
        }

        async fn secrets(db: &mut Db) -> Result<(u64, Vec<SecretRow>), Fault> {
            let changes = secret_changes(&mut *db).await?;
            let rows = query(sql::SECRETS).fetch_all(db).await.map_err(fault)?;
            let rows = rows.iter().map(cells::secret).collect::<Result<_, _>>()?;
            Ok((changes, rows))
        }

        async fn secret_put(
            db: &mut Db,
            row: SecretRow,
            before: Option<SecretRow>,
        ) -> Result<bool, Fault> {
            let (created_by, updated_by) = (stored(&row.created_by), stored(&row.updated_by));
            let appears = before.is_none();
            let mut put = if appears {
                query(sql::SECRET_APPEARS).bind(ulid::Ulid::generate().to_string())
            } else {
                query(sql::SECRET_RESEALED)
            };
            put = put
                .bind(row.organization_id.to_string())
                .bind(row.name.to_string())
                .bind(whole(row.revision)?)
                .bind(row.key_id)
                .bind(row.nonce)
                .bind(row.ciphertext);
            if appears {
                put = put
                    .bind(row.created_at.as_micros())
                    .bind(created_by.into_owned());
            }
            put = put
                .bind(row.updated_at.as_micros())
                .bind(updated_by.into_owned());
            if let Some(before) = before {
                put = put
                    .bind(whole(before.revision)?)
                    .bind(before.nonce)
                    .bind(before.ciphertext);
            }
            let done = put.execute(&mut *db).await.map_err(fault)?;
            changed(db, done.rows_affected()).await
        }

        async fn secret_delete(
            db: &mut Db,
            organization: OrganizationId,
            name: SecretName,
        ) -> Result<bool, Fault> {
            let done = query(sql::SECRET_GONE)
                .bind(organization.to_string())
                .bind(name.to_string())
                .execute(&mut *db)
                .await
                .map_err(fault)?;
            changed(db, done.rows_affected()).await
        }

        async fn changed(db: &mut Db, rows: u64) -> Result<bool, Fault> {
            if rows > 0 {
                query(sql::SECRET_CHANGED)
                    .execute(db)
                    .await
                    .map_err(fault)?;
            }
            Ok(rows > 0)
        }

        impl $store {
            /// A page of entries: prefix, last key of the page before, and how many.
            async fn kv_rows<T: Send + 'static>(
                &self,
                statement: &'static str,
                space: &KvSpace,
                (prefix, after, limit): (&str, Option<&str>, u32),
                now: Timestamp,
                read: fn(&Row) -> Result<T, Fault>,
            ) -> Result<Vec<T>, StoreError> {
                let space = space.clone();
                let page = (prefix.to_owned(), after.map(str::to_owned), limit);
                self.read(move |c| Box::pin(kv_page(c, statement, space, page, now, read)))
                    .await
            }
        }

        #[async_trait]
        impl StateStore for $store {
            async fn kv_get(
                &self,
                space: &KvSpace,
                key: &str,
                now: Timestamp,
            ) -> Result<Option<KvEntry>, StoreError> {
                let (space, key) = (space.clone(), key.to_owned());
                self.read(move |c| Box::pin(kv_get(c, space, key, now)))
                    .await
            }

            async fn kv_set(
                &self,
                space: &KvSpace,
                key: &str,
                expect: Expect,
                entry: &KvWrite,
                now: Timestamp,
            ) -> Result<KvWritten, StoreError> {
                let (space, key, entry) = (space.clone(), key.to_owned(), entry.clone());
                self.write(move |c| Box::pin(kv_set(c, space, key, expect, entry, now)))
                    .await
            }

            async fn kv_delete(
                &self,
                space: &KvSpace,
                key: &str,
                now: Timestamp,
            ) -> Result<bool, StoreError> {
                let (space, key) = (space.clone(), key.to_owned());
                self.write(move |c| Box::pin(kv_delete(c, space, key, now)))
                    .await
            }

            async fn kv_keys(
                &self,
                space: &KvSpace,
                prefix: &str,
                after: Option<&str>,
                limit: u32,
                now: Timestamp,
            ) -> Result<Vec<String>, StoreError> {
                let page = (prefix, after, limit);
                self.kv_rows(sql::KV_KEYS, space, page, now, cells::kv_key)
                    .await
            }

            async fn kv_list(
                &self,
                space: &KvSpace,
                prefix: &str,
                after: Option<&str>,
                limit: u32,
                now: Timestamp,
            ) -> Result<Vec<KvListed>, StoreError> {
                let page = (prefix, after, limit);
                self.kv_rows(sql::KV_LIST, space, page, now, cells::kv_listed)
                    .await
            }

            async fn kv_usage(
                &self,
                space: &KvSpace,
                now: Timestamp,
            ) -> Result<KvUsage, StoreError> {
                let space = space.clone();
                self.read(move |c| Box::pin(kv_usage(c, space, now))).await
            }

            async fn secrets(&self) -> Result<(u64, Vec<SecretRow>), StoreError> {
                self.read(|c| Box::pin(secrets(c))).await
            }

            async fn secret_changes(&self) -> Result<u64, StoreError> {
                self.read(|c| Box::pin(secret_changes(c))).await
            }

            async fn secret_put(
                &self,
                row: &SecretRow,
                before: Option<&SecretRow>,
            ) -> Result<bool, StoreError> {
                let (row, before) = (row.clone(), before.cloned());
                self.write(move |c| Box::pin(secret_put(c, row, before)))
                    .await
            }

            async fn secret_delete(
                &self,
                organization: OrganizationId,
                name: &SecretName,
            ) -> Result<bool, StoreError> {
                let name = name.clone();
                self.write(move |c| Box::pin(secret_delete(c, organization, name)))
                    .await
            }
        }
    };
}
pub(super) use state_store;
