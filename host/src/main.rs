//! The command `millstream`.

/// Batches are large buffers that come and go. This allocator keeps their pages, where the system's gives them back
/// to the kernel after every batch and has them zeroed again for the next.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    millstream::cli::main()
}
