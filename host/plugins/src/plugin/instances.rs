//! Instances of a plugin: they are made, called under their limits, and thrown away.

use super::account::Bill;
use super::allowance::{Allowance, Given};
use super::bindings::Returned;
use super::clock;
use super::failure::{self, CallFailure, Fault, Identity};
use super::guest::{Guest, Shared, Stage, Timers};
use super::load::Loaded;
use super::traced::Places;
use super::wasi::Call;
use super::{Counted, Counters, Metering, stack};
use crate::error::Error;
use crate::ids::BatchId;
use crate::job::spec::PluginLimits;
use crate::limits::{PLUGIN_CALLS_PER_INSTANCE_MAX, PLUGIN_FUEL_PER_SECOND};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::Store;
use wasmtime::component::{ComponentExportIndex, ComponentNamedList, Instance, Lift, Lower};

/// Calls functions of one plugin under one set of limits, in instances that live as long as they should.
pub struct Instances {
    pub loaded: Arc<Loaded>,
    pub identity: Arc<Identity>,
    pub limits: PluginLimits,
    pub keep: bool,
    pub stage: Arc<Stage>,
    shared: Arc<Shared>,
    /// The batch of the last call, and how many rows its calls were given.
    passed: (Option<u64>, u64),
    /// The batch of the last call that put out rows, and their bytes.
    put_out: (Option<u64>, u64),
    live: Option<Live>,
    /// Timers of the call: put in before, taken out after it.
    pub timers: Timers,
    /// The batch time of the calls to come, in microseconds.
    pub time_us: i64,
    counted: Counted,
    /// Instructions of the last call, where they are counted.
    pub fuel_burnt: u64,
    /// What calls cost.
    pub bill: Bill,
    /// Whether calls are made only to see where they stand.
    pub traces: bool,
    /// Where the last of such calls stood, where it took too long.
    pub story: Option<String>,
}

struct Live {
    store: Store<Guest>,
    instance: Instance,
    calls: u64,
}

impl Instances {
    /// No instance yet. `keep`: whether an instance lives on after a call. Where calls are metered by fuel none does: what
    /// a call does must not depend on the calls before it, as rows are rejected by it, and alike when a batch runs again.
    pub fn new(loaded: Arc<Loaded>, identity: Identity, stage: Stage, limits: PluginLimits, keep: bool) -> Instances {
        let keep = keep && loaded.machine.kind.metering != Metering::Fuel;
        Instances::made(loaded, Arc::new(identity), Arc::new(stage), limits, keep)
    }

    /// For the same stage and under other limits, to see where calls stand.
    pub fn beside(&self, limits: PluginLimits) -> Instances {
        let (identity, stage) = (self.identity.clone(), self.stage.clone());
        Instances { traces: true, ..Instances::made(self.loaded.clone(), identity, stage, limits, false) }
    }

    fn made(
        loaded: Arc<Loaded>,
        identity: Arc<Identity>,
        stage: Arc<Stage>,
        limits: PluginLimits,
        keep: bool,
    ) -> Instances {
        let shared = Arc::new(Shared::new(identity.clone(), limits));
        Instances {
            loaded,
            identity,
            limits,
            keep,
            stage,
            shared,
            passed: (None, 0),
            put_out: (None, 0),
            live: None,
            timers: Timers::default(),
            time_us: 0,
            counted: Counted::new(),
            fuel_burnt: 0,
            bill: Bill::default(),
            traces: false,
            story: None,
        }
    }

    /// From now on calls write no lines of the log, or do again: what they say is in the stories of those that fail.
    pub fn set_quiet(&self, quiet: bool) {
        self.shared.set_quiet(quiet);
    }

    /// From now on calls write no lines of the log at all.
    pub fn mute(&self) {
        self.shared.mute();
    }

    /// Calls the function at `index`, in `batch` or, without one, for `describe`, with arguments of the size `given`.
    pub fn call<P, R>(
        &mut self,
        batch: Option<u64>,
        index: &ComponentExportIndex,
        given: Given,
        arguments: P,
    ) -> Result<R, CallFailure>
    where
        P: ComponentNamedList + Lower,
        Returned<R>: ComponentNamedList + Lift,
    {
        let called = self.call_metered(batch, index, given, arguments);
        if called.is_err() {
            self.bill.ended(&called);
        }
        called
    }

    fn call_metered<P, R>(
        &mut self,
        batch: Option<u64>,
        index: &ComponentExportIndex,
        given: Given,
        arguments: P,
    ) -> Result<R, CallFailure>
    where
        P: ComponentNamedList + Lower,
        Returned<R>: ComponentNamedList + Lift,
    {
        let allowance = Allowance::new(self.limits, given);
        // Where no instance can be made, all that a call may burn counts as burnt.
        let call = self.wasi_call(batch, given);
        self.fuel_burnt = fuel(&self.limits, call.times);
        let mut live = match self.live.take() {
            Some(mut live) => {
                live.store.data_mut().begin(call, allowance);
                self.meter(&mut live.store)?;
                live
            }
            None => {
                self.bill.instance_made();
                self.start(call, allowance)?
            }
        };
        live.calls += 1;
        live.store.data_mut().timers = std::mem::take(&mut self.timers);
        let entered = Instant::now();
        let called = live
            .instance
            .get_typed_func::<P, Returned<R>>(&mut live.store, index)
            .and_then(|function| function.call(&mut live.store, arguments));
        self.bill.left_guest(entered.elapsed(), live.store.data());
        self.fuel_burnt = 0;
        if self.loaded.machine.kind.metering == Metering::Fuel {
            let most = fuel(&self.limits, call.times);
            self.fuel_burnt = most.saturating_sub(live.store.get_fuel().unwrap_or(most));
        }
        self.counted = live.store.data_mut().end();
        self.timers = std::mem::take(&mut live.store.data_mut().timers);
        self.story = live.store.data().places.as_ref().and_then(Places::story);
        match called {
            Ok((Ok(result),)) => {
                let memory_low = live.store.data().memory.now <= self.limits.memory_bytes_max / 2;
                if self.keep && memory_low && live.calls < PLUGIN_CALLS_PER_INSTANCE_MAX {
                    self.live = Some(live);
                }
                Ok(result)
            }
            Ok((Err(error),)) => Err(CallFailure::returned(&self.identity, batch, error)),
            Err(error) => Err(self.trapped(&live.store, &error)),
        }
    }

    /// Ends a call whose result was checked: only a call that succeeded counts, and leaves its instance alive.
    pub fn settle<T>(
        &mut self,
        batch: Option<u64>,
        counters: &Counters,
        checked: Result<T, impl Into<Fault>>,
    ) -> Result<T, CallFailure> {
        let counted = std::mem::take(&mut self.counted);
        let output_bytes = std::mem::take(&mut self.bill.output_bytes);
        let settled = match checked {
            Ok(result) => {
                counters.merge(BatchId(batch.unwrap_or_default()), counted);
                self.check_batch(batch, output_bytes).map(|()| result)
            }
            Err(fault) => {
                self.live = None;
                Err(CallFailure::found(&self.identity, batch, fault.into()))
            }
        };
        self.bill.ended(&settled);
        settled
    }

    /// A call of a batch puts out so many bytes more. Where those of all its calls are too many no row is to blame: how many
    /// calls there are, and on which worker, is not the same each time.
    fn check_batch(&mut self, batch: Option<u64>, bytes: u64) -> Result<(), CallFailure> {
        if self.put_out.0 != batch {
            self.put_out = (batch, 0);
        }
        self.put_out.1 = self.put_out.1.saturating_add(bytes);
        let most = self.limits.batch_output_bytes_max;
        if self.put_out.1 <= most {
            return Ok(());
        }
        Err(CallFailure::other(Error::plugin(format!(
            "{} returned more than {} {}, in all of its calls on one worker together\n  Raise `limits.batch_output` of the \
             stage, let batches be smaller (`rows_per_batch_max` of the source), or mend the plugin if it should return less.",
            self.identity.who(),
            failure::bytes(most),
            self.identity.when(batch)
        ))))
    }

    /// Gives a call, and the making of its instance, the time or the fuel that it may use.
    fn meter(&self, store: &mut Store<Guest>) -> Result<(), CallFailure> {
        let times = store.data().call.times;
        if let Some(clock) = &self.loaded.machine.clock {
            clock.check().map_err(CallFailure::other)?;
            store.set_epoch_deadline(clock::deadline(time(&self.limits, times)));
        }
        if self.loaded.machine.kind.metering == Metering::Fuel {
            let set = store.set_fuel(fuel(&self.limits, times));
            set.map_err(|e| CallFailure::other(Error::bug(format!("fuel: {e:#}"))))?;
        }
        // wasmtime counts what a call hands to the host before it copies it.
        store.set_hostcall_fuel(usize::try_from(store.data().allowance.bytes_max).unwrap_or(usize::MAX));
        Ok(())
    }

    fn start(&self, call: Call, allowance: Allowance) -> Result<Live, CallFailure> {
        let told = |words: String| {
            format!("{}: no instance could be made {}: {words}", self.identity.who(), self.identity.when(call.batch))
        };
        stack::check(self.limits.stack_bytes_max).map_err(|words| CallFailure::other(Error::job(told(words))))?;
        let mut guest = Guest::new(self.shared.clone(), self.stage.clone(), call, allowance);
        guest.places = self.traces.then(Places::default);
        let mut store = Store::new(self.loaded.pre.engine(), guest);
        store.limiter(|guest| guest);
        store.set_max_component_handles(usize::try_from(self.limits.handles_max).unwrap_or(usize::MAX));
        self.meter(&mut store)?;
        match self.loaded.pre.instantiate(&mut store) {
            Ok(instance) => Ok(Live { store, instance, calls: 0 }),
            Err(error) if store.data().no_memory.is_some() || failure::is_of_plugin(store.data(), &error) => {
                Err(self.trapped(&store, &error))
            }
            Err(error) => Err(CallFailure::other(Error::environment(told(format!("{error:#}"))))),
        }
    }

    /// The next call.
    fn wasi_call(&mut self, batch: Option<u64>, given: Given) -> Call {
        if self.passed.0 != batch {
            self.passed = (batch, 0);
        }
        let (rows, rows_before) = (given.longest, self.passed.1);
        self.passed.1 = rows_before.saturating_add(rows);
        // Only to see where a call stands it is given no more time than others, however many rows a key has.
        let times = if self.traces { 1 } else { given.times() };
        Call { batch, time_us: self.time_us, began: Instant::now(), times, rows, rows_before }
    }

    fn trapped(&self, store: &Store<Guest>, error: &wasmtime::Error) -> CallFailure {
        if let Some(error) = store.data().no_memory.clone() {
            return CallFailure::other(error.within(self.identity.who()));
        }
        CallFailure::trapped(&self.identity, &self.limits, store.data(), error)
    }
}

/// The time of a call that has so many times that of one; zero: no limit.
pub fn time(limits: &PluginLimits, times: u64) -> Duration {
    limits.time_max.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX))
}

/// Instructions that such a call may run.
pub fn fuel(limits: &PluginLimits, times: u64) -> u64 {
    let per_microsecond = u128::from(PLUGIN_FUEL_PER_SECOND / 1_000_000);
    let of_time = match limits.time_max.as_micros().saturating_mul(per_microsecond) {
        0 => u64::MAX,
        fuel => u64::try_from(fuel).unwrap_or(u64::MAX),
    };
    limits.fuel_max.unwrap_or(of_time).saturating_mul(times)
}
