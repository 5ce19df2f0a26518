//! The thread that commits: it owns a connection and takes one batch after another.
//!
//! Each batch is one journey from the runtime to this thread and back, whatever it holds; batches that came during
//! a transaction are the next one together. All other writes go through `writer`; a turn, which both take, keeps
//! the two connections from waiting for each other inside SQLite, where waiting is sleeping.

use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::{Mutex, oneshot};

use super::commit::Hand;
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
    reply: oneshot::Sender<Answer>,
}

/// The way to the thread; clones share it. It ends when the last one is dropped.
#[derive(Debug, Clone)]
pub(super) struct Committer {
    jobs: mpsc::Sender<Job>,
}

/// Transitions in one transaction, if it is made of several batches: keeps it in the tens of milliseconds.
const TOGETHER_MAX: usize = 512;

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
            .spawn(move || serve(&path, durability, &turn, &line))
            .map_err(|e| StoreError::Unavailable(format!("the store's thread: {e}")))?;
        Ok(Self { jobs })
    }

    /// Commits the batch in one transaction. It goes on if the caller goes away.
    pub(super) async fn commit(&self, batch: Arc<[Transition]>) -> Answer {
        let (reply, answer) = oneshot::channel();
        let gone = || StoreError::Unavailable("the store's thread has ended".into());
        self.jobs.send(Job { batch, reply }).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

fn serve(path: &std::path::Path, durability: Durability, turn: &Turn, line: &mpsc::Receiver<Job>) {
    let mut next = None;
    loop {
        // Opened before it is needed; an error is that of the caller who waits for it, and is tried again.
        match connect(path, durability).and_then(|db| work(&db, &mut next, turn, line)) {
            Ok(After::Over) => return,
            Ok(After::Spoiled) => {}
            Err(fault) => {
                if let Some(job) = next.take() {
                    answer(vec![job], Err(fault));
                }
                match line.recv() {
                    Ok(job) => next = Some(job),
                    Err(_) => return,
                }
            }
        }
    }
}

/// Why a connection serves no more.
enum After {
    /// Nobody is left who could ask.
    Over,
    /// An answer was lost. The connection is closed and opened anew, which makes SQLite recover from the file.
    Spoiled,
}

/// Commits with this connection, first what waits for it.
fn work(
    connection: &Connection,
    next: &mut Option<Job>,
    turn: &Turn,
    line: &mpsc::Receiver<Job>,
) -> Result<After, Fault> {
    let mut hand = Hand::new(connection)?;
    while let Some(first) = next.take().or_else(|| line.recv().ok()) {
        let turn = turn.blocking_lock();
        let mut together = first.batch.len();
        let mut jobs = vec![first];
        while together < TOGETHER_MAX
            && let Ok(job) = line.try_recv()
        {
            together += job.batch.len();
            jobs.push(job);
        }
        let result = hand.commit(
            &jobs
                .iter()
                .flat_map(|job| job.batch.iter())
                .collect::<Vec<_>>(),
        );
        drop(turn);
        let spoiled = result.as_ref().is_err_and(Fault::spoils_connection);
        answer(jobs, result);
        if spoiled {
            return Ok(After::Spoiled);
        }
    }
    Ok(After::Over)
}

/// To each its own part; of an error all have the same.
fn answer(jobs: Vec<Job>, result: Result<Vec<CommitOutcome>, Fault>) {
    let mut result = result.map_err(StoreError::from).map(Vec::into_iter);
    for Job { batch, reply } in jobs {
        let part = match &mut result {
            Ok(outcomes) => Ok(outcomes.by_ref().take(batch.len()).collect()),
            Err(error) => Err(error.clone()),
        };
        // Nobody listens any more if the caller was dropped; the work counts all the same.
        drop(reply.send(part));
    }
}

fn connect(path: &std::path::Path, durability: Durability) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(fault_of)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(fault_of)?;
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
