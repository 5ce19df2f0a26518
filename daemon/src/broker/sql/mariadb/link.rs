//! One MariaDB connection in the hands of one session: a transaction from its begin to its end.
//!
//! Rows are read from the connection as the guest takes them: the server is held up by the network's
//! own buffers. Its clock for the statement cannot stand still meanwhile, so for a query it is set late
//! and the statement's time is kept on this side; for a change it is set to that time.

use std::sync::Arc;

use futures_util::TryStreamExt as _;
use sqlx::mysql::{MySqlColumn, MySqlDatabaseError, MySqlRow, MySqlTypeInfo};
use sqlx::{
    AssertSqlSafe, Column as _, Connection as _, Either, Executor as _, MySqlConnection, Row as _,
    SqlSafeStr as _, Statement as _,
};
use tokio::time::timeout;

use super::Server;
use super::columns::{Shape, shown};
use super::parameters::arguments;
use crate::broker::error::Refusal;
use crate::broker::sql::policy::Decided;
use crate::broker::sql::server::{
    Beside as _, Budget, Busy, CONNECT_TIME, Fault, Link, Sink, Terms, UNATTENDED_TIME, committed,
    count_columns, count_parameters,
};
use crate::broker::sql::{Column, Value};

/// How the session reads statements and values, whatever the server's default is. Strict, so that no
/// value is bent to fit; without ANSI_QUOTES and NO_BACKSLASH_ESCAPES, as the policy's parser reads.
const MODES: &str =
    "STRICT_ALL_TABLES,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION";

/// A connection whose transaction is open.
pub(super) struct MyLink {
    server: Arc<Server>,
    connection: MySqlConnection,
    /// The server's number of it, to end it from beside.
    id: u64,
    /// The longest value that the server makes or takes.
    packet: u64,
    terms: Terms,
    busy: Busy,
    /// Rows are on their way that nobody has read.
    streaming: bool,
    /// The server undid the whole transaction on its own.
    undone: bool,
}

impl MyLink {
    fn fault(&mut self, error: &sqlx::Error) -> Fault {
        let fault = self.server.facts().fault(error, &self.terms.time);
        // After a deadlock nothing is left of the transaction.
        self.undone |= fault.refusal.code == "sql.40001";
        fault
    }

    /// Nothing runs after the transaction is gone: it would be no part of it.
    fn alive(&self) -> Result<(), Refusal> {
        if !self.undone {
            return Ok(());
        }
        let message = "the server undid the transaction when a statement of it failed";
        Err(Refusal::retryable("sql.40001", message))
    }

    /// Asks what a failure left of the transaction: whether a lock that did not come undoes it all is a
    /// setting of the server's.
    async fn settle(&mut self, budget: &mut Budget, fault: Fault) -> Fault {
        if fault.broken || self.undone || !fault.refusal.retryable {
            return fault;
        }
        let asked = self
            .run(budget, "select cast(@@in_transaction as signed)".to_owned())
            .await;
        let inside = asked
            .ok()
            .and_then(|rows| rows.first()?.try_get::<i64, _>(0).ok());
        match inside {
            Some(inside) => {
                self.undone = inside == 0;
                fault
            }
            None => Fault::broken(fault.refusal),
        }
    }

    fn budget(&self) -> Budget {
        Budget::new(&self.terms.time, self.terms.time.most, &self.busy)
    }

    /// Text of our own, without parameters.
    async fn run(&mut self, budget: &mut Budget, text: String) -> Result<Vec<MySqlRow>, Fault> {
        let work = sqlx::raw_sql(AssertSqlSafe(text)).fetch_all(&mut self.connection);
        match budget.spend(work).await? {
            Ok(rows) => Ok(rows),
            Err(error) => Err(self.fault(&error)),
        }
    }

    /// What the server makes of a statement: how many values it takes, and its columns.
    async fn prepare(
        &mut self,
        budget: &mut Budget,
        text: &str,
    ) -> Result<(usize, Vec<(String, MySqlTypeInfo)>), Fault> {
        let text = AssertSqlSafe(text.to_owned()).into_sql_str();
        let prepared = match budget.spend(self.connection.prepare(text)).await? {
            Ok(prepared) => prepared,
            Err(error) => return Err(self.fault(&error)),
        };
        let takes = match prepared.parameters() {
            Some(Either::Right(count)) => count,
            Some(Either::Left(types)) => types.len(),
            None => 0,
        };
        Ok((takes, columns_of(prepared.columns())))
    }

    async fn read(
        &mut self,
        budget: &mut Budget,
        decided: &Decided,
        parameters: &[Value],
        mut shape: Option<Shape>,
        sink: &mut Sink,
    ) -> Result<(), Fault> {
        let (server, id) = (self.server.clone(), self.id);
        let encoded = arguments(parameters)?;
        self.streaming = true;
        let query = sqlx::query_with(AssertSqlSafe(decided.text.clone()), encoded);
        let mut rows = query.fetch(&mut self.connection);
        loop {
            let row = match budget.spend(rows.try_next()).await? {
                Ok(Some(row)) => row,
                Ok(None) => break,
                Err(error) => {
                    drop(rows);
                    self.streaming = false;
                    let fault = server.facts().fault(&error, &self.terms.time);
                    self.undone |= fault.refusal.code == "sql.40001";
                    return Err(self.settle(budget, fault).await);
                }
            };
            if shape.is_none() {
                let columns = columns_of(row.columns());
                shape = Some(Shape::new(&columns, self.packet).map_err(Fault::broken)?);
                let _ = sink.columns(shown_as(&columns)).await;
            }
            let Some(known) = &shape else { continue };
            let values = known.values(&row).map_err(Fault::broken)?;
            sink.row(values).map_err(Fault::broken)?;
            if sink.relieve().await.is_err() {
                // Nobody reads on, and the rest may be long: the statement ends, the transaction goes on.
                let ended = budget
                    .spend(beside(&server, &format!("kill query {id}")))
                    .await?;
                ended.map_err(|_| Fault::broken(super::unreachable(server.name.as_str())))?;
                while let Ok(Some(_)) = budget.spend(rows.try_next()).await? {}
                drop(rows);
                // Had the statement come to its own end first, the word would meet the next one.
                let next = sqlx::raw_sql("do 0").execute(&mut self.connection);
                let _ = budget.spend(next).await?;
                self.streaming = false;
                return Ok(());
            }
        }
        drop(rows);
        self.streaming = false;
        if shape.is_none() {
            let _ = sink.columns(Vec::new()).await;
        }
        Ok(())
    }
}

fn columns_of(columns: &[MySqlColumn]) -> Vec<(String, MySqlTypeInfo)> {
    columns
        .iter()
        .map(|column| (column.name().to_owned(), column.type_info().clone()))
        .collect()
}

fn shown_as(columns: &[(String, MySqlTypeInfo)]) -> Vec<Column> {
    columns
        .iter()
        .map(|(name, known)| Column {
            name: name.clone(),
            type_name: shown(known),
        })
        .collect()
}

/// Says something of our own on a second connection.
async fn beside(server: &Server, text: &str) -> Result<(), String> {
    /// ER_NO_SUCH_THREAD: what is to be ended is gone already.
    const GONE: u16 = 1094;
    let connected = server.connect().await;
    let mut connection = connected.map_err(|refusal| refusal.message)?;
    let said = sqlx::raw_sql(AssertSqlSafe(text.to_owned()))
        .execute(&mut connection)
        .await;
    let _ = connection.close().await;
    let number = said
        .as_ref()
        .err()
        .and_then(sqlx::Error::as_database_error)
        .and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>())
        .map(MySqlDatabaseError::number);
    match said {
        Err(error) if number != Some(GONE) => Err(error.to_string()),
        _ => Ok(()),
    }
}

impl Link for MyLink {
    type Server = Server;

    async fn open(server: &Arc<Server>, terms: &Terms) -> Result<Self, Refusal> {
        let mut connection = server.connect().await?;
        // Boxed: two connections are large, and asked for once.
        Box::pin(server.compare(&mut connection)).await?;
        let mut link = Self {
            server: server.clone(),
            connection,
            id: 0,
            packet: 0,
            terms: terms.clone(),
            busy: Busy::default(),
            streaming: false,
            undone: false,
        };
        let statement = terms.time.most.as_secs_f64().max(0.001);
        let (lock, idle) = (terms.time.most.as_secs().max(1), UNATTENDED_TIME.as_secs());
        let (mode, late) = match terms.writes {
            true => ("write", statement),
            false => ("only", statement + UNATTENDED_TIME.as_secs_f64()),
        };
        let begin = format!(
            "set session sql_mode = '{MODES}', time_zone = '+00:00', max_statement_time = {late}, \
             innodb_lock_wait_timeout = {lock}, lock_wait_timeout = {lock}, net_write_timeout = {idle}, \
             idle_transaction_timeout = {idle}, wait_timeout = {idle}, group_concat_max_len = 1048576, \
             sql_auto_is_null = 0, sql_safe_updates = 0, autocommit = 0; \
             set session transaction isolation level read committed, read {mode}; \
             start transaction read {mode}; \
             select connection_id(), @@max_allowed_packet"
        );
        let mut budget = Budget::new(&terms.time, CONNECT_TIME, &link.busy);
        let begun = link.run(&mut budget, begin).await;
        let rows = begun.map_err(|_| super::unreachable(server.name.as_str()))?;
        let row = rows.first();
        let number = |position: usize| row.and_then(|row| row.try_get::<u64, _>(position).ok());
        match (number(0), number(1)) {
            (Some(id), Some(packet)) => {
                (link.id, link.packet) = (id, packet);
                Ok(link)
            }
            _ => Err(super::unreachable(server.name.as_str())),
        }
    }

    async fn query(
        &mut self,
        decided: &Decided,
        parameters: &[Value],
        sink: &mut Sink,
    ) -> Result<(), Fault> {
        self.alive()?;
        let mut budget = self.budget();
        let (takes, columns) = self.prepare(&mut budget, &decided.text).await?;
        count_parameters(takes, parameters.len())?;
        count_columns(columns.len())?;
        // What INSERT … RETURNING answers is only told with its rows; they are held back in any case.
        let shape = if columns.is_empty() && decided.changes {
            None
        } else {
            let shape = Shape::new(&columns, self.packet)?;
            if sink.columns(shown_as(&columns)).await.is_err() {
                return Ok(());
            }
            Some(shape)
        };
        self.read(&mut budget, decided, parameters, shape, sink)
            .await
    }

    async fn change(&mut self, decided: &Decided, batch: &[Vec<Value>]) -> Result<Vec<u64>, Fault> {
        self.alive()?;
        let mut budget = self.budget();
        let (takes, _) = self.prepare(&mut budget, &decided.text).await?;
        let several = batch.len() > 1;
        // A failed statement undoes itself, not the ones before it in the batch.
        if several {
            self.run(&mut budget, "savepoint flowweaver_batch".to_owned())
                .await?;
        }
        let mut counts = Vec::with_capacity(batch.len());
        let mut failed = None;
        for values in batch {
            let encoded = count_parameters(takes, values.len()).and_then(|()| arguments(values));
            let encoded = match encoded {
                Ok(encoded) => encoded,
                Err(refusal) => {
                    failed = Some(refusal.into());
                    break;
                }
            };
            let work = sqlx::query_with(AssertSqlSafe(decided.text.clone()), encoded)
                .execute(&mut self.connection);
            match budget.spend(work).await? {
                Ok(done) => counts.push(done.rows_affected()),
                Err(error) => {
                    let fault = self.fault(&error);
                    failed = Some(self.settle(&mut budget, fault).await);
                    break;
                }
            }
        }
        match failed {
            None => Ok(counts),
            Some(fault) if fault.broken || !several || self.undone => Err(fault),
            Some(fault) => {
                let back = "rollback to savepoint flowweaver_batch".to_owned();
                self.run(&mut budget, back).await?;
                Err(fault)
            }
        }
    }

    async fn commit(&mut self) -> Result<(), Fault> {
        self.alive()?;
        let mut budget = self.budget();
        let end = self.terms.commit().to_owned();
        committed(self.run(&mut budget, end).await.map(drop))
    }

    async fn rollback(&mut self) -> Result<(), Fault> {
        let mut budget = self.budget();
        self.run(&mut budget, "rollback".to_owned()).await.map(drop)
    }

    fn rests(&self) -> bool {
        !self.busy.is() && !self.streaming
    }

    async fn release(mut self) {
        if !self.rests() {
            return self.abort().await;
        }
        // The server rolls back what is open when it sees the end; said in so many words, it has happened
        // before the place of this connection is given to the next.
        let ended = async {
            sqlx::raw_sql("rollback")
                .execute(&mut self.connection)
                .await?;
            self.connection.close().await
        };
        if let Ok(Err(error)) = timeout(CONNECT_TIME, ended).await {
            tracing::debug!(%error, "a connection was already gone when it was to be closed");
        }
    }

    async fn abort(self) {
        // The connection, not only its statement: one that arrives between two messages would be lost. While
        // our end is open the number is nobody else's.
        let kill = format!("kill connection {}", self.id);
        let ended = timeout(CONNECT_TIME, beside(&self.server, &kill)).await;
        if let Err(error) = ended.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
            tracing::warn!(error, database = %self.server.name, "a statement could not be ended at once");
        }
    }
}
