//! What a plugin may ask of the host: `log`, `metrics`, `files`, `stage`, `timers`; and the limits of its instance.

use super::bindings::{self, Level, Schema};
use super::failure::{Identity, printable};
use super::{DueTimes, TimerChange, VERSION, lower};
use crate::limits::{
    PLUGIN_COUNTERS_MAX, PLUGIN_LOG_LINE_BYTES_MAX, PLUGIN_LOG_LINES_MAX, PLUGIN_PARTS_MAX, PLUGIN_TABLE_ELEMENTS_MAX,
    PLUGIN_TIMER_CHANGES_MAX,
};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use wasmtime::component::{Linker, WasmStr};
use wasmtime::{ResourceLimiter, StoreContextMut};

/// The interfaces that every plugin may import; `timers` in world `update` only.
pub const OFFERED: [&str; 5] = ["log", "metrics", "files", "stage", TIMERS];
/// The interface with which plugins of world `update` ask for calls at a time.
pub const TIMERS: &str = "timers";

/// How many of the last lines at level error an error message repeats.
const ERROR_LINES_KEPT: usize = 5;

/// What a plugin may know of the stage that uses it.
#[derive(Debug)]
pub struct Stage {
    /// Contents of the files granted, by name.
    pub files: BTreeMap<String, Bytes>,
    /// The columns of the rows that a call passes, by input.
    pub inputs: Vec<SchemaRef>,
    /// The stage's key columns.
    pub key: SchemaRef,
}

/// The host's side of one instance: what its imports work on.
pub struct Guest {
    identity: Arc<Identity>,
    stage: Arc<Stage>,
    /// The batch of the call; `None` in `describe`.
    pub batch: Option<u64>,
    /// Its memory and the limit.
    pub memory: Memory,
    /// The last lines at level error of this call.
    pub error_lines: Vec<String>,
    /// Timers of this call.
    pub timers: Timers,
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
    pub fn new(identity: Arc<Identity>, stage: Arc<Stage>, memory_bytes_max: u64) -> Guest {
        let memory = Memory { bytes_max: memory_bytes_max, bytes: 0, refused: false, last_growth: 0 };
        Guest {
            identity,
            stage,
            batch: None,
            memory,
            error_lines: Vec::new(),
            timers: Timers::default(),
            log_lines: 0,
            counted: BTreeMap::new(),
        }
    }

    /// A call begins.
    pub fn begin(&mut self, batch: Option<u64>) {
        self.batch = batch;
        self.memory.refused = false;
        self.error_lines.clear();
        self.log_lines = 0;
        self.counted.clear();
    }

    /// A call has ended, well or not: says how much of its log was dropped, and gives what it counted.
    pub fn end(&mut self) -> BTreeMap<String, u64> {
        let dropped = self.log_lines.saturating_sub(PLUGIN_LOG_LINES_MAX);
        if dropped > 0 {
            let (stage, plugin) = (self.identity.stage.as_deref(), self.identity.plugin.as_str());
            let batch = self.batch;
            tracing::warn!(
                stage,
                plugin,
                batch,
                "{dropped} log lines were dropped: a call may log {PLUGIN_LOG_LINES_MAX}"
            );
        }
        std::mem::take(&mut self.counted)
    }

    fn log(&mut self, level: Level, message: &str) {
        self.log_lines = self.log_lines.saturating_add(1);
        let within = self.log_lines <= PLUGIN_LOG_LINES_MAX;
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

    fn count(&mut self, counter: &str, amount: u64) {
        let first = counter.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        let rest = counter.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !first || !rest || counter.len() > 64 {
            return;
        }
        if let Some(sum) = self.counted.get_mut(counter) {
            *sum = sum.saturating_add(amount);
        } else if self.counted.len() < PLUGIN_COUNTERS_MAX {
            self.counted.insert(counter.to_owned(), amount);
        }
    }

    fn change_timer(&mut self, group: u32, at_us: i64, is_set: bool) {
        if self.timers.changes.len() <= PLUGIN_TIMER_CHANGES_MAX {
            self.timers.changes.push(TimerChange { group, at_us, is_set });
        }
    }

    fn file(&self, name: &str) -> Result<&Bytes, String> {
        self.stage.files.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.stage.files.keys().map(String::as_str).collect();
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
        Ok(desired <= PLUGIN_TABLE_ELEMENTS_MAX)
    }

    fn instances(&self) -> usize {
        PLUGIN_PARTS_MAX as usize
    }

    fn tables(&self) -> usize {
        PLUGIN_PARTS_MAX as usize
    }

    fn memories(&self) -> usize {
        PLUGIN_PARTS_MAX as usize
    }
}

/// Offers the imports of every plugin.
pub fn offer(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.instance(&format!("millstream:plugin/log@{VERSION}"))?.func_wrap(
        "write",
        |mut cx: StoreContextMut<'_, Guest>, (level, message): (Level, WasmStr)| {
            let message = message.to_str(&cx)?.into_owned();
            cx.data_mut().log(level, &message);
            Ok(())
        },
    )?;
    linker.instance(&format!("millstream:plugin/metrics@{VERSION}"))?.func_wrap(
        "add",
        |mut cx: StoreContextMut<'_, Guest>, (counter, amount): (WasmStr, u64)| {
            let counter = counter.to_str(&cx)?.into_owned();
            cx.data_mut().count(&counter, amount);
            Ok(())
        },
    )?;
    let mut files = linker.instance(&format!("millstream:plugin/files@{VERSION}"))?;
    files.func_wrap("size", |cx: StoreContextMut<'_, Guest>, (name,): (String,)| {
        Ok((cx.data().file(&name).map(|bytes| bytes.len() as u64),))
    })?;
    files.func_wrap("read", |cx: StoreContextMut<'_, Guest>, (name, offset, length): (String, u64, u32)| {
        let read = cx.data().file(&name).map(|bytes| {
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            let end = start.saturating_add(length as usize).min(bytes.len());
            bytes.slice(start..end).to_vec()
        });
        Ok((read,))
    })?;
    let mut stage = linker.instance(&format!("millstream:plugin/stage@{VERSION}"))?;
    stage.func_wrap("input", |cx: StoreContextMut<'_, Guest>, (): ()| -> wasmtime::Result<(Schema,)> {
        let input = cx.data().stage.inputs.first();
        Ok((input.map(|input| lower::schema(input)).unwrap_or_default(),))
    })?;
    stage.func_wrap("inputs", |cx: StoreContextMut<'_, Guest>, (): ()| -> wasmtime::Result<(Vec<Schema>,)> {
        Ok((cx.data().stage.inputs.iter().map(|input| lower::schema(input)).collect(),))
    })?;
    stage.func_wrap("key", |cx: StoreContextMut<'_, Guest>, (): ()| -> wasmtime::Result<(Schema,)> {
        Ok((lower::schema(&cx.data().stage.key),))
    })?;
    let mut timers = linker.instance(&format!("millstream:plugin/{TIMERS}@{VERSION}"))?;
    timers.func_wrap("set", |mut cx: StoreContextMut<'_, Guest>, (group, at): (u32, i64)| {
        cx.data_mut().change_timer(group, at, true);
        Ok(())
    })?;
    timers.func_wrap("cancel", |mut cx: StoreContextMut<'_, Guest>, (group, at): (u32, i64)| {
        cx.data_mut().change_timer(group, at, false);
        Ok(())
    })?;
    timers.func_wrap("due", |cx: StoreContextMut<'_, Guest>, (): ()| -> wasmtime::Result<(bindings::DueTimes,)> {
        let DueTimes { ends, times_us } = &cx.data().timers.due;
        let bytes = |buffer: &arrow::buffer::Buffer| buffer.as_slice().to_vec();
        let (ends, times) = (bytes(ends.inner()), bytes(times_us.inner()));
        Ok((bindings::DueTimes { ends, times },))
    })
}
