//! A database as one task may use it: the grant within what the operator allows, the statement within
//! the grant, and a session within the attempt's budget.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};

use super::database::Database;
use super::policy::{self, Allowed, Decided, Dialect};
use super::rows::{Reading, Source, SqlRows};
use super::session::{Command, Line, Order, size_of};
use super::transaction::{Open, SqlTransaction};
use super::{Attempt, Value, lesson};
use crate::broker::call::CallRecord;
use crate::broker::error::Refusal;
use crate::workflow::grant::{SqlGrant, SqlMode};

/// A database that a task was granted.
pub struct SqlDatabase(Arc<Reach>);

/// What a call needs to know of it.
pub(super) struct Reach {
    pub(super) attempt: Arc<Attempt>,
    pub(super) database: Arc<Database>,
    pub(super) allowed: Allowed,
    pub(super) grant: SqlGrant,
}

/// What a call does with its statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    /// Reads its rows.
    Rows,
    /// Counts what it changed.
    Counts,
}

impl SqlDatabase {
    pub(super) fn find(attempt: &Arc<Attempt>, name: &str) -> Result<Self, Refusal> {
        let scope = &attempt.scope;
        let (grants, databases) = (&scope.grants.sql, &attempt.shared.databases);
        let granted = |grant: &&SqlGrant| grant.database.as_str() == name;
        let Some(grant) = grants.iter().find(granted) else {
            let found = name.parse().ok();
            let found =
                found.and_then(|name| databases.find(&name, scope.identity.organization).ok());
            return Err(attempt.denied(lesson::not_granted(
                &scope.identity,
                grants.first().map(|grant| &*grant.place.file),
                name,
                found.as_ref().and_then(|found| found.tables.as_ref()),
            )));
        };
        let database = databases.find(&grant.database, scope.identity.organization)?;
        Ok(Self(Arc::new(Reach {
            attempt: attempt.clone(),
            allowed: database.allowed(grant),
            database,
            grant: grant.clone(),
        })))
    }

    /// Runs one statement that returns rows, and waits for its columns.
    ///
    /// Errors: the codes of `wit/deps/sql`, and `cancelled`.
    pub async fn query(&self, statement: &str, parameters: Vec<Value>) -> Result<SqlRows, Refusal> {
        let reach = &self.0;
        let mut record = reach.record("query", statement)?;
        let patience = reach.attempt.patience();
        let begun = async {
            let batch = vec![parameters];
            let decided = reach.decide(statement, &batch, Wants::Rows, &mut record)?;
            reach.is_lockable(decided.changes)?;
            let place = reach.attempt.place()?;
            // A lock is a change to the database's own session.
            let writes = decided.changes || decided.locks;
            let line = patience.wait(reach.session(false, writes)).await?;
            let (rows, messages) = mpsc::channel(1);
            let parameters = batch.into_iter().next().unwrap_or_default();
            let command = Command::Query {
                decided,
                parameters,
                rows,
            };
            patience.wait(line.send(command)).await?;
            Ok((line, messages, place))
        };
        let begun: Result<_, Refusal> = begun.await;
        let (line, messages, place) =
            begun.inspect_err(|refusal| record.outcome(refusal.code.as_str()))?;
        let reading = Reading {
            messages: Arc::new(Mutex::new(Some(messages))),
            record,
            source: Source::Own(line, place),
        };
        SqlRows::begin(patience, reading)
            .await
            .map_err(|refusal| reach.explained(refusal, statement))
    }

    /// Runs one statement that changes rows; answers how many.
    ///
    /// Errors: the codes of `wit/deps/sql`, and `cancelled`.
    pub async fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<u64, Refusal> {
        let counts = self.change("execute", statement, vec![parameters]).await?;
        Ok(counts.first().copied().unwrap_or_default())
    }

    /// Runs one statement for each list of parameters, all or none; answers the counts.
    ///
    /// Errors: as `execute`.
    pub async fn execute_batch(
        &self,
        statement: &str,
        batch: Vec<Vec<Value>>,
    ) -> Result<Vec<u64>, Refusal> {
        self.change("execute-batch", statement, batch).await
    }

    async fn change(
        &self,
        verb: &str,
        statement: &str,
        batch: Vec<Vec<Value>>,
    ) -> Result<Vec<u64>, Refusal> {
        let reach = &self.0;
        let mut record = reach.record(verb, statement)?;
        let result = async {
            let decided = reach.decide(statement, &batch, Wants::Counts, &mut record)?;
            if batch.is_empty() {
                return Ok(Vec::new());
            }
            reach.is_lockable(true)?;
            let _place = reach.attempt.place()?;
            let changed = async {
                let line = reach.session(false, true).await?;
                let counts = line
                    .ask(|counts| Command::Change {
                        decided,
                        batch,
                        counts,
                    })
                    .await?;
                line.finish();
                Ok(counts)
            };
            let changed = reach.attempt.patience().wait(changed).await;
            changed.map_err(|refusal| reach.explained(refusal, statement))
        };
        let result = result.await;
        Reach::settle_counts(record, result)
    }

    /// Begins a transaction, one that only reads where the grant does. One may be open at a time.
    ///
    /// Errors: the codes of `wit/deps/sql`, and `cancelled`.
    pub async fn begin(&self) -> Result<SqlTransaction, Refusal> {
        let reach = &self.0;
        let record = reach.record("begin", "")?;
        let begun = async {
            reach.attempt.count()?;
            let end = reach.attempt.plan(reach.database.name.to_string())?;
            let open = Open::new(&reach.attempt, &reach.database.name)?;
            let place = reach.attempt.place()?;
            let writes = reach.allowed.mode == SqlMode::ReadWrite;
            let session = reach.session(true, writes);
            let line = reach.attempt.patience().wait(session).await?;
            Ok(SqlTransaction::new(reach.clone(), line, (place, open), end))
        };
        record.settle(begun.await)
    }
}

impl Reach {
    /// The record of a call on this database.
    pub(super) fn record(&self, verb: &str, statement: &str) -> Result<CallRecord, Refusal> {
        let mut record = self.attempt.record(self.database.name.to_string(), verb)?;
        record.sent(statement.len());
        Ok(record)
    }

    /// Counts the call, and understands and allows its statement. From then on the record's verb is
    /// the statement's.
    pub(super) fn decide(
        &self,
        statement: &str,
        batch: &[Vec<Value>],
        wants: Wants,
        record: &mut CallRecord,
    ) -> Result<Decided, Refusal> {
        self.attempt.count()?;
        let most = self.attempt.shared.limits.parameters;
        let bytes: usize = batch
            .iter()
            .map(|values| {
                values
                    .iter()
                    .map(size_of)
                    .fold(size_of(&Value::Null), usize::saturating_add)
            })
            .fold(0, usize::saturating_add);
        if bytes as u64 > most {
            let message = format!("a call's parameters have at most {most} bytes together");
            return Err(Refusal::permanent("limit.sql-bytes", message));
        }
        record.sent(bytes);
        let decided = policy::decide(statement, &self.allowed)
            .map_err(|refusal| self.explained(refusal, statement))?;
        record.verb(decided.verb);
        let wrong = match (wants, decided.returns_rows) {
            (Wants::Rows, false) => "this statement returns no rows; it is for `execute`",
            (Wants::Counts, true) => "this statement returns rows; it is for `query`",
            (Wants::Rows, true) | (Wants::Counts, false) => return Ok(decided),
        };
        Err(Refusal::permanent("sql.invalid", wrong))
    }

    /// A new session, once its connection is there.
    pub(super) async fn session(&self, transaction: bool, writes: bool) -> Result<Line, Refusal> {
        let shared = &self.attempt.shared;
        let permit = self.attempt.permit(&self.database).await?;
        // The connection may have been waited for, and a link been moved meanwhile.
        shared.databases.is_strange(&self.database)?;
        let (mut line, session) = Line::new(Order {
            allowed: self.allowed.clone(),
            limits: shared.limits.clone(),
            time: self.database.time(),
            transaction,
            writes,
            permit,
        });
        self.database.target.spawn(session, &shared.runtime);
        line.opened().await?;
        Ok(line)
    }

    /// SQLite has one place for a writer, and the attempt's own transaction sits on it.
    fn is_lockable(&self, changes: bool) -> Result<(), Refusal> {
        let mine = self.attempt.in_transaction().as_ref() == Some(&self.database.name);
        let writes = self.allowed.mode == SqlMode::ReadWrite;
        if changes && mine && writes && self.allowed.dialect == Dialect::Sqlite {
            return Err(Refusal::permanent(
                "sql.invalid",
                "this task's open transaction holds the database's only lock for changes; use the transaction",
            ));
        }
        Ok(())
    }

    /// A denial also says what would have been allowed, and which lines would allow this.
    pub(super) fn explained(&self, refusal: Refusal, statement: &str) -> Refusal {
        if refusal.code == "sql.denied" {
            self.attempt
                .denied(lesson::denied(self, refusal, statement))
        } else {
            refusal
        }
    }

    /// Writes down how a change went.
    pub(super) fn settle_counts(
        mut record: CallRecord,
        result: Result<Vec<u64>, Refusal>,
    ) -> Result<Vec<u64>, Refusal> {
        match &result {
            Ok(counts) => {
                let rows = counts.iter().copied().fold(0, u64::saturating_add);
                record.outcome(format!("ok, {rows} rows"));
            }
            Err(refusal) => record.outcome(refusal.code.as_str()),
        }
        result
    }
}
