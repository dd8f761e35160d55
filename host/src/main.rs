//! The command `millstream`.

fn main() -> std::process::ExitCode {
    millstream::memory::keep_freed();
    millstream::cli::main()
}
