//! `millstream compile-component`: the process that compiles one component. Millstream starts it automatically.

use millstream_base::error::Result;
pub use millstream_plugins::plugin::CompileArguments;
use std::process::ExitCode;

/// Compiles from standard input to standard output.
pub fn compile(arguments: &CompileArguments) -> Result<ExitCode> {
    millstream_plugins::plugin::compile_component(arguments)
}
