//! The command `millstream`.

/// What the job asks for counts against its budget.
#[global_allocator]
static ALLOCATOR: millstream::memory::CountingAllocator = millstream::memory::CountingAllocator;

/// The variable that says how large the stacks of new threads are.
const THREAD_STACK: &str = "RUST_MIN_STACK";

/// Ends with what the command line says of it.
pub fn main() -> std::process::ExitCode {
    let wanted = match millstream::memory::addresses::limit() {
        None => millstream::limits::THREAD_STACK_BYTES,
        Some(_) => millstream::limits::THREAD_STACK_BYTES_COMPACT,
    };
    let given = std::env::var(THREAD_STACK).ok().and_then(|bytes| bytes.parse::<u64>().ok());
    if given.is_none_or(|given| given < wanted) {
        // Plugins run on the stacks of worker threads, which timely starts without saying how large they are.
        // SAFETY: no other thread exists yet that could read or change the environment.
        unsafe { std::env::set_var(THREAD_STACK, wanted.to_string()) };
    }
    millstream::memory::keep_freed();
    millstream::cli::main()
}
