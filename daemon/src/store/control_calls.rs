//! The calls of [`super::ControlStore`], and what a commit changes of turns and dead letters, written once for every
//! driver that speaks through sqlx. A macro for the same reason as in `calls`. SQLite's commits have their own
//! in `sqlite::control`.

/// Expands to `ControlStore` for `$store`.
macro_rules! control_store {
    ($store:ty, $connection:ty) => {
        use async_trait::async_trait;
        use $crate::clock::Timestamp;
        use $crate::id::{DeadLetterId, OrganizationId};
        use $crate::store::StoreError;
        use $crate::store::cells::{self, Cells as _};
        use $crate::store::control::{ControlStore, DeadLetterRow, LetterFilter};
        use $crate::store::text::stored;

        type Db = $connection;

        async fn letters(db: &mut Db, filter: LetterFilter) -> Result<Vec<DeadLetterRow>, Fault> {
            let (since, before) = filter.bounds();
            let statement = match (&filter.workflow, &filter.code) {
                (Some(_), _) => sql::LETTERS_OF_WORKFLOW,
                (None, Some(_)) => sql::LETTERS_WITH_CODE,
                (None, None) => sql::LETTERS,
            };
            let mut query = query(statement)
                .bind(since)
                .bind(before)
                .bind(filter.state.as_str())
                .bind(filter.organization.map(|o| o.to_string()))
                .bind(i64::from(filter.limit));
            let code = filter.code.map(|code| stored(&code).into_owned());
            if let Some(workflow) = filter.workflow {
                query = query.bind(workflow.to_string()).bind(code);
            } else if let Some(code) = code {
                query = query.bind(code);
            }
            let rows = query.fetch_all(db).await.map_err(fault)?;
            rows.iter().map(cells::dead_letter).collect()
        }

        async fn named(
            db: &mut Db,
            organization: OrganizationId,
            ids: Vec<DeadLetterId>,
        ) -> Result<Vec<DeadLetterRow>, Fault> {
            let mut found = Vec::with_capacity(ids.len());
            for id in ids {
                let row = query(sql::LETTER)
                    .bind(id.to_string())
                    .bind(organization.to_string())
                    .fetch_optional(&mut *db)
                    .await
                    .map_err(fault)?;
                found.extend(row.as_ref().map(cells::dead_letter).transpose()?);
            }
            Ok(found)
        }

        async fn dismissed(
            db: &mut Db,
            organization: OrganizationId,
            ids: Vec<DeadLetterId>,
            (by, note): (String, String),
            now: Timestamp,
        ) -> Result<Vec<DeadLetterId>, Fault> {
            let mut done = Vec::with_capacity(ids.len());
            for id in ids {
                let changed = query(sql::DISMISS)
                    .bind(id.to_string())
                    .bind(organization.to_string())
                    .bind(now.as_micros())
                    .bind(stored(&by).into_owned())
                    .bind(stored(&note).into_owned())
                    .execute(&mut *db)
                    .await
                    .map_err(fault)?;
                if changed.rows_affected() == 1 {
                    done.push(id);
                }
            }
            Ok(done)
        }

        async fn waiting(db: &mut Db, limit: u32) -> Result<u32, Fault> {
            let mut waiting = 0_u32;
            for statement in [sql::UNOWNED, sql::HELD] {
                let row = query(statement)
                    .bind(i64::from(limit))
                    .fetch_one(&mut *db)
                    .await
                    .map_err(fault)?;
                waiting = waiting.saturating_add(row.count("count")?);
            }
            Ok(waiting.min(limit))
        }

        #[async_trait]
        impl ControlStore for $store {
            async fn dead_letters(
                &self,
                filter: &LetterFilter,
            ) -> Result<Vec<DeadLetterRow>, StoreError> {
                let filter = filter.clone();
                self.read(move |c| Box::pin(letters(c, filter))).await
            }

            async fn dead_letters_named(
                &self,
                organization: OrganizationId,
                ids: &[DeadLetterId],
            ) -> Result<Vec<DeadLetterRow>, StoreError> {
                let ids = ids.to_vec();
                self.read(move |c| Box::pin(named(c, organization, ids)))
                    .await
            }

            async fn dismiss(
                &self,
                organization: OrganizationId,
                ids: &[DeadLetterId],
                by: &str,
                note: &str,
                now: Timestamp,
            ) -> Result<Vec<DeadLetterId>, StoreError> {
                let (ids, words) = (ids.to_vec(), (by.to_owned(), note.to_owned()));
                self.write(move |c| Box::pin(dismissed(c, organization, ids, words, now)))
                    .await
            }

            async fn waiting(&self, limit: u32) -> Result<u32, StoreError> {
                self.read(move |c| Box::pin(waiting(c, limit))).await
            }
        }
    };
}
pub(super) use control_store;

/// Expands to what a commit does on a server, beside the above.
macro_rules! control_commit {
    () => {
        use std::collections::BTreeMap;
        use $crate::id::RunId;
        use $crate::store::control::{Control, Lane, LaneMove, LetterState, Settled, promoted};

        /// What happens in one lane.
        #[derive(Default)]
        struct Turn<'c> {
            entered: Vec<(RunId, &'c Lane)>,
            left: Vec<RunId>,
        }

        /// Applies the changes of a batch. Lanes are locked in the order of their ids, so that daemons do not wait
        /// for each other in a circle.
        pub(super) async fn commit(
            db: &mut Db,
            changes: &[(RunId, &Control)],
        ) -> Result<(), Fault> {
            let mut turns: BTreeMap<String, Turn<'_>> = BTreeMap::new();
            for (run, change) in changes {
                for letter in &change.letters {
                    add(&mut *db, letter).await?;
                }
                if let Some(settled) = &change.settled {
                    settle(&mut *db, settled).await?;
                }
                match &change.lane {
                    Some(LaneMove::Enter(lane)) => {
                        let turn = turns.entry(lane.lane_id.to_string()).or_default();
                        turn.entered.push((*run, lane));
                    }
                    Some(LaneMove::Leave) => {
                        let row = query(sql::LANE_OF)
                            .bind(run.to_string())
                            .fetch_optional(&mut *db)
                            .await
                            .map_err(fault)?;
                        if let Some(row) = row {
                            turns
                                .entry(row.text("lane_id")?)
                                .or_default()
                                .left
                                .push(*run);
                        }
                    }
                    None => {}
                }
            }
            for (lane, turn) in turns {
                take_turns(&mut *db, &lane, &turn).await?;
            }
            Ok(())
        }

        async fn add(db: &mut Db, row: &DeadLetterRow) -> Result<(), Fault> {
            query(sql::ADD_LETTER)
                .bind(row.dead_letter_id.to_string())
                .bind(row.organization_id.to_string())
                .bind(row.run_id.to_string())
                .bind(row.origin_run_id.to_string())
                .bind(row.workflow_name.to_string())
                .bind(row.job.as_ref().map(ToString::to_string))
                .bind(row.task.as_ref().map(ToString::to_string))
                .bind(row.item_index)
                .bind(stored(&row.code).into_owned())
                .bind(stored(&row.message).into_owned())
                .bind(i64::from(row.attempts))
                .bind(i64::from(row.interrupts))
                .bind(row.created_at.as_micros())
                .execute(db)
                .await
                .map(drop)
                .map_err(fault)
        }

        async fn settle(db: &mut Db, settled: &Settled) -> Result<(), Fault> {
            let (of, by, at) = (settled.of.to_string(), settled.by.to_string(), settled.at);
            match settled.to {
                LetterState::Redriven => {
                    let query = query(sql::REDRIVEN).bind(of).bind(by);
                    query.execute(db).await.map_err(fault)?;
                }
                LetterState::Resolved => {
                    let origin = settled.origin.to_string();
                    for (statement, run) in [(sql::RESOLVED_RUN, of), (sql::RESOLVED_CHAIN, origin)]
                    {
                        let query = query(statement).bind(run).bind(at.as_micros());
                        query.execute(&mut *db).await.map_err(fault)?;
                    }
                }
                LetterState::Open | LetterState::Superseded | LetterState::Dismissed => {
                    let to = settled.to.as_str();
                    let query = query(sql::NOT_RESOLVED).bind(of).bind(by).bind(to);
                    query.execute(db).await.map_err(fault)?;
                }
            }
            Ok(())
        }

        async fn take_turns(db: &mut Db, lane: &str, turn: &Turn<'_>) -> Result<(), Fault> {
            if let Some((_, newest)) = turn.entered.last() {
                query(sql::LANE_APPEARS)
                    .bind(lane.to_owned())
                    .bind(newest.organization_id.to_string())
                    .bind(newest.workflow_id.to_string())
                    .bind(i64::from(newest.max))
                    .execute(&mut *db)
                    .await
                    .map_err(fault)?;
            }
            let locked = query(sql::LANE_LOCKED)
                .bind(lane.to_owned())
                .fetch_optional(&mut *db)
                .await
                .map_err(fault)?;
            for run in &turn.left {
                let query = query(sql::LANE_LEFT).bind(run.to_string());
                query.execute(&mut *db).await.map_err(fault)?;
            }
            for (run, entered) in &turn.entered {
                query(sql::LANE_ENTERED)
                    .bind(run.to_string())
                    .bind(entered.organization_id.to_string())
                    .bind(lane.to_owned())
                    .bind(-i64::from(entered.priority))
                    .execute(&mut *db)
                    .await
                    .map_err(fault)?;
            }
            match locked {
                Some(row) => promote(db, lane, row.int("max")?).await,
                None => Ok(()),
            }
        }

        async fn promote(db: &mut Db, lane: &str, max: i64) -> Result<(), Fault> {
            let going = query(sql::LANE_GOING).bind(lane.to_owned());
            let going = going.fetch_one(&mut *db).await.map_err(fault)?;
            let going = going.int("count")?;
            let next = query(sql::LANE_NEXT)
                .bind(lane.to_owned())
                .bind(promoted(max, going).max(1))
                .fetch_all(&mut *db)
                .await
                .map_err(fault)?;
            if going == 0 && next.is_empty() {
                let query = query(sql::LANE_ENDS).bind(lane.to_owned());
                query.execute(db).await.map_err(fault)?;
                return Ok(());
            }
            let free = usize::try_from(promoted(max, going)).unwrap_or(usize::MAX);
            for row in next.iter().take(free) {
                let run = row.text("lane_run_id")?;
                for statement in [sql::LANE_PLACE, sql::LET_GO] {
                    let query = query(statement).bind(run.clone());
                    query.execute(&mut *db).await.map_err(fault)?;
                }
            }
            Ok(())
        }
    };
}
pub(super) use control_commit;
