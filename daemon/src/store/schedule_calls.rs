//! The calls of [`super::ScheduleStore`], written once for every driver, by a macro for the same reason as in `calls`.

/// Expands to the calls over `&mut $connection` and to `ScheduleStore` for `$store`, whose `read` and `write` run them.
macro_rules! schedule_store {
    ($store:ty, $connection:ty) => {
        use async_trait::async_trait;
        use $crate::clock::Timestamp;
        use $crate::id::{Digest, FireId, ScheduleId};
        use $crate::store::StoreError;
        use $crate::store::cells::{self, Cells as _};
        use $crate::store::schedule::{
            Before, FIRES_KEPT, FireRow, FireSeen, ScheduleRow, ScheduleStep, ScheduleStore,
            Settled, Stepped,
        };
        use $crate::store::text::stored;

        type Db = $connection;

        async fn changes(db: &mut Db) -> Result<u64, Fault> {
            let row = query(sql::SCHEDULE_CHANGES)
                .fetch_one(db)
                .await
                .map_err(fault)?;
            row.count("value")
        }

        async fn schedules(db: &mut Db) -> Result<(u64, Vec<ScheduleRow>), Fault> {
            let changes = changes(&mut *db).await?;
            let rows = query(sql::SCHEDULES).fetch_all(db).await.map_err(fault)?;
            let rows = rows.iter().map(cells::schedule).collect::<Result<_, _>>()?;
            Ok((changes, rows))
        }

        async fn schedule(db: &mut Db, id: ScheduleId) -> Result<Option<ScheduleRow>, Fault> {
            let row = query(sql::SCHEDULE)
                .bind(id.to_string())
                .fetch_optional(db)
                .await
                .map_err(fault)?;
            row.as_ref().map(cells::schedule).transpose()
        }

        async fn put(
            db: &mut Db,
            row: ScheduleRow,
            before: Option<(i64, i64)>,
            active: Option<Digest>,
            fires: Vec<FireRow>,
        ) -> Result<bool, Fault> {
            if let Some(active) = active {
                let holds = query(sql::VERSION_IS_ACTIVE)
                    .bind(row.workflow_id.to_string())
                    .bind(active.to_string())
                    .fetch_optional(&mut *db)
                    .await
                    .map_err(fault)?;
                if holds.is_none() {
                    return Ok(false);
                }
            }
            let definition = stored(&row.definition).into_owned();
            let id = row.schedule_id.to_string();
            let done = match before {
                None => {
                    query(sql::SCHEDULE_APPEARS)
                        .bind(id)
                        .bind(row.organization_id.to_string())
                        .bind(row.workflow_id.to_string())
                        .bind(row.workflow_name.to_string())
                        .bind(row.name.to_string())
                        .bind(row.origin.as_str())
                        .bind(row.name_key())
                        .bind(definition)
                        .bind(row.decided_until.as_micros())
                        .bind(row.looked_at.as_micros())
                        .bind(row.revision)
                        .bind(row.turn)
                        .bind(row.created_at.as_micros())
                        .bind(row.updated_at.as_micros())
                        .bind(row.retired_at.map(Timestamp::as_micros))
                        .execute(&mut *db)
                        .await
                }
                Some((revision, turn)) => {
                    query(sql::SCHEDULE_CHANGE)
                        .bind(id)
                        .bind(row.name_key())
                        .bind(definition)
                        .bind(row.decided_until.as_micros())
                        .bind(row.looked_at.as_micros())
                        .bind(row.updated_at.as_micros())
                        .bind(row.retired_at.map(Timestamp::as_micros))
                        .bind(revision)
                        .bind(turn)
                        .execute(&mut *db)
                        .await
                }
            };
            if done.map_err(fault)?.rows_affected() == 0 {
                return Ok(false);
            }
            for fire in fires {
                appear(&mut *db, &fire).await?;
            }
            query(sql::SCHEDULE_CHANGED)
                .execute(db)
                .await
                .map_err(fault)?;
            Ok(true)
        }

        /// Inserts a fire; answers whether it is new.
        async fn appear(db: &mut Db, fire: &FireRow) -> Result<bool, Fault> {
            let text =
                |text: &Option<String>| text.as_deref().map(|text| stored(text).into_owned());
            let done = query(sql::FIRE_APPEARS)
                .bind(fire.fire_id.to_string())
                .bind(fire.organization_id.to_string())
                .bind(fire.schedule_id.to_string())
                .bind(fire.nominal_at.as_micros())
                .bind(i64::from(fire.is_span))
                .bind(fire.last_at.as_micros())
                .bind(i64::from(fire.times))
                .bind(fire.cause.as_str())
                .bind(fire.outcome.as_str())
                .bind(text(&fire.reason_code))
                .bind(text(&fire.reason_message))
                .bind(fire.run_id.map(|run| run.to_string()))
                .bind(i64::from(fire.open))
                .bind(fire.decided_at.as_micros())
                .execute(db)
                .await
                .map_err(fault)?;
            Ok(done.rows_affected() > 0)
        }

        async fn decide(db: &mut Db, steps: Vec<ScheduleStep>) -> Result<Vec<Stepped>, Fault> {
            let mut outcomes = Vec::with_capacity(steps.len());
            for step in steps {
                let id = step.schedule_id.to_string();
                let done = query(sql::SCHEDULE_DECIDE)
                    .bind(id.clone())
                    .bind(step.decided_until.as_micros())
                    .bind(step.looked_at.as_micros())
                    .bind(step.revision)
                    .bind(step.turn)
                    .execute(&mut *db)
                    .await
                    .map_err(fault)?;
                if done.rows_affected() == 0 {
                    outcomes.push(Stepped::Conflict);
                    continue;
                }
                for fire in step.closed {
                    query(sql::FIRE_CLOSE)
                        .bind(fire.to_string())
                        .execute(&mut *db)
                        .await
                        .map_err(fault)?;
                }
                let mut new = Vec::with_capacity(step.fires.len());
                for fire in &step.fires {
                    new.push(appear(&mut *db, fire).await?);
                }
                query(sql::FIRES_FORGET)
                    .bind(id)
                    .bind(step.looked_at.before(FIRES_KEPT).as_micros())
                    .execute(&mut *db)
                    .await
                    .map_err(fault)?;
                outcomes.push(Stepped::Decided(new));
            }
            Ok(outcomes)
        }

        async fn backfill(db: &mut Db, fires: Vec<FireRow>) -> Result<Vec<bool>, Fault> {
            let mut run = Vec::with_capacity(fires.len());
            for fire in fires {
                if appear(&mut *db, &fire).await? {
                    run.push(true);
                    continue;
                }
                let done = query(sql::FIRE_AGAIN)
                    .bind(fire.schedule_id.to_string())
                    .bind(fire.nominal_at.as_micros())
                    .bind(fire.cause.as_str())
                    .bind(fire.outcome.as_str())
                    .bind(fire.decided_at.as_micros())
                    .execute(&mut *db)
                    .await
                    .map_err(fault)?;
                run.push(done.rows_affected() > 0);
            }
            Ok(run)
        }

        async fn open(db: &mut Db, schedules: Vec<ScheduleId>) -> Result<Vec<FireSeen>, Fault> {
            let mut fires = Vec::new();
            for schedule in schedules {
                let rows = query(sql::FIRES_OPEN)
                    .bind(schedule.to_string())
                    .fetch_all(&mut *db)
                    .await
                    .map_err(fault)?;
                for row in &rows {
                    fires.push(cells::fire_seen(row)?);
                }
            }
            Ok(fires)
        }

        async fn pending(db: &mut Db) -> Result<Vec<FireSeen>, Fault> {
            let rows = query(sql::FIRES_PENDING)
                .fetch_all(db)
                .await
                .map_err(fault)?;
            rows.iter()
                .map(|row| {
                    let fire = cells::fire(row)?;
                    Ok(FireSeen {
                        fire,
                        run_status: None,
                    })
                })
                .collect()
        }

        async fn settle(db: &mut Db, settled: Vec<Settled>) -> Result<Vec<bool>, Fault> {
            let mut written = Vec::with_capacity(settled.len());
            for fire in settled {
                let open = i64::from(fire.open());
                let (code, message) = fire.reason.unzip();
                let done = query(sql::FIRE_SETTLE)
                    .bind(fire.fire_id.to_string())
                    .bind(fire.outcome.as_str())
                    .bind(code)
                    .bind(message.map(|message| stored(&message).into_owned()))
                    .bind(fire.run_id.map(|run| run.to_string()))
                    .bind(fire.from.as_str())
                    .bind(open)
                    .execute(&mut *db)
                    .await
                    .map_err(fault)?;
                written.push(done.rows_affected() > 0);
            }
            Ok(written)
        }

        async fn fire_of(
            db: &mut Db,
            schedule: ScheduleId,
            nominal: Timestamp,
        ) -> Result<Option<FireRow>, Fault> {
            let row = query(sql::FIRE_OF_TIME)
                .bind(schedule.to_string())
                .bind(nominal.as_micros())
                .fetch_optional(db)
                .await
                .map_err(fault)?;
            row.as_ref().map(cells::fire).transpose()
        }

        async fn fires(
            db: &mut Db,
            schedule: ScheduleId,
            before: Option<(Timestamp, FireId)>,
            limit: u32,
        ) -> Result<Vec<FireSeen>, Fault> {
            let (at, id) = before.map_or((i64::MAX, "~".to_owned()), |(at, id)| {
                (at.as_micros(), id.to_string())
            });
            let rows = query(sql::FIRES)
                .bind(schedule.to_string())
                .bind(at)
                .bind(id)
                .bind(i64::from(limit))
                .fetch_all(db)
                .await
                .map_err(fault)?;
            rows.iter().map(cells::fire_seen).collect()
        }

        #[async_trait]
        impl ScheduleStore for $store {
            async fn schedules(&self) -> Result<(u64, Vec<ScheduleRow>), StoreError> {
                self.read(|c| Box::pin(schedules(c))).await
            }

            async fn schedule_changes(&self) -> Result<u64, StoreError> {
                self.read(|c| Box::pin(changes(c))).await
            }

            async fn schedule(&self, id: ScheduleId) -> Result<Option<ScheduleRow>, StoreError> {
                self.read(move |c| Box::pin(schedule(c, id))).await
            }

            async fn schedule_put(
                &self,
                row: &ScheduleRow,
                before: Before<'_>,
                active: Option<Digest>,
                fires: &[FireRow],
            ) -> Result<bool, StoreError> {
                let (row, fires) = (row.clone(), fires.to_vec());
                let before = match before {
                    Before::Absent => None,
                    Before::Row(before) => Some((before.revision, before.turn)),
                };
                self.write(move |c| Box::pin(put(c, row, before, active, fires)))
                    .await
            }

            async fn schedule_decide(
                &self,
                steps: &[ScheduleStep],
            ) -> Result<Vec<Stepped>, StoreError> {
                let steps = steps.to_vec();
                self.write(move |c| Box::pin(decide(c, steps))).await
            }

            async fn schedule_backfill(&self, fires: &[FireRow]) -> Result<Vec<bool>, StoreError> {
                let fires = fires.to_vec();
                self.write(move |c| Box::pin(backfill(c, fires))).await
            }

            async fn fires_open(
                &self,
                schedules: &[ScheduleId],
            ) -> Result<Vec<FireSeen>, StoreError> {
                let schedules = schedules.to_vec();
                self.read(move |c| Box::pin(open(c, schedules))).await
            }

            async fn fires_pending(&self) -> Result<Vec<FireSeen>, StoreError> {
                self.read(|c| Box::pin(pending(c))).await
            }

            async fn fires_settle(&self, settled: &[Settled]) -> Result<Vec<bool>, StoreError> {
                let settled = settled.to_vec();
                self.write(move |c| Box::pin(settle(c, settled))).await
            }

            async fn fire_of(
                &self,
                schedule: ScheduleId,
                nominal: Timestamp,
            ) -> Result<Option<FireRow>, StoreError> {
                self.read(move |c| Box::pin(fire_of(c, schedule, nominal)))
                    .await
            }

            async fn fires(
                &self,
                schedule: ScheduleId,
                before: Option<(Timestamp, FireId)>,
                limit: u32,
            ) -> Result<Vec<FireSeen>, StoreError> {
                self.read(move |c| Box::pin(fires(c, schedule, before, limit)))
                    .await
            }
        }
    };
}
pub(super) use schedule_store;
