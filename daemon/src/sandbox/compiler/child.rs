//! The compiling child: it gives up everything that it does not need, reads a module, and compiles it.
//!
//! It has no async runtime, no settings and no secrets. Its answer goes to the caller, which writes it out.

use std::alloc::Layout;
use std::fs;
use std::io::{self, Read as _};
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

use rustix::process::{
    Resource, Rlimit, Signal, getppid, nice, set_parent_process_death_signal, setrlimit,
};
use wasmtime::{Engine, OutOfMemory};

use crate::sandbox::machine;

/// The exit code with which the child says that the module is at fault; its output says why.
pub const REFUSED: i32 = 1;
/// The exit code with which the child says that it could not limit itself, and so read nothing.
pub const NOT_CONFINED: i32 = 3;
/// Whatever the daemon has to do comes first.
const NICENESS: i32 = 10;
/// Standard input, output and error are open already: nothing else can be opened, no file and no socket.
const DESCRIPTORS: u64 = 3;
/// Addresses that are reserved and hold nothing, which the limit on memory does not count: the program itself, and
/// a stack and an allocator's arena for each thread.
const ADDRESS_ALLOWANCE: u64 = 2 << 30;

/// What the child was told.
#[derive(Debug, Clone, Copy)]
pub struct Orders {
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// CPU time of all threads.
    pub cpu_seconds: u64,
    /// The process that started it.
    pub parent: u32,
}

/// Compiles the module on standard input; the inner error is the compiler's reason against it.
///
/// # Errors
/// When this process cannot be limited as ordered, or the module cannot be read.
pub fn compile(orders: &Orders) -> io::Result<Result<Vec<u8>, String>> {
    confine(orders)?;
    let mut module = Vec::new();
    io::stdin().lock().read_to_end(&mut module)?;
    let compiled =
        Engine::new(&machine::settings()).and_then(|engine| engine.precompile_component(&module));
    Ok(compiled.map_err(|error| {
        if let Some(error) = error.downcast_ref::<OutOfMemory>() {
            // Said like any other lack of memory, whoever noticed it.
            let layout = Layout::array::<u8>(error.requested_allocation_size());
            std::alloc::handle_alloc_error(layout.unwrap_or(Layout::new::<u8>()));
        }
        format!("{error:#}")
    }))
}

fn confine(orders: &Orders) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // A parent that died before that sends no signal.
    if getppid().map(|parent| parent.as_raw_pid().unsigned_abs()) != Some(orders.parent) {
        return Err(io::Error::other("the daemon is gone"));
    }
    rustix::thread::set_no_new_privs(true)?;
    close_inherited()?;
    nice(NICENESS)?;
    let cpu = orders.cpu_seconds;
    let addresses = orders.memory_bytes.saturating_add(ADDRESS_ALLOWANCE);
    for (resource, soft, hard) in [
        (Resource::Core, 0, 0),
        (Resource::Fsize, 0, 0),
        (Resource::Nofile, DESCRIPTORS, DESCRIPTORS),
        // The soft limit's signal says that it was this limit; the hard one kills.
        (Resource::Cpu, cpu, cpu.saturating_add(1)),
        (Resource::Data, orders.memory_bytes, orders.memory_bytes),
        (Resource::As, addresses, addresses),
    ] {
        // An operator's own lower limit stays: raising it is not allowed.
        let above = rustix::process::getrlimit(resource).maximum;
        let at_most = |limit: u64| Some(above.map_or(limit, |above| above.min(limit)));
        setrlimit(
            resource,
            Rlimit {
                current: at_most(soft),
                maximum: at_most(hard),
            },
        )?;
    }
    Ok(())
}

/// Closes what the daemon, or who started it, left open: only the three standard streams stay.
fn close_inherited() -> io::Result<()> {
    let open: Vec<RawFd> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .collect();
    // The listing's own descriptor is among them and closed by now.
    for number in open {
        if fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok() {
            close(number);
        }
    }
    Ok(())
}

#[allow(
    unsafe_code,
    reason = "a descriptor that came with the process has no owner in it to drop"
)]
fn close(number: RawFd) {
    // SAFETY: `from_raw_fd` demands an open descriptor that nobody else owns. It was open a moment ago, and this
    // process has one thread, which has opened nothing but the listing and closed it again.
    drop(unsafe { OwnedFd::from_raw_fd(number) });
}
