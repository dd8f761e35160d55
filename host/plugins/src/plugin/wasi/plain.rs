//! Random numbers with a seed, the environment, and the ends of a program that a plugin does not have.

use crate::limits::PLUGIN_RANDOM_BYTES_MAX;
use crate::plugin::guest::Guest;
use crate::plugin::trap::{Stopped, Trap};
use millstream_base::random::Random;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::cli::{
    environment, exit, terminal_input, terminal_output, terminal_stderr, terminal_stdin, terminal_stdout,
};
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};

/// The random numbers of a plugin, which are the same in each call of a stage in a batch. They must not be used as secrets.
#[derive(Default)]
pub struct BatchRandom {
    seed: (u64, u64),
    numbers: Random,
}

impl BatchRandom {
    /// Random numbers of a stage in a batch. All calls of one batch see the same numbers, because the number of calls depends on the number of
    /// workers.
    pub fn new(stage: &str, batch: Option<u64>) -> BatchRandom {
        let of_stage = xxhash_rust::xxh3::xxh3_64(stage.as_bytes());
        let mut numbers = Random(of_stage ^ batch.unwrap_or_default().rotate_left(32));
        BatchRandom { seed: (numbers.next(), numbers.next()), numbers }
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let numbers = std::iter::repeat_with(|| self.numbers.next().to_le_bytes());
        let mut bytes: Vec<u8> = numbers.take(length.div_ceil(8)).flatten().collect();
        bytes.truncate(length);
        bytes
    }
}

impl Guest {
    fn random_bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        let wasi = self.wasi_call(length)?;
        match usize::try_from(length) {
            Ok(length) if length <= PLUGIN_RANDOM_BYTES_MAX => Ok(wasi.random.bytes(length)),
            _ => Err(Stopped {
                trap: Trap::Rules,
                message: format!(
                    "it requests {length} random bytes; at most {PLUGIN_RANDOM_BYTES_MAX} at a time are \
                                allowed"
                ),
                advice: "Fix the plugin; `millstream test` runs its cases.",
            }
            .into()),
        }
    }
}

impl random::Host for Guest {
    fn get_random_bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        self.random_bytes(length)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.wasi_call(0)?.random.numbers.next())
    }
}

impl insecure::Host for Guest {
    fn get_insecure_random_bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        self.random_bytes(length)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.wasi_call(0)?.random.numbers.next())
    }
}

impl insecure_seed::Host for Guest {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok(self.wasi_call(0)?.random.seed)
    }
}

impl environment::Host for Guest {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        let granted = self.stage.clone();
        let bytes: usize = granted.grant.env.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.wasi_call(bytes as u64)?;
        Ok(granted.grant.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        self.wasi_call(0)?;
        Ok(Vec::new())
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        self.wasi_call(0)?;
        Ok(None)
    }
}

impl exit::Host for Guest {
    fn exit(&mut self, status: Result<(), ()>) -> wasmtime::Result<()> {
        // Our adapter for WASI 0.1 says the code on standard error.
        let exit_code = self.error_lines.last().and_then(|line| line.strip_prefix("exit code ")?.parse::<u32>().ok());
        match exit_code.filter(|_| status.is_err()) {
            Some(code) => {
                self.error_lines.pop();
                Err(exited(code).into())
            }
            None => Err(exited(u32::from(status.is_err())).into()),
        }
    }

    fn exit_with_code(&mut self, code: u8) -> wasmtime::Result<()> {
        Err(exited(code.into()).into())
    }
}

fn exited(code: u32) -> Stopped {
    Stopped {
        trap: Trap::Trap,
        message: format!("it called exit({code}); a plugin must return, even if it fails"),
        advice: "Fix the plugin; `millstream test` runs its cases.",
    }
}

impl terminal_input::Host for Guest {}
impl terminal_output::Host for Guest {}

impl terminal_input::HostTerminalInput for Guest {
    fn drop(&mut self, terminal: Resource<terminal_input::TerminalInput>) -> wasmtime::Result<()> {
        self.wasi_call(0)?.table.delete(terminal)?;
        Ok(())
    }
}

impl terminal_output::HostTerminalOutput for Guest {
    fn drop(&mut self, terminal: Resource<terminal_output::TerminalOutput>) -> wasmtime::Result<()> {
        self.wasi_call(0)?.table.delete(terminal)?;
        Ok(())
    }
}

impl terminal_stdin::Host for Guest {
    fn get_terminal_stdin(&mut self) -> wasmtime::Result<Option<Resource<terminal_input::TerminalInput>>> {
        self.wasi_call(0)?;
        Ok(None)
    }
}

impl terminal_stdout::Host for Guest {
    fn get_terminal_stdout(&mut self) -> wasmtime::Result<Option<Resource<terminal_output::TerminalOutput>>> {
        self.wasi_call(0)?;
        Ok(None)
    }
}

impl terminal_stderr::Host for Guest {
    fn get_terminal_stderr(&mut self) -> wasmtime::Result<Option<Resource<terminal_output::TerminalOutput>>> {
        self.wasi_call(0)?;
        Ok(None)
    }
}
