//! The implementation of a plugin's `wasi:` imports. Nothing in it depends on the machine, so that a replay sees the same: clocks are
//! virtual, random numbers are seeded, standard output and error are the log, standard input is empty, and there are no directories and no
//! arguments. The job grants the environment and HTTP.
//!
//! The clock of time limits does not stop host calls, and they burn no fuel. So each counts as some instructions, and each of its bytes as
//! one, up to the call's fuel. Each wait ends at the time limit. Sizes that a guest requests are checked before anything is allocated.

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
use millstream_job::spec::PluginLimits;
use plain::BatchRandom;
use std::sync::Arc;
use streams::PendingOutput;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::filesystem::WasiFilesystemCtx;
use wasmtime_wasi_http::WasiHttpCtx;

/// The state of one instance.
pub struct Wasi {
    /// The objects of its handles.
    pub table: ResourceTable,
    /// Its HTTP requests.
    pub requests: Requests,
    /// Limits of what it says in requests.
    pub http: WasiHttpCtx,
    files: WasiFilesystemCtx,
    guest_clocks: GuestClocks,
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
            guest_clocks: GuestClocks::default(),
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

    /// Begins a call: clocks, random numbers and used resources are reset, so that no call depends on earlier ones.
    pub fn begin(&mut self, call: CurrentCall) {
        self.guest_clocks.begin(call.time_us);
        self.random = BatchRandom::new(&self.stage, call.batch);
        self.deadline = Deadline::new(call.began, time(&self.limits, call.times));
        (self.work, self.work_max) = (0, fuel(&self.limits, call.times));
        self.requests.begin(call.batch, self.deadline);
    }

    /// Counts a host call that moves this many bytes.
    pub fn charge(&mut self, bytes: u64) -> Result<(), Stopped> {
        self.work = self.work.saturating_add(PLUGIN_IMPORT_FUEL).saturating_add(bytes);
        if self.work <= self.work_max {
            return Ok(());
        }
        Err(Stopped {
            trap: Trap::Fuel,
            message: format!("its WASI calls took longer than {} instructions would", self.work_max),
            advice: "Raise `limits.time` (or `limits.fuel`) of the stage, or fix the plugin if it calls WASI \
                endlessly.",
        })
    }
}
