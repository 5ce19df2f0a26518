//! The calls of [`super::Store`], written once for every connection type; `commit` and `claim` are in the dialects.
//!
//! Macros, because the types of the drivers share no trait that says "runs this statement"; each
//! driver expands them beside its own `fault`, `NOW`, `query` and statements `sql`.

/// Expands to one async function a call, over `&mut $connection`.
macro_rules! calls {
    ($connection:ty) => {
        use sqlx::Row as _;
        use $crate::id::{DaemonId, Digest, OrganizationId, RunId, WorkflowId, WorkflowName};
        use $crate::store::cells::{self, Cells as _};
        use $crate::store::rows::{
            CommandRow, HostCallRow, IoRow, LogRow, ModuleRow, RunFilter, RunImage, RunRow, VersionRow,
            WorkflowRow,
        };
        use $crate::store::text::stored;
        use $crate::store::{CHUNK_BYTES, Duty};

        type Db = $connection;

        /// The database's clock, in microseconds.
        pub(super) async fn now(db: &mut Db) -> Result<i64, Fault> {
            let row = query(NOW).fetch_one(db).await.map_err(fault)?;
            row.try_get(0).map_err(fault)
        }

        pub(super) async fn release(db: &mut Db, runs: Vec<(RunId, i64)>) -> Result<(), Fault> {
            for (run, epoch) in runs {
                query(sql::RELEASE)
                    .bind(run.to_string())
                    .bind(epoch)
                    .execute(&mut *db)
                    .await
                    .map_err(fault)?;
            }
            Ok(())
        }

        pub(super) async fn heartbeat(
            db: &mut Db,
            daemon: DaemonId,
            instance: String,
            lease_us: i64,
        ) -> Result<(), Fault> {
            let now = now(&mut *db).await?;
            let id = daemon.to_string();
            let beat = query(sql::BEAT)
                .bind(id.clone())
                .bind(now)
                .execute(&mut *db)
                .await
                .map_err(fault)?;
            if beat.rows_affected() == 1 {
                return Ok(());
            }
            let known = query(sql::DAEMON_KNOWN)
                .bind(id.clone())
                .fetch_optional(&mut *db)
                .await
                .map_err(fault)?;
            if known.is_some() {
                return Err(Fault::Data(format!(
                    "daemon {daemon} was declared gone: it said goodbye or a newer process of its instance took over"
                )));
            }
            let instance = stored(&instance).into_owned();
            query(sql::DAEMON_APPEARS)
                .bind(id.clone())
                .bind(instance.clone())
                .bind(now)
                .bind(lease_us)
                .execute(&mut *db)
                .await
                .map_err(fault)?;
            query(sql::DAEMON_REPLACED)
                .bind(id)
                .bind(instance)
                .bind(now)
                .execute(db)
                .await
                .map_err(fault)?;
            Ok(())
        }

        pub(super) async fn farewell(db: &mut Db, daemon: DaemonId) -> Result<(), Fault> {
            let now = now(&mut *db).await?;
            query(sql::DAEMON_LEAVES)
                .bind(daemon.to_string())
                .bind(now)
                .execute(db)
                .await
                .map_err(fault)?;
            Ok(())
        }

        /// Refuses a daemon that others count as dead: what it claims they would take at once.
        pub(super) async fn check_alive(
            db: &mut Db,
            daemon: DaemonId,
            now: i64,
        ) -> Result<(), Fault> {
            let lives = query(sql::DAEMON_LIVES)
                .bind(daemon.to_string())
                .bind(now)
                .fetch_optional(db)
                .await
                .map_err(fault)?;
            lives.map(|_| ()).ok_or_else(|| {
                Fault::Data(format!("daemon {daemon} has no live heartbeat: send one before claiming"))
            })
        }

        pub(super) async fn take_duty(
            db: &mut Db,
            daemon: DaemonId,
            duty: Duty,
        ) -> Result<bool, Fault> {
            let now = now(&mut *db).await?;
            check_alive(&mut *db, daemon, now).await?;
            let row = query(sql::DUTY)
                .bind(duty.as_str())
                .fetch_one(&mut *db)
                .await
                .map_err(fault)?;
            // Who has it and lives asks often, and writes nothing.
            if row.opt_parsed("daemon_id")? == Some(daemon) {
                return Ok(true);
            }
            let taken = query(sql::TAKE_DUTY)
                .bind(duty.as_str())
                .bind(daemon.to_string())
                .bind(now)
                .execute(db)
                .await
                .map_err(fault)?;
            Ok(taken.rows_affected() == 1)
        }

        pub(super) async fn catalog_revision(db: &mut Db) -> Result<i64, Fault> {
            let row = query(sql::CATALOG).fetch_one(db).await.map_err(fault)?;
            row.int("value")
        }

        async fn catalog_moves(db: &mut Db) -> Result<(), Fault> {
            query(sql::CATALOG_MOVES).execute(db).await.map_err(fault)?;
            Ok(())
        }

        pub(super) async fn load_run(db: &mut Db, run: RunId) -> Result<Option<RunImage>, Fault> {
            let id = run.to_string();
            let Some(row) = query(sql::RUN)
                .bind(id.clone())
                .fetch_optional(&mut *db)
                .await
                .map_err(fault)?
            else {
                return Ok(None);
            };
            let run = cells::run(&row)?;
            let jobs = of_run(db, sql::JOBS_OF_RUN, &id, cells::job).await?;
            let tasks = of_run(db, sql::TASKS_OF_RUN, &id, cells::task).await?;
            let attempts = of_run(db, sql::ATTEMPTS_OF_RUN, &id, cells::attempt).await?;
            let io = of_run(db, sql::IO_TO_CONTINUE, &id, cells::io).await?;
            Ok(Some(RunImage { run, jobs, tasks, attempts, io }))
        }

        async fn of_run<T>(
            db: &mut Db,
            statement: &'static str,
            run: &str,
            read: impl Fn(&Row) -> Result<T, Fault>,
        ) -> Result<Vec<T>, Fault> {
            let rows = query(statement)
                .bind(run.to_owned())
                .fetch_all(db)
                .await
                .map_err(fault)?;
            rows.iter().map(read).collect()
        }

        pub(super) async fn io(db: &mut Db, run: RunId) -> Result<Vec<IoRow>, Fault> {
            let mut rows = of_run(db, sql::IO_OF_RUN, &run.to_string(), cells::io).await?;
            rows.sort_unstable_by_key(|row| row.io_id);
            Ok(rows)
        }

        pub(super) async fn host_calls(db: &mut Db, run: RunId) -> Result<Vec<HostCallRow>, Fault> {
            let mut rows = of_run(db, sql::HOST_CALLS_OF_RUN, &run.to_string(), cells::host_call).await?;
            rows.sort_unstable_by_key(|row| (row.started_at, row.host_call_id));
            Ok(rows)
        }

        pub(super) async fn order(db: &mut Db, command: CommandRow) -> Result<(), Fault> {
            let run = command.run_id.to_string();
            query(sql::RUN)
                .bind(run.clone())
                .fetch_optional(&mut *db)
                .await
                .map_err(fault)?
                .ok_or_else(|| Fault::Data(format!("there is no run {run} to order")))?;
            let kind = match command.kind {
                $crate::store::rows::CommandKind::Cancel => "cancel",
            };
            query(sql::ORDER)
                .bind(command.command_id.to_string())
                .bind(run)
                .bind(command.organization_id.to_string())
                .bind(kind)
                .bind(stored(&command.reason).into_owned())
                .bind(command.created_at.as_micros())
                .execute(&mut *db)
                .await
                .map_err(fault)?;
            // A run that waits for its turn has no owner to carry the order out: it may be claimed now.
            query($crate::store::sql_control::LET_GO)
                .bind(command.run_id.to_string())
                .execute(db)
                .await
                .map_err(fault)?;
            Ok(())
        }

        pub(super) async fn orders(
            db: &mut Db,
            daemon: DaemonId,
        ) -> Result<Vec<CommandRow>, Fault> {
            of_run(db, sql::ORDERS, &daemon.to_string(), cells::command).await
        }

        pub(super) async fn publish(db: &mut Db, v: VersionRow) -> Result<WorkflowId, Fault> {
            let organization = v.organization_id.to_string();
            let digest = v.version.to_string();
            query(sql::WORKFLOW_APPEARS)
                .bind(WorkflowId::generate().to_string())
                .bind(organization.clone())
                .bind(v.workflow_name.to_string())
                .bind(v.created_at.as_micros())
                .execute(&mut *db)
                .await
                .map_err(fault)?;
            let row = query(sql::WORKFLOW)
                .bind(organization.clone())
                .bind(v.workflow_name.to_string())
                .fetch_one(&mut *db)
                .await
                .map_err(fault)?;
            let workflow = cells::workflow(&row)?;
            if workflow.active_version == Some(v.version) {
                return Ok(workflow.workflow_id);
            }
            let id = workflow.workflow_id.to_string();
            query(sql::VERSION_APPEARS)
                .bind(digest.clone())
                .bind(organization)
                .bind(id.clone())
                .bind(v.workflow_name.to_string())
                .bind(stored(&v.file).into_owned())
                .bind(stored(&v.source).into_owned())
                .bind(stored(&v.vars).into_owned())
                .bind(stored(&v.ceilings).into_owned())
                .bind(stored(&v.modules).into_owned())
                .bind(stored(&v.workflows).into_owned())
                .bind(serde_json::json!(v.starts_after).to_string())
                .bind(v.created_at.as_micros())
                .execute(&mut *db)
                .await
                .map_err(fault)?;
            let kept = query(sql::VERSION)
                .bind(digest.clone())
                .fetch_one(&mut *db)
                .await
                .map_err(fault)?;
            if kept.parsed::<WorkflowId>("workflow_id")? != workflow.workflow_id {
                return Err(Fault::Data(format!(
                    "version {digest} belongs to another workflow: its digest must cover organization and name"
                )));
            }
            query(sql::ACTIVATE)
                .bind(id.clone())
                .bind(digest)
                .execute(&mut *db)
                .await
                .map_err(fault)?;
            start_after(db, v.organization_id, id, &v.starts_after).await?;
            catalog_moves(db).await?;
            Ok(workflow.workflow_id)
        }

        pub(super) async fn retire(
            db: &mut Db,
            organization: OrganizationId,
            name: WorkflowName,
        ) -> Result<(), Fault> {
            query(sql::RETIRE)
                .bind(organization.to_string())
                .bind(name.to_string())
                .execute(&mut *db)
                .await
                .map_err(fault)?;
            starts_no_more(&mut *db, organization, name).await?;
            catalog_moves(db).await
        }

        pub(super) async fn workflows(db: &mut Db) -> Result<Vec<WorkflowRow>, Fault> {
            let rows = query(sql::WORKFLOWS).fetch_all(db).await.map_err(fault)?;
            rows.iter().map(cells::workflow).collect()
        }

        pub(super) async fn version(
            db: &mut Db,
            version: Digest,
        ) -> Result<Option<VersionRow>, Fault> {
            let found = of_run(db, sql::VERSION, &version.to_string(), cells::version).await?;
            Ok(found.into_iter().next())
        }

        pub(super) async fn versions(
            db: &mut Db,
            workflow: WorkflowId,
        ) -> Result<Vec<VersionRow>, Fault> {
            of_run(db, sql::VERSIONS, &workflow.to_string(), cells::version).await
        }

        pub(super) async fn put_module(
            db: &mut Db,
            module: ModuleRow,
            bytes: Vec<u8>,
        ) -> Result<(), Fault> {
            if Digest::of(&bytes) != module.digest {
                return Err(Fault::Data("the module's bytes do not have its digest".into()));
            }
            let digest = module.digest.to_string();
            let root = OrganizationId::ROOT.to_string();
            let new = query(sql::MODULE_APPEARS)
                .bind(digest.clone())
                .bind(root.clone())
                .bind(module.name.to_string())
                .bind(module.size_bytes)
                .bind(stored(&module.description).into_owned())
                .bind(stored(&module.imports).into_owned())
                .bind(module.created_at.as_micros())
                .execute(&mut *db)
                .await
                .map_err(fault)?;
            if new.rows_affected() == 0 {
                return Ok(());
            }
            for (position, chunk) in (0_i64..).zip(bytes.chunks(CHUNK_BYTES)) {
                query(sql::CHUNK)
                    .bind(ulid::Ulid::generate().to_string())
                    .bind(root.clone())
                    .bind(digest.clone())
                    .bind(position)
                    .bind(chunk.to_vec())
                    .execute(&mut *db)
                    .await
                    .map_err(fault)?;
            }
            Ok(())
        }

        pub(super) async fn module(db: &mut Db, digest: Digest) -> Result<Option<ModuleRow>, Fault> {
            let found = of_run(db, sql::MODULE, &digest.to_string(), cells::module).await?;
            Ok(found.into_iter().next())
        }

        pub(super) async fn module_bytes(
            db: &mut Db,
            digest: Digest,
        ) -> Result<Option<Vec<u8>>, Fault> {
            if module(&mut *db, digest).await?.is_none() {
                return Ok(None);
            }
            let chunks =
                of_run(db, sql::CHUNKS, &digest.to_string(), |row| row.bytes("data")).await?;
            let bytes = chunks.concat();
            if Digest::of(&bytes) != digest {
                return Err(Fault::Corrupt(format!("the bytes of module {digest} were changed")));
            }
            Ok(Some(bytes))
        }

        pub(super) async fn runs(db: &mut Db, filter: RunFilter) -> Result<Vec<RunRow>, Fault> {
            // '~' sorts after every id, so that the first page needs no statement of its own.
            let before = filter.before.map_or_else(|| "~".into(), |run| run.to_string());
            let states: Vec<&str> = filter.status.iter().map(|s| s.as_str()).collect();
            let states = (!states.is_empty()).then(|| states.join(","));
            let parent = filter.parent.map(|parent| (sql::RUNS_OF_PARENT, parent));
            let family = parent.or(filter.root.map(|root| (sql::RUNS_OF_ROOT, root)));
            let statement = match (family, &filter.workflow, filter.status.as_slice()) {
                (Some((statement, _)), ..) => statement,
                (None, Some(_), _) => sql::RUNS_OF_WORKFLOW,
                (None, None, [_]) => sql::RUNS_IN_STATUS,
                (None, None, _) => sql::RUNS,
            };
            let mut query = query(statement)
                .bind(before)
                .bind(filter.organization.map(|o| o.to_string()))
                .bind(filter.trigger.map(|t| t.as_str()))
                .bind(states)
                .bind(i64::from(filter.limit));
            let workflow = filter.workflow.map(|workflow| workflow.to_string());
            query = match (family, workflow) {
                (Some((_, above)), workflow) => query.bind(above.to_string()).bind(workflow),
                (None, Some(workflow)) => query.bind(workflow),
                (None, None) => query,
            };
            let rows = query.fetch_all(db).await.map_err(fault)?;
            rows.iter().map(cells::run).collect()
        }

        pub(super) async fn logs(
            db: &mut Db,
            run: Option<RunId>,
            after: i64,
            limit: u32,
        ) -> Result<Vec<LogRow>, Fault> {
            let statement = if run.is_some() { sql::LOGS_OF_RUN } else { sql::LOGS };
            let mut query = query(statement).bind(after).bind(i64::from(limit));
            if let Some(run) = run {
                query = query.bind(run.to_string());
            }
            let rows = query.fetch_all(db).await.map_err(fault)?;
            rows.iter().map(cells::log).collect()
        }
    };
}
pub(super) use calls;

/// Expands to [`super::Store`] for `$store`, whose `read` and `write` run the calls of the module `calls`
/// beside it, and whose `apply` commits a batch.
macro_rules! store {
    ($store:ty) => {
        use async_trait::async_trait;
        use $crate::id::{DaemonId, Digest, OrganizationId, RunId, WorkflowId, WorkflowName};
        use $crate::store::news::News;
        use $crate::store::rows::{
            ClaimedRun, CommandRow, HostCallRow, IoRow, LogRow, ModuleRow, RunFilter, RunImage,
            RunRow, Transition, VersionRow, WorkflowRow,
        };
        use $crate::store::{CommitOutcome, Duty, Store, micros};

        #[async_trait]
        impl Store for $store {
            async fn commit(
                &self,
                batch: Arc<[Transition]>,
            ) -> Result<Vec<CommitOutcome>, StoreError> {
                if batch.is_empty() {
                    return Ok(Vec::new());
                }
                let outcomes = self.apply(Arc::clone(&batch)).await?;
                self.tell(|| News::of_commit(&batch, &outcomes));
                Ok(outcomes)
            }

            fn commits_at_once(&self) -> usize {
                Self::COMMITS_AT_ONCE
            }

            async fn claim(
                &self,
                daemon: DaemonId,
                limit: u32,
            ) -> Result<Vec<ClaimedRun>, StoreError> {
                self.write(move |c| Box::pin(dialect::claim(c, daemon, limit)))
                    .await
            }

            async fn release(&self, runs: &[(RunId, i64)]) -> Result<(), StoreError> {
                let runs = runs.to_vec();
                self.write(move |c| Box::pin(calls::release(c, runs)))
                    .await?;
                self.tell(News::of_work);
                Ok(())
            }

            async fn heartbeat(&self, daemon: DaemonId, instance: &str) -> Result<(), StoreError> {
                let (instance, lease) = (instance.to_owned(), micros(self.lease));
                self.write(move |c| Box::pin(calls::heartbeat(c, daemon, instance, lease)))
                    .await
            }

            async fn farewell(&self, daemon: DaemonId) -> Result<(), StoreError> {
                self.write(move |c| Box::pin(calls::farewell(c, daemon)))
                    .await?;
                self.tell(News::of_work);
                Ok(())
            }

            async fn take_duty(&self, daemon: DaemonId, duty: Duty) -> Result<bool, StoreError> {
                self.write(move |c| Box::pin(calls::take_duty(c, daemon, duty)))
                    .await
            }

            fn news(&self) -> Option<tokio::sync::broadcast::Receiver<News>> {
                self.heard()
            }

            async fn catalog_revision(&self) -> Result<i64, StoreError> {
                self.read(|c| Box::pin(calls::catalog_revision(c))).await
            }

            async fn load_run(&self, run: RunId) -> Result<Option<RunImage>, StoreError> {
                self.read(move |c| Box::pin(calls::load_run(c, run))).await
            }

            async fn order(&self, command: &CommandRow) -> Result<(), StoreError> {
                let command = command.clone();
                self.write(move |c| Box::pin(calls::order(c, command)))
                    .await?;
                self.tell(News::of_orders);
                Ok(())
            }

            async fn orders(&self, daemon: DaemonId) -> Result<Vec<CommandRow>, StoreError> {
                self.read(move |c| Box::pin(calls::orders(c, daemon))).await
            }

            async fn publish(&self, version: &VersionRow) -> Result<WorkflowId, StoreError> {
                let version = version.clone();
                let id = self
                    .write(move |c| Box::pin(calls::publish(c, version)))
                    .await?;
                self.tell(News::of_versions);
                Ok(id)
            }

            async fn retire(
                &self,
                organization: OrganizationId,
                name: &WorkflowName,
            ) -> Result<(), StoreError> {
                let name = name.clone();
                self.write(move |c| Box::pin(calls::retire(c, organization, name)))
                    .await?;
                self.tell(News::of_versions);
                Ok(())
            }

            async fn workflows(&self) -> Result<Vec<WorkflowRow>, StoreError> {
                self.read(|c| Box::pin(calls::workflows(c))).await
            }

            async fn version(&self, version: &Digest) -> Result<Option<VersionRow>, StoreError> {
                let version = *version;
                self.read(move |c| Box::pin(calls::version(c, version)))
                    .await
            }

            async fn versions(&self, workflow: WorkflowId) -> Result<Vec<VersionRow>, StoreError> {
                self.read(move |c| Box::pin(calls::versions(c, workflow)))
                    .await
            }

            async fn put_module(&self, module: &ModuleRow, bytes: &[u8]) -> Result<(), StoreError> {
                let (module, bytes) = (module.clone(), bytes.to_vec());
                self.write(move |c| Box::pin(calls::put_module(c, module, bytes)))
                    .await
            }

            async fn module(&self, digest: &Digest) -> Result<Option<ModuleRow>, StoreError> {
                let digest = *digest;
                self.read(move |c| Box::pin(calls::module(c, digest))).await
            }

            async fn module_bytes(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
                let digest = *digest;
                self.read(move |c| Box::pin(calls::module_bytes(c, digest)))
                    .await
            }

            async fn runs(&self, filter: &RunFilter) -> Result<Vec<RunRow>, StoreError> {
                let filter = filter.clone();
                self.read(move |c| Box::pin(calls::runs(c, filter))).await
            }

            async fn logs(
                &self,
                run: Option<RunId>,
                after: i64,
                limit: u32,
            ) -> Result<Vec<LogRow>, StoreError> {
                self.read(move |c| Box::pin(calls::logs(c, run, after, limit)))
                    .await
            }

            async fn io(&self, run: RunId) -> Result<Vec<IoRow>, StoreError> {
                self.read(move |c| Box::pin(calls::io(c, run))).await
            }

            async fn host_calls(&self, run: RunId) -> Result<Vec<HostCallRow>, StoreError> {
                self.read(move |c| Box::pin(calls::host_calls(c, run)))
                    .await
            }
        }
    };
}
pub(super) use store;
