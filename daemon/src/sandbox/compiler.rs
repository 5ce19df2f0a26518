//! The compiler, in processes of its own: a module's bytes go in, its code comes out, or why there is none.
//!
//! A module is written by strangers and the compiler is the largest program that reads it. So it works in a child
//! that the kernel holds to limits, at low priority, with an empty environment and no files; a module that makes it
//! eat memory, spin or crash costs that child and nothing else. What the child does is in [`child`].

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::module::ModuleProblem;
use crate::units::{Size, Span};

pub mod child;

/// The hidden subcommand of the daemon's own program.
pub const COMMAND: &str = "compile-module";
/// Children at once: a second keeps a slow module from holding up all others; each may take the whole memory limit.
const CHILDREN_MAX: usize = 2;
/// The compiler works on a module's functions in parallel. More threads than this gain little and reserve stacks.
const THREADS_MAX: usize = 8;
/// A child of low priority on a busy machine gets a fraction of a core; one that waits for nothing gets no more.
const WALL_CLOCK_FACTOR: u32 = 4;
/// The sample modules' code has two and a half times their bytes, and this is four times the largest module that the
/// default settings admit. The daemon holds it while it is checked and written.
pub(super) const CODE_BYTES_MAX: usize = 256 << 20;
/// Why a module is refused is a sentence; names in it may be as long as a stranger wants.
const COMPLAINT_BYTES_MAX: usize = 8 << 10;
/// What the kernel's CPU limit counts in.
const CPU_UNIT: Duration = Duration::from_secs(1);

/// What a compilation may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// CPU time of all its threads; counted in whole seconds, at least one. It may take four times as long by the clock.
    pub time: Duration,
    /// Memory, in bytes.
    pub memory_bytes: u64,
}

impl Default for CompileLimits {
    /// A sample module of 460 KiB takes 1.6 s of CPU time and 47 MiB in a debug build; an interpreter has fifty times its bytes.
    fn default() -> Self {
        Self {
            time: Duration::from_secs(120),
            memory_bytes: 2 << 30,
        }
    }
}

/// Starts children and judges what they say.
pub(super) struct Compiler {
    program: PathBuf,
    limits: CompileLimits,
    threads: usize,
    turns: Semaphore,
}

/// How a child ended.
struct Ending {
    status: ExitStatus,
    output: Vec<u8>,
    complaint: Vec<u8>,
}

impl Compiler {
    /// `program` is the daemon's own, under whatever name it can be started.
    pub(super) fn new(program: PathBuf, limits: CompileLimits) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            program,
            limits: CompileLimits {
                time: limits.time.max(CPU_UNIT),
                ..limits
            },
            threads: cores.min(THREADS_MAX),
            turns: Semaphore::new(cores.min(CHILDREN_MAX)),
        }
    }

    /// The right to run one child, until it is dropped.
    pub(super) async fn turn(&self) -> Result<SemaphorePermit<'_>, ModuleProblem> {
        self.turns.acquire().await.map_err(host)
    }

    /// The module's code. The child is killed when this future is dropped; the thread that first polls it must
    /// stay alive until then, because a child also dies with the thread that started it.
    pub(super) async fn compile(&self, module: Arc<[u8]>) -> Result<Vec<u8>, ModuleProblem> {
        let mut child = self.start().map_err(host)?;
        let wall_clock = self.limits.time.saturating_mul(WALL_CLOCK_FACTOR);
        let Ok(ending) = tokio::time::timeout(wall_clock, converse(&mut child, &module)).await
        else {
            child.kill().await.map_err(host)?;
            return Err(self.too_slow(wall_clock, "by the clock, although it had CPU time left"));
        };
        let ending = ending.map_err(host)?;
        if ending.output.len() > CODE_BYTES_MAX {
            return Err(ModuleProblem::CompileLimit(format!(
                "its code has more than {}",
                Size(CODE_BYTES_MAX as u64)
            )));
        }
        self.verdict(ending)
    }

    fn start(&self) -> std::io::Result<Child> {
        Command::new(&self.program)
            .arg(COMMAND)
            .arg(format!("--memory={}", self.limits.memory_bytes))
            .arg(format!("--cpu-seconds={}", self.cpu_seconds()))
            .arg(format!("--parent={}", std::process::id()))
            // Nothing of the daemon's environment, where secrets may be. The compiler's thread pool reads this one.
            .env_clear()
            .env("RAYON_NUM_THREADS", self.threads.to_string())
            .current_dir("/")
            // Ctrl-C at a terminal is for the daemon, which decides what becomes of its children.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }

    fn cpu_seconds(&self) -> u64 {
        self.limits
            .time
            .as_millis()
            .div_ceil(CPU_UNIT.as_millis())
            .try_into()
            .unwrap_or(u64::MAX)
    }

    /// What an ending means. Whatever is not known to be a limit is said as it was seen.
    fn verdict(&self, ending: Ending) -> Result<Vec<u8>, ModuleProblem> {
        let Ending {
            status,
            output,
            complaint,
        } = ending;
        if status.success() {
            return Ok(output);
        }
        if status.code() == Some(child::REFUSED) {
            return Err(ModuleProblem::Invalid(text(&output)));
        }
        let complaint = text(&complaint);
        if status.code() == Some(child::NOT_CONFINED) {
            return Err(host(complaint));
        }
        if status.signal() == Some(Signal::XCPU.as_raw()) {
            return Err(self.too_slow(self.limits.time, "of CPU time"));
        }
        if complaint.contains(OUT_OF_MEMORY) {
            return Err(ModuleProblem::CompileLimit(format!(
                "it needs more than {} of memory (`[limits] compile_memory`)",
                Size(self.limits.memory_bytes)
            )));
        }
        Err(ModuleProblem::CompilerFailed(if complaint.is_empty() {
            status.to_string()
        } else {
            format!("{status}: {complaint}")
        }))
    }

    fn too_slow(&self, after: Duration, of_what: &str) -> ModuleProblem {
        ModuleProblem::CompileLimit(format!(
            "it takes more than {} {of_what} (`[limits] compile_time = \"{}\"`)",
            Span(after),
            Span(self.limits.time)
        ))
    }
}

/// How Rust's standard library reports, on the way to an abort, that there is no more memory.
const OUT_OF_MEMORY: &str = "memory allocation of ";

/// Hands the child its module and hears it to its end.
async fn converse(child: &mut Child, module: &[u8]) -> std::io::Result<Ending> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (fed, output, complaint) = tokio::join!(
        feed(stdin, module),
        read(stdout, CODE_BYTES_MAX),
        read(stderr, COMPLAINT_BYTES_MAX),
    );
    let status = child.wait().await?;
    match fed {
        // It did not want to hear more; its status says why.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error),
        _ => {}
    }
    Ok(Ending {
        status,
        output: output?,
        complaint: complaint?,
    })
}

/// The end of the pipe is the end of the module.
async fn feed(pipe: Option<ChildStdin>, module: &[u8]) -> std::io::Result<()> {
    if let Some(mut pipe) = pipe {
        pipe.write_all(module).await?;
    }
    Ok(())
}

/// At most one byte more than `max`; who writes on finds the pipe closed.
async fn read(pipe: Option<impl AsyncRead + Unpin>, max: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(max as u64 + 1).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

fn text(bytes: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(bytes).trim().to_owned();
    text.truncate(text.floor_char_boundary(COMPLAINT_BYTES_MAX));
    text
}

fn host(why: impl std::fmt::Display) -> ModuleProblem {
    ModuleProblem::Host(format!("the compiler's process: {why}"))
}
