//! SQLite as a target: the only home of rusqlite, for its authorizer, limits and interrupt.
//!
//! A session has a connection and a blocking thread of its own, so that nothing a guest did can be
//! left behind in a pool. One that reads is read-only three times: by its flags, by `query_only`, and
//! by an authorizer that knows the grant. What a statement may be was decided in `policy`; the
//! authorizer does not rely on that.

mod connection;
mod guard;
#[cfg(test)]
mod tests;
mod value;
mod watch;

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, Statement};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::policy::Decided;
use super::session::{Command, Message, Portions, Session, Stop};
use super::{Column, SqlLimits, Value};
use crate::broker::error::Refusal;
use guard::Guard;
use value::{Kind, bind, size_of};
use watch::Watch;

/// Virtual-machine steps between two looks at the clock: some tens of microseconds.
const STEPS_BETWEEN_LOOKS: i32 = 1_000;

/// Runs a session on a thread of its own.
pub(super) fn spawn(session: Session, path: Arc<Path>, runtime: &Handle) {
    let handle = runtime.clone();
    runtime.spawn_blocking(move || run(session, &path, &handle));
}

/// A session's connection, guarded and in a transaction.
struct Worker<'a> {
    connection: Connection,
    guard: Arc<Guard>,
    watch: Arc<Watch>,
    stop: Arc<Stop>,
    limits: SqlLimits,
    transaction: bool,
    writes: bool,
    runtime: &'a Handle,
}

/// Whether a session has more to do.
enum Next {
    Command,
    Nothing,
}

/// Runs a session to its end. Blocks.
fn run(session: Session, path: &Path, runtime: &Handle) {
    let Session {
        opened,
        mut commands,
        permit,
        ..
    } = session;
    let watch = Arc::new(Watch::new(session.time));
    let begun = begin(
        path,
        &session.allowed,
        session.writes,
        &watch,
        &session.stop,
    );
    let told = match begun {
        Ok((connection, guard)) => {
            let worker = Worker {
                connection,
                guard,
                watch,
                stop: session.stop,
                limits: session.limits,
                transaction: session.transaction,
                writes: session.writes,
                runtime,
            };
            // A guest that gave up asks nothing more.
            if opened.send(Ok(())).is_ok() {
                worker.work(&mut commands);
            }
            // Closing the connection undoes what was not committed.
            Ok(())
        }
        Err(refusal) => opened.send(Err(refusal)),
    };
    // Nobody waits for the answer any more: then the guest is gone.
    drop(told);
    drop(permit);
}

fn begin(
    path: &Path,
    allowed: &super::policy::Allowed,
    writes: bool,
    watch: &Arc<Watch>,
    stop: &Arc<Stop>,
) -> Result<(Connection, Arc<Guard>), Refusal> {
    let connection = connection::open(path, writes)?;
    let interrupt = connection.get_interrupt_handle();
    stop.on_stop(Box::new(move || interrupt.interrupt()));
    let failed = |error: rusqlite::Error| watch.refusal(&error);
    look_up(&connection, watch, stop, None).map_err(failed)?;
    connection::begin(&connection, writes, watch, stop)?;
    let guard = Guard::new(&connection, allowed, writes).map_err(failed)?;
    guard.stand(&connection).map_err(failed)?;
    Ok((connection, guard))
}

/// Has every statement end that nobody waits for, or that takes too long.
fn look_up(
    connection: &Connection,
    watch: &Arc<Watch>,
    stop: &Arc<Stop>,
    rows: Option<mpsc::Sender<Message>>,
) -> rusqlite::Result<()> {
    let (watch, stop) = (watch.clone(), stop.clone());
    connection.progress_handler(
        STEPS_BETWEEN_LOOKS,
        Some(move || {
            stop.is_stopped()
                || watch.expired()
                || rows.as_ref().is_some_and(mpsc::Sender::is_closed)
        }),
    )
}

impl Worker<'_> {
    fn work(&self, commands: &mut mpsc::Receiver<Command>) {
        while let Some(command) = self.unless_stopped(commands.recv()).flatten() {
            self.watch.restart();
            if matches!(self.obey(command), Next::Nothing) {
                return;
            }
            // An interrupted change, `on conflict rollback`, a trigger, a full disk: SQLite itself
            // ended the transaction, and the next statement would stand alone.
            if self.connection.is_autocommit() {
                self.stop.because(Refusal::permanent(
                    "sql.closed",
                    "the database rolled the transaction back",
                ));
                self.stop.stop();
                return;
            }
        }
    }

    /// Waits for the guest's side, unless it gives the session up.
    fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.stop.stopped() => None,
                done = work => Some(done),
            }
        })
    }

    fn obey(&self, command: Command) -> Next {
        match command {
            Command::Query {
                decided,
                parameters,
                rows,
            } => self.answer(&decided, &parameters, rows),
            Command::Change {
                decided,
                batch,
                counts,
            } => {
                let done = self.changes(&decided, &batch);
                // Nobody counts any more if the guest is gone, and then the session is stopped too.
                let _ = counts.send(done);
            }
            Command::Commit { done } => {
                let _ = done.send(self.commit());
                return Next::Nothing;
            }
            Command::Rollback { done } => {
                let undone = self
                    .guard
                    .aside(|| self.connection.execute_batch("rollback"));
                let _ = done.send(undone.map_err(|error| self.watch.refusal(&error)));
                return Next::Nothing;
            }
        }
        if self.transaction {
            Next::Command
        } else {
            Next::Nothing
        }
    }

    fn commit(&self) -> Result<(), Refusal> {
        connection::commit(&self.connection, &self.guard, &self.watch, &self.stop)
    }

    /// Runs every part of a change, or none.
    fn changes(&self, decided: &Decided, batch: &[Vec<Value>]) -> Result<Vec<u64>, Refusal> {
        let all = || {
            let mut statement = self.prepare(decided)?;
            let mut counts = Vec::with_capacity(batch.len());
            for parameters in batch {
                bind(&mut statement, parameters, &self.watch)?;
                let changed = statement.raw_execute();
                let changed = changed.map_err(|error| self.watch.refusal(&error))?;
                counts.push(changed as u64);
            }
            Ok(counts)
        };
        if self.transaction {
            return connection::all_or_none(&self.connection, &self.guard, &self.watch, all);
        }
        let counts = all()?;
        self.commit()?;
        Ok(counts)
    }

    fn answer(&self, decided: &Decided, parameters: &[Value], rows: mpsc::Sender<Message>) {
        let watched = look_up(
            &self.connection,
            &self.watch,
            &self.stop,
            Some(rows.clone()),
        );
        let done = watched
            .map_err(|error| self.watch.refusal(&error))
            .and_then(|()| self.query(decided, parameters, &rows));
        if let Err(refusal) = done {
            // Nobody listens any more if the guest gave the rows up.
            self.unless_stopped(rows.send(Message::Failed(refusal)));
        }
        // The end of the rows is the end of the last sender, and the handler holds one.
        if let Err(error) = look_up(&self.connection, &self.watch, &self.stop, None) {
            tracing::error!(%error, "SQLite keeps no progress handler");
            self.stop.stop();
        }
    }

    fn query(
        &self,
        decided: &Decided,
        parameters: &[Value],
        rows: &mpsc::Sender<Message>,
    ) -> Result<(), Refusal> {
        let mut statement = self.prepare(decided)?;
        bind(&mut statement, parameters, &self.watch)?;
        let described = statement.columns();
        let kinds: Vec<Kind> = described
            .iter()
            .map(|column| Kind::of(column.decl_type()))
            .collect();
        let columns = described
            .iter()
            .map(|column| Column {
                name: column.name().to_owned(),
                type_name: column.decl_type().unwrap_or_default().to_owned(),
            })
            .collect();
        drop(described);
        let send = |message| {
            self.watch.pause();
            let sent = self.unless_stopped(rows.send(message));
            self.watch.go_on();
            matches!(sent, Some(Ok(())))
        };
        if statement.readonly() {
            let mut portions = Portions::streamed(&self.limits);
            if send(Message::Columns(columns)) {
                self.read(&mut statement, &kinds, &mut portions, Some(&send))?;
                portions.take().map(send);
            }
            return Ok(());
        }
        // What changes rows is done before the guest hears of it.
        let mut portions = Portions::returned(&self.limits);
        if self.transaction {
            connection::all_or_none(&self.connection, &self.guard, &self.watch, || {
                let read = self.read(&mut statement, &kinds, &mut portions, None);
                // A savepoint is not left while a statement stands in it.
                drop(statement);
                read
            })?;
        } else {
            self.read(&mut statement, &kinds, &mut portions, None)?;
            drop(statement);
            self.commit()?;
        }
        if send(Message::Columns(columns)) {
            portions.take().map(send);
        }
        Ok(())
    }

    /// Reads all rows; those that fill a portion are sent, if they are, until nobody takes them.
    fn read(
        &self,
        statement: &mut Statement<'_>,
        kinds: &[Kind],
        portions: &mut Portions,
        send: Option<&dyn Fn(Message) -> bool>,
    ) -> Result<(), Refusal> {
        let failed = |error: rusqlite::Error| self.watch.refusal(&error);
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().map_err(failed)? {
            let mut bytes = 0;
            for index in 0..kinds.len() {
                bytes += size_of(row.get_ref(index).map_err(failed)?);
            }
            portions.count(bytes)?;
            let mut values = Vec::with_capacity(kinds.len());
            for (index, kind) in kinds.iter().enumerate() {
                values.push(kind.value(row.get_ref(index).map_err(failed)?));
            }
            portions.add(values);
            if let (true, Some(send)) = (portions.is_full(), send) {
                let taken = portions.take().is_none_or(send);
                if !taken {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn prepare(&self, decided: &Decided) -> Result<Statement<'_>, Refusal> {
        self.guard.names(&decided.ctes);
        let prepared = self.connection.prepare(&decided.text);
        let statement = prepared.map_err(|error| match self.watch.refusal(&error) {
            // The general error: a column that is not there, a word that is not understood.
            general if general.code == "sql.1" => Refusal {
                code: "sql.invalid".to_owned(),
                ..general
            },
            specific => specific,
        })?;
        let may_change = decided.changes && self.writes;
        if !statement.readonly() && !may_change {
            return Err(Refusal::permanent(
                "sql.denied",
                "only a query can be run here",
            ));
        }
        Ok(statement)
    }
}
