//! The host's side of one instance: what its imports work on, and the limits of what it may take.

use super::bindings::Level;
use super::failure::{Identity, printable};
use super::wasi::{Call, Wasi};
use super::{DueTimes, TimerChange};
use crate::job::spec::PluginLimits;
use crate::limits::{PLUGIN_LOG_LINE_BYTES_MAX, PLUGIN_TIMER_CHANGES_MAX};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use wasmtime::ResourceLimiter;

/// How many of the last lines at level error an error message repeats.
const ERROR_LINES_KEPT: usize = 5;

/// What a plugin may know of the stage that uses it.
#[derive(Debug)]
pub struct Stage {
    /// The columns of the rows that a call passes, by input.
    pub inputs: Vec<SchemaRef>,
    /// The stage's key columns.
    pub key: SchemaRef,
    /// What it may use beyond its input.
    pub grant: super::Granted,
}

/// The host's side of one instance: what its imports work on.
pub struct Guest {
    identity: Arc<Identity>,
    /// The stage that uses the plugin.
    pub stage: Arc<Stage>,
    limits: PluginLimits,
    /// The batch of the call; `None` in `describe`.
    pub batch: Option<u64>,
    /// The call, as WASI needs to know it.
    call: Call,
    /// Its memory and the limit.
    pub memory: Memory,
    /// The last lines at level error of this call.
    pub error_lines: Vec<String>,
    /// Timers of this call.
    pub timers: Timers,
    /// What stands behind `wasi:` imports, where the plugin has used one.
    pub wasi: Option<Box<Wasi>>,
    log_lines: u32,
    counted: BTreeMap<String, u64>,
}

/// What a call is told of its timers, and what it asks for.
#[derive(Default)]
pub struct Timers {
    /// Those that are due.
    pub due: DueTimes,
    /// Those set and cancelled, in order; at most [`PLUGIN_TIMER_CHANGES_MAX`] and one more.
    pub changes: Vec<TimerChange>,
}

/// The linear memory of an instance, all its memories together.
pub struct Memory {
    bytes_max: u64,
    /// What it takes now.
    pub bytes: u64,
    /// Whether the limit refused it more, in this call.
    pub refused: bool,
    last_growth: u64,
}

impl Guest {
    /// The host's side of a new instance.
    pub fn new(identity: Arc<Identity>, stage: Arc<Stage>, limits: PluginLimits) -> Guest {
        let memory = Memory { bytes_max: limits.memory_bytes_max, bytes: 0, refused: false, last_growth: 0 };
        Guest {
            identity,
            stage,
            limits,
            batch: None,
            call: Call { batch: None, time_us: 0, began: Instant::now() },
            memory,
            error_lines: Vec::new(),
            timers: Timers::default(),
            wasi: None,
            log_lines: 0,
            counted: BTreeMap::new(),
        }
    }

    /// What stands behind `wasi:` imports, made when the plugin first uses one.
    pub fn wasi(&mut self) -> &mut Wasi {
        let Guest { wasi, identity, stage, limits, call, .. } = self;
        wasi.get_or_insert_with(|| Box::new(Wasi::new(identity, stage, limits, *call)))
    }

    /// A call begins.
    pub fn begin(&mut self, batch: Option<u64>, time_us: i64) {
        self.batch = batch;
        self.call = Call { batch, time_us, began: Instant::now() };
        if let Some(wasi) = &mut self.wasi {
            wasi.begin(self.call);
        }
        self.memory.refused = false;
        self.error_lines.clear();
        self.log_lines = 0;
        self.counted.clear();
    }

    /// A call has ended, well or not: says how much of its log was dropped, and gives what it counted.
    pub fn end(&mut self) -> BTreeMap<String, u64> {
        self.log_printed(true);
        let lines_max = self.lines_max();
        let dropped = self.log_lines.saturating_sub(lines_max);
        if dropped > 0 {
            let (stage, plugin) = (self.identity.stage.as_deref(), self.identity.plugin.as_str());
            let batch = self.batch;
            tracing::warn!(stage, plugin, batch, "{dropped} log lines were dropped: a call may log {lines_max}");
        }
        std::mem::take(&mut self.counted)
    }

    fn lines_max(&self) -> u32 {
        u32::try_from(self.limits.log_lines_per_second_max).unwrap_or(u32::MAX)
    }

    /// Writes a line of the log.
    pub fn log(&mut self, level: Level, message: &str) {
        self.log_lines = self.log_lines.saturating_add(1);
        let within = self.log_lines <= self.lines_max();
        if !within && level != Level::Error {
            return;
        }
        let line = printable(message, PLUGIN_LOG_LINE_BYTES_MAX);
        if within {
            let (stage, plugin, batch) = (self.identity.stage.as_deref(), self.identity.plugin.as_str(), self.batch);
            match level {
                Level::Debug => tracing::debug!(stage, plugin, batch, "{line}"),
                Level::Info => tracing::info!(stage, plugin, batch, "{line}"),
                Level::Warn => tracing::warn!(stage, plugin, batch, "{line}"),
                Level::Error => tracing::error!(stage, plugin, batch, "{line}"),
            }
        }
        // A panic's words are kept even where the log is full: they are what the error message is made of.
        if level == Level::Error {
            if self.error_lines.len() == ERROR_LINES_KEPT {
                self.error_lines.remove(0);
            }
            self.error_lines.push(line);
        }
    }

    /// Adds to a counter.
    pub fn count(&mut self, counter: &str, amount: u64) {
        let first = counter.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        let rest = counter.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !first || !rest || counter.len() > 64 {
            return;
        }
        if let Some(sum) = self.counted.get_mut(counter) {
            *sum = sum.saturating_add(amount);
        } else if (self.counted.len() as u64) < self.limits.counters_max {
            self.counted.insert(counter.to_owned(), amount);
        }
    }

    fn parts_max(&self) -> usize {
        usize::try_from(self.limits.instances_max).unwrap_or(usize::MAX)
    }

    /// Notes what is asked of a timer.
    pub fn change_timer(&mut self, group: u32, at_us: i64, is_set: bool) {
        if self.timers.changes.len() <= PLUGIN_TIMER_CHANGES_MAX {
            self.timers.changes.push(TimerChange { group, at_us, is_set });
        }
    }

    /// A granted file; an error in words for the plugin.
    pub fn file(&self, name: &str) -> Result<&Bytes, String> {
        self.stage.grant.files.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.stage.grant.files.keys().map(String::as_str).collect();
            let granted = if names.is_empty() { "none".into() } else { names.join(", ") };
            format!("the job grants no file `{}` (granted: {granted})", printable(name, 100))
        })
    }
}

impl ResourceLimiter for Guest {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let memory = &mut self.memory;
        let growth = desired.saturating_sub(current) as u64;
        let within = memory.bytes.saturating_add(growth) <= memory.bytes_max;
        memory.refused |= !within;
        memory.last_growth = if within { growth } else { 0 };
        memory.bytes = memory.bytes.saturating_add(memory.last_growth);
        Ok(within)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory.bytes = self.memory.bytes.saturating_sub(std::mem::take(&mut self.memory.last_growth));
        Ok(())
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired as u64 <= self.limits.table_elements_max)
    }

    fn instances(&self) -> usize {
        self.parts_max()
    }

    fn tables(&self) -> usize {
        self.parts_max()
    }

    fn memories(&self) -> usize {
        self.parts_max()
    }
}
