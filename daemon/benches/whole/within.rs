//! The daemon in this very process, asked without a socket: runs started as fast as the engine takes them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use flowweaver::config;
use flowweaver::daemon::{Daemon, Extent};

use super::caller::Caller;
use super::figures::Row;
use super::{CROWD, WARM_UP, crowd_of, flows};

/// How long another daemon may still have the folder.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tasks a second with so many runs of W1 at a time, over the folder that a served daemon has left: its compiled
/// modules are there.
pub fn crowd(folder: &Path, at_once: usize) -> Row {
    // The runtime that the command has.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let tasks = runtime.block_on(async {
        let loaded = config::load(Some(&folder.join("flowweaver.toml")), BTreeMap::new()).unwrap();
        let lock = Daemon::lock(&loaded.settings, PATIENCE).await.unwrap();
        let daemon = Daemon::start(loaded.settings, loaded.environment, lock, Extent::Whole);
        let daemon = daemon.await.unwrap();
        daemon.settled().await;
        let callers = || (0..at_once).map(|_| Caller::Within(daemon.api())).collect();
        crowd_of(callers(), WARM_UP).await;
        let (spread, took) = crowd_of(callers(), CROWD / 2).await;
        daemon.stop().await;
        spread.count() as f64 * flows::W1_TASKS / took.as_secs_f64()
    });
    Row::number(
        match at_once {
            32 => "tasks a second, 32 runs of W1 at once, in process",
            _ => "tasks a second, 256 runs of W1 at once, in process",
        },
        tasks,
    )
}
