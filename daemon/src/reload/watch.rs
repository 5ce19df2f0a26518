//! File events as a hint that it is time to look. The scan is the truth; this only wakes it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

/// An editor's save is a burst of events; this quiet ends it.
const QUIET: Duration = Duration::from_millis(40);
/// Under a steady stream of events the scan still happens this often.
const BURST_MAX: Duration = Duration::from_millis(300);
/// A file that someone holds open for writing is given this long to be closed.
const WRITING_MAX: Duration = Duration::from_millis(600);
/// Events that wait; when it is full the scan happens anyway, so none is missed by dropping.
const WAITING_MAX: usize = 4_096;

/// Watches folders, and the folders that hold them (a folder may be a symlink that is swapped).
pub struct Watch {
    events: mpsc::Receiver<Event>,
    watcher: RecommendedWatcher,
    writing: BTreeSet<PathBuf>,
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
        let mut watch = Self {
            events,
            watcher,
            writing: BTreeSet::new(),
        };
        for folder in folders {
            watch.add(folder);
        }
        Ok(watch)
    }

    /// Watches a folder and its parent. A folder that cannot be watched is found by the scans.
    pub fn add(&mut self, folder: &Path) {
        for (path, mode) in [
            (Some(folder), RecursiveMode::Recursive),
            (folder.parent(), RecursiveMode::NonRecursive),
        ] {
            let Some(path) = path.filter(|path| path.is_dir()) else {
                continue;
            };
            if let Err(error) = self.watcher.watch(path, mode) {
                tracing::warn!(path = %path.display(), %error, "cannot be watched; changes are found by the periodic scan");
            }
        }
    }

    /// Whether a change is under way: what is read now may be half of it.
    pub fn busy(&self) -> bool {
        !self.writing.is_empty()
    }

    /// Returns when something changed and the change is over: quiet, and no file held open by a
    /// writer, each within bounds.
    pub async fn changed(&mut self) {
        // A wait that was given up midway goes on where it was.
        while !self.busy() {
            match self.events.recv().await {
                Some(event) if self.note(&event) => break,
                Some(_) => {}
                None => return std::future::pending().await,
            }
        }
        let began = Instant::now();
        loop {
            let spent = began.elapsed();
            let wait = if self.writing.is_empty() {
                QUIET.min(BURST_MAX.saturating_sub(spent))
            } else {
                WRITING_MAX.saturating_sub(spent)
            };
            match tokio::time::timeout(wait, self.events.recv()).await {
                Ok(Some(event)) => drop(self.note(&event)),
                Ok(None) | Err(_) => break,
            }
        }
        self.writing.clear();
    }

    /// Remembers who is writing; says whether the event can matter.
    fn note(&mut self, event: &Event) -> bool {
        match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                for path in &event.paths {
                    self.writing.remove(path);
                }
                true
            }
            EventKind::Modify(ModifyKind::Data(_)) => {
                self.writing.extend(event.paths.iter().cloned());
                true
            }
            EventKind::Create(CreateKind::File) => {
                // A link is announced as a file, and is whole at once: nobody will close it.
                let written = event.paths.iter().filter(|path| !path.is_symlink());
                self.writing.extend(written.cloned());
                true
            }
            EventKind::Modify(ModifyKind::Name(_)) | EventKind::Remove(_) => {
                // What has left this name is not written under it any more.
                for path in &event.paths {
                    self.writing.remove(path);
                }
                true
            }
            EventKind::Modify(_) | EventKind::Create(_) | EventKind::Any | EventKind::Other => true,
            EventKind::Access(_) => false,
        }
    }
}
