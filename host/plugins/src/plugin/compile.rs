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
use crate::limits::{COMPILE_MEMORY_BYTES_MAX, COMPILED_BYTES_MAX, FUNCTIONS_KEPT_BYTES_MAX, PLUGIN_WORDS_BYTES_MAX};
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
    pub words: String,
    /// Whether the same would happen again with the same limits.
    pub lasting: bool,
}

impl CompileFailure {
    fn lasting(words: String) -> CompileFailure {
        CompileFailure { kind: Kind::Plugin, words, lasting: true }
    }

    fn passing(words: String) -> CompileFailure {
        CompileFailure { kind: Kind::Environment, words, lasting: false }
    }

    /// The code needs more than there is for any plugin, as instances within the component.
    pub fn unfit(cause: &str) -> CompileFailure {
        CompileFailure::lasting(format!("does not fit this host: {cause}\n  Make the plugin smaller."))
    }

    fn invalid(words: &str) -> CompileFailure {
        let words = format!("does not compile: {}\n  Build it again: `millstream build`.", words.trim_end());
        CompileFailure { kind: Kind::Plugin, words, lasting: false }
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
        CompileFailure::passing(format!("cannot be compiled: {} does not start: {e}", program.file.display()))
    })?;
    match code(ended, time_max) {
        Err(NoCode::OtherCode) if Program::is_named() => Err(CompileFailure::passing(format!(
            "cannot be compiled: {} has another version; reinstall Millstream",
            program.file.display()
        ))),
        Err(NoCode::OtherCode) if !program.is_this => {
            compile_in_process(kind, bytes, &format!("{} has another version", program.file.display()))
        }
        Err(NoCode::OtherCode) => Err(CompileFailure {
            kind: Kind::Bug,
            words: "cannot be compiled: the compiler process produces another kind of code".into(),
            lasting: false,
        }),
        Err(NoCode::Failed(failure)) => Err(failure),
        Ok(output) => match runtime {
            Some((cache, name)) => {
                let (code, functions) = apart(output);
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
fn apart(mut output: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    let Some((length, _)) = output.split_first_chunk() else { return (output, Vec::new()) };
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    output.drain(..8);
    let functions = output.split_off(length.min(output.len()));
    (output, functions)
}

/// Why a compiled component has no code.
enum NoCode {
    /// The process would make code that this one cannot run.
    OtherCode,
    /// A failure with a message.
    Failed(CompileFailure),
}

fn code(ended: ProcessOutput, time_max: Duration) -> Result<Vec<u8>, NoCode> {
    let ProcessOutput { output: code, words, end } = ended;
    let too_long = || {
        CompileFailure::lasting(format!(
            "takes longer to compile than {time_max:?}\n  Raise `limits.compile` of the stage if the plugin is that \
             large; fix a component that never finishes compiling."
        ))
    };
    let too_much = || {
        if let Some(bytes) = addresses::limit().filter(|bytes| *bytes < COMPILE_MEMORY_BYTES_MAX) {
            let mib = bytes >> 20;
            return CompileFailure::passing(format!(
                "needs more address space to compile than {mib} MiB, the limit of this process (`ulimit -v`, \
                 RLIMIT_AS)\n  Run it once under a higher limit, for example `ulimit -v 4194304`: compiled code is \
                 cached, so later runs fit this limit."
            ));
        }
        CompileFailure::lasting(format!(
            "needs more memory to compile than {} MiB\n  Make the plugin smaller.",
            COMPILE_MEMORY_BYTES_MAX >> 20
        ))
    };
    Err(NoCode::Failed(match end {
        ProcessEnd::Exit(0) => return Ok(code),
        ProcessEnd::Exit(EXIT_OTHER_CODE | EXIT_USAGE) => return Err(NoCode::OtherCode),
        ProcessEnd::Late | ProcessEnd::Signal(libc::SIGXCPU) => too_long(),
        ProcessEnd::OutOfMemory => too_much(),
        ProcessEnd::Exit(EXIT_REFUSED) => CompileFailure::invalid(&words),
        ProcessEnd::TooLarge => CompileFailure::lasting(format!(
            "compiles to more than {} MiB of code\n  Make the plugin smaller.",
            COMPILED_BYTES_MAX >> 20
        )),
        ProcessEnd::Signal(signal) if end.killed_by().is_some() => CompileFailure::passing(format!(
            "cannot be compiled: the compiler process was killed by signal {signal} at each attempt\n  The system \
             kills processes if memory runs out: free some, or raise the limit of the container or service, and \
             restart."
        )),
        ProcessEnd::Signal(signal) => crashed(&format!("signal {signal}"), &words),
        ProcessEnd::Exit(code) => crashed(&format!("exit code {code}"), &words),
    }))
}

fn crashed(how: &str, words: &str) -> CompileFailure {
    let mut lines = words.lines().map(str::trim).filter(|line| !line.is_empty());
    let said = lines.next_back().map(|line| format!(": {line}")).unwrap_or_default();
    CompileFailure::lasting(format!(
        "does not compile: the compiler crashed on it ({how}){said}\n  Build it again with another version of its \
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
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        tracing::warn!("plugins are compiled in this process, without limits on time and memory: {why}");
    });
    let engine = engine::compiler(kind, None::<Arc<CompiledFunctions>>).map_err(|e| CompileFailure {
        kind: e.kind,
        words: format!("cannot be compiled: {}", e.message),
        lasting: false,
    })?;
    engine
        .precompile_component(bytes)
        .map_err(|e| CompileFailure::invalid(&printable(&format!("{e:#}"), PLUGIN_WORDS_BYTES_MAX)))
}

#[cfg(test)]
mod tests;
