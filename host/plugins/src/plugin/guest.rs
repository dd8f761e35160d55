//! The host's side of one instance: the state of its imports, and the limits of its resources.

use super::allowance::Allowance;
use super::bindings::WitLevel;
use super::call_locations::CallLocations;
use super::current_call::{CurrentCall, Deadline, time};
use super::groups::{DueTimes, TimerChange};
use super::identity::CallIdentity;
use super::log_budget::LogBudget;
use super::net::{Net, NetCall};
use super::stage::Stage;
use super::wasi::Wasi;
use super::{clock, interrupt};
use crate::limits::{PLUGIN_LOG_LINE_BYTES_MAX, PLUGIN_MEMORIES_MAX, PLUGIN_TIMER_CHANGES_MAX};
use bytes::Bytes;
use millstream_base::error::Error;
use millstream_base::memory::{self, Holder, addresses};
use millstream_base::shown::{in_one_line, printable};
use millstream_job::spec::PluginLimits;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use wasmtime::{ResourceLimiter, UpdateDeadline};

/// Number of log lines at level error that an error message repeats: the first ones of a call, and the last.
const ERROR_LINES_KEPT: usize = 10;

/// Resources that the instances of one stage on one worker share, one after another.
pub struct StageBudget {
    identity: Arc<CallIdentity>,
    limits: PluginLimits,
    log: Mutex<LogBudget>,
    /// Names of counters, of all calls.
    counters: Mutex<BTreeSet<String>>,
    /// Reports the memory of instances.
    holder: Holder,
    /// Whether lines of the log are not written.
    quiet: AtomicBool,
    /// Like `quiet`, but permanently.
    mute: AtomicBool,
}

impl StageBudget {
    /// Creates the budget of a stage on a worker.
    pub fn new(identity: Arc<CallIdentity>, limits: PluginLimits) -> StageBudget {
        let log = Mutex::new(LogBudget::new(identity.clone(), &limits));
        let [quiet, mute] = [false; 2].map(AtomicBool::new);
        let holder = Holder::new(format!("instances of plugin {}", identity.plugin));
        StageBudget { identity, limits, log, counters: Mutex::default(), holder, quiet, mute }
    }

    /// Stops writing log lines permanently, whatever [`StageBudget::set_quiet`] says.
    pub fn mute(&self) {
        self.mute.store(true, Ordering::Relaxed);
    }

    /// Sets whether calls write no log lines from now on.
    pub fn set_quiet(&self, quiet: bool) {
        self.quiet.store(quiet, Ordering::Relaxed);
    }

    fn log(&self) -> MutexGuard<'_, LogBudget> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether a counter of this name is allowed: the limit counts the counters of all calls.
    fn may_count(&self, counter: &str) -> bool {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        if counters.contains(counter) {
            return true;
        }
        if counters.len() as u64 >= self.limits.counters_max {
            self.log().report_counters_max(self.limits.counters_max);
            return false;
        }
        counters.insert(counter.to_owned())
    }
}

/// The host's side of one instance: the state of its imports.
pub struct Guest {
    shared: Arc<StageBudget>,
    /// The stage that uses the plugin.
    pub stage: Arc<Stage>,
    /// The batch of the call; `None` in `describe`.
    pub batch: Option<u64>,
    /// The call.
    pub call: CurrentCall,
    /// Limits of the call's results.
    pub allowance: Allowance,
    /// Bytes of its linear memories.
    pub memory: Growth,
    /// Why its memory could not grow within its limit: the job had none left.
    pub no_memory: Option<Error>,
    /// Elements of its tables.
    pub tables: Growth,
    /// The last lines at level error of this call.
    pub error_lines: Vec<String>,
    /// Timers of this call.
    pub timers: CallTimers,
    /// The implementation of `wasi:` imports, once the plugin has used one.
    pub wasi: Option<Box<Wasi>>,
    net: Net,
    /// Time that the host spent in imports during this call.
    pub time_in_imports: Duration,
    /// Lines of the log that were dropped in this call.
    pub log_lines_dropped: u64,
    /// Its source locations, if the call is only made to find them: then it logs and counts nothing.
    pub call_locations: Option<CallLocations>,
    /// Remaining ticks of the call beyond the current slice.
    pub ticks_left: u64,
    counted: BTreeMap<String, u64>,
}

/// Timers of a call: those that are due, and the changes it requests.
#[derive(Default)]
pub struct CallTimers {
    /// Due timers.
    pub due: DueTimes,
    /// Timers set and cancelled, in order; at most [`PLUGIN_TIMER_CHANGES_MAX`] and one more.
    pub changes: Vec<TimerChange>,
}

/// A growing resource of an instance, for example all its linear memories together.
pub struct Growth {
    max: u64,
    /// Current amount.
    pub now: u64,
    /// Whether the limit prevented growth during this call.
    pub was_denied: bool,
}

impl Growth {
    fn new(max: u64) -> Growth {
        Growth { max, now: 0, was_denied: false }
    }

    /// Returns by how much it may grow; `None` if that exceeds the limit. Growth beyond the component's own maximum is rejected by the engine,
    /// so it does not count.
    fn grow(&mut self, current: usize, desired: usize, own_max: Option<usize>) -> Option<u64> {
        let growth = desired.saturating_sub(current) as u64;
        let within = self.now.saturating_add(growth) <= self.max;
        self.was_denied |= !within;
        let growth = if own_max.is_some_and(|most| desired > most) { 0 } else { growth };
        within.then(|| {
            self.now = self.now.saturating_add(growth);
            growth
        })
    }
}

impl Guest {
    /// Creates the host's side of a new instance, for a call.
    pub fn new(shared: Arc<StageBudget>, stage: Arc<Stage>, call: CurrentCall, allowance: Allowance) -> Guest {
        let limits = &shared.limits;
        Guest {
            stage,
            batch: call.batch,
            call,
            allowance,
            memory: Growth::new(limits.memory_bytes_max),
            no_memory: None,
            tables: Growth::new(limits.table_elements_max),
            error_lines: Vec::new(),
            timers: CallTimers::default(),
            wasi: None,
            net: Net::default(),
            time_in_imports: Duration::ZERO,
            log_lines_dropped: 0,
            call_locations: None,
            ticks_left: 0,
            counted: BTreeMap::new(),
            shared,
        }
    }

    /// Returns the implementation of `wasi:` imports, created when the plugin first uses one.
    pub fn wasi(&mut self) -> &mut Wasi {
        let Guest { wasi, shared, stage, call, .. } = self;
        wasi.get_or_insert_with(|| Box::new(Wasi::new(&shared.identity, stage, &shared.limits, *call)))
    }

    /// Returns its sockets, and the addresses that it may connect to; none during `describe`.
    pub fn net(&mut self) -> NetCall<'_> {
        let grant = (!self.shared.identity.describes()).then_some(&self.stage.grant);
        NetCall { net: &mut self.net, grant, sockets_max: self.shared.limits.handles_max }
    }

    /// Takes the network access in this call that the job does not grant.
    pub fn take_denied(&mut self) -> Option<String> {
        self.net.take_denied()
    }

    /// Returns how long an import with this timeout may wait: never longer than the call.
    pub fn wait_of(&self, timeout_ms: u32) -> Duration {
        let time_max = time(&self.shared.limits, self.call.times);
        let left = Deadline::new(self.call.began, time_max).remaining() * 9 / 10;
        Duration::from_millis(timeout_ms.into()).min(left)
    }

    /// Decides how a call whose ticks are over continues.
    pub fn time_is_over(&mut self) -> UpdateDeadline {
        let next = self.ticks_left.min(clock::POLL_EVERY);
        if next == 0 || !interrupt::is_wanted() {
            return UpdateDeadline::Interrupt;
        }
        self.ticks_left -= next;
        UpdateDeadline::Continue(next)
    }

    /// Prepares for the next call.
    pub fn begin(&mut self, call: CurrentCall, allowance: Allowance) {
        (self.batch, self.call, self.allowance) = (call.batch, call, allowance);
        if let Some(wasi) = &mut self.wasi {
            wasi.begin(call);
        }
        (self.memory.was_denied, self.tables.was_denied) = (false, false);
        self.error_lines.clear();
        self.counted.clear();
        (self.time_in_imports, self.log_lines_dropped) = (Duration::ZERO, 0);
    }

    /// Ends a call, successful or not. Reports how much of its log was dropped, and returns its counters.
    pub fn end(&mut self) -> BTreeMap<String, u64> {
        self.log_printed(true);
        self.shared.log().report_dropped();
        std::mem::take(&mut self.counted)
    }

    /// Writes a log line. Its further lines are indented, so that none can be mistaken for a separate log line.
    pub fn log(&mut self, level: WitLevel, message: &str) {
        if let Some(call_locations) = &mut self.call_locations {
            return call_locations.receive(message);
        }
        let length = logged_bytes(message);
        let quiet = self.shared.quiet.load(Ordering::Relaxed) || self.shared.mute.load(Ordering::Relaxed);
        let within = !quiet && self.shared.log().take(length);
        self.log_lines_dropped = self.log_lines_dropped.saturating_add((!within && !quiet).into());
        if !within && level != WitLevel::Error {
            return;
        }
        let line = printable(message, PLUGIN_LOG_LINE_BYTES_MAX);
        if within {
            let ((stage, source, sink, plugin), batch) = (self.shared.identity.fields(), self.batch);
            let line = in_one_line(&line);
            match level {
                WitLevel::Debug => tracing::debug!(stage, source, sink, plugin, batch, "{line}"),
                WitLevel::Info => tracing::info!(stage, source, sink, plugin, batch, "{line}"),
                WitLevel::Warn => tracing::warn!(stage, source, sink, plugin, batch, "{line}"),
                WitLevel::Error => tracing::error!(stage, source, sink, plugin, batch, "{line}"),
            }
        }
        // The message of a panic is kept even if the log is full or quiet: the error message needs it.
        if level == WitLevel::Error {
            if self.error_lines.len() == ERROR_LINES_KEPT {
                // Some runtimes say first what has happened, others last.
                self.error_lines.remove(ERROR_LINES_KEPT / 2);
            }
            self.error_lines.push(line);
        }
    }

    /// Adds to a counter.
    pub fn count(&mut self, counter: &str, amount: u64) {
        if self.call_locations.is_some() {
            return;
        }
        let first = counter.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        let rest = counter.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !first || !rest || counter.len() > 64 {
            return;
        }
        if let Some(sum) = self.counted.get_mut(counter) {
            *sum = sum.saturating_add(amount);
        } else if self.shared.may_count(counter) {
            self.counted.insert(counter.to_owned(), amount);
        }
    }

    /// Records a requested change of a timer.
    pub fn change_timer(&mut self, group: u32, at_us: i64, is_set: bool) {
        if self.timers.changes.len() <= PLUGIN_TIMER_CHANGES_MAX {
            self.timers.changes.push(TimerChange { group, at_us, is_set });
        }
    }

    /// Returns a granted file. The error is a message for the plugin.
    pub fn file(&self, name: &str) -> Result<&Bytes, String> {
        self.stage.grant.files.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.stage.grant.files.keys().map(String::as_str).collect();
            let granted = if names.is_empty() { "none".into() } else { names.join(", ") };
            format!("the job grants no file `{}` (granted: {granted})", printable(name, 100))
        })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.shared.holder.change(0, self.memory.now);
    }
}

/// Number of log bytes of a message, including the indentation of its further lines.
fn logged_bytes(message: &str) -> usize {
    let kept = message.as_bytes().get(..PLUGIN_LOG_LINE_BYTES_MAX).unwrap_or(message.as_bytes());
    kept.len() + 4 * kept.iter().filter(|byte| **byte == b'\n').count()
}

/// Returns whether a memory could not grow because the system has no more, and not because it reached its maximum. The engine's error is only
/// text; those of the system end with a number.
fn is_of_system(error: &wasmtime::Error) -> bool {
    format!("{error:#}").contains("(os error ")
}

impl ResourceLimiter for Guest {
    fn memory_growing(&mut self, current: usize, desired: usize, own_max: Option<usize>) -> wasmtime::Result<bool> {
        let before = self.memory.now;
        let Some(growth) = self.memory.grow(current, desired, own_max) else { return Ok(false) };
        if let Err(error) = memory::charge(growth) {
            self.memory.now = before;
            // No row is to blame. An error ends the call, however the guest would handle the rejection.
            self.no_memory = Some(error.clone());
            return Err(wasmtime::Error::new(error));
        }
        self.shared.holder.change(growth, 0);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        if !is_of_system(&error) {
            return Ok(());
        }
        // There may be more memory on a replay, so this must not reject rows either.
        let message = format!("its memory cannot grow: {error:#}{}", addresses::advice());
        self.no_memory = Some(Error::memory(message));
        Err(error)
    }

    fn table_growing(&mut self, current: usize, desired: usize, own_max: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.tables.grow(current, desired, own_max).is_some())
    }

    fn instances(&self) -> usize {
        usize::try_from(self.shared.limits.instances_max).unwrap_or(usize::MAX)
    }

    fn tables(&self) -> usize {
        PLUGIN_MEMORIES_MAX as usize
    }

    fn memories(&self) -> usize {
        PLUGIN_MEMORIES_MAX as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_granted_counts_as_growth() {
        let mut memory = Growth::new(100);
        assert_eq!(memory.grow(0, 60, None), Some(60));
        assert_eq!((memory.grow(60, 90, Some(80)), memory.now), (Some(0), 60), "the engine refuses it");
        assert_eq!((memory.grow(60, 101, Some(80)), memory.was_denied), (None, true));
        assert_eq!((memory.grow(60, 100, Some(100)), memory.now), (Some(40), 100));
    }

    #[test]
    fn lines_within_a_line_of_the_log_count_as_they_are_written() {
        for message in ["a line", "two\nlines", "\n\n\na", &"\na".repeat(PLUGIN_LOG_LINE_BYTES_MAX / 2)] {
            assert_eq!(logged_bytes(message), in_one_line(message).len(), "{message:?}");
        }
        assert_eq!(logged_bytes(&"x".repeat(1 << 20)), PLUGIN_LOG_LINE_BYTES_MAX);
    }
}
