//! The thread that commits: it owns a connection and takes one batch after another.
//!
//! Each batch is one journey from the runtime to this thread and back, whatever it holds. All other
//! writes go through `writer`; a turn, which both take, keeps the two connections from waiting for each
//! other inside SQLite, where waiting is sleeping.

use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use super::commit::{STATEMENTS, commit};
use super::dialect::fault_of;
use super::{BUSY_TIMEOUT, PRAGMAS, WRITER_CACHE};
use crate::store::commit::Fault;
use crate::store::rows::Transition;
use crate::store::{CommitOutcome, Durability, StoreError};

/// Who writes now. Held until the transaction has ended, also when its caller has gone away.
pub(super) type Turn = Arc<Mutex<()>>;

type Answer = Result<Vec<CommitOutcome>, StoreError>;

struct Job {
    batch: Arc<[Transition]>,
    turn: OwnedMutexGuard<()>,
    reply: oneshot::Sender<Answer>,
}

/// The way to the thread; clones share it. It ends when the last one is dropped.
#[derive(Debug, Clone)]
pub(super) struct Committer {
    jobs: mpsc::Sender<Job>,
    turn: Turn,
}

impl Committer {
    /// Starts the thread for a file that exists and has its tables.
    pub(super) fn start(
        path: PathBuf,
        durability: Durability,
        turn: Turn,
    ) -> Result<Self, StoreError> {
        let (jobs, line) = mpsc::channel();
        std::thread::Builder::new()
            .name("store-commit".into())
            .spawn(move || serve(&path, durability, &line))
            .map_err(|e| StoreError::Unavailable(format!("the store's thread: {e}")))?;
        Ok(Self { jobs, turn })
    }

    /// Commits the batch in one transaction. It goes on if the caller goes away.
    pub(super) async fn commit(&self, batch: Arc<[Transition]>) -> Answer {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let (reply, answer) = oneshot::channel();
        let gone = || StoreError::Unavailable("the store's thread has ended".into());
        self.jobs
            .send(Job { batch, turn, reply })
            .map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

fn serve(path: &std::path::Path, durability: Durability, line: &mpsc::Receiver<Job>) {
    // Opened before it is needed; an error is the first caller's, who tries again.
    let mut open = connect(path, durability).ok();
    while let Ok(Job { batch, turn, reply }) = line.recv() {
        let result = match open.take().map_or_else(|| connect(path, durability), Ok) {
            Ok(connection) => {
                let result = commit(&connection, &batch);
                // After an answer was lost the connection is closed and opened anew, which makes SQLite
                // recover from the file.
                if !result.as_ref().is_err_and(Fault::spoils_connection) {
                    open = Some(connection);
                }
                result
            }
            Err(fault) => Err(fault),
        };
        drop(turn);
        // Nobody listens any more if the caller was dropped; the work counts all the same.
        drop(reply.send(result.map_err(StoreError::from)));
    }
}

fn connect(path: &std::path::Path, durability: Durability) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(fault_of)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(fault_of)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    let synchronous = match durability {
        Durability::Full => "full",
        Durability::Normal => "normal",
    };
    let own = [("synchronous", synchronous), ("cache_size", WRITER_CACHE)];
    for (name, value) in PRAGMAS.iter().copied().chain(own) {
        let set = connection.pragma_update(None, name, value);
        set.map_err(fault_of)?;
    }
    Ok(connection)
}
