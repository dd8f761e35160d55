//! The same program, built with the bugs that the kill loop plants in it to see that it would find them.

#[path = "../main.rs"]
mod program;

fn main() -> std::process::ExitCode {
    program::main()
}
