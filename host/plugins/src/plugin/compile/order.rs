//! The order to the process that compiles, and its execution.

use super::functions::CompiledFunctions;
use crate::child::limits::{self, Limits};
use crate::limits::{COMPILE_FILES_MAX, COMPILE_MEMORY_BYTES_MAX, FUNCTIONS_KEPT_BYTES_MAX};
use crate::plugin::cache::{Cache, code_digest};
use crate::plugin::code_kind::{CodeKind, Metering};
use crate::plugin::engine;
use clap::Args;
use millstream_base::error::{Error, Result};
use millstream_base::limits::COMPONENT_BYTES_MAX;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::time::Duration;

/// The name of the command.
const COMMAND: &str = "compile-component";
/// Exit code: the component was rejected; the reason is on standard error.
pub const EXIT_REFUSED: i32 = 3;
/// Exit code: this program would make code under another key.
pub const EXIT_OTHER_CODE: i32 = 4;
/// Exit code of wrong arguments: a program that does not know the command.
pub const EXIT_USAGE: i32 = 2;

/// What to compile, and the limits.
pub struct CompileOrder {
    /// The kind of code.
    pub kind: CodeKind,
    /// The key of that code.
    pub key: String,
    /// Maximum duration.
    pub time_max: Duration,
    /// Bytes of stored functions before the component in the input; `None` if functions are not stored.
    pub functions: Option<usize>,
}

impl CompileOrder {
    /// The command line.
    pub fn arguments(&self) -> Vec<OsString> {
        let pairs = [
            ("metering", self.kind.metering.keyword().to_owned()),
            ("stack", self.kind.stack_bytes_max.to_string()),
            ("key", self.key.clone()),
            ("seconds", self.time_max.as_secs_f64().ceil().to_string()),
            ("parent", process::id().to_string()),
        ];
        let compact = self.kind.compact.then(|| ("compact", "true".to_owned()));
        let functions = self.functions.map(|bytes| ("functions", bytes.to_string()));
        let pairs = pairs.into_iter().chain(compact).chain(functions);
        let pairs = pairs.map(|(name, value)| OsString::from(format!("--{name}={value}")));
        [OsString::from(COMMAND)].into_iter().chain(pairs).collect()
    }
}

/// The arguments of `millstream compile-component`, which is for Millstream itself.
#[derive(Args)]
pub struct CompileArguments {
    /// How calls of the code are stopped
    #[arg(long, value_parser = |word: &str| Metering::of_word(word).ok_or("unknown"))]
    metering: Metering,
    /// Its call stack, in bytes
    #[arg(long)]
    stack: u64,
    /// Whether its memories are to take little address space
    #[arg(long, num_args = 1, default_value_t = false, action = clap::ArgAction::Set)]
    compact: bool,
    /// The key of the wanted code
    #[arg(long)]
    key: String,
    /// How long compiling may take
    #[arg(long)]
    seconds: u64,
    /// The process that waits for the code
    #[arg(long)]
    parent: u32,
    /// Bytes of functions that were kept, before the component in standard input; the output then begins with the length of
    /// the code in 8 bytes, and what follows the code is to be kept
    #[arg(long)]
    functions: Option<usize>,
}

/// Compiles the component from standard input to standard output, under the limits of the arguments.
pub fn obey(arguments: &CompileArguments) -> Result<ExitCode> {
    let failed = |e: io::Error| Error::environment(format!("compiling: {e}"));
    limits::die_with(arguments.parent).map_err(failed)?;
    let limits =
        Limits { seconds: arguments.seconds, memory_bytes_max: COMPILE_MEMORY_BYTES_MAX, files_max: COMPILE_FILES_MAX };
    limits::take_on(&limits).map_err(failed)?;
    let mut kept = Vec::new();
    let kept_bytes = arguments.functions.unwrap_or_default().min(FUNCTIONS_KEPT_BYTES_MAX);
    io::stdin().lock().take(kept_bytes as u64).read_to_end(&mut kept).map_err(failed)?;
    let mut bytes = Vec::new();
    io::stdin().lock().take(COMPONENT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    let kind = CodeKind { metering: arguments.metering, stack_bytes_max: arguments.stack, compact: arguments.compact };
    let functions = arguments.functions.map(|_| Arc::new(CompiledFunctions::read(kept)));
    let engine = engine::compiler(kind, functions.clone())?;
    if Cache::key(&engine, &code_digest(&bytes)) != arguments.key {
        return Ok(exit(EXIT_OTHER_CODE));
    }
    match engine.precompile_component(&bytes) {
        Ok(code) => {
            let mut out = io::stdout().lock();
            if let Some(functions) = functions {
                out.write_all(&(code.len() as u64).to_le_bytes()).map_err(failed)?;
                out.write_all(&code).map_err(failed)?;
                out.write_all(&functions.written().unwrap_or_default()).map_err(failed)?;
            } else {
                out.write_all(&code).map_err(failed)?;
            }
            out.flush().map_err(failed)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            // Nothing more can be done if standard error is closed.
            let _ = write!(io::stderr(), "{error:#}");
            Ok(exit(EXIT_REFUSED))
        }
    }
}

fn exit(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// Conversion to and from command line arguments.
impl Metering {
    const NAMES: [(Metering, &str); 3] =
        [(Metering::None, "none"), (Metering::Epochs, "epochs"), (Metering::Fuel, "fuel")];

    fn keyword(self) -> &'static str {
        Metering::NAMES.iter().find(|(metering, _)| *metering == self).map_or("none", |(_, word)| word)
    }

    fn of_word(word: &str) -> Option<Metering> {
        Metering::NAMES.iter().find(|(_, own)| *own == word).map(|(metering, _)| *metering)
    }
}
