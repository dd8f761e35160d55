//! Compiles a component in a separate process, with limits on time and memory. A component that takes forever to compile is not a defect of
//! a compiler, so the compiler must be killable.
//!
//! The bytes go to `millstream compile-component` through its standard input, and the code returns through its standard output. Both
//! processes compute the cache's key, which shows whether they mean the same code.

mod functions;
mod order;

use super::cache::Cache;
use super::code_kind::CodeKind;
use super::engine;
use crate::child::{self, ProcessEnd, ProcessOutput, Program, Task};
use crate::limits::{COMPILE_MEMORY_BYTES_MAX, COMPILED_BYTES_MAX, FUNCTIONS_KEPT_BYTES_MAX, PLUGIN_MESSAGE_BYTES_MAX};
pub use functions::CompiledFunctions;
use millstream_base::error::Kind;
use millstream_base::memory::addresses;
use millstream_base::shown::printable;
pub use order::{CompileArguments, obey};
use order::{CompileOrder, EXIT_OTHER_CODE, EXIT_REFUSED, EXIT_USAGE};
use std::io;
use std::path::Path;
use std::sync::{Arc, Once};
use std::time::Duration;
use wasmtime::Engine;

/// Why compilation failed; the message follows the plugin's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileFailure {
    /// Who can fix it.
    pub kind: Kind,
    /// What happened and what to do.
    pub message: String,
    /// Whether the same would happen again with the same limits.
    pub permanent: bool,
}

impl CompileFailure {
    fn permanent(message: String) -> CompileFailure {
        CompileFailure { kind: Kind::Plugin, message, permanent: true }
    }

    fn transient(message: String) -> CompileFailure {
        CompileFailure { kind: Kind::Environment, message, permanent: false }
    }

    /// The code needs more than there is for any plugin, as instances within the component.
    pub fn unfit(cause: &str) -> CompileFailure {
        CompileFailure::permanent(format!("does not fit this host: {cause}\n  Make the plugin smaller."))
    }

    fn invalid(message: &str) -> CompileFailure {
        let message = format!("does not compile: {}\n  Build it again: `millstream build`.", message.trim_end());
        CompileFailure { kind: Kind::Plugin, message, permanent: false }
    }
}

/// Compiles a component: code for [`wasmtime::component::Component::deserialize`], which no longer depends on its author's
/// mercy. `key` is that of the cache; functions of a large runtime are kept there for the next component that has it.
pub fn compile(
    engine: &Engine,
    kind: CodeKind,
    cache: Option<&Cache>,
    key: &str,
    bytes: &[u8],
    time_max: Duration,
) -> Result<Vec<u8>, CompileFailure> {
    let Some(program) = Program::find() else {
        return compile_in_process(kind, bytes, "`millstream` is not next to it");
    };
    let runtime = cache.and_then(|cache| Some((cache, Cache::key(engine, &functions::runtime(bytes)?))));
    let kept = runtime.as_ref().map(|(cache, name)| cache.functions(name));
    let order = CompileOrder { kind, key: key.to_owned(), time_max, functions: kept.as_ref().map(Vec::len) };
    let input = kept.map(|kept| [kept.as_slice(), bytes].concat());
    let ended = run(&program.file, &order, input.as_deref().unwrap_or(bytes)).map_err(|e| {
        CompileFailure::transient(format!("cannot be compiled: {} does not start: {e}", program.file.display()))
    })?;
    match code(ended, time_max) {
        Err(CompileError::OtherCode) if Program::is_named() => Err(CompileFailure::transient(format!(
            "cannot be compiled: {} has another version; reinstall Millstream",
            program.file.display()
        ))),
        Err(CompileError::OtherCode) if !program.is_this => {
            compile_in_process(kind, bytes, &format!("{} has another version", program.file.display()))
        }
        Err(CompileError::OtherCode) => Err(CompileFailure {
            kind: Kind::Bug,
            message: "cannot be compiled: the compiler process produces another kind of code".into(),
            permanent: false,
        }),
        Err(CompileError::Failed(failure)) => Err(failure),
        Ok(output) => match runtime {
            Some((cache, name)) => {
                let (code, functions) = split_output(output);
                if !functions.is_empty() {
                    cache.keep_functions(&name, &functions);
                }
                Ok(code)
            }
            None => Ok(output),
        },
    }
}

/// Splits the output into the code and the functions after it.
fn split_output(mut output: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    let Some((length, _)) = output.split_first_chunk() else { return (output, Vec::new()) };
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    output.drain(..8);
    let functions = output.split_off(length.min(output.len()));
    (output, functions)
}

/// Why a compiled component has no code.
enum CompileError {
    /// The process would make code that this one cannot run.
    OtherCode,
    /// A failure with a message.
    Failed(CompileFailure),
}

fn code(ended: ProcessOutput, time_max: Duration) -> Result<Vec<u8>, CompileError> {
    let ProcessOutput { output: code, error_text, end } = ended;
    let too_long = || {
        CompileFailure::permanent(format!(
            "takes longer to compile than {time_max:?}\n  Raise `limits.compile` of the stage if the plugin is that \
             large; fix a component that never finishes compiling."
        ))
    };
    let too_much = || {
        if let Some(bytes) = addresses::limit().filter(|bytes| *bytes < COMPILE_MEMORY_BYTES_MAX) {
            let mib = bytes >> 20;
            return CompileFailure::transient(format!(
                "needs more address space to compile than {mib} MiB, the limit of this process (`ulimit -v`, \
                 RLIMIT_AS)\n  Run it once under a higher limit, for example `ulimit -v 4194304`: compiled code is \
                 cached, so later runs fit this limit."
            ));
        }
        CompileFailure::permanent(format!(
            "needs more memory to compile than {} MiB\n  Make the plugin smaller.",
            COMPILE_MEMORY_BYTES_MAX >> 20
        ))
    };
    Err(CompileError::Failed(match end {
        ProcessEnd::Exit(0) => return Ok(code),
        ProcessEnd::Exit(EXIT_OTHER_CODE | EXIT_USAGE) => return Err(CompileError::OtherCode),
        ProcessEnd::Late | ProcessEnd::Signal(libc::SIGXCPU) => too_long(),
        ProcessEnd::OutOfMemory => too_much(),
        ProcessEnd::Exit(EXIT_REFUSED) => CompileFailure::invalid(&error_text),
        ProcessEnd::TooLarge => CompileFailure::permanent(format!(
            "compiles to more than {} MiB of code\n  Make the plugin smaller.",
            COMPILED_BYTES_MAX >> 20
        )),
        ProcessEnd::Signal(signal) if end.killed_by().is_some() => CompileFailure::transient(format!(
            "cannot be compiled: the compiler process was killed by signal {signal} at each attempt\n  The system \
             kills processes if memory runs out: free some, or raise the limit of the container or service, and \
             restart."
        )),
        ProcessEnd::Signal(signal) => crashed(&format!("signal {signal}"), &error_text),
        ProcessEnd::Exit(code) => crashed(&format!("exit code {code}"), &error_text),
    }))
}

fn crashed(how: &str, message: &str) -> CompileFailure {
    let mut lines = message.lines().map(str::trim).filter(|line| !line.is_empty());
    let last_line = lines.next_back().map(|line| format!(": {line}")).unwrap_or_default();
    CompileFailure::permanent(format!(
        "does not compile: the compiler crashed on it ({how}){last_line}\n  Build it again with another version of its \
         toolchain; please report it."
    ))
}

fn run(program: &Path, order: &CompileOrder, bytes: &[u8]) -> io::Result<ProcessOutput> {
    let (arguments, environment) = (order.arguments(), Vec::new());
    let functions_bytes_max = order.functions.map_or(0, |_| FUNCTIONS_KEPT_BYTES_MAX as u64);
    let (output_bytes_max, time_max) = (COMPILED_BYTES_MAX + functions_bytes_max, order.time_max);
    let task = Task { arguments, environment, input: bytes, output_bytes_max, time_max };
    child::run_to_its_end("the process that compiles a plugin", program, &task)
}

/// Compiles in this process, without a limit on time and memory. The engine is dropped with its compiler, which would otherwise keep the
/// memory of its largest function.
fn compile_in_process(kind: CodeKind, bytes: &[u8], why: &str) -> Result<Vec<u8>, CompileFailure> {
    static REPORTED: Once = Once::new();
    REPORTED.call_once(|| {
        tracing::warn!("plugins are compiled in this process, without limits on time and memory: {why}");
    });
    let engine = engine::compiler(kind, None::<Arc<CompiledFunctions>>).map_err(|e| CompileFailure {
        kind: e.kind,
        message: format!("cannot be compiled: {}", e.message),
        permanent: false,
    })?;
    engine
        .precompile_component(bytes)
        .map_err(|e| CompileFailure::invalid(&printable(&format!("{e:#}"), PLUGIN_MESSAGE_BYTES_MAX)))
}

#[cfg(test)]
mod tests;
