//! What stands behind the `wasi:` imports of a plugin. Nothing there tells it anything about the machine, so that a batch
//! that runs again sees the same: clocks are virtual, random numbers have a seed, standard output and error are the log,
//! standard input is empty, and there are no folders and no arguments. The environment and HTTP are what the job grants.
//!
//! Host calls are not stopped by the clock of time limits, and burn no fuel. So each counts as some instructions, and its
//! bytes as one each, up to what a call of the plugin may burn; each wait ends with the time limit; and nothing is made as
//! large as a guest says before it is checked.

mod clocks;
mod plain;
mod streams;
#[cfg(test)]
mod tests;
mod waiting;

use super::failure::{CallIdentity, Trap};
use super::guest::{Guest, Stage};
use super::http::Requests;
use super::instances::{fuel, time};
use crate::limits::PLUGIN_IMPORT_FUEL;
use clocks::GuestClocks;
use millstream_base::job::spec::PluginLimits;
use plain::BatchRandom;
use std::sync::Arc;
use std::time::Instant;
use streams::PendingOutput;
pub use waiting::Deadline;
use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemCtx, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings::{self, cli, random, sync};
use wasmtime_wasi_http::WasiHttpCtx;

/// The call that an instance is in.
#[derive(Clone, Copy, Debug)]
pub struct CurrentCall {
    /// Its batch; `None` in `describe`.
    pub batch: Option<u64>,
    /// The batch time, in microseconds since 1970; 0 in `describe`.
    pub time_us: i64,
    /// When it began.
    pub began: Instant,
    /// How many times it has the time, or the fuel, of one call.
    pub times: u64,
    /// The rows that it is given.
    pub rows: u64,
    /// The rows that calls of the batch before it were given, on this worker.
    pub rows_before: u64,
}

/// The state of one instance.
pub struct Wasi {
    /// What its handles stand for.
    pub table: ResourceTable,
    /// Its requests over HTTP.
    pub requests: Requests,
    /// Limits of what it says in requests.
    pub http: WasiHttpCtx,
    files: WasiFilesystemCtx,
    clock: GuestClocks,
    random: BatchRandom,
    printed: PendingOutput,
    stage: String,
    limits: PluginLimits,
    deadline: Deadline,
    work: u64,
    work_max: u64,
}

/// Why a host call ends the call of a plugin.
#[derive(Debug)]
pub struct Stopped {
    /// What it counts as.
    pub trap: Trap,
    /// What happened.
    pub words: String,
    /// What to do.
    pub advice: &'static str,
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for Stopped {}

impl Wasi {
    /// For an instance that is in this call.
    pub fn new(identity: &Arc<CallIdentity>, stage: &Arc<Stage>, limits: &PluginLimits, call: CurrentCall) -> Wasi {
        let mut table = ResourceTable::new();
        table.set_max_capacity(usize::try_from(limits.handles_max).unwrap_or(usize::MAX));
        let mut wasi = Wasi {
            table,
            requests: Requests::new(identity.clone(), stage.clone()),
            http: Requests::context(),
            files: WasiFilesystemCtx::default(),
            clock: GuestClocks::default(),
            random: BatchRandom::default(),
            printed: PendingOutput::default(),
            stage: identity.stage.clone().unwrap_or_default(),
            limits: *limits,
            deadline: Deadline::default(),
            work: 0,
            work_max: 0,
        };
        wasi.begin(call);
        wasi
    }

    /// A call begins: clocks, random numbers and what it used up begin anew, so that no call depends on those before it.
    pub fn begin(&mut self, call: CurrentCall) {
        self.clock.begin(call.time_us);
        self.random = BatchRandom::new(&self.stage, call.batch);
        self.deadline = Deadline::new(call.began, time(&self.limits, call.times));
        (self.work, self.work_max) = (0, fuel(&self.limits, call.times));
        self.requests.begin(call.batch, self.deadline);
    }

    /// Counts a host call that moves so many bytes.
    pub fn charge(&mut self, bytes: u64) -> Result<(), Stopped> {
        self.work = self.work.saturating_add(PLUGIN_IMPORT_FUEL).saturating_add(bytes);
        if self.work <= self.work_max {
            return Ok(());
        }
        Err(Stopped {
            trap: Trap::Fuel,
            words: format!("its calls of WASI took more than {} instructions would", self.work_max),
            advice: "Raise `limits.time` (or `limits.fuel`) of the stage, or mend the plugin if it asks for ever.",
        })
    }
}

impl Guest {
    /// Counts a host call that moves so many bytes, and gives what it works on.
    fn wasi_call(&mut self, bytes: u64) -> Result<&mut Wasi, Stopped> {
        let wasi = self.wasi();
        wasi.charge(bytes)?;
        Ok(wasi)
    }
}

/// Offers what is harmless of WASI 0.2, and HTTP, whose requests are refused where the job does not grant them.
pub fn offer(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    bindings::io::error::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    sync::io::poll::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    sync::io::streams::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    bindings::clocks::wall_clock::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    bindings::clocks::monotonic_clock::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    random::random::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    random::insecure::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    random::insecure_seed::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    cli::environment::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    cli::exit::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    cli::stdin::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    cli::stdout::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    cli::stderr::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    cli::terminal_input::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    cli::terminal_output::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    cli::terminal_stdin::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    cli::terminal_stdout::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    cli::terminal_stderr::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    sync::filesystem::types::add_to_linker::<_, WasiFilesystem>(linker, files)?;
    bindings::filesystem::preopens::add_to_linker::<_, WasiFilesystem>(linker, files)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_sync(linker)
}

/// No folder is ever opened, so no function of these has a handle to work on.
fn files(guest: &mut Guest) -> WasiFilesystemCtxView<'_> {
    let wasi = guest.wasi();
    WasiFilesystemCtxView { ctx: &mut wasi.files, table: &mut wasi.table }
}
