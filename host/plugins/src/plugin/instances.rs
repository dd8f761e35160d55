//! Instances of a plugin: they are created, called under their limits, and dropped.

use super::account::CallCosts;
use super::allowance::{Allowance, InputSize};
use super::bindings::GuestResult;
use super::call_locations::CallLocations;
use super::clock;
use super::code_kind::Metering;
use super::counters::{CounterValues, Counters};
use super::current_call::{CurrentCall, fuel, time};
use super::failure::{self, CallFailure, OutputFault};
use super::guest::{CallTimers, Guest, StageBudget};
use super::identity::CallIdentity;
use super::load::Loaded;
use super::stage::Stage;
use super::{interrupt, stack};
use crate::limits::PLUGIN_CALLS_PER_INSTANCE_MAX;
use millstream_base::error::Error;
use millstream_base::ids::BatchId;
use millstream_base::memory::addresses;
use millstream_base::units;
use millstream_job::spec::PluginLimits;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::Store;
use wasmtime::component::{ComponentExportIndex, ComponentNamedList, Instance, Lift, Lower};

/// Calls functions of one plugin under one set of limits, in instances that live as long as configured.
pub struct Instances {
    /// The component to call.
    pub callee: Callee,
    /// Timers of the call: set before it, taken after it.
    pub timers: CallTimers,
    /// The batch time of the next calls, in microseconds.
    pub time_us: i64,
    /// The effects of the last call.
    pub last: LastCall,
    /// The costs of calls.
    pub bill: CallCosts,
    /// Whether the instance is kept after the next calls, however many it had and however much memory it has: no other instance could continue
    /// what it began.
    pub hold: bool,
    used: BatchUse,
    live: Option<LiveInstance>,
}

/// The component to call, the stage, and the limits.
pub struct Callee {
    pub loaded: Arc<Loaded>,
    pub identity: Arc<CallIdentity>,
    pub stage: Arc<Stage>,
    pub limits: PluginLimits,
    /// Whether an instance is kept after a call.
    keep: bool,
    /// Whether calls are only made to find their source lines.
    traces: bool,
    shared: Arc<StageBudget>,
}

/// The effects of a call in addition to its result.
#[derive(Default)]
pub struct LastCall {
    /// Number of executed instructions, if they are counted.
    pub fuel_burnt: u64,
    /// Its source location, if it was made to find that and took too long.
    pub backtrace: Option<String>,
    counted: CounterValues,
}

/// Resources that the calls of one batch have used so far.
#[derive(Default)]
struct BatchUse {
    batch: Option<u64>,
    /// Rows passed to calls.
    rows: u64,
    /// Bytes that calls emitted.
    output_bytes: u64,
}

impl BatchUse {
    /// Returns the resources of this batch, reset when a batch begins.
    fn for_batch(&mut self, batch: Option<u64>) -> &mut BatchUse {
        if self.batch != batch {
            *self = BatchUse { batch, ..BatchUse::default() };
        }
        self
    }
}

struct LiveInstance {
    store: Store<Guest>,
    instance: Instance,
    calls: u64,
}

impl Instances {
    /// Starts without an instance. `keep`: whether an instance is kept after a call. With fuel none is: a call must not depend on earlier calls,
    /// because it decides which rows are rejected, and a replay must reject the same rows.
    pub fn new(
        loaded: Arc<Loaded>,
        identity: CallIdentity,
        stage: Stage,
        limits: PluginLimits,
        keep: bool,
    ) -> Instances {
        let keep = keep && loaded.machine.kind.metering != Metering::Fuel;
        let (identity, stage) = (Arc::new(identity), Arc::new(stage));
        let shared = Arc::new(StageBudget::new(identity.clone(), limits));
        Instances::for_callee(Callee { loaded, identity, stage, limits, keep, traces: false, shared })
    }

    /// Creates instances for the same stage with other limits, to find the source lines of calls.
    pub fn with_limits(&self, limits: PluginLimits) -> Instances {
        let Callee { loaded, identity, stage, .. } = &self.callee;
        let (loaded, identity, stage) = (loaded.clone(), identity.clone(), stage.clone());
        let shared = Arc::new(StageBudget::new(identity.clone(), limits));
        Instances::for_callee(Callee { loaded, identity, stage, limits, keep: false, traces: true, shared })
    }

    fn for_callee(callee: Callee) -> Instances {
        Instances {
            callee,
            timers: CallTimers::default(),
            time_us: 0,
            last: LastCall::default(),
            bill: CallCosts::default(),
            hold: false,
            used: BatchUse::default(),
            live: None,
        }
    }

    /// Returns whether an instance of an earlier call is alive.
    pub fn is_live(&self) -> bool {
        self.live.is_some()
    }

    /// Drops the live instance, if there is one.
    pub fn end(&mut self) {
        self.live = None;
    }

    /// Turns the log lines of calls off or on. Failed calls have them in their errors.
    pub fn set_quiet(&self, quiet: bool) {
        self.callee.shared.set_quiet(quiet);
    }

    /// Turns the log lines of calls off permanently.
    pub fn mute(&self) {
        self.callee.shared.mute();
    }

    /// Calls the function at `index`, in `batch` or, without one, for `describe`, with arguments of the size `given`.
    pub fn call<P, R>(
        &mut self,
        batch: Option<u64>,
        index: &ComponentExportIndex,
        given: InputSize,
        arguments: P,
    ) -> Result<R, CallFailure>
    where
        P: ComponentNamedList + Lower,
        GuestResult<R>: ComponentNamedList + Lift,
    {
        let called = self.ready(batch, given).and_then(|mut live| {
            let entered = Instant::now();
            let called = live
                .instance
                .get_typed_func::<P, GuestResult<R>>(&mut live.store, index)
                .and_then(|function| function.call(&mut live.store, arguments));
            self.finish_call(&mut live, entered.elapsed());
            // This fails the call, however the plugin handled the denial.
            if let Some(denied) = live.store.data_mut().take_denied() {
                let identity = &self.callee.identity;
                // A plugin that only describes itself cannot be helped by a grant.
                let failed = if identity.describes() { Error::plugin } else { Error::job };
                return Err(CallFailure::from_error(failed(format!("{}: {denied}", identity.description()))));
            }
            match called {
                Ok((Ok(result),)) => {
                    self.keep(live);
                    Ok(result)
                }
                Ok((Err(error),)) => Err(CallFailure::from_guest_error(&self.callee.identity, batch, error)),
                Err(error) => Err(self.callee.trap_failure(&live.store, &error)),
            }
        });
        if called.is_err() {
            self.bill.ended(&called);
        }
        called
    }

    /// Returns an instance for the next call: the one kept after the last call, or a new one.
    fn ready(&mut self, batch: Option<u64>, given: InputSize) -> Result<LiveInstance, CallFailure> {
        let allowance = Allowance::new(self.callee.limits, given);
        let call = self.next_call(batch, given);
        // If no instance can be created, all fuel of the call counts as used.
        self.last.fuel_burnt = fuel(&self.callee.limits, call.times);
        let mut live = match self.live.take() {
            Some(mut live) => {
                live.store.data_mut().begin(call, allowance);
                self.callee.meter(&mut live.store)?;
                live
            }
            None => {
                self.bill.count_instance();
                self.callee.start(call, allowance)?
            }
        };
        live.calls += 1;
        live.store.data_mut().timers = std::mem::take(&mut self.timers);
        Ok(live)
    }

    /// Collects costs, timers and log of a call from its instance, whether it succeeded or failed.
    fn finish_call(&mut self, live: &mut LiveInstance, time: Duration) {
        self.bill.add_guest_time(time, live.store.data());
        self.last.fuel_burnt = 0;
        if self.callee.is_metered_by_fuel() {
            let most = fuel(&self.callee.limits, live.store.data().call.times);
            self.last.fuel_burnt = most.saturating_sub(live.store.get_fuel().unwrap_or(most));
        }
        self.last.counted = live.store.data_mut().end();
        self.timers = std::mem::take(&mut live.store.data_mut().timers);
        self.last.backtrace = live.store.data().call_locations.as_ref().and_then(CallLocations::backtrace);
    }

    /// Keeps an instance if allowed.
    fn keep(&mut self, live: LiveInstance) {
        let memory_low = live.store.data().memory.now <= self.callee.limits.memory_bytes_max / 2;
        let is_young = memory_low && live.calls < PLUGIN_CALLS_PER_INSTANCE_MAX;
        if self.callee.keep && (is_young || self.hold) {
            self.live = Some(live);
        }
    }

    /// Ends a call whose result was checked: only a call that succeeded counts, and leaves its instance alive.
    pub fn settle<T>(
        &mut self,
        batch: Option<u64>,
        counters: &Counters,
        checked: Result<T, impl Into<OutputFault>>,
    ) -> Result<T, CallFailure> {
        let counted = std::mem::take(&mut self.last.counted);
        let output_bytes = std::mem::take(&mut self.bill.output_bytes);
        let settled = match checked {
            Ok(result) => {
                counters.merge(BatchId(batch.unwrap_or_default()), counted);
                self.check_batch(batch, output_bytes).map(|()| result)
            }
            Err(fault) => {
                self.live = None;
                Err(CallFailure::found(&self.callee.identity, batch, fault.into()))
            }
        };
        self.bill.ended(&settled);
        settled
    }

    /// Adds output bytes of a call to its batch. If the calls of a batch emit too much together, no row is to blame: the number of calls, and
    /// their workers, differ between replays.
    fn check_batch(&mut self, batch: Option<u64>, bytes: u64) -> Result<(), CallFailure> {
        let used = self.used.for_batch(batch);
        used.output_bytes = used.output_bytes.saturating_add(bytes);
        let most = self.callee.limits.batch_output_bytes_max;
        if used.output_bytes <= most {
            return Ok(());
        }
        let identity = &self.callee.identity;
        Err(CallFailure::from_error(Error::plugin(format!(
            "{} returned more than {} {}, in all calls on one worker together\n  Raise `limits.batch_output` of the \
             stage, make batches smaller (`rows_per_batch_max` of the source), or fix the plugin if it should \
             return less.",
            identity.description(),
            units::format_bytes(most),
            identity.batch_text(batch)
        ))))
    }

    fn next_call(&mut self, batch: Option<u64>, given: InputSize) -> CurrentCall {
        let used = self.used.for_batch(batch);
        let (rows, rows_before) = (given.longest, used.rows);
        used.rows = rows_before.saturating_add(rows);
        // A call to find a source line gets no more time than others, however many rows a key has.
        let times = if self.callee.traces { 1 } else { given.times() };
        CurrentCall { batch, time_us: self.time_us, began: Instant::now(), times, rows, rows_before }
    }
}

impl Callee {
    fn is_metered_by_fuel(&self) -> bool {
        self.loaded.machine.kind.metering == Metering::Fuel
    }

    /// Sets the time or fuel limit of a call, including the creation of its instance.
    fn meter(&self, store: &mut Store<Guest>) -> Result<(), CallFailure> {
        let times = store.data().call.times;
        if let Some(clock) = &self.loaded.machine.clock {
            clock.check().map_err(CallFailure::from_error)?;
            let ticks = clock::deadline(time(&self.limits, times));
            let first = if interrupt::is_needed() { ticks.min(clock::POLL_EVERY) } else { ticks };
            store.data_mut().ticks_left = ticks - first;
            store.set_epoch_deadline(first);
        }
        if self.is_metered_by_fuel() {
            let set = store.set_fuel(fuel(&self.limits, times));
            set.map_err(|e| CallFailure::from_error(Error::bug(format!("fuel: {e:#}"))))?;
        }
        // wasmtime counts the values of a call before it copies them.
        store.set_hostcall_fuel(usize::try_from(store.data().allowance.bytes_max).unwrap_or(usize::MAX));
        Ok(())
    }

    fn start(&self, call: CurrentCall, allowance: Allowance) -> Result<LiveInstance, CallFailure> {
        let to_failure = |message: String| {
            format!(
                "{}: no instance could be created {}: {message}",
                self.identity.description(),
                self.identity.batch_text(call.batch)
            )
        };
        stack::check(self.limits.stack_bytes_max)
            .map_err(|message| CallFailure::from_error(Error::job(to_failure(message))))?;
        let mut guest = Guest::new(self.shared.clone(), self.stage.clone(), call, allowance);
        guest.call_locations = self.traces.then(CallLocations::default);
        let mut store = Store::new(self.loaded.pre.engine(), guest);
        store.limiter(|guest| guest);
        if self.loaded.machine.clock.is_some() {
            store.epoch_deadline_callback(|mut store| Ok(store.data_mut().time_is_over()));
        }
        store.set_max_component_handles(usize::try_from(self.limits.handles_max).unwrap_or(usize::MAX));
        self.meter(&mut store)?;
        match self.loaded.pre.instantiate(&mut store) {
            Ok(instance) => Ok(LiveInstance { store, instance, calls: 0 }),
            Err(error) if store.data().no_memory.is_some() || failure::is_of_plugin(store.data(), &error) => {
                Err(self.trap_failure(&store, &error))
            }
            Err(error) => Err(CallFailure::from_error(Error::environment(to_failure(format!(
                "{error:#}{}",
                addresses::advice()
            ))))),
        }
    }

    fn trap_failure(&self, store: &Store<Guest>, error: &wasmtime::Error) -> CallFailure {
        if let Some(error) = store.data().no_memory.clone() {
            return CallFailure::from_error(error.within(self.identity.description()));
        }
        CallFailure::from_trap(&self.identity, &self.limits, store.data(), error)
    }
}
