//! The memory budget of the process, for all of its memory, whoever allocates it.
//!
//! The resident memory counts, as the system reports it: rows, state, buffers of libraries, memories of plugins, and freed memory that the C library
//! keeps. [`CountingAllocator`], the program's allocator, and a thread check it so often that it cannot grow far unnoticed. Above most of the budget
//! ([`tight`]) the job takes in less. Above all of it, code that checks ([`check`], [`charge`]) gets an error that fails the job. If no code checks
//! in time, or that does not help, the process exits ([`budget`]). So no code that may collect much memory needs to be known.
//!
//! The budget never decides about rows: a replay of a batch may have another amount left.

pub mod budget;
mod counted;
mod holders;
pub mod unspillable;
mod machine;
mod resident;
mod watch;

pub use crate::addresses;
pub use budget::{batch_bytes_max, charge, check, tight};
pub use counted::CountingAllocator;
pub use holders::{Holder, mark_busy};
pub use watch::{limit, on_this_machine, set_limit_handler};

/// Makes the C library keep some freed memory. Batches are large, short-lived buffers. By default it would return each to the kernel when it is
/// freed, and the kernel would zero its pages again for the next batch. A program should call this first: it concerns the complete process, so the
/// library does not do it on its own.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn keep_freed() {
    const MMAP_THRESHOLD_BYTES: libc::c_int = 32 << 20;
    const TRIM_THRESHOLD_BYTES: libc::c_int = 64 << 20;
    const TOP_PAD_BYTES: libc::c_int = 1 << 20;
    for (option, value) in [
        (libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES),
        (libc::M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES),
        (libc::M_TOP_PAD, TOP_PAD_BYTES),
    ] {
        // SAFETY: `mallopt` takes two numbers and is called before any other thread exists. A failure only costs speed.
        unsafe { libc::mallopt(option, value) };
    }
    spare_addresses();
}

/// If the address space of the process is limited, makes the C library use few arenas: each takes 64 MiB of it, and there would be eight per core.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn spare_addresses() {
    const ARENAS_MAX: libc::c_int = 2;
    if addresses::limit().is_some() {
        // SAFETY: `mallopt` takes two numbers, and a lock of the allocator. Existing arenas stay.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS_MAX) };
    }
}

/// Does nothing: only glibc is known to need it.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn spare_addresses() {}

/// Does nothing: only glibc is known to need it.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn keep_freed() {}

/// Returns memory to the system that was freed and kept.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn give_back() {
    // SAFETY: it takes a number, and only locks of the allocator.
    unsafe { libc::malloc_trim(0) };
}

/// Does nothing: only glibc was configured to keep memory.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back() {}
