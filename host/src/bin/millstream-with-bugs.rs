//! The same program, built with bugs that the kill loop injects to verify that it would find them.

#[path = "../main.rs"]
mod program;

fn main() -> std::process::ExitCode {
    program::main()
}
