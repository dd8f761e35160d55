//! Resource limits of a child process. It sets them for itself before it reads untrusted bytes.

use std::io;
use std::thread;

/// Most that it may use.
pub struct Limits {
    /// How long the parent process waits for it.
    pub seconds: u64,
    /// Memory of its own.
    pub memory_bytes_max: u64,
    /// Open files and connections.
    pub files_max: u64,
}

/// From now on this process has a memory, a time and little else.
pub fn take_on(limits: &Limits) -> io::Result<()> {
    let Limits { seconds, memory_bytes_max, files_max } = *limits;
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    // The parent process enforces the deadline; this is the fallback.
    let processor_seconds = seconds.saturating_add(1).saturating_mul(cores);
    set(libc::RLIMIT_DATA, memory_bytes_max)?;
    set(libc::RLIMIT_CPU, processor_seconds)?;
    // No crash report, and no core file.
    set(libc::RLIMIT_CORE, 0)?;
    set(libc::RLIMIT_FSIZE, 0)?;
    set(libc::RLIMIT_NOFILE, files_max)?;
    signals_as_usual()
}

#[cfg(target_os = "linux")]
type Resource = libc::__rlimit_resource_t;
#[cfg(not(target_os = "linux"))]
type Resource = libc::c_int;

fn set(resource: Resource, most: u64) -> io::Result<()> {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call writes to `now` alone.
    check(unsafe { libc::getrlimit(resource, &mut now) })?;
    // At the end of its CPU time, a process receives a distinct signal; one second later it is killed with SIGKILL.
    let hard = if resource == libc::RLIMIT_CPU { most.saturating_add(1) } else { most };
    // What the user allows may be less already.
    let hard = now.rlim_max.min(hard);
    let wanted = libc::rlimit { rlim_cur: most.min(hard), rlim_max: hard };
    // SAFETY: `wanted` is valid for the call.
    check(unsafe { libc::setrlimit(resource, &wanted) })
}

/// The waiting process may have blocked signals for itself (a job does, to stop gracefully), and children inherit that. Safe between
/// `fork` and `exec`.
pub fn signals_as_usual() -> io::Result<()> {
    // SAFETY: all bytes zero are a valid `sigset_t`, the calls write to it alone, and the old set is not requested.
    check(unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &none, std::ptr::null_mut())
    })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// This process is killed when the thread that started it ends, which must be one of `parent`. Safe between `fork` and
/// `exec`.
pub fn die_with(parent: u32) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    // SAFETY: `prctl` takes numbers here.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
    // It may have died before the call above.
    match std::os::unix::process::parent_id() == parent {
        true => Ok(()),
        false => Err(io::Error::from_raw_os_error(libc::ESRCH)),
    }
}
