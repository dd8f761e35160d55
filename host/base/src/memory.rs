//! The process's memory: a budget for all of it, whoever asks for it.
//!
//! What counts is what the process has resident, as the system sees it: rows, state, buffers of libraries, memories of
//! plugins, and what the C library keeps of what was freed. [`CountingAllocator`], the program's allocator, and a thread look at it
//! so often that it cannot grow far unseen. Above most of the budget ([`tight`]) the job takes in less; above all of it
//! whatever asks ([`check`], [`ask`]) is told an error that ends the job; and where nothing asks in time, or that does
//! not help, the process ends ([`budget`]). So no single place where much may come together has to be known.
//!
//! The budget never decides about rows: how much of it is left is not the same when a batch runs again.

pub mod budget;
mod counted;
mod holders;
pub mod kept;
mod machine;
mod resident;
mod watch;

pub use crate::addresses;
pub use budget::{ask, batch_bytes_max, check, tight};
pub use counted::CountingAllocator;
pub use holders::{Holder, at_work};
pub use watch::{limit, on_this_machine, tell};

/// Batches are large buffers that come and go. The C library would return each to the kernel when it is freed, and have
/// the kernel zero its pages again for the next batch; so it is told to keep some. For a program to call first thing:
/// it is about the whole process, so the library does not do it by itself.
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
        // SAFETY: `mallopt` takes two numbers and is called before any other thread exists. A refusal costs speed only.
        unsafe { libc::mallopt(option, value) };
    }
    spare_addresses();
}

/// Where the address space of the process is limited, the C library is told to divide its memory among few arenas: each takes 64 MiB
/// of it, and there would be eight for each core.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn spare_addresses() {
    const ARENAS_MAX: libc::c_int = 2;
    if addresses::limit().is_some() {
        // SAFETY: `mallopt` takes two numbers, and a lock of the allocator. Arenas that there are stay.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS_MAX) };
    }
}

/// Nothing to do: only glibc is known to need it.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn spare_addresses() {}

/// Nothing to do: only glibc is known to need it.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn keep_freed() {}

/// Gives back to the system what was freed and kept.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn give_back() {
    // SAFETY: it takes a number, and locks of the allocator only.
    unsafe { libc::malloc_trim(0) };
}

/// Only glibc is told to keep anything.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back() {}
