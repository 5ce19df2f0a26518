//! Databases behind a network: what a session does on any of them, once.
//!
//! `postgres` and `mariadb` know their protocol, their values and their errors. The order of things,
//! the time and the limits are here. A session runs in a task of its own that no guest can drop:
//! whatever happens, it ends with the connection clean or closed.

mod beside;
mod budget;
mod finding;
mod sink;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::policy::Decided;
use super::session::{Command, Session, Stop, TimeLimit};
use super::{SqlLimits, Value};
use crate::broker::error::Refusal;

pub(super) use beside::{Beside, Strange, connected};
pub(super) use budget::{Budget, Busy};
pub use finding::Finding;
pub(super) use sink::Sink;

/// How long a session waits for a connection: longer, and the attempt is better tried again later.
pub(super) const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long the server keeps a transaction, or rows under way, for a guest that does nothing. It
/// matters when the daemon itself is gone without a word; a guest's own end is told at once.
pub(super) const UNATTENDED_TIME: Duration = Duration::from_secs(600);
/// The server is given this much more than the statement's time to say itself that it is over.
pub(super) const GRACE: Duration = Duration::from_millis(500);
/// Columns of one result, as on SQLite.
pub(super) const COLUMNS_MAX: usize = 500;

/// What a session may do.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    /// Whether the transaction may change rows.
    pub(super) writes: bool,
    /// Compute time of one statement.
    pub(super) time: TimeLimit,
    /// Rows and bytes of one query.
    pub(super) limits: SqlLimits,
}

impl Terms {
    /// The word that ends a transaction which is to be durable. A session that reads has nothing to make durable, and
    /// what it changed against all rules (PostgreSQL's large objects, before version 16) goes away again.
    pub(super) fn commit(&self) -> &'static str {
        if self.writes { "commit" } else { "rollback" }
    }
}

/// Why a statement did not succeed, and what that means for the connection.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) refusal: Refusal,
    /// The server may still be at work, or its word is not understood: close the connection.
    pub(super) broken: bool,
}

impl Fault {
    pub(super) fn broken(refusal: Refusal) -> Self {
        Self {
            refusal,
            broken: true,
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            broken: false,
        }
    }
}

/// One connection inside a transaction, in the hands of one session.
pub(super) trait Link: Sized + Send {
    /// Where it comes from.
    type Server: Send + Sync + 'static;

    /// Connects and begins a transaction.
    fn open(
        server: &Arc<Self::Server>,
        terms: &Terms,
    ) -> impl Future<Output = Result<Self, Refusal>> + Send;

    /// Runs a statement and hands its rows over, all but the last portion. Ends early, and well, when
    /// nobody reads them any more.
    fn query(
        &mut self,
        decided: &Decided,
        parameters: &[Value],
        sink: &mut Sink,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Runs a statement once for each list of parameters, all or none; answers the counts.
    fn change(
        &mut self,
        decided: &Decided,
        batch: &[Vec<Value>],
    ) -> impl Future<Output = Result<Vec<u64>, Fault>> + Send;

    /// Makes the changes durable.
    fn commit(&mut self) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Undoes them.
    fn rollback(&mut self) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Whether the server waits for the next statement.
    fn rests(&self) -> bool;

    /// Undoes what is not committed, and gives the connection back as it came, or closes it.
    fn release(self) -> impl Future<Output = ()> + Send;

    /// Ends whatever the server does for it, and closes it.
    fn abort(self) -> impl Future<Output = ()> + Send;
}

/// Has a session run.
pub(super) fn spawn<L: Link + 'static>(
    session: Session,
    server: &Arc<L::Server>,
    runtime: &Handle,
) {
    let server = server.clone();
    // Boxed: a session's state is some kilobytes, and most of the time it waits.
    runtime.spawn(Box::pin(serve::<L>(server, session)));
}

async fn serve<L: Link>(server: Arc<L::Server>, session: Session) {
    let Session {
        limits,
        time,
        transaction,
        writes,
        stop,
        opened,
        mut commands,
        permit,
        ..
    } = session;
    let terms = Terms {
        writes,
        time,
        limits,
    };
    let link = tokio::select! {
        biased;
        () = stop.stopped() => return,
        link = L::open(&server, &terms) => link,
    };
    // Whoever does not listen any more needs no answer, here and below.
    let mut link = match link {
        Ok(link) => {
            let _ = opened.send(Ok(()));
            link
        }
        Err(refusal) => {
            let _ = opened.send(Err(refusal));
            return;
        }
    };
    match obey(&mut link, &terms, transaction, &mut commands, &stop).await {
        End::Whole => link.release().await,
        End::Broken => link.abort().await,
    }
    drop(permit);
}

/// How a session left its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The server waits for the next statement.
    Whole,
    /// Nobody knows, or it is still at work.
    Broken,
}

async fn obey<L: Link>(
    link: &mut L,
    terms: &Terms,
    transaction: bool,
    commands: &mut mpsc::Receiver<Command>,
    stop: &Stop,
) -> End {
    loop {
        let command = tokio::select! {
            biased;
            () = stop.stopped() => None,
            command = commands.recv() => command,
        };
        // The end of the commands without a commit is a rollback; `release` sees to it.
        let Some(command) = command else {
            return End::Whole;
        };
        let end = tokio::select! {
            biased;
            () = stop.stopped() => None,
            end = one(link, terms, transaction, command) => Some(end),
        };
        match end {
            Some(None) => {}
            Some(Some(end)) => return end,
            None if link.rests() => return End::Whole,
            None => return End::Broken,
        }
    }
}

/// Obeys one command; answers how the session ends, if it does.
async fn one<L: Link>(
    link: &mut L,
    terms: &Terms,
    transaction: bool,
    command: Command,
) -> Option<End> {
    match command {
        Command::Query {
            decided,
            parameters,
            rows,
        } => {
            // A change is done and durable before its rows are read: reading them can take long, or never end.
            let mut sink = Sink::new(rows, &terms.limits, decided.changes);
            let mut outcome = link.query(&decided, &parameters, &mut sink).await;
            if outcome.is_ok() && decided.changes && !transaction {
                outcome = link.commit().await;
            }
            match outcome {
                Ok(()) => {
                    sink.finish().await;
                    None
                }
                Err(fault) => {
                    sink.fail(fault.refusal).await;
                    fault.broken.then_some(End::Broken)
                }
            }
        }
        Command::Change {
            decided,
            batch,
            counts,
        } => {
            let mut outcome = link.change(&decided, &batch).await;
            if outcome.is_ok() && !transaction {
                outcome = link.commit().await.and(outcome);
            }
            let broken = outcome.as_ref().is_err_and(|fault| fault.broken);
            let _ = counts.send(outcome.map_err(|fault| fault.refusal));
            broken.then_some(End::Broken)
        }
        Command::Commit { done } => Some(finished(link.commit().await, done)),
        Command::Rollback { done } => Some(finished(link.rollback().await, done)),
    }
}

fn finished(outcome: Result<(), Fault>, done: oneshot::Sender<Result<(), Refusal>>) -> End {
    let broken = outcome.as_ref().is_err_and(|fault| fault.broken);
    let _ = done.send(outcome.map_err(|fault| fault.refusal));
    if broken { End::Broken } else { End::Whole }
}

/// No connection, or none any more. What exactly is wrong stands in the daemon's own log: it names
/// the server.
pub(super) fn unreachable(name: &str) -> Refusal {
    Refusal::retryable(
        "sql.connect",
        format!("the database `{name}` cannot be reached now"),
    )
}

/// What a commit came to: what the server itself refused (a deferred constraint) is undone, and silence is no answer.
pub(super) fn committed(ended: Result<(), Fault>) -> Result<(), Fault> {
    ended.map_err(|fault| match fault.broken {
        true => Fault::broken(Refusal::permanent(
            "sql.unknown-outcome",
            "the connection was lost while committing: whether the changes are there is not known",
        )),
        false => fault,
    })
}

/// The guest gave another number of values than the statement takes.
pub(super) fn count_parameters(takes: usize, given: usize) -> Result<(), Refusal> {
    if takes == given {
        return Ok(());
    }
    Err(Refusal::permanent(
        "sql.invalid",
        format!("the statement takes {takes} parameters, and {given} were given"),
    ))
}

/// A value that a parameter of this type cannot take: what the database would say, said before it is asked.
pub(super) fn mismatch(position: usize, kind: &str, value: &str) -> Refusal {
    Refusal::permanent(
        "sql.42804",
        format!("parameter {position} is of type {kind}, which takes no {value}"),
    )
}

/// More columns than a result may have.
pub(super) fn count_columns(columns: usize) -> Result<(), Refusal> {
    if columns <= COLUMNS_MAX {
        return Ok(());
    }
    Err(Refusal::permanent(
        "limit.sql-bytes",
        format!("a result has at most {COLUMNS_MAX} columns"),
    ))
}
