//! The calls of [`super::LineageStore`] about runs that begin other runs, once for every connection type: see `calls`.

/// Expands to [`super::LineageStore`] for `$store`, beside `calls`, whose functions it uses.
macro_rules! lineage_calls {
    ($store:ty) => {
        use async_trait::async_trait;
        use $crate::clock::Timestamp;
        use $crate::store::StoreError;
        use $crate::store::lineage::{self, DeliveryRow, EndOf, LineageStore};

        /// Replaces the ends after which a workflow starts.
        async fn start_after(
            db: &mut Db,
            organization: OrganizationId,
            workflow: String,
            ends: &[EndOf],
        ) -> Result<(), Fault> {
            query(sql::FORGET_TRIGGERS)
                .bind(workflow.clone())
                .execute(&mut *db)
                .await
                .map_err(fault)?;
            for end in ends {
                query(sql::ADD_TRIGGER)
                    .bind(ulid::Ulid::generate().to_string())
                    .bind(organization.to_string())
                    .bind(workflow.clone())
                    .bind(end.workflow.to_string())
                    .bind(end.status.as_str().to_owned())
                    .execute(&mut *db)
                    .await
                    .map_err(fault)?;
            }
            Ok(())
        }

        /// The same for a workflow that is retired.
        async fn starts_no_more(
            db: &mut Db,
            organization: OrganizationId,
            name: WorkflowName,
        ) -> Result<(), Fault> {
            let row = query(sql::WORKFLOW)
                .bind(organization.to_string())
                .bind(name.to_string())
                .fetch_optional(&mut *db)
                .await
                .map_err(fault)?;
            let Some(row) = row else {
                return Ok(());
            };
            let id = cells::workflow(&row)?.workflow_id.to_string();
            start_after(db, organization, id, &[]).await
        }

        async fn one_run(db: &mut Db, run: RunId) -> Result<Option<RunRow>, Fault> {
            let found = of_run(db, sql::RUN, &run.to_string(), cells::run).await?;
            Ok(found.into_iter().next())
        }

        async fn run_of_key(
            db: &mut Db,
            organization: OrganizationId,
            key: String,
        ) -> Result<Option<RunRow>, Fault> {
            let row = query(sql::RUN_OF_KEY)
                .bind(organization.to_string())
                .bind(stored(&key).into_owned())
                .fetch_optional(db)
                .await
                .map_err(fault)?;
            row.as_ref().map(cells::run).transpose()
        }

        async fn deliveries_due(
            db: &mut Db,
            now: Timestamp,
            limit: u32,
        ) -> Result<Vec<DeliveryRow>, Fault> {
            let rows = query(sql::DELIVERIES_DUE)
                .bind(now.as_micros())
                .bind(i64::from(limit))
                .fetch_all(db)
                .await
                .map_err(fault)?;
            rows.iter().map(lineage::delivery).collect()
        }

        async fn deliveries_of(db: &mut Db, run: RunId) -> Result<Vec<DeliveryRow>, Fault> {
            let run = run.to_string();
            let mut found = of_run(db, sql::DELIVERIES_OF_RUN, &run, lineage::delivery).await?;
            found.sort_unstable_by_key(|delivery| delivery.id);
            Ok(found)
        }

        async fn settle_delivery(db: &mut Db, d: DeliveryRow) -> Result<(), Fault> {
            query(sql::SETTLE_DELIVERY)
                .bind(d.id.to_string())
                .bind(d.state.as_str().to_owned())
                .bind(d.run_id.map(|run| run.to_string()))
                .bind(
                    d.reason_code
                        .as_deref()
                        .map(|text| stored(text).into_owned()),
                )
                .bind(
                    d.reason_message
                        .as_deref()
                        .map(|text| stored(text).into_owned()),
                )
                .bind(d.due_at.as_micros())
                .bind(d.settled_at.map(Timestamp::as_micros))
                .execute(db)
                .await
                .map_err(fault)?;
            Ok(())
        }

        #[async_trait]
        impl LineageStore for $store {
            async fn run(&self, run: RunId) -> Result<Option<RunRow>, StoreError> {
                self.read(move |c| Box::pin(one_run(c, run))).await
            }

            async fn run_of_key(
                &self,
                organization: OrganizationId,
                key: &str,
            ) -> Result<Option<RunRow>, StoreError> {
                let key = key.to_owned();
                self.read(move |c| Box::pin(run_of_key(c, organization, key)))
                    .await
            }

            async fn deliveries_due(
                &self,
                now: Timestamp,
                limit: u32,
            ) -> Result<Vec<DeliveryRow>, StoreError> {
                self.read(move |c| Box::pin(deliveries_due(c, now, limit)))
                    .await
            }

            async fn deliveries_of(&self, run: RunId) -> Result<Vec<DeliveryRow>, StoreError> {
                self.read(move |c| Box::pin(deliveries_of(c, run))).await
            }

            async fn settle_delivery(&self, delivery: &DeliveryRow) -> Result<(), StoreError> {
                let delivery = delivery.clone();
                self.write(move |c| Box::pin(settle_delivery(c, delivery)))
                    .await
            }
        }
    };
}
pub(super) use lineage_calls;
