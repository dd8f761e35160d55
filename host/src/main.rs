//! The command `millstream`.

/// Counts allocations against the job's memory budget.
#[global_allocator]
static ALLOCATOR: millstream::memory::CountingAllocator = millstream::memory::CountingAllocator;

/// The environment variable with the stack size of new threads.
const THREAD_STACK: &str = "RUST_MIN_STACK";

/// Runs the command line and exits with its code.
pub fn main() -> std::process::ExitCode {
    let wanted = match millstream::memory::addresses::limit() {
        None => millstream::limits::THREAD_STACK_BYTES,
        Some(_) => millstream::limits::THREAD_STACK_BYTES_COMPACT,
    };
    let given = std::env::var(THREAD_STACK).ok().and_then(|bytes| bytes.parse::<u64>().ok());
    if given.is_none_or(|given| given < wanted) {
        // Plugins run on the stacks of worker threads, which timely starts without a stack size.
        // SAFETY: no other thread exists yet that could read or change the environment.
        unsafe { std::env::set_var(THREAD_STACK, wanted.to_string()) };
    }
    millstream::memory::keep_freed();
    millstream::cli::main()
}
