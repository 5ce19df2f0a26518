//! Modules: a changed file is read, compiled off the loop, kept in the store, and only then live.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::Reload;
use super::files::ModuleFile;
use super::scan::{self, Found, ReadError};
use super::watch;
use crate::catalog::{LiveModule, ProblemKind};
use crate::id::{Digest, ModuleName};
use crate::sandbox::module::{ModuleProblem, PreparedModule};
use crate::store::rows::ModuleRow;
use crate::workflow::environment::ModuleFacts;

/// A module whose compilation ended.
pub(super) struct Prepared {
    name: String,
    bytes: Arc<[u8]>,
    result: Result<Arc<PreparedModule>, ModuleProblem>,
}

impl Reload {
    pub(super) fn module_path(&self, name: &str) -> Arc<str> {
        format!("tasks/{name}").into()
    }

    /// Looks at `tasks/`; answers the modules that went away.
    pub(super) async fn scan_modules(
        &mut self,
        writing: &BTreeSet<PathBuf>,
    ) -> BTreeSet<ModuleName> {
        let folder = self.parts.tasks.clone();
        let watched = watch::absolute(&folder);
        let found = tokio::task::spawn_blocking(move || scan::folder(&folder, "wasm")).await;
        let label: Arc<str> = "tasks".into();
        let found = match found.map_err(std::io::Error::other).and_then(|found| found) {
            Ok(found) => found,
            Err(error) => {
                // Nothing is known of the files, so nothing is taken away.
                self.problem(
                    &label,
                    ProblemKind::Unreachable(format!("cannot be listed: {error}")),
                    None,
                );
                return BTreeSet::new();
            }
        };
        self.no_problem(&label);
        let now = self.parts.clock.now();
        let mut gone = BTreeSet::new();
        for (name, file) in &mut self.modules {
            if found.contains_key(name) {
                file.vanished_at = None;
            } else {
                file.found = None;
                file.digest = None;
                let since = *file.vanished_at.get_or_insert(now);
                if now.since(since) >= self.parts.removal_grace {
                    gone.insert(name.clone());
                }
            }
        }
        for (name, state) in found {
            let known = self
                .modules
                .entry(name.clone())
                .or_insert_with(ModuleFile::new);
            if known.found.as_ref() != Some(&state) && !writing.contains(&watched.join(&name)) {
                self.module_changed(name, state).await;
            }
        }
        gone.iter()
            .filter_map(|name| self.module_gone(name))
            .collect()
    }

    fn module_gone(&mut self, name: &str) -> Option<ModuleName> {
        self.modules.remove(name);
        self.no_problem(&self.module_path(name));
        let module = module_name(name)?;
        tracing::info!(%module, "the module's file is gone");
        self.draft.modules.remove(module.as_str()).map(|_| module)
    }

    async fn module_changed(&mut self, name: String, state: Found) {
        let path = self.module_path(&name);
        let live = self
            .modules
            .get(&name)
            .and_then(|file| file.facts.as_ref())
            .map(|facts| facts.digest);
        if module_name(&name).is_none() {
            let why = "a module's file name is a lower-case letter, then letters, digits, '-' and '_', then `.wasm`";
            self.module_refused(&name, state, why.to_owned(), live);
            return;
        }
        let stamp = match state {
            Found::File(stamp) => stamp,
            Found::Refused(ref why) => {
                let why = why.clone();
                self.module_refused(&name, state, why, live);
                return;
            }
        };
        let (folder, file, limit) = (
            self.parts.tasks.clone(),
            name.clone(),
            self.parts.module_bytes_max,
        );
        let read =
            tokio::task::spawn_blocking(move || scan::read(&folder, &file, stamp, limit)).await;
        let bytes: Arc<[u8]> = match read {
            Ok(Ok(bytes)) => bytes.into(),
            Ok(Err(ReadError::Unsettled)) => {
                self.retry_soon();
                return;
            }
            Ok(Err(error)) => return self.module_refused(&name, state, error.to_string(), live),
            Err(error) => return self.module_refused(&name, state, error.to_string(), live),
        };
        let digest = Digest::of(&bytes);
        let Some(file) = self.modules.get_mut(&name) else {
            return;
        };
        file.found = Some(state);
        file.digest = Some(digest);
        file.read = Some(digest);
        if live == Some(digest) {
            self.no_problem(&path);
            return;
        }
        self.problem(&path, ProblemKind::Compiling, live);
        let (sandbox, done) = (Arc::clone(&self.parts.sandbox), self.prepared.0.clone());
        tokio::spawn(async move {
            let result = sandbox.prepare(Arc::clone(&bytes)).await;
            // The loop that waits for it is gone only when the daemon stops.
            let _ = done
                .send(Prepared {
                    name,
                    bytes,
                    result,
                })
                .await;
        });
    }

    fn module_refused(&mut self, name: &str, state: Found, why: String, live: Option<Digest>) {
        self.not_wanted(name);
        if let Some(file) = self.modules.get_mut(name) {
            file.found = Some(state);
        }
        let path = self.module_path(name);
        self.problem(&path, ProblemKind::Refused(why), live);
    }

    /// What stands in the file could not be dealt with, for a reason that is not in it: it is tried again.
    fn module_later(&mut self, name: &str, why: String, live: Option<Digest>) {
        let path = self.module_path(name);
        self.problem(&path, ProblemKind::Unreachable(why), live);
        self.not_wanted(name);
        // Forgetting the stamp makes the next look read it again.
        if let Some(file) = self.modules.get_mut(name) {
            file.found = None;
        }
        self.retry_soon();
    }

    /// What stands in the file does not become live: nobody waits for it any longer, and workflows
    /// that need it say so instead of "compiling".
    fn not_wanted(&mut self, name: &str) {
        if let Some(file) = self.modules.get_mut(name) {
            file.digest = None;
        }
    }

    /// A compilation ended: what it gave goes live unless the file has changed again since.
    pub(super) async fn module_prepared(&mut self, prepared: Prepared) {
        let Prepared {
            name,
            bytes,
            result,
        } = prepared;
        let digest = Digest::of(&bytes);
        let Some(file) = self
            .modules
            .get(&name)
            .filter(|file| file.digest == Some(digest))
        else {
            return;
        };
        let live = file.facts.as_ref().map(|facts| facts.digest);
        let path = self.module_path(&name);
        let (facts, description) = match result {
            Ok(prepared) => (facts(&prepared), Arc::clone(&prepared.description_json)),
            Err(problem @ ModuleProblem::Host(_)) => {
                self.module_later(&name, problem.to_string(), live);
                return;
            }
            Err(problem) => {
                self.not_wanted(&name);
                self.problem(&path, ProblemKind::Refused(problem.to_string()), live);
                return;
            }
        };
        let Some(module) = module_name(&name) else {
            return;
        };
        let now = self.parts.clock.now();
        let row = ModuleRow {
            digest,
            name: module.clone(),
            size_bytes: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
            description,
            imports: serde_json::json!(facts.imports).to_string(),
            created_at: now,
        };
        if let Err(error) = self.parts.store.put_module(&row, &bytes).await {
            self.module_later(&name, format!("cannot be kept: {error}"), live);
            return;
        }
        tracing::info!(%module, digest = digest.short(), "the module is live");
        self.no_problem(&path);
        let size_bytes = bytes.len() as u64;
        let live = LiveModule {
            name: module.clone(),
            digest,
            file: path,
            size_bytes,
            live_since: now,
        };
        self.draft.modules.insert(module.clone(), Arc::new(live));
        if let Some(file) = self.modules.get_mut(&name) {
            file.facts = Some(facts);
        }
        self.mark_users_stale(&module);
    }
}

/// The module that a file in `tasks/` holds, by its name.
pub fn module_name(file: &str) -> Option<ModuleName> {
    file.strip_suffix(".wasm")?.parse().ok()
}

/// What the compiler must know of a prepared module.
pub fn facts(prepared: &PreparedModule) -> ModuleFacts {
    ModuleFacts {
        digest: prepared.digest,
        description: prepared.description.clone(),
        imports: prepared.imports.clone(),
    }
}
