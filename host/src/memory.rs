//! The process's memory.

/// Batches are large buffers that come and go. The C library would return each to the kernel when it is freed, and have
/// the kernel zero its pages again for the next batch; so it is told to keep some. For a program to call first thing:
/// it is about the whole process, so the library does not do it by itself.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn keep_freed() {
    const MMAP_THRESHOLD_BYTES: libc::c_int = 32 << 20;
    const TRIM_THRESHOLD_BYTES: libc::c_int = 64 << 20;
    const TOP_PAD_BYTES: libc::c_int = 1 << 20;
    for (option, bytes) in [
        (libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES),
        (libc::M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES),
        (libc::M_TOP_PAD, TOP_PAD_BYTES),
    ] {
        // SAFETY: `mallopt` takes two numbers and is called before any other thread exists. A refusal costs speed only.
        unsafe { libc::mallopt(option, bytes) };
    }
}

/// Nothing to do: only glibc is known to need it.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn keep_freed() {}
