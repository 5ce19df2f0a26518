//! One PostgreSQL connection in the hands of one session: a transaction from its begin to its end.
//!
//! Rows are read through a cursor, a few at a time: while a guest works on what it has, the server
//! does nothing for it and its clock for the statement stands. The connection is given back after
//! `discard all`, which ends what a session can leave behind (settings, temporary tables, locks,
//! listeners, prepared statements) for one round trip; a new connection costs a process on the server.

use std::sync::Arc;

use futures_util::TryStreamExt as _;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgRow, PgTypeInfo, Postgres};
use sqlx::{
    AssertSqlSafe, Column as _, Connection as _, Either, Executor as _, Row as _, SqlSafeStr as _,
    Statement as _, TypeInfo as _,
};
use tokio::time::timeout;

use super::Server;
use super::columns::{Frame, Shape};
use super::parameters::Plan;
use crate::broker::error::Refusal;
use crate::broker::sql::policy::Decided;
use crate::broker::sql::server::{
    Beside as _, Budget, Busy, CONNECT_TIME, Fault, Link, Sink, Terms, UNATTENDED_TIME, committed,
    count_columns, count_parameters,
};
use crate::broker::sql::{Column, Value};

/// Rows of the first fetch: enough for most, and little to throw away if each is huge.
const FETCH_FIRST: u64 = 32;
/// Rows of one fetch: a portion.
const FETCH_MAX: u64 = 256;
/// Bytes that a fetch aims at: a portion.
const FETCH_BYTES: u64 = 1024 * 1024;

/// A connection whose transaction is open.
pub(super) struct PgLink {
    server: Arc<Server>,
    connection: PoolConnection<Postgres>,
    /// The server's process, to end it from beside.
    process: i32,
    terms: Terms,
    busy: Busy,
    /// The transaction has begun and not ended: the server warns of every end too many.
    open: bool,
    /// A statement failed: until its end the transaction does nothing any more.
    aborted: bool,
    /// Nothing of the session is left on the connection: only then it goes back to the pool.
    clean: bool,
}

impl Drop for PgLink {
    fn drop(&mut self) {
        // Given up at any moment, also between `begin` and its answer.
        if !self.clean {
            self.connection.close_on_drop();
        }
    }
}

impl PgLink {
    fn fault(&mut self, error: &sqlx::Error) -> Fault {
        self.aborted = true;
        self.server.facts().fault(error, &self.terms.time)
    }

    fn budget(&self) -> Budget {
        Budget::new(&self.terms.time, self.terms.time.most, &self.busy)
    }

    /// Text of our own, without parameters.
    async fn run(&mut self, budget: &mut Budget, text: String) -> Result<Vec<PgRow>, Fault> {
        let work = sqlx::raw_sql(AssertSqlSafe(text)).fetch_all(&mut *self.connection);
        match budget.spend(work).await? {
            Ok(rows) => Ok(rows),
            Err(error) => Err(self.fault(&error)),
        }
    }

    /// Ends the transaction. Whatever the server answers, it is over: a commit that fails is a rollback.
    async fn end(&mut self, budget: &mut Budget, word: &str) -> Result<(), Fault> {
        let ended = self.run(budget, word.to_owned()).await;
        self.open = false;
        ended.map(drop)
    }

    /// What the server makes of a statement: the types of its parameters and its columns.
    async fn prepare(
        &mut self,
        budget: &mut Budget,
        text: &str,
    ) -> Result<(Vec<PgTypeInfo>, Vec<(String, PgTypeInfo)>), Fault> {
        let text = AssertSqlSafe(text.to_owned()).into_sql_str();
        let prepared = match budget.spend(self.connection.prepare(text)).await? {
            Ok(prepared) => prepared,
            Err(error) => return Err(self.fault(&error)),
        };
        let parameters = match prepared.parameters() {
            Some(Either::Left(types)) => types.to_vec(),
            _ => Vec::new(),
        };
        let columns = prepared
            .columns()
            .iter()
            .map(|column| (column.name().to_owned(), column.type_info().clone()))
            .collect();
        Ok((parameters, columns))
    }

    /// How these values reach the server, and the statement that takes them so.
    async fn plan(
        &mut self,
        budget: &mut Budget,
        types: &[PgTypeInfo],
        batch: &[&[Value]],
    ) -> Result<Plan, Fault> {
        for values in batch {
            count_parameters(types.len(), values.len())?;
        }
        let oids = types.iter().map(|known| known.oid().map_or(0, |oid| oid.0));
        let mut plan = Plan::new(&oids.collect::<Vec<_>>(), batch)?;
        let unnamed = plan.unnamed();
        if !unnamed.is_empty() {
            // With a length of -1, not null, the name is one that a cast does not cut to length 1.
            let asked: Vec<String> = unnamed
                .iter()
                .map(|oid| format!("format_type({oid}, -1)"))
                .collect();
            let rows = self
                .run(budget, format!("select {}", asked.join(", ")))
                .await?;
            let row = rows.first();
            for (position, oid) in unnamed.into_iter().enumerate() {
                let name: Option<String> = row.and_then(|row| row.try_get(position).ok());
                plan.name(oid, &name.unwrap_or_default());
            }
        }
        Ok(plan)
    }

    /// Reads the rows of a statement that answers them at once. `max` is how many there can be.
    async fn read(
        &mut self,
        budget: &mut Budget,
        text: String,
        arguments: PgArguments,
        shape: &Shape,
        sink: &mut Sink,
    ) -> Result<u64, Fault> {
        let mut count = 0;
        let facts = (self.server.clone(), self.terms.time.clone());
        let query = sqlx::query_with(AssertSqlSafe(text), arguments).persistent(false);
        let mut rows = query.fetch(&mut *self.connection);
        loop {
            let row = match budget.spend(rows.try_next()).await? {
                Ok(Some(row)) => row,
                Ok(None) => return Ok(count),
                Err(error) => {
                    self.aborted = true;
                    return Err(facts.0.facts().fault(&error, &facts.1));
                }
            };
            count += 1;
            // The rest of the fetch is still on its way: nobody reads it any more.
            let values = shape.values(&row).map_err(Fault::broken)?;
            sink.row(values).map_err(Fault::broken)?;
        }
    }

    /// Rows of a statement that changes nothing.
    async fn stream(
        &mut self,
        budget: &mut Budget,
        text: &str,
        arguments: PgArguments,
        shape: &Shape,
        sink: &mut Sink,
    ) -> Result<(), Fault> {
        let declared = shape.wrapped(text, Frame::Cursor);
        let work = sqlx::query_with(AssertSqlSafe(declared), arguments)
            .persistent(false)
            .execute(&mut *self.connection);
        if let Err(error) = budget.spend(work).await? {
            return Err(self.fault(&error));
        }
        let mut ask = FETCH_FIRST;
        loop {
            let text = format!("fetch forward {ask} from flowweaver_rows");
            let count = self
                .read(budget, text, PgArguments::default(), shape, sink)
                .await?;
            if count < ask {
                break;
            }
            // Nobody reads on: the cursor ends like that of a query read to its end.
            if sink.relieve().await.is_err() {
                break;
            }
            ask = (FETCH_BYTES / sink.mean_bytes().max(1)).clamp(1, FETCH_MAX);
        }
        self.run(budget, "close flowweaver_rows".to_owned())
            .await
            .map(drop)
    }
}

impl Link for PgLink {
    type Server = Server;

    async fn open(server: &Arc<Server>, terms: &Terms) -> Result<Self, Refusal> {
        let mut link = Self {
            connection: server.acquire().await?,
            server: server.clone(),
            process: 0,
            terms: terms.clone(),
            busy: Busy::default(),
            open: false,
            aborted: false,
            clean: false,
        };
        let mode = if terms.writes { "write" } else { "only" };
        let (statement, idle) = (
            terms.time.most.as_millis().max(1),
            UNATTENDED_TIME.as_millis(),
        );
        // The last statement takes the snapshot after which a transaction cannot be made to write.
        let begin = format!(
            "begin isolation level read committed read {mode}; \
             set local statement_timeout = {statement}; \
             set local lock_timeout = {statement}; \
             set local idle_in_transaction_session_timeout = {idle}; \
             select pg_backend_pid()"
        );
        let mut budget = Budget::new(&terms.time, CONNECT_TIME, &link.busy);
        let begun = link.run(&mut budget, begin).await;
        let process = begun.map(|rows| rows.first().and_then(|row| row.try_get(0).ok()));
        match process {
            Ok(Some(process)) => {
                (link.process, link.open) = (process, true);
                Ok(link)
            }
            Ok(None) | Err(_) => Err(super::unreachable(server.name.as_str())),
        }
    }

    async fn query(
        &mut self,
        decided: &Decided,
        parameters: &[Value],
        sink: &mut Sink,
    ) -> Result<(), Fault> {
        let mut budget = self.budget();
        let (types, columns) = self.prepare(&mut budget, &decided.text).await?;
        count_columns(columns.len())?;
        let shown = columns.iter().map(|(name, known)| Column {
            name: name.clone(),
            type_name: known.name().to_lowercase(),
        });
        let shown = shown.collect();
        // PostgreSQL knows no statement that changes rows inside of one that is not the outermost.
        let frame = match (decided.changes, decided.ctes.is_empty()) {
            (false, _) => Frame::Cursor,
            (true, true) => Frame::Change,
            (true, false) => Frame::Bare,
        };
        let shape = Shape::new(&columns, frame, self.terms.limits.bytes)?;
        let plan = self.plan(&mut budget, &types, &[parameters]).await?;
        let text = plan.text(&decided.text)?;
        let arguments = plan.arguments(parameters)?;
        if frame == Frame::Cursor {
            if sink.columns(shown).await.is_err() {
                return Ok(());
            }
            return self
                .stream(&mut budget, &text, arguments, &shape, sink)
                .await;
        }
        // Held back by the sink until the change is done.
        let _ = sink.columns(shown).await;
        let text = shape.wrapped(&text, frame);
        self.read(&mut budget, text, arguments, &shape, sink)
            .await
            .map(drop)
    }

    async fn change(&mut self, decided: &Decided, batch: &[Vec<Value>]) -> Result<Vec<u64>, Fault> {
        let mut budget = self.budget();
        let (types, _) = self.prepare(&mut budget, &decided.text).await?;
        let lists: Vec<&[Value]> = batch.iter().map(Vec::as_slice).collect();
        let plan = self.plan(&mut budget, &types, &lists).await?;
        let text = plan.text(&decided.text)?.into_owned();
        let mut counts = Vec::with_capacity(batch.len());
        for values in batch {
            let arguments = plan.arguments(values)?;
            // Prepared once for the whole batch; `release` takes it off the connection again.
            let work = sqlx::query_with(AssertSqlSafe(text.clone()), arguments)
                .execute(&mut *self.connection);
            match budget.spend(work).await? {
                Ok(done) => counts.push(done.rows_affected()),
                Err(error) => return Err(self.fault(&error)),
            }
        }
        Ok(counts)
    }

    async fn commit(&mut self) -> Result<(), Fault> {
        let mut budget = self.budget();
        if self.aborted {
            // The server answers `commit` with a rollback then, and calls that a success.
            self.end(&mut budget, "rollback").await?;
            let message = "a statement of the transaction failed, so all of it was rolled back";
            return Err(Refusal::permanent("sql.25P02", message).into());
        }
        let end = self.terms.commit();
        committed(self.end(&mut budget, end).await)
    }

    async fn rollback(&mut self) -> Result<(), Fault> {
        let mut budget = self.budget();
        self.end(&mut budget, "rollback").await
    }

    fn rests(&self) -> bool {
        !self.busy.is()
    }

    async fn release(mut self) {
        let clean = async {
            if self.open {
                sqlx::raw_sql("rollback")
                    .execute(&mut *self.connection)
                    .await?;
            }
            self.connection.clear_cached_statements().await?;
            sqlx::raw_sql("discard all")
                .execute(&mut *self.connection)
                .await
        };
        match timeout(CONNECT_TIME, clean).await {
            Ok(Ok(_)) => self.clean = true,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a connection could not be cleaned, and is closed");
            }
            Err(_) => self.abort().await,
        }
    }

    async fn abort(self) {
        // Ending the process, not only its statement: a cancellation that arrives between two messages is
        // lost, and what was sent before runs on. While our end is open the number is nobody else's.
        let end = async {
            let mut beside = self
                .server
                .connect()
                .await
                .map_err(|refusal| refusal.message)?;
            let ended = sqlx::query("select pg_terminate_backend($1)")
                .bind(self.process)
                .execute(&mut beside)
                .await;
            let _ = beside.close().await;
            ended.map(drop).map_err(|error| error.to_string())
        };
        let ended = timeout(CONNECT_TIME, end).await;
        if let Err(error) = ended.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
            // The statement's time on the server ends it.
            tracing::warn!(error, database = %self.server.name, "a statement could not be ended at once");
        }
    }
}
