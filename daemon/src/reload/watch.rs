//! File events as a hint that it is time to look. The scan is the truth; this only wakes it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

/// An editor's save is a burst of events; this quiet ends it.
const QUIET: Duration = Duration::from_millis(40);
/// Under a steady stream of events the scan still happens this often.
const BURST_MAX: Duration = Duration::from_millis(300);
/// A file that someone writes is read once it is closed, or after this long without a word from a
/// writer that never closes it.
const WRITING_MAX: Duration = Duration::from_secs(5);
/// Events that wait; when it is full the scan happens anyway, so none is missed by dropping.
const WAITING_MAX: usize = 4_096;

/// Watches folders, and the folders that hold them (a folder may be a symlink that is swapped).
pub struct Watch {
    events: mpsc::Receiver<Event>,
    watcher: RecommendedWatcher,
    folders: Vec<PathBuf>,
    /// Files that were written and not yet closed, with the time of the last write.
    writing: BTreeMap<PathBuf, Instant>,
}

impl Watch {
    /// Starts watching.
    pub fn start(folders: &[&Path]) -> Result<Self, notify::Error> {
        let (sender, events) = mpsc::channel(WAITING_MAX);
        let watcher = notify::recommended_watcher(
            move |event: notify::Result<Event>| match event {
                // A full queue holds enough to wake the scan, which looks at everything.
                Ok(event) => drop(sender.try_send(event)),
                Err(error) => {
                    tracing::warn!(%error, "file events may have been lost; the next scan finds the changes")
                }
            },
        )?;
        let folders = folders.iter().map(|folder| absolute(folder)).collect();
        let mut watch = Self {
            events,
            watcher,
            folders,
            writing: BTreeMap::new(),
        };
        for folder in watch.folders.clone() {
            watch.add(&folder, RecursiveMode::Recursive);
            if let Some(parent) = folder.parent() {
                watch.add(parent, RecursiveMode::NonRecursive);
            }
        }
        Ok(watch)
    }

    /// Watches a folder. One that cannot be watched is found by the scans.
    fn add(&mut self, folder: &Path, mode: RecursiveMode) {
        if !folder.is_dir() {
            return;
        }
        if let Err(error) = self.watcher.watch(folder, mode) {
            tracing::warn!(path = %folder.display(), %error, "cannot be watched; changes are found by the periodic scan");
        }
    }

    /// The files that someone is writing: what is read of them now may be half of it.
    pub fn writing(&self) -> BTreeSet<PathBuf> {
        self.writing.keys().cloned().collect()
    }

    /// Returns when something changed and the burst of changes is over, or when a writer that never
    /// closed its file has been silent for long enough.
    pub async fn changed(&mut self) {
        loop {
            let oldest = self.writing.values().min().copied();
            let patience = oldest.map(|at| WRITING_MAX.saturating_sub(at.elapsed()));
            let event = match patience {
                Some(patience) => match tokio::time::timeout(patience, self.events.recv()).await {
                    Ok(event) => event,
                    Err(_) => {
                        self.writing.retain(|_, at| at.elapsed() < WRITING_MAX);
                        return;
                    }
                },
                None => self.events.recv().await,
            };
            match event {
                Some(event) if self.note(&event) => break,
                Some(_) => {}
                None => return std::future::pending().await,
            }
        }
        let last = Instant::now() + BURST_MAX;
        let mut quiet = Instant::now() + QUIET;
        loop {
            let wait = quiet.min(last).saturating_duration_since(Instant::now());
            match tokio::time::timeout(wait, self.events.recv()).await {
                Ok(Some(event)) if self.note(&event) => quiet = Instant::now() + QUIET,
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// Remembers who is writing; says whether there may be something new to read.
    fn note(&mut self, event: &Event) -> bool {
        let ours = |path: &PathBuf| self.folders.iter().any(|folder| path.starts_with(folder));
        if !event.paths.is_empty() && !event.paths.iter().any(ours) {
            // A neighbour of the folders changed.
            return false;
        }
        match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                for path in &event.paths {
                    self.writing.remove(path);
                }
                true
            }
            EventKind::Modify(ModifyKind::Data(_)) => {
                let now = Instant::now();
                self.writing
                    .extend(event.paths.iter().map(|path| (path.clone(), now)));
                false
            }
            // Times and modes are set while a file is still being written.
            EventKind::Modify(ModifyKind::Metadata(_)) => true,
            EventKind::Access(_) => false,
            _ => {
                for path in &event.paths {
                    self.writing.remove(path);
                    // The folder itself was made or swapped: what is in it now is watched anew.
                    if self.folders.contains(path) {
                        self.add(path, RecursiveMode::Recursive);
                    }
                }
                true
            }
        }
    }
}

/// The path as the watcher reports it: absolute, links as they are.
pub fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
