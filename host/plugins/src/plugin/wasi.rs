//! What stands behind the `wasi:` imports of a plugin. Nothing there tells it anything about the machine, so that a batch
//! that runs again sees the same: clocks are virtual, random numbers have a seed, standard output and error are the log,
//! standard input is empty, and there are no folders and no arguments. The environment and HTTP are what the job grants.
//!
//! Host calls are not stopped by the clock of time limits, and burn no fuel. So each counts as some instructions, and its
//! bytes as one each, up to what a call of the plugin may burn; each wait ends with the time limit; and nothing is made as
//! large as a guest says before it is checked.

mod clocks;
pub mod offer;
mod plain;
mod streams;
#[cfg(test)]
mod tests;
mod waiting;

use super::current_call::{CurrentCall, Deadline, fuel, time};
use super::http::Requests;
use super::identity::CallIdentity;
use super::stage::Stage;
use super::trap::{Stopped, Trap};
use crate::limits::PLUGIN_IMPORT_FUEL;
use clocks::GuestClocks;
use millstream_base::job::spec::PluginLimits;
use plain::BatchRandom;
use std::sync::Arc;
use streams::PendingOutput;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::filesystem::WasiFilesystemCtx;
use wasmtime_wasi_http::WasiHttpCtx;

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
            words: format!("its WASI calls took longer than {} instructions would", self.work_max),
            advice: "Raise `limits.time` (or `limits.fuel`) of the stage, or fix the plugin if it calls WASI forever.",
        })
    }
}
