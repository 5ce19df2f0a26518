//! Writes other than steps of runs: an actor that owns a connection and runs one transaction after another.
//!
//! A caller that goes away leaves its transaction to finish here, so no connection is ever left
//! inside one. After an answer was lost the connection is closed and opened anew, which makes SQLite
//! recover from the file.

use futures_util::future::BoxFuture;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::committer::Turn;
use super::dialect::{BEGIN, COMMIT, ROLLBACK, fault, step};
use crate::store::StoreError;
use crate::store::commit::Fault;

/// Callers that may wait in line before others wait for a place. One writer serves thousands a
/// second; a longer line only hides that the disk has stopped.
const LINE: usize = 64;

/// What is left of the connection after a job.
enum After {
    Good,
    Doubtful,
}

type Job =
    Box<dyn for<'c> FnOnce(Result<&'c mut SqliteConnection, Fault>) -> BoxFuture<'c, After> + Send>;

/// The way to the actor; clones share it. It ends when the last one is dropped.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
    #[cfg(test)]
    file: std::path::PathBuf,
}

impl Writer {
    /// Starts the actor on the current runtime.
    pub(super) fn start(
        options: SqliteConnectOptions,
        connection: SqliteConnection,
        turn: Turn,
    ) -> Self {
        let (jobs, line) = mpsc::channel(LINE);
        #[cfg(test)]
        let file = options.get_filename().to_owned();
        tokio::spawn(serve(options, connection, line, turn));
        Self {
            jobs,
            #[cfg(test)]
            file,
        }
    }

    /// Runs `work` between `begin immediate` and `commit`.
    pub(super) async fn transaction<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, Fault>>
            + Send
            + 'static,
    {
        #[cfg(test)]
        let file = self.file.clone();
        self.run(move |connection| {
            Box::pin(async move {
                #[cfg(test)]
                super::failpoint::statement(&file)?;
                step(connection, BEGIN).await?;
                let mut result = work(&mut *connection).await;
                #[cfg(test)]
                if result.is_ok() {
                    result = super::failpoint::statement(&file).and(result);
                }
                if result.is_ok() {
                    match step(connection, COMMIT).await {
                        #[cfg(test)]
                        Ok(()) => {
                            super::failpoint::committed(&file)?;
                            return result;
                        }
                        #[cfg(not(test))]
                        Ok(()) => return result,
                        Err(fault) => result = Err(fault),
                    }
                }
                if !result.as_ref().is_err_and(Fault::spoils_connection) {
                    step(connection, ROLLBACK).await?;
                }
                result
            })
        })
        .await
    }

    /// Runs `work`, which opens and closes its own transactions.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, Fault>>
            + Send
            + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            Box::pin(async move {
                let result = match connection {
                    Ok(connection) => work(connection).await,
                    Err(fault) => Err(fault),
                };
                let after = if result.as_ref().is_err_and(Fault::spoils_connection) {
                    After::Doubtful
                } else {
                    After::Good
                };
                // Nobody listens any more if the caller was dropped; the work counts all the same.
                drop(reply.send(result.map_err(StoreError::from)));
                after
            })
        });
        let gone = || StoreError::Unavailable("the store's writer has ended".into());
        self.jobs.send(job).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

async fn serve(
    options: SqliteConnectOptions,
    connection: SqliteConnection,
    mut line: mpsc::Receiver<Job>,
    turn: Turn,
) {
    let mut open = Some(connection);
    while let Some(job) = line.recv().await {
        let _turn = turn.lock().await;
        if open.is_none() {
            match options.connect().await {
                Ok(connection) => open = Some(connection),
                Err(error) => {
                    job(Err(fault(error))).await;
                    continue;
                }
            }
        }
        if let Some(connection) = &mut open
            && let After::Doubtful = job(Ok(connection)).await
        {
            open = None;
        }
    }
}
