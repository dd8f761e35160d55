//! `millstream compile-component`: the process that compiles one component. Millstream starts it by itself.

use crate::error::Result;
pub use crate::plugin::CompileArguments;
use std::process::ExitCode;

/// Compiles from standard input to standard output.
pub fn compile(arguments: &CompileArguments) -> Result<ExitCode> {
    crate::plugin::compile_component(arguments)
}
