//! The address space of the process: what is mapped, used or not. Most processes have no limit. Some have one (`ulimit -v`, RLIMIT_AS), for example
//! those started by YARN and PySpark.

use std::fmt::{self, Display, Formatter};
use std::ptr;
use std::sync::OnceLock;

/// Returns the limit in bytes, if there is one.
#[must_use]
pub fn limit() -> Option<u64> {
    let mut now = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the call writes only to `now`.
    let succeeded = unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut now) } == 0;
    (succeeded && now.rlim_cur != libc::RLIM_INFINITY).then_some(now.rlim_cur)
}

/// Returns whether this process should map little memory: it has a limit, or it cannot map `wanted_bytes` although it has none. The latter happens
/// in containers that count what is mapped. Computed once, as all parts of a process must agree.
#[must_use]
pub fn are_few(wanted_bytes: usize) -> bool {
    static FEW: OnceLock<bool> = OnceLock::new();
    *FEW.get_or_init(|| limit().is_some() || !can_map(wanted_bytes))
}

fn can_map(bytes: usize) -> bool {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_NORESERVE;
    // SAFETY: the system chooses the address, so no existing mapping changes; the new mapping is not used, and is unmapped again.
    unsafe {
        let mapped = libc::mmap(ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0);
        if mapped == libc::MAP_FAILED {
            return false;
        }
        libc::munmap(mapped, bytes);
    }
    true
}

/// Advice for a failed mapping: a line for the end of an error; empty if there is no limit.
pub struct Advice(Option<u64>);

/// Returns the advice for this process.
#[must_use]
pub fn advice() -> Advice {
    Advice(limit())
}

impl Display for Advice {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(bytes) = self.0 else { return Ok(()) };
        write!(
            f,
            "\n  The address space of this process is limited to {} MiB (`ulimit -v`, RLIMIT_AS), which is too little. Raise that \
             limit, or let the job need less: fewer workers, lower `limits.memory` of its stages.",
            bytes >> 20
        )
    }
}
