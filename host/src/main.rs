//! The command `millstream`.

fn main() -> std::process::ExitCode {
    keep_freed_memory();
    millstream::cli::main()
}

/// Batches are large buffers that come and go. The C library would return each to the kernel when it is freed, and have
/// the kernel zero its pages again for the next batch; so it is told to keep some.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn keep_freed_memory() {
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

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn keep_freed_memory() {}
