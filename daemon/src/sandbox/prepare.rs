//! The modules that are ready to run, by digest: from bytes to a checked, compiled, linked component.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre};
use wasmtime::error::Context as _;

use super::Sandbox;
use super::attempt::{Attempt, Call};
use super::compiled::{self, Compiled};
use super::compiler::Compiler;
use super::guest::Guest;
use super::machine::{Machine, Machines};
use super::meter::Meter;
use super::module::{self, ModuleProblem, PreparedModule};
use crate::bindings::TaskFullPre;
use crate::bindings::types::types::Error;
use crate::broker::identity::AttemptIdentity;
use crate::broker::journal::Journal;
use crate::clock::{Clock as _, SystemClock};
use crate::id::{Digest, OrganizationId, RunId};
use crate::workflow::grant::Grants;
use crate::workflow::model::TaskLimits;

/// `describe` prints a constant; an interpreter needs most of this to start.
const DESCRIBE_LIMITS: TaskLimits = TaskLimits {
    timeout: Duration::from_secs(10),
    cpu: Duration::from_millis(100),
    memory_bytes: 32 << 20,
    output_bytes: 256 << 10,
};

/// A module that can be instantiated.
pub(super) struct Module {
    prepared: Arc<PreparedModule>,
    component: Component,
    /// None where it does not fit into a slot of the pool.
    pooled: Option<TaskFullPre<Guest>>,
    /// Made when first needed.
    spare: OnceLock<TaskFullPre<Guest>>,
}

impl Module {
    fn load(machines: &Machines, prepared: PreparedModule, code: &[u8]) -> wasmtime::Result<Self> {
        let prepared = Arc::new(prepared);
        if let Some(machine) = &machines.pooled
            && let Ok(component) = compiled::load(&machine.engine, code)
        {
            return Ok(Self {
                pooled: Some(link(machine, &component)?),
                prepared,
                component,
                spare: OnceLock::new(),
            });
        }
        let component = compiled::load(&machines.spare.engine, code)?;
        Ok(Self {
            spare: OnceLock::from(link(&machines.spare, &component)?),
            prepared,
            component,
            pooled: None,
        })
    }

    /// What to instantiate, in the pool if it has a slot and the module fits.
    pub(super) fn instance_pre(
        &self,
        machines: &Machines,
        slot: bool,
    ) -> wasmtime::Result<TaskFullPre<Guest>> {
        if let (Some(pooled), true) = (&self.pooled, slot) {
            return Ok(pooled.clone());
        }
        if let Some(spare) = self.spare.get() {
            return Ok(spare.clone());
        }
        let component = compiled::load(&machines.spare.engine, &self.component.serialize()?)?;
        let pre = link(&machines.spare, &component)?;
        Ok(self.spare.get_or_init(|| pre).clone())
    }
}

fn link(machine: &Machine, component: &Component) -> wasmtime::Result<TaskFullPre<Guest>> {
    component.initialize_copy_on_write_image()?;
    let pre = machine.linker.instantiate_pre(component)?;
    check_entry(&pre)?;
    TaskFullPre::new(pre)
}

/// The generated code looks at the types of `run` and `describe` only in an instance; a module whose
/// types are wrong must not go live.
fn check_entry(pre: &InstancePre<Guest>) -> wasmtime::Result<()> {
    let instance = pre.instance_type();
    let (_, entry) = pre
        .component()
        .get_export(None, module::ENTRY)
        .context("no entry")?;
    for name in ["describe", "run"] {
        let Some((ComponentItem::ComponentFunc(function), _)) =
            pre.component().get_export(Some(&entry), name)
        else {
            wasmtime::bail!("`{}` has no function `{name}`", module::ENTRY);
        };
        match name {
            "describe" => function.typecheck::<(), (String,)>(&instance),
            _ => function.typecheck::<(&str,), (Result<String, Error>,)>(&instance),
        }
        .with_context(|| format!("`{name}` has another type"))?;
    }
    Ok(())
}

/// One preparation of a module and how it ended, for all who asked while it was under way.
type Preparation = OnceCell<Result<Arc<PreparedModule>, ModuleProblem>>;

/// All loaded modules.
pub(super) struct Modules {
    by_digest: RwLock<HashMap<Digest, Arc<Module>>>,
    /// Forgotten when the last who waits has its answer: a failure is not kept.
    under_way: Mutex<HashMap<Digest, Weak<Preparation>>>,
    pub(super) compiled: Compiled,
    compiler: Compiler,
    bytes_max: usize,
}

impl Modules {
    pub(super) fn new(compiled: Compiled, compiler: Compiler, bytes_max: usize) -> Self {
        Self {
            by_digest: RwLock::default(),
            under_way: Mutex::default(),
            compiled,
            compiler,
            bytes_max,
        }
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<Arc<Module>> {
        self.by_digest
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(digest)
            .cloned()
    }

    /// The preparation of a module that is under way, or a new one.
    fn preparation(&self, digest: Digest) -> Arc<Preparation> {
        let mut under_way = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = under_way.get(&digest).and_then(Weak::upgrade) {
            return known;
        }
        under_way.retain(|_, preparation| preparation.strong_count() > 0);
        let new = Arc::new(Preparation::new());
        under_way.insert(digest, Arc::downgrade(&new));
        new
    }

    fn insert(&self, module: Arc<Module>) -> Arc<PreparedModule> {
        let prepared = Arc::clone(&module.prepared);
        self.by_digest
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(prepared.digest, module);
        prepared
    }

    fn restore(&self, machines: &Machines, digest: &Digest) -> Option<Arc<PreparedModule>> {
        let (prepared, code) = self.compiled.read(machines.compiler(), digest)?;
        match Module::load(machines, prepared, &code) {
            Ok(module) => Some(self.insert(Arc::new(module))),
            Err(error) => {
                tracing::warn!(%digest, error = format!("{error:#}"), "compiled code does not load; it is compiled anew");
                None
            }
        }
    }
}

/// What can be said of a module without compiling it.
pub(super) struct Read {
    pub(super) prepared: PreparedModule,
    /// Whether the description has still to be asked for.
    undescribed: bool,
}

impl Read {
    pub(super) fn new(bytes: &[u8], digest: Digest) -> Result<Self, ModuleProblem> {
        let outline = module::outline(bytes)?;
        // A wrong description is reported before the work of compiling.
        let text = outline.description.as_deref().unwrap_or(r#"{"name":""}"#);
        Ok(Self {
            prepared: PreparedModule {
                digest,
                size_bytes: bytes.len() as u64,
                description: module::description(text)?,
                description_json: outline.description.as_deref().unwrap_or_default().into(),
                imports: outline.imports,
            },
            undescribed: outline.description.is_none(),
        })
    }
}

impl Sandbox {
    /// Makes a module runnable: from memory, from the folder of compiled code, or by compiling it in
    /// a process of its own. Nothing of it runs but `describe`, once, with no grants. Who asks for a module that is
    /// being prepared waits for that, and gets its outcome.
    ///
    /// # Errors
    /// When the bytes are not a module that can run.
    pub async fn prepare(&self, bytes: Arc<[u8]>) -> Result<Arc<PreparedModule>, ModuleProblem> {
        module::check_header(&bytes, self.modules.bytes_max)?;
        let digest = Digest::of(&bytes);
        if let Some(module) = self.modules.get(&digest) {
            return Ok(Arc::clone(&module.prepared));
        }
        let preparation = self.modules.preparation(digest);
        // Whoever is first does it; if it goes away, the next one begins anew.
        let outcome = preparation.get_or_init(|| self.prepare_now(bytes, digest));
        outcome.await.clone()
    }

    async fn prepare_now(
        &self,
        bytes: Arc<[u8]>,
        digest: Digest,
    ) -> Result<Arc<PreparedModule>, ModuleProblem> {
        if let Some(prepared) = self.restore(digest).await {
            return Ok(prepared);
        }
        let unread = Arc::clone(&bytes);
        let Read {
            prepared,
            undescribed,
        } = self.blocking(move || Read::new(&unread, digest)).await??;
        let _turn = self.modules.compiler.turn().await?;
        let code = self.compile(bytes).await?;
        let machines = Arc::clone(&self.machines);
        let (mut module, code) = self
            .blocking(move || Module::load(&machines, prepared, &code).map(|loaded| (loaded, code)))
            .await?
            .map_err(|error| ModuleProblem::Invalid(format!("{error:#}")))?;
        if undescribed {
            let module_arc = Arc::new(module);
            let text = self.describe(Arc::clone(&module_arc)).await?;
            module = Arc::into_inner(module_arc).ok_or_else(|| gone("the module is in use"))?;
            let mut prepared = (*module.prepared).clone();
            prepared.description = module::description(&text)?;
            prepared.description_json = text;
            module.prepared = Arc::new(prepared);
        }
        let (modules, machines) = (Arc::clone(&self.modules), Arc::clone(&self.machines));
        self.blocking(move || {
            if let Err(error) = modules.compiled.write(machines.compiler(), &module.prepared, &code) {
                tracing::warn!(%error, "compiled code could not be kept; it is compiled again after a restart");
            }
            modules.insert(Arc::new(module))
        })
        .await
    }

    /// Compiles in a child process. It is started from a thread of the guests' runtime, which live as long as the
    /// sandbox, and killed when the caller goes away.
    async fn compile(&self, bytes: Arc<[u8]>) -> Result<Vec<u8>, ModuleProblem> {
        let Some(runtime) = &self.runtime else {
            return Err(gone("the sandbox has stopped"));
        };
        let modules = Arc::clone(&self.modules);
        let child = runtime.spawn(async move { modules.compiler.compile(bytes).await });
        AbortOnDropHandle::new(child).await.map_err(gone)?
    }

    /// Makes a module runnable without its bytes, if its compiled code is kept; else none, and
    /// [`Sandbox::prepare`] is needed.
    pub async fn restore(&self, digest: Digest) -> Option<Arc<PreparedModule>> {
        if let Some(module) = self.modules.get(&digest) {
            return Some(Arc::clone(&module.prepared));
        }
        let (modules, machines) = (Arc::clone(&self.modules), Arc::clone(&self.machines));
        self.blocking(move || modules.restore(&machines, &digest))
            .await
            .ok()
            .flatten()
    }

    /// The modules that are in memory, ready to run.
    pub fn loaded(&self) -> HashSet<Digest> {
        let modules = self.modules.by_digest.read();
        let modules = modules.unwrap_or_else(PoisonError::into_inner);
        modules.keys().copied().collect()
    }

    /// Lets go of all modules but these. Attempts under way keep what they have, and compiled code stays on disk.
    pub fn unload_except(&self, keep: &HashSet<Digest>) {
        let modules = self.modules.by_digest.write();
        let mut modules = modules.unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<_> = modules
            .extract_if(|digest, _| !keep.contains(digest))
            .collect();
        drop(modules);
        // Returning their memory takes a while, in which nobody has to wait for the lock.
        drop(gone);
    }

    /// How often this process has put compiled code on disk: what grows there is worth a sweep.
    pub fn compiled(&self) -> u64 {
        self.modules.compiled.written()
    }

    /// Removes from disk the compiled code of modules that are neither among these nor in memory, and what was
    /// compiled for another engine. Answers how many files went.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub async fn sweep_except(&self, mut keep: HashSet<Digest>) -> std::io::Result<usize> {
        keep.extend(self.loaded());
        let (modules, machines) = (Arc::clone(&self.modules), Arc::clone(&self.machines));
        self.blocking(move || modules.compiled.sweep(machines.compiler(), &keep))
            .await
            .map_err(std::io::Error::other)?
    }

    async fn describe(&self, module: Arc<Module>) -> Result<Arc<str>, ModuleProblem> {
        let name = |_| gone("its own name is not one");
        let identity = AttemptIdentity {
            organization: OrganizationId::ROOT,
            run_id: RunId::generate(),
            workflow: "describe".parse().map_err(name)?,
            job: "describe".parse().map_err(name)?,
            task: "describe".parse().map_err(name)?,
            item_index: None,
            attempt: 1,
            trace_id: "0".repeat(32),
            idempotency_key: "0".repeat(64),
            scheduled_at: SystemClock.now(),
        };
        let report = self
            .run(Attempt {
                module,
                call: Call::Describe,
                identity: Arc::new(identity),
                grants: Arc::new(Grants::default()),
                limits: DESCRIBE_LIMITS,
                journal: Arc::new(Journal::default()),
                cancel: CancellationToken::new(),
                meter: Arc::new(Meter::new(DESCRIBE_LIMITS.cpu)),
            })
            .await;
        report
            .outcome
            .map_err(|failure| ModuleProblem::Describe(Box::new(failure)))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ModuleProblem> {
        let Some(runtime) = &self.runtime else {
            return Err(gone("the sandbox has stopped"));
        };
        runtime.spawn_blocking(work).await.map_err(gone)
    }
}

fn gone(why: impl std::fmt::Display) -> ModuleProblem {
    ModuleProblem::Host(why.to_string())
}
