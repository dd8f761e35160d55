//! The command `millstream`.

fn main() -> std::process::ExitCode {
    millstream::cli::main()
}
